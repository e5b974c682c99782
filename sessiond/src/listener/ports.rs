//! The file of `MEMCACHED_PORT_FILENAME`: a line for each open port, for whoever started us with `-p -1`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use program::Failure;

use super::Opened;

/// Writes it as memcached does: under a name ending in `.lck` first, so that a reader never sees half of it.
pub(super) fn write(path: &Path, opened: &Opened) -> Result<(), Failure> {
    let tcp = opened.clients.iter().filter_map(super::Listener::address);
    let udp = opened.datagrams.iter();
    let udp = udp.filter_map(|socket| socket.local_addr().ok());
    let mut text = String::new();
    let lines = tcp.map(|at| ("TCP", at)).chain(udp.map(|at| ("UDP", at)));
    for (transport, address) in lines {
        let family = match address {
            SocketAddr::V4(_) => "INET",
            SocketAddr::V6(_) => "INET6",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{transport} {family}: {}", address.port());
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".lck");
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|e| {
            Failure::environment(
                format!(
                    "cannot write the ports to {} (named by MEMCACHED_PORT_FILENAME)",
                    path.display()
                ),
                e,
            )
        })
}
