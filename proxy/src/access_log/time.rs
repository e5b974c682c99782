//! Times of day, in UTC: `22/Nov/2026:22:49:11 +0000` as nginx writes it, and RFC 3339.

use std::io::Write;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// nginx's `$time_local`, appended to `out`.
pub(super) fn local(unix: u64, out: &mut Vec<u8>) {
    let (year, month, day) = date(unix / 86_400);
    let (hour, minute, second) = clock(unix);
    let month = MONTHS[month as usize - 1];
    // Writing into memory does not fail.
    let _infallible = write!(
        out,
        "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000"
    );
}

/// `2026-11-22T22:49:11.120Z`.
pub(super) fn rfc3339(unix_millis: u64) -> String {
    let unix = unix_millis / 1000;
    let (year, month, day) = date(unix / 86_400);
    let (hour, minute, second) = clock(unix);
    let millis = unix_millis % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn clock(unix: u64) -> (u64, u64, u64) {
    (unix / 3600 % 24, unix / 60 % 60, unix % 60)
}

/// Year, month and day of a day counted from 1 January 1970, in the Gregorian calendar: years begin in March, so that the
/// day that comes and goes is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    let day = days + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn days_of_note() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_078_012_800, "2004-02-29T00:00:00.000Z"),
            (1_795_387_751, "2026-11-22T22:49:11.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(unix * 1000), text);
        }
    }
}
