//! For how long the store keeps what msm stores, as memcached's `exptime`.

use crate::session::Timestamp;

/// memcached takes larger numbers as seconds since 1970.
const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;

/// An exptime in the past: what is stored with it is gone at once. A negative one is not, in the binary protocol.
pub const EXPIRED: i64 = RELATIVE_MAX + 1;

/// Expiry of a lock in seconds, unless `lockExpiration` says otherwise.
pub const LOCK: i64 = 5;

/// Expiry of the probe for a session that was loaded in this request, should the store take it.
pub const PROBE: i64 = 5;

/// The same for a session that was not.
pub const PROBE_UNUSED: i64 = 1;

/// Tomcat's `processExpiresFrequency` times the context's own `backgroundProcessorDelay`, both with their defaults: msm adds
/// these 6 × -1 seconds to the expiry of a sticky session.
const STICKY_MARGIN: i64 = -6;

/// Of the session record: twice the interval, so that an idle session's record outlives its validity record.
pub fn record(interval: i32, now: Timestamp) -> i64 {
    exptime(2 * i64::from(interval), now)
}

/// Of the validity record: the interval.
pub fn validity(interval: i32, now: Timestamp) -> i64 {
    exptime(interval.into(), now)
}

/// Of the validity record where times of use are exact to a second: one more.
pub fn validity_safe(interval: i32, now: Timestamp) -> i64 {
    match interval {
        ..=0 => 0,
        _ => exptime(i64::from(interval) + 1, now),
    }
}

/// Of the record of a sticky session that was last used at `accessed`. A short interval gives a negative number, with which
/// the record is gone at once; that is what msm sends.
pub fn sticky(interval: i32, accessed: Timestamp, now: Timestamp) -> i64 {
    if interval <= 0 {
        return 0;
    }
    let idle = i64::try_from(now.since(accessed) / 1000).unwrap_or(i64::MAX);
    exptime_or_past(
        i64::from(interval).saturating_sub(idle) + STICKY_MARGIN,
        now,
    )
}

/// Of the record of a sticky session whose life is prolonged only once in a fifth of its interval.
pub fn sticky_safe(interval: i32, now: Timestamp) -> i64 {
    let interval = i64::from(interval.max(0));
    exptime(interval + interval / 5 + i64::from(interval > 0), now)
}

/// Seconds from now as memcached wants them; 0, which is never, for none.
fn exptime(seconds: i64, now: Timestamp) -> i64 {
    exptime_or_past(seconds.max(0), now)
}

fn exptime_or_past(seconds: i64, now: Timestamp) -> i64 {
    if seconds <= RELATIVE_MAX {
        return seconds;
    }
    seconds.saturating_add_unsigned(now.0 / 1000)
}

#[cfg(test)]
mod tests {
    use super::{record, sticky, sticky_safe, validity};
    use crate::session::Timestamp;

    const NOW: Timestamp = Timestamp(1_795_389_394_716);

    #[test]
    fn they_are_those_that_msm_sends() {
        for (interval, of_record, of_validity) in [
            (1800, 3600, 1800),
            (6, 12, 6),
            (0, 0, 0),
            (-1, 0, 0),
            (1_296_000, 2_592_000, 1_296_000),
            (1_296_001, 1_795_389_394 + 2_592_002, 1_296_001),
            (
                i32::MAX,
                1_795_389_394 + 2 * 2_147_483_647,
                1_795_389_394 + 2_147_483_647,
            ),
        ] {
            assert_eq!(record(interval, NOW), of_record, "{interval}");
            assert_eq!(validity(interval, NOW), of_validity, "{interval}");
        }
    }

    #[test]
    fn a_sticky_session_loses_six_seconds() {
        let idle = |seconds: u64| Timestamp(NOW.0 - seconds * 1000);
        for (interval, accessed, exptime) in [
            (1800, NOW, 1794),
            (1800, idle(100), 1694),
            (20, NOW, 14),
            (5, NOW, -1),
            (0, idle(100), 0),
            (-1, NOW, 0),
        ] {
            assert_eq!(sticky(interval, accessed, NOW), exptime, "{interval}");
        }
        for (interval, exptime) in [(1800, 2161), (5, 7), (1, 2), (0, 0), (-1, 0)] {
            assert_eq!(sticky_safe(interval, NOW), exptime, "{interval}");
        }
    }
}
