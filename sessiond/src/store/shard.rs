//! The verbs on one shard: a table, segments and an account of memory behind one lock. How room is made for what is stored
//! is in `room.rs`.
//!
//! An expired item is absent for every verb, whether it has been taken out or not.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::number::unsigned;

use super::ghost::Ghost;
use super::large::{self, Large};
use super::observe::OnEviction;
use super::record::{Body, Draft, Item, KEY_MAX, Marks, Record, SHARED_MIN};
use super::segment::{Group, Segments};
use super::table::Table;
use super::time::{Expiry, UnixTime};
use super::usage::{self, Usage};
use super::verbs::{Access, Change, Condition, Data, Deleted, Held, Stored, Uncounted, Value};

/// A shard has about so many segments: few enough to look through, many enough that the oldest is a small part.
const SEGMENTS: usize = 128;

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
    large_min: usize,
    last_unique: u64,
    /// Who is told of evicted items.
    pub(super) on_eviction: Option<OnEviction>,
    /// When everything stored before becomes absent.
    flush_at: Option<UnixTime>,
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

/// An item to be stored, with its value wherever that is.
struct New<'a> {
    key: &'a [u8],
    data: Data<'a>,
    flags: u32,
    expiry: Expiry,
    marks: Marks,
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

    /// Shows the live items of a segment; the number of the next, if there are more.
    pub(super) fn walk(
        &self,
        number: u32,
        now: UnixTime,
        visit: &mut impl FnMut(&Item<'_>),
    ) -> Option<u32> {
        let mut offset = 0;
        while let Some((record, next)) = self.segments.get(number).and_then(|s| s.record(offset)) {
            if !record.is_dead() && !record.expiry().is_past(now) {
                visit(&self.large.item(record));
            }
            offset = next;
        }
        let next = number + 1;
        (next < self.segments.end()).then_some(next)
    }

    /// Shows all live items, and whether they proved to be in use, the oldest segments first.
    pub(super) fn save<E>(
        &self,
        now: UnixTime,
        visit: &mut impl FnMut(&Item<'_>, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        for group in [Group::Probation, Group::Main] {
            for number in self.segments.queue(group) {
                let mut result = Ok(());
                self.walk(*number, now, &mut |item| {
                    if result.is_ok() {
                        result = visit(item, group == Group::Main);
                    }
                });
                result?;
            }
        }
        Ok(())
    }

    /// Brings an item back that was saved, with all that was known of it.
    pub(super) fn restore(&mut self, hash: u32, saved: &Saved<'_>, now: UnixTime) -> bool {
        // The same key twice was not written by us; the first counts.
        if self.position(hash, saved.key).is_some() {
            return false;
        }
        let new = New {
            key: saved.key,
            data: saved.data.clone(),
            flags: saved.flags,
            expiry: saved.expiry,
            marks: saved.marks,
        };
        let group = if saved.proven {
            Group::Main
        } else {
            Group::Probation
        };
        let unique = if self.settings.cas { saved.unique } else { 0 };
        self.place(hash, &new, group, (unique, saved.used), now)
    }

    /// No cas unique up to this one is given any more.
    pub(super) fn pass_unique(&mut self, unique: u64) {
        let (step, index) = (self.settings.shards as u64, self.settings.index as u64);
        let passed = unique.next_multiple_of(step) + index;
        self.last_unique = self.last_unique.max(passed);
    }

    /// The last cas unique that it gave.
    pub(super) fn last_unique(&self) -> u64 {
        self.last_unique
    }

    pub(super) fn usage(&self) -> Usage {
        let mut groups = [usage::Group::default(); 2];
        for (_, segment) in self.segments.all() {
            let group = &mut groups[segment.group as usize];
            group.items += segment.live as u64;
            if segment.live > 0 && (group.oldest.0 == 0 || segment.born < group.oldest) {
                group.oldest = segment.born;
            }
        }
        for (group, weight) in groups.iter_mut().zip(self.weights) {
            group.bytes = weight as u64;
        }
        let [probation, proven] = groups;
        let counted = self.counted;
        Usage {
            items: self.table.len() as u64,
            bytes: (self.weights[0] + self.weights[1]) as u64,
            limit: self.settings.limit as u64,
            reserved: 0,
            stored: counted.stored,
            evicted: counted.evicted,
            evicted_unfetched: counted.evicted_unfetched,
            evicted_active: counted.evicted_active,
            expired: counted.expired,
            expired_on_access: counted.expired_on_access,
            expired_unfetched: counted.expired_unfetched,
            reclaimed: counted.reclaimed,
            probation,
            proven,
            large: usage::Group {
                items: self.large.len() as u64,
                bytes: self.large.bytes() as u64,
                oldest: UnixTime(0),
            },
            memory: self.memory() as u64,
            table_bytes: self.table.bytes() as u64,
            segments: self.segments.all().count() as u64,
            segment_size: self.segments.size() as u64,
        }
    }

    pub(super) fn reset_counters(&mut self) {
        self.counted = Counted::default();
    }

    /// The position of a key, expired or not.
    #[inline]
    fn position(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.table.find(hash, |position| {
            let record = self.segments.record(position);
            record.is_some_and(|record| record.key() == key)
        })
    }

    /// The position of a key whose item is not expired.
    fn find(&mut self, hash: u32, key: &[u8], now: UnixTime) -> Option<u32> {
        let position = self.position(hash, key)?;
        if !self.segments.record(position)?.expiry().is_past(now) {
            return Some(position);
        }
        self.counted.expired_on_access += 1;
        self.expire(hash, position, now);
        None
    }

    /// Takes out an item that is expired.
    pub(super) fn expire(&mut self, hash: u32, position: u32, now: UnixTime) {
        let record = self.segments.record(position);
        let unfetched = record.is_some_and(|record| !record.was_fetched());
        self.counted.expired += 1;
        self.counted.expired_unfetched += u64::from(unfetched);
        self.remove(hash, position, now);
    }

    /// Takes out an item.
    pub(super) fn remove(&mut self, hash: u32, position: u32, now: UnixTime) {
        self.table.remove(hash, position);
        let (number, _) = self.segments.place(position);
        let Some((record, segment)) =
            (self.segments.record(position)).zip(self.segments.get(number))
        else {
            return;
        };
        self.weights[segment.group as usize] -= self.large.cost_of(record);
        let large = record.number();
        self.segments.kill(position, now);
        if let Some(large) = large {
            self.large.remove(large);
        }
    }

    /// Stores under an absent key; its cas unique, or `None` when it does not fit.
    fn insert(&mut self, hash: u32, new: &New<'_>, now: UnixTime) -> Option<u64> {
        let group = match self.ghost.recall(hash) {
            true => Group::Main,
            false => Group::Probation,
        };
        let unique = self.next_unique();
        self.place(hash, new, group, (unique, now), now)
            .then_some(unique)
    }

    /// Puts another item in place of one of the same key, which stays in its group and counts as used. What does not fit
    /// leaves the key absent.
    fn replace(&mut self, hash: u32, position: u32, new: &New<'_>, now: UnixTime) -> Option<u64> {
        let unique = self.next_unique();
        let (number, _) = self.segments.place(position);
        let group = self.segments.get(number)?.group;
        let mut old = self.segments.record_mut(position)?;
        let frequency = old.read().frequency() + 1;
        let marks = new.marks.with_frequency(frequency);
        let new = New {
            marks,
            data: new.data.clone(),
            ..*new
        };
        if new.data.len() < self.large_min {
            let draft = new.draft(Body::Parts([&new.data, b""]), now);
            if old.read().number().is_none() && old.read().length() == draft.length() {
                old.overwrite(&draft, unique);
                self.segments.note_expiry(position, new.expiry);
                self.counted.stored += 1;
                return Some(unique);
            }
        }
        self.remove(hash, position, now);
        self.place(hash, &new, group, (unique, now), now)
            .then_some(unique)
    }

    /// Finds a place for an item of an absent key, and puts it there; whether there is one.
    fn place(
        &mut self,
        hash: u32,
        new: &New<'_>,
        group: Group,
        (unique, used): (u64, UnixTime),
        now: UnixTime,
    ) -> bool {
        // Protocols let no longer key through.
        if new.key.len() > KEY_MAX {
            return false;
        }
        let is_large = new.data.len() >= self.large_min;
        let draft = match is_large {
            true => new.draft(Body::Number(0), used),
            false => new.draft(Body::Parts([&new.data, b""]), used),
        };
        let length = draft.length();
        let large = if is_large {
            large::cost(new.data.len())
        } else {
            0
        };
        let Some(position) = self.allocate(group, new.expiry, length, large, now) else {
            return false;
        };
        let (segments, hasher) = (&self.segments, &self.settings.hasher);
        let hash_of = |position| {
            segments
                .record(position)
                .map_or(0, |r| hash_key(hasher, r.key()))
        };
        let is_in = self.table.insert(hash, position, hash_of).is_ok();
        let body = match is_large {
            true => Body::Number(self.large.insert(new.data.to_shared())),
            false => draft.body,
        };
        let draft = Draft { body, ..draft };
        self.segments.write(position, &draft, unique);
        self.weights[group as usize] += length + large;
        if !is_in {
            // No memory for the table: as if it had never been.
            self.remove(hash, position, now);
            return false;
        }
        self.counted.stored += 1;
        true
    }

    fn next_unique(&mut self) -> u64 {
        if !self.settings.cas {
            return 0;
        }
        self.last_unique += self.settings.shards as u64;
        self.last_unique
    }

    /// The part of a key's hash that a shard needs.
    pub(super) fn hash_of(&self, record: Record<'_>) -> u32 {
        hash_key(&self.settings.hasher, record.key())
    }
}

