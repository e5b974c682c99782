//! What members of our own kind say to each other: one message is a context and a sequence of items. Pure.
//!
//! ```text
//!   "LNS" version 1 | length context | sent 8 | item | item | …
//!   item = kind 1 | …       numbers are LEB128 where they vary, little-endian where they do not
//! ```
//!
//! Every item can be applied by itself, twice, and in any order: that is the property of what it carries ([`super::replica`]). So a
//! first change travels with its creation, a new id with its session, and a state transfer is a message with many items.
//!
//! Times of use are sent as "so long ago", so that members' clocks need not agree. Tomcats never see these messages: they go in frames
//! of raw bytes (send option 1), and only to members that said that they understand them.

mod item;
#[cfg(test)]
mod tests;

use super::stamp::Stamp;
use crate::session::id::RANDOM_BYTES;
use crate::session::{Key, Packed, Timestamp};

pub use item::{Gone, Item, Place, Record, Told};

/// What a message begins with: a mark and the version.
pub const MAGIC: [u8; 4] = *b"LNS\x01";

/// The longest context name.
pub const CONTEXT_MAX: usize = 255;

/// Messages that hold many sessions end at the first session that passes this size.
pub const CHUNK: usize = 256 << 10;

/// Room for a message at first: a session with a few short attributes.
const MESSAGE_USUAL: usize = 512;

/// The longest message that is read: a chunk and one session of the largest size, generously.
pub const MESSAGE_MAX: usize = 4 << 20;

/// At most so many registers of one session are read from a message.
pub const REGISTERS_MAX: usize = 1 << 16;

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NativeError {
    /// It is not of this kind or version.
    #[error(
        "the message of a member is not in this program's format, version 1; let all members run the same version"
    )]
    Format,
    /// It contradicts itself.
    #[error("the message of a member is damaged at byte {at}: {what}")]
    Damaged {
        /// Where.
        at: usize,
        /// How.
        what: &'static str,
    },
}

const RECORD: u8 = 0;
const EXPIRED: u8 = 1;
const MOVED: u8 = 2;
const ENDED: u8 = 3;
const ACCESSED: u8 = 4;
const ASK: u8 = 5;
const NEED: u8 = 6;
const RANGE: u8 = 7;
const VERSION: u8 = 8;
const COMPLETE: u8 = 9;
const NO_CONTEXT: u8 = 10;
const PLACE: u8 = 11;
const OWED: u8 = 12;
const CLAIM: u8 = 13;

const FULL: u8 = 1;
const INTERVAL: u8 = 2;
const ROUTE: u8 = 4;
const ORIGIN: u8 = 8;

/// A message being written.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    start: usize,
    sent: Timestamp,
}

impl Writer {
    /// Begins a message about this context.
    pub fn new(context: &str, now: Timestamp) -> Self {
        let mut out = Vec::with_capacity(MESSAGE_USUAL);
        out.extend(MAGIC);
        let len = context.len().min(CONTEXT_MAX);
        out.push(len as u8);
        out.extend(&context.as_bytes()[..len]);
        out.extend(now.0.to_le_bytes());
        let start = out.len();
        Self {
            out,
            start,
            sent: now,
        }
    }

    /// Whether it has no items.
    pub fn is_empty(&self) -> bool {
        self.out.len() == self.start
    }

    /// How long it is.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Adds an item.
    pub fn item(&mut self, item: &Item<'_>) {
        match item {
            Item::Record(record) => {
                let told = record.told.iter().copied();
                self.record(record, record.told.len(), told);
            }
            Item::Gone(key, Gone::Expired(touched)) => {
                self.tag(EXPIRED, *key);
                self.ago(*touched);
            }
            Item::Gone(key, Gone::Moved { to, stamp, alias }) => {
                self.tag(MOVED, *key);
                self.out.extend(to.as_bytes());
                self.stamp(*stamp);
                self.out.push(u8::from(*alias));
            }
            Item::Gone(key, Gone::Ended) => self.tag(ENDED, *key),
            Item::Accessed(key, touched) => {
                self.tag(ACCESSED, *key);
                self.ago(*touched);
            }
            Item::Ask => self.out.push(ASK),
            Item::Need(key) => self.tag(NEED, *key),
            Item::Range(low, high) => {
                self.tag(RANGE, *low);
                self.out.extend(high.as_bytes());
            }
            Item::Version(key, version) => {
                self.tag(VERSION, *key);
                self.out.extend(version.to_le_bytes());
            }
            Item::Owed(key, version) => {
                self.tag(OWED, *key);
                self.out.extend(version.to_le_bytes());
            }
            Item::Complete(count) => {
                self.out.push(COMPLETE);
                self.number(*count);
            }
            Item::NoContext => self.out.push(NO_CONTEXT),
            Item::Place(key, place) => {
                self.tag(PLACE, *key);
                self.place(*place);
            }
            Item::Claim(key, place, version) => {
                self.tag(CLAIM, *key);
                self.place(*place);
                self.out.extend(version.to_le_bytes());
            }
        }
    }

