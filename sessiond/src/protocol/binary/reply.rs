//! Replies of the binary protocol.

use super::{HEADER, Header};

/// The first byte of a reply.
const MAGIC: u8 = 0x81;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response<'a> {
    /// Done; the item's cas unique where one was stored, else 0.
    Done(u64),
    /// An item of a retrieval. Its value is to follow the reply.
    Value {
        /// Its key, where the reply has one.
        key: &'a [u8],
        /// The client's flags.
        flags: u32,
        /// The length of its value.
        length: usize,
        /// Its cas unique.
        cas: u64,
    },
    /// The new number, and its item's cas unique.
    Number(u64, u64),
    /// A version, a list of mechanisms.
    Text(&'a str),
    /// A figure; without a name the end of them.
    Figure(&'a str, &'a [u8]),
    /// No item under this key, which the client wants to see again.
    Absent(&'a [u8]),
    /// Not done.
    Failed(Status),
}

/// Why something is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// No such item, no such group of figures.
    NotFound,
    /// add: the key is there; else: the item's cas unique is another one.
    Exists,
    /// The item is larger than one may be.
    TooLarge,
    /// The lengths are not those of the command.
    InvalidArguments,
    /// append, prepend: no such item, or it would grow too large.
    NotStored,
    /// increment, decrement of what is not a number.
    NotANumber,
    /// Not authenticated, or not allowed.
    AuthFailure,
    /// SASL goes on; the body, which is empty for PLAIN, is for the mechanism.
    AuthContinue,
    /// Nobody knows this opcode.
    UnknownCommand,
    /// There is no room for a value, and none can be made.
    NoRoomForItem,
    /// There is no room for a number that has become longer.
    NoRoomForNumber,
}

impl Status {
    /// Its number in the header, and the text in the body.
    fn parts(self) -> (u16, &'static str) {
        match self {
            Self::NotFound => (0x01, "Not found"),
            Self::Exists => (0x02, "Data exists for key."),
            Self::TooLarge => (0x03, "Too large."),
            Self::InvalidArguments => (0x04, "Invalid arguments"),
            Self::NotStored => (0x05, "Not stored."),
            Self::NotANumber => (0x06, "Non-numeric server-side value for incr or decr"),
            Self::AuthFailure => (0x20, "Auth failure."),
            Self::AuthContinue => (0x21, ""),
            Self::UnknownCommand => (0x81, "Unknown command"),
            Self::NoRoomForItem => (0x82, "Out of memory allocating item"),
            Self::NoRoomForNumber => (0x82, "Out of memory incrementing value"),
        }
    }
}

/// Writes `response` to the request with this header behind what `out` holds.
pub fn encode(header: &Header, response: &Response<'_>, out: &mut Vec<u8>) {
    let begin = |parts: Parts, out: &mut Vec<u8>| out.extend_from_slice(&parts.header(header));
    match *response {
        Response::Done(cas) => begin(Parts { cas, ..EMPTY }, out),
        Response::Value {
            key,
            flags,
            length,
            cas,
        } => {
            let parts = Parts {
                extras: 4,
                key: key.len(),
                value: length,
                cas,
                ..EMPTY
            };
            begin(parts, out);
            out.extend_from_slice(&flags.to_be_bytes());
            out.extend_from_slice(key);
        }
        Response::Number(number, cas) => {
            begin(
                Parts {
                    value: 8,
                    cas,
                    ..EMPTY
                },
                out,
            );
            out.extend_from_slice(&number.to_be_bytes());
        }
        Response::Text(text) => {
            begin(
                Parts {
                    value: text.len(),
                    ..EMPTY
                },
                out,
            );
            out.extend_from_slice(text.as_bytes());
        }
        Response::Figure(name, figure) => {
            let parts = Parts {
                key: name.len(),
                value: figure.len(),
                ..EMPTY
            };
            begin(parts, out);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(figure);
        }
        Response::Absent(key) => {
            let (status, _) = Status::NotFound.parts();
            begin(
                Parts {
                    status,
                    key: key.len(),
                    ..EMPTY
                },
                out,
            );
            out.extend_from_slice(key);
        }
        Response::Failed(status) => {
            let (status, text) = status.parts();
            begin(
                Parts {
                    status,
                    value: text.len(),
                    ..EMPTY
                },
                out,
            );
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// What a header says of its reply.
#[derive(Debug, Clone, Copy)]
struct Parts {
    status: u16,
    extras: u8,
    key: usize,
    value: usize,
    cas: u64,
}

const EMPTY: Parts = Parts {
    status: 0,
    extras: 0,
    key: 0,
    value: 0,
    cas: 0,
};

impl Parts {
    fn header(self, request: &Header) -> [u8; HEADER] {
        let [k0, k1] = (self.key as u16).to_be_bytes(); // at most 250, or a figure's name
        let [s0, s1] = self.status.to_be_bytes();
        let body = usize::from(self.extras)
            .saturating_add(self.key)
            .saturating_add(self.value);
        let [b0, b1, b2, b3] = (body as u32).to_be_bytes(); // an item has at most 2^30 bytes
        let [o0, o1, o2, o3] = request.opaque;
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.cas.to_be_bytes();
        [
            MAGIC,
            request.opcode,
            k0,
            k1,
            self.extras,
            0,
            s0,
            s1,
            b0,
            b1,
            b2,
            b3,
            o0,
            o1,
            o2,
            o3,
            c0,
            c1,
            c2,
            c3,
            c4,
            c5,
            c6,
            c7,
        ]
    }
}
