//! The PROXY protocol, versions 1 and 2.

use std::net::SocketAddr;

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Not all there yet.
    Incomplete,
    /// A header of so many bytes.
    Complete {
        /// Its length.
        used: usize,
        /// The connection it announces; `None` for LOCAL and UNKNOWN: the real one holds.
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
    unimplemented!()
}
