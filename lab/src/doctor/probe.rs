//! What `lab doctor` looks at: sockets, limits, other programs. Each look is bounded in time.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, ToSocketAddrs, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::sockets;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Address, Evidence};
use crate::stage::holder;
use crate::{tomcat, up};

/// The group and port of Tomcat's cluster membership (`McastService`).
pub const MULTICAST_GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(228, 0, 0, 4), 45564);

/// A loopback address that differs from the usual one in its first three octets, as ip_hash needs.
pub const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 1, 2, 3);

/// The longest wait for a connection or a datagram on this machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest wait for another program's answer; a Docker client without its daemon takes a while.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(10);

/// Another program's answer is read up to here.
const ANSWER_MAX: u64 = 4096;

/// Looks at everything.
pub fn look() -> Evidence {
    let host_name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Evidence {
        addresses: up::addresses(&up::Config::default())
            .map(|(node, address, setting)| wanted(node, address, setting))
            .to_vec(),
        open_files: sockets::raise_open_file_limit(),
        seen_client: seen_client().map_err(|e| e.to_string()),
        multicast: interfaces()
            .into_iter()
            .map(|interface| (interface, multicast(interface).map_err(|e| e.to_string())))
            .collect(),
        announced: announced(&host_name),
        host_name,
        tomcat: tomcat(),
        memcached: ask("memcached", &["--version"]),
        engine: ask("docker", &["version", "--format", "{{.Server.Version}}"]),
        compose_plugin: ask("docker", &["compose", "version", "--short"]),
        compose_standalone: ask("docker-compose", &["version", "--short"]),
    }
}

fn wanted(node: &'static str, address: SocketAddr, setting: &'static str) -> Address {
    let free = holder::taken(address).map_or(Ok(()), Err);
    Address {
        node,
        address,
        setting,
        free,
    }
}

/// The address under which a listener sees a client that bound itself to [`CLIENT_ADDRESS`].
fn seen_client() -> std::io::Result<IpAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    client.bind(&SocketAddr::from((CLIENT_ADDRESS, 0)).into())?;
    client.connect_timeout(&listener.local_addr()?.into(), PATIENCE)?;
    Ok(listener.accept()?.1.ip())
}

/// So many interfaces are tried at most; a machine with many containers has a bridge for each network.
const INTERFACES_MAX: usize = 8;

/// An address of each interface: loopback, the one that the kernel would use towards the group, then the others.
fn interfaces() -> Vec<Ipv4Addr> {
    let mut found = vec![Ipv4Addr::LOCALHOST];
    let outgoing = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(MULTICAST_GROUP).map(|()| socket))
        .and_then(|socket| socket.local_addr());
    if let Ok(SocketAddr::V4(address)) = outgoing
        && !found.contains(address.ip())
    {
        found.push(*address.ip());
    }
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    for address in local_addresses(&table) {
        if found.len() < INTERFACES_MAX && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// This machine's own addresses in the kernel's routing table: a line with the address, then one that says
/// `/32 host LOCAL`.
fn local_addresses(table: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last
        {
            found.push(address);
        }
    }
    found.dedup();
    found
}

/// Sends one datagram to the group on this interface and waits until it comes back.
fn multicast(interface: Ipv4Addr) -> std::io::Result<()> {
    let receiver = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    receiver.set_reuse_address(true)?;
    receiver.bind(&MULTICAST_GROUP.into())?;
    receiver.join_multicast_v4(MULTICAST_GROUP.ip(), &interface)?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let sender = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    sender.set_multicast_if_v4(&interface)?;
    sender.set_multicast_loop_v4(true)?;
    sender.set_multicast_ttl_v4(1)?;
    // Others may use the group, so our own datagram must be known again.
    let token = format!("lab-doctor {} {interface}", std::process::id());
    sender.send_to(token.as_bytes(), &MULTICAST_GROUP.into())?;
    let receiver = UdpSocket::from(receiver);
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; 512];
    while Instant::now() < until {
        let (length, _) = receiver.recv_from(&mut buffer)?;
        if buffer.get(..length) == Some(token.as_bytes()) {
            return Ok(());
        }
    }
    Err(std::io::ErrorKind::TimedOut.into())
}

/// The first address of a name, as Java's `InetAddress.getLocalHost` takes it for this machine's.
fn announced(host_name: &str) -> Result<IpAddr, String> {
    let mut addresses = (host_name, 0)
        .to_socket_addrs()
        .map_err(|e| e.to_string())?;
    let first = addresses.next().ok_or("it has none")?;
    Ok(first.ip())
}

/// Where the real Tomcat is, and which Java it would have.
fn tomcat() -> Result<String, String> {
    let home = tomcat::installed()?;
    let java = ask("java", &["--version"])?;
    Ok(format!("in {}, on {java}", home.display()))
}

/// The first line that a program prints, or why it has none.
fn ask(program: &str, arguments: &[&str]) -> Result<String, String> {
    let spoken = format!("{program} {}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("`{program}` cannot be started: {e}"))?;
    let until = Instant::now() + PROGRAM_PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => {
                // It does not answer: end it, and do not wait for what it may still print.
                let _ended = child.kill().and_then(|()| child.wait());
                return Err(format!("`{spoken}` does not answer"));
            }
        }
    };
    let mut text = String::new();
    if let Some(output) = child.stdout.take() {
        let _unreadable_is_empty = output.take(ANSWER_MAX).read_to_string(&mut text);
    }
    let line = text.lines().next().unwrap_or_default().trim();
    if status.success() && !line.is_empty() {
        Ok(line.to_owned())
    } else {
        Err(format!("`{spoken}` fails ({status})"))
    }
}

#[cfg(test)]
mod tests {
    use super::{announced, ask, local_addresses, seen_client};

    #[test]
    fn own_addresses_are_found_in_the_routing_table() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
            |-- 127.0.0.0\n  /8 host LOCAL\n  |-- 127.0.0.1\n  /32 host LOCAL\n  |-- 127.255.255.255\n  /32 link BROADCAST\n\
            |-- 172.17.0.1\n  /32 host LOCAL\n";
        let found: Vec<String> = local_addresses(table)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["127.0.0.1", "172.17.0.1"]);
    }

    #[test]
    fn a_client_comes_from_the_address_it_chose() {
        assert_eq!(seen_client().expect("loopback"), super::CLIENT_ADDRESS);
    }

    #[test]
    fn a_name_stands_for_an_address_or_for_none() {
        assert!(announced("localhost").is_ok_and(|address| address.is_loopback()));
        assert!(announced("no such name").is_err());
    }

    #[test]
    fn a_program_answers_fails_or_is_missing() {
        assert_eq!(ask("echo", &["1.2.3"]), Ok("1.2.3".to_owned()));
        assert!(ask("false", &[]).is_err_and(|why| why.contains("fails")));
        assert!(ask("no-such-program", &[]).is_err_and(|why| why.contains("cannot be started")));
    }
}
