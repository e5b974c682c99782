//! Which protocol a connection speaks: its first byte decides, unless only one is spoken at all.

use crate::auth::Policy;
use crate::config::Protocol;
use crate::protocol::text::Limits;
use crate::protocol::{Parsed, binary, login, text};

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Classic and meta commands.
    Text,
    /// The text protocol before the client has authenticated.
    Login,
    /// Packets.
    Binary,
}

impl Dialect {
    /// The protocol of a client whose first byte this is.
    pub(super) fn of(first: u8, policy: &Policy) -> Self {
        match policy.spoken {
            Protocol::Binary => Self::Binary,
            Protocol::Auto if first == binary::MAGIC => Self::Binary,
            Protocol::Auto | Protocol::Ascii if policy.login.is_some() => Self::Login,
            Protocol::Auto | Protocol::Ascii => Self::Text,
        }
    }

    /// What stands at the beginning of `buffer`, which must not be empty.
    pub(super) fn parse(self, buffer: &[u8], limits: Limits) -> Parsed<'_> {
        match self {
            Self::Text => text::parse(buffer, limits),
            Self::Binary => binary::parse(buffer, limits),
            Self::Login => login::parse(buffer),
        }
    }

    /// As [`Dialect::parse`], for a storage command whose value is in another place than what stands before it.
    pub(super) fn parse_split<'a>(
        self,
        head: &'a [u8],
        value: &'a [u8],
        limits: Limits,
    ) -> Parsed<'a> {
        match self {
            Self::Text => text::parse_split(head, value, limits),
            Self::Binary => binary::parse_split(head, value, limits),
            Self::Login => login::parse(head),
        }
    }
}
