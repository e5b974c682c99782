//! Sessions in a cluster of application servers.

pub mod core;
pub mod message;
pub mod native;
pub mod peers;
pub mod replica;
pub mod stamp;
pub mod store;
