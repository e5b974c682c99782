//! A store that anyone can check by reading, and a way to do the same to it and to the real one: bytes say what is done,
//! so that seeded tests and the fuzzer share it. The model knows no limit of memory; what the real store drops to make
//! room it has to account for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sessiond::store::{
    Access, Change, Condition, Cursor, Data, Deleted, Expiry, Item, Layout, Maintained, Store,
    Stored, Uncounted, UnixTime, Value,
};

const START: UnixTime = UnixTime(1_700_000_000);
const VALUE_MAX: usize = 100_000;
const KEYS: u8 = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    value: Vec<u8>,
    flags: u32,
    expiry: Expiry,
    unique: u64,
    fetched: bool,
    stale: bool,
    claimed: bool,
    base64_key: bool,
    used: UnixTime,
}

impl Seen {
    fn of(item: &Item<'_>) -> Self {
        Self {
            value: item.value().to_vec(),
            flags: item.flags(),
            expiry: item.expiry(),
            unique: item.unique(),
            fetched: item.was_fetched(),
            stale: item.is_stale(),
            claimed: item.is_claimed(),
            base64_key: item.has_base64_key(),
            used: item.last_used(),
        }
    }

    fn new(value: &[u8], now: UnixTime) -> Self {
        Self {
            value: value.to_vec(),
            flags: 0,
            expiry: Expiry::Never,
            unique: 0,
            fetched: false,
            stale: false,
            claimed: false,
            base64_key: false,
            used: now,
        }
    }
}

/// What is to be done, as bytes; when they are used up, zeroes.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    fn exptime(&mut self) -> i32 {
        match self.below(8) {
            0 | 1 => 0,
            2 => -1,
            3 => START.0 as i32 + 15,
            4 => 100_000,
            _ => i32::from(self.below(40)),
        }
    }

    fn value(&mut self, filler: u8) -> Vec<u8> {
        let length = match self.below(16) {
            0 => return u64::from(self.byte()).pow(3).to_string().into_bytes(),
            1 => return b"18446744073709551615".to_vec(),
            2 => 0,
            3 => usize::from(self.byte()) * 8,
            4 => usize::from(self.byte()) * 80,
            5 => 16_300 + usize::from(self.byte()),
            6 => usize::from(self.byte()) * 350,
            _ => usize::from(self.byte()),
        };
        (0..length).map(|i| filler ^ i as u8).collect()
    }
}

/// The real store, the model, and what has been seen.
struct Run {
    store: Store,
    layout: Layout,
    items: BTreeMap<Vec<u8>, Seen>,
    now: UnixTime,
    flush_at: Option<UnixTime>,
    uniques: BTreeSet<u64>,
    /// Items that the store dropped to make room.
    forgotten: u64,
}

/// Does what the bytes say. Panics when the store and the model differ.
pub(crate) fn run(script: &[u8]) {
    let mut script = Script(script);
    let layout = Layout {
        memory: [64 << 10, 256 << 10, 3 << 20, 64 << 20][usize::from(script.below(4))],
        item_size_max: VALUE_MAX,
        started: START,
        evict: script.below(4) > 0,
        cas: true,
    };
    let mut run = Run {
        store: Store::new(layout),
        layout,
        items: BTreeMap::new(),
        now: START,
        flush_at: None,
        uniques: BTreeSet::new(),
        forgotten: 0,
    };
    while !script.0.is_empty() {
        run.step(&mut script);
    }
    run.finish();
}

