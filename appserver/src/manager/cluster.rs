//! Sessions in a cluster of application servers.

pub mod message;
pub mod native;
pub mod replica;
pub mod stamp;
