//! From [`Config`](crate::config::Config) to [`Site`](super::Site): every check of the configuration.