impl Run {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(24) {
            0 => self.now.0 += u32::from(script.below(4)),
            1 => self.maintain(),
            2 if script.below(4) == 0 => {
                let at = UnixTime(self.now.0 + u32::from(script.below(10)));
                self.store.flush(at, self.now);
                self.settle();
                self.flush_at = Some(at);
                self.settle();
            }
            3 if script.below(8) == 0 => {
                let part = 1 + usize::from(script.below(4));
                self.store.set_limit(self.layout.memory * 2 / part);
            }
            4 if script.below(8) == 0 => {
                self.store
                    .set_reserved(self.layout.memory * usize::from(script.below(4)) / 8);
            }
            5 => self.look_at_all(),
            6 if script.below(16) == 0 => self.restart(),
            _ => {
                let key = key(script.below(KEYS));
                self.check(&key);
                self.verb(&key, script);
                self.check(&key);
            }
        }
        let usage = self.store.usage();
        assert!(usage.bytes <= usage.memory, "{usage:?}");
        assert_eq!(
            usage.probation.items + usage.proven.items,
            usage.items,
            "{usage:?}"
        );
    }

    fn settle(&mut self) {
        if self.flush_at.is_some_and(|at| at <= self.now) {
            self.flush_at = None;
            self.items.clear();
        }
    }

    /// The model's item, if it is not expired.
    fn live(&mut self, key: &[u8]) -> Option<&mut Seen> {
        self.settle();
        let now = self.now;
        let item = self.items.get_mut(key);
        item.filter(|item| !item.expiry.is_past(now))
    }

    /// Both know the same of a key, without using it.
    fn check(&mut self, key: &[u8]) {
        let access = Access {
            vivify: false,
            counts_as_use: false,
        };
        let seen = self
            .store
            .access(key, access, self.now, |held| Seen::of(&held.item()));
        match (seen, self.live(key).cloned()) {
            (None, Some(_)) => {
                self.forgotten += 1;
                self.items.remove(key);
                assert!(self.layout.evict);
                assert!(self.forgotten <= self.store.usage().evicted);
            }
            (seen, expected) => assert_eq!(seen, expected),
        }
    }

    fn verb(&mut self, key: &[u8], script: &mut Script<'_>) {
        let now = self.now;
        match script.below(16) {
            0..4 => {
                let touch = (script.below(3) == 0).then(|| self.expiry(script));
                let got = self.store.get(key, touch, now, Seen::of);
                let expected = self.live(key).map(|item| {
                    item.expiry = touch.unwrap_or(item.expiry);
                    let seen = item.clone();
                    (item.fetched, item.used) = (true, now);
                    seen
                });
                assert_eq!(got, expected);
            }
            4..11 => self.put(key, script),
            11 => self.count(key, script),
            12 => {
                let unique = self.live(key).map(|item| item.unique);
                let absent = if unique.is_some() {
                    Deleted::Changed
                } else {
                    Deleted::Absent
                };
                assert_eq!(self.store.delete(key, Some(u64::MAX), now), absent);
                let present = if unique.is_some() {
                    Deleted::Deleted
                } else {
                    Deleted::Absent
                };
                assert_eq!(self.store.delete(key, unique, now), present);
                self.items.remove(key);
            }
            13 => {
                let expiry = (script.below(2) == 0).then(|| self.expiry(script));
                let got = self.store.make_stale(key, None, expiry, now);
                let unique = self.observe(key);
                let found = self.live(key).map(|item| {
                    item.expiry = expiry.unwrap_or(item.expiry);
                    (item.stale, item.claimed) = (true, false);
                    item.unique = unique.unwrap_or(item.unique);
                });
                let expected = if found.is_some() {
                    Deleted::Deleted
                } else {
                    Deleted::Absent
                };
                assert_eq!(got, expected);
                if expiry.is_none_or(|expiry| !expiry.is_past(now)) {
                    self.is_new(unique);
                }
            }
            14 => {
                let access = Access {
                    vivify: false,
                    counts_as_use: false,
                };
                self.store.access(key, access, now, |held| {
                    if held.item().is_stale() {
                        held.claim();
                    }
                });
                if let Some(item) = self.live(key) {
                    item.claimed |= item.stale;
                }
            }
            _ => {
                let access = Access {
                    vivify: true,
                    counts_as_use: true,
                };
                let got = self.store.access(key, access, now, |held| {
                    (held.is_created(), Seen::of(&held.item()))
                });
                let Some((created, seen)) = got else {
                    assert!(!self.layout.evict);
                    return;
                };
                assert_eq!(created, self.live(key).is_none());
                if created {
                    self.is_new(Some(seen.unique));
                    let item = Seen {
                        unique: seen.unique,
                        ..Seen::new(b"", now)
                    };
                    self.items.insert(key.to_vec(), item);
                }
                if let Some(item) = self.live(key) {
                    assert_eq!(&seen, item);
                    (item.fetched, item.used) = (true, now);
                }
            }
        }
    }

    fn put(&mut self, key: &[u8], script: &mut Script<'_>) {
        let now = self.now;
        let old = self.live(key).cloned();
        let last = old.as_ref().map_or(1, |item| item.unique);
        let condition = match script.below(16) {
            0..6 => Condition::Always,
            6..9 => Condition::Absent,
            9 => Condition::Present,
            10 => Condition::Append(None),
            11 => Condition::Prepend(None),
            12 => Condition::Append(Some(last)),
            13 => Condition::Unique(last),
            14 => Condition::Unique(last + 1),
            _ => Condition::UniqueOrStale(last - 1),
        };
        let data = match (script.below(8), &old) {
            // The same length again: what is overwritten in place.
            (0..3, Some(old)) => vec![script.byte(); old.value.len()],
            _ => {
                let filler = script.byte();
                script.value(filler)
            }
        };
        let value = Value {
            flags: if script.below(4) == 0 { u32::MAX } else { 0 },
            expiry: self.expiry(script),
            data: match script.below(2) {
                0 => Data::Slice(&data),
                _ => Data::Shared(Bytes::copy_from_slice(&data)),
            },
            base64_key: script.below(2) == 0,
        };
        let mut new = Seen {
            flags: value.flags,
            expiry: value.expiry,
            base64_key: value.base64_key,
            ..Seen::new(&data, now)
        };
        let expected = match (condition, &old) {
            (Condition::Always | Condition::Absent, None) => None,
            (Condition::Unique(_) | Condition::UniqueOrStale(_), None) => Some(Stored::Absent),
            (_, None) => Some(Stored::Refused),
            (Condition::Absent, Some(_)) => {
                if let Some(item) = self.live(key) {
                    item.used = now;
                }
                Some(Stored::Refused)
            }
            (Condition::Append(_) | Condition::Prepend(_), Some(old)) => {
                let joined = match condition {
                    Condition::Append(_) => [old.value.clone(), data.clone()].concat(),
                    _ => [data.clone(), old.value.clone()].concat(),
                };
                new = Seen {
                    flags: old.flags,
                    expiry: old.expiry,
                    ..Seen::new(&joined, now)
                };
                (joined.len() > VALUE_MAX).then_some(Stored::Refused)
            }
            (Condition::Unique(unique), Some(_)) if unique != last => Some(Stored::Changed),
            (Condition::UniqueOrStale(0), Some(_)) => Some(Stored::Changed),
            (Condition::UniqueOrStale(_), Some(_)) => {
                let unique = last - 1;
                assert_ne!(unique, last);
                Some(Stored::Changed)
            }
            _ => None,
        };
        // A lower number than the item's is taken for a late store.
        let late =
            matches!(condition, Condition::UniqueOrStale(unique) if unique != 0 && old.is_some());
        let expected = if late { None } else { expected };
        if late && let Some(old) = &old {
            new.expiry = old.expiry;
            (new.stale, new.claimed) = (true, old.claimed);
        }
        let evicted = self.store.usage().evicted;
        let got = self.store.put(key, value, condition, now);
        match (got, expected) {
            (Stored::Stored(unique), None) => {
                self.is_new(Some(unique));
                self.items.insert(key.to_vec(), Seen { unique, ..new });
            }
            (Stored::NoRoom, None) => {
                assert!(!self.layout.evict || new.value.len() * 4 > self.layout.memory / 4);
                self.items.remove(key);
            }
            (got, expected) => assert_eq!(Some(got), expected),
        }
        if !self.layout.evict {
            assert_eq!(self.store.usage().evicted, evicted);
        }
    }

    fn count(&mut self, key: &[u8], script: &mut Script<'_>) {
        let now = self.now;
        let change = Change {
            up: script.below(2) == 0,
            delta: u64::from(script.byte()),
            unique: None,
            initial: (script.below(2) == 0).then_some(7),
        };
        let wrong = Change {
            unique: Some(u64::MAX),
            initial: None,
            ..change
        };
        let present = self.live(key).is_some();
        let refused = if present {
            Uncounted::Changed
        } else {
            Uncounted::Absent
        };
        let got = self.store.count(key, wrong, now, |number, _| number);
        assert_eq!(got, Err(refused));
        let got = self.store.count(key, change, now, |number, held| {
            (number, held.is_created(), held.item().unique())
        });
        if got == Err(Uncounted::NoRoom) {
            assert!(!self.layout.evict);
            self.items.remove(key);
            return;
        }
        let Some(old) = self.live(key).cloned() else {
            assert_eq!(
                got.map(|(number, ..)| number),
                change.initial.ok_or(Uncounted::Absent)
            );
            if let Ok((_, created, unique)) = got {
                assert!(created);
                self.is_new(Some(unique));
                let item = Seen {
                    unique,
                    ..Seen::new(b"7", now)
                };
                self.items.insert(key.to_vec(), item);
            }
            return;
        };
        let text = std::str::from_utf8(&old.value).ok();
        let number = text.and_then(|text| text.trim_end_matches(' ').parse::<u64>().ok());
        let number =
            number.filter(|_| text.is_some_and(|text| !text.starts_with(' ') && text.len() <= 20));
        let Some(number) = number else {
            // Odd numbers, such as `+1`, are a matter of tests of their own.
            if let Err(error) = got {
                assert_eq!(error, Uncounted::NotANumber);
            } else if let Ok((_, _, unique)) = got {
                let seen = self.store.get(key, None, now, Seen::of);
                let seen = seen.map(|seen| Seen {
                    fetched: true,
                    ..seen
                });
                self.is_new(Some(unique));
                self.items.extend(seen.map(|seen| (key.to_vec(), seen)));
            }
            return;
        };
        let number = match change.up {
            true => number.wrapping_add(change.delta),
            false => number.saturating_sub(change.delta),
        };
        let width = old.value.len();
        let value = format!("{number:<width$}").into_bytes();
        let (got, created, unique) = got.expect("a number is counted");
        assert_eq!((got, created), (number, false));
        self.is_new(Some(unique));
        let item = if value.len() == width {
            Seen {
                value,
                unique,
                used: now,
                ..old
            }
        } else {
            Seen {
                flags: old.flags,
                expiry: old.expiry,
                unique,
                ..Seen::new(&value, now)
            }
        };
        self.items.insert(key.to_vec(), item);
    }

    fn expiry(&self, script: &mut Script<'_>) -> Expiry {
        self.store.expiry(script.exptime(), self.now)
    }

    /// The cas unique of a key, without using it.
    fn observe(&self, key: &[u8]) -> Option<u64> {
        let access = Access {
            vivify: false,
            counts_as_use: false,
        };
        self.store
            .access(key, access, self.now, |held| held.item().unique())
    }

    /// No two changes have the same cas unique.
    fn is_new(&mut self, unique: Option<u64>) {
        if let Some(unique) = unique {
            assert!(self.uniques.insert(unique), "{unique} was given twice");
        }
    }

    fn maintain(&mut self) {
        self.settle();
        for _ in 0..100_000 {
            if self.store.maintain(self.now) == Maintained::Idle {
                return;
            }
        }
        panic!("background work has no end");
    }

    /// Every item is shown once, and all of them cost what the store says.
    fn look_at_all(&mut self) {
        self.maintain();
        let usage = self.store.usage();
        let (mut cursor, mut count, mut cost) = (Cursor::default(), 0, 0);
        let mut keys = BTreeSet::new();
        loop {
            let more = self.store.walk(self.now, &mut cursor, |item| {
                count += 1;
                cost += item.cost() as u64;
                assert!(keys.insert(item.key().to_vec()), "shown twice");
            });
            if !more {
                break;
            }
        }
        // Items may expire between two looks at their segment.
        assert!(usage.items >= count && usage.bytes >= cost);
        for key in self.items.keys().cloned().collect::<Vec<_>>() {
            self.check(&key);
            assert_eq!(self.live(&key).is_some(), keys.contains(&key));
        }
        assert_eq!(usage.probation.items + usage.proven.items, usage.items);
        assert_eq!(usage.probation.bytes + usage.proven.bytes, usage.bytes);
    }

    /// What is saved is there again afterwards.
    fn restart(&mut self) {
        // What was dropped by now is known by now.
        for key in (0..KEYS).map(key) {
            self.check(&key);
        }
        let mut file = Vec::new();
        let saved = self.store.save(&mut file, self.now).expect("memory");
        self.store = Store::new(self.layout);
        let loaded = self.store.load(&mut file.as_slice(), self.now);
        let loaded = loaded.expect("what was just written");
        assert_eq!(loaded.items, saved.items);
        assert_eq!(loaded.items - loaded.dropped, self.store.usage().items);
        // A flush that was announced ends what is in the file, whoever reads it.
        if let Some(at) = self.flush_at.take() {
            for seen in self.items.values_mut() {
                if !seen.expiry.is_past(at) {
                    seen.expiry = Expiry::At(at);
                }
            }
        }
        // The limit is that of the layout again: what was stored under a higher one may not find room.
        let mut dropped = 0;
        for key in (0..KEYS).map(key) {
            if self.live(&key).is_some() && self.observe(&key).is_none() {
                self.items.remove(&key);
                dropped += 1;
            }
        }
        assert_eq!(dropped, loaded.dropped);
        self.forgotten = 0;
    }

    /// When everything is gone, nothing is left of it.
    fn finish(mut self) {
        self.look_at_all();
        for key in (0..KEYS).map(key) {
            self.store.delete(&key, None, self.now);
        }
        for _ in 0..3 {
            self.now.0 += 3;
            self.maintain();
        }
        let usage = self.store.usage();
        assert_eq!(
            (usage.items, usage.bytes, usage.segments),
            (0, 0, 0),
            "{usage:?}"
        );
        assert_eq!(usage.large.bytes, 0);
    }
}

/// Keys of all lengths.
fn key(number: u8) -> Vec<u8> {
    let width = 1 + usize::from(number) * 6;
    format!("{number:#<width$}").into_bytes()
}
