//! An item as bytes in a segment: nothing is aligned, and there are no links, so that 18 bytes are all it takes beside key
//! and value.
//!
//! ```text
//!   0      1            2              4        8         12          18
//!   marks  key length   value length   expiry   last use  cas unique  key  [flags, unless 0]  value | number of large value
//! ```

use bytes::Bytes;

use super::time::{Expiry, UnixTime};

/// Values of this size and more have a buffer of their own: they are neither copied when they arrive in one nor when
/// they are sent ([`Item::shared`]).
pub const SHARED_MIN: usize = 16 << 10;

/// What stands before the key.
pub(super) const HEADER: usize = 18;
/// What the client's flags take, where they are not 0.
const FLAGS_SIZE: usize = 4;
/// What stands for a large value.
const NUMBER_SIZE: usize = 4;
/// Keys are not longer (memcached's `KEY_MAX_LENGTH`).
pub(super) const KEY_MAX: usize = 250;
const MARKS: usize = 0;
const KEY_LENGTH: usize = 1;
const VALUE_LENGTH: usize = 2;
const EXPIRY: usize = 4;
const USED: usize = 8;
const UNIQUE: usize = 12;

/// The client's flags stand between key and value.
const HAS_FLAGS: u8 = 1;
/// It was read.
const FETCHED: u8 = 1 << 1;
/// Some client was told to make its value anew.
const CLAIMED: u8 = 1 << 2;
/// Its value is out of date.
const STALE: u8 = 1 << 3;
/// Its key came in base64, and is given back so.
const BASE64_KEY: u8 = 1 << 4;
/// The value is elsewhere, under the number that stands here.
const LARGE: u8 = 1 << 5;
/// How often it was used, in two bits.
const FREQUENCY_SHIFT: u8 = 6;
/// The marks that clients can see, which outlast a restart.
pub(super) const LASTING: u8 = FETCHED | CLAIMED | STALE | BASE64_KEY | 3 << FREQUENCY_SHIFT;
/// More uses than these are not counted.
pub(super) const FREQUENCY_MAX: u8 = 3;
/// In the upper byte of the value length: the record is dead, its place not yet reused. Small values leave that bit
/// free.
const DEAD: u16 = 1 << 15;
const _: () = assert!(SHARED_MIN < DEAD as usize);

/// What an item that is stored is to look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft<'a> {
    pub(super) key: &'a [u8],
    pub(super) flags: u32,
    pub(super) expiry: Expiry,
    /// Marks and frequency.
    pub(super) marks: Marks,
    pub(super) used: UnixTime,
    pub(super) body: Body<'a>,
}

/// Where the value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'a> {
    /// Here, in two parts that go one behind the other.
    Parts([&'a [u8]; 2]),
    /// Among the large values, under this number.
    Number(u32),
}

/// The marks of an item that are not about its layout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    pub(super) fn new(base64_key: bool) -> Self {
        Self::default().with(BASE64_KEY, base64_key)
    }

    /// From the byte that [`Marks::byte`] gave.
    pub(super) fn from_byte(byte: u8) -> Self {
        Self(byte & LASTING)
    }

    pub(super) fn byte(self) -> u8 {
        self.0
    }

    pub(super) fn stale(self, claimed: bool) -> Self {
        self.with(STALE, true).with(CLAIMED, claimed)
    }

    pub(super) fn with_frequency(self, frequency: u8) -> Self {
        let others = self.0 & ((1 << FREQUENCY_SHIFT) - 1);
        Self(others | frequency.min(FREQUENCY_MAX) << FREQUENCY_SHIFT)
    }

    fn with(self, mark: u8, set: bool) -> Self {
        Self(if set { self.0 | mark } else { self.0 & !mark })
    }
}

