//! Attributes that are plain texts, as most are: read and written without building the graph of objects. The same bytes as by
//! the general way, which takes over for everything else.

use crate::session::attributes::Attributes;

/// The stream's header and an `Integer` without its value, as the JDK writes them first.
const COUNT: &[u8] = b"\xAC\xED\0\x05sr\0\x11java.lang.Integer\x12\xE2\xA0\xA4\xF7\x81\x87\x38\x02\0\x01I\0\x05value\
xr\0\x10java.lang.Number\x86\xAC\x95\x1D\x0B\x94\xE0\x8B\x02\0\0xp";

/// What a `String` of at most 65,535 bytes begins with.
const STRING: u8 = 0x74;

/// The attributes, if all of the stream is as this file would write it.
pub(super) fn decode(bytes: &[u8]) -> Option<Attributes> {
    let (count, mut rest) = bytes.strip_prefix(COUNT)?.split_first_chunk()?;
    let mut attributes = Attributes::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let name = take(&mut rest)?;
        let value = take(&mut rest)?;
        attributes.set_str(name, value).ok()?;
    }
    rest.is_empty().then_some(attributes)
}

/// The stream, if all attributes that `stored` lets through are plain.
pub(super) fn encode(attributes: &Attributes, stored: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mut stream = Vec::with_capacity(COUNT.len() + 4 + attributes.size() + 8);
    stream.extend_from_slice(COUNT);
    stream.extend_from_slice(&[0; 4]);
    let mut count = 0_i32;
    for (name, value) in attributes.iter_packed().filter(|(name, _)| stored(name)) {
        put(name, &mut stream)?;
        put(value.as_str()?, &mut stream)?;
        count += 1;
    }
    stream[COUNT.len()..COUNT.len() + 4].copy_from_slice(&count.to_be_bytes());
    Some(stream)
}

/// Whether [`encode`] would write this very stream.
pub(super) fn is_encoded(
    attributes: &Attributes,
    stream: &[u8],
    stored: impl Fn(&str) -> bool,
) -> bool {
    let Some((count, mut rest)) = stream
        .strip_prefix(COUNT)
        .and_then(<[u8]>::split_first_chunk)
    else {
        return false;
    };
    let mut left = i32::from_be_bytes(*count);
    for (name, value) in attributes.iter_packed().filter(|(name, _)| stored(name)) {
        let is_next = |text: Option<&str>, rest: &mut &[u8]| {
            let text = text.filter(|text| is_plain(text));
            text.is_some() && take_bytes(rest) == text.map(str::as_bytes)
        };
        if !is_next(Some(name), &mut rest) || !is_next(value.as_str(), &mut rest) {
            return false;
        }
        left -= 1;
    }
    left == 0 && rest.is_empty()
}

fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let text = std::str::from_utf8(take_bytes(rest)?).ok()?;
    is_plain(text).then_some(text)
}

fn take_bytes<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let after = rest.strip_prefix(&[STRING])?;
    let (len, after) = after.split_first_chunk()?;
    let (text, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
    *rest = after;
    Some(text)
}

fn put(text: &str, stream: &mut Vec<u8>) -> Option<()> {
    let len = u16::try_from(text.len()).ok().filter(|_| is_plain(text))?;
    stream.push(STRING);
    stream.extend_from_slice(&len.to_be_bytes());
    stream.extend_from_slice(text.as_bytes());
    Some(())
}

/// Whether Java's form of UTF-8 is the same, and each character is a byte.
fn is_plain(text: &str) -> bool {
    text.is_ascii() && !text.as_bytes().contains(&0)
}
