//! The store against a model (`model/`), and what it promises beyond single items: who stays, who goes, and when memory
//! comes back.

mod model;

use proptest::prelude::*;

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
