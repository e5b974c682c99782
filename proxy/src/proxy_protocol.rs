//! The PROXY protocol, versions 1 (text) and 2 (binary), by which a balancer in front tells the client's address
//! (HAProxy's proxy-protocol.txt). TLVs are passed over; LOCAL, UNKNOWN and families without addresses leave the real
//! connection's ends standing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest line of version 1, its line end included.
const MAX_LINE: usize = 107;
/// First bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
const FIXED: usize = 16;
/// Longest header of version 2 that is taken, TLVs included.
pub const MAX_HEADER: usize = 4096;

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Not all there yet.
    Incomplete,
    /// A header.
    Complete {
        /// Its length.
        used: usize,
        /// The connection it announces; `None`: the real one holds.
        addresses: Option<Addresses>,
    },
    /// Close the connection.
    Invalid(&'static str),
}

/// Ends of the announced connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// Parses what has come so far.
pub fn parse(bytes: &[u8]) -> Parsed {
    const TEXT: &[u8] = b"PROXY ";
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        binary(bytes)
    } else if begins(TEXT) {
        text(bytes)
    } else {
        Parsed::Invalid("no PROXY protocol header where one is demanded")
    }
}

fn text(bytes: &[u8]) -> Parsed {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() == MAX_LINE {
            Parsed::Invalid("the PROXY line is too long")
        } else {
            Parsed::Incomplete
        };
    };
    let words = line[..end]
        .strip_suffix(b"\r")
        .and_then(|line| std::str::from_utf8(line).ok());
    let Some(words) = words else {
        return Parsed::Invalid("the PROXY line does not end in CR LF");
    };
    let words: Vec<&str> = words.split(' ').collect();
    let addresses = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", source, destination, from, to] => {
            ends::<Ipv4Addr>([source, destination], [from, to])
        }
        ["PROXY", "TCP6", source, destination, from, to] => {
            ends::<Ipv6Addr>([source, destination], [from, to])
        }
        _ => return Parsed::Invalid("the PROXY line names no known family, or has too few words"),
    };
    if addresses.is_none() && words[1] != "UNKNOWN" {
        return Parsed::Invalid("an address or port in the PROXY line is malformed");
    }
    Parsed::Complete {
        used: end + 1,
        addresses,
    }
}

fn ends<A: std::str::FromStr + Into<IpAddr>>(
    addresses: [&str; 2],
    ports: [&str; 2],
) -> Option<Addresses> {
    let end = |address: &str, port: &str| {
        let address: A = address.parse().ok()?;
        let plain = !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
            && (port == "0" || !port.starts_with('0'));
        let port = port.parse().ok().filter(|_: &u16| plain)?;
        Some(SocketAddr::new(address.into(), port))
    };
    Some(Addresses {
        source: end(addresses[0], ports[0])?,
        destination: end(addresses[1], ports[1])?,
    })
}

fn binary(bytes: &[u8]) -> Parsed {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Parsed::Incomplete;
    };
    let (version_and_command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if version_and_command >> 4 != 2 {
        return Parsed::Invalid("the PROXY header is of an unknown version");
    }
    if FIXED + length > MAX_HEADER {
        return Parsed::Invalid("the PROXY header is too long");
    }
    let local = match version_and_command & 0x0F {
        0 => true,
        1 => false,
        _ => return Parsed::Invalid("the PROXY header has an unknown command"),
    };
    let Some(block) = rest.get(..length) else {
        return Parsed::Incomplete;
    };
    let addresses = match family {
        _ if local => None,
        // TCP and UDP over IPv4, over IPv6.
        0x11 | 0x12 => match block.first_chunk::<12>() {
            Some(block) => Some(ipv4(block)),
            None => return Parsed::Invalid("the PROXY header is too short for its addresses"),
        },
        0x21 | 0x22 => match block.first_chunk::<36>() {
            Some(block) => Some(ipv6(block)),
            None => return Parsed::Invalid("the PROXY header is too short for its addresses"),
        },
        // Unspecified, and unix sockets.
        0x00 | 0x31 | 0x32 => None,
        _ => return Parsed::Invalid("the PROXY header has an unknown family"),
    };
    Parsed::Complete {
        used: FIXED + length,
        addresses,
    }
}

