//! Finding, placing and taking out the items of a shard: what all of its verbs are made of.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::large;
use super::record::{Body, Draft, KEY_MAX, Marks, Record};
use super::segment::Group;
use super::shard::Shard;
use super::time::{Expiry, UnixTime};
use super::verbs::Data;

/// An item to be stored, with its value wherever that is.
pub(super) struct New<'a> {
    pub(super) key: &'a [u8],
    pub(super) data: Data<'a>,
    pub(super) flags: u32,
    pub(super) expiry: Expiry,
    pub(super) marks: Marks,
}
impl Shard {
    /// The position of a key, expired or not.
    #[inline]
    pub(super) fn position(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.table.find(hash, |position| {
            let record = self.segments.record(position);
            record.is_some_and(|record| record.key() == key)
        })
    }

    /// The position of a key whose item is not expired.
    pub(super) fn find(&mut self, hash: u32, key: &[u8], now: UnixTime) -> Option<u32> {
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
    pub(super) fn insert(&mut self, hash: u32, new: &New<'_>, now: UnixTime) -> Option<u64> {
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
    pub(super) fn replace(
        &mut self,
        hash: u32,
        position: u32,
        new: &New<'_>,
        now: UnixTime,
    ) -> Option<u64> {
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
    pub(super) fn place(
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

    pub(super) fn next_unique(&mut self) -> u64 {
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
    pub(super) fn plain(key: &'a [u8], value: &'a [u8]) -> Self {
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
/// The lower half of a key's hash; the upper one says which shard.
fn hash_key(hasher: &RandomState, key: &[u8]) -> u32 {
    hasher.hash_one(key) as u32
}
