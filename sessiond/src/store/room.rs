//! How a shard makes room, and what it does when nobody asks: expiry, tidying, eviction.
//!
//! Room is made from what costs least, in this order: segments with expired items; segments with much dead space, whose
//! live items move closer together; the oldest items that nobody used since they were stored; and of the others the oldest
//! that were not used since they last had a round. The order of items is that of their segments (S3-FIFO, SOSP 2023, by
//! segments as in Segcache, NSDI 2021): what is used is only marked, and moved when its segment's turn comes. So a
//! stream of items that nobody asks for again passes through probation, and pushes out nothing that is used.

use super::record::{FREQUENCY_MAX, Record};
use super::segment::{Group, Segment};
use super::shard::{SEGMENTS_MIN, Shard};
use super::time::{Expiry, UnixTime};

/// New items may take this part of the memory before used ones have to go: a tenth, as in S3-FIFO.
const PROBATION_SHARE: usize = 10;

/// To make room for one item at most so many segments are gone through; then it is refused. It takes milliseconds, and
/// happens only when everything is in use.
const PASSES_MAX: usize = 96;

/// After so many passes without success, used items have to go as well,
const PASSES_IN_MERCY: usize = 64;
/// and after every so many more also those that were used once more often: at the end the oldest, whatever it is.
const PASSES_PER_FREQUENCY: usize = 8;

/// A segment of which a quarter or more is dead is tidied before anything is evicted.
const TIDY_BELOW: usize = 75;
/// Where nothing is evicted, it is tidied sooner.
const TIDY_BELOW_UNEVICTED: usize = 95;
/// In the background only a segment of which half is dead.
const TIDY_BELOW_IDLE: usize = 50;

/// Open segments fill their dead space by themselves, unless they are this large and nearly empty.
const OPEN_TIDY_MIN: usize = 32 << 10;
const OPEN_TIDY_BELOW: usize = 25;

/// So many seconds go by before a segment is looked through again for every so many bytes that a shard may take: some
/// items expire in every segment in every second when they were given longer lives at different times.
const LOOK_AGAIN_BYTES: usize = 1 << 30;

/// What becomes of a live item when its segment is gone through.
enum Fate {
    /// It moves to this group, where it counts as used so often.
    Move(Group, u8),
    /// It makes room for others.
    Evict,
}

impl Shard {
    /// Memory taken from the system.
    pub(super) fn memory(&self) -> usize {
        self.segments.resident() + self.table.bytes() + self.large.bytes() + self.ghost.bytes()
    }

    /// What may be taken: the limit, less this shard's part of one segment for all of them. While one is given up, the
    /// items of it that move take memory twice.
    fn limit(&self) -> usize {
        let size = self.segments.size();
        self.settings.limit.max(SEGMENTS_MIN * size) - size / self.settings.shards
    }

    /// Whether there would be room for a record of `length` and `large` bytes elsewhere.
    fn has_room(&self, wanted: &Wanted, now: UnixTime) -> bool {
        let missing = self
            .segments
            .missing(wanted.group, wanted.expiry, wanted.length, now);
        self.memory() + missing + wanted.large <= self.limit()
    }

    /// A place for a record of `length` bytes, when there is room for it and `large` bytes elsewhere: its position.
    pub(super) fn allocate(
        &mut self,
        group: Group,
        expiry: Expiry,
        length: usize,
        large: usize,
        now: UnixTime,
    ) -> Option<u32> {
        let wanted = Wanted {
            group,
            expiry,
            length,
            large,
        };
        if !self.has_room(&wanted, now) && !self.make_room(&wanted, now) {
            return None;
        }
        let position = self.segments.append(group, expiry, length, now);
        if position.is_some() || !self.settings.evict {
            return position;
        }
        // All positions are taken, or the system has no more memory: what goes now makes a place for certain.
        self.pass_oldest(FREQUENCY_MAX + 1, &wanted, now);
        self.segments.append(group, expiry, length, now)
    }

    fn make_room(&mut self, wanted: &Wanted, now: UnixTime) -> bool {
        if wanted.large > self.limit() {
            return false;
        }
        let before = self.memory();
        for pass in 0..PASSES_MAX {
            if self.has_room(wanted, now) {
                return true;
            }
            if self.segments.drop_spare() && self.has_room(wanted, now) {
                return true;
            }
            let expired = self.counted.expired;
            if self.expire_due(now, true) {
                self.counted.reclaimed += self.counted.expired - expired;
            } else if !self.tidy(self.tidy_below(), now) {
                let keep_from = 1 + pass.saturating_sub(PASSES_IN_MERCY) / PASSES_PER_FREQUENCY;
                if !self.settings.evict || !self.pass_oldest(keep_from as u8, wanted, now) {
                    break;
                }
            }
        }
        // After the limit was lowered it is enough not to grow: the rest goes in the background.
        let missing = self
            .segments
            .missing(wanted.group, wanted.expiry, wanted.length, now);
        self.has_room(wanted, now) || self.memory() + missing + wanted.large <= before
    }

