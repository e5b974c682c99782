//! memcached's classic text protocol, as version 1.6.18 speaks it (`protocol.txt` and the server's own behaviour).
//!
//! A command is a line of words between spaces, ended by LF or CR LF; storage commands are followed by a data block of
//! announced length and CR LF. When a *line* is refused, its data block is not passed over but read as commands, as in
//! memcached: clients that pipeline see the same replies from both.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod admin;
mod reply;
#[cfg(test)]
mod tests;

use crate::number::{signed, unsigned};

use super::meta;
use super::{
    After, Direction, Exptime, KEY_MAX, Keys, Parsed, Request, Retrieve, Store, StoreMode,
};

pub use reply::{begin_value, encode, encode_figure, encode_line, encode_uri};

/// A line may be this long before its LF is there; a get or gets may go on up to [`Limits::retrieval_line`].
pub const LINE_MAX: usize = 2048;

/// The longest value that can be announced at all.
pub(super) const VALUE_MAX: i32 = i32::MAX - 2;

/// What memcached puts around a value: 48 bytes of header, 8 of cas unique, a zero byte after the key, CR LF.
const ITEM_FRAME: usize = 48 + 8 + 1 + 2;

/// What memcached adds for flags that are not 0.
const FLAGS_SIZE: usize = 4;

pub(super) const BAD_LINE: &str = "CLIENT_ERROR bad command line format";
const BAD_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";
const BAD_DELTA: &str = "CLIENT_ERROR invalid numeric delta argument";
const BAD_DELETE: &str = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
pub(super) const UNKNOWN: &str = "ERROR";
const LINE_TOO_LONG: &str = "SERVER_ERROR out of memory reading request";

/// What a parser accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest item, counted as memcached counts (`-I`).
    pub item_size: usize,
    /// The longest line of a get or gets.
    pub retrieval_line: usize,
}

impl Limits {
    /// Whatever is to be stored is too large.
    pub(crate) const NONE: Self = Self {
        item_size: 0,
        retrieval_line: 0,
    };

    /// Whether memcached would call an item of these too large.
    pub(super) fn refuses(&self, key_length: usize, flags: u32, length: usize) -> bool {
        item_size(key_length, flags, length) > self.item_size
    }
}

/// What memcached counts for an item with a key and a value of these lengths.
pub fn item_size(key_length: usize, flags: u32, length: usize) -> usize {
    let flags_size = if flags == 0 { 0 } else { FLAGS_SIZE };
    [flags_size, key_length, length]
        .into_iter()
        .fold(ITEM_FRAME, usize::saturating_add)
}

/// What stands at the beginning of `buffer`, which must not be empty.
pub fn parse(buffer: &[u8], limits: Limits) -> Parsed<'_> {
    let end = buffer.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| buffer.split_at_checked(end.saturating_add(1)));
    match line {
        Some((line, data)) => parse_split(line, data, limits),
        None => unfinished_line(buffer, limits),
    }
}

/// As [`parse`], with a whole line, its LF included, and what follows it in another place.
pub fn parse_split<'a>(line: &'a [u8], data: &'a [u8], limits: Limits) -> Parsed<'a> {
    let used = line.len();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = match line {
        [rest @ .., b'\r'] if !rest.is_empty() => rest,
        line => line,
    };
    // For memcached, a C program, the line ends at a zero byte.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    if let Some(parsed) = meta::parse(line, data, used, limits) {
        return parsed;
    }
    Command {
        line: Words::of(line),
        data,
        used,
        limits,
    }
    .parse()
}

/// The first word and what is behind it; `None` when there is none.
pub(super) fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = line.iter().position(|byte| *byte != b' ')?;
    let line = line.get(start..)?;
    let end = line.iter().position(|byte| *byte == b' ');
    Some(line.split_at(end.unwrap_or(line.len())))
}

/// The last word of an HTTP request's first line.
fn is_http_version(word: &[u8]) -> bool {
    word.strip_prefix(b"HTTP/")
        .is_some_and(|version| !version.is_empty())
}

/// A line whose LF has not arrived: more of it, unless nobody would send such a line.
fn unfinished_line(buffer: &[u8], limits: Limits) -> Parsed<'_> {
    let need = buffer.len().saturating_add(1);
    if buffer.len() <= LINE_MAX {
        return Parsed::Incomplete { need };
    }
    let retrieval = buffer.starts_with(b"get ") || buffer.starts_with(b"gets ");
    let invalid = |reply| Parsed::Invalid {
        reply,
        used: buffer.len(),
        after: After::Close,
    };
    match retrieval {
        false => invalid(None),
        true if buffer.len() > limits.retrieval_line => invalid(Some(LINE_TOO_LONG)),
        true => Parsed::Incomplete { need },
    }
}

