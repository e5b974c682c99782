//! memcached's binary protocol, as version 1.6.18 speaks it (`protocol_binary.h` and the server's own behaviour).
//!
//! ```text
//!   magic  opcode  key length  extras length  data type  reserved / status  body length  opaque  cas unique
//!     1      1         2             1            1              2               4          4         8       bytes
//! ```
//!
//! Then the body: extras, key, value. All numbers are big-endian. Data type and reserved are not looked at.
//!
//! A packet that is refused is still a packet: whether a client may know why depends on whether it has authenticated,
//! so the parser says what is wrong and whoever executes it answers.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod parse;
mod reply;

use super::{Direction, StoreMode};

pub use parse::{parse, parse_split};
pub use reply::{Response, Status, encode};

/// The first byte of a request, and of a connection that speaks this protocol.
pub const MAGIC: u8 = 0x80;

/// Bytes of a header.
pub const HEADER: usize = 24;

/// A request packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What the reply repeats.
    pub header: Header,
    /// Whether success is not told (misses, for retrievals).
    pub quiet: bool,
    /// What is asked, or why that is not known.
    pub command: Result<Command<'a>, Malformed>,
}

/// What a reply repeats of its request, and the cas unique that the item must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The command.
    pub opcode: u8,
    /// The client's own number for the request, as it was sent.
    pub opaque: [u8; 4],
    /// The cas unique; 0 for none.
    pub cas: u64,
}

/// Why a packet cannot be executed. The connection is closed after both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Extras and key are longer than the body that they are part of.
    Body,
    /// The lengths are not those of the command.
    Arguments,
}

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// get, getk, gat, gatk.
    Get {
        /// The item's key.
        key: &'a [u8],
        /// Its new exptime (gat, gatk).
        exptime: Option<u32>,
        /// Whether the reply has the key (getk, gatk).
        with_key: bool,
    },
    /// touch.
    Touch {
        /// The item's key.
        key: &'a [u8],
        /// Its new exptime.
        exptime: u32,
    },
    /// set, add, replace, append, prepend.
    Store(Store<'a>),
    /// The same with a value that is larger than an item may be; the value is passed over.
    TooLarge {
        /// What was to be stored where.
        mode: StoreMode,
        /// The item's key.
        key: &'a [u8],
    },
    /// delete.
    Delete {
        /// The item's key.
        key: &'a [u8],
    },
    /// increment, decrement.
    Count(Count<'a>),
    /// flush.
    Flush {
        /// When; 0 is now.
        exptime: u32,
    },
    /// noop.
    Noop,
    /// version.
    Version,
    /// stat.
    Stat {
        /// Which figures; empty for the general ones.
        group: &'a [u8],
    },
    /// quit.
    Quit,
    /// SASL: list mechanisms.
    Mechanisms,
    /// SASL: authenticate, or the next step of it.
    Authenticate(Authenticate<'a>),
    /// Nobody knows this opcode.
    Unknown,
}

/// What to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store<'a> {
    /// On which condition, and how; never [`StoreMode::Cas`], which the header's cas unique makes of it.
    pub mode: StoreMode,
    /// The item's key.
    pub key: &'a [u8],
    /// The client's own flags; 0 for append and prepend.
    pub flags: u32,
    /// When it expires; 0 for append and prepend.
    pub exptime: u32,
    /// Its value.
    pub value: &'a [u8],
}

/// What to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<'a> {
    /// Up or down.
    pub direction: Direction,
    /// The item's key.
    pub key: &'a [u8],
    /// By how much.
    pub delta: u64,
    /// The number and the exptime that an absent key gets; `None` leaves it absent.
    pub initial: Option<(u64, u32)>,
}

/// A step of SASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticate<'a> {
    /// Whether it is not the first.
    pub is_step: bool,
    /// The mechanism's name; `None` when it is too long for one.
    pub mechanism: Option<&'a [u8]>,
    /// What the mechanism is told; `None` when it is too long, and passed over.
    pub credentials: Option<&'a [u8]>,
}
