//! Where items are: packed one behind the other in segments, by how soon they expire, in the order they came.
//!
//! ```text
//!   probation   ┌──────┐ ┌──────┐ ┌───┐        new items; the oldest segment is the first to go
//!   main        ┌──────┐ ┌──────┐ ┌──────┐ ┌─┐ items that were used; used again, they go round again
//!               oldest                    newest
//! ```
//!
//! Of each group, one segment is open for items of each class of time to live: what is packed together expires together.

use std::collections::VecDeque;
use std::io;

use super::pages::Pages;
use super::record::{Draft, Record, RecordMut};
use super::time::{Expiry, UnixTime};

/// Which items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// New ones.
    Probation = 0,
    /// Those that were used since they were stored.
    Main = 1,
}

/// Seconds to live up to which items share a segment; longer, and for ever, are classes of their own.
const CLASS_LIMITS: [u32; 4] = [15, 240, 3600, 86400];
const CLASSES: usize = CLASS_LIMITS.len() + 2;

/// The class of an item that is stored or moved at `now`.
fn class(expiry: Expiry, now: UnixTime) -> usize {
    match expiry {
        Expiry::Never => CLASSES - 1,
        Expiry::At(time) => {
            let left = time.0.saturating_sub(now.0);
            CLASS_LIMITS.partition_point(|limit| *limit < left)
        }
    }
}

/// Nothing in it expires.
const NEVER: UnixTime = UnixTime(u32::MAX);

/// A number of no segment.
const NONE: u32 = 0;

/// Records, one behind the other.
#[derive(Debug)]
pub(super) struct Segment {
    pages: Pages,
    pub(super) group: Group,
    /// Where the next record goes.
    fill: usize,
    /// Where the first record that may be live is.
    pub(super) head: usize,
    /// Bytes and number of live records.
    live_bytes: usize,
    pub(super) live: usize,
    /// No live item expires before.
    pub(super) due: UnixTime,
    /// When it was last looked through for expired items.
    pub(super) looked: UnixTime,
    /// When it was opened.
    pub(super) born: UnixTime,
    pub(super) is_open: bool,
}

impl Segment {
    /// The record at an offset, and where the next one is; `None` behind the last.
    pub(super) fn record(&self, offset: usize) -> Option<(Record<'_>, usize)> {
        let bytes = &self.pages.bytes()[..self.fill];
        if offset >= bytes.len() {
            return None;
        }
        let record = Record::first_of(&bytes[offset..]);
        Some((record, offset + record.length()))
    }

    pub(super) fn record_mut(&mut self, offset: usize) -> RecordMut<'_> {
        RecordMut::first_of(&mut self.pages.bytes_mut()[offset..])
    }

    /// A record is live no more.
    pub(super) fn kill(&mut self, offset: usize) {
        let mut record = self.record_mut(offset);
        record.set_dead();
        let length = record.read().length();
        self.live_bytes -= length;
        self.live -= 1;
    }

    /// Memory that was taken by records, and the part of it that live ones are. What an open segment has not filled will
    /// be.
    pub(super) fn occupancy(&self) -> (usize, usize) {
        let taken = match self.is_open {
            true => self.fill,
            false => self.pages.resident(),
        };
        (taken, self.live_bytes)
    }

    /// Starts over where nothing is live any more.
    fn restart(&mut self, now: UnixTime) {
        (self.fill, self.head) = (0, 0);
        (self.due, self.born) = (NEVER, now);
    }
}

/// The segments of a shard.
#[derive(Debug)]
pub(super) struct Segments {
    /// By number; 0 is none, so that no position is 0.
    list: Vec<Option<Segment>>,
    free: Vec<u32>,
    /// Numbers by group, the first opened first.
    queues: [VecDeque<u32>; 2],
    /// The open one of each group and class.
    open: [[u32; CLASSES]; 2],
    /// Memory of the last that was given up, for the next.
    spare: Option<Pages>,
    /// The spare one was there already when background work last came by.
    spare_is_old: bool,
    /// A segment has `1 << size_bits` bytes.
    size_bits: u32,
    /// No more segments than positions are possible for.
    max: usize,
    resident: usize,
}

impl Segments {
    /// None, each of `1 << size_bits` bytes, for positions of `position_bits`.
    pub(super) fn new(size_bits: u32, position_bits: u32) -> Self {
        Self {
            list: vec![None],
            free: Vec::new(),
            queues: [VecDeque::new(), VecDeque::new()],
            open: [[NONE; CLASSES]; 2],
            spare: None,
            spare_is_old: false,
            size_bits,
            max: 1 << (position_bits - size_bits),
            resident: 0,
        }
    }