fn ipv4(block: &[u8; 12]) -> Addresses {
    let [s0, s1, s2, s3, d0, d1, d2, d3, sp0, sp1, dp0, dp1] = *block;
    let end = |address: [u8; 4], port| {
        SocketAddr::new(Ipv4Addr::from(address).into(), u16::from_be_bytes(port))
    };
    Addresses {
        source: end([s0, s1, s2, s3], [sp0, sp1]),
        destination: end([d0, d1, d2, d3], [dp0, dp1]),
    }
}

fn ipv6(block: &[u8; 36]) -> Addresses {
    let address = |from: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&block[from..from + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let port = |from: usize| u16::from_be_bytes([block[from], block[from + 1]]);
    Addresses {
        source: SocketAddr::new(address(0), port(32)),
        destination: SocketAddr::new(address(16), port(34)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, FIXED, MAX_HEADER, Parsed, SIGNATURE, parse};
    use proptest::prelude::*;

    fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).expect("short");
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[command, family]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(block);
        bytes
    }

    fn addresses(source: &str, destination: &str) -> Option<Addresses> {
        Some(Addresses {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
        })
    }

    #[test]
    fn version_1() {
        for (line, addresses) in [
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
                addresses("192.168.0.1:56324", "192.168.0.11:443"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
                addresses("[2001:db8::1]:1", "[::1]:65535"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let used = line.len();
            let expected = Parsed::Complete { used, addresses };
            assert_eq!(parse(format!("{line}GET /").as_bytes()), expected, "{line}");
            for end in 0..used {
                assert_eq!(
                    parse(&line.as_bytes()[..end]),
                    Parsed::Incomplete,
                    "{line} {end}"
                );
            }
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
            "PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n",
            "PROXY TCP4 ::1 2.2.2.2 1 2\r\n",
            "PROXY TCP6 1.1.1.1 ::1 1 2\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
            "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
            "PROXY \r\n",
            &long,
        ] {
            assert!(
                matches!(parse(line.as_bytes()), Parsed::Invalid(_)),
                "{line}"
            );
        }
    }

    #[test]
    fn version_2() {
        let four = [10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0, 80];
        let mut six = [0; 36];
        (six[15], six[31], six[33], six[35]) = (1, 2, 3, 4);
        let mut with_tlv = four.to_vec();
        with_tlv.extend_from_slice(&[3, 0, 1, 0xFF]);
        let ends = addresses("10.0.0.1:12345", "10.0.0.2:80");
        for (bytes, addresses) in [
            (header(0x21, 0x11, &four), ends),
            (header(0x21, 0x11, &with_tlv), ends),
            (header(0x21, 0x21, &six), addresses("[::1]:3", "[::2]:4")),
            (header(0x20, 0x11, &four), None),
            (header(0x20, 0x00, &[]), None),
            (header(0x21, 0x31, &[0; 216]), None),
        ] {
            let used = bytes.len();
            assert_eq!(
                parse(&bytes),
                Parsed::Complete { used, addresses },
                "{bytes:?}"
            );
            for end in 0..used {
                assert_eq!(parse(&bytes[..end]), Parsed::Incomplete, "{bytes:?} {end}");
            }
        }
        for bytes in [
            header(0x11, 0x11, &four),
            header(0x22, 0x11, &four),
            header(0x21, 0x41, &four),
            header(0x21, 0x11, &four[..11]),
            header(0x21, 0x21, &four),
            header(0x21, 0x11, &[0; MAX_HEADER]),
        ] {
            assert!(matches!(parse(&bytes), Parsed::Invalid(_)), "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Any bytes give a verdict, and no more is used than there is.
        #[test]
        fn any_bytes(kind in 0..3, tail in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = match kind {
                0 => SIGNATURE.to_vec(),
                1 => b"PROXY TCP4 ".to_vec(),
                _ => Vec::new(),
            };
            bytes.extend_from_slice(&tail);
            if let Parsed::Complete { used, .. } = parse(&bytes) {
                prop_assert!(used <= bytes.len() && used >= FIXED.min(15));
            }
        }
    }
}
