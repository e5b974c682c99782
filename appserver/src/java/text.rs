//! Java's text: UTF-16 units in *modified UTF-8* (`java.io.DataInput`). It differs from UTF-8 in two ways: NUL is `C0 80`, and
//! a character beyond U+FFFF is its two surrogates with three bytes each. Half a surrogate pair is allowed, so some texts
//! of Java are no Rust `str`.

use std::borrow::Cow;
use std::fmt;

/// A text of Java, kept in modified UTF-8: no loss, and for plain ASCII the same bytes as a `str`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JavaText(Box<[u8]>);

impl JavaText {
    /// The text of a `str`.
    pub fn new(text: &str) -> Self {
        if text.bytes().all(|b| b.is_ascii() && b != 0) {
            return Self(text.as_bytes().into());
        }
        let mut bytes = Vec::with_capacity(text.len() + text.len() / 2);
        for unit in text.encode_utf16() {
            push_unit(&mut bytes, unit);
        }
        Self(bytes.into())
    }

    /// The text of modified UTF-8; `None` when the bytes are none, or not in the shortest form, which Java always writes.
    pub fn from_modified_utf8(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = next_unit(rest)?;
        }
        Some(Self(bytes.into()))
    }

    /// The bytes of modified UTF-8.
    pub fn as_modified_utf8(&self) -> &[u8] {
        &self.0
    }

    /// The text for Rust; `None` when it has half a surrogate pair.
    pub fn to_str(&self) -> Option<Cow<'_, str>> {
        // Plain UTF-8 without what the two forms write differently: C0 80 and surrogates are no UTF-8.
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return Some(Cow::Borrowed(text));
        }
        let text: Result<String, _> = char::decode_utf16(self.units()).collect();
        text.ok().map(Cow::Owned)
    }

    /// The UTF-16 units.
    pub fn units(&self) -> impl Iterator<Item = u16> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (unit, after) = next_unit(rest)?;
            rest = after;
            Some(unit)
        })
    }

    /// `String.hashCode`.
    pub fn hash_code(&self) -> i32 {
        self.units().fold(0, |hash: i32, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        })
    }
}

impl PartialEq<str> for JavaText {
    fn eq(&self, other: &str) -> bool {
        self.to_str().is_some_and(|text| text == other)
    }
}

/// Half a surrogate pair is shown as U+FFFD.
impl fmt::Display for JavaText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        char::decode_utf16(self.units())
            .try_for_each(|c| fmt::Write::write_char(f, c.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }
}

impl fmt::Debug for JavaText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// The first unit and what follows; `None` for bytes that are not the shortest form of a unit, and at the end.
fn next_unit(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let payload = |byte: u8| (byte & 0xC0 == 0x80).then_some(u16::from(byte & 0x3F));
    match bytes {
        [a @ 0x01..=0x7F, rest @ ..] => Some((u16::from(*a), rest)),
        [a @ 0xC0..=0xDF, b, rest @ ..] => {
            let unit = (u16::from(a & 0x1F) << 6) | payload(*b)?;
            (unit == 0 || unit > 0x7F).then_some((unit, rest))
        }
        [a @ 0xE0..=0xEF, b, c, rest @ ..] => {
            let unit = (u16::from(a & 0x0F) << 12) | (payload(*b)? << 6) | payload(*c)?;
            (unit > 0x7FF).then_some((unit, rest))
        }
        _ => None,
    }
}

fn push_unit(bytes: &mut Vec<u8>, unit: u16) {
    let [high, low] = unit.to_be_bytes();
    match unit {
        0x01..=0x7F => bytes.push(low),
        0 | 0x80..=0x7FF => bytes.extend([0xC0 | (high << 2) | (low >> 6), 0x80 | (low & 0x3F)]),
        _ => bytes.extend([
            0xE0 | (high >> 4),
            0x80 | ((high << 2) & 0x3F) | (low >> 6),
            0x80 | (low & 0x3F),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::JavaText;
    use proptest::prelude::*;

    #[test]
    fn the_two_forms_differ_where_java_says() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("MeXP", b"MeXP"),
            ("\0", b"\xC0\x80"),
            ("é", b"\xC3\xA9"),
            ("世", b"\xE4\xB8\x96"),
            ("😀", b"\xED\xA0\xBD\xED\xB8\x80"),
        ] {
            let java = JavaText::new(text);
            assert_eq!(java.as_modified_utf8(), bytes, "{text:?}");
            assert_eq!(JavaText::from_modified_utf8(bytes), Some(java.clone()));
            assert_eq!(java.to_str().as_deref(), Some(text));
            assert_eq!(java.to_string(), text);
        }
    }

    #[test]
    fn what_java_never_writes_is_refused() {
        for bytes in [
            &b"\0"[..],
            b"\x80",
            b"\xC3",
            b"\xC3a",
            b"\xC1\x81",
            b"\xE0\x80\x81",
            b"\xE4\xB8",
            b"\xF0\x9F\x98\x80",
            b"a\xFF",
        ] {
            assert_eq!(JavaText::from_modified_utf8(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn half_a_pair_is_kept_and_is_no_str() {
        let half = JavaText::from_modified_utf8(b"a\xED\xA0\xBDb").expect("valid for Java");
        assert_eq!(half.to_str(), None);
        assert_eq!(half.units().collect::<Vec<_>>(), [0x61, 0xD83D, 0x62]);
        assert_eq!(half.to_string(), "a\u{FFFD}b");
    }

    #[test]
    fn hash_codes_are_javas() {
        for (text, hash) in [
            ("", 0),
            ("MeXP", 2_393_776),
            ("polygenelubricants", i32::MIN),
        ] {
            assert_eq!(JavaText::new(text).hash_code(), hash, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let java = JavaText::new(&text);
            prop_assert!(java.to_str().is_some_and(|t| t == text));
            prop_assert_eq!(JavaText::from_modified_utf8(java.as_modified_utf8()), Some(java));
        }

        #[test]
        fn any_bytes_are_refused_or_come_back(bytes: Vec<u8>) {
            if let Some(java) = JavaText::from_modified_utf8(&bytes) {
                let mut again = Vec::new();
                java.units().for_each(|unit| super::push_unit(&mut again, unit));
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
