//! An item: key, flags, expiry, cas unique, value, how it was used, and what all that costs.

use bytes::Bytes;

/// What an item costs beside its key and value: itself, its place in the order of use, its place in the table, and what
/// the allocator adds to key and value.
const FRAME: usize = size_of::<Kept>() + 8 + 8 + 16;

/// Exptimes up to 30 days count from now, larger ones are Unix times (memcached's `REALTIME_MAXDELTA`).
const RELATIVE_MAX: i32 = 60 * 60 * 24 * 30;

/// Seconds since 1970, good until 2106.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u32);

/// Before every `now`. Not 0, which is how [`Item`] keeps [`Expiry::Never`].
const PAST: UnixTime = UnixTime(1);

/// When an item is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Not by itself.
    Never,
    /// From this second on.
    At(UnixTime),
}

impl Expiry {
    /// What an exptime of the protocol means at `now` for a process that runs since `started`.
    pub(super) fn from_exptime(exptime: i32, now: UnixTime, started: UnixTime) -> Self {
        match u32::try_from(exptime) {
            Ok(0) => Self::Never,
            Ok(seconds) if exptime <= RELATIVE_MAX => {
                Self::At(UnixTime(now.0.saturating_add(seconds)))
            }
            Ok(unix) if unix > started.0 => Self::At(UnixTime(unix)),
            Ok(_) | Err(_) => Self::At(PAST),
        }
    }

    /// Whether an item with this expiry is gone at `now`.
    pub fn is_past(self, now: UnixTime) -> bool {
        match self {
            Self::Never => false,
            Self::At(time) => time <= now,
        }
    }
}

/// An item of the store, as long as nobody changes it.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a>(&'a Kept);

/// Values of this size and more are kept in a buffer of their own, so that they are neither copied when they arrive nor
/// when they are sent ([`Item::shared`]).
pub const SHARED_MIN: usize = 16 << 10;

/// An item at its place.
#[derive(Debug)]
pub(super) struct Kept {
    /// Key, client's flags where they are not 0, and value, one behind the other: one allocation an item.
    bytes: Box<[u8]>,
    /// A large value, which stands here in place of in `bytes`.
    large: Option<Bytes>,
    unique: u64,
    /// The second from which it is gone; 0: never.
    expires: u32,
    hash: u32,
    /// The second of its last use.
    used: u32,
    key_length: u8,
    marks: u8,
}

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

/// An item before it has its place: what the verbs make, and a shard completes with hash and cas unique.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) key: &'a [u8],
    /// The value, in two parts that go one behind the other.
    pub(super) value: [&'a [u8]; 2],
    /// The value in place of the parts, when it has its final buffer.
    pub(super) shared: Option<Bytes>,
    pub(super) flags: u32,
    pub(super) expiry: Expiry,
    pub(super) base64_key: bool,
}

impl Draft<'_> {
    /// What the item will cost, in bytes.
    pub(super) fn cost(&self) -> usize {
        cost(self.key.len(), self.value_length(), self.flags)
    }

    /// How long the value will be.
    pub(super) fn value_length(&self) -> usize {
        match &self.shared {
            Some(value) => value.len(),
            None => self.value.iter().map(|part| part.len()).sum(),
        }
    }

    /// The item, stored at `now`.
    pub(super) fn complete(&self, hash: u32, unique: u64, now: UnixTime) -> Kept {
        let flags = self.flags.to_ne_bytes();
        let flags = &flags[..flags_size(self.flags)];
        let is_large = self.value_length() >= SHARED_MIN;
        let large = is_large.then(|| match &self.shared {
            Some(value) => value.clone(),
            None => self.value.concat().into(),
        });
        let value = match (&large, &self.shared) {
            (Some(_), _) => [b"".as_slice(); 2],
            (None, Some(value)) => [&**value, b""],
            (None, None) => self.value,
        };
        let mut item = Kept {
            bytes: [self.key, flags, value[0], value[1]]
                .concat()
                .into_boxed_slice(),
            large,
            unique,
            expires: 0,
            hash,
            used: now.0,
            key_length: self.key.len() as u8, // a key has at most 250 bytes
            marks: 0,
        };
        item.mark(HAS_FLAGS, self.flags != 0);
        item.mark(BASE64_KEY, self.base64_key);
        item.set_expiry(self.expiry);
        item
    }
}

impl<'a> Item<'a> {
    pub(super) fn new(kept: &'a Kept) -> Self {
        Self(kept)
    }

