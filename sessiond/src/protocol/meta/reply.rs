//! Replies to meta commands: a code, the fields that were asked for, in the order they were asked, and for some a value.

use std::io::Write;

use crate::number::write_unsigned;

use super::base64;

/// The first word of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// `HD`: done, no value follows.
    Done,
    /// `VA`: done, a value of this many bytes follows.
    Value(usize),
    /// `EN`: mg and me found nothing.
    Absent,
    /// `NF`: the others found nothing.
    NotFound,
    /// `NS`: the condition of ms is not met.
    NotStored,
    /// `EX`: the cas unique is another one.
    Exists,
}

/// What stands behind the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// `s`: the value's length.
    Size(usize),
    /// `t`: seconds left; `None` without an expiry.
    TimeLeft(Option<u32>),
    /// `c`: the cas unique.
    Unique(u64),
    /// `f`: the client's flags.
    ClientFlags(u32),
    /// `l`: seconds since the last use.
    Unused(u32),
    /// `h`: whether it was read before.
    Fetched(bool),
    /// `O`: the client's token.
    Opaque(&'a [u8]),
    /// `k`: the key, and whether it is sent in base64.
    Key(&'a [u8], bool),
    /// `W`: this client is to make the value anew.
    Won,
    /// `Z`: another client is making the value anew.
    Claimed,
    /// `X`: the value is out of date.
    Stale,
}

/// A reply that is being written.
#[derive(Debug)]
pub struct Reply<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Reply<'o> {
    /// Begins a reply behind what `out` holds.
    pub fn begin(code: Code, out: &'o mut Vec<u8>) -> Self {
        out.extend_from_slice(match code {
            Code::Done => b"HD",
            Code::Value(_) => b"VA",
            Code::Absent => b"EN",
            Code::NotFound => b"NF",
            Code::NotStored => b"NS",
            Code::Exists => b"EX",
        });
        let mut reply = Self { out };
        if let Code::Value(length) = code {
            reply.number(b" ", length as u64);
        }
        reply
    }

    /// Goes on with a field.
    pub fn field(&mut self, field: Field<'_>) {
        match field {
            Field::Size(size) => self.number(b" s", size as u64),
            Field::TimeLeft(Some(seconds)) => self.number(b" t", seconds.into()),
            Field::TimeLeft(None) => self.out.extend_from_slice(b" t-1"),
            Field::Unique(unique) => self.number(b" c", unique),
            Field::ClientFlags(flags) => self.number(b" f", flags.into()),
            Field::Unused(seconds) => self.number(b" l", seconds.into()),
            Field::Fetched(fetched) => self.number(b" h", fetched.into()),
            Field::Opaque(token) => {
                self.out.extend_from_slice(b" O");
                self.out.extend_from_slice(token);
            }
            Field::Key(key, encoded) => {
                self.out.extend_from_slice(b" k");
                if encoded {
                    base64::encode(key, self.out);
                    self.out.extend_from_slice(b" b");
                } else {
                    self.out.extend_from_slice(key);
                }
            }
            Field::Won => self.out.extend_from_slice(b" W"),
            Field::Claimed => self.out.extend_from_slice(b" Z"),
            Field::Stale => self.out.extend_from_slice(b" X"),
        }
    }

    /// Ends a reply that has no value.
    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends a reply that began with [`Code::Value`].
    pub fn end_with(self, value: &[u8]) {
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, name: &[u8], number: u64) {
        self.out.extend_from_slice(name);
        write_unsigned(number, self.out);
    }
}

/// What me tells of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debug<'a> {
    /// The key, and whether it is sent in base64.
    pub key: (&'a [u8], bool),
    /// Seconds left; `None` without an expiry.
    pub time_left: Option<u32>,
    /// Seconds since the last use.
    pub unused: u32,
    /// The cas unique.
    pub unique: u64,
    /// Whether it was read since it was stored.
    pub fetched: bool,
    /// What memcached would count for the item.
    pub size: usize,
}

/// Writes the mg that asks for a key, behind what `out` holds (`lru_crawler mgdump`).
pub fn encode_get(key: &[u8], in_base64: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"mg ");
    if in_base64 {
        base64::encode(key, out);
        out.extend_from_slice(b" b");
    } else {
        out.extend_from_slice(key);
    }
    out.extend_from_slice(b"\r\n");
}

impl Debug<'_> {
    /// Writes the line behind what `out` holds. All items are of one class here, which is called 1.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ME ");
        match self.key {
            (key, true) => base64::encode(key, out),
            (key, false) => out.extend_from_slice(key),
        }
        let exp = match self.time_left {
            None => -1,
            Some(left) => i64::from(left).saturating_neg(),
        };
        let (unused, unique, size) = (self.unused, self.unique, self.size);
        let fetched = if self.fetched { "yes" } else { "no" };
        // Writing to memory does not fail.
        let _ = write!(
            out,
            " exp={exp} la={unused} cas={unique} fetch={fetched} cls=1 size={size}\r\n"
        );
    }
}
