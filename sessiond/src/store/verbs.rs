//! What can be asked of a store, and what it answers.

use std::ops::Deref;

use bytes::Bytes;

use super::large::Large;
use super::record::{Item, RecordMut};
use super::time::Expiry;

/// The bytes of a value.
#[derive(Debug, Clone)]
pub enum Data<'a> {
    /// In a buffer of the caller's: they are copied.
    Slice(&'a [u8]),
    /// In a buffer that the store may keep. Those of [`SHARED_MIN`](super::SHARED_MIN) bytes and more are not copied.
    Shared(Bytes),
}

impl Data<'_> {
    /// In a buffer that may be kept: copied to one if it is not in one.
    pub(super) fn to_shared(&self) -> Bytes {
        match self {
            Self::Slice(slice) => Bytes::copy_from_slice(slice),
            Self::Shared(shared) => shared.clone(),
        }
    }
}

impl Deref for Data<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Slice(slice) => slice,
            Self::Shared(shared) => shared,
        }
    }
}

impl<'a> From<&'a [u8]> for Data<'a> {
    fn from(slice: &'a [u8]) -> Self {
        Self::Slice(slice)
    }
}

/// What to keep under a key.
#[derive(Debug, Clone)]
pub struct Value<'a> {
    /// The client's flags.
    pub flags: u32,
    /// When it expires.
    pub expiry: Expiry,
    /// The value.
    pub data: Data<'a>,
    /// Whether the key came in base64; kept and given back.
    pub base64_key: bool,
}

/// On which condition [`Store::put`](super::Store::put) stores, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// The key is absent.
    Absent,
    /// The key is present.
    Present,
    /// The key is present, with this cas unique if one is given; the data goes behind its value, flags and expiry stay.
    Append(Option<u64>),
    /// As [`Condition::Append`], but the data goes in front of its value.
    Prepend(Option<u64>),
    /// The item's cas unique is this one.
    Unique(u64),
    /// The item's cas unique is this one; or it is higher, then what is stored is stale and keeps the expiry.
    UniqueOrStale(u64),
}

/// What became of [`Store::put`](super::Store::put).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is stored, with this cas unique.
    Stored(u64),
    /// The condition is not met, or the value would grow too large by it; nothing changed.
    Refused,
    /// The item's cas unique is another one; nothing changed.
    Changed,
    /// The cas unique of an absent key was given.
    Absent,
    /// It is larger than all the memory that its share of the store has; what was there is dropped.
    NoRoom,
}

/// What [`Store::count`](super::Store::count) does to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Up, where it wraps around at 2^64, or down, where it stops at 0.
    pub up: bool,
    /// By how much.
    pub delta: u64,
    /// Only if this is the item's cas unique.
    pub unique: Option<u64>,
    /// The number that an absent key starts with, without an expiry; `None` leaves it absent.
    pub initial: Option<u64>,
}

/// Why [`Store::count`](super::Store::count) did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncounted {
    /// No such item.
    Absent,
    /// The item's cas unique is another one.
    Changed,
    /// The value is not a decimal number of 64 bits.
    NotANumber,
    /// The number does not fit.
    NoRoom,
}

/// What became of [`Store::delete`](super::Store::delete) and [`Store::make_stale`](super::Store::make_stale).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is done.
    Deleted,
    /// No such item.
    Absent,
    /// The item's cas unique is another one; nothing changed.
    Changed,
}

/// How [`Store::access`](super::Store::access) comes to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// An absent key gets an empty item without expiry.
    pub vivify: bool,
    /// It is a use of the item, counted after it was looked at.
    pub counts_as_use: bool,
}

/// An item that nobody else sees or changes meanwhile.
#[derive(Debug)]
pub struct Held<'a> {
    pub(super) record: RecordMut<'a>,
    pub(super) large: &'a Large,
    pub(super) created: bool,
}

impl Held<'_> {
    /// The item.
    pub fn item(&self) -> Item<'_> {
        self.large.item(self.record.read())
    }

    /// Whether it was made by this very access.
    pub fn is_created(&self) -> bool {
        self.created
    }

    /// Gives it another expiry.
    pub fn touch(&mut self, expiry: Expiry) {
        self.record.set_expiry(expiry);
    }

    /// Remembers that a client was told to make its value anew, until it is stored or marked as stale.
    pub fn claim(&mut self) {
        self.record.set_claimed(true);
    }
}