    /// Its key.
    pub fn key(&self) -> &'a [u8] {
        self.0.key()
    }

    /// Its value.
    pub fn value(&self) -> &'a [u8] {
        self.0.value()
    }

    /// A handle to the value when it is at least [`SHARED_MIN`] long: it can be sent without a copy, and stays what it
    /// is when the item is changed or dropped meanwhile.
    pub fn shared(&self) -> Option<Bytes> {
        self.0.large.clone()
    }

    /// The client's flags.
    pub fn flags(&self) -> u32 {
        self.0.flags()
    }

    /// Its cas unique: another one after every change of the value.
    pub fn unique(&self) -> u64 {
        self.0.unique()
    }

    /// When it is gone.
    pub fn expiry(&self) -> Expiry {
        self.0.expiry()
    }

    /// When it was last used: stored, read, touched, or found by an `add`.
    pub fn last_used(&self) -> UnixTime {
        UnixTime(self.0.used)
    }

    /// Whether it was read since it was stored.
    pub fn was_fetched(&self) -> bool {
        self.0.is(FETCHED)
    }

    /// Whether some client was told to make its value anew, and has not stored it yet.
    pub fn is_claimed(&self) -> bool {
        self.0.is_claimed()
    }

    /// Whether its value is out of date.
    pub fn is_stale(&self) -> bool {
        self.0.is(STALE)
    }

    /// Whether its key came in base64.
    pub fn has_base64_key(&self) -> bool {
        self.0.is(BASE64_KEY)
    }

    /// What it costs, in bytes.
    pub fn cost(&self) -> usize {
        self.0.cost()
    }
}

impl Kept {
    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_length)]
    }

    pub(super) fn value(&self) -> &[u8] {
        self.large.as_deref().unwrap_or(self.flags_and_value().1)
    }

    pub(super) fn flags(&self) -> u32 {
        let (flags, _) = self.flags_and_value();
        flags.try_into().map_or(0, u32::from_ne_bytes)
    }

    fn flags_and_value(&self) -> (&[u8], &[u8]) {
        let behind_key = &self.bytes[usize::from(self.key_length)..];
        behind_key.split_at(if self.is(HAS_FLAGS) { FLAGS_SIZE } else { 0 })
    }

    pub(super) fn unique(&self) -> u64 {
        self.unique
    }

    pub(super) fn expiry(&self) -> Expiry {
        match self.expires {
            0 => Expiry::Never,
            time => Expiry::At(UnixTime(time)),
        }
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.is(CLAIMED)
    }

    pub(super) fn set_expiry(&mut self, expiry: Expiry) {
        self.expires = match expiry {
            Expiry::Never => 0,
            Expiry::At(UnixTime(time)) => time.max(PAST.0),
        };
    }

    /// It was asked for by an `add`.
    pub(super) fn use_now(&mut self, now: UnixTime) {
        self.used = now.0;
    }

    /// It was read.
    pub(super) fn fetch_now(&mut self, now: UnixTime) {
        self.used = now.0;
        self.mark(FETCHED, true);
    }

    pub(super) fn set_claimed(&mut self, claimed: bool) {
        self.mark(CLAIMED, claimed);
    }

    /// Its value is out of date from now on; readers that knew the cas unique see that.
    pub(super) fn set_stale(&mut self, unique: u64) {
        self.unique = unique;
        self.mark(STALE, true);
    }

    /// Takes the marks of the item whose value was changed in place.
    pub(super) fn inherit_marks(&mut self, old: &Self) {
        self.marks = old.marks;
    }

    fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    fn mark(&mut self, mark: u8, set: bool) {
        self.marks = if set {
            self.marks | mark
        } else {
            self.marks & !mark
        };
    }

    /// The part of its key's hash that the table needs.
    pub(super) fn hash(&self) -> u32 {
        self.hash
    }

    /// What it costs, in bytes.
    pub(super) fn cost(&self) -> usize {
        FRAME + self.bytes.len() + self.large.as_ref().map_or(0, Bytes::len)
    }
}

/// What flags that are not 0 take.
const FLAGS_SIZE: usize = size_of::<u32>();

const fn flags_size(flags: u32) -> usize {
    if flags == 0 { 0 } else { FLAGS_SIZE }
}

/// What an item with a key and a value of these lengths and these flags costs, in bytes.
pub const fn cost(key_length: usize, value_length: usize, flags: u32) -> usize {
    FRAME + key_length + value_length + flags_size(flags)
}

#[cfg(test)]
mod tests {
    use super::{Expiry, PAST, RELATIVE_MAX, UnixTime};

    #[test]
    fn exptimes_mean_what_they_mean_in_memcached() {
        let started = UnixTime(1_700_000_000);
        let now = UnixTime(started.0 + 1000);
        for (exptime, expiry) in [
            (0, Expiry::Never),
            (1, Expiry::At(UnixTime(now.0 + 1))),
            (
                RELATIVE_MAX,
                Expiry::At(UnixTime(now.0 + RELATIVE_MAX as u32)),
            ),
            (RELATIVE_MAX + 1, Expiry::At(PAST)),
            (1_700_000_000, Expiry::At(PAST)),
            (1_700_000_001, Expiry::At(UnixTime(1_700_000_001))),
            (-1, Expiry::At(PAST)),
            (i32::MIN, Expiry::At(PAST)),
        ] {
            assert_eq!(
                Expiry::from_exptime(exptime, now, started),
                expiry,
                "{exptime}"
            );
        }
        assert!(Expiry::At(now).is_past(now));
        assert!(!Expiry::At(UnixTime(now.0 + 1)).is_past(now));
        assert!(!Expiry::Never.is_past(UnixTime(u32::MAX)));
    }
}
