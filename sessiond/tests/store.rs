//! The store against a model (`model/`), and what it promises beyond single items: who stays, who goes, when memory comes
//! back, and that a damaged file is refused.

mod model;

use bytes::Bytes;
use proptest::prelude::*;
use sessiond::store::{
    Condition, Data, Expiry, Layout, LoadError, Maintained, SHARED_MIN, Store, Stored, UnixTime,
    Value,
};

const START: UnixTime = UnixTime(1_700_000_000);

proptest! {
    #[test]
    fn the_store_does_what_the_model_does(script in proptest::collection::vec(any::<u8>(), 0..2000)) {
        model::run(&script);
    }

    #[test]
    fn a_file_with_any_byte_changed_or_any_end_missing_is_refused(
        at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>(),
    ) {
        let file = saved();
        let at = at.index(file.len());
        let mut damaged = file;
        if cut {
            damaged.truncate(at);
        } else {
            damaged[at] ^= flip;
        }
        refuse(&damaged);
    }
}

#[test]
fn the_store_does_what_the_model_does_for_long() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let script = std::iter::repeat_with(|| random.u8(..)).take(40_000);
        model::run(&script.collect::<Vec<u8>>());
    }
}

fn layout(memory: usize) -> Layout {
    Layout {
        memory,
        item_size_max: 1 << 20,
        started: START,
        evict: true,
        cas: true,
    }
}

fn set(store: &Store, key: &str, value: &[u8], expiry: Expiry, now: UnixTime) -> Stored {
    put(store, key, value, expiry, Condition::Always, now)
}

fn put(
    store: &Store,
    key: &str,
    value: &[u8],
    expiry: Expiry,
    condition: Condition,
    now: UnixTime,
) -> Stored {
    let value = Value {
        flags: 0,
        expiry,
        data: Data::Slice(value),
        base64_key: false,
    };
    store.put(key.as_bytes(), value, condition, now)
}

fn is_there(store: &Store, key: &str, now: UnixTime) -> bool {
    let access = sessiond::store::Access {
        vivify: false,
        counts_as_use: false,
    };
    let found = store.access(key.as_bytes(), access, now, |_| ());
    found.is_some()
}

/// Background work of one second.
fn maintain(store: &Store, now: UnixTime) {
    while store.maintain(now) == Maintained::More {}
}

fn after(seconds: u32) -> UnixTime {
    UnixTime(START.0 + seconds)
}

/// A store of 8 MB, `use_it` called for each of 1000 sessions between thousands of new ones; how many are left.
fn survivors(use_it: impl Fn(&Store, &str)) -> usize {
    let store = Store::new(layout(8 << 20));
    let sessions: Vec<String> = (0..1000)
        .map(|number| format!("session-{number}"))
        .collect();
    for session in &sessions {
        set(&store, session, &[1; 500], Expiry::Never, START);
    }
    for visitor in 0..100_000 {
        set(
            &store,
            &format!("visitor-{visitor}"),
            &[2; 500],
            Expiry::Never,
            START,
        );
        if visitor % 2 == 0 {
            use_it(&store, &sessions[visitor / 2 % sessions.len()]);
        }
    }
    assert!(store.usage().evicted > 80_000);
    sessions
        .iter()
        .filter(|session| is_there(&store, session, START))
        .count()
}

#[test]
fn sessions_in_use_outlive_any_number_of_new_ones_however_they_are_used() {
    let refused_add = |store: &Store, session: &str| {
        let put = put(
            store,
            session,
            b"p",
            Expiry::Never,
            Condition::Absent,
            START,
        );
        assert_eq!(put, Stored::Refused);
    };
    assert_eq!(survivors(refused_add), 1000);
    let read = |store: &Store, session: &str| {
        assert!(store.get(session.as_bytes(), None, START, |_| ()).is_some());
    };
    assert_eq!(survivors(read), 1000);
    let written = |store: &Store, session: &str| {
        set(store, session, &[3; 500], Expiry::Never, START);
    };
    assert_eq!(survivors(written), 1000);
    assert_eq!(survivors(|_, _| ()), 0);
}

