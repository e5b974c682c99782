//! What a sender waits for: Tomcat's `channelSendOptions`, as a number or in words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A set of the bits below. Only bit 2 makes the receiver answer, and only together with it does bit 4 mean anything.
///
/// | value | who sends waits until |
/// |---|---|
/// | 8 | nothing: the message is queued |
/// | 0, 4 | it is written into the sockets |
/// | 2 | the receivers have read it |
/// | 6 | the receivers have applied it |
/// | 10, 14 | nothing: queued; the sender task gets the answer |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SendOptions(u32);

/// Numbers and names, as Tomcat has them.
const NAMES: [(&str, SendOptions); 7] = [
    ("byte", SendOptions::BYTE_MESSAGE),
    ("use_ack", SendOptions::USE_ACK),
    ("sync", SendOptions::SYNC_ACK),
    ("async", SendOptions::ASYNC),
    ("secure", SendOptions::SECURE),
    ("udp", SendOptions::UDP),
    ("multicast", SendOptions::MULTICAST),
];

/// Tomcat's longer names.
const ALIASES: [(&str, SendOptions); 3] = [
    ("byte_message", SendOptions::BYTE_MESSAGE),
    ("synchronized_ack", SendOptions::SYNC_ACK),
    ("asynchronous", SendOptions::ASYNC),
];

impl SendOptions {
    /// The message is raw bytes and not a Java object.
    pub const BYTE_MESSAGE: Self = Self(1);
    /// The receiver answers.
    pub const USE_ACK: Self = Self(2);
    /// It answers after it applied the message, and not before.
    pub const SYNC_ACK: Self = Self(4);
    /// Nobody waits.
    pub const ASYNC: Self = Self(8);
    /// Over the secure port; no such port is served.
    pub const SECURE: Self = Self(16);
    /// In a datagram to the member.
    pub const UDP: Self = Self(32);
    /// In a datagram to all.
    pub const MULTICAST: Self = Self(64);

    /// From what a frame or a setting says.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As in a frame or a setting.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of those are in these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the message is raw bytes.
    pub const fn is_bytes(self) -> bool {
        self.has(Self::BYTE_MESSAGE)
    }

    /// Whether the receiver answers.
    pub const fn wants_ack(self) -> bool {
        self.has(Self::USE_ACK)
    }

    /// Whether that answer waits until the message was applied.
    pub const fn ack_after_applied(self) -> bool {
        self.has(Self::USE_ACK.with(Self::SYNC_ACK))
    }

    /// Whether the sender waits for nothing.
    pub const fn is_async(self) -> bool {
        self.has(Self::ASYNC)
    }
}

/// Neither a number nor names of options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` are no send options: write a sum of 1 (byte), 2 (use_ack), 4 (sync), 8 (async), or names such as \"sync, use_ack\""
)]
pub struct OptionsError(String);

impl FromStr for SendOptions {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let wrong = || OptionsError(text.to_owned());
        let text = text.trim();
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits: u32 = text.parse().map_err(|_| wrong())?;
            return if bits < 128 {
                Ok(Self(bits))
            } else {
                Err(wrong())
            };
        }
        text.split(',').try_fold(Self::default(), |options, name| {
            let name = name.trim().to_ascii_lowercase();
            let mut known = NAMES.iter().chain(&ALIASES);
            let (_, option) = known.find(|(known, _)| *known == name).ok_or_else(wrong)?;
            Ok(options.with(*option))
        })
    }
}

/// The names, separated by commas; `0` for none.
impl fmt::Display for SendOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, _) in NAMES.iter().filter(|(_, option)| self.has(*option)) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        if separator.is_empty() {
            f.write_str("0")?;
        }
        Ok(())
    }
}

/// As the number.
impl Serialize for SendOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for SendOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = SendOptions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("send options: a number such as 6, or names such as \"sync, use_ack\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<SendOptions, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<SendOptions, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SendOptions, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
