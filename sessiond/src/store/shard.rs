//! The verbs on one shard: a table, segments and an account of memory behind one lock. How room is made for what is stored
//! is in `room.rs`, and how items are found and placed in `place.rs`.
//!
//! An expired item is absent for every verb, whether it has been taken out or not.

use foldhash::fast::RandomState;

use crate::number::unsigned;

use super::ghost::Ghost;
use super::large::Large;
use super::observe::OnEviction;
use super::place::New;
use super::record::{Marks, SHARED_MIN};
use super::segment::Segments;
use super::table::Table;
use super::time::{Expiry, UnixTime};
use super::verbs::{Access, Change, Condition, Data, Deleted, Held, Stored, Uncounted, Value};

/// A shard has about so many segments: few enough to look through, many enough that the oldest is a small part.
const SEGMENTS: usize = 64;

/// The smallest and the largest segment, as powers of two.
const SEGMENT_BITS_MIN: u32 = 12;
const SEGMENT_BITS_MAX: u32 = 20;

/// A shard works with so many segments at least, whatever its limit.
pub(super) const SEGMENTS_MIN: usize = 8;

/// A segment holds at least so many items, so that what is left over at its end is a small part of it.
const ITEMS_PER_SEGMENT: usize = 8;

/// A position has at most so many bits; the others of a slot tell keys apart.
const POSITION_BITS_MAX: u32 = 30;

/// What a shard is made with.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Memory, in bytes.
    pub(super) limit: usize,
    /// No value grows beyond.
    pub(super) value_max: usize,
    /// Whether items make room for others before their time.
    pub(super) evict: bool,
    /// Whether items have a cas unique.
    pub(super) cas: bool,
    /// Which of how many shards it is: it gives every so-many-eth cas unique.
    pub(super) index: usize,
    pub(super) shards: usize,
    /// The hash of keys.
    pub(super) hasher: RandomState,
}

/// A share of the store.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) settings: Settings,
    pub(super) table: Table,
    pub(super) segments: Segments,
    pub(super) large: Large,
    pub(super) ghost: Ghost,
    /// What live items of each group cost.
    pub(super) weights: [usize; 2],
    pub(super) counted: Counted,
    /// Values from this size on are large ones.
    pub(super) large_min: usize,
    pub(super) last_unique: u64,
    /// Who is told of evicted items.
    pub(super) on_eviction: Option<OnEviction>,
    /// When everything stored before becomes absent.
    pub(super) flush_at: Option<UnixTime>,
}

/// What happened since the counters were last reset.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) stored: u64,
    pub(super) evicted: u64,
    pub(super) evicted_unfetched: u64,
    pub(super) evicted_active: u64,
    pub(super) expired: u64,
    pub(super) expired_on_access: u64,
    pub(super) expired_unfetched: u64,
    pub(super) reclaimed: u64,
}

impl Shard {
    /// An empty shard.
    pub(super) fn new(settings: Settings) -> Self {
        let segment = (settings.limit / SEGMENTS).max(1).next_power_of_two();
        let size_bits = segment.ilog2().clamp(SEGMENT_BITS_MIN, SEGMENT_BITS_MAX);
        let position_bits = position_bits(settings.limit, size_bits);
        Self {
            last_unique: settings.index as u64,
            settings,
            table: Table::new(position_bits),
            segments: Segments::new(size_bits, position_bits),
            large: Large::default(),
            ghost: Ghost::default(),
            weights: [0; 2],
            counted: Counted::default(),
            large_min: SHARED_MIN.min((1 << size_bits) / ITEMS_PER_SEGMENT),
            on_eviction: None,
            flush_at: None,
        }
    }