#[test]
fn new_items_go_in_the_order_they_came() {
    let store = Store::new(layout(4 << 20));
    for number in 0..20_000 {
        set(&store, &number.to_string(), &[0; 500], Expiry::Never, START);
    }
    let mut left = (0..20_000).filter(|number| is_there(&store, &number.to_string(), START));
    // By chance a new key or two looks like one that was dropped lately, of which 16 bits are remembered, and gets a longer trial.
    let first = left.nth(2).expect("some are left");
    assert_eq!(left.count(), 20_000 - first - 1);
    let usage = store.usage();
    assert_eq!(usage.items + usage.evicted, 20_000);
    assert_eq!(
        (usage.evicted_unfetched, usage.evicted_active),
        (usage.evicted, 0)
    );
}

#[test]
fn a_lock_of_a_second_ago_outlives_a_flood_of_sessions_that_came_before() {
    let store = Store::new(layout(4 << 20));
    set(&store, "old lock", b"locked", Expiry::At(after(100)), START);
    for number in 0..5_000 {
        set(
            &store,
            &format!("a{number}"),
            &[0; 500],
            Expiry::At(after(3000)),
            after(1),
        );
    }
    set(&store, "lock", b"locked", Expiry::At(after(110)), after(2));
    for number in 0..5_000 {
        set(
            &store,
            &format!("b{number}"),
            &[0; 500],
            Expiry::At(after(3000)),
            after(2),
        );
    }
    assert!(store.usage().evicted > 0);
    assert!(is_there(&store, "lock", after(2)));
}

#[test]
fn what_expires_is_gone_within_two_seconds_and_its_memory_as_well() {
    let store = Store::new(layout(64 << 20));
    let empty = store.usage().memory;
    for number in 0..50_000 {
        let expiry = Expiry::At(after(10 + number % 20));
        set(&store, &number.to_string(), &[0; 500], expiry, START);
    }
    let full = store.usage().memory;
    assert!(full > 25 << 20);
    for second in 1..40 {
        maintain(&store, after(second));
        let expected = (10..30).filter(|expiry| *expiry > second).count() * 2500;
        assert_eq!(store.usage().items, expected as u64, "at {second}");
    }
    let usage = store.usage();
    assert_eq!((usage.bytes, usage.segments, usage.expired), (0, 0, 50_000));
    assert!(usage.memory - empty < 1 << 20, "{usage:?}");
}

#[test]
fn what_is_touched_to_live_longer_stays_and_what_is_touched_to_live_shorter_goes() {
    let store = Store::new(layout(64 << 20));
    for key in ["longer", "shorter", "never", "as it was"] {
        set(&store, key, b"x", Expiry::At(after(100)), START);
    }
    for (key, expiry) in [
        ("longer", Expiry::At(after(200))),
        ("shorter", Expiry::At(after(50))),
        ("never", Expiry::Never),
    ] {
        store.get(key.as_bytes(), Some(expiry), START, |_| ());
    }
    for (second, left) in [(49, 4), (51, 3), (99, 3), (101, 2), (199, 2), (201, 1)] {
        maintain(&store, after(second));
        assert_eq!(store.usage().items, left, "at {second}");
    }
}

#[test]
fn memory_of_deleted_items_comes_back_though_others_lie_between_them() {
    let store = Store::new(layout(64 << 20));
    for number in 0..50_000 {
        set(&store, &number.to_string(), &[0; 500], Expiry::Never, START);
    }
    let full = store.usage();
    for number in (0..50_000).filter(|number| number % 10 != 0) {
        store.delete(number.to_string().as_bytes(), None, START);
    }
    for second in 0..5 {
        maintain(&store, after(second));
    }
    let usage = store.usage();
    assert_eq!((usage.items, usage.evicted), (5_000, 0));
    assert!(usage.memory < full.memory / 5, "{usage:?}");
}

