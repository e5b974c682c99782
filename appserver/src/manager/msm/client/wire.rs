//! memcached's text protocol, as far as it is needed: commands to bytes, bytes to answers. Pure. See memcached's `protocol.txt`,
//! "Storage commands", "Retrieval command", "Deletion" and "Error strings".

use std::fmt;
use std::io::Write;

use super::{Broken, VALUE_MAX};
use crate::manager::msm::key::ItemKey;
use crate::manager::msm::protocol::{Answer, Command, Verb};
use crate::manager::msm::{COMPRESSED, FLAGS};

/// The longest first line of an answer: a key, three numbers and words, or an error's text.
const LINE_MAX: usize = 2048;

/// What follows a value.
const END: &[u8] = b"\r\nEND\r\n";

/// What the answer to a `get` begins with.
const VALUE: &[u8] = b"VALUE ";

/// What an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A `get` of this key.
    Get(ItemKey),
    /// A `gets` of this key.
    Gets(ItemKey),
    /// A `set`, `add`, `replace` or `cas`.
    Store,
    /// A `touch`.
    Touch,
    /// A `delete`.
    Delete,
}

/// Writes a command behind what is there.
pub fn encode(command: Command, out: &mut Vec<u8>) -> Asked {
    let Command { verb, key } = command;
    let (name, exptime, value, unique) = match verb {
        Verb::Set(exptime, value) => ("set ", exptime, value, None),
        Verb::Add(exptime, value) => ("add ", exptime, value, None),
        Verb::Replace(exptime, value) => ("replace ", exptime, value, None),
        Verb::Cas(exptime, value, unique) => ("cas ", exptime, value, Some(unique)),
        Verb::Get => {
            read(out, b"get ", &key);
            return Asked::Get(key);
        }
        Verb::Gets => {
            read(out, b"gets ", &key);
            return Asked::Gets(key);
        }
        Verb::Touch(exptime) => {
            line(out, format_args!("touch {key} {exptime}"));
            return Asked::Touch;
        }
        Verb::Delete => {
            line(out, format_args!("delete {key}"));
            return Asked::Delete;
        }
    };
    out.reserve(key.as_bytes().len() + value.len() + 100);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(key.as_bytes());
    put_number(out, FLAGS.into());
    if exptime < 0 {
        out.extend_from_slice(b" -");
        digits(out, exptime.unsigned_abs());
    } else {
        put_number(out, exptime.unsigned_abs());
    }
    put_number(out, value.len() as u64);
    if let Some(unique) = unique {
        put_number(out, unique);
    }
    for part in [b"\r\n", &value[..], b"\r\n"] {
        out.extend_from_slice(part);
    }
    Asked::Store
}