impl Draft<'_> {
    /// How many bytes of a segment it takes.
    pub(super) fn length(&self) -> usize {
        let value = match self.body {
            Body::Parts(parts) => parts[0].len() + parts[1].len(),
            Body::Number(_) => NUMBER_SIZE,
        };
        HEADER + self.key.len() + flags_size(self.flags) + value
    }

    /// Writes it to a place of exactly its length.
    pub(super) fn write(&self, unique: u64, place: &mut [u8]) {
        let (number, layout, parts) = match &self.body {
            Body::Parts(parts) => ([0; NUMBER_SIZE], 0, *parts),
            Body::Number(number) => (number.to_ne_bytes(), LARGE, [b"".as_slice(); 2]),
        };
        let flagged = if self.flags == 0 { 0 } else { HAS_FLAGS };
        let value_length = (parts[0].len() + parts[1].len()) as u16; // below SHARED_MIN
        let flags = self.flags.to_ne_bytes();
        let (header, mut rest) = place.split_at_mut(HEADER);
        header[MARKS] = self.marks.0 | layout | flagged;
        header[KEY_LENGTH] = self.key.len() as u8; // at most KEY_MAX
        header[VALUE_LENGTH..EXPIRY].copy_from_slice(&value_length.to_ne_bytes());
        header[EXPIRY..USED].copy_from_slice(&self.expiry.to_seconds().to_ne_bytes());
        header[USED..UNIQUE].copy_from_slice(&self.used.0.to_ne_bytes());
        header[UNIQUE..].copy_from_slice(&unique.to_le_bytes()[..HEADER - UNIQUE]);
        let number = if layout == LARGE { &number[..] } else { b"" };
        for part in [
            self.key,
            &flags[..flags_size(self.flags)],
            parts[0],
            parts[1],
            number,
        ] {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
        }
    }
}

const fn flags_size(flags: u32) -> usize {
    if flags == 0 { 0 } else { FLAGS_SIZE }
}

/// A record of a segment, live or dead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// The record that begins where `bytes` begin.
    pub(super) fn first_of(bytes: &'a [u8]) -> Self {
        let length = Self(bytes).length();
        Self(&bytes[..length])
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// How many bytes of the segment it takes.
    pub(super) fn length(self) -> usize {
        let value = if self.is(LARGE) {
            NUMBER_SIZE
        } else {
            self.value_length()
        };
        self.value_offset() + value
    }

    pub(super) fn is_dead(self) -> bool {
        self.length_field() & DEAD != 0
    }

    pub(super) fn key(self) -> &'a [u8] {
        &self.0[HEADER..HEADER + usize::from(self.0[KEY_LENGTH])]
    }

    pub(super) fn expiry(self) -> Expiry {
        Expiry::from_seconds(self.seconds(EXPIRY))
    }

    pub(super) fn last_used(self) -> UnixTime {
        UnixTime(self.seconds(USED))
    }

    pub(super) fn unique(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..HEADER - UNIQUE].copy_from_slice(&self.0[UNIQUE..HEADER]);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn flags(self) -> u32 {
        let flags = &self.0[self.value_offset() - FLAGS_SIZE..self.value_offset()];
        match flags.try_into() {
            Ok(flags) if self.is(HAS_FLAGS) => u32::from_ne_bytes(flags),
            _ => 0,
        }
    }

    pub(super) fn marks(self) -> Marks {
        Marks(self.0[MARKS] & LASTING)
    }

    pub(super) fn frequency(self) -> u8 {
        self.0[MARKS] >> FREQUENCY_SHIFT
    }

    pub(super) fn was_fetched(self) -> bool {
        self.is(FETCHED)
    }

    pub(super) fn is_claimed(self) -> bool {
        self.is(CLAIMED)
    }

    /// The number of its large value, if it has one.
    pub(super) fn number(self) -> Option<u32> {
        let offset = self.value_offset();
        let number = self.0.get(offset..offset + NUMBER_SIZE);
        let number = number.filter(|_| self.is(LARGE))?;
        number.try_into().ok().map(u32::from_ne_bytes)
    }

    /// Its value, unless it is large.
    pub(super) fn small_value(self) -> &'a [u8] {
        let offset = self.value_offset();
        &self.0[offset..offset + self.value_length()]
    }

    fn value_offset(self) -> usize {
        let flags = if self.is(HAS_FLAGS) { FLAGS_SIZE } else { 0 };
        HEADER + usize::from(self.0[KEY_LENGTH]) + flags
    }

    fn value_length(self) -> usize {
        usize::from(self.length_field() & !DEAD)
    }

    fn length_field(self) -> u16 {
        u16::from_ne_bytes([self.0[VALUE_LENGTH], self.0[VALUE_LENGTH + 1]])
    }

    fn seconds(self, at: usize) -> u32 {
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn is(self, mark: u8) -> bool {
        self.0[MARKS] & mark != 0
    }
}

/// A record that may be changed, but not its length.
#[derive(Debug)]
pub(super) struct RecordMut<'a>(&'a mut [u8]);

