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
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;

use item::Kept;
pub use item::{Expiry, Item, SHARED_MIN, UnixTime, cost};
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
    /// What it may take, before what is reserved is taken away.
    limit: AtomicUsize,
    reserved: AtomicUsize,
    /// Where background work goes on.
    maintained: Mutex<Cursor>,
}

/// The bytes of a value.
#[derive(Debug, Clone)]
pub enum Data<'a> {
    /// In a buffer of the caller's: they are copied.
    Slice(&'a [u8]),
    /// In a buffer that the store may keep. Those of [`SHARED_MIN`] bytes and more are not copied.
    Shared(Bytes),
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

/// On which condition [`Store::put`] stores, and how.
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

/// What became of [`Store::put`].
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

/// What [`Store::count`] does to a number.
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

/// Why [`Store::count`] did nothing.
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

/// What became of [`Store::delete`] and [`Store::make_stale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is done.
    Deleted,
    /// No such item.
    Absent,
    /// The item's cas unique is another one; nothing changed.
    Changed,
}

/// How [`Store::access`] comes to an item.
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
    item: &'a mut Kept,
    created: bool,
}

impl Held<'_> {
    /// The item.
    pub fn item(&self) -> Item<'_> {
        Item::new(self.item)
    }

    /// Whether it was made by this very access.
    pub fn is_created(&self) -> bool {
        self.created
    }

    /// Gives it another expiry.
    pub fn touch(&mut self, expiry: Expiry) {
        self.item.set_expiry(expiry);
    }

    /// Remembers that a client was told to make its value anew, until it is stored or marked as stale.
    pub fn claim(&mut self) {
        self.item.set_claimed(true);
    }
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
    /// Whether items are dropped before their time when there is no room for more (memcached's `-M` says no).
    pub evict: bool,
    /// Whether items have a cas unique of their own (memcached's `-C` says no; then it is 0).
    pub cas: bool,
}

/// How far something that goes through the whole store in steps has got; the default is the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    place: usize,
}

/// What is left after a step of background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintained {
    /// More is due: come again at once.
    More,
    /// Nothing before the next second.
    Idle,
}

/// Items of one state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub items: u64,
    /// What they cost, in bytes.
    pub bytes: u64,
    /// When the first of those that go first was stored or moved here; 0 where there are none.
    pub oldest: UnixTime,
}

/// How full a store is, and what it had to drop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Items held, those not yet found to be expired among them.
    pub items: u64,
    /// What they cost, in bytes; never above the limit.
    pub bytes: u64,
    /// The limit, with what is reserved for other things than items.
    pub limit: u64,
    /// Items stored since the start.
    pub stored: u64,
    /// Items dropped before their time to make room.
    pub evicted: u64,
    /// Those of them that nobody had read.
    pub evicted_unfetched: u64,
    /// Those of them that were in use.
    pub evicted_active: u64,
    /// Items found to be expired.
    pub expired: u64,
    /// Those of them that nobody had read.
    pub expired_unfetched: u64,
    /// Those of them whose memory was wanted for an item that was being stored.
    pub reclaimed: u64,
    /// Items that nobody used since they were stored: they go first.
    pub probation: Group,
    /// Items that proved to be in use.
    pub proven: Group,
    /// Values of [`SHARED_MIN`] bytes and more, which have a buffer of their own.
    pub large: Group,
    /// Memory taken from the system: segments, table, large values, in bytes.
    pub memory: u64,
    /// The part of it that the table is.
    pub table_bytes: u64,
    /// Pieces of memory that items are kept in.
    pub segments: u64,
    /// The size of such a piece, in bytes.
    pub segment_size: u64,
}

impl Usage {
    fn add(&mut self, shard: &Self) {
        self.items += shard.items;
        self.bytes += shard.bytes;
        self.limit += shard.limit;
        self.stored += shard.stored;
        self.evicted += shard.evicted;
        self.evicted_unfetched += shard.evicted_unfetched;
        self.expired += shard.expired;
        self.expired_unfetched += shard.expired_unfetched;
    }
}

