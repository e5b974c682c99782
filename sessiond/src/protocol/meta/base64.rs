//! Keys in base64 (RFC 4648, section 4) as memcached reads them: bytes outside the alphabet are passed over, and what
//! stands behind the padding is not looked at.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const PADDING: u8 = b'=';

/// Decodes into `space`, which must be as long as what is sent or longer, and gives the length; `None` when the digits
/// do not come in fours, when there are none, or when there is no room.
pub(super) fn decode(sent: &[u8], space: &mut [u8]) -> Option<usize> {
    let digits = || sent.iter().copied().filter_map(value);
    let count = digits().count();
    if count == 0 || !count.is_multiple_of(4) {
        return None;
    }
    let mut digits = digits();
    let mut length = 0;
    while let Some(first) = digits.next() {
        let group = [first, digits.next()?, digits.next()?, digits.next()?];
        let padded = group.iter().filter(|digit| digit.is_none()).count();
        let bits = group
            .iter()
            .fold(0, |bits: u32, digit| bits << 6 | digit.unwrap_or(0));
        let bytes = bits.to_be_bytes();
        let kept = 3usize.checked_sub(padded).filter(|kept| *kept > 0)?;
        let [_, whole @ ..] = bytes;
        let (_, room) = space.split_at_mut_checked(length)?;
        room.get_mut(..kept)?.copy_from_slice(whole.get(..kept)?);
        length = length.saturating_add(kept);
        if padded > 0 {
            break;
        }
    }
    Some(length)
}

/// Writes `bytes` encoded behind what `out` holds.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .chain([&0; 2])
            .take(3)
            .fold(0, |bits: u32, byte| bits << 8 | u32::from(*byte));
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = bits >> shift & 0b11_1111;
            let letter = ALPHABET
                .get(digit as usize)
                .filter(|_| place <= group.len());
            out.push(*letter.unwrap_or(&PADDING));
        }
    }
}

/// `None` for what is passed over, `Some(None)` for padding, else the digit's value.
fn value(byte: u8) -> Option<Option<u32>> {
    let value = match byte {
        b'A'..=b'Z' => byte.wrapping_sub(b'A'),
        b'a'..=b'z' => byte.wrapping_sub(b'a' - 26),
        b'0'..=b'9' => byte.wrapping_add(52 - b'0'),
        b'+' => 62,
        b'/' => 63,
        PADDING => return Some(None),
        _ => return None,
    };
    Some(Some(value.into()))
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use proptest::prelude::*;

    #[test]
    fn keys_are_read_as_memcached_reads_them() {
        for (sent, expected) in [
            ("YQ==", Some("a")),
            ("YWI=", Some("ab")),
            ("YWJj", Some("abc")),
            ("YWJjYQ==", Some("abca")),
            ("YR==", Some("a")),
            ("YQ==YQ==", Some("a")),
            ("Y!Q==", Some("a")),
            ("", None),
            ("a", None),
            ("!!!!", None),
            ("YQ", None),
            ("YQ=", None),
            ("A===", None),
            ("====", None),
        ] {
            let mut space = [0; 250];
            let key = decode(sent.as_bytes(), &mut space).map(|length| &space[..length]);
            assert_eq!(key, expected.map(str::as_bytes), "{sent}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 1..187)) {
            let mut sent = Vec::new();
            encode(&bytes, &mut sent);
            prop_assert_eq!(sent.len(), bytes.len().div_ceil(3) * 4);
            let mut space = [0; 250];
            let length = decode(&sent, &mut space);
            prop_assert_eq!(length.map(|length| &space[..length]), Some(&bytes[..]));
        }
    }
}
