//! One table of items with its account of memory. When room is needed, what was used longest ago goes.
//!
//! An expired item is absent for every verb; it is taken out when somebody asks for its key or when it is the oldest.

use hashbrown::HashTable;

use crate::number::unsigned;

use super::item::{Draft, Expiry, Item, Kept, UnixTime};
use super::order::Order;
use super::{Access, Change, Condition, Data, Deleted, Held, Stored, Uncounted, Usage, Value};

/// A step of background work looks at so many items.
const STEP: usize = 1024;

/// A share of the store.
#[derive(Debug)]
pub(super) struct Shard {
    /// The places of items, found by the hash of their keys.
    table: HashTable<u32>,
    /// Items by place; `None` is listed in `free`.
    items: Vec<Option<Kept>>,
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
    evicted_unfetched: u64,
    expired: u64,
    expired_unfetched: u64,
    evict: bool,
}

impl Shard {
    /// An empty shard that may take `limit` bytes, where no value grows beyond `value_max`.
    pub(super) fn new(limit: usize, value_max: usize, evict: bool) -> Self {
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
            evicted_unfetched: 0,
            expired: 0,
            expired_unfetched: 0,
            evict,
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
        let place = match found {
            Some(place) => place,
            None if access.vivify => self.vivify(hash, key, now)?,
            None => return None,
        };
        let item = self.items.get_mut(place as usize)?.as_mut()?;
        let result = work(&mut Held {
            item,
            created: found.is_none(),
        });
        if access.counts_as_use {
            item.fetch_now(now);
            self.order.use_now(place);
        }
        Some(result)
    }

    fn vivify(&mut self, hash: u32, key: &[u8], now: UnixTime) -> Option<u32> {
        let draft = Draft {
            key,
            value: [b"", b""],
            shared: None,
            flags: 0,
            expiry: Expiry::Never,
            base64_key: false,
        };
        self.insert(hash, &draft, now)
    }

    pub(super) fn put(
        &mut self,
        hash: u32,
        key: &[u8],
        value: Value<'_>,
        condition: Condition,
        now: UnixTime,
    ) -> Stored {
        let (slice, shared) = match &value.data {
            Data::Slice(slice) => (*slice, None),
            Data::Shared(shared) => (b"".as_slice(), Some(shared.clone())),
        };
        let mut draft = Draft {
            key,
            value: [slice, b""],
            shared,
            flags: value.flags,
            expiry: value.expiry,
            base64_key: value.base64_key,
        };
        let Some(place) = self.find(hash, key, now) else {
            return match condition {
                Condition::Always | Condition::Absent => self
                    .insert(hash, &draft, now)
                    .map_or(Stored::NoRoom, |_| Stored::Stored(self.last_unique)),
                Condition::Unique(_) | Condition::UniqueOrStale(_) => Stored::Absent,
                Condition::Present | Condition::Append(_) | Condition::Prepend(_) => {
                    Stored::Refused
                }
            };
        };
        let Some(old) = self.items.get_mut(place as usize).and_then(Option::as_mut) else {
            return Stored::Refused;
        };
        let mut stale = false;
        match condition {
            Condition::Absent => {
                old.use_now(now);
                self.order.use_now(place);
                return Stored::Refused;
            }
            Condition::UniqueOrStale(unique) if unique != 0 && unique < old.unique() => {
                draft.expiry = old.expiry();
                stale = true;
            }
            Condition::Unique(unique)
            | Condition::UniqueOrStale(unique)
            | Condition::Append(Some(unique))
            | Condition::Prepend(Some(unique))
                if unique != old.unique() =>
            {
                return Stored::Changed;
            }
            Condition::Append(_) => draft.value = [old.value(), &value.data],
            Condition::Prepend(_) => draft.value = [&value.data, old.value()],
            Condition::Always
            | Condition::Present
            | Condition::Unique(_)
            | Condition::UniqueOrStale(_) => {}
        }
        if matches!(condition, Condition::Append(_) | Condition::Prepend(_)) {
            (draft.flags, draft.expiry) = (old.flags(), old.expiry());
            (draft.base64_key, draft.shared) = (false, None);
        }
        // The sum of two values that were each small enough: memcached refuses it in the same words.
        if draft.value_length() > self.value_max {
            return Stored::Refused;
        }
        let unique = self.last_unique + 1;
        let mut item = draft.complete(hash, unique, now);
        if stale {
            item.set_claimed(old.is_claimed());
            item.set_stale(unique);
        }
        if self.replace(place, item) {
            Stored::Stored(unique)
        } else {
            Stored::NoRoom
        }
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
        let (number, place) = match (found, change.initial) {
            (Some(place), _) => (self.recount(place, change, now)?, place),
            (None, None) => return Err(Uncounted::Absent),
            (None, Some(initial)) => {
                let text = initial.to_string();
                let draft = Draft {
                    key,
                    value: [text.as_bytes(), b""],
                    shared: None,
                    flags: 0,
                    expiry: Expiry::Never,
                    base64_key: false,
                };
                let place = self.insert(hash, &draft, now).ok_or(Uncounted::NoRoom)?;
                (initial, place)
            }
        };
        let item = self.items.get_mut(place as usize).and_then(Option::as_mut);
        let mut held = Held {
            item: item.ok_or(Uncounted::Absent)?,
            created: found.is_none(),
        };
        Ok(read(number, &mut held))
    }

