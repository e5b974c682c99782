//! The sockets that clients connect to: opened as the settings name them, before anything is served.
//!
//! [`accept`] takes clients from all of them; what a client is told and asked is no business of this room.

pub(crate) mod accept;
mod ports;
mod unix;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;

use program::{Failure, sockets};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use crate::config::{Config, Interface, is_empty};

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: Listening,
    /// Whether its clients speak TLS.
    pub(crate) tls: bool,
}

#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(unix::Listening),
}

impl Listener {
    /// Its TCP address; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Listening::Tcp(socket) => socket.local_addr().ok(),
            Listening::Unix(_) => None,
        }
    }
}

impl fmt::Display for Listener {
    /// As `stats conns` of memcached names it: `tcp:127.0.0.1:11211`, `tcp6:[::1]:11211`, `unix:/path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.socket, self.address()) {
            (Listening::Unix(socket), _) => write!(f, "unix:{}", socket.path().display()),
            (Listening::Tcp(_), Some(address @ SocketAddr::V6(_))) => write!(f, "tcp6:{address}"),
            (Listening::Tcp(_), Some(address)) => write!(f, "tcp:{address}"),
            (Listening::Tcp(_), None) => write!(f, "tcp:unknown"),
        }
    }
}

/// Every socket for clients.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) clients: Vec<Listener>,
    pub(crate) datagrams: Vec<UdpSocket>,
}

/// Opens what the settings name: a Unix socket, or the interfaces with TCP and UDP; and writes the ports down where
/// `MEMCACHED_PORT_FILENAME` says, as memcached does.
pub(crate) fn open(config: &Config) -> Result<Opened, Failure> {
    if !is_empty(&config.unix_socket) {
        let socket = unix::listen(config)?;
        return Ok(Opened {
            clients: vec![Listener {
                socket: Listening::Unix(socket),
                tls: false,
            }],
            datagrams: Vec::new(),
        });
    }
    let mut opened = Opened {
        clients: Vec::new(),
        datagrams: Vec::new(),
    };
    for interface in &config.listen.0 {
        if let Some(port) = port(interface, config.port) {
            let tls = config.enable_ssl && !interface.no_tls;
            let sockets = on_each(interface, port, |address| tcp(address, config))?;
            let listeners = sockets.into_iter().map(|socket| Listener {
                socket: Listening::Tcp(socket),
                tls,
            });
            opened.clients.extend(listeners);
        }
        if config.udp_port != 0
            && let Some(port) = port(interface, config.udp_port)
        {
            opened.datagrams.extend(on_each(interface, port, udp)?);
        }
    }
    if let Some(file) = std::env::var_os("MEMCACHED_PORT_FILENAME").filter(|f| !f.is_empty()) {
        ports::write(&PathBuf::from(file), &opened)?;
    }
    Ok(opened)
}

/// The first TCP address of the settings; `None` when there is none. Nothing is opened.
pub(crate) fn first_address(config: &Config) -> Result<Option<SocketAddr>, Failure> {
    if !is_empty(&config.unix_socket) {
        return Ok(None);
    }
    for interface in &config.listen.0 {
        if let Some(port) = port(interface, config.port) {
            return Ok(resolve(interface, port)?.first().copied());
        }
    }
    Ok(None)
}

/// The port of an interface: its own, or the common one; `None` when it has none. 0 is any port that is free.
fn port(interface: &Interface, common: i32) -> Option<u16> {
    match (interface.port, common) {
        (Some(own), _) => Some(own),
        (None, 0) => None,
        // -1; everything else was refused as out of range.
        (None, common) => Some(u16::try_from(common).unwrap_or(0)),
    }
}

fn resolve(interface: &Interface, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if interface.host == "*" {
        return Ok(vec![
            (Ipv4Addr::UNSPECIFIED, port).into(),
            (Ipv6Addr::UNSPECIFIED, port).into(),
        ]);
    }
    if let Ok(ip) = interface.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = (interface.host.as_str(), port).to_socket_addrs();
    let found = found.map_err(|e| {
        Failure::environment(
            format!(
                "cannot find the address of {} (named by --listen)",
                interface.host
            ),
            e,
        )
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Opens a socket on each address of an interface. A name, or `*`, may stand for several, and a machine need not have all
/// of them (no IPv6): one is enough, as in memcached.
fn on_each<T>(
    interface: &Interface,
    port: u16,
    open: impl Fn(SocketAddr) -> std::io::Result<T>,
) -> Result<Vec<T>, Failure> {
    let addresses = resolve(interface, port)?;
    let mut opened = Vec::new();
    let mut failed = None;
    for address in addresses {
        match open(address) {
            Ok(socket) => opened.push(socket),
            Err(error) => {
                let absent = matches!(
                    error.kind(),
                    std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::Unsupported
                ) || error.raw_os_error()
                    == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
                let failure =
                    sockets::cannot_bind(address, "--listen, --port or LNMT_LISTEN", &error);
                if !absent {
                    return Err(failure);
                }
                failed = Some((address, failure));
            }
        }
    }
    match failed {
        Some((_, failure)) if opened.is_empty() => Err(failure),
        Some((address, _)) => {
            warn!(%address, name = interface.host, "this machine has no such address; listening on the others");
            Ok(opened)
        }
        None => Ok(opened),
    }
}

fn tcp(address: SocketAddr, config: &Config) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    prepare(&socket, address)?;
    socket.listen(i32::try_from(config.listen_backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn udp(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    prepare(&socket, address)?;
    Ok(socket.into())
}

fn prepare(socket: &Socket, address: SocketAddr) -> std::io::Result<()> {
    if address.is_ipv6() {
        // So that `*` can be both 0.0.0.0 and [::].
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use super::{Interface, first_address, port, resolve};
    use crate::config::Config;

    fn interface(text: &str) -> Interface {
        text.parse().expect(text)
    }

    #[test]
    fn an_address_has_its_own_port_or_the_common_one() {
        for (text, common, expected) in [
            ("a:1", 2, Some(1)),
            ("a:0", 2, Some(0)),
            ("a:1", 0, Some(1)),
            ("a", 2, Some(2)),
            ("a", -1, Some(0)),
            ("a", 0, None),
        ] {
            assert_eq!(port(&interface(text), common), expected, "{text} {common}");
        }
    }

    #[test]
    fn a_star_is_both_families_and_a_name_what_it_resolves_to() {
        let addresses = |text| resolve(&interface(text), 1).expect("found");
        assert_eq!(addresses("*").len(), 2);
        assert_eq!(addresses("::1"), ["[::1]:1".parse().expect("an address")]);
        assert!(
            addresses("localhost")
                .iter()
                .all(|one| one.ip().is_loopback())
        );
        assert!(resolve(&interface("no.such.host.invalid"), 1).is_err());
    }

    #[test]
    fn the_first_address_is_the_one_that_is_asked_for_health() {
        let config = |text: &str| toml::from_str::<Config>(text).expect("valid");
        let first = |text| {
            first_address(&config(text))
                .expect("found")
                .map(|a| a.port())
        };
        assert_eq!(first(""), Some(11211));
        assert_eq!(
            first("port = 0\nlisten = \"127.0.0.1,127.0.0.1:7\""),
            Some(7)
        );
        assert_eq!(first("unix_socket = \"x\""), None);
    }
}
