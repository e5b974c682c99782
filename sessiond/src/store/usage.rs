//! How full a store is, and what it had to drop.

use super::time::UnixTime;

/// How full a store is, and what it had to drop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Items held, those not yet found to be expired among them.
    pub items: u64,
    /// What they cost, in bytes; never above the limit.
    pub bytes: u64,
    /// The limit, with what is reserved for other things than items.
    pub limit: u64,
    /// What of it is reserved, as [`Store::set_reserved`](super::Store::set_reserved) was told.
    pub reserved: u64,
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
    /// Those of them that somebody asked for.
    pub expired_on_access: u64,
    /// Those of them that nobody had read.
    pub expired_unfetched: u64,
    /// Those of them whose memory was wanted for an item that was being stored.
    pub reclaimed: u64,
    /// Items that nobody used since they were stored: they go first.
    pub probation: Group,
    /// Items that proved to be in use.
    pub proven: Group,
    /// Values of [`SHARED_MIN`](super::SHARED_MIN) bytes and more, which have a buffer of their own.
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

impl Usage {
    /// Adds the figures of another shard.
    pub(super) fn add(&mut self, shard: &Self) {
        let sums = [
            (&mut self.items, shard.items),
            (&mut self.bytes, shard.bytes),
            (&mut self.limit, shard.limit),
            (&mut self.stored, shard.stored),
            (&mut self.evicted, shard.evicted),
            (&mut self.evicted_unfetched, shard.evicted_unfetched),
            (&mut self.evicted_active, shard.evicted_active),
            (&mut self.expired, shard.expired),
            (&mut self.expired_on_access, shard.expired_on_access),
            (&mut self.expired_unfetched, shard.expired_unfetched),
            (&mut self.reclaimed, shard.reclaimed),
            (&mut self.memory, shard.memory),
            (&mut self.table_bytes, shard.table_bytes),
            (&mut self.segments, shard.segments),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
        self.segment_size = shard.segment_size;
        self.probation.add(&shard.probation);
        self.proven.add(&shard.proven);
        self.large.add(&shard.large);
    }
}

impl Group {
    fn add(&mut self, shard: &Self) {
        self.items += shard.items;
        self.bytes += shard.bytes;
        let oldest = [self.oldest, shard.oldest].into_iter();
        let oldest = oldest.filter(|oldest| oldest.0 > 0).min();
        self.oldest = oldest.unwrap_or_default();
    }
}