    /// Changes the number of a present item.
    fn recount(&mut self, place: u32, change: Change, now: UnixTime) -> Result<u64, Uncounted> {
        let old = self.item(place).ok_or(Uncounted::Absent)?;
        if change.unique.is_some_and(|unique| unique != old.unique()) {
            return Err(Uncounted::Changed);
        }
        let number = unsigned(old.value()).ok_or(Uncounted::NotANumber)?;
        let number = if change.up {
            number.wrapping_add(change.delta)
        } else {
            number.saturating_sub(change.delta)
        };
        // A shorter number is padded to the old length, as in memcached.
        let width = old.value().len();
        let text = format!("{number:<width$}");
        let draft = Draft {
            key: old.key(),
            value: [text.as_bytes(), b""],
            shared: None,
            flags: old.flags(),
            expiry: old.expiry(),
            base64_key: false,
        };
        let mut item = draft.complete(old.hash(), self.last_unique + 1, now);
        // For memcached a number that did not grow is the same item still, one that did is a new one.
        if text.len() == width {
            item.inherit_marks(old);
        }
        if self.replace(place, item) {
            Ok(number)
        } else {
            Err(Uncounted::NoRoom)
        }
    }

    pub(super) fn delete(
        &mut self,
        hash: u32,
        key: &[u8],
        unique: Option<u64>,
        now: UnixTime,
    ) -> Deleted {
        let Some(place) = self.find(hash, key, now) else {
            return Deleted::Absent;
        };
        if self.is_changed(place, unique) {
            return Deleted::Changed;
        }
        self.remove(place);
        Deleted::Deleted
    }

    pub(super) fn make_stale(
        &mut self,
        hash: u32,
        key: &[u8],
        unique: Option<u64>,
        expiry: Option<Expiry>,
        now: UnixTime,
    ) -> Deleted {
        let Some(place) = self.find(hash, key, now) else {
            return Deleted::Absent;
        };
        if self.is_changed(place, unique) {
            return Deleted::Changed;
        }
        self.last_unique += 1;
        if let Some(item) = self.items.get_mut(place as usize).and_then(Option::as_mut) {
            item.set_stale(self.last_unique);
            item.set_claimed(false);
            if let Some(expiry) = expiry {
                item.set_expiry(expiry);
            }
        }
        Deleted::Deleted
    }