/// The words of a line. Those that a fixed form can have are kept at hand; the rest is only counted.
struct Words<'a> {
    first: [&'a [u8]; Words::KEPT],
    count: usize,
    last: &'a [u8],
    /// Everything behind the command word.
    arguments: &'a [u8],
}

impl<'a> Words<'a> {
    /// cas has the most: cas, key, flags, exptime, length, cas unique, noreply.
    const KEPT: usize = 7;

    fn of(line: &'a [u8]) -> Self {
        let mut words = Self {
            first: [b""; Self::KEPT],
            count: 0,
            last: b"",
            arguments: b"",
        };
        let mut rest = line;
        while let Some((word, behind)) = word(rest) {
            if let Some(kept) = words.first.get_mut(words.count) {
                *kept = word;
            } else if words.is_retrieval() {
                // The keys are walked over when they are asked for; no form depends on how many they are.
                break;
            }
            if words.count == 0 {
                words.arguments = behind;
            }
            words.count = words.count.saturating_add(1);
            words.last = word;
            rest = behind;
        }
        words
    }

    fn is_retrieval(&self) -> bool {
        matches!(self.first[0], b"get" | b"gets" | b"gat" | b"gats" | b"bget")
    }

    fn noreply(&self) -> bool {
        self.last == b"noreply"
    }
}

/// One line and what follows it.
struct Command<'a> {
    line: Words<'a>,
    data: &'a [u8],
    /// Bytes of the line with its end.
    used: usize,
    limits: Limits,
}

