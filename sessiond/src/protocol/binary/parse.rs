//! Bytes to packets.

use super::super::text::Limits;
use super::super::{After, Direction, KEY_MAX, Parsed, Request, StoreMode};
use super::{Authenticate, Command, Count, HEADER, Header, MAGIC, Malformed, Packet, Store};

/// A mechanism's name is at most so long.
const MECHANISM_MAX: usize = 32;

/// A longer answer to a mechanism is no good one: user and password have 255 bytes each at most (RFC 4616).
const CREDENTIALS_MAX: usize = 4096;

/// In increment and decrement: an absent key stays absent.
const NO_CREATION: u32 = u32::MAX;

/// What stands at the beginning of `buffer`.
pub fn parse(buffer: &[u8], limits: Limits) -> Parsed<'_> {
    parse_with(buffer, None, limits)
}

/// As [`parse`], with a packet up to its key, and its value in another place.
pub fn parse_split<'a>(head: &'a [u8], value: &'a [u8], limits: Limits) -> Parsed<'a> {
    parse_with(head, Some(value), limits)
}

fn parse_with<'a>(buffer: &'a [u8], value: Option<&'a [u8]>, limits: Limits) -> Parsed<'a> {
    let Some((head, rest)) = buffer.split_first_chunk() else {
        return Parsed::Incomplete { need: HEADER };
    };
    let Some(head) = Head::read(head) else {
        return Parsed::Invalid {
            reply: None,
            used: buffer.len(),
            after: After::Close,
        };
    };
    let fixed = head.extras_length.saturating_add(head.key_length);
    let Some((extras, rest)) = rest.split_at_checked(head.extras_length) else {
        return incomplete(fixed);
    };
    let Some((key, rest)) = rest.split_at_checked(head.key_length) else {
        return incomplete(fixed);
    };
    let frame = Frame {
        head,
        extras,
        key,
        rest: value.unwrap_or(rest),
        limits,
    };
    frame.parse().unwrap_or_else(|malformed| {
        let packet = Packet {
            header: head.header,
            quiet: false,
            command: Err(malformed),
        };
        complete(packet, fixed)
    })
}

/// So many bytes must follow the header.
fn incomplete(body: usize) -> Parsed<'static> {
    Parsed::Incomplete {
        need: HEADER.saturating_add(body),
    }
}

/// A packet of which so many bytes follow the header.
fn complete(packet: Packet<'_>, body: usize) -> Parsed<'_> {
    Parsed::Complete {
        request: Request::Binary(packet),
        used: HEADER.saturating_add(body),
    }
}

/// What a header says.
#[derive(Debug, Clone, Copy)]
struct Head {
    header: Header,
    key_length: usize,
    extras_length: usize,
    body_length: usize,
}

impl Head {
    /// `None` if it does not begin as a request does.
    fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let &[
            MAGIC,
            opcode,
            k0,
            k1,
            extras_length,
            _,
            _,
            _,
            b0,
            b1,
            b2,
            b3,
            ref rest @ ..,
        ] = bytes
        else {
            return None;
        };
        let &[o0, o1, o2, o3, ref cas @ ..] = rest;
        Some(Self {
            header: Header {
                opcode,
                opaque: [o0, o1, o2, o3],
                cas: u64::from_be_bytes(*cas),
            },
            key_length: u16::from_be_bytes([k0, k1]).into(),
            extras_length: extras_length.into(),
            body_length: u32::from_be_bytes([b0, b1, b2, b3]) as usize, // no less than 32 bits
        })
    }
}

/// A packet whose extras and key are there.
struct Frame<'a> {
    head: Head,
    extras: &'a [u8],
    key: &'a [u8],
    /// What follows the key.
    rest: &'a [u8],
    limits: Limits,
}

