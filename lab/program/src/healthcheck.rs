//! `<program> healthcheck`: asks a node's own health page, so that an image needs neither shell nor curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::exit::Failure;

/// The longest wait for each of connecting, sending and the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer's status line is at most this long; the rest is not read.
const STATUS_LINE_MAX: usize = 512;

/// The address to ask for a node that listens on `listen`: a wildcard becomes loopback.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// `GET path` on the node; fine when the answer is 2xx.
pub fn http(address: SocketAddr, path: &str) -> Result<(), Failure> {
    let address = reachable(address);
    let answer = exchange(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .map_err(|e| Failure::Failed(format!("http://{address}{path} does not answer: {e}")))?;
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.first());
    if status == Some(&b'2') {
        return Ok(());
    }
    let line = String::from_utf8_lossy(answer.split(|b| *b == b'\r').next().unwrap_or_default())
        .into_owned();
    Err(Failure::Failed(format!(
        "http://{address}{path} is not healthy: {line}"
    )))
}

/// Sends `request` and returns the beginning of what comes back.
pub fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = vec![0; STATUS_LINE_MAX];
    let read = stream.read(&mut answer)?;
    answer.truncate(read);
    Ok(answer)
}
