//! Values that are too large for a segment: each in a buffer of its own, under a number.

use bytes::Bytes;

use super::record::{Item, Record};

/// What the allocator and the counted handle add to a buffer.
const OVERHEAD: usize = 64;

/// From this size on the system's allocator hands out whole pages.
const PAGED_MIN: usize = 128 << 10;

const PAGE: usize = 4096;

/// What a value of this length takes, in bytes.
pub(super) fn cost(length: usize) -> usize {
    if length < PAGED_MIN {
        length + OVERHEAD
    } else {
        (length + OVERHEAD).next_multiple_of(PAGE)
    }
}

/// The large values of a shard.
#[derive(Debug, Default)]
pub(super) struct Large {
    values: Vec<Option<Bytes>>,
    free: Vec<u32>,
    bytes: usize,
}

impl Large {
    /// Keeps a value; its number.
    pub(super) fn insert(&mut self, value: Bytes) -> u32 {
        self.bytes += cost(value.len());
        let number = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            (self.values.len() - 1) as u32 // bounded by the memory of a shard
        });
        self.values[number as usize] = Some(value);
        number
    }

    /// A record with its value.
    pub(super) fn item<'a>(&'a self, record: Record<'a>) -> Item<'a> {
        Item::new(record, record.number().and_then(|number| self.get(number)))
    }

    /// What the item of a record costs.
    pub(super) fn cost_of(&self, record: Record<'_>) -> usize {
        let large = record.number().and_then(|number| self.get(number));
        record.length() + large.map_or(0, |value| cost(value.len()))
    }

    /// The value under a number.
    fn get(&self, number: u32) -> Option<&Bytes> {
        self.values.get(number as usize)?.as_ref()
    }

    /// Gives a value up.
    pub(super) fn remove(&mut self, number: u32) {
        let Some(value) = self.values.get_mut(number as usize).and_then(Option::take) else {
            return;
        };
        self.bytes -= cost(value.len());
        self.free.push(number);
        if self.free.len() == self.values.len() {
            *self = Self::default();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