impl Store {
    /// An empty store.
    pub fn new(layout: Layout) -> Self {
        let largest = layout
            .item_size_max
            .max(1)
            .saturating_mul(LARGEST_ITEMS_PER_SHARD);
        let shards = (layout.memory / largest).clamp(1, SHARDS_MAX);
        let shard = || {
            let limit = layout.memory / shards;
            Mutex::new(Shard::new(limit, layout.item_size_max, layout.evict))
        };
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::default(),
            started: layout.started,
            limit: AtomicUsize::new(layout.memory),
            reserved: AtomicUsize::new(0),
            maintained: Mutex::default(),
        }
    }

    /// Changes how much memory items may take; what is too much is dropped.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        self.share_limit();
    }

    /// Tells how much of the limit the process takes for other things than items.
    pub fn set_reserved(&self, bytes: usize) {
        self.reserved.store(bytes, Ordering::Relaxed);
        self.share_limit();
    }

    fn share_limit(&self) {
        let limit = self.limit.load(Ordering::Relaxed);
        // Under a tiny limit the process alone takes most of it; a store without room would be no use.
        let reserved = self.reserved.load(Ordering::Relaxed).min(limit / 2);
        let limit = limit.saturating_sub(reserved);
        for shard in &self.shards {
            lock(shard).set_limit(limit / self.shards.len());
        }
    }

    /// Does a bounded step of what is due without any request: takes out what is expired, gives memory back.
    pub fn maintain(&self, now: UnixTime) -> Maintained {
        let mut cursor = self
            .maintained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut shard = lock(&self.shards[cursor.shard]);
        shard.settle(now);
        let next = shard.expire(cursor.place, now);
        self.advance(&mut cursor, next);
        if *cursor == Cursor::default() {
            Maintained::Idle
        } else {
            Maintained::More
        }
    }

    /// Shows a bounded number of live items, from where `cursor` is; `false` when all have been shown. No lock is held
    /// between two steps: what is stored, changed or moved meanwhile may be shown twice or not at all.
    pub fn walk(
        &self,
        now: UnixTime,
        cursor: &mut Cursor,
        mut visit: impl FnMut(&Item<'_>),
    ) -> bool {
        let mut shard = lock(&self.shards[cursor.shard]);
        shard.settle(now);
        let next = shard.walk(cursor.place, now, &mut visit);
        self.advance(cursor, next);
        *cursor != Cursor::default()
    }

    /// To the next place, or to the next shard, or to the beginning.
    fn advance(&self, cursor: &mut Cursor, next: Option<usize>) {
        *cursor = match next {
            Some(place) => Cursor { place, ..*cursor },
            None => Cursor {
                shard: (cursor.shard + 1) % self.shards.len(),
                place: 0,
            },
        };
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
        read: impl FnOnce(&Item<'_>) -> R,
    ) -> Option<R> {
        let access = Access {
            vivify: false,
            counts_as_use: true,
        };
        self.access(key, access, now, |held| {
            if let Some(expiry) = touch {
                held.touch(expiry);
            }
            read(&held.item())
        })
    }

    /// Stores a value if its condition is met.
    pub fn put(&self, key: &[u8], value: Value<'_>, condition: Condition, now: UnixTime) -> Stored {
        let (mut shard, hash) = self.shard(key, now);
        shard.put(hash, key, value, condition, now)
    }

    /// Looks at an item, and changes what is not its value.
    pub fn access<R>(
        &self,
        key: &[u8],
        access: Access,
        now: UnixTime,
        work: impl FnOnce(&mut Held<'_>) -> R,
    ) -> Option<R> {
        let (mut shard, hash) = self.shard(key, now);
        shard.access(hash, key, access, now, work)
    }

    /// Adds to the number that the value is, or takes away; `read` gets the new one.
    pub fn count<R>(
        &self,
        key: &[u8],
        change: Change,
        now: UnixTime,
        read: impl FnOnce(u64, &mut Held<'_>) -> R,
    ) -> Result<R, Uncounted> {
        let (mut shard, hash) = self.shard(key, now);
        shard.count(hash, key, change, now, read)
    }

    /// Removes an item, if its cas unique is the one given.
    pub fn delete(&self, key: &[u8], unique: Option<u64>, now: UnixTime) -> Deleted {
        let (mut shard, hash) = self.shard(key, now);
        shard.delete(hash, key, unique, now)
    }

    /// Keeps an item but says that its value is out of date, under a new cas unique; the next reader may claim it.
    pub fn make_stale(
        &self,
        key: &[u8],
        unique: Option<u64>,
        expiry: Option<Expiry>,
        now: UnixTime,
    ) -> Deleted {
        let (mut shard, hash) = self.shard(key, now);
        shard.make_stale(hash, key, unique, expiry, now)
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
            sum.add(&lock(shard).usage());
        }
        sum.limit = self.limit.load(Ordering::Relaxed) as u64;
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
