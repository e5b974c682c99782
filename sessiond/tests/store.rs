//! The store against a model that anyone can check by reading: a list of items, oldest use first, looked through from
//! end to end. Whatever is done in whatever order, both give the same outcomes, hold the same items, count the same
//! bytes and drop the same items.

use proptest::prelude::*;
use sessiond::store::{
    Access, Change, Condition, Data, Deleted, Expiry, Layout, Store, Stored, Uncounted, UnixTime,
    Usage, Value, cost,
};

/// Little memory, so that items are dropped all the time.
const MEMORY: usize = 2000;

/// Larger than a shard could hold several of, so that the store has one shard only, as the model has.
const VALUE_MAX: usize = 1500;

const START: UnixTime = UnixTime(1_700_000_000);

#[derive(Debug, Clone)]
enum Step {
    Get(u8, Option<i32>),
    Put(u8, Condition, Vec<u8>, u32, i32),
    /// Condition::Unique with the number that was last seen of the key.
    PutUnchanged(u8, Vec<u8>),
    /// Condition::UniqueOrStale with the number before the last that was seen.
    PutLate(u8, Vec<u8>),
    /// Up or down, by how much, and what an absent key starts with.
    Count(u8, bool, u64, Option<u64>),
    Delete(u8),
    MakeStale(u8, Option<i32>),
    /// Looks without using, and claims what is stale.
    Claim(u8),
    Vivify(u8),
    Flush(u32),
    Pass(u32),
}

#[derive(Debug, Clone)]
struct Item {
    key: Vec<u8>,
    value: Vec<u8>,
    flags: u32,
    expiry: Expiry,
    unique: u64,
    fetched: bool,
    stale: bool,
    claimed: bool,
    used: UnixTime,
}

impl Item {
    fn new(key: Vec<u8>, value: &[u8], flags: u32, expiry: Expiry, now: UnixTime) -> Self {
        Self {
            key,
            value: value.to_vec(),
            flags,
            expiry,
            unique: 0,
            fetched: false,
            stale: false,
            claimed: false,
            used: now,
        }
    }

    fn cost(&self) -> usize {
        cost(self.key.len(), self.value.len(), self.flags)
    }

    /// Everything that can be seen of it.
    fn seen(&self) -> Seen {
        (
            self.value.clone(),
            self.flags,
            self.expiry,
            self.unique,
            [self.fetched, self.stale, self.claimed],
            self.used,
        )
    }
}

type Seen = (Vec<u8>, u32, Expiry, u64, [bool; 3], UnixTime);

fn seen(item: &sessiond::store::Item<'_>) -> Seen {
    (
        item.value().to_vec(),
        item.flags(),
        item.expiry(),
        item.unique(),
        [item.was_fetched(), item.is_stale(), item.is_claimed()],
        item.last_used(),
    )
}

/// Items, the one used longest ago first.
#[derive(Debug, Default)]
struct Model {
    items: Vec<Item>,
    flush_at: Option<UnixTime>,
    unique: u64,
    stored: u64,
    evicted: u64,
    expired: u64,
}