    /// Changes how much memory it may take. What is too much goes bit by bit, at stores and in the background.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.settings.limit = limit;
        let bits = position_bits(limit, self.segments.size().ilog2());
        if self.segments.widen(bits) {
            self.table.widen(bits);
        }
    }

    /// Does what has become due; to be called before every other verb.
    pub(super) fn settle(&mut self, now: UnixTime) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.clear();
        }
    }

    pub(super) fn flush(&mut self, at: UnixTime, now: UnixTime) {
        self.settle(now);
        self.flush_at = Some(at);
        self.settle(now);
    }

    /// Drops everything, and gives its memory back.
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.segments.clear();
        self.large = Large::default();
        self.ghost = Ghost::default();
        self.weights = [0; 2];
    }

    /// Lets `work` see an item and change what is not its value; an absent one is made first where `access` says so.
    pub(super) fn access<R>(
        &mut self,
        hash: u32,
        key: &[u8],
        access: Access,
        now: UnixTime,
        work: impl FnOnce(&mut Held<'_>) -> R,
    ) -> Option<R> {
        let found = self.find(hash, key, now);
        let position = match found {
            Some(position) => position,
            None if access.vivify => {
                self.insert(hash, &New::plain(key, b""), now)?;
                self.find(hash, key, now)?
            }
            None => return None,
        };
        self.hold(position, found.is_none(), |held| {
            let result = work(held);
            if access.counts_as_use {
                held.record.use_now(true, now);
            }
            result
        })
    }

    /// Lets `work` change what is not the value of an item.
    fn hold<R>(
        &mut self,
        position: u32,
        created: bool,
        work: impl FnOnce(&mut Held<'_>) -> R,
    ) -> Option<R> {
        let mut held = Held {
            record: self.segments.record_mut(position)?,
            large: &self.large,
            created,
        };
        let before = held.record.read().expiry();
        let result = work(&mut held);
        let after = held.record.read().expiry();
        if after != before {
            self.segments.note_expiry(position, after);
        }
        Some(result)
    }

    pub(super) fn put(
        &mut self,
        hash: u32,
        key: &[u8],
        value: Value<'_>,
        condition: Condition,
        now: UnixTime,
    ) -> Stored {
        let mut new = New {
            key,
            data: value.data,
            flags: value.flags,
            expiry: value.expiry,
            marks: Marks::new(value.base64_key),
        };
        let found = self.find(hash, key, now);
        let Some((position, old)) = found.and_then(|at| Some((at, self.segments.record(at)?)))
        else {
            return match condition {
                Condition::Always | Condition::Absent => Stored::from(self.insert(hash, &new, now)),
                Condition::Unique(_) | Condition::UniqueOrStale(_) => Stored::Absent,
                Condition::Present | Condition::Append(_) | Condition::Prepend(_) => {
                    Stored::Refused
                }
            };
        };
        match condition {
            Condition::Absent => {
                if let Some(mut old) = self.segments.record_mut(position) {
                    old.use_now(false, now);
                }
                return Stored::Refused;
            }
            Condition::UniqueOrStale(unique) if unique != 0 && unique < old.unique() => {
                new.expiry = old.expiry();
                new.marks = new.marks.stale(old.is_claimed());
            }
            Condition::Unique(unique)
            | Condition::UniqueOrStale(unique)
            | Condition::Append(Some(unique))
            | Condition::Prepend(Some(unique))
                if unique != old.unique() =>
            {
                return Stored::Changed;
            }
            Condition::Append(_) | Condition::Prepend(_) => {
                let old = self.large.item(old);
                // Two values that were each small enough: memcached refuses their sum in the same words.
                if old.value().len() + new.data.len() > self.settings.value_max {
                    return Stored::Refused;
                }
                let parts = match condition {
                    Condition::Append(_) => [old.value(), &new.data],
                    _ => [&new.data, old.value()],
                };
                new.data = Data::Shared(parts.concat().into());
                (new.flags, new.expiry, new.marks) = (old.flags(), old.expiry(), Marks::default());
            }
            Condition::Always
            | Condition::Present
            | Condition::Unique(_)
            | Condition::UniqueOrStale(_) => {}
        }
        Stored::from(self.replace(hash, position, &new, now))
    }

    pub(super) fn count<R>(
        &mut self,
        hash: u32,
        key: &[u8],
        change: Change,
        now: UnixTime,
        read: impl FnOnce(u64, &mut Held<'_>) -> R,
    ) -> Result<R, Uncounted> {
        let found = self.find(hash, key, now);
        let number = match (found, change.initial) {
            (Some(position), _) => self.recount(hash, position, key, change, now)?,
            (None, None) => return Err(Uncounted::Absent),
            (None, Some(initial)) => {
                let text = initial.to_string();
                let new = New::plain(key, text.as_bytes());
                self.insert(hash, &new, now).ok_or(Uncounted::NoRoom)?;
                initial
            }
        };
        // Not asked for by `now`: counting changes an item's number, not when it expires.
        let position = self.position(hash, key).ok_or(Uncounted::Absent)?;
        let held = self.hold(position, found.is_none(), |held| read(number, held));
        held.ok_or(Uncounted::Absent)
    }

    /// Changes the number of a present item.
    fn recount(
        &mut self,
        hash: u32,
        position: u32,
        key: &[u8],
        change: Change,
        now: UnixTime,
    ) -> Result<u64, Uncounted> {
        let old = self.segments.record(position).ok_or(Uncounted::Absent)?;
        if change.unique.is_some_and(|unique| unique != old.unique()) {
            return Err(Uncounted::Changed);
        }
        let old = self.large.item(old);
        let number = unsigned(old.value()).ok_or(Uncounted::NotANumber)?;
        let number = if change.up {
            number.wrapping_add(change.delta)
        } else {
            number.saturating_sub(change.delta)
        };
        // A shorter number is padded to the old length, as in memcached.
        let width = old.value().len();
        let text = format!("{number:<width$}");
        let new = New {
            key,
            data: Data::Slice(text.as_bytes()),
            flags: old.flags(),
            expiry: old.expiry(),
            // For memcached a number that did not grow is the same item still, one that did is a new one.
            marks: match text.len() == width {
                true => old.marks(),
                false => Marks::default(),
            },
        };
        let in_place = text.len() == width;
        let stored = self.counted.stored;
        let replaced = self.replace(hash, position, &new, now);
        if in_place {
            self.counted.stored = stored;
        }
        replaced.map(|_| number).ok_or(Uncounted::NoRoom)
    }

    pub(super) fn delete(
        &mut self,
        hash: u32,
        key: &[u8],
        unique: Option<u64>,
        now: UnixTime,
    ) -> Deleted {
        match self.find_unchanged(hash, key, unique, now) {
            Ok(position) => {
                self.remove(hash, position, now);
                Deleted::Deleted
            }
            Err(deleted) => deleted,
        }
    }

    pub(super) fn make_stale(
        &mut self,
        hash: u32,
        key: &[u8],
        unique: Option<u64>,
        expiry: Option<Expiry>,
        now: UnixTime,
    ) -> Deleted {
        let position = match self.find_unchanged(hash, key, unique, now) {
            Ok(position) => position,
            Err(deleted) => return deleted,
        };
        let unique = self.next_unique();
        self.hold(position, false, |held| {
            held.record.set_stale(unique);
            if let Some(expiry) = expiry {
                held.touch(expiry);
            }
        });
        Deleted::Deleted
    }

    fn find_unchanged(
        &mut self,
        hash: u32,
        key: &[u8],
        unique: Option<u64>,
        now: UnixTime,
    ) -> Result<u32, Deleted> {
        let position = self.find(hash, key, now).ok_or(Deleted::Absent)?;
        let record = self.segments.record(position).ok_or(Deleted::Absent)?;
        if unique.is_some_and(|unique| unique != record.unique()) {
            return Err(Deleted::Changed);
        }
        Ok(position)
    }
}

impl From<Option<u64>> for Stored {
    fn from(unique: Option<u64>) -> Self {
        unique.map_or(Self::NoRoom, Self::Stored)
    }
}

/// Bits of positions in a shard that may take `limit` bytes: for a quarter more segments than fill it, because not all
/// are full.
fn position_bits(limit: usize, size_bits: u32) -> u32 {
    let segments = ((limit + limit / 4) >> size_bits) + SEGMENTS_MIN;
    (segments.next_power_of_two().ilog2() + size_bits).min(POSITION_BITS_MAX)
}
