//! Numbers as C's `strtol` and `strtoul` read them, because memcached uses those: for the words of a command and for
//! the values that incr and decr work on.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

/// A number as `strtoull` reads it: leading white space, a sign, digits, then the end or white space. What a minus sign
/// leaves beyond the signed range is refused, as memcached does.
pub(crate) fn unsigned(word: &[u8]) -> Option<u64> {
    let (negative, digits) = parts(word)?;
    let mut number: u64 = 0;
    for digit in digits {
        number = number
            .checked_mul(10)?
            .checked_add(u64::from(value(*digit)))?;
    }
    if negative {
        number = number.wrapping_neg();
        if number > i64::MAX as u64 {
            return None;
        }
    }
    Some(number)
}

/// A number as `strtol` reads it; of its 64 bits the lower 32 are kept, as memcached does.
pub(crate) fn signed(word: &[u8]) -> Option<i32> {
    let (negative, digits) = parts(word)?;
    let mut number: i64 = 0;
    for digit in digits {
        let digit = i64::from(value(*digit));
        number = number.checked_mul(10)?;
        number = if negative {
            number.checked_sub(digit)?
        } else {
            number.checked_add(digit)?
        };
    }
    Some(number as i32)
}

/// Writes a number in decimal digits behind what `out` holds.
pub(crate) fn write_unsigned(mut number: u64, out: &mut Vec<u8>) {
    /// As many digits as `u64::MAX` has.
    const DIGITS_MAX: usize = 20;
    let mut digits = [b'0'; DIGITS_MAX];
    let mut used = 0usize;
    for place in digits.iter_mut().rev() {
        *place = b'0' | (number % 10) as u8;
        number /= 10;
        used = used.saturating_add(1);
        if number == 0 {
            break;
        }
    }
    let start = DIGITS_MAX.saturating_sub(used);
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Sign and digits; `None` without digits or with something behind them.
fn parts(word: &[u8]) -> Option<(bool, &[u8])> {
    let start = word.iter().position(|byte| !is_space(byte))?;
    let (negative, rest) = match word.get(start..)? {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let length = rest
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(rest.len());
    let (digits, behind) = rest.split_at(length);
    let ends = behind.first().is_none_or(is_space);
    (!digits.is_empty() && ends).then_some((negative, digits))
}

/// What a decimal digit stands for.
fn value(digit: u8) -> u8 {
    digit.wrapping_sub(b'0')
}

/// C's `isspace`.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

#[cfg(test)]
mod tests {
    use super::{signed, unsigned, write_unsigned};

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 65_535, 4_294_967_296, u64::MAX] {
            let mut out = b"x".to_vec();
            write_unsigned(number, &mut out);
            assert_eq!(out, format!("x{number}").into_bytes());
        }
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (word, expected) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            ("-5", Some(-5)),
            ("010", Some(10)),
            ("99999999999", Some(1215752191)),
            ("1.5", None),
            ("x", None),
            ("", None),
            ("-", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(signed(word.as_bytes()), expected, "{word}");
        }
        for (word, expected) in [
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("-0", Some(0)),
        ] {
            assert_eq!(unsigned(word.as_bytes()), expected, "{word}");
        }
    }
}