impl<'a> Frame<'a> {
    fn parse(&self) -> Result<Parsed<'a>, Malformed> {
        let fixed = self.extras.len().saturating_add(self.key.len());
        let value_length = self.head.body_length.checked_sub(fixed);
        let value_length = value_length.ok_or(Malformed::Body)?;
        if self.key.len() > KEY_MAX {
            return Err(Malformed::Arguments);
        }
        let opcode = self.head.header.opcode;
        let quiet = matches!(opcode, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24);
        // What memcached does not expect behind the key of these is read as the next packet.
        let mut used = fixed;
        let command = match opcode {
            0x00 | 0x09 => self.get(None, false, value_length)?,
            0x0c | 0x0d => self.get(None, true, value_length)?,
            0x1d | 0x1e => self.get(Some(self.exptime()?), false, 0)?,
            0x23 | 0x24 => self.get(Some(self.exptime()?), true, 0)?,
            0x1c => {
                let exptime = self.exptime()?;
                Command::Touch {
                    key: self.some_key()?,
                    exptime,
                }
            }
            0x01 | 0x11 => return self.store(StoreMode::Set, quiet, value_length),
            0x02 | 0x12 => return self.store(StoreMode::Add, quiet, value_length),
            0x03 | 0x13 => return self.store(StoreMode::Replace, quiet, value_length),
            0x0e | 0x19 => return self.store(StoreMode::Append, quiet, value_length),
            0x0f | 0x1a => return self.store(StoreMode::Prepend, quiet, value_length),
            0x04 | 0x14 => {
                self.lengths(0, value_length)?;
                Command::Delete {
                    key: self.some_key()?,
                }
            }
            0x05 | 0x15 => self.count(Direction::Increment, value_length)?,
            0x06 | 0x16 => self.count(Direction::Decrement, value_length)?,
            0x07 | 0x17 => self.bare(Command::Quit)?,
            0x08 | 0x18 => self.flush(value_length)?,
            0x0a => self.bare(Command::Noop)?,
            0x0b => self.bare(Command::Version)?,
            0x10 => {
                self.lengths(0, 0)?;
                Command::Stat { group: self.key }
            }
            0x20 => self.bare(Command::Mechanisms)?,
            0x21 | 0x22 => return self.authenticate(opcode == 0x22, value_length),
            _ => {
                used = self.head.body_length;
                Command::Unknown
            }
        };
        Ok(self.complete(command, quiet, used))
    }

    fn complete(&self, command: Command<'a>, quiet: bool, body: usize) -> Parsed<'a> {
        let packet = Packet {
            header: self.head.header,
            quiet,
            command: Ok(command),
        };
        complete(packet, body)
    }

    fn some_key(&self) -> Result<&'a [u8], Malformed> {
        match self.key {
            [] => Err(Malformed::Arguments),
            key => Ok(key),
        }
    }

    /// Extras of this length and no value.
    fn lengths(&self, extras: usize, value_length: usize) -> Result<(), Malformed> {
        match self.extras.len() == extras && value_length == 0 {
            true => Ok(()),
            false => Err(Malformed::Arguments),
        }
    }

    /// A command without a body.
    fn bare(&self, command: Command<'a>) -> Result<Command<'a>, Malformed> {
        match self.head.body_length {
            0 => Ok(command),
            _ => Err(Malformed::Arguments),
        }
    }

    /// The only extra of some commands.
    fn exptime(&self) -> Result<u32, Malformed> {
        let exptime = self.extras.try_into().map_err(|_| Malformed::Arguments)?;
        Ok(u32::from_be_bytes(exptime))
    }

    fn get(
        &self,
        exptime: Option<u32>,
        with_key: bool,
        value_length: usize,
    ) -> Result<Command<'a>, Malformed> {
        if exptime.is_none() {
            self.lengths(0, value_length)?;
        }
        Ok(Command::Get {
            key: self.some_key()?,
            exptime,
            with_key,
        })
    }

    fn store(
        &self,
        mode: StoreMode,
        quiet: bool,
        value_length: usize,
    ) -> Result<Parsed<'a>, Malformed> {
        let (flags, exptime) = match mode {
            StoreMode::Append | StoreMode::Prepend => {
                self.lengths(0, 0)?;
                (0, 0)
            }
            _ => {
                let extras: [u8; 8] = self.extras.try_into().map_err(|_| Malformed::Arguments)?;
                let [flags @ .., _, _, _, _] = extras;
                let [_, _, _, _, exptime @ ..] = extras;
                (u32::from_be_bytes(flags), u32::from_be_bytes(exptime))
            }
        };
        let key = self.some_key()?;
        if self.limits.refuses(key.len(), flags, value_length) {
            let command = Command::TooLarge { mode, key };
            return Ok(self.complete(command, quiet, self.head.body_length));
        }
        let Some(value) = self.rest.get(..value_length) else {
            let fixed = self.head.body_length.saturating_sub(value_length);
            return Ok(Parsed::Partial {
                line: HEADER.saturating_add(fixed),
                block: value_length,
            });
        };
        let command = Command::Store(Store {
            mode,
            key,
            flags,
            exptime,
            value,
        });
        Ok(self.complete(command, quiet, self.head.body_length))
    }

    fn count(&self, direction: Direction, value_length: usize) -> Result<Command<'a>, Malformed> {
        self.lengths(20, value_length)?;
        let numbers = self.extras.split_first_chunk().and_then(|(delta, rest)| {
            let (initial, exptime) = rest.split_first_chunk()?;
            Some((*delta, *initial, exptime.try_into().ok()?))
        });
        let (delta, initial, exptime) = numbers.ok_or(Malformed::Arguments)?;
        let initial = match u32::from_be_bytes(exptime) {
            NO_CREATION => None,
            exptime => Some((u64::from_be_bytes(initial), exptime)),
        };
        Ok(Command::Count(Count {
            direction,
            key: self.some_key()?,
            delta: u64::from_be_bytes(delta),
            initial,
        }))
    }

    fn flush(&self, value_length: usize) -> Result<Command<'a>, Malformed> {
        let exptime = match self.extras {
            [] => 0,
            _ => self.exptime()?,
        };
        match self.key.is_empty() && value_length == 0 {
            true => Ok(Command::Flush { exptime }),
            false => Err(Malformed::Arguments),
        }
    }

    fn authenticate(&self, is_step: bool, value_length: usize) -> Result<Parsed<'a>, Malformed> {
        self.lengths(0, 0)?;
        let mechanism = self.some_key()?;
        let mut step = Authenticate {
            is_step,
            mechanism: (mechanism.len() <= MECHANISM_MAX).then_some(mechanism),
            credentials: None,
        };
        if step.mechanism.is_some() && value_length <= CREDENTIALS_MAX {
            let Some(credentials) = self.rest.get(..value_length) else {
                return Ok(incomplete(self.head.body_length));
            };
            step.credentials = Some(credentials);
        }
        let command = Command::Authenticate(step);
        Ok(self.complete(command, false, self.head.body_length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        item_size: 1 << 20,
        retrieval_line: 1 << 20,
    };

    /// A request with this opcode and these lengths, as many zeros behind it.
    fn packet(opcode: u8, extras: u8, key: u16, body: u32) -> Vec<u8> {
        let mut bytes = vec![MAGIC, opcode];
        bytes.extend(key.to_be_bytes());
        bytes.extend([extras, 0, 0, 0]);
        bytes.extend(body.to_be_bytes());
        bytes.resize(HEADER + body as usize, 0);
        bytes
    }

    #[test]
    fn a_short_buffer_says_how_much_it_lacks() {
        let whole = packet(0x01, 8, 3, 20);
        for cut in 0..whole.len() {
            let need = match parse(&whole[..cut], LIMITS) {
                Parsed::Incomplete { need } => need,
                Parsed::Partial { line, block } => line + block,
                _ => panic!("{cut} bytes are not a request"),
            };
            assert!(need > cut && need <= whole.len(), "{cut}: {need}");
        }
        assert!(
            matches!(parse(&whole, LIMITS), Parsed::Complete { used, .. } if used == whole.len())
        );
    }

    #[test]
    fn the_value_of_an_item_that_is_too_large_is_passed_over_unseen() {
        for (length, fits) in [
            (1_048_514, true),
            (1_048_515, false),
            (u32::MAX - 11, false),
        ] {
            let mut head = packet(0x01, 8, 3, 11);
            head[8..12].copy_from_slice(&(length + 11).to_be_bytes());
            match parse(&head, LIMITS) {
                Parsed::Partial { line, block } => {
                    assert!(fits && (line, block) == (head.len(), length as usize));
                    let value = vec![0; block];
                    assert!(matches!(
                        parse_split(&head, &value, LIMITS),
                        Parsed::Complete { used, .. } if used == line + block
                    ));
                }
                Parsed::Complete {
                    request:
                        Request::Binary(Packet {
                            command: Ok(Command::TooLarge { .. }),
                            ..
                        }),
                    used,
                } => assert!(!fits && used == head.len() + length as usize),
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        /// Whatever arrives is passed over by at least a header, or waited for with a reason; nothing panics.
        #[test]
        fn any_packet_makes_progress(
            opcode: u8,
            extras in 0u8..24,
            key in 0u16..300,
            body in 0u32..400,
            behind in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = packet(opcode, extras, key, body);
            bytes.truncate(HEADER);
            bytes.extend(behind);
            match parse(&bytes, LIMITS) {
                Parsed::Complete { used, .. } => prop_assert!(used >= HEADER),
                Parsed::Incomplete { need } => prop_assert!(need > bytes.len()),
                Parsed::Partial { line, block } => prop_assert!(line + block > bytes.len()),
                Parsed::Invalid { .. } => prop_assert!(false, "it begins as a request does"),
            }
        }
    }
}