impl Model {
    fn settle(&mut self, now: UnixTime) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.items.clear();
        }
    }

    /// Where a key's item is; behind the last when there is none.
    fn index(&mut self, key: &[u8], now: UnixTime) -> usize {
        self.settle(now);
        let mut items = self.items.iter();
        items
            .position(|item| item.key == key)
            .unwrap_or(self.items.len())
    }

    /// Takes the item out, if it is not expired.
    fn take(&mut self, key: &[u8], now: UnixTime) -> Option<Item> {
        let index = self.index(key, now);
        if index == self.items.len() {
            return None;
        }
        let item = self.items.remove(index);
        if item.expiry.is_past(now) {
            self.expired += 1;
            return None;
        }
        Some(item)
    }

    fn bytes(&self) -> usize {
        self.items.iter().map(Item::cost).sum()
    }

    fn store(&mut self, item: Item) -> Stored {
        let cost = item.cost();
        if cost > MEMORY {
            return Stored::NoRoom;
        }
        while self.bytes() + cost > MEMORY {
            self.items.remove(0);
            self.evicted += 1;
        }
        self.unique += 1;
        let unique = self.unique;
        self.items.push(Item { unique, ..item });
        self.stored += 1;
        Stored::Stored(unique)
    }

    fn get(&mut self, key: &[u8], touch: Option<Expiry>, now: UnixTime) -> Option<Item> {
        let mut item = self.take(key, now)?;
        item.expiry = touch.unwrap_or(item.expiry);
        let seen = item.clone();
        (item.fetched, item.used) = (true, now);
        self.items.push(item);
        Some(seen)
    }

    /// `unchanged` stands for the cas unique: whether the one given is the item's.
    fn put(&mut self, new: Item, condition: Condition, unchanged: bool, now: UnixTime) -> Stored {
        let index = self.index(&new.key, now);
        let Some(old) = self.take(&new.key, now) else {
            return match condition {
                Condition::Always | Condition::Absent => self.store(new),
                Condition::Unique(_) | Condition::UniqueOrStale(_) => Stored::Absent,
                _ => Stored::Refused,
            };
        };
        let changed = match condition {
            Condition::Always | Condition::Present => new,
            Condition::Unique(_) if unchanged => new,
            Condition::Append(_) => Item {
                value: [old.value.clone(), new.value].concat(),
                flags: old.flags,
                expiry: old.expiry,
                ..new
            },
            Condition::Prepend(_) => Item {
                value: [new.value, old.value.clone()].concat(),
                flags: old.flags,
                expiry: old.expiry,
                ..new
            },
            Condition::UniqueOrStale(_) if !unchanged => Item {
                expiry: old.expiry,
                stale: true,
                claimed: old.claimed,
                ..new
            },
            Condition::Absent => {
                self.items.push(Item { used: now, ..old });
                return Stored::Refused;
            }
            Condition::UniqueOrStale(_) => new,
            Condition::Unique(_) => unreachable!("the steps have the right number or no item"),
        };
        if changed.value.len() > VALUE_MAX {
            self.items.insert(index, old);
            return Stored::Refused;
        }
        self.store(changed)
    }

    fn count(&mut self, key: &[u8], change: Change, now: UnixTime) -> Result<u64, Uncounted> {
        let index = self.index(key, now);
        let Some(item) = self.take(key, now) else {
            let initial = change.initial.ok_or(Uncounted::Absent)?;
            let text = initial.to_string();
            self.store(Item::new(
                key.into(),
                text.as_bytes(),
                0,
                Expiry::Never,
                now,
            ));
            return Ok(initial);
        };
        let Some(number) = std::str::from_utf8(&item.value)
            .ok()
            .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        else {
            self.items.insert(index, item);
            return Err(Uncounted::NotANumber);
        };
        let number = if change.up {
            number.wrapping_add(change.delta)
        } else {
            number.saturating_sub(change.delta)
        };
        let value = format!("{number:<width$}", width = item.value.len()).into_bytes();
        let grew = value.len() > item.value.len();
        let changed = Item {
            value,
            used: now,
            ..item
        };
        self.store(if grew {
            Item {
                fetched: false,
                stale: false,
                claimed: false,
                ..changed
            }
        } else {
            changed
        });
        Ok(number)
    }

    /// The item, if it is not expired; its place in the order stays.
    fn look(&mut self, key: &[u8], now: UnixTime) -> Option<&mut Item> {
        let index = self.index(key, now);
        let item = self.take(key, now)?;
        self.items.insert(index, item);
        self.items.get_mut(index)
    }
}