    /// Allows for more segments; whether these are more than before.
    pub(super) fn widen(&mut self, position_bits: u32) -> bool {
        let max = 1 << (position_bits - self.size_bits);
        let wider = max > self.max;
        self.max = self.max.max(max);
        wider
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self) {
        let position_bits = self.max.ilog2() + self.size_bits;
        *self = Self::new(self.size_bits, position_bits);
    }

    /// The size of a segment.
    pub(super) fn size(&self) -> usize {
        1 << self.size_bits
    }

    /// Memory taken from the system.
    pub(super) fn resident(&self) -> usize {
        self.resident
    }

    /// Numbers of the segments of a group, the first opened first.
    pub(super) fn queue(&self, group: Group) -> &VecDeque<u32> {
        &self.queues[group as usize]
    }

    /// All segments with their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Segment)> {
        let numbered = self.list.iter().enumerate();
        numbered.filter_map(|(number, segment)| Some((number as u32, segment.as_ref()?)))
    }

    /// The highest number there may be.
    pub(super) fn end(&self) -> u32 {
        self.list.len() as u32
    }

    pub(super) fn get(&self, number: u32) -> Option<&Segment> {
        self.list.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Segment> {
        self.list.get_mut(number as usize)?.as_mut()
    }

    /// The position of a record.
    pub(super) fn position(&self, number: u32, offset: usize) -> u32 {
        number << self.size_bits | offset as u32 // an offset is below the size
    }

    /// Segment and offset of a position.
    #[inline]
    pub(super) fn place(&self, position: u32) -> (u32, usize) {
        let offset = position & ((1 << self.size_bits) - 1);
        (position >> self.size_bits, offset as usize)
    }

    #[inline]
    pub(super) fn record(&self, position: u32) -> Option<Record<'_>> {
        let (number, offset) = self.place(position);
        Some(self.get(number)?.record(offset)?.0)
    }

    pub(super) fn record_mut(&mut self, position: u32) -> Option<RecordMut<'_>> {
        let (number, offset) = self.place(position);
        Some(self.get_mut(number)?.record_mut(offset))
    }

    /// Writes an item to the place that [`Segments::append`] gave it.
    pub(super) fn write(&mut self, position: u32, draft: &Draft<'_>, unique: u64) {
        let (number, offset) = self.place(position);
        if let Some(segment) = self.get_mut(number) {
            let place = &mut segment.pages.bytes_mut()[offset..offset + draft.length()];
            draft.write(unique, place);
        }
    }

    /// Puts the bytes of a record to the place that [`Segments::append`] gave it.
    pub(super) fn copy(&mut self, position: u32, bytes: &[u8], frequency: u8) {
        let (number, offset) = self.place(position);
        if let Some(segment) = self.get_mut(number) {
            let place = &mut segment.pages.bytes_mut()[offset..offset + bytes.len()];
            place.copy_from_slice(bytes);
            segment.record_mut(offset).set_frequency(frequency);
        }
    }

    /// How much more memory [`Segments::append`] will take for a record.
    pub(super) fn missing(
        &self,
        group: Group,
        expiry: Expiry,
        length: usize,
        now: UnixTime,
    ) -> usize {
        let open = self.open[group as usize][class(expiry, now)];
        match (self.get(open), &self.spare) {
            (Some(segment), _) if segment.fill + length <= self.size() => {
                segment.pages.missing(segment.fill + length)
            }
            (_, Some(spare)) => spare.missing(length),
            (_, None) => length.next_multiple_of(4096),
        }
    }

    /// Makes a place for a live record of this length: its position. `None` when the system has no more memory, or there
    /// are as many segments as positions.
    pub(super) fn append(
        &mut self,
        group: Group,
        expiry: Expiry,
        length: usize,
        now: UnixTime,
    ) -> Option<u32> {
        let class = class(expiry, now);
        let mut number = self.open[group as usize][class];
        let size = self.size();
        if self
            .get(number)
            .is_none_or(|segment| segment.fill + length > size)
        {
            self.seal(number);
            number = self.open(group, class, now).ok()??;
        }
        let segment = self.list.get_mut(number as usize)?.as_mut()?;
        let offset = segment.fill;
        segment.fill += length;
        segment.live += 1;
        segment.live_bytes += length;
        self.resident += segment.pages.write_to(segment.fill);
        note_due(segment, expiry);
        Some(self.position(number, offset))
    }

    /// A new segment; `None` when there are as many as there may be.
    fn open(&mut self, group: Group, class: usize, now: UnixTime) -> io::Result<Option<u32>> {
        if self.free.is_empty() && self.list.len() < self.max {
            self.free.push(self.list.len() as u32);
            self.list.push(None);
        }
        let Some(number) = self.free.last().copied() else {
            return Ok(None);
        };
        let pages = match self.spare.take() {
            Some(pages) => pages,
            None => Pages::new(self.size())?,
        };
        self.free.pop();
        self.list[number as usize] = Some(Segment {
            pages,
            group,
            fill: 0,
            head: 0,
            live_bytes: 0,
            live: 0,
            due: NEVER,
            looked: UnixTime(0),
            born: now,
            is_open: true,
        });
        self.open[group as usize][class] = number;
        self.queues[group as usize].push_back(number);
        Ok(Some(number))
    }

    /// Nothing more goes into this segment.
    pub(super) fn seal(&mut self, number: u32) {
        for open in self.open.iter_mut().flatten() {
            if *open == number {
                *open = NONE;
            }
        }
        if let Some(segment) = self.get_mut(number) {
            segment.is_open = false;
        }
    }

    /// A live item of this position expires then.
    pub(super) fn note_expiry(&mut self, position: u32, expiry: Expiry) {
        let (number, _) = self.place(position);
        if let Some(segment) = self.get_mut(number) {
            note_due(segment, expiry);
        }
    }

    /// The record at this position is live no more; a segment where nothing is live is given back, or starts over.
    pub(super) fn kill(&mut self, position: u32, now: UnixTime) {
        let (number, offset) = self.place(position);
        let Some(segment) = self.get_mut(number) else {
            return;
        };
        segment.kill(offset);
        if segment.live > 0 {
            return;
        }
        if segment.is_open {
            segment.restart(now);
        } else if let Some(segment) = self.take(number) {
            self.give_up(number, segment);
        }
    }

    /// Takes a segment out, to look through it while others change.
    pub(super) fn take(&mut self, number: u32) -> Option<Segment> {
        self.list.get_mut(number as usize)?.take()
    }

    /// Puts a segment back that was taken out.
    pub(super) fn put_back(&mut self, number: u32, segment: Segment) {
        self.list[number as usize] = Some(segment);
    }

    /// A segment that was taken out is not needed any more.
    pub(super) fn give_up(&mut self, number: u32, segment: Segment) {
        self.seal(number);
        self.queues[segment.group as usize].retain(|other| *other != number);
        self.free.push(number);
        if self.spare.is_none() {
            self.spare = Some(segment.pages);
            self.spare_is_old = false;
        } else {
            self.resident -= segment.pages.resident();
        }
    }

    /// Gives up the open segments that hold nothing since the second before last.
    pub(super) fn give_up_idle(&mut self, now: UnixTime) {
        for number in 1..self.end() {
            let is_idle = self
                .get(number)
                .is_some_and(|segment| segment.live == 0 && segment.born.0 + 1 < now.0);
            if is_idle && let Some(segment) = self.take(number) {
                self.give_up(number, segment);
            }
        }
    }

    /// Lets the oldest segment of a group count as its newest.
    pub(super) fn rotate(&mut self, group: Group, now: UnixTime) {
        let queue = &mut self.queues[group as usize];
        queue.rotate_left(1.min(queue.len()));
        if let Some(number) = queue.back().copied()
            && let Some(segment) = self.get_mut(number)
        {
            segment.born = now;
        }
    }

    /// Gives back the memory that was kept for the next segment; whether there was any.
    pub(super) fn drop_spare(&mut self) -> bool {
        let Some(pages) = self.spare.take() else {
            return false;
        };
        self.resident -= pages.resident();
        true
    }

    /// As [`Segments::drop_spare`], if nobody needed it since this was called before.
    pub(super) fn age_spare(&mut self) {
        if std::mem::replace(&mut self.spare_is_old, true) {
            self.drop_spare();
        }
    }
}

fn note_due(segment: &mut Segment, expiry: Expiry) {
    if let Expiry::At(time) = expiry {
        segment.due = segment.due.min(time);
    }
}
