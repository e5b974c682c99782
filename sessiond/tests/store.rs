//! The store against a model (`model/`), and what it promises beyond single items: who stays, who goes, and when memory
//! comes back.

mod model;

use proptest::prelude::*;
use sessiond::store::{Condition, Data, Expiry, Layout, Maintained, Store, UnixTime, Value};

proptest! {
    #[test]
    fn the_store_does_what_the_model_does(script in proptest::collection::vec(any::<u8>(), 0..2000)) {
        model::run(&script);
    }
}

#[test]
fn the_store_does_what_the_model_does_for_long() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let script: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(40_000)
            .collect();
        model::run(&script);
    }
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
