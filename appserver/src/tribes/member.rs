//! A member of the cluster and the package of bytes that says who it is. The package alone is a heartbeat; the sender puts the
//! same into every TCP frame.
//!
//! Layout, all numbers big-endian: `TRIBES-B` 01 00, length of what follows up to the end marker (4), alive ms (8), port (4), secure
//! port (4), UDP port (4), length of the host (1), host, length of the command (4), command, length of the domain (4), domain, unique
//! id (16), length of the payload (4), payload, `TRIBES-E` 01 00. 77 bytes with IPv4 and nothing optional.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a package begins with.
pub const BEGIN: [u8; 10] = *b"TRIBES-B\x01\x00";

/// What a package ends with.
pub const END: [u8; 10] = *b"TRIBES-E\x01\x00";

/// The command of a member that stops.
pub const LEAVING: &[u8] = b"BABY-ALEX";

/// The payload of our own members. Tomcat sends none and ignores that of others.
pub const NATIVE: &[u8] = b"LNMT/1";

/// The largest package that is read: what fits into a datagram.
pub const PACKAGE_MAX: usize = 65_507;

/// Bytes before the body: marker and length.
const HEAD: usize = BEGIN.len() + 4;

/// Bytes of a package beside those of variable length.
const FIXED: usize = HEAD + 8 + 3 * 4 + 1 + 4 + 4 + 16 + 4 + END.len();

/// Offset of the alive time, for who keeps a written package and updates it.
pub const ALIVE_AT: usize = HEAD;

/// The identity of a member: made anew at every start.
///
/// Tomcat compares address, port and id together; the id alone says the same, since it never occurs twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub [u8; 16]);

impl MemberId {
    /// The id of 16 random bytes, in the form of a random UUID (version 4), as Tomcat makes it.
    pub const fn from_random(mut random: [u8; 16]) -> Self {
        random[6] = random[6] & 0x0f | 0x40;
        random[8] = random[8] & 0x3f | 0x80;
        Self(random)
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A member as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Milliseconds since its membership started.
    pub alive: u64,
    /// Where it listens for messages.
    pub host: IpAddr,
    /// The port there.
    pub port: u16,
    /// A port with TLS, if any.
    pub secure_port: Option<u16>,
    /// A port for messages in datagrams, if any.
    pub udp_port: Option<u16>,
    /// Empty, or [`LEAVING`].
    pub command: Box<[u8]>,
    /// Empty, or the name of a part of the cluster. Members of other domains are members too.
    pub domain: Box<[u8]>,
    /// Who it is.
    pub id: MemberId,
    /// Empty, or what it says about itself; ours say [`NATIVE`].
    pub payload: Box<[u8]>,
}

/// Bytes that are no member package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// Shorter than a package can be, or than it says.
    #[error("a member package of {0} bytes is cut off")]
    Short(usize),
    /// It does not begin or end with the marker.
    #[error("no member package: the marker TRIBES-B or TRIBES-E is missing")]
    Marker,
    /// The lengths in it contradict each other.
    #[error("the lengths in a member package contradict each other")]
    Length,
    /// Neither 4 nor 16 bytes.
    #[error("a member's address has {0} bytes and not 4 or 16")]
    Host(u8),
    /// No port number.
    #[error("{0} is no port of a member")]
    Port(i32),
}

impl Member {
    /// A member of ours that was just started.
    pub fn native(id: MemberId, address: SocketAddr, domain: &str) -> Self {
        Self {
            alive: 0,
            host: address.ip(),
            port: address.port(),
            secure_port: None,
            udp_port: None,
            command: Box::default(),
            domain: domain.as_bytes().into(),
            id,
            payload: NATIVE.into(),
        }
    }

    /// Where it listens for messages.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Whether it is one of ours, and not a Tomcat.
    pub fn is_native(&self) -> bool {
        *self.payload == *NATIVE
    }

    /// Whether it says that it stops.
    pub fn is_leaving(&self) -> bool {
        *self.command == *LEAVING
    }

