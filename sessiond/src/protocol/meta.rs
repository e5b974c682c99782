//! memcached's meta commands, as version 1.6.18 speaks them (`protocol.txt` and the server's own behaviour): mg, ms, md,
//! ma, mn, me.
//!
//! They are lines of the text protocol: two letters, a key, then flags in any order. A flag is a letter, for some with
//! an argument right behind it. The reply repeats what was asked for in the order it was asked, so a [`Command`] keeps
//! its flags as they were written beside what they mean together.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod base64;
mod reply;

use crate::number::{signed, unsigned};

use super::text::{BAD_LINE, Limits, UNKNOWN, VALUE_MAX, word};
use super::{After, Direction, Exptime, KEY_MAX, Parsed, Request};

pub use reply::{Code, Debug, Field, Reply, encode_get};

/// So many words a line has at most: the command, its key, a length, its flags.
const WORDS_MAX: usize = 19;

/// An opaque token has at most so many bytes, its letter included.
const OPAQUE_MAX: usize = 32;

const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
const DUPLICATE: &str = "CLIENT_ERROR duplicate flag";
const INVALID_FLAG: &str = "CLIENT_ERROR invalid flag";
const INVALID_OR_DUPLICATE: &str = "CLIENT_ERROR invalid or duplicate flag";
const BAD_KEY: &str = "CLIENT_ERROR error decoding key";
const OPAQUE_TOO_LONG: &str = "CLIENT_ERROR opaque token too long";
const TOO_MANY_FOR_GET: &str = "CLIENT_ERROR options flags are too long";
const TOO_MANY: &str = "CLIENT_ERROR options flags too long";
const BAD_MODE_LENGTH: &str = "CLIENT_ERROR incorrect length for M token";
const BAD_STORE_MODE: &str = "CLIENT_ERROR invalid mode for ms M token";
const BAD_COUNT_MODE: &str = "CLIENT_ERROR invalid mode for ma M token";
const BAD_INITIAL: &str = "CLIENT_ERROR invalid numeric initial value";
const BAD_DELTA: &str = "CLIENT_ERROR invalid numeric delta value";

/// A meta command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// What to do.
    pub verb: Verb<'a>,
    /// With which item; empty for [`Verb::Noop`].
    pub key: Key<'a>,
    /// The flags as they were written.
    pub flags: Flags<'a>,
    /// What the flags mean.
    pub options: Options,
}

/// What a meta command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb<'a> {
    /// mg: look at an item.
    Get,
    /// ms: store this value.
    Store(Mode, &'a [u8]),
    /// ms with a data block that is not as long as announced.
    BadChunk,
    /// ms, with a value that is larger than an item may be; the value is passed over.
    TooLarge,
    /// md: delete, or mark as stale.
    Delete,
    /// ma: count up or down.
    Count(Direction),
    /// me: tell what is known of an item.
    Debug,
    /// mn: nothing, to see the end of a quiet pipeline.
    Noop,
}

/// How ms stores (its flag `M`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `S`: always.
    Set,
    /// `E`: if the key is absent.
    Add,
    /// `A`: behind the present value.
    Append,
    /// `P`: in front of the present value.
    Prepend,
    /// `R`: if the key is present.
    Replace,
}

/// What the flags of a meta command mean together. What only asks for a field of the reply is not here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `v`: send the value.
    pub value: bool,
    /// `q`: do not send the code that is expected.
    pub quiet: bool,
    /// `u`: this is no use of the item.
    pub no_use: bool,
    /// `I`: md marks as stale in place of deleting; ms stores a value with a lower cas unique as stale.
    pub stale: bool,
    /// `T`: the item's new exptime.
    pub touch: Option<Exptime>,
    /// `N`: an absent key gets an item with this exptime.
    pub vivify: Option<Exptime>,
    /// `R`: with less time left than this, one client is asked to make the value anew.
    pub recache: Option<Exptime>,
    /// `F`: the client's flags.
    pub client_flags: u32,
    /// `C`: the cas unique that the item must have.
    pub unique: Option<u64>,
    /// `J`: the number that an absent key starts with.
    pub initial: u64,
    /// `D`: by how much to count; 1 where it is not given.
    pub delta: Option<u64>,
    base64_key: bool,
    mode: Option<u8>,
}

/// An item's key as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    sent: &'a [u8],
    base64: bool,
}

impl<'a> Key<'a> {
    /// Whether it was sent in base64.
    pub fn is_base64(self) -> bool {
        self.base64
    }

    /// The key itself, decoded into `space` where it was encoded.
    pub fn bytes<'s>(self, space: &'s mut [u8; KEY_MAX]) -> &'s [u8]
    where
        'a: 's,
    {
        if !self.base64 {
            return self.sent;
        }
        let length = base64::decode(self.sent, space).unwrap_or(0); // checked when it was parsed
        space.get(..length).unwrap_or_default()
    }
}

/// The flags of a meta command as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags<'a>(&'a [u8]);