#[test]
fn the_limit_holds_for_all_sizes_and_may_change() {
    let store = Store::new(layout(32 << 20));
    let mut random = fastrand::Rng::with_seed(7);
    let mut sizes = std::iter::repeat_with(|| 1usize << random.u32(0..19));
    for (number, size) in (0..20_000).zip(&mut sizes) {
        set(
            &store,
            &(number % 7000).to_string(),
            &vec![0; size],
            Expiry::Never,
            START,
        );
        let usage = store.usage();
        assert!(
            usage.memory <= usage.limit + usage.segment_size,
            "{usage:?}"
        );
    }
    assert!(store.usage().memory > 24 << 20);
    store.set_limit(16 << 20);
    store.set_reserved(4 << 20);
    maintain(&store, START);
    assert!(store.usage().memory <= 12 << 20);
    assert_eq!(store.usage().limit, 16 << 20);
    store.set_limit(256 << 20);
    let evicted = store.usage().evicted;
    for number in 0..300_000 {
        set(
            &store,
            &format!("new {number}"),
            &[0; 500],
            Expiry::Never,
            START,
        );
    }
    assert_eq!(store.usage().evicted, evicted);
    assert!((0..300_000).all(|number| is_there(&store, &format!("new {number}"), START)));
}

#[test]
fn where_nothing_is_evicted_stores_are_refused_until_there_is_room() {
    let store = Store::new(Layout {
        evict: false,
        ..layout(4 << 20)
    });
    let first = (0..).find(|number: &i32| {
        set(
            &store,
            &number.to_string(),
            &[0; 1000],
            Expiry::At(after(10)),
            START,
        ) == Stored::NoRoom
    });
    let first = first.expect("there is an end");
    assert!(first > 3500, "{first}");
    assert!((0..first).all(|number| is_there(&store, &number.to_string(), START)));
    // Expiry makes room, without any background work.
    let stored = set(&store, "late", &[0; 1000], Expiry::Never, after(11));
    assert!(matches!(stored, Stored::Stored(_)));
    assert_eq!(store.usage().evicted, 0);
    assert!(store.usage().reclaimed > 0);
}

#[test]
fn a_large_value_is_neither_copied_when_it_is_stored_nor_when_it_is_read() {
    let store = Store::new(layout(64 << 20));
    let large = Bytes::from(vec![7; SHARED_MIN]);
    let value = Value {
        flags: 5,
        expiry: Expiry::Never,
        data: Data::Shared(large.clone()),
        base64_key: false,
    };
    store.put(b"large", value, Condition::Always, START);
    set(&store, "small", &[7; SHARED_MIN - 1], Expiry::Never, START);
    let (shared, flags) = store
        .get(b"large", None, START, |item| (item.shared(), item.flags()))
        .expect("it was stored");
    let shared = shared.expect("it is large");
    assert_eq!((shared.as_ptr(), flags), (large.as_ptr(), 5));
    assert!(store.get(b"small", None, START, |item| item.shared().is_none()) == Some(true));
    store.delete(b"large", None, START);
    assert_eq!(shared, large);
    assert_eq!(store.usage().large.items, 0);
}

#[test]
fn without_cas_every_unique_is_0() {
    let store = Store::new(Layout {
        cas: false,
        ..layout(8 << 20)
    });
    assert_eq!(
        set(&store, "a", b"x", Expiry::Never, START),
        Stored::Stored(0)
    );
    assert_eq!(store.get(b"a", None, START, |item| item.unique()), Some(0));
}

#[test]
fn many_shards_are_one_store_and_no_cas_unique_is_given_twice() {
    let store = Store::new(layout(256 << 20));
    let mut uniques = std::collections::BTreeSet::new();
    for number in 0..10_000 {
        let Stored::Stored(unique) = set(&store, &number.to_string(), b"x", Expiry::Never, START)
        else {
            panic!("there is room");
        };
        assert!(uniques.insert(unique));
    }
    assert_eq!(store.usage().items, 10_000);
    store.flush(START, START);
    let usage = store.usage();
    assert_eq!((usage.items, usage.bytes, usage.memory), (0, 0, 0));
    let Stored::Stored(unique) = set(&store, "after", b"x", Expiry::Never, START) else {
        panic!("there is room");
    };
    assert!(uniques.insert(unique));
}

