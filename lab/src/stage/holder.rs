//! Who has a port: a bind that fails says that it is taken, `/proc` says by whom.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};

/// `Some(who)` when `address` cannot be bound; `who` is a sentence that ends a message.
pub fn taken(address: SocketAddr) -> Option<String> {
    let error = TcpListener::bind(address).err()?;
    if error.kind() != std::io::ErrorKind::AddrInUse {
        return Some(format!("the system says: {error}"));
    }
    Some(match holder(address) {
        Some((id, name)) => format!("process {id} ({name}) has it"),
        None => "another process has it (of another user, or in a container: `ss -ltnp` as root names it)".to_owned(),
    })
}

/// The process that listens on `address`, as far as this user may see it.
fn holder(address: SocketAddr) -> Option<(u32, String)> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, address))?;
    let socket = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let has = files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == socket.as_str())
        });
        if has {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((id, name.trim().to_owned()));
        }
    }
    None
}

/// The socket that listens where `address` wants to, in a table of proc(5) `/proc/net/tcp`.
fn listening_inode(table: &str, address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let port = format!("{:04X}", address.port());
    let own = match address.ip() {
        // Four bytes in the machine's order, as the kernel prints them.
        IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(_) => String::new(),
    };
    let sockets = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, local_port) = fields.get(1)?.split_once(':')?;
        let wildcard = ip.bytes().all(|b| b == b'0');
        let same = local_port == port && (wildcard || own.is_empty() || ip == own);
        (same && *fields.get(3)? == LISTEN).then(|| fields.get(9)?.parse().ok())?
    });
    sockets.into_iter().next()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{listening_inode, taken};

    #[test]
    fn a_taken_port_is_reported_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let who = taken(address).expect("taken");
        assert!(
            who.contains(&format!("process {} (", std::process::id())),
            "{who}"
        );
        drop(listener);
        assert_eq!(taken(address), None, "free again");
    }

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:1F91 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
            2: 00000000:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n";
        for (address, inode) in [
            ("127.0.0.1:8080", Some(4711)),
            ("127.0.0.1:8081", None),       // connected, not listening
            ("127.0.0.1:8082", Some(4713)), // the wildcard has it
            ("127.0.0.2:8080", None),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(listening_inode(table, address), inode, "{address}");
        }
    }
}