impl<'a> RecordMut<'a> {
    /// The record that begins where `bytes` begin.
    pub(super) fn first_of(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn read(&self) -> Record<'_> {
        Record::first_of(self.0)
    }

    pub(super) fn set_expiry(&mut self, expiry: Expiry) {
        self.0[EXPIRY..USED].copy_from_slice(&expiry.to_seconds().to_ne_bytes());
    }

    /// It was asked for: by an `add`, or to be read.
    pub(super) fn use_now(&mut self, fetched: bool, now: UnixTime) {
        let frequency = self.read().frequency() + 1;
        let marks = Marks(self.0[MARKS]);
        let mut changed = marks;
        if fetched {
            changed = changed.with(FETCHED, true);
        }
        changed = changed.with_frequency(frequency);
        // What stays the same is not written: the line of the cache stays clean.
        if changed != marks {
            self.0[MARKS] = changed.0;
        }
        if self.read().last_used() != now {
            self.0[USED..UNIQUE].copy_from_slice(&now.0.to_ne_bytes());
        }
    }

    pub(super) fn set_frequency(&mut self, frequency: u8) {
        self.0[MARKS] = Marks(self.0[MARKS]).with_frequency(frequency).0;
    }

    pub(super) fn set_claimed(&mut self, claimed: bool) {
        self.0[MARKS] = Marks(self.0[MARKS]).with(CLAIMED, claimed).0;
    }

    /// Its value is out of date from now on; readers that knew the cas unique see that.
    pub(super) fn set_stale(&mut self, unique: u64) {
        self.0[UNIQUE..HEADER].copy_from_slice(&unique.to_le_bytes()[..HEADER - UNIQUE]);
        self.0[MARKS] = Marks(self.0[MARKS]).stale(false).0;
    }

    pub(super) fn set_dead(&mut self) {
        let length = self.read().length_field() | DEAD;
        self.0[VALUE_LENGTH..EXPIRY].copy_from_slice(&length.to_ne_bytes());
    }

    /// Puts another item of the same length and key there.
    pub(super) fn overwrite(&mut self, draft: &Draft<'_>, unique: u64) {
        let length = self.read().length();
        draft.write(unique, &mut self.0[..length]);
    }
}

/// An item of the store, as long as nobody changes it.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    record: Record<'a>,
    large: Option<&'a Bytes>,
    cost: usize,
}

impl<'a> Item<'a> {
    pub(super) fn new(record: Record<'a>, large: Option<&'a Bytes>) -> Self {
        let cost = record.length() + large.map_or(0, |value| super::large::cost(value.len()));
        Self {
            record,
            large,
            cost,
        }
    }

    /// Its key.
    pub fn key(&self) -> &'a [u8] {
        self.record.key()
    }

    /// Its value.
    pub fn value(&self) -> &'a [u8] {
        match self.large {
            Some(value) => value,
            None => self.record.small_value(),
        }
    }

    /// A handle to the value when it is at least [`SHARED_MIN`] long: it can be sent without a copy, and stays what it
    /// is when the item is changed or dropped meanwhile.
    pub fn shared(&self) -> Option<Bytes> {
        self.large.cloned()
    }

    /// The client's flags.
    pub fn flags(&self) -> u32 {
        self.record.flags()
    }

    /// Its cas unique: another one after every change of the value.
    pub fn unique(&self) -> u64 {
        self.record.unique()
    }

    /// When it is gone.
    pub fn expiry(&self) -> Expiry {
        self.record.expiry()
    }

    /// When it was last used: stored, read, touched, or found by an `add`.
    pub fn last_used(&self) -> UnixTime {
        self.record.last_used()
    }

    /// Whether it was read since it was stored.
    pub fn was_fetched(&self) -> bool {
        self.record.was_fetched()
    }

    /// Whether some client was told to make its value anew, and has not stored it yet.
    pub fn is_claimed(&self) -> bool {
        self.record.is_claimed()
    }

    /// Whether its value is out of date.
    pub fn is_stale(&self) -> bool {
        self.record.is(STALE)
    }

    /// Whether its key came in base64.
    pub fn has_base64_key(&self) -> bool {
        self.record.is(BASE64_KEY)
    }

    /// What it costs, in bytes, without its place in the table.
    pub fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn marks(&self) -> Marks {
        self.record.marks()
    }
}
