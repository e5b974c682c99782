//! The validity record: 20 bytes beside each session that change with every request, while the session record itself
//! stays as it is.
//!
//! | offset | bytes | big-endian |
//! |---|---|---|
//! | 0 | 4 | interval, seconds |
//! | 4 | 8 | last accessed, milliseconds since 1970 |
//! | 12 | 8 | this accessed, milliseconds since 1970 |

use crate::session::Timestamp;

/// Bytes of a validity record.
pub const VALIDITY_BYTES: usize = 20;

/// When a session was used, and how long it may be idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Seconds that it may be idle; 0 or less: for ever.
    pub interval: i32,
    /// End of the request before, as the application sees it.
    pub last_accessed: Timestamp,
    /// Start of the latest request, from which idle time counts.
    pub this_accessed: Timestamp,
}

impl Validity {
    /// Reads a record; `None` when it is of another size or has a time before 1970.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; VALIDITY_BYTES] = bytes.try_into().ok()?;
        let (interval, times) = bytes.split_first_chunk()?;
        let (last, this) = times.split_first_chunk()?;
        Some(Self {
            interval: i32::from_be_bytes(*interval),
            last_accessed: timestamp(*last)?,
            this_accessed: timestamp(this.try_into().ok()?)?,
        })
    }

    /// The record.
    pub fn encode(&self) -> [u8; VALIDITY_BYTES] {
        let mut bytes = [0; VALIDITY_BYTES];
        bytes[..4].copy_from_slice(&self.interval.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.last_accessed.0.to_be_bytes());
        bytes[12..].copy_from_slice(&self.this_accessed.0.to_be_bytes());
        bytes
    }

    /// Whether the session may still be used: it was idle for less than the interval, in whole seconds.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        match u64::try_from(self.interval) {
            Ok(interval) if interval > 0 => now.since(self.this_accessed) / 1000 < interval,
            _ => true,
        }
    }
}

/// A time of Java, which is signed.
pub(super) fn timestamp(bytes: [u8; 8]) -> Option<Timestamp> {
    let millis = i64::from_be_bytes(bytes);
    u64::try_from(millis).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::Validity;
    use crate::session::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn what_msm_stored_is_read_and_written_back() {
        for (hex, interval, last, this) in [
            (
                "00000708000001a2058c0f1c000001a2058c0f1e",
                1800,
                1_795_389_394_716,
                1_795_389_394_718,
            ),
            (
                "00000708000001a205759198000001a20575919a",
                1800,
                1_795_387_920_792,
                1_795_387_920_794,
            ),
        ] {
            let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            let validity = Validity {
                interval,
                last_accessed: Timestamp(last),
                this_accessed: Timestamp(this),
            };
            assert_eq!(Validity::decode(&bytes), Some(validity));
            assert_eq!(validity.encode().as_slice(), bytes);
        }
    }

    #[test]
    fn a_session_is_valid_for_its_interval() {
        for (interval, idle, valid) in [
            (5, 4_999, true),
            (5, 5_000, false),
            (1, 999, true),
            (0, u64::MAX / 2, true),
            (-1, u64::MAX / 2, true),
        ] {
            let validity = Validity {
                interval,
                last_accessed: Timestamp(0),
                this_accessed: Timestamp(1000),
            };
            assert_eq!(
                validity.is_valid(Timestamp(1000 + idle)),
                valid,
                "{interval} {idle}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Some(validity) = Validity::decode(&bytes) {
                prop_assert_eq!(validity.encode().to_vec(), bytes);
            }
        }
    }
}
