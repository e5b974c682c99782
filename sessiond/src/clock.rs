//! The one place that asks what time it is: once a second, by the thread that maintains the store. Workers read a number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::store::UnixTime;

/// Unix time that never runs backwards: the wall clock at the start, and the time passed since.
#[derive(Debug)]
pub(crate) struct Clock {
    /// When the second began in which the process started.
    started: Instant,
    started_unix: u64,
    /// Seconds since then, as of the last tick.
    passed: AtomicU64,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let since_1970 = since_1970.unwrap_or_default();
        let second = Duration::from_nanos(u64::from(since_1970.subsec_nanos()));
        let now = Instant::now();
        Self {
            // Seconds change when those of the wall clock do, so that an exptime in Unix time is met to the second.
            started: now.checked_sub(second).unwrap_or(now),
            started_unix: since_1970.as_secs(),
            passed: AtomicU64::new(0),
        }
    }

    /// The second it is.
    pub(crate) fn now(&self) -> UnixTime {
        let seconds = self.started_unix.saturating_add(self.uptime_seconds());
        UnixTime(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// The time since 1970, as exact as it is to be had.
    pub(crate) fn since_1970(&self) -> Duration {
        Duration::from_secs(self.started_unix).saturating_add(self.started.elapsed())
    }

    /// Whole seconds since the start.
    pub(crate) fn uptime_seconds(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Takes note of the time; says how long it is until the next second.
    pub(crate) fn tick(&self) -> Duration {
        let passed = self.started.elapsed();
        self.passed.fetch_max(passed.as_secs(), Ordering::Relaxed);
        let into = Duration::from_nanos(u64::from(passed.subsec_nanos()));
        Duration::from_secs(1).saturating_sub(into)
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use std::time::Duration;

    #[test]
    fn a_tick_takes_note_of_the_second_and_says_when_the_next_begins() {
        let mut clock = Clock::start();
        let first = clock.now();
        clock.started = clock
            .started
            .checked_sub(Duration::from_secs(5))
            .expect("a machine that runs for longer");
        assert_eq!(clock.now(), first, "nobody ticked");
        let next = clock.tick();
        assert!(
            next > Duration::ZERO && next <= Duration::from_secs(1),
            "{next:?}"
        );
        assert_eq!(clock.uptime_seconds(), 5);
        assert_eq!(clock.now().0, first.0 + 5);
    }
}