    fn is_changed(&self, place: u32, unique: Option<u64>) -> bool {
        let item = self.item(place);
        unique.is_some_and(|unique| item.is_none_or(|item| item.unique() != unique))
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            items: self.table.len() as u64,
            bytes: self.bytes as u64,
            limit: self.limit as u64,
            stored: self.stored,
            evicted: self.evicted,
            evicted_unfetched: self.evicted_unfetched,
            expired: self.expired,
            expired_unfetched: self.expired_unfetched,
            ..Usage::default()
        }
    }

    pub(super) fn reset_counters(&mut self) {
        (self.stored, self.evicted, self.expired) = (0, 0, 0);
        (self.evicted_unfetched, self.expired_unfetched) = (0, 0);
    }

    fn item(&self, place: u32) -> Option<&Kept> {
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
        self.drop_expired(place);
        None
    }

    /// Puts a new item to a free place; `None` when it does not fit at all.
    fn insert(&mut self, hash: u32, draft: &Draft<'_>, now: UnixTime) -> Option<u32> {
        let cost = draft.cost();
        if cost > self.limit {
            return None;
        }
        if !self.make_room(cost) {
            return None;
        }
        let item = draft.complete(hash, self.last_unique + 1, now);
        let place = self.free.pop().unwrap_or_else(|| {
            self.items.push(None);
            (self.items.len() - 1) as u32 // a shard's memory bounds its items far below 2^32
        });
        self.items[place as usize] = Some(item);
        self.order.insert(place);
        let items = &self.items;
        self.table.insert_unique(spread(hash), place, |place| {
            let item = items.get(*place as usize).and_then(Option::as_ref);
            spread(item.map_or(0, Kept::hash))
        });
        self.account(cost);
        Some(place)
    }

    /// Puts another item of the same key at its place. What does not fit at all leaves the key absent; that is
    /// answered `false`.
    fn replace(&mut self, place: u32, item: Kept) -> bool {
        let cost = item.cost();
        if cost > self.limit {
            self.remove(place);
            return false;
        }
        // Used now, so that it is not what goes when room is made.
        self.order.use_now(place);
        let old = self.items[place as usize].replace(item);
        self.bytes -= old.map_or(0, |item| item.cost());
        self.account(cost);
        if !self.make_room(0) {
            self.remove(place);
            return false;
        }
        true
    }

    fn account(&mut self, cost: usize) {
        self.bytes += cost;
        self.stored += 1;
        self.last_unique += 1;
    }

    /// Drops what was used longest ago until `more` bytes fit; `false` where nothing may be dropped.
    fn make_room(&mut self, more: usize) -> bool {
        while self.bytes + more > self.limit {
            let Some(place) = self.order.oldest().filter(|_| self.evict) else {
                return false;
            };
            self.evicted += 1;
            if let Some(item) = self.item(place) {
                self.evicted_unfetched += u64::from(!Item::new(item).was_fetched());
            }
            self.remove(place);
        }
        true
    }

    /// Takes out items that are expired among the next [`STEP`] places from `place` on; where to go on, if there are more.
    pub(super) fn expire(&mut self, place: usize, now: UnixTime) -> Option<usize> {
        let end = (place + STEP).min(self.items.len());
        for place in place..end {
            let item = self.items[place].as_ref();
            if item.is_some_and(|item| item.expiry().is_past(now)) {
                self.drop_expired(place as u32);
            }
        }
        (end < self.items.len()).then_some(end)
    }

    fn drop_expired(&mut self, place: u32) {
        self.expired += 1;
        if let Some(item) = self.item(place) {
            self.expired_unfetched += u64::from(!Item::new(item).was_fetched());
        }
        self.remove(place);
    }

    /// Shows live items among the next [`STEP`] places from `place` on; where to go on, if there are more.
    pub(super) fn walk(
        &self,
        place: usize,
        now: UnixTime,
        visit: &mut impl FnMut(&Item<'_>),
    ) -> Option<usize> {
        let end = (place + STEP).min(self.items.len());
        for kept in self
            .items
            .get(place..end)
            .unwrap_or_default()
            .iter()
            .flatten()
        {
            if !kept.expiry().is_past(now) {
                visit(&Item::new(kept));
            }
        }
        (end < self.items.len()).then_some(end)
    }

    /// Changes how many bytes it may take.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.make_room(0);
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