impl<'a> New<'a> {
    /// An item without flags and expiry.
    fn plain(key: &'a [u8], value: &'a [u8]) -> Self {
        Self {
            key,
            data: Data::Slice(value),
            flags: 0,
            expiry: Expiry::Never,
            marks: Marks::default(),
        }
    }

    fn draft(&self, body: Body<'a>, used: UnixTime) -> Draft<'a> {
        Draft {
            key: self.key,
            flags: self.flags,
            expiry: self.expiry,
            marks: self.marks,
            used,
            body,
        }
    }
}

/// An item as it was saved.
#[derive(Debug)]
pub(super) struct Saved<'a> {
    pub(super) key: &'a [u8],
    pub(super) data: Data<'a>,
    pub(super) flags: u32,
    pub(super) expiry: Expiry,
    pub(super) used: UnixTime,
    pub(super) unique: u64,
    pub(super) marks: Marks,
    /// It was among those that proved to be in use.
    pub(super) proven: bool,
}

impl From<Option<u64>> for Stored {
    fn from(unique: Option<u64>) -> Self {
        unique.map_or(Self::NoRoom, Self::Stored)
    }
}

/// The lower half of a key's hash; the upper one says which shard.
fn hash_key(hasher: &RandomState, key: &[u8]) -> u32 {
    hasher.hash_one(key) as u32
}

/// Bits of positions in a shard that may take `limit` bytes: for a quarter more segments than fill it, because not all
/// are full.
fn position_bits(limit: usize, size_bits: u32) -> u32 {
    let segments = ((limit + limit / 4) >> size_bits) + SEGMENTS_MIN;
    (segments.next_power_of_two().ilog2() + size_bits).min(POSITION_BITS_MAX)
}
