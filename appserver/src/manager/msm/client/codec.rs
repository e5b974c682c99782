//! The protocol of a connection: the one file that knows both.

use super::{Broken, binary, wire};
use crate::manager::msm::protocol::{Answer, Command};
use crate::manager::msm::settings::MemcachedProtocol;

/// Writes the commands of one connection.
#[derive(Debug)]
pub(super) enum Codec {
    Text,
    /// With the number of the next packet.
    Binary(u32),
}

/// What an answer belongs to.
#[derive(Debug)]
pub(super) enum Asked {
    Text(wire::Asked),
    Binary(binary::Asked),
}

impl Codec {
    /// For a new connection.
    pub(super) fn new(protocol: MemcachedProtocol) -> Self {
        match protocol {
            MemcachedProtocol::Text => Self::Text,
            MemcachedProtocol::Binary => Self::Binary(0),
        }
    }

    /// Writes a command behind what is there.
    pub(super) fn encode(&mut self, command: Command, out: &mut Vec<u8>) -> Asked {
        match self {
            Self::Text => Asked::Text(wire::encode(command, out)),
            Self::Binary(next) => {
                *next = next.wrapping_add(1);
                Asked::Binary(binary::encode(command, *next, out))
            }
        }
    }
}

impl Asked {
    /// Reads the answer at the beginning of `input`, and how many bytes it has; `None`: more bytes are needed.
    pub(super) fn decode(&self, input: &[u8]) -> Result<Option<(Answer, usize)>, Broken> {
        match self {
            Self::Text(asked) => wire::decode(asked, input),
            Self::Binary(asked) => binary::decode(asked, input),
        }
    }
}
