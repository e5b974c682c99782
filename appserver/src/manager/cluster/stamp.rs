//! A logical clock that follows the wall clock (a *hybrid logical clock*): it orders changes of several members the same way
//! on each of them, and a change that was seen before another was made always comes first, whatever their clocks say.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::session::Timestamp;

/// How many bits of a stamp's time count changes within a millisecond.
const COUNTER_BITS: u32 = 16;

/// A stamp further in the future than this does not move the clock: one member with a wrong date must not drag all others
/// with it for ever. Such stamps still win over earlier ones until their time has come.
const AHEAD_MAX: u64 = 24 * 60 * 60 * 1000;

/// When a register was changed, and by whom. Stamps of one cluster are in one order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Milliseconds since 1970, times 65536, plus a counter.
    pub time: u64,
    /// The member's number; see [`number`].
    pub member: u32,
}

impl Stamp {
    /// Before every change.
    pub const ZERO: Self = Self { time: 0, member: 0 };

    /// The stamp of a change that a member without stamps (a Tomcat) made: it follows what is there, as it does on that
    /// member, and is the same on every member that had the same.
    pub fn after(self, told: Timestamp, member: u32) -> Self {
        Self {
            time: (told.0 << COUNTER_BITS).max(self.time.saturating_add(1)),
            member,
        }
    }

    /// The wall clock's part.
    pub fn millis(self) -> u64 {
        self.time >> COUNTER_BITS
    }
}

/// A short number of a member: the beginning of its unique id, which is random.
pub fn number(unique_id: &[u8; 16]) -> u32 {
    let [a, b, c, d, ..] = *unique_id;
    u32::from_be_bytes([a, b, c, d])
}

/// This member's clock.
#[derive(Debug)]
pub struct StampClock {
    last: AtomicU64,
    member: u32,
}

impl StampClock {
    /// The clock of the member with this number.
    pub fn new(member: u32) -> Self {
        Self {
            last: AtomicU64::new(0),
            member,
        }
    }

    /// A stamp later than all that were made or seen here.
    pub fn tick(&self, now: Timestamp) -> Stamp {
        let wall = now.0 << COUNTER_BITS;
        let next = |last: u64| Some(last.saturating_add(1).max(wall));
        let before = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .unwrap_or_default();
        Stamp {
            time: before.saturating_add(1).max(wall),
            member: self.member,
        }
    }

    /// Another member's stamp was seen.
    pub fn observe(&self, seen: Stamp, now: Timestamp) {
        if seen.millis() <= now.0.saturating_add(AHEAD_MAX) {
            self.last.fetch_max(seen.time, Ordering::Relaxed);
        }
    }

    /// This member's number.
    pub fn member(&self) -> u32 {
        self.member
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD_MAX, Stamp, StampClock};
    use crate::session::Timestamp;

    #[test]
    fn stamps_grow_whatever_the_clocks_say() {
        let (one, two) = (StampClock::new(1), StampClock::new(2));
        let mut last = Stamp::ZERO;
        for now in [5_000, 5_000, 4_000, 6_000, 0] {
            let stamp = one.tick(Timestamp(now));
            assert!(stamp > last, "{stamp:?} {last:?}");
            last = stamp;
        }
        two.observe(last, Timestamp(10));
        assert!(two.tick(Timestamp(10)) > last, "seen, so it came before");
        let told = last.after(Timestamp(1), 3);
        assert!(told > last, "a Tomcat's change follows what is there");
    }

    #[test]
    fn a_wrong_date_does_not_spread() {
        let clock = StampClock::new(1);
        let wrong = Stamp {
            time: u64::MAX,
            member: 2,
        };
        clock.observe(wrong, Timestamp(1_000));
        assert_eq!(clock.tick(Timestamp(1_000)).millis(), 1_000);
        let ahead = Stamp {
            time: (1_000 + AHEAD_MAX) << 16,
            member: 2,
        };
        clock.observe(ahead, Timestamp(1_000));
        assert!(clock.tick(Timestamp(1_000)) > ahead);
    }
}
