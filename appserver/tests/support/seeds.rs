//! Simulations whose schedules each follow from a number.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Plays so many schedules, shared out among the cores; or only the one that the variable names. One that fails is printed with
/// the variable that plays it alone. `SCHEDULES` is another number of them.
pub(crate) fn play(variable: &str, count: u64, schedule: impl Fn(u64) + Sync) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    if let Some(seed) = number(variable) {
        return schedule(seed);
    }
    let count = number("SCHEDULES").unwrap_or(count);
    let next = AtomicU64::new(0);
    let play_next = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| schedule(seed))).is_err() {
                // The others have nothing more to do.
                next.store(count, Ordering::Relaxed);
                panic!("{variable}={seed} plays it again");
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(play_next);
        }
    });
}
