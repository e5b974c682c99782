//! The datagram with which a member of a cluster says that it is there (Tomcat's `McastService`): what the lab reads of it. Pure.
//!
//! ```text
//!   0 TRIBES-B 01 00   10 length of the body   14 alive ms (8)   22 TCP port (4)   26 secure port (4)   30 UDP port (4)
//!   34 length h of the address (1)   35 address   …   command: length (4), text   domain: length (4), text   id (16)   …
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const BEGIN: &[u8] = b"TRIBES-B\x01\x00";
const ALIVE: usize = 14;
const PORT: usize = 22;
const HOST: usize = 34;
const ID: usize = 16;

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Milliseconds since it started.
    pub alive_ms: u64,
    /// Where it receives messages.
    pub receiver: SocketAddr,
    /// Made anew at every start.
    pub id: [u8; ID],
    /// Whether it stops.
    pub leaving: bool,
}

/// Reads a datagram; `None` for one that is no heartbeat of a member with an IPv4 address.
pub fn read(datagram: &[u8]) -> Option<Heartbeat> {
    let number = |at: usize| {
        Some(u32::from_be_bytes(
            datagram.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    let text = |at: usize| {
        let length = usize::try_from(number(at)?).ok()?;
        let end = at.checked_add(4)?.checked_add(length)?;
        Some((datagram.get(at + 4..end)?, end))
    };
    if !datagram.starts_with(BEGIN) || *datagram.get(HOST)? != 4 {
        return None;
    }
    let address: [u8; 4] = datagram.get(HOST + 1..HOST + 5)?.try_into().ok()?;
    let (command, at) = text(HOST + 5)?;
    let (_, at) = text(at)?;
    Some(Heartbeat {
        alive_ms: u64::from_be_bytes(datagram.get(ALIVE..ALIVE + 8)?.try_into().ok()?),
        receiver: SocketAddr::new(
            IpAddr::V4(Ipv4Addr::from(address)),
            u16::try_from(number(PORT)?).ok()?,
        ),
        id: datagram.get(at..at + ID)?.try_into().ok()?,
        leaving: command == b"BABY-ALEX",
    })
}

/// The same datagram with another port.
pub fn with_port(datagram: &[u8], port: u16) -> Vec<u8> {
    let mut changed = datagram.to_vec();
    if let Some(place) = changed.get_mut(PORT..PORT + 4) {
        place.copy_from_slice(&u32::from(port).to_be_bytes());
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::{read, with_port};

    /// A datagram of a real Tomcat at 127.0.0.1:4000, alive for 1234 ms.
    fn datagram(command: &[u8]) -> Vec<u8> {
        let mut body = 1234u64.to_be_bytes().to_vec();
        body.extend(4000u32.to_be_bytes());
        body.extend([0xff; 8]);
        body.extend([4, 127, 0, 0, 1]);
        body.extend(u32::try_from(command.len()).expect("short").to_be_bytes());
        body.extend(command);
        body.extend(0u32.to_be_bytes());
        body.extend([7; 16]);
        body.extend(0u32.to_be_bytes());
        let mut whole = b"TRIBES-B\x01\x00".to_vec();
        whole.extend(u32::try_from(body.len()).expect("short").to_be_bytes());
        whole.extend(body);
        whole.extend(b"TRIBES-E\x01\x00");
        whole
    }

    #[test]
    fn a_heartbeat_is_read_and_its_port_changed() {
        let heartbeat = datagram(b"");
        assert_eq!(heartbeat.len(), 77);
        let seen = read(&heartbeat).expect("a heartbeat");
        assert_eq!(
            (seen.alive_ms, seen.receiver.to_string().as_str()),
            (1234, "127.0.0.1:4000")
        );
        assert_eq!((seen.id, seen.leaving), ([7; 16], false));
        assert!(read(&datagram(b"BABY-ALEX")).expect("a heartbeat").leaving);
        let moved = read(&with_port(&heartbeat, 4711)).expect("still one");
        assert_eq!(moved.receiver.port(), 4711);
    }

    proptest::proptest! {
        /// Whatever comes: no panic, and what is cut short is no heartbeat.
        #[test]
        fn anything_is_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120), cut in 0usize..60) {
            let _ = (read(&bytes), with_port(&bytes, 1));
            let mut damaged = super::BEGIN.to_vec();
            damaged.extend(&bytes);
            let _ = read(&damaged);
            proptest::prop_assert_eq!(read(&datagram(b"")[..cut]), None);
        }
    }
}