    /// Adds a session without a list of its `count` registers; those in `record` are not looked at.
    pub fn record<'t>(
        &mut self,
        record: &Record<'_>,
        count: usize,
        told: impl Iterator<Item = Told<'t>>,
    ) {
        self.tag(RECORD, record.key);
        let (interval, set) = record.interval;
        let (route, named) = record.route;
        let flag = |bit, is: bool| if is { bit } else { 0 };
        self.out.push(
            flag(FULL, record.full)
                | flag(INTERVAL, set != Stamp::ZERO)
                | flag(ROUTE, named != Stamp::ZERO)
                | flag(ORIGIN, record.origin.is_some()),
        );
        self.number(record.created.0);
        self.ago(record.last_accessed);
        self.ago(record.touched);
        self.out.extend(record.primary.to_le_bytes());
        self.out.extend(interval.to_le_bytes());
        if set != Stamp::ZERO {
            self.stamp(set);
        }
        self.short(route);
        if named != Stamp::ZERO {
            self.stamp(named);
        }
        if let Some(origin) = record.origin {
            self.out.extend(origin.as_bytes());
        }
        self.number(count as u64);
        for told in told {
            match told {
                Told::Set { name, stamp, value } => {
                    self.short(name);
                    self.stamp(stamp);
                    self.out.push(value.kind());
                    self.number(value.body().len() as u64);
                    self.out.extend(value.body());
                }
                Told::Removed { name, stamp } => {
                    self.out.push(0);
                    self.out.extend(name.to_le_bytes());
                    self.stamp(stamp);
                }
            }
        }
    }

    fn tag(&mut self, kind: u8, key: Key) {
        self.out.push(kind);
        self.out.extend(key.as_bytes());
    }

    fn ago(&mut self, then: Timestamp) {
        self.number(self.sent.since(then));
    }

    fn place(&mut self, place: Place) {
        self.stamp(place.stamp);
        self.out.extend(place.primary.to_le_bytes());
        self.out.extend(place.backup.to_le_bytes());
    }

    fn stamp(&mut self, stamp: Stamp) {
        self.out.extend(stamp.time.to_le_bytes());
        self.out.extend(stamp.member.to_le_bytes());
    }

    /// Names and routes have at most 255 bytes.
    fn short(&mut self, text: &str) {
        let len = text.len().min(usize::from(u8::MAX));
        self.out.push(len as u8);
        self.out.extend(&text.as_bytes()[..len]);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }
}

/// A message being read.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    now: Timestamp,
    /// The context that it is about.
    pub context: &'a str,
    /// When it was sent, by the sender's clock.
    pub sent: Timestamp,
}

impl<'a> Reader<'a> {
    /// Reads the beginning. `now` is by this member's clock.
    pub fn new(bytes: &'a [u8], now: Timestamp) -> Result<Self, NativeError> {
        let mut reader = Self {
            bytes,
            at: 0,
            now,
            context: "",
            sent: now,
        };
        if bytes.len() > MESSAGE_MAX || reader.array::<4>() != Ok(MAGIC) {
            return Err(NativeError::Format);
        }
        reader.context = reader.short()?;
        reader.sent = Timestamp(u64::from_le_bytes(reader.array()?));
        Ok(reader)
    }

