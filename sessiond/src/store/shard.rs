//! One table of items with its account of memory. When room is needed, what was used longest ago goes.
//!
//! An expired item is absent for every verb; it is taken out when somebody asks for its key or when it is the oldest.

use hashbrown::HashTable;

use crate::number::unsigned;

use super::item::{Draft, Expiry, Item, UnixTime};
use super::order::Order;
use super::{Condition, Counted, Stored, Usage, Value};

/// A share of the store.
#[derive(Debug)]
pub(super) struct Shard {
    /// The places of items, found by the hash of their keys.
    table: HashTable<u32>,
    /// Items by place; `None` is listed in `free`.
    items: Vec<Option<Item>>,
    free: Vec<u32>,
    order: Order,
    limit: usize,
    value_max: usize,
    last_unique: u64,
    /// When everything stored before becomes absent.
    flush_at: Option<UnixTime>,
    bytes: usize,
    stored: u64,
    evicted: u64,
    expired: u64,
}

impl Shard {
    /// An empty shard that may take `limit` bytes, where no value grows beyond `value_max`.
    pub(super) fn new(limit: usize, value_max: usize) -> Self {
        Self {
            table: HashTable::new(),
            items: Vec::new(),
            free: Vec::new(),
            order: Order::new(),
            limit,
            value_max,
            last_unique: 0,
            flush_at: None,
            bytes: 0,
            stored: 0,
            evicted: 0,
            expired: 0,
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
        self.flush_at = Some(at);
        self.settle(now);
    }

    pub(super) fn get(
        &mut self,
        hash: u32,
        key: &[u8],
        touch: Option<Expiry>,
        now: UnixTime,
    ) -> Option<&Item> {
        let place = self.find(hash, key, now)?;
        self.order.use_now(place);
        let item = self.items.get_mut(place as usize)?.as_mut()?;
        if let Some(expiry) = touch {
            item.set_expiry(expiry);
        }
        Some(item)
    }

    pub(super) fn put(
        &mut self,
        hash: u32,
        key: &[u8],
        value: Value<'_>,
        condition: Condition,
        now: UnixTime,
    ) -> Stored {
        let mut draft = Draft {
            key,
            value: [value.data, b""],
            flags: value.flags,
            expiry: value.expiry,
        };
        let Some(place) = self.find(hash, key, now) else {
            return match condition {
                Condition::Always | Condition::Absent => self.insert(hash, &draft),
                Condition::Unique(_) => Stored::Absent,
                Condition::Present | Condition::Append | Condition::Prepend => Stored::Refused,
            };
        };
        let Some(old) = self.item(place) else {
            return Stored::Refused;
        };
        match condition {
            Condition::Absent => {
                self.order.use_now(place);
                return Stored::Refused;
            }
            Condition::Unique(unique) if unique != old.unique() => return Stored::Changed,
            Condition::Append => draft.value = [old.value(), value.data],
            Condition::Prepend => draft.value = [value.data, old.value()],
            Condition::Always | Condition::Present | Condition::Unique(_) => {}
        }
        if matches!(condition, Condition::Append | Condition::Prepend) {
            (draft.flags, draft.expiry) = (old.flags(), old.expiry());
        }
        // The sum of two values that were each small enough: memcached refuses it in the same words.
        if draft.value_length() > self.value_max {
            return Stored::Refused;
        }
        let item = draft.complete(hash, self.last_unique + 1);
        self.replace(place, item)
    }

    pub(super) fn count(
        &mut self,
        hash: u32,
        key: &[u8],
        up: bool,
        delta: u64,
        now: UnixTime,
    ) -> Counted {
        let place = self.find(hash, key, now);
        let Some((place, old)) = place.and_then(|place| Some((place, self.item(place)?))) else {
            return Counted::Absent;
        };
        let Some(number) = unsigned(old.value()) else {
            return Counted::NotANumber;
        };
        let number = if up {
            number.wrapping_add(delta)
        } else {
            number.saturating_sub(delta)
        };
        // A shorter number is padded to the old length, as in memcached.
        let text = format!("{number:<width$}", width = old.value().len());
        let draft = Draft {
            key,
            value: [text.as_bytes(), b""],
            flags: old.flags(),
            expiry: old.expiry(),
        };
        let item = draft.complete(hash, self.last_unique + 1);
        match self.replace(place, item) {
            Stored::Stored => Counted::Number(number),
            _ => Counted::NoRoom,
        }
    }

    pub(super) fn delete(&mut self, hash: u32, key: &[u8], now: UnixTime) -> bool {
        let place = self.find(hash, key, now);
        if let Some(place) = place {
            self.remove(place);
        }
        place.is_some()
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            items: self.table.len() as u64,
            bytes: self.bytes as u64,
            limit: self.limit as u64,
            stored: self.stored,
            evicted: self.evicted,
            expired: self.expired,
        }
    }