fn key(number: u8) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..12u8;
    let exptime = || prop_oneof![Just(0), Just(-1), 1..20i32, Just(START.0 as i32 + 15)];
    let value = || {
        prop_oneof![
            "[a-z]{0,300}".prop_map(String::into_bytes),
            (0..200u64).prop_map(|number| number.to_string().into_bytes()),
        ]
    };
    let condition = prop_oneof![
        4 => Just(Condition::Always),
        2 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => Just(Condition::Append(None)),
        1 => Just(Condition::Prepend(None)),
    ];
    let step = prop_oneof![
        6 => (key(), proptest::option::of(exptime())).prop_map(|(k, e)| Step::Get(k, e)),
        8 => (key(), condition, value(), prop_oneof![Just(0), any::<u32>()], exptime())
            .prop_map(|(k, c, v, f, e)| Step::Put(k, c, v, f, e)),
        1 => (key(), value()).prop_map(|(k, v)| Step::PutUnchanged(k, v)),
        1 => (key(), value()).prop_map(|(k, v)| Step::PutLate(k, v)),
        2 => (key(), any::<bool>(), 0..300u64, proptest::option::of(0..300u64))
            .prop_map(|(k, u, d, i)| Step::Count(k, u, d, i)),
        1 => (key(), proptest::option::of(exptime())).prop_map(|(k, e)| Step::MakeStale(k, e)),
        1 => key().prop_map(Step::Claim),
        1 => key().prop_map(Step::Vivify),
        1 => key().prop_map(Step::Delete),
        1 => (0..10u32).prop_map(Step::Flush),
        3 => (0..4u32).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_store_does_what_the_model_does(steps in steps()) {
        let store = Store::new(Layout { memory: MEMORY, item_size_max: VALUE_MAX, started: START, evict: true, cas: true });
        let mut model = Model::default();
        let mut now = START;
        for step in steps {
            match step.clone() {
                Step::Pass(seconds) => now.0 += seconds,
                Step::Get(k, exptime) => {
                    let touch = exptime.map(|exptime| store.expiry(exptime, now));
                    let got = store.get(&key(k), touch, now, seen);
                    let expected = model.get(&key(k), touch, now);
                    prop_assert_eq!(got, expected.map(|item| item.seen()));
                }
                Step::Put(k, condition, data, flags, exptime) => {
                    let expiry = store.expiry(exptime, now);
                    let value = Value { flags, expiry, data: data.as_slice().into(), base64_key: false };
                    let got = store.put(&key(k), value, condition, now);
                    let item = Item::new(key(k), &data, flags, expiry, now);
                    // A value that grew over all memory: the model forgets the item, as the store does.
                    prop_assert_eq!(got, model.put(item, condition, true, now), "{:?}", step);
                }
                Step::PutUnchanged(k, data) => {
                    let unique = store.get(&key(k), None, now, |item| item.unique());
                    model.get(&key(k), None, now);
                    let value = Value { flags: 0, expiry: Expiry::Never, data: data.as_slice().into(), base64_key: false };
                    let wrong = store.put(&key(k), value.clone(), Condition::Unique(u64::MAX), now);
                    prop_assert_eq!(wrong, if unique.is_some() { Stored::Changed } else { Stored::Absent });
                    let condition = Condition::Unique(unique.unwrap_or(0));
                    let got = store.put(&key(k), value, condition, now);
                    let item = Item::new(key(k), &data, 0, Expiry::Never, now);
                    prop_assert_eq!(got, model.put(item, condition, true, now));
                }
                Step::PutLate(k, data) => {
                    let unique = model.look(&key(k), now).map_or(1, |item| item.unique);
                    // An absent item's number is as good as any; 0 never is.
                    let late = Condition::UniqueOrStale(unique - 1);
                    let value = Value { flags: 0, expiry: Expiry::Never, data: data.as_slice().into(), base64_key: false };
                    let got = store.put(&key(k), value, late, now);
                    let expected = if unique == 1 && model.look(&key(k), now).is_some() {
                        Stored::Changed
                    } else {
                        let item = Item::new(key(k), &data, 0, Expiry::Never, now);
                        model.put(item, late, false, now)
                    };
                    prop_assert_eq!(got, expected);
                }
                Step::Count(k, up, delta, initial) => {
                    let change = Change { up, delta, unique: None, initial };
                    let got = store.count(&key(k), change, now, |number, _| number);
                    prop_assert_eq!(got, model.count(&key(k), change, now));
                    let wrong = Change { unique: Some(u64::MAX), initial: None, ..change };
                    let present = model.look(&key(k), now).is_some();
                    let refused = if present { Uncounted::Changed } else { Uncounted::Absent };
                    prop_assert_eq!(store.count(&key(k), wrong, now, |number, _| number), Err(refused));
                }
                Step::Delete(k) => {
                    let present = model.look(&key(k), now).is_some();
                    let wrong = store.delete(&key(k), Some(u64::MAX), now);
                    prop_assert_eq!(wrong, if present { Deleted::Changed } else { Deleted::Absent });
                    let expected = if model.take(&key(k), now).is_some() { Deleted::Deleted } else { Deleted::Absent };
                    prop_assert_eq!(store.delete(&key(k), None, now), expected);
                }
                Step::MakeStale(k, exptime) => {
                    let expiry = exptime.map(|exptime| store.expiry(exptime, now));
                    let unique = model.unique + 1;
                    let found = model.look(&key(k), now).map(|item| {
                        item.expiry = expiry.unwrap_or(item.expiry);
                        (item.stale, item.claimed, item.unique) = (true, false, unique);
                    });
                    model.unique += u64::from(found.is_some());
                    let expected = if found.is_some() { Deleted::Deleted } else { Deleted::Absent };
                    prop_assert_eq!(store.make_stale(&key(k), None, expiry, now), expected);
                }
                Step::Claim(k) => {
                    let access = Access { vivify: false, counts_as_use: false };
                    let got = store.access(&key(k), access, now, |held| {
                        let seen = seen(&held.item());
                        if held.item().is_stale() {
                            held.claim();
                        }
                        seen
                    });
                    let expected = model.look(&key(k), now).map(|item| {
                        let seen = item.seen();
                        item.claimed |= item.stale;
                        seen
                    });
                    prop_assert_eq!(got, expected);
                }
                Step::Vivify(k) => {
                    let access = Access { vivify: true, counts_as_use: true };
                    let got = store.access(&key(k), access, now, |held| (held.is_created(), seen(&held.item())));
                    let created = model.look(&key(k), now).is_none();
                    if created {
                        model.store(Item::new(key(k), b"", 0, Expiry::Never, now));
                    }
                    let expected = model.get(&key(k), None, now).map(|item| (created, item.seen()));
                    prop_assert_eq!(got, expected);
                }
                Step::Flush(delay) => {
                    let at = UnixTime(now.0 + delay);
                    store.flush(at, now);
                    model.flush_at = Some(at);
                    model.settle(now);
                }
            }
            let expected = Usage {
                items: model.items.len() as u64,
                bytes: model.bytes() as u64,
                limit: MEMORY as u64,
                stored: model.stored,
                evicted: model.evicted,
                expired: model.expired,
                ..Usage::default()
            };
            let usage = store.usage();
            let expected = Usage { evicted_unfetched: usage.evicted_unfetched, expired_unfetched: usage.expired_unfetched, ..expected };
            prop_assert_eq!(usage, expected, "after {:?}", step);
            prop_assert!(usage.bytes <= usage.limit);
        }
    }
}

