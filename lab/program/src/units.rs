//! Sizes and durations as nginx writes them (`1m`, `8k`, `3s`, `500ms`, `1h 30m`), and as people write them (`64MiB`).
//!
//! A bare number is bytes for a size and seconds for a duration, as in nginx.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// A span of time; dereferences to [`std::time::Duration`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub time::Duration);

/// Text that is not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error(
        "`{0}` is not a size: write bytes, or a number with k, m or g (1024-based), such as 8k, 1m, 64MiB"
    )]
    Size(String),
    /// Not a duration.
    #[error(
        "`{0}` is not a duration: write seconds, or numbers with ms, s, m, h, d, w, M or y, such as 500ms, 3s, 1h 30m"
    )]
    Duration(String),
}

impl Size {
    /// The size as a `usize`, at most `usize::MAX`.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Duration {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }
}

impl Deref for Duration {
    type Target = time::Duration;

    fn deref(&self) -> &time::Duration {
        &self.0
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

/// Splits `12ms` into its number and its unit; `None` when it does not begin with a digit.
fn number_and_rest(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Size(text.to_owned());
        let (number, unit) = number_and_rest(text.trim()).ok_or_else(wrong)?;
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        const SECOND: u64 = 1000;
        const DAY: u64 = 86_400 * SECOND;
        let wrong = || UnitError::Duration(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (number, after) = number_and_rest(rest).ok_or_else(wrong)?;
            let letters = after.len()
                - after
                    .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                    .len();
            let (unit, after) = after.split_at(letters);
            let millis = match unit {
                "ms" => 1,
                "" | "s" => SECOND,
                "m" => 60 * SECOND,
                "h" => 3600 * SECOND,
                "d" => DAY,
                "w" => 7 * DAY,
                "M" => 30 * DAY,
                "y" => 365 * DAY,
                _ => return Err(wrong()),
            };
            let part = number.checked_mul(millis).ok_or_else(wrong)?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = after.trim_start();
        }
        Ok(Self::millis(total))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("g", 30), ("m", 20), ("k", 10)] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, size) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
        ] {
            if millis > 0 && millis.is_multiple_of(size) {
                return write!(f, "{}{unit}", millis / size);
            }
        }
        write!(f, "{millis}ms")
    }
}

/// Text, or a bare number, as TOML may hold either.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(bytes) => Ok(Self(bytes)),
            TextOrNumber::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(seconds) => Ok(Self::seconds(seconds)),
            TextOrNumber::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Size};

    #[test]
    fn sizes_as_nginx_writes_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("8k", 8192),
            ("1m", 1 << 20),
            ("1M", 1 << 20),
            ("64MiB", 64 << 20),
            ("2g", 2 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "1x",
            "1.5m",
            "99999999999999999999",
            "18446744073709551615k",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_as_nginx_writes_them() {
        for (text, millis) in [
            ("0", 0),
            ("3", 3000),
            ("3s", 3000),
            ("500ms", 500),
            ("1m", 60_000),
            ("1h 30m", 5_400_000),
            ("1m30s", 90_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(text.parse(), Ok(Duration::millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "-3s",
            "3x",
            "1.5s",
            "99999999999999999999s",
            "999999999999999999y",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for bytes in [0, 1, 1000, 1024, 1 << 20, 3 << 29, 7 << 30] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        for millis in [0, 1, 999, 1000, 1500, 60_000, 3_600_000, 86_400_000] {
            assert_eq!(
                Duration::millis(millis).to_string().parse(),
                Ok(Duration::millis(millis))
            );
        }
    }
}
