//! Items and the verbs on them. No sockets, no clock: `now` is a parameter; no protocol: keys and values are bytes.
//!
//! ```text
//!   key ──hash──► upper half: which shard (one lock each) ──► lower half: which place in its table
//! ```
//!
//! Every shard has its share of the memory limit and makes room in it by dropping what was used longest ago. A use is
//! a retrieval, a store, a touch, and an `add` that is refused because the item is there.

mod item;
mod order;
mod shard;

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

pub use item::{Expiry, Item, UnixTime, cost};
use shard::Shard;

/// At most so many shards: with more, threads do not wait less, and each share of the memory is smaller.
const SHARDS_MAX: usize = 16;

/// A shard's share of the memory holds at least so many of the largest items, so that one of them cannot push out
/// all others.
const LARGEST_ITEMS_PER_SHARD: usize = 8;

/// All items of this node, shared by its workers.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    started: UnixTime,
}

/// What to keep under a key.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// The client's flags.
    pub flags: u32,
    /// When it expires.
    pub expiry: Expiry,
    /// The value.
    pub data: &'a [u8],
}

/// On which condition [`Store::put`] stores, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// The key is absent.
    Absent,
    /// The key is present.
    Present,
    /// The key is present; the data goes behind its value, flags and expiry stay.
    Append,
    /// The key is present; the data goes in front of its value, flags and expiry stay.
    Prepend,
    /// The item's cas unique is this one.
    Unique(u64),
}

/// What became of [`Store::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is stored.
    Stored,
    /// The condition is not met, or the value would grow too large by it; nothing changed.
    Refused,
    /// The item's cas unique is another one; nothing changed.
    Changed,
    /// The cas unique of an absent key was given.
    Absent,
    /// It is larger than all the memory that its share of the store has; what was there is dropped.
    NoRoom,
}

/// What became of [`Store::count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The new number.
    Number(u64),
    /// No such item.
    Absent,
    /// The value is not a decimal number of 64 bits.
    NotANumber,
    /// The grown number does not fit any more.
    NoRoom,
}

/// How a store is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Memory for items, in bytes.
    pub memory: usize,
    /// No value grows beyond this many bytes; shares of the memory are made large enough for several such.
    pub item_size_max: usize,
    /// When the process started: Unix times before are past.
    pub started: UnixTime,
}

/// How full a store is, and what it had to drop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Items held, those not yet found to be expired among them.
    pub items: u64,
    /// What they cost, in bytes; never above the limit.
    pub bytes: u64,
    /// The limit.
    pub limit: u64,
    /// Items stored since the start.
    pub stored: u64,
    /// Items dropped before their time to make room.
    pub evicted: u64,
    /// Items found to be expired.
    pub expired: u64,
}

impl Store {
    /// An empty store.
    pub fn new(layout: Layout) -> Self {
        let largest = layout
            .item_size_max
            .max(1)
            .saturating_mul(LARGEST_ITEMS_PER_SHARD);
        let shards = (layout.memory / largest).clamp(1, SHARDS_MAX);
        let shard = || Mutex::new(Shard::new(layout.memory / shards, layout.item_size_max));
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::default(),
            started: layout.started,
        }
    }

    /// The expiry that an exptime of the protocol means at `now`: 0 never; negative, or a Unix time not after the
    /// start: at once; up to 30 days: from now; above: Unix time.
    pub fn expiry(&self, exptime: i32, now: UnixTime) -> Expiry {
        Expiry::from_exptime(exptime, now, self.started)
    }

    /// Reads an item, and gives it another expiry if one is given; that is a use of it.
    pub fn get<R>(
        &self,
        key: &[u8],
        touch: Option<Expiry>,
        now: UnixTime,
        read: impl FnOnce(&Item) -> R,
    ) -> Option<R> {
        let (mut shard, hash) = self.shard(key, now);
        shard.get(hash, key, touch, now).map(read)
    }

    /// Stores a value if its condition is met.
    pub fn put(&self, key: &[u8], value: Value<'_>, condition: Condition, now: UnixTime) -> Stored {
        let (mut shard, hash) = self.shard(key, now);
        shard.put(hash, key, value, condition, now)
    }

    /// Adds to the number that the value is, or takes away; up it wraps around at 2^64, down it stops at 0.
    pub fn count(&self, key: &[u8], up: bool, delta: u64, now: UnixTime) -> Counted {
        let (mut shard, hash) = self.shard(key, now);
        shard.count(hash, key, up, delta, now)
    }

    /// Removes an item; says whether there was one.
    pub fn delete(&self, key: &[u8], now: UnixTime) -> bool {
        let (mut shard, hash) = self.shard(key, now);
        shard.delete(hash, key, now)
    }

    /// Makes every item that is stored before `at` absent. A later call replaces an earlier one that is not yet due.
    pub fn flush(&self, at: UnixTime, now: UnixTime) {
        for shard in &self.shards {
            lock(shard).flush(at, now);
        }
    }

    /// How full the store is.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for shard in &self.shards {
            let usage = lock(shard).usage();
            sum.items += usage.items;
            sum.bytes += usage.bytes;
            sum.limit += usage.limit;
            sum.stored += usage.stored;
            sum.evicted += usage.evicted;
            sum.expired += usage.expired;
        }
        sum
    }

    /// Sets the counters of [`Usage`] to zero; items and bytes are what they are.
    pub fn reset_counters(&self) {
        for shard in &self.shards {
            lock(shard).reset_counters();
        }
    }

    fn shard(&self, key: &[u8], now: UnixTime) -> (MutexGuard<'_, Shard>, u32) {
        let hash = self.hasher.hash_one(key);
        let index = (hash >> 32) as usize % self.shards.len();
        let mut shard = lock(&self.shards[index]);
        shard.settle(now);
        (shard, hash as u32)
    }
}

/// A panic in another thread leaves the shard usable: it is plain state, and losing the whole cache would be worse.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