    pub(super) fn reset_counters(&mut self) {
        (self.stored, self.evicted, self.expired) = (0, 0, 0);
    }

    fn item(&self, place: u32) -> Option<&Item> {
        self.items.get(place as usize)?.as_ref()
    }

    /// The place of a key whose item is not expired.
    fn find(&mut self, hash: u32, key: &[u8], now: UnixTime) -> Option<u32> {
        let place = *self.table.find(spread(hash), |place| {
            self.item(*place)
                .is_some_and(|item| item.hash() == hash && item.key() == key)
        })?;
        if !self.item(place)?.expiry().is_past(now) {
            return Some(place);
        }
        self.expired += 1;
        self.remove(place);
        None
    }

    fn insert(&mut self, hash: u32, draft: &Draft<'_>) -> Stored {
        let cost = draft.cost();
        if cost > self.limit {
            return Stored::NoRoom;
        }
        self.make_room(cost);
        let item = draft.complete(hash, self.last_unique + 1);
        let place = self.free.pop().unwrap_or_else(|| {
            self.items.push(None);
            (self.items.len() - 1) as u32 // a shard's memory bounds its items far below 2^32
        });
        self.items[place as usize] = Some(item);
        self.order.insert(place);
        let items = &self.items;
        self.table.insert_unique(spread(hash), place, |place| {
            let item = items.get(*place as usize).and_then(Option::as_ref);
            spread(item.map_or(0, Item::hash))
        });
        self.account(cost);
        Stored::Stored
    }

    /// Puts another item of the same key at its place. What does not fit at all leaves the key absent.
    fn replace(&mut self, place: u32, item: Item) -> Stored {
        let cost = item.cost();
        if cost > self.limit {
            self.remove(place);
            return Stored::NoRoom;
        }
        // Used now, so that it is not what goes when room is made.
        self.order.use_now(place);
        let old = self.items[place as usize].replace(item);
        self.bytes -= old.map_or(0, |item| item.cost());
        self.account(cost);
        self.make_room(0);
        Stored::Stored
    }

    fn account(&mut self, cost: usize) {
        self.bytes += cost;
        self.stored += 1;
        self.last_unique += 1;
    }

    /// Drops what was used longest ago until `more` bytes fit.
    fn make_room(&mut self, more: usize) {
        while self.bytes + more > self.limit {
            let Some(place) = self.order.oldest() else {
                return;
            };
            self.evicted += 1;
            self.remove(place);
        }
    }

    fn remove(&mut self, place: u32) {
        let Some(item) = self.items[place as usize].take() else {
            return;
        };
        let found = self
            .table
            .find_entry(spread(item.hash()), |other| *other == place);
        if let Ok(entry) = found {
            entry.remove();
        }
        self.order.remove(place);
        self.free.push(place);
        self.bytes -= item.cost();
    }

    /// Drops everything, and gives its memory back.
    fn clear(&mut self) {
        self.table = HashTable::new();
        self.items = Vec::new();
        self.free = Vec::new();
        self.order = Order::new();
        self.bytes = 0;
    }
}

/// Half a hash over 64 bits: the table takes its tags from the upper ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
