//! The store against a model that anyone can check by reading: a list of items, oldest use first, looked through from
//! end to end. Whatever is done in whatever order, both give the same outcomes, hold the same items, count the same
//! bytes and drop the same items.

use proptest::prelude::*;
use sessiond::store::{
    Condition, Counted, Expiry, Layout, Store, Stored, UnixTime, Usage, Value, cost,
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
    Count(u8, bool, u64),
    Delete(u8),
    Flush(u32),
    Pass(u32),
}

#[derive(Debug, Clone)]
struct Item {
    key: Vec<u8>,
    value: Vec<u8>,
    flags: u32,
    expiry: Expiry,
}

/// Items, the one used longest ago first.
#[derive(Debug, Default)]
struct Model {
    items: Vec<Item>,
    flush_at: Option<UnixTime>,
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
        let costs = self.items.iter();
        costs
            .map(|item| cost(item.key.len(), item.value.len()))
            .sum()
    }

    fn store(&mut self, item: Item) -> Stored {
        let cost = cost(item.key.len(), item.value.len());
        if cost > MEMORY {
            return Stored::NoRoom;
        }
        while self.bytes() + cost > MEMORY {
            self.items.remove(0);
            self.evicted += 1;
        }
        self.items.push(item);
        self.stored += 1;
        Stored::Stored
    }

    fn get(&mut self, key: &[u8], touch: Option<Expiry>, now: UnixTime) -> Option<Item> {
        let mut item = self.take(key, now)?;
        item.expiry = touch.unwrap_or(item.expiry);
        self.items.push(item.clone());
        Some(item)
    }

    /// `unchanged` stands for the cas unique: whether the one given is the item's.
    fn put(&mut self, new: Item, condition: Condition, unchanged: bool, now: UnixTime) -> Stored {
        let index = self.index(&new.key, now);
        let Some(old) = self.take(&new.key, now) else {
            return match condition {
                Condition::Always | Condition::Absent => self.store(new),
                Condition::Unique(_) => Stored::Absent,
                _ => Stored::Refused,
            };
        };
        let changed = match condition {
            Condition::Always | Condition::Present => new,
            Condition::Unique(_) if unchanged => new,
            Condition::Append => Item {
                value: [old.value.clone(), new.value].concat(),
                ..old.clone()
            },
            Condition::Prepend => Item {
                value: [new.value, old.value.clone()].concat(),
                ..old.clone()
            },
            Condition::Absent => {
                self.items.push(old);
                return Stored::Refused;
            }
            Condition::Unique(_) => unreachable!("the steps have the right number or no item"),
        };
        if changed.value.len() > VALUE_MAX {
            self.items.insert(index, old);
            return Stored::Refused;
        }
        self.store(changed)
    }

    fn count(&mut self, key: &[u8], up: bool, delta: u64, now: UnixTime) -> Counted {
        let index = self.index(key, now);
        let Some(item) = self.take(key, now) else {
            return Counted::Absent;
        };
        let Some(number) = std::str::from_utf8(&item.value)
            .ok()
            .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        else {
            self.items.insert(index, item);
            return Counted::NotANumber;
        };
        let number = if up {
            number.wrapping_add(delta)
        } else {
            number.saturating_sub(delta)
        };
        let value = format!("{number:<width$}", width = item.value.len()).into_bytes();
        self.store(Item { value, ..item });
        Counted::Number(number)
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
        1 => Just(Condition::Append),
        1 => Just(Condition::Prepend),
    ];
    let step = prop_oneof![
        6 => (key(), proptest::option::of(exptime())).prop_map(|(k, e)| Step::Get(k, e)),
        8 => (key(), condition, value(), any::<u32>(), exptime())
            .prop_map(|(k, c, v, f, e)| Step::Put(k, c, v, f, e)),
        1 => (key(), value()).prop_map(|(k, v)| Step::PutUnchanged(k, v)),
        2 => (key(), any::<bool>(), 0..300u64).prop_map(|(k, u, d)| Step::Count(k, u, d)),
        1 => key().prop_map(Step::Delete),
        1 => (0..10u32).prop_map(Step::Flush),
        3 => (0..4u32).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_store_does_what_the_model_does(steps in steps()) {
        let store = Store::new(Layout { memory: MEMORY, item_size_max: VALUE_MAX, started: START });
        let mut model = Model::default();
        let mut now = START;
        for step in steps {
            match step.clone() {
                Step::Pass(seconds) => now.0 += seconds,
                Step::Get(k, exptime) => {
                    let touch = exptime.map(|exptime| store.expiry(exptime, now));
                    let got = store.get(&key(k), touch, now, |item| {
                        (item.value().to_vec(), item.flags(), item.expiry())
                    });
                    let expected = model.get(&key(k), touch, now);
                    prop_assert_eq!(got, expected.map(|item| (item.value, item.flags, item.expiry)));
                }
                Step::Put(k, condition, data, flags, exptime) => {
                    let expiry = store.expiry(exptime, now);
                    let value = Value { flags, expiry, data: &data };
                    let got = store.put(&key(k), value, condition, now);
                    let item = Item { key: key(k), value: data.clone(), flags, expiry };
                    // A value that grew over all memory: the model forgets the item, as the store does.
                    prop_assert_eq!(got, model.put(item, condition, true, now), "{:?}", step);
                }
                Step::PutUnchanged(k, data) => {
                    let unique = store.get(&key(k), None, now, |item| item.unique());
                    model.get(&key(k), None, now);
                    let value = Value { flags: 0, expiry: Expiry::Never, data: &data };
                    let wrong = store.put(&key(k), value, Condition::Unique(u64::MAX), now);
                    prop_assert_eq!(wrong, if unique.is_some() { Stored::Changed } else { Stored::Absent });
                    let condition = Condition::Unique(unique.unwrap_or(0));
                    let got = store.put(&key(k), value, condition, now);
                    let item = Item { key: key(k), value: data.clone(), flags: 0, expiry: Expiry::Never };
                    prop_assert_eq!(got, model.put(item, condition, true, now));
                }
                Step::Count(k, up, delta) => {
                    prop_assert_eq!(store.count(&key(k), up, delta, now), model.count(&key(k), up, delta, now));
                }
                Step::Delete(k) => {
                    prop_assert_eq!(store.delete(&key(k), now), model.take(&key(k), now).is_some());
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
            };
            let usage = store.usage();
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
    });
    let value = |data| Value {
        flags: 0,
        expiry: Expiry::Never,
        data,
    };
    assert_eq!(
        store.put(b"copy", value(b"session"), Condition::Always, START),
        Stored::Stored
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
    });
    let value = Value {
        flags: 0,
        expiry: Expiry::Never,
        data: b"x",
    };
    for number in 0..10_000u32 {
        store.put(&number.to_be_bytes(), value, Condition::Always, START);
    }
    let usage = store.usage();
    assert_eq!((usage.items, usage.evicted), (10_000, 0));
    assert_eq!(usage.bytes, 10_000 * cost(4, 1) as u64);
    assert_eq!(usage.limit, memory as u64);
    store.flush(START, START);
    assert_eq!((store.usage().items, store.usage().bytes), (0, 0));
}
