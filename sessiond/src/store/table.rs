//! From the hash of a key to the position of its item: buckets of one cache line, that grow and shrink one by one (linear
//! hashing), so that no request waits for a rehash and memory never doubles.
//!
//! ```text
//!   bucket: 15 slots of 4 bytes, and the number of another bucket that goes on where this one is full
//!   slot:   upper bits of the hash | position        0: empty
//! ```

use std::io;

use super::pages::Pages;

/// A cache line.
const BUCKET: usize = 64;
const SLOT: usize = 4;
/// Slots of a bucket; what would be the last is the link.
const SLOTS: usize = BUCKET / SLOT - 1;
/// Buckets per piece of memory.
const CHUNK: usize = 1024;
/// The table grows when its buckets hold more than this on average.
const LOAD_MAX: usize = 11;
/// And shrinks below this.
const LOAD_MIN: usize = 4;

/// Positions by hash. A position is a number below `1 << position_bits`, and not 0.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Buckets,
    /// Where full buckets go on.
    further: Buckets,
    /// Further buckets that nobody uses.
    free: Vec<u32>,
    len: usize,
    /// The bits of a slot that are the position.
    positions: u32,
}

/// Buckets in pieces of memory.
#[derive(Debug, Default)]
struct Buckets {
    chunks: Vec<Pages>,
    len: usize,
    resident: usize,
}

impl Buckets {
    fn get(&self, index: usize) -> &[[u8; SLOT]] {
        let offset = index % CHUNK * BUCKET;
        self.chunks[index / CHUNK].bytes()[offset..offset + BUCKET]
            .as_chunks()
            .0
    }

    fn get_mut(&mut self, index: usize) -> &mut [[u8; SLOT]] {
        let offset = index % CHUNK * BUCKET;
        self.chunks[index / CHUNK].bytes_mut()[offset..offset + BUCKET]
            .as_chunks_mut()
            .0
    }

    /// One more, empty.
    fn push(&mut self) -> io::Result<()> {
        if self.len == self.chunks.len() * CHUNK {
            self.chunks.push(Pages::new(CHUNK * BUCKET)?);
        }
        let offset = self.len % CHUNK * BUCKET;
        self.resident += self.chunks[self.len / CHUNK].write_to(offset + BUCKET);
        self.len += 1;
        Ok(())
    }

    /// One less; it must be empty.
    fn pop(&mut self) {
        self.len -= 1;
        // One piece is kept beyond what is needed, so that the edge costs nothing to cross.
        if self.len + CHUNK < self.chunks.len() * CHUNK
            && let Some(chunk) = self.chunks.pop()
        {
            self.resident -= chunk.resident();
        }
    }
}

/// A bucket of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    First(usize),
    Further(usize),
}

impl Table {
    /// An empty table for positions of so many bits.
    pub(super) fn new(position_bits: u32) -> Self {
        Self {
            buckets: Buckets::default(),
            further: Buckets::default(),
            free: Vec::new(),
            len: 0,
            positions: (1 << position_bits) - 1,
        }
    }

