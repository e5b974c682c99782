//! Rooms of the proxy.

pub mod access_log;
pub mod balance;
pub mod binding;
pub mod chunked;
pub mod cli;
pub mod config;
pub mod cookie;
pub mod error_page;
pub mod head;
pub mod headers;
pub mod learn;
pub mod proxy_protocol;
pub mod realip;
pub mod retry;
pub mod route;
pub mod site;
pub mod status;
pub mod sticky;
pub mod upstream;
