//! A shard as a whole: walked through, saved, brought back, and counted.

use super::place::New;
use super::record::{Item, Marks};
use super::segment::Group;
use super::shard::{Counted, Shard};
use super::time::{Expiry, UnixTime};
use super::usage::{self, Usage};
use super::verbs::Data;

impl Shard {
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

    /// Shows all live items, when they are gone, and whether they proved to be in use, the oldest segments first. A flush
    /// that was announced ends them, too.
    pub(super) fn save<E>(
        &self,
        now: UnixTime,
        visit: &mut impl FnMut(&Item<'_>, Expiry, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        for group in [Group::Probation, Group::Main] {
            for number in self.segments.queue(group) {
                let mut result = Ok(());
                self.walk(*number, now, &mut |item| {
                    if result.is_ok() {
                        let expiry = match self.flush_at {
                            Some(at) if !item.expiry().is_past(at) => Expiry::At(at),
                            _ => item.expiry(),
                        };
                        result = visit(item, expiry, group == Group::Main);
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