/// A flag: a letter, and what stands right behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag<'a> {
    /// Its letter.
    pub letter: u8,
    /// Its argument; empty for most.
    pub argument: &'a [u8],
}

impl<'a> Iterator for Flags<'a> {
    type Item = Flag<'a>;

    fn next(&mut self) -> Option<Flag<'a>> {
        let (word, rest) = word(self.0)?;
        self.0 = rest;
        let (&letter, argument) = word.split_first()?;
        Some(Flag { letter, argument })
    }
}

/// What a line means that begins with the word of a meta command; `None` for other lines. `data` is what stands behind
/// the line, which took `used` bytes with its end.
pub(super) fn parse<'a>(
    line: &'a [u8],
    data: &'a [u8],
    used: usize,
    limits: Limits,
) -> Option<Parsed<'a>> {
    let (verb, arguments) = word(line)?;
    let form = match verb {
        b"mg" => Form::Get,
        b"ms" => Form::Store,
        b"md" => Form::Delete,
        b"ma" => Form::Count,
        b"me" => Form::Debug,
        b"mn" => Form::Noop,
        _ => return None,
    };
    let line = Line {
        form,
        arguments,
        data,
        used,
        limits,
    };
    let refused = |reply, used| Parsed::Invalid {
        reply: Some(reply),
        used,
        after: After::Continue,
    };
    Some(match line.parse() {
        Ok(parsed) => parsed,
        Err(Refusal::Line(reply)) => refused(reply, used),
        Err(Refusal::Value(reply, length)) => refused(reply, used.saturating_add(length)),
    })
}

/// The six forms of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Get,
    Store,
    Delete,
    Count,
    Debug,
    Noop,
}

/// Why a command is refused.
enum Refusal {
    /// What follows the line is read as commands.
    Line(&'static str),
    /// So many bytes behind the line are passed over.
    Value(&'static str, usize),
}

/// A line of a meta command and what stands behind it.
struct Line<'a> {
    form: Form,
    /// What stands behind the word of the command.
    arguments: &'a [u8],
    data: &'a [u8],
    /// Bytes of the line with its end.
    used: usize,
    limits: Limits,
}

impl<'a> Line<'a> {
    fn parse(&self) -> Result<Parsed<'a>, Refusal> {
        match self.form {
            Form::Noop => Ok(self.complete(Command {
                verb: Verb::Noop,
                key: Key {
                    sent: b"",
                    base64: false,
                },
                flags: Flags(b""),
                options: Options::default(),
            })),
            Form::Debug => self.debug(),
            Form::Store => self.store(),
            Form::Get | Form::Delete | Form::Count => self.without_value(),
        }
    }

    fn complete(&self, command: Command<'a>) -> Parsed<'a> {
        Parsed::Complete {
            request: Request::Meta(command),
            used: self.used,
        }
    }

    /// The key as written and what is behind it. `without` is told where there is none.
    fn key(&self, without: &'static str) -> Result<(&'a [u8], &'a [u8]), Refusal> {
        let (key, rest) = word(self.arguments).ok_or(Refusal::Line(without))?;
        if key.len() > KEY_MAX {
            return Err(Refusal::Line(BAD_LINE));
        }
        Ok((key, rest))
    }

    fn without_value(&self) -> Result<Parsed<'a>, Refusal> {
        let (key, rest) = self.key(UNKNOWN)?;
        let flags = Flags(rest);
        let many = flags.count() > WORDS_MAX - 2;
        let reply = match self.form {
            Form::Get => TOO_MANY_FOR_GET,
            _ => TOO_MANY,
        };
        if many {
            return Err(Refusal::Line(reply));
        }
        let options = Options::of(key, flags).map_err(|reply| {
            Refusal::Line(match self.form {
                Form::Get => reply,
                _ => INVALID_OR_DUPLICATE,
            })
        })?;
        let verb = match self.form {
            Form::Count => Verb::Count(options.direction().map_err(Refusal::Line)?),
            Form::Delete => Verb::Delete,
            _ => Verb::Get,
        };
        flags.check_opaque().map_err(Refusal::Line)?;
        Ok(self.complete(Command {
            verb,
            key: options.key(key),
            flags,
            options,
        }))
    }

