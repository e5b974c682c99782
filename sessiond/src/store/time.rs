//! Seconds, and when an item is gone.

/// Exptimes up to 30 days count from now, larger ones are Unix times (memcached's `REALTIME_MAXDELTA`).
const RELATIVE_MAX: i32 = 60 * 60 * 24 * 30;

/// Seconds since 1970, good until 2106.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u32);

/// Before every `now`. Not 0, which is how records keep [`Expiry::Never`].
const PAST: UnixTime = UnixTime(1);

/// When an item is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Not by itself.
    Never,
    /// From this second on.
    At(UnixTime),
}

impl Expiry {
    /// What an exptime of the protocol means at `now` for a process that runs since `started`.
    pub(super) fn from_exptime(exptime: i32, now: UnixTime, started: UnixTime) -> Self {
        match u32::try_from(exptime) {
            Ok(0) => Self::Never,
            Ok(seconds) if exptime <= RELATIVE_MAX => {
                Self::At(UnixTime(now.0.saturating_add(seconds)))
            }
            Ok(unix) if unix > started.0 => Self::At(UnixTime(unix)),
            Ok(_) | Err(_) => Self::At(PAST),
        }
    }

    /// As records keep it: the second, or 0 for never.
    pub(super) fn to_seconds(self) -> u32 {
        match self {
            Self::Never => 0,
            Self::At(UnixTime(time)) => time.max(PAST.0),
        }
    }

    /// What [`Expiry::to_seconds`] gave.
    pub(super) fn from_seconds(seconds: u32) -> Self {
        match seconds {
            0 => Self::Never,
            time => Self::At(UnixTime(time)),
        }
    }

    /// Whether an item with this expiry is gone at `now`.
    pub fn is_past(self, now: UnixTime) -> bool {
        match self {
            Self::Never => false,
            Self::At(time) => time <= now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expiry, PAST, RELATIVE_MAX, UnixTime};

    #[test]
    fn exptimes_mean_what_they_mean_in_memcached() {
        let started = UnixTime(1_700_000_000);
        let now = UnixTime(started.0 + 1000);
        for (exptime, expiry) in [
            (0, Expiry::Never),
            (1, Expiry::At(UnixTime(now.0 + 1))),
            (
                RELATIVE_MAX,
                Expiry::At(UnixTime(now.0 + RELATIVE_MAX as u32)),
            ),
            (RELATIVE_MAX + 1, Expiry::At(PAST)),
            (1_700_000_000, Expiry::At(PAST)),
            (1_700_000_001, Expiry::At(UnixTime(1_700_000_001))),
            (-1, Expiry::At(PAST)),
            (i32::MIN, Expiry::At(PAST)),
        ] {
            assert_eq!(
                Expiry::from_exptime(exptime, now, started),
                expiry,
                "{exptime}"
            );
        }
        assert!(Expiry::At(now).is_past(now));
        assert!(!Expiry::At(UnixTime(now.0 + 1)).is_past(now));
        assert!(!Expiry::Never.is_past(UnixTime(u32::MAX)));
    }
}