    /// Bytes of its package.
    pub fn package_len(&self) -> usize {
        let host = if self.host.is_ipv4() { 4 } else { 16 };
        FIXED + host + self.command.len() + self.domain.len() + self.payload.len()
    }

    /// Appends its package.
    pub fn write(&self, out: &mut Vec<u8>) {
        let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let field = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(&number(bytes.len()));
            out.extend_from_slice(bytes);
        };
        let port = |port: Option<u16>| port.map_or(-1, i32::from).to_be_bytes();
        out.extend_from_slice(&BEGIN);
        out.extend_from_slice(&number(self.package_len() - HEAD - END.len()));
        out.extend_from_slice(&self.alive.to_be_bytes());
        out.extend_from_slice(&port(Some(self.port)));
        out.extend_from_slice(&port(self.secure_port));
        out.extend_from_slice(&port(self.udp_port));
        match self.host {
            IpAddr::V4(host) => {
                out.push(4);
                out.extend_from_slice(&host.octets());
            }
            IpAddr::V6(host) => {
                out.push(16);
                out.extend_from_slice(&host.octets());
            }
        }
        field(out, &self.command);
        field(out, &self.domain);
        out.extend_from_slice(&self.id.0);
        field(out, &self.payload);
        out.extend_from_slice(&END);
    }

    /// Its package.
    pub fn package(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.package_len());
        self.write(&mut out);
        out
    }

    /// Reads the package at the beginning of `bytes`; also its length.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), PackageError> {
        let short = PackageError::Short(bytes.len());
        if !bytes.starts_with(&BEGIN) {
            let begun = BEGIN.starts_with(bytes);
            return Err(if begun { short } else { PackageError::Marker });
        }
        let mut rest = Rest(&bytes[BEGIN.len()..]);
        let body = rest.len().ok_or(short)?;
        let whole = HEAD + body + END.len();
        if body > PACKAGE_MAX {
            return Err(PackageError::Length);
        }
        if bytes.len() < whole {
            return Err(short);
        }
        if bytes[HEAD + body..whole] != END {
            return Err(PackageError::Marker);
        }
        let mut rest = Rest(&bytes[HEAD..HEAD + body]);
        let member = rest.member()?;
        if !rest.0.is_empty() {
            return Err(PackageError::Length);
        }
        Ok((member, whole))
    }
}

/// What is still to be read of a package.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A length; `None` also for a negative one.
    fn len(&mut self) -> Option<usize> {
        usize::try_from(i32::from_be_bytes(self.array()?)).ok()
    }

    fn field(&mut self) -> Option<Box<[u8]>> {
        let len = self.len()?;
        self.take(len).map(Into::into)
    }

    fn member(&mut self) -> Result<Member, PackageError> {
        let length = PackageError::Length;
        let alive = u64::from_be_bytes(self.array().ok_or(length)?);
        let mut ports = [0; 3];
        for port in &mut ports {
            *port = i32::from_be_bytes(self.array().ok_or(length)?);
        }
        let port = u16::try_from(ports[0]).map_err(|_| PackageError::Port(ports[0]))?;
        let other = |port: i32| match port {
            -1 => Ok(None),
            port => u16::try_from(port)
                .map(Some)
                .map_err(|_| PackageError::Port(port)),
        };
        let [host_len] = self.array().ok_or(length)?;
        let host = match host_len {
            4 => Ipv4Addr::from(self.array::<4>().ok_or(length)?).into(),
            16 => Ipv6Addr::from(self.array::<16>().ok_or(length)?).into(),
            other => return Err(PackageError::Host(other)),
        };
        Ok(Member {
            alive,
            host,
            port,
            secure_port: other(ports[1])?,
            udp_port: other(ports[2])?,
            command: self.field().ok_or(length)?,
            domain: self.field().ok_or(length)?,
            id: MemberId(self.array().ok_or(length)?),
            payload: self.field().ok_or(length)?,
        })
    }
}