    fn debug(&self) -> Result<Parsed<'a>, Refusal> {
        let (key, rest) = self.key(BAD_LINE)?;
        let base64 = word(rest).is_some_and(|(flag, _)| flag == b"b");
        if base64 && base64::decode(key, &mut [0; KEY_MAX]).is_none() {
            return Err(Refusal::Line(BAD_LINE));
        }
        Ok(self.complete(Command {
            verb: Verb::Debug,
            key: Key { sent: key, base64 },
            flags: Flags(rest),
            options: Options::default(),
        }))
    }

    fn store(&self) -> Result<Parsed<'a>, Refusal> {
        let (key, rest) = self.key(UNKNOWN)?;
        let (length, rest) = word(rest).ok_or(Refusal::Line(BAD_LINE))?;
        let flags = Flags(rest);
        if flags.count() > WORDS_MAX - 3 {
            return Err(Refusal::Line(TOO_MANY));
        }
        let length = signed(length)
            .filter(|length| *length <= VALUE_MAX)
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(Refusal::Line(BAD_LINE))?;
        // From here on it is known how much to pass over.
        let block = length.saturating_add(2);
        let refusal = |reply| Refusal::Value(reply, block);
        let options = Options::of(key, flags).map_err(refusal)?;
        let mode = options.store_mode().map_err(refusal)?;
        let key = options.key(key);
        let command = |verb| {
            Request::Meta(Command {
                verb,
                key,
                flags,
                options,
            })
        };
        let used = self.used.saturating_add(block);
        let key_length = key.bytes(&mut [0; KEY_MAX]).len();
        if self
            .limits
            .refuses(key_length, options.client_flags, length)
        {
            let request = command(Verb::TooLarge);
            return Ok(Parsed::Complete { request, used });
        }
        flags.check_opaque().map_err(refusal)?;
        let Some((value, end)) = self
            .data
            .get(..block)
            .and_then(|data| data.split_at_checked(length))
        else {
            return Ok(Parsed::Partial {
                line: self.used,
                block,
            });
        };
        if end != b"\r\n" {
            let request = command(Verb::BadChunk);
            return Ok(Parsed::Complete { request, used });
        }
        let request = command(Verb::Store(mode, value));
        Ok(Parsed::Complete { request, used })
    }
}

impl Flags<'_> {
    fn check_opaque(self) -> Result<(), &'static str> {
        let mut flags = self;
        let long = flags.any(|flag| flag.letter == b'O' && flag.argument.len() >= OPAQUE_MAX);
        if long { Err(OPAQUE_TOO_LONG) } else { Ok(()) }
    }
}

impl Options {
    /// What these flags mean. An unknown or repeated flag is told at once; of bad arguments the last.
    fn of(key: &[u8], flags: Flags<'_>) -> Result<Self, &'static str> {
        let mut options = Self::default();
        let mut seen = 0u128;
        let mut outcome = Ok(());
        for Flag { letter, argument } in flags {
            let bit = 1u128.checked_shl(letter.into()).unwrap_or(0);
            if letter >= 127 || seen & bit != 0 {
                return Err(DUPLICATE);
            }
            seen |= bit;
            if let Err(bad) = options.read(key, letter, argument) {
                if bad == INVALID_FLAG {
                    return Err(bad);
                }
                // A bad F keeps what is told of other arguments, in memcached by an oversight.
                if bad != BAD_LINE || outcome.is_ok() {
                    outcome = Err(bad);
                }
            }
        }
        outcome.map(|()| options)
    }

    fn read(&mut self, key: &[u8], letter: u8, argument: &[u8]) -> Result<(), &'static str> {
        let exptime = || signed(argument).map(Exptime).ok_or(BAD_TOKEN);
        match letter {
            b'b' => {
                self.base64_key = true;
                base64::decode(key, &mut [0; KEY_MAX]).ok_or(BAD_KEY)?;
            }
            b'v' => self.value = true,
            b'q' => self.quiet = true,
            b'u' => self.no_use = true,
            b'I' => self.stale = true,
            b'T' => self.touch = Some(exptime()?),
            b'N' => self.vivify = Some(exptime()?),
            b'R' => self.recache = Some(exptime()?),
            // memcached keeps the lower half too.
            b'F' => self.client_flags = unsigned(argument).ok_or(BAD_LINE)? as u32,
            b'C' => self.unique = Some(unsigned(argument).ok_or(BAD_TOKEN)?),
            b'J' => self.initial = unsigned(argument).ok_or(BAD_INITIAL)?,
            b'D' => self.delta = Some(unsigned(argument).ok_or(BAD_DELTA)?),
            b'M' => match argument {
                [mode] => self.mode = Some(*mode),
                _ => return Err(BAD_MODE_LENGTH),
            },
            // Asked of the reply; or, P and L, told to proxies.
            b'O' | b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' | b'l' | b'h' => {}
            _ => return Err(INVALID_FLAG),
        }
        Ok(())
    }

    fn key<'a>(&self, sent: &'a [u8]) -> Key<'a> {
        Key {
            sent,
            base64: self.base64_key,
        }
    }

    fn store_mode(&self) -> Result<Mode, &'static str> {
        Ok(match self.mode {
            None | Some(b'S') => Mode::Set,
            Some(b'E') => Mode::Add,
            Some(b'A') => Mode::Append,
            Some(b'P') => Mode::Prepend,
            Some(b'R') => Mode::Replace,
            Some(_) => return Err(BAD_STORE_MODE),
        })
    }

    fn direction(&self) -> Result<Direction, &'static str> {
        match self.mode {
            None | Some(b'I' | b'+') => Ok(Direction::Increment),
            Some(b'D' | b'-') => Ok(Direction::Decrement),
            Some(_) => Err(BAD_COUNT_MODE),
        }
    }
}
