//! Listening sockets and the open-file limit.

use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::exit::Failure;

/// Binds `address` for listening (`SO_REUSEADDR`, as std does), or says which setting to change.
pub fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).map_err(|e| cannot_bind(address, setting, &e))?;
    listener
        .set_nonblocking(true)
        .map_err(|e| Failure::environment(format!("cannot prepare the socket on {address}"), e))?;
    Ok(listener)
}

/// The error for an address that cannot be bound.
pub fn cannot_bind(address: SocketAddr, setting: &str, cause: &std::io::Error) -> Failure {
    let cure = match cause.kind() {
        std::io::ErrorKind::AddrInUse => "another process has the port",
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges",
        _ => "the operating system refused",
    };
    Failure::Environment(format!(
        "cannot listen on {address} ({cause}): {cure}; choose another address with {setting}"
    ))
}

/// Raises the soft limit of open files to the hard one; says what it is then.
pub fn raise_open_file_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        return before.unwrap_or(u64::MAX);
    }
    limit.current.unwrap_or(u64::MAX)
}