    fn tidy_below(&self) -> usize {
        match self.settings.evict {
            true => TIDY_BELOW,
            false => TIDY_BELOW_UNEVICTED,
        }
    }

    /// Does one bounded piece of what is due without any request; whether there was something to do.
    pub(super) fn maintain(&mut self, now: UnixTime) -> bool {
        self.settle(now);
        if self.expire_due(now, false) || self.tidy(TIDY_BELOW_IDLE, now) || self.table.shrink() {
            return true;
        }
        if self.settings.evict && self.memory() > self.settings.limit {
            let nothing = Wanted::nothing();
            return self.segments.drop_spare() || self.pass_oldest(1, &nothing, now);
        }
        false
    }

    /// What is done once a second, after everything else.
    pub(super) fn rest(&mut self, now: UnixTime) {
        self.segments.age_spare();
        self.segments.give_up_idle(now);
    }

    /// Takes the expired items out of one segment that has some; whether there was one.
    fn expire_due(&mut self, now: UnixTime, at_once: bool) -> bool {
        let pause = match at_once {
            true => 1,
            false => 1 + (self.settings.limit * self.settings.shards / LOOK_AGAIN_BYTES) as u32,
        };
        let due = self.segments.all().find(|(_, segment)| {
            segment.due <= now && segment.looked.0.saturating_add(pause) <= now.0
        });
        let Some((number, _)) = due else {
            return false;
        };
        if let Some(segment) = self.segments.get_mut(number) {
            segment.looked = now;
        }
        let mut due = UnixTime(u32::MAX);
        let mut offset = 0;
        // A segment that is given up on the way ends the loop, one that starts over does as well.
        while let Some((record, next)) = self.segments.get(number).and_then(|s| s.record(offset)) {
            if !record.is_dead() {
                match record.expiry() {
                    Expiry::At(time) if time <= now => {
                        let hash = self.hash_of(record);
                        self.expire(hash, self.segments.position(number, offset), now);
                    }
                    Expiry::At(time) => due = due.min(time),
                    Expiry::Never => {}
                }
            }
            offset = next;
        }
        if let Some(segment) = self.segments.get_mut(number) {
            segment.due = due;
        }
        true
    }

    /// Moves the live items of the segment with the least of them to where they take no room between them; whether there
    /// was one of which less than `percent` is live.
    fn tidy(&mut self, percent: usize, now: UnixTime) -> bool {
        let emptiest = self.segments.all().filter_map(|(number, segment)| {
            let (resident, live) = segment.occupancy();
            let percent = match segment.is_open {
                false => percent,
                true if resident < OPEN_TIDY_MIN => 0,
                true => percent.min(OPEN_TIDY_BELOW),
            };
            (live * 100 < resident * percent).then_some((live, number, segment.group))
        });
        let Some((_, number, group)) = emptiest.min_by_key(|(live, ..)| *live) else {
            return false;
        };
        self.segments.seal(number);
        let Some(segment) = self.segments.take(number) else {
            return false;
        };
        self.pass(number, segment, now, &Wanted::nothing(), None, |record| {
            Fate::Move(group, record.frequency())
        })
    }

    /// Goes through the oldest segment of the group that has to give way, until there is room; what was used at least
    /// `keep_from` times stays. Whether there was such a segment.
    fn pass_oldest(&mut self, keep_from: u8, wanted: &Wanted, now: UnixTime) -> bool {
        let [probation, main] = self.weights;
        let first = if probation * PROBATION_SHARE > probation + main {
            [Group::Probation, Group::Main]
        } else {
            [Group::Main, Group::Probation]
        };
        let group = first
            .into_iter()
            .find(|group| !self.segments.queue(*group).is_empty());
        let Some(group) = group else {
            return false;
        };
        let Some((number, until)) = self.oldest(group, now) else {
            return false;
        };
        if group == Group::Main {
            // What moves goes to another one.
            self.segments.seal(number);
        }
        let Some(segment) = self.segments.take(number) else {
            return false;
        };
        self.ghost.resize(self.table.len());
        self.pass(number, segment, now, wanted, until, |record| {
            match (group, record.frequency()) {
                (_, frequency) if frequency < keep_from => Fate::Evict,
                (Group::Probation, _) => Fate::Move(Group::Main, 0),
                (Group::Main, frequency) => Fate::Move(Group::Main, frequency - 1),
            }
        })
    }