    /// Takes everything out, and gives its memory back.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.positions.count_ones());
    }

    /// How many positions there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.resident + self.further.resident
    }

    /// Room for larger positions, at the cost of telling fewer keys apart.
    pub(super) fn widen(&mut self, position_bits: u32) {
        let wider = (1 << position_bits) - 1;
        let cleared = wider & !self.positions;
        for buckets in [&mut self.buckets, &mut self.further] {
            for index in 0..buckets.len {
                for slot in &mut buckets.get_mut(index)[..SLOTS] {
                    *slot = (u32::from_ne_bytes(*slot) & !cleared).to_ne_bytes();
                }
            }
        }
        self.positions = wider;
    }

    /// The position among those of this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut bucket = self.buckets.get(self.address(hash)?);
        loop {
            let mut found = matches(bucket, hash, self.positions);
            while found != 0 {
                let slot = bucket[found.trailing_zeros() as usize];
                let position = u32::from_ne_bytes(slot) & self.positions;
                if position != 0 && is_it(position) {
                    return Some(position);
                }
                found &= found - 1;
            }
            bucket = self.further.get(link(bucket)?);
        }
    }

    /// Puts in a position; `hash_of` tells the hash of one that is in already. Fails without memory.
    pub(super) fn insert(
        &mut self,
        hash: u32,
        position: u32,
        hash_of: impl Fn(u32) -> u32,
    ) -> io::Result<()> {
        if self.len >= self.buckets.len * LOAD_MAX {
            self.grow(&hash_of)?;
        }
        let slot = (hash & !self.positions) | position;
        let address = self.address(hash).unwrap_or(0);
        self.put(address, slot)?;
        self.len += 1;
        Ok(())
    }

    /// The item at `old` is at `new` now.
    pub(super) fn replace(&mut self, hash: u32, old: u32, new: u32) {
        let slot = (hash & !self.positions) | old;
        if let Some((at, index)) = self.locate(hash, slot) {
            let slot = (hash & !self.positions) | new;
            self.bucket_mut(at)[index] = slot.to_ne_bytes();
        }
    }

    /// Takes out a position.
    pub(super) fn remove(&mut self, hash: u32, position: u32) {
        let slot = (hash & !self.positions) | position;
        let Some((at, index)) = self.locate(hash, slot) else {
            return;
        };
        self.bucket_mut(at)[index] = [0; SLOT];
        self.len -= 1;
        self.fill_hole(hash, at, index);
    }

    /// Gives a bucket back while there are far more than needed; whether there was one.
    pub(super) fn shrink(&mut self) -> bool {
        if self.buckets.len <= 1 || self.len >= self.buckets.len * LOAD_MIN {
            return false;
        }
        if self.reserve_further().is_err() {
            return false;
        }
        let last = self.buckets.len - 1;
        let slots = self.take(last);
        self.buckets.pop();
        for slot in slots {
            // Cannot fail: the two chains and the bucket in reserve hold all that they held.
            let _ = self.put(origin(last), slot);
        }
        true
    }

    /// The bucket where a hash begins; `None` while there are none.
    #[inline]
    fn address(&self, hash: u32) -> Option<usize> {
        let buckets = self.buckets.len;
        if buckets == 0 {
            return None;
        }
        let mask = buckets.next_power_of_two() - 1;
        let index = hash as usize & mask;
        Some(if index < buckets {
            index
        } else {
            index & (mask >> 1)
        })
    }

    fn bucket(&self, at: At) -> &[[u8; SLOT]] {
        match at {
            At::First(index) => self.buckets.get(index),
            At::Further(index) => self.further.get(index),
        }
    }

    fn bucket_mut(&mut self, at: At) -> &mut [[u8; SLOT]] {
        match at {
            At::First(index) => self.buckets.get_mut(index),
            At::Further(index) => self.further.get_mut(index),
        }
    }

    /// Where exactly this slot is.
    fn locate(&self, hash: u32, slot: u32) -> Option<(At, usize)> {
        let mut at = At::First(self.address(hash)?);
        loop {
            let bucket = self.bucket(at);
            let mut slots = bucket[..SLOTS].iter();
            if let Some(index) = slots.position(|other| *other == slot.to_ne_bytes()) {
                return Some((at, index));
            }
            at = At::Further(link(bucket)?);
        }
    }

    /// Puts a slot to the first free place of a chain.
    fn put(&mut self, first: usize, slot: u32) -> io::Result<()> {
        let mut at = At::First(first);
        loop {
            let bucket = self.bucket_mut(at);
            if let Some(free) = bucket[..SLOTS].iter_mut().find(|slot| **slot == [0; SLOT]) {
                *free = slot.to_ne_bytes();
                return Ok(());
            }
            at = match link(bucket) {
                Some(next) => At::Further(next),
                None => {
                    let next = self.take_further()?;
                    self.bucket_mut(at)[SLOTS] = (next as u32 + 1).to_ne_bytes();
                    At::Further(next)
                }
            };
        }
    }

    /// Sees to it that there is a free further bucket: a chain that is split in two, or two that become one, need at
    /// most one bucket more than before.
    fn reserve_further(&mut self) -> io::Result<()> {
        if self.free.is_empty() {
            self.further.push()?;
            self.free.push(self.further.len as u32 - 1);
        }
        Ok(())
    }

    /// A further bucket, empty.
    fn take_further(&mut self) -> io::Result<usize> {
        if let Some(index) = self.free.pop() {
            return Ok(index as usize);
        }
        self.further.push()?;
        Ok(self.further.len - 1)
    }

    /// Moves the last slot of a chain into a hole, so that chains do not outlast what made them long.
    fn fill_hole(&mut self, hash: u32, hole: At, index: usize) {
        let mut before = At::First(self.address(hash).unwrap_or(0));
        let Some(mut last) = link(self.bucket(before)) else {
            return;
        };
        while let Some(next) = link(self.further.get(last)) {
            before = At::Further(last);
            last = next;
        }
        if hole != At::Further(last) {
            let mut slots = self.further.get_mut(last)[..SLOTS].iter_mut();
            let moved = slots.find(|slot| **slot != [0; SLOT]);
            let moved = moved.map(std::mem::take).unwrap_or_default();
            self.bucket_mut(hole)[index] = moved;
        }
        if self.is_empty(last) {
            self.bucket_mut(before)[SLOTS] = [0; SLOT];
            self.free.push(last as u32);
        }
    }

    fn is_empty(&self, further: usize) -> bool {
        self.further.get(further)[..SLOTS]
            .iter()
            .all(|slot| *slot == [0; SLOT])
    }

    /// One more bucket, which gets its part of the items of the one before whose turn it is.
    fn grow(&mut self, hash_of: &impl Fn(u32) -> u32) -> io::Result<()> {
        self.reserve_further()?;
        self.buckets.push()?;
        let new = self.buckets.len - 1;
        if new == 0 {
            return Ok(());
        }
        for slot in self.take(origin(new)) {
            let hash = hash_of(slot & self.positions);
            let address = self.address(hash).unwrap_or(0);
            self.put(address, slot)?;
        }
        Ok(())
    }

    /// Empties a chain; what was in it.
    fn take(&mut self, first: usize) -> Vec<u32> {
        let mut slots = Vec::with_capacity(2 * SLOTS);
        let mut at = At::First(first);
        loop {
            let bucket = self.bucket_mut(at);
            let next = link(bucket);
            let words = bucket[..SLOTS].iter().map(|slot| u32::from_ne_bytes(*slot));
            slots.extend(words.filter(|slot| *slot != 0));
            bucket.fill([0; SLOT]);
            if let At::Further(index) = at {
                self.free.push(index as u32);
            }
            match next {
                Some(next) => at = At::Further(next),
                None => return slots,
            }
        }
    }
}

/// A bit for every slot that may be of this hash, or is empty.
#[inline]
fn matches(bucket: &[[u8; SLOT]], hash: u32, positions: u32) -> u32 {
    let mut found = 0;
    for (index, slot) in bucket[..SLOTS].iter().enumerate() {
        let differs = (u32::from_ne_bytes(*slot) ^ hash) & !positions;
        found |= u32::from(differs == 0) << index;
    }
    found
}

/// Where a bucket goes on.
fn link(bucket: &[[u8; SLOT]]) -> Option<usize> {
    (u32::from_ne_bytes(bucket[SLOTS]) as usize).checked_sub(1)
}

/// The bucket whose items are shared with the one of this index when that is made.
fn origin(index: usize) -> usize {
    index & (((index + 1).next_power_of_two() - 1) >> 1)
}