#[test]
fn a_refused_add_is_a_use_so_that_copies_kept_alive_by_it_survive() {
    let store = Store::new(Layout {
        memory: MEMORY,
        item_size_max: VALUE_MAX,
        started: START,
        evict: true,
        cas: true,
    });
    let value = |data| Value {
        flags: 0,
        expiry: Expiry::Never,
        data: Data::Slice(data),
        base64_key: false,
    };
    assert_eq!(
        store.put(b"copy", value(b"session"), Condition::Always, START),
        Stored::Stored(1)
    );
    for visitor in 0..1000u32 {
        let key = format!("visitor-{visitor}");
        store.put(key.as_bytes(), value(&[0; 100]), Condition::Always, START);
        assert_eq!(
            store.put(b"copy", value(b"p"), Condition::Absent, START),
            Stored::Refused
        );
    }
    assert!(store.usage().evicted > 900);
    assert!(store.get(b"copy", None, START, |_| ()).is_some());
    assert!(store.get(b"visitor-0", None, START, |_| ()).is_none());
}

#[test]
fn many_shards_are_one_store() {
    let memory = 64 << 20;
    let store = Store::new(Layout {
        memory,
        item_size_max: 1 << 20,
        started: START,
        evict: true,
        cas: true,
    });
    let value = Value {
        flags: 0,
        expiry: Expiry::Never,
        data: Data::Slice(b"x"),
        base64_key: false,
    };
    for number in 0..10_000u32 {
        store.put(
            &number.to_be_bytes(),
            value.clone(),
            Condition::Always,
            START,
        );
    }
    let usage = store.usage();
    assert_eq!((usage.items, usage.evicted), (10_000, 0));
    assert_eq!(usage.bytes, 10_000 * cost(4, 1, 0) as u64);
    assert_eq!(usage.limit, memory as u64);
    store.flush(START, START);
    assert_eq!((store.usage().items, store.usage().bytes), (0, 0));
}