/// A file of items of all kinds.
fn saved() -> Vec<u8> {
    let store = Store::new(layout(8 << 20));
    for number in 0..30 {
        let value = vec![number; usize::from(number) * 20];
        let expiry = Expiry::At(after(100 + u32::from(number)));
        set(&store, &number.to_string(), &value, expiry, START);
    }
    set(&store, "large", &[1; 20_000], Expiry::Never, START);
    let mut file = Vec::new();
    store.save(&mut file, START).expect("memory");
    file
}

fn refuse(file: &[u8]) -> String {
    let store = Store::new(layout(8 << 20));
    let mut bytes = file;
    let refused = store.load(&mut bytes, START);
    let usage = store.usage();
    assert_eq!((usage.items, usage.bytes, usage.segments), (0, 0, 0));
    refused.expect_err("it is damaged").to_string()
}

#[test]
fn a_stop_and_a_start_lose_only_what_has_expired_meanwhile() {
    let file = saved();
    let store = Store::new(layout(64 << 20));
    let loaded = store
        .load(&mut file.as_slice(), after(110))
        .expect("intact");
    assert_eq!((loaded.items, loaded.dropped), (20, 0));
    let seen = |key: &str| {
        store.get(key.as_bytes(), None, after(110), |item| {
            (item.value().to_vec(), item.expiry(), item.last_used())
        })
    };
    assert_eq!(seen("10"), None);
    assert_eq!(
        seen("11"),
        Some((vec![11; 220], Expiry::At(after(111)), START))
    );
    assert_eq!(seen("large"), Some((vec![1; 20_000], Expiry::Never, START)));
    // Numbers go on where they ended.
    let Stored::Stored(unique) = set(&store, "new", b"x", Expiry::Never, after(110)) else {
        panic!("there is room");
    };
    assert!(unique > 31);
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let file = saved();
    assert_eq!(refuse(b""), "is not a file of saved items");
    assert_eq!(
        refuse(b"something else, and long enough"),
        "is not a file of saved items"
    );
    assert_eq!(
        refuse(&file[..file.len() - 1]),
        format!(
            "is damaged: it ends early in the block at byte {}",
            file.len() - 28
        )
    );
    let longer = [&file[..], b"x"].concat();
    assert!(refuse(&longer).contains("it goes on behind its end"));
    let mut flipped = file.clone();
    flipped[1000] ^= 1;
    assert_eq!(
        refuse(&flipped),
        "is damaged: wrong checksum in the block at byte 20"
    );
    let mut newer = file[..16].to_vec();
    newer[14] = 2;
    let checksum = crc32fast::hash(&newer);
    newer.extend(checksum.to_le_bytes());
    newer.extend(&file[20..]);
    let store = Store::new(layout(8 << 20));
    let refused = store.load(&mut newer.as_slice(), START);
    assert!(matches!(refused, Err(LoadError::TooNew(2))));
}
#[test]
fn a_lower_limit_drops_no_more_than_it_has_to() {
    for length in [500, 20_000] {
        let now = UnixTime(1_000_000);
        let store = Store::new(Layout {
            memory: 32 << 20,
            item_size_max: 1 << 20,
            started: now,
            evict: true,
            cas: true,
        });
        let data = vec![b'x'; length];
        for number in 0..(20 << 20) / length {
            let value = Value {
                data: Data::Slice(&data),
                flags: 0,
                expiry: Expiry::Never,
                base64_key: false,
            };
            let key = number.to_string();
            store.put(key.as_bytes(), value, Condition::Always, now);
        }
        store.set_limit(16 << 20);
        while store.maintain(now) == Maintained::More {}
        let usage = store.usage();
        assert!(usage.memory <= 16 << 20, "{length}: {usage:?}");
        assert!(usage.bytes > 8 << 20, "{length}: {usage:?}");
    }
}