    /// The next item; `None` at the end.
    pub fn item(&mut self) -> Result<Option<Item<'a>>, NativeError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let [kind] = self.array()?;
        Ok(Some(match kind {
            RECORD => Item::Record(self.record()?),
            EXPIRED => Item::Gone(self.key()?, Gone::Expired(self.ago()?)),
            MOVED => {
                let (key, to, stamp) = (self.key()?, self.key()?, self.stamp()?);
                let alias = self.array()? != [0];
                Item::Gone(key, Gone::Moved { to, stamp, alias })
            }
            ENDED => Item::Gone(self.key()?, Gone::Ended),
            ACCESSED => Item::Accessed(self.key()?, self.ago()?),
            ASK => Item::Ask,
            NEED => Item::Need(self.key()?),
            RANGE => Item::Range(self.key()?, self.key()?),
            VERSION => Item::Version(self.key()?, u64::from_le_bytes(self.array()?)),
            OWED => Item::Owed(self.key()?, u64::from_le_bytes(self.array()?)),
            COMPLETE => Item::Complete(self.number()?),
            NO_CONTEXT => Item::NoContext,
            PLACE => Item::Place(self.key()?, self.place()?),
            CLAIM => {
                let (key, place) = (self.key()?, self.place()?);
                Item::Claim(key, place, u64::from_le_bytes(self.array()?))
            }
            _ => return Err(self.damaged("an item of an unknown kind")),
        }))
    }

    fn place(&mut self) -> Result<Place, NativeError> {
        Ok(Place {
            stamp: self.stamp()?,
            primary: u32::from_le_bytes(self.array()?),
            backup: u32::from_le_bytes(self.array()?),
        })
    }

    fn record(&mut self) -> Result<Record<'a>, NativeError> {
        let key = self.key()?;
        let [flags] = self.array()?;
        let created = Timestamp(self.number()?);
        let (last_accessed, touched) = (self.ago()?, self.ago()?);
        let primary = u32::from_le_bytes(self.array()?);
        let interval = i32::from_le_bytes(self.array()?);
        let set = self.stamp_if(flags & INTERVAL != 0)?;
        let route = self.short()?;
        let named = self.stamp_if(flags & ROUTE != 0)?;
        let has_origin = flags & ORIGIN != 0;
        let origin = has_origin.then(|| self.key()).transpose()?;
        let count = self.number()?;
        // A register takes 14 bytes at least, so a number that is a lie takes no memory.
        let left = self.bytes.len() - self.at;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= REGISTERS_MAX && *count <= left / 14)
            .ok_or_else(|| self.damaged("a session with too many attributes"))?;
        let mut told = Vec::with_capacity(count);
        for _ in 0..count {
            told.push(self.told()?);
        }
        Ok(Record {
            key,
            full: flags & FULL != 0,
            created,
            last_accessed,
            touched,
            primary,
            interval: (interval, set),
            route: (route, named),
            origin,
            told,
        })
    }

    fn told(&mut self) -> Result<Told<'a>, NativeError> {
        let name = self.short()?;
        if name.is_empty() {
            let name = u64::from_le_bytes(self.array()?);
            let stamp = self.stamp()?;
            return Ok(Told::Removed { name, stamp });
        }
        let stamp = self.stamp()?;
        let [kind] = self.array()?;
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let body = self.take(len)?;
        let value = Packed::parse(kind, body)
            .ok_or_else(|| self.damaged("an attribute that is of no type"))?;
        Ok(Told::Set { name, stamp, value })
    }

    fn stamp_if(&mut self, is_there: bool) -> Result<Stamp, NativeError> {
        if is_there {
            self.stamp()
        } else {
            Ok(Stamp::ZERO)
        }
    }

    fn stamp(&mut self) -> Result<Stamp, NativeError> {
        Ok(Stamp {
            time: u64::from_le_bytes(self.array()?),
            member: u32::from_le_bytes(self.array()?),
        })
    }

    fn ago(&mut self) -> Result<Timestamp, NativeError> {
        Ok(Timestamp(self.now.0.saturating_sub(self.number()?)))
    }

    fn key(&mut self) -> Result<Key, NativeError> {
        Ok(Key::from_bytes(self.array::<RANDOM_BYTES>()?))
    }

    fn short(&mut self) -> Result<&'a str, NativeError> {
        let [len] = self.array()?;
        let text = self.take(usize::from(len))?;
        std::str::from_utf8(text).map_err(|_| self.damaged("a name that is no text"))
    }

    fn number(&mut self) -> Result<u64, NativeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number that is too long"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NativeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], NativeError> {
        let rest = &self.bytes[self.at..];
        let (taken, _) = rest
            .split_at_checked(len)
            .ok_or_else(|| self.damaged("the end is missing"))?;
        self.at += len;
        Ok(taken)
    }

    fn damaged(&self, what: &'static str) -> NativeError {
        NativeError::Damaged { at: self.at, what }
    }
}