impl<'a> Command<'a> {
    fn parse(&self) -> Parsed<'a> {
        let [verb, ..] = self.line.first;
        let request = match verb {
            b"get" | b"bget" => self.retrieve(false, false),
            b"gets" => self.retrieve(true, false),
            b"gat" => self.retrieve(false, true),
            b"gats" => self.retrieve(true, true),
            b"set" => return self.store(StoreMode::Set),
            b"add" => return self.store(StoreMode::Add),
            b"replace" => return self.store(StoreMode::Replace),
            b"append" => return self.store(StoreMode::Append),
            b"prepend" => return self.store(StoreMode::Prepend),
            b"cas" => return self.store(StoreMode::Cas(0)),
            b"delete" => self.delete(),
            b"incr" => self.arithmetic(Direction::Increment),
            b"decr" => self.arithmetic(Direction::Decrement),
            b"touch" => self.touch(),
            b"flush_all" => self.flush_all(),
            b"version" => Ok(Request::Version),
            b"stats" => Ok(Request::Stats {
                words: self.line.arguments,
            }),
            b"quit" => Ok(Request::Quit),
            // A browser that was talked into posting to this port is not answered.
            _ if is_http_version(self.line.last) => {
                return Parsed::Invalid {
                    reply: None,
                    used: self.used,
                    after: After::Close,
                };
            }
            _ => self.admin(),
        };
        match request {
            Ok(request) => Parsed::Complete {
                request,
                used: self.used,
            },
            Err(reply) => self.refused(reply),
        }
    }

    fn refused(&self, reply: Option<&'static str>) -> Parsed<'a> {
        Parsed::Invalid {
            reply,
            used: self.used,
            after: After::Continue,
        }
    }

    /// The reply to a line that is refused; none when the client wants none.
    fn unless_noreply(&self, reply: &'static str) -> Option<&'static str> {
        (!self.line.noreply()).then_some(reply)
    }

    fn words(&self, allowed: std::ops::RangeInclusive<usize>) -> Result<(), Option<&'static str>> {
        if allowed.contains(&self.line.count) {
            Ok(())
        } else {
            Err(Some(UNKNOWN))
        }
    }

    fn key(&self) -> Result<&'a [u8], Option<&'static str>> {
        let key = self.line.first[1];
        if key.len() > KEY_MAX {
            return Err(self.unless_noreply(BAD_LINE));
        }
        Ok(key)
    }

    fn retrieve(&self, with_cas: bool, touch: bool) -> Result<Request<'a>, Option<&'static str>> {
        if self.line.count < 2 {
            return Err(Some(UNKNOWN));
        }
        let mut keys = Keys(self.line.arguments);
        let mut exptime = None;
        if touch {
            let number = keys.next().and_then(signed).ok_or(Some(BAD_EXPTIME))?;
            exptime = Some(Exptime(number));
        }
        if { keys }.any(|key| key.len() > KEY_MAX) {
            return Err(Some(BAD_LINE));
        }
        Ok(Request::Retrieve(Retrieve {
            keys,
            exptime,
            with_cas,
        }))
    }

    fn store(&self, mode: StoreMode) -> Parsed<'a> {
        match self.storage_line(mode) {
            Ok((store, length)) => self.with_value(store, length),
            Err(reply) => self.refused(reply),
        }
    }

    /// The line of a storage command: what to store, still without its value, and how long that is.
    fn storage_line(&self, mode: StoreMode) -> Result<(Store<'a>, usize), Option<&'static str>> {
        let is_cas = matches!(mode, StoreMode::Cas(_));
        self.words(if is_cas { 6..=7 } else { 5..=6 })?;
        let [_, _, flags, exptime, length, unique, _] = self.line.first;
        let bad = || self.unless_noreply(BAD_LINE);
        let key = self.key()?;
        let flags = unsigned(flags).ok_or_else(bad)?;
        let exptime = signed(exptime).ok_or_else(bad)?;
        let length = signed(length).ok_or_else(bad)?;
        let mode = match mode {
            StoreMode::Cas(_) => StoreMode::Cas(unsigned(unique).ok_or_else(bad)?),
            mode => mode,
        };
        if length > VALUE_MAX {
            return Err(bad());
        }
        let store = Store {
            mode,
            key,
            flags: flags as u32, // memcached keeps the lower half too
            exptime: Exptime(exptime),
            value: b"",
            noreply: self.line.noreply(),
        };
        Ok((store, usize::try_from(length).map_err(|_| bad())?))
    }

    fn with_value(&self, store: Store<'a>, length: usize) -> Parsed<'a> {
        let block = length.saturating_add(2);
        let used = self.used.saturating_add(block);
        if self.limits.refuses(store.key.len(), store.flags, length) {
            let request = Request::TooLarge {
                mode: store.mode,
                key: store.key,
                noreply: store.noreply,
            };
            return Parsed::Complete { request, used };
        }
        let Some((value, end)) = self
            .data
            .get(..block)
            .and_then(|data| data.split_at_checked(length))
        else {
            return Parsed::Partial {
                line: self.used,
                block,
            };
        };
        if end != b"\r\n" {
            let request = Request::BadChunk {
                key: store.key,
                noreply: store.noreply,
            };
            return Parsed::Complete { request, used };
        }
        Parsed::Complete {
            request: Request::Store(Store { value, ..store }),
            used,
        }
    }

    fn delete(&self) -> Result<Request<'a>, Option<&'static str>> {
        self.words(2..=4)?;
        let noreply = self.line.count > 2 && self.line.noreply();
        let time = self.line.first[2];
        let good = match self.line.count {
            2 => true,
            3 => time == b"0" || noreply,
            _ => time == b"0" && noreply,
        };
        if !good {
            return Err((!noreply).then_some(BAD_DELETE));
        }
        let key = self.line.first[1];
        if key.len() > KEY_MAX {
            return Err((!noreply).then_some(BAD_LINE));
        }
        Ok(Request::Delete { key, noreply })
    }

    fn arithmetic(&self, direction: Direction) -> Result<Request<'a>, Option<&'static str>> {
        self.words(3..=4)?;
        let key = self.key()?;
        let delta = unsigned(self.line.first[2]).ok_or_else(|| self.unless_noreply(BAD_DELTA))?;
        Ok(Request::Arithmetic {
            direction,
            key,
            delta,
            noreply: self.line.noreply(),
        })
    }

    fn touch(&self) -> Result<Request<'a>, Option<&'static str>> {
        self.words(3..=4)?;
        let key = self.key()?;
        let exptime = signed(self.line.first[2]).ok_or_else(|| self.unless_noreply(BAD_EXPTIME))?;
        Ok(Request::Touch {
            key,
            exptime: Exptime(exptime),
            noreply: self.line.noreply(),
        })
    }

    fn flush_all(&self) -> Result<Request<'a>, Option<&'static str>> {
        self.words(1..=3)?;
        let noreply = self.line.noreply();
        let delay = match self.line.count.saturating_sub(noreply.into()) {
            1 => Some(0),
            _ => signed(self.line.first[1]),
        };
        Ok(Request::FlushAll {
            delay: delay.map(Exptime),
            noreply,
        })
    }

    /// A command of operators, or of nobody.
    fn admin(&self) -> Result<Request<'a>, Option<&'static str>> {
        let noreply = self.line.noreply() && admin::may_be_silent(&self.line);
        match admin::parse(&self.line) {
            Some(Ok(command)) => Ok(Request::Admin { command, noreply }),
            Some(Err(reply)) => Err((!noreply).then_some(reply)),
            None => Err(Some(UNKNOWN)),
        }
    }
}
