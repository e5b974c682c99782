//! How a request looks in the log (`-vv`): what was asked of which key, never a value, which may be a session or a
//! password.

use std::fmt;

use super::dialect::Dialect;
use crate::protocol::binary;

/// More of a line or a key is not shown.
const SHOWN_MAX: usize = 100;

/// A request as it was received.
pub(super) struct Head<'a>(pub(super) Dialect, pub(super) &'a [u8]);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(dialect, bytes) = self;
        let (shown, whole) = match (dialect, bytes.first_chunk::<{ binary::HEADER }>()) {
            (Dialect::Binary, Some([_, opcode, k0, k1, extras, ..])) => {
                write!(f, "binary {opcode:#04x} ")?;
                let start = binary::HEADER.saturating_add((*extras).into());
                let length = usize::from(u16::from_be_bytes([*k0, *k1]));
                let key = bytes.get(start..start.saturating_add(length));
                (key.unwrap_or_default(), length)
            }
            _ => {
                let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                let line = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
                (line, line.len())
            }
        };
        let shown = shown.get(..SHOWN_MAX).unwrap_or(shown);
        write!(f, "{}", shown.escape_ascii())?;
        if shown.len() < whole {
            f.write_str("...")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, Head};

    #[test]
    fn values_are_not_shown() {
        let show = |dialect, bytes: &[u8]| Head(dialect, bytes).to_string();
        let set = b"set a\x01 0 0 6\r\nsecret\r\n";
        assert_eq!(show(Dialect::Text, set), "set a\\x01 0 0 6");
        let login = b"set x 0 0 8\r\nann pass\r\n";
        assert_eq!(show(Dialect::Login, login), "set x 0 0 8");
        let packet =
            b"\x80\x01\0\x01\x08\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0ksec";
        assert_eq!(show(Dialect::Binary, packet), "binary 0x01 k");
        let long = [b"get ", &[b'k'; 500][..]].concat();
        assert_eq!(show(Dialect::Text, &long).len(), 103);
    }
}