/// What most requests consist of, without the machinery of formatting.
fn read(out: &mut Vec<u8>, name: &[u8], key: &ItemKey) {
    for part in [name, key.as_bytes(), b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.push(b' ');
    digits(out, number);
}

fn digits(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [0; 20];
    let mut from = text.len();
    loop {
        from -= 1;
        text[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[from..]);
}

fn line(out: &mut Vec<u8>, line: fmt::Arguments<'_>) {
    // A vector takes everything.
    let _ = out.write_fmt(line);
    out.extend_from_slice(b"\r\n");
}

/// Reads the answer at the beginning of `input`, and how many bytes it has; `None`: more bytes are needed.
pub fn decode(asked: &Asked, input: &[u8]) -> Result<Option<(Answer, usize)>, Broken> {
    // A line with our key ends behind it.
    let known = match asked {
        Asked::Get(key) | Asked::Gets(key) => after_key(key, input),
        Asked::Store | Asked::Touch | Asked::Delete => None,
    };
    let known = known.unwrap_or(0);
    if known > 0
        && let Some(found) = value_at_once(known, matches!(asked, Asked::Gets(_)), input)
    {
        return Ok(Some(found));
    }
    let mut pairs = input[known..]
        .windows(2)
        .take(LINE_MAX.saturating_sub(known));
    let Some(end) = pairs.position(|b| b == b"\r\n").map(|end| known + end) else {
        return if input.len() > LINE_MAX {
            Err(Broken::of(&input[..LINE_MAX]))
        } else {
            Ok(None)
        };
    };
    let (line, used) = (&input[..end], end + 2);
    let answer = match (asked, line) {
        (Asked::Get(_) | Asked::Gets(_), b"END") => Answer::Miss,
        (Asked::Store | Asked::Touch | Asked::Delete, b"NOT_FOUND") => Answer::Miss,
        (Asked::Store, b"STORED") | (Asked::Touch, b"TOUCHED") | (Asked::Delete, b"DELETED") => {
            Answer::Done
        }
        (Asked::Store, b"NOT_STORED") => Answer::NotStored,
        (Asked::Store, b"EXISTS") => Answer::Exists,
        (Asked::Store, b"SERVER_ERROR object too large for cache") => Answer::TooLarge,
        (Asked::Get(_) | Asked::Gets(_), _) if line.starts_with(VALUE) => {
            let unique = matches!(asked, Asked::Gets(_));
            return value(known, unique, line, &input[used..])
                .map(|found| found.map(|(answer, more)| (answer, used + more)));
        }
        // Out of memory, say, or too large: the connection goes on.
        _ if line.starts_with(b"SERVER_ERROR") => Answer::Failed,
        _ => return Err(Broken::of(line)),
    };
    Ok(Some((answer, used)))
}

/// A whole value whose numbers begin at `known`, as it mostly comes; all else is left to [`decode`].
fn value_at_once(known: usize, with_unique: bool, input: &[u8]) -> Option<(Answer, usize)> {
    let mut rest = input.get(known..)?;
    let flags = u32::try_from(leading_number(&mut rest, b' ')?).ok()?;
    let len = leading_number(&mut rest, if with_unique { b' ' } else { b'\r' })?;
    let len = usize::try_from(len).ok().filter(|len| *len <= VALUE_MAX)?;
    let unique = match with_unique {
        true => Some(leading_number(&mut rest, b'\r')?),
        false => None,
    };
    let rest = rest.strip_prefix(b"\n")?;
    let (value, after) = rest.split_at_checked(len)?;
    let after = after.strip_prefix(END)?;
    if flags & COMPRESSED != 0 {
        return None;
    }
    let answer = match unique {
        None => Answer::Hit(value.to_vec()),
        Some(unique) => Answer::HitCas(value.to_vec(), unique),
    };
    Some((answer, input.len() - after.len()))
}

/// The number before this byte, taken away with it.
fn leading_number(rest: &mut &[u8], end: u8) -> Option<u64> {
    let mut sum = 0_u64;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                let digit = u64::from(byte - b'0');
                sum = sum.checked_mul(10)?.checked_add(digit)?;
            }
            byte if *byte == end && at > 0 => {
                *rest = &rest[at + 1..];
                return Some(sum);
            }
            _ => return None,
        }
    }
    None
}

/// Where the numbers begin in a line that tells of this key.
fn after_key(key: &ItemKey, input: &[u8]) -> Option<usize> {
    let rest = input.strip_prefix(VALUE)?;
    let rest = rest.strip_prefix(key.as_bytes())?;
    (rest.first() == Some(&b' ')).then_some(VALUE.len() + key.as_bytes().len() + 1)
}

/// A number in decimal digits.
fn number(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, digit: &u8| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    };
    let number = digits.iter().try_fold(0, add);
    number.filter(|_| !digits.is_empty())
}

