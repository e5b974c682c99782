//! Items and the verbs on them. No sockets, no clock: `now` is a parameter; no protocol: keys and values are bytes.
//!
//! ```text
//!   key ──hash──► upper half: which shard (shard.rs), one lock each
//!                   │
//!                   └─► lower half: which bucket of its table (table.rs): a cache line with 15 positions
//!                         │
//!    segments (segment.rs)▼
//!    probation   [▒▒▒▒▒▒][▒▒▒▒▒▒][▒▒▒   ]    records (record.rs) packed one behind the other, together by how soon
//!    main        [▒▒▒▒▒▒][▒▒▒▒▒▒][▒     ]    they expire; large values (large.rs) have buffers of their own
//!
//!    room.rs     expiry, tidying, eviction; ghost.rs remembers who was dropped; warm.rs outlives the process
//! ```
//!
//! A use is a retrieval, a store, a touch, and an `add` that is refused because the item is there.

mod ghost;
mod large;
mod observe;
mod pages;
mod place;
mod record;
mod room;
mod segment;
mod shard;
mod table;
mod time;
mod usage;
mod verbs;
mod view;
mod warm;

use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

pub use observe::OnEviction;
pub use record::{Item, SHARED_MIN};
use shard::{Settings, Shard};
pub use time::{Expiry, UnixTime};
pub use usage::{Group, Usage};
pub use verbs::{Access, Change, Condition, Data, Deleted, Held, Stored, Uncounted, Value};
pub use warm::{LoadError, Warm};

/// A shard has so much memory, in bytes, where there is enough for several: the position of an item in it leaves most
/// bits of a slot of the table to tell keys apart.
const SHARD_MEMORY: usize = 16 << 20;

/// At most so many shards; with more memory than this allows for, shards are larger.
const SHARDS_MAX: usize = 4096;

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
    /// The shard where background work goes on.
    maintained: Mutex<usize>,
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
    segment: u32,
}

/// What is left after a step of background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintained {
    /// More is due: come again at once.
    More,
    /// Nothing before the next second.
    Idle,
}

impl Store {
    /// An empty store.
    pub fn new(layout: Layout) -> Self {
        let largest = layout
            .item_size_max
            .max(1)
            .saturating_mul(LARGEST_ITEMS_PER_SHARD);
        let shards = (layout.memory / largest.max(SHARD_MEMORY)).clamp(1, SHARDS_MAX);
        let hasher = RandomState::default();
        let shard = |index| {
            Mutex::new(Shard::new(Settings {
                limit: layout.memory / shards,
                value_max: layout.item_size_max,
                evict: layout.evict,
                cas: layout.cas,
                index,
                shards,
                hasher: hasher.clone(),
            }))
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            hasher: hasher.clone(),
            started: layout.started,
            limit: AtomicUsize::new(layout.memory),
            reserved: AtomicUsize::new(0),
            maintained: Mutex::default(),
        }
    }

    /// Tells this of every item that is evicted from now on.
    pub fn on_eviction(&self, on_eviction: &OnEviction) {
        for shard in &self.shards {
            lock(shard).on_eviction = Some(on_eviction.clone());
        }
    }

    /// Changes how much memory items may take; what is too much is dropped.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        self.share_limit();
    }

    /// Tells how much of the limit the process takes for other things than items.
    pub fn set_reserved(&self, bytes: usize) {
        if self.reserved.swap(bytes, Ordering::Relaxed) != bytes {
            self.share_limit();
        }
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

    /// Does a bounded step of what is due without any request: takes out what is expired, moves items closer together,
    /// gives memory back. To be called once a second, and again at once while there is more to do. No lock is held for
    /// longer than one segment takes.
    pub fn maintain(&self, now: UnixTime) -> Maintained {
        let mut next = self
            .maintained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while let Some(shard) = self.shards.get(*next) {
            let mut shard = lock(shard);
            if shard.maintain(now) {
                return Maintained::More;
            }
            shard.rest(now);
            *next += 1;
        }
        *next = 0;
        Maintained::Idle
    }

    /// Shows a bounded number of live items, from where `cursor` is; `false` when all have been shown. No lock is held
    /// between two steps: what is stored, changed or moved meanwhile may be shown twice or not at all.
    pub fn walk(
        &self,
        now: UnixTime,
        cursor: &mut Cursor,
        mut visit: impl FnMut(&Item<'_>),
    ) -> bool {
        let Some(shard) = self.shards.get(cursor.shard) else {
            return false;
        };
        let mut shard = lock(shard);
        shard.settle(now);
        let next = shard.walk(cursor.segment, now, &mut visit);
        match next {
            Some(segment) => cursor.segment = segment,
            None => (cursor.shard, cursor.segment) = (cursor.shard + 1, 0),
        }
        cursor.shard < self.shards.len()
    }

    /// Writes all live items, with everything that is known of them. Each shard is locked while its items are written, so
    /// that none of them is missed; requests to it wait.
    pub fn save(&self, out: &mut impl Write, now: UnixTime) -> io::Result<Warm> {
        let mut writer = warm::Writer::new(out)?;
        let mut last_unique = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.settle(now);
            last_unique = last_unique.max(shard.last_unique());
            shard.save(now, &mut |item, expiry, proven| {
                writer.item(item, expiry, proven)
            })?;
        }
        let items = writer.end(last_unique)?;
        Ok(Warm { items, dropped: 0 })
    }

    /// Brings back what [`Store::save`] wrote, except what has expired meanwhile. For a store that is new and not yet in
    /// use: when anything is wrong with the file, it is empty afterwards.
    pub fn load(&self, from: &mut impl Read, now: UnixTime) -> Result<Warm, LoadError> {
        let mut warm = Warm::default();
        let end = warm::read(from, |saved| {
            if saved.expiry.is_past(now) {
                return;
            }
            warm.items += 1;
            let (mut shard, hash) = self.shard(saved.key, now);
            warm.dropped += u64::from(!shard.restore(hash, saved, now));
        });
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.reset_counters();
            match &end {
                Ok(end) => shard.pass_unique(end.last_unique),
                Err(_) => shard.clear(),
            }
        }
        let evicted = warm.items - warm.dropped - self.usage().items;
        warm.dropped += evicted;
        end.map(|_| warm)
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
        sum.reserved = self.reserved.load(Ordering::Relaxed) as u64;
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