    /// The segment of a group with the oldest items, and when those end. Rarely used classes of time to live keep a segment
    /// open for long: of such a one, what is newer than the next segment has its turn later.
    fn oldest(&mut self, group: Group, now: UnixTime) -> Option<(u32, Option<UnixTime>)> {
        for _ in 0..self.segments.queue(group).len() {
            let queue = self.segments.queue(group);
            let number = *queue.front()?;
            let segment = self.segments.get(number)?;
            let next = queue.get(1).and_then(|next| self.segments.get(*next));
            let until = next.filter(|_| segment.is_open).map(|next| next.born);
            let is_young = until.is_some_and(|until| {
                first_live(segment).is_some_and(|record| is_younger_than(record, until))
            });
            if !is_young {
                return Some((number, until));
            }
            self.segments.rotate(group, now);
        }
        // All of them are young: any will do.
        Some((*self.segments.queue(group).front()?, None))
    }

    /// Goes through the live items of a segment that was taken out, until there is room for the large value that is
    /// wanted, or until one is found that came after `until`; at its end it is given up. Always true: it was there.
    fn pass(
        &mut self,
        number: u32,
        mut segment: Segment,
        now: UnixTime,
        wanted: &Wanted,
        until: Option<UnixTime>,
        fate: impl Fn(Record<'_>) -> Fate,
    ) -> bool {
        let group = segment.group;
        // A few bytes of records may stand for many megabytes: then there may be room long before the end.
        let mut in_steps = wanted.large > 0;
        while let Some((record, next)) = segment.record(segment.head) {
            if !record.is_dead() {
                if until.is_some_and(|until| is_younger_than(record, until)) {
                    self.segments.put_back(number, segment);
                    self.segments.rotate(group, now);
                    return true;
                }
                let offset = segment.head;
                let old = self.segments.position(number, offset);
                let hash = self.hash_of(record);
                let cost = self.large.cost_of(record);
                self.weights[group as usize] -= cost;
                let fate = match record.expiry().is_past(now) {
                    true => None,
                    false => Some(fate(record)),
                };
                let moved = match fate {
                    Some(Fate::Move(group, frequency)) => {
                        self.move_to(group, frequency, record, hash, old, cost, now)
                    }
                    Some(Fate::Evict) | None => false,
                };
                if !moved {
                    self.table.remove(hash, old);
                    self.count_dropped(record, fate.is_none());
                    if fate.is_some() && group == Group::Probation {
                        self.ghost.remember(hash);
                    }
                    if let Some(large) = record.number() {
                        self.large.remove(large);
                        in_steps = true;
                    }
                }
                segment.kill(offset);
            }
            segment.head = next;
            if in_steps && self.has_room(wanted, now) && segment.live > 0 {
                self.segments.put_back(number, segment);
                return true;
            }
        }
        self.segments.give_up(number, segment);
        true
    }

    /// Copies a record to the open segment of its class in a group; whether there was a place.
    #[expect(clippy::too_many_arguments, reason = "what a pass knows of a record")]
    fn move_to(
        &mut self,
        group: Group,
        frequency: u8,
        record: Record<'_>,
        hash: u32,
        old: u32,
        cost: usize,
        now: UnixTime,
    ) -> bool {
        let bytes = record.bytes();
        let Some(new) = self
            .segments
            .append(group, record.expiry(), bytes.len(), now)
        else {
            return false;
        };
        self.segments.copy(new, bytes, frequency);
        self.table.replace(hash, old, new);
        self.weights[group as usize] += cost;
        true
    }

    fn count_dropped(&mut self, record: Record<'_>, expired: bool) {
        let unfetched = u64::from(!record.was_fetched());
        let counted = &mut self.counted;
        if expired {
            counted.expired += 1;
            counted.expired_unfetched += unfetched;
        } else {
            if let Some(on_eviction) = &self.on_eviction {
                on_eviction.tell(&self.large.item(record));
            }
            counted.evicted += 1;
            counted.evicted_unfetched += unfetched;
            counted.evicted_active += u64::from(record.frequency() > 0);
        }
    }
}

/// Whether an item that nobody used was stored after a segment was opened, as far as seconds can tell.
fn is_younger_than(record: Record<'_>, born: UnixTime) -> bool {
    record.frequency() == 0 && record.last_used() >= born
}

fn first_live(segment: &Segment) -> Option<Record<'_>> {
    let mut offset = segment.head;
    while let Some((record, next)) = segment.record(offset) {
        if !record.is_dead() {
            return Some(record);
        }
        offset = next;
    }
    None
}

/// What room is made for.
struct Wanted {
    group: Group,
    expiry: Expiry,
    /// Of the record.
    length: usize,
    /// Of its large value.
    large: usize,
}

impl Wanted {
    fn nothing() -> Self {
        Self {
            group: Group::Probation,
            expiry: Expiry::Never,
            length: 0,
            large: 0,
        }
    }
}