/// The value whose line was read, and how many bytes follow that line. The line's numbers begin at `known`; 0: it is of another key.
fn value(
    known: usize,
    with_unique: bool,
    line: &[u8],
    rest: &[u8],
) -> Result<Option<(Answer, usize)>, Broken> {
    // Another key would be another browser's session.
    if known == 0 {
        return Err(Broken::of(line));
    }
    let mut words = line[known..].split(|byte| *byte == b' ').map(number);
    let (flags, len) = (words.next().flatten(), words.next().flatten());
    let unique = words.next().flatten();
    if unique.is_some() != with_unique {
        return Err(Broken::of(line));
    }
    let flags = flags.and_then(|flags| u32::try_from(flags).ok());
    let len = len.and_then(|len| usize::try_from(len).ok());
    let (Some(flags), Some(len)) = (flags, len.filter(|len| *len <= VALUE_MAX)) else {
        return Err(Broken::of(line));
    };
    let Some(value) = rest.get(..len + END.len()) else {
        return Ok(None);
    };
    let (value, end) = value.split_at(len);
    if end != END {
        return Err(Broken::of(end));
    }
    // Packed by a msm before 2.0: not to be read here, but there, so it must not count as absent or as damaged.
    let answer = match unique {
        _ if flags & COMPRESSED != 0 => Answer::Failed,
        None => Answer::Hit(value.to_vec()),
        Some(unique) => Answer::HitCas(value.to_vec(), unique),
    };
    Ok(Some((answer, len + END.len())))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Asked, Command, LINE_MAX, Verb, decode, encode};
    use proptest::prelude::*;

    #[test]
    fn commands_are_those_of_the_text_protocol() {
        let bytes = |verb, asked| {
            let (key, mut out) = ("ID-n1".into(), b"before ".to_vec());
            assert_eq!(encode(Command { verb, key }, &mut out), asked);
            String::from_utf8(out).expect("text")
        };
        let get = Asked::Get("ID-n1".into());
        assert_eq!(bytes(Verb::Get, get), "before get ID-n1\r\n");
        assert_eq!(
            bytes(Verb::Set(-1, b"a\r\nb".to_vec()), Asked::Store),
            "before set ID-n1 0 -1 4\r\na\r\nb\r\n"
        );
        assert_eq!(
            bytes(Verb::Add(5, vec![1]), Asked::Store),
            "before add ID-n1 0 5 1\r\n\u{1}\r\n"
        );
        assert_eq!(
            bytes(Verb::Cas(5, vec![1], 77), Asked::Store),
            "before cas ID-n1 0 5 1 77\r\n\u{1}\r\n"
        );
        assert_eq!(
            bytes(Verb::Replace(5, vec![1]), Asked::Store),
            "before replace ID-n1 0 5 1\r\n\u{1}\r\n"
        );
        let gets = Asked::Gets("ID-n1".into());
        assert_eq!(bytes(Verb::Gets, gets), "before gets ID-n1\r\n");
        assert_eq!(
            bytes(Verb::Touch(60), Asked::Touch),
            "before touch ID-n1 60\r\n"
        );
        assert_eq!(
            bytes(Verb::Delete, Asked::Delete),
            "before delete ID-n1\r\n"
        );
    }

    #[test]
    fn answers_are_read_as_soon_as_they_are_there() {
        let (get, gets) = (Asked::Get("k".into()), Asked::Gets("k".into()));
        for (asked, whole, answer) in [
            (&get, "END\r\n", Answer::Miss),
            (
                &get,
                "VALUE k 2048 4\r\na\r\nb\r\nEND\r\n",
                Answer::Hit(b"a\r\nb".to_vec()),
            ),
            (&get, "VALUE k 0 0\r\n\r\nEND\r\n", Answer::Hit(Vec::new())),
            (&get, "VALUE k 2050 1\r\nx\r\nEND\r\n", Answer::Failed),
            (
                &get,
                "SERVER_ERROR out of memory writing get response\r\n",
                Answer::Failed,
            ),
            (&Asked::Store, "STORED\r\n", Answer::Done),
            (&Asked::Store, "NOT_STORED\r\n", Answer::NotStored),
            (
                &Asked::Store,
                "SERVER_ERROR object too large for cache\r\n",
                Answer::TooLarge,
            ),
            (&gets, "END\r\n", Answer::Miss),
            (
                &gets,
                "VALUE k 0 1 77\r\nx\r\nEND\r\n",
                Answer::HitCas(b"x".to_vec(), 77),
            ),
            (&Asked::Store, "EXISTS\r\n", Answer::Exists),
            (&Asked::Store, "NOT_FOUND\r\n", Answer::Miss),
            (&Asked::Touch, "TOUCHED\r\n", Answer::Done),
            (&Asked::Touch, "NOT_FOUND\r\n", Answer::Miss),
            (&Asked::Delete, "DELETED\r\n", Answer::Done),
            (&Asked::Delete, "NOT_FOUND\r\n", Answer::Miss),
        ] {
            for cut in 0..whole.len() {
                assert_eq!(decode(asked, &whole.as_bytes()[..cut]), Ok(None), "{whole}");
            }
            let with_next = format!("{whole}STORED\r\n");
            let read = decode(asked, with_next.as_bytes());
            assert_eq!(read, Ok(Some((answer, whole.len()))), "{whole}");
        }
    }

    #[test]
    fn what_belongs_to_something_else_ends_the_connection() {
        let get = Asked::Get("k".into());
        let long = "x".repeat(LINE_MAX + 2);
        for (asked, input) in [
            (&get, "STORED\r\n"),
            (&get, "VALUE other 0 1\r\nx\r\nEND\r\n"),
            (&get, "VALUE kk 0 1\r\nx\r\nEND\r\n"),
            (&get, "VALUE k\r\nx\r\nEND\r\n"),
            (&get, "VALUE k \r\nx\r\nEND\r\n"),
            (&get, "VALUE k 0 1 77\r\nx\r\nEND\r\n"),
            (&Asked::Gets("k".into()), "VALUE k 0 1\r\nx\r\nEND\r\n"),
            (&get, "VALUE k 0 99999999999\r\n"),
            (&get, "VALUE k 0 x\r\n"),
            (&get, "VALUE k 0 1\r\nxy\r\nEND\r\n"),
            (&Asked::Store, "END\r\n"),
            (&Asked::Store, "CLIENT_ERROR bad data chunk\r\n"),
            (&Asked::Delete, "ERROR\r\n"),
            (&get, &long[..]),
        ] {
            assert!(decode(asked, input.as_bytes()).is_err(), "{input}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), kind in 0..5) {
            let kinds = [Asked::Get("k".into()), Asked::Gets("k".into()), Asked::Store, Asked::Touch, Asked::Delete];
            let asked = kinds[kind as usize].clone();
            if let Ok(Some((_, used))) = decode(&asked, &bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
