//! An item: key, flags, expiry, cas unique, value, and what all that costs.

/// What an item costs beside its key and value: itself, its place in the order of use, its place in the table, and what
/// the allocator adds to key and value.
const FRAME: usize = size_of::<Item>() + 8 + 8 + 16;

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

/// An item of the store.
#[derive(Debug)]
pub struct Item {
    /// Key and value, one behind the other: one allocation an item.
    bytes: Box<[u8]>,
    unique: u64,
    flags: u32,
    /// The second from which it is gone; 0: never.
    expires: u32,
    hash: u32,
    key_length: u8,
}

/// An item before it has its place: what the verbs make, and a shard completes with hash and cas unique.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) key: &'a [u8],
    /// The value, in two parts that go one behind the other.
    pub(super) value: [&'a [u8]; 2],
    pub(super) flags: u32,
    pub(super) expiry: Expiry,
}

impl Draft<'_> {
    /// What the item will cost, in bytes.
    pub(super) fn cost(&self) -> usize {
        cost(self.key.len(), self.value_length())
    }

    /// How long the value will be.
    pub(super) fn value_length(&self) -> usize {
        self.value.iter().map(|part| part.len()).sum()
    }

    /// The item.
    pub(super) fn complete(&self, hash: u32, unique: u64) -> Item {
        let mut item = Item {
            bytes: [self.key, self.value[0], self.value[1]]
                .concat()
                .into_boxed_slice(),
            unique,
            flags: self.flags,
            expires: 0,
            hash,
            key_length: self.key.len() as u8, // a key has at most 250 bytes
        };
        item.set_expiry(self.expiry);
        item
    }
}

impl Item {
    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_length)]
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        &self.bytes[usize::from(self.key_length)..]
    }

    /// The client's flags.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Its cas unique: another one after every change of the value.
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// When it is gone.
    pub fn expiry(&self) -> Expiry {
        match self.expires {
            0 => Expiry::Never,
            time => Expiry::At(UnixTime(time)),
        }
    }

    pub(super) fn set_expiry(&mut self, expiry: Expiry) {
        self.expires = match expiry {
            Expiry::Never => 0,
            Expiry::At(UnixTime(time)) => time.max(PAST.0),
        };
    }

    /// The part of its key's hash that the table needs.
    pub(super) fn hash(&self) -> u32 {
        self.hash
    }

    /// What it costs, in bytes.
    pub(super) fn cost(&self) -> usize {
        FRAME + self.bytes.len()
    }
}

/// What an item with a key and a value of these lengths costs, in bytes.
pub const fn cost(key_length: usize, value_length: usize) -> usize {
    FRAME + key_length + value_length
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
