//! memcached's binary protocol, as far as it is needed: commands to packets, packets to answers. Pure. See memcached's
//! `protocol_binary.txt`, and its SASL page for the login. Each packet has a number (opaque) that its answer repeats.
//!
//! Where it says something else than the text protocol: a negative exptime would be a time in the year 2106, so it is written as
//! one long gone; and a cas unique of 0 would be no condition at all, so it is written as one that no item has.

use super::{Broken, VALUE_MAX, exptime_u32};
use crate::manager::msm::protocol::{Answer, Command, Verb};
use crate::manager::msm::{COMPRESSED, FLAGS};

/// Bytes of the head of each packet.
pub const HEADER: usize = 24;

const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

/// The longest body: a value, its flags and an error's text.
const BODY_MAX: usize = VALUE_MAX + 1024;

/// What a packet asks for, by its opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Opcode {
    Get = 0x00,
    Set = 0x01,
    Add = 0x02,
    Replace = 0x03,
    Delete = 0x04,
    Touch = 0x1c,
    Login = 0x21,
}

/// What an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    opcode: Opcode,
    opaque: u32,
    /// Whether the cas unique matters: `gets`, `cas`.
    unique: bool,
}

/// What a node said to a name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Commands will be answered.
    Accepted,
    /// They will not; why.
    Refused(&'static str),
}

/// Writes a command with this number behind what is there.
pub fn encode(command: Command, opaque: u32, out: &mut Vec<u8>) -> Asked {
    let Command { verb, key } = command;
    let key = key.as_bytes();
    let unique = matches!(verb, Verb::Gets | Verb::Cas(..));
    let (opcode, exptime, value, cas) = match verb {
        Verb::Get | Verb::Gets => (Opcode::Get, None, Vec::new(), None),
        Verb::Set(exptime, value) => (Opcode::Set, Some(exptime), value, None),
        Verb::Add(exptime, value) => (Opcode::Add, Some(exptime), value, None),
        Verb::Replace(exptime, value) => (Opcode::Replace, Some(exptime), value, None),
        Verb::Cas(exptime, value, cas) => (Opcode::Set, Some(exptime), value, Some(cas)),
        Verb::Touch(exptime) => (Opcode::Touch, Some(exptime), Vec::new(), None),
        Verb::Delete => (Opcode::Delete, None, Vec::new(), None),
    };
    let mut extras = [0; 8];
    let (flags, expiry) = extras.split_at_mut(4);
    flags.copy_from_slice(&FLAGS.to_be_bytes());
    expiry.copy_from_slice(&exptime_u32(exptime.unwrap_or(0)).to_be_bytes());
    let extras = match (opcode, exptime) {
        (_, None) => &extras[..0],
        (Opcode::Touch, Some(_)) => &extras[4..],
        (_, Some(_)) => &extras[..],
    };
    let condition = match cas {
        None => 0,
        Some(0) => u64::MAX,
        Some(cas) => cas,
    };
    packet(opcode, opaque, condition, extras, key, &value, out);
    Asked {
        opcode,
        opaque,
        unique,
    }
}

/// Writes a name and a password (SASL PLAIN) with this number; [`login_answer`] reads what comes back.
pub fn login(username: &str, password: &str, opaque: u32, out: &mut Vec<u8>) -> Asked {
    let proof = format!("\0{username}\0{password}");
    let opcode = Opcode::Login;
    packet(opcode, opaque, 0, &[], b"PLAIN", proof.as_bytes(), out);
    Asked {
        opcode,
        opaque,
        unique: false,
    }
}

fn packet(
    opcode: Opcode,
    opaque: u32,
    cas: u64,
    extras: &[u8],
    key: &[u8],
    value: &[u8],
    out: &mut Vec<u8>,
) {
    let body = extras.len() + key.len() + value.len();
    // The settings' check keeps keys short, and attributes are bounded: neither is near its limit here.
    let key_len = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let body_len = u32::try_from(body).unwrap_or(u32::MAX);
    out.reserve(HEADER + body);
    out.extend_from_slice(&[REQUEST, opcode as u8]);
    out.extend_from_slice(&key_len.to_be_bytes());
    out.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
    out.extend_from_slice(&body_len.to_be_bytes());
    out.extend_from_slice(&opaque.to_be_bytes());
    out.extend_from_slice(&cas.to_be_bytes());
    for part in [extras, key, value] {
        out.extend_from_slice(part);
    }
}

/// A whole packet of a node.
struct Packet<'a> {
    status: u16,
    cas: u64,
    extras: &'a [u8],
    value: &'a [u8],
}

/// Reads the packet at the beginning of `input`, and how many bytes it has; `None`: more bytes are needed.
fn read<'a>(asked: &Asked, input: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, Broken> {
    let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
        // Whoever speaks lines may never send as much as a head.
        return match input.first() {
            Some(first) if *first != RESPONSE => Err(Broken::of(input)),
            _ => Ok(None),
        };
    };
    let short = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let long = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (key, extras, body) = (
        usize::from(short(2)),
        usize::from(header[4]),
        long(8) as usize,
    );
    let belongs =
        header[0] == RESPONSE && header[1] == asked.opcode as u8 && long(12) == asked.opaque;
    if !belongs || key + extras > body || body > BODY_MAX {
        return Err(Broken::of(header));
    }
    let Some(body) = rest.get(..body) else {
        return Ok(None);
    };
    let (extras, rest) = body.split_at(extras);
    let packet = Packet {
        status: short(6),
        cas: u64::from(long(16)) << 32 | u64::from(long(20)),
        extras,
        value: &rest[key..],
    };
    Ok(Some((packet, HEADER + body.len())))
}

/// Reads the answer at the beginning of `input`, and how many bytes it has; `None`: more bytes are needed.
pub fn decode(asked: &Asked, input: &[u8]) -> Result<Option<(Answer, usize)>, Broken> {
    let Some((packet, used)) = read(asked, input)? else {
        return Ok(None);
    };
    let is_store = matches!(asked.opcode, Opcode::Set | Opcode::Add | Opcode::Replace);
    let answer = match (packet.status, asked.opcode) {
        (0x00, Opcode::Get) => {
            let Ok(flags) = packet.extras.try_into().map(u32::from_be_bytes) else {
                return Err(Broken::of(input));
            };
            match packet.value.to_vec() {
                // Packed by a msm before 2.0: not to be read here, but there, so it must not count as absent or as damaged.
                _ if flags & COMPRESSED != 0 => Answer::Failed,
                value if asked.unique => Answer::HitCas(value, packet.cas),
                value => Answer::Hit(value),
            }
        }
        (0x00, Opcode::Login) => return Err(Broken::of(input)),
        (0x00, _) => Answer::Done,
        (0x01, Opcode::Get | Opcode::Touch | Opcode::Delete) => Answer::Miss,
        (0x01, Opcode::Set) if asked.unique => Answer::Miss,
        (0x01, Opcode::Replace) | (0x02, Opcode::Add) => Answer::NotStored,
        (0x02, Opcode::Set) if asked.unique => Answer::Exists,
        (0x03, _) if is_store => Answer::TooLarge,
        (0x05, Opcode::Add | Opcode::Replace) => Answer::NotStored,
        // Out of memory, internal error, busy, later: the connection goes on.
        (0x82 | 0x84..=0x86, _) => Answer::Failed,
        (status, _) => return Err(Broken::status(status, packet.value)),
    };
    Ok(Some((answer, used)))
}

/// Reads what a node says to [`login`], and how many bytes it has; `None`: more bytes are needed.
pub fn login_answer(asked: &Asked, input: &[u8]) -> Result<Option<(Login, usize)>, Broken> {
    let Some((packet, used)) = read(asked, input)? else {
        return Ok(None);
    };
    let login = match packet.status {
        0x00 => Login::Accepted,
        0x20 => Login::Refused("it does not know this username with this password"),
        0x21 => Login::Refused("it wants more than a name and a password: let it offer SASL PLAIN"),
        0x81 => {
            Login::Refused("it asks nobody for a name: start it with SASL, or leave username empty")
        }
        status => return Err(Broken::status(status, packet.value)),
    };
    Ok(Some((login, used)))
}

#[cfg(test)]
mod tests {
    use super::{Asked, HEADER, Login, decode, encode, login, login_answer};
    use crate::manager::msm::protocol::{Answer, Command, Verb};
    use proptest::prelude::*;

    fn asked(verb: Verb) -> (Asked, Vec<u8>) {
        let (key, mut out) = ("ID-n1".into(), Vec::new());
        let asked = encode(Command { verb, key }, 0x0102_0304, &mut out);
        (asked, out)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A packet that answers what was asked.
    fn answer(asked: &Asked, status: u16, cas: u64, extras: &[u8], value: &[u8]) -> Vec<u8> {
        let body = (extras.len() + value.len()) as u32;
        let head = [0x81, asked.opcode as u8, 0, 0, extras.len() as u8, 0];
        let mut packet = head.to_vec();
        packet.extend_from_slice(&status.to_be_bytes());
        packet.extend_from_slice(&body.to_be_bytes());
        packet.extend_from_slice(&asked.opaque.to_be_bytes());
        packet.extend_from_slice(&cas.to_be_bytes());
        [&packet, extras, value].concat()
    }

    #[test]
    fn commands_are_those_of_the_binary_protocol() {
        // Magic, opcode, lengths of key and extras, type, reserved; length of the body; number; cas. Then extras, key, value.
        let key = "49442d6e31";
        for (verb, head, body) in [
            (
                Verb::Get,
                "8000000500000000 00000005 01020304 0000000000000000",
                "",
            ),
            (
                Verb::Gets,
                "8000000500000000 00000005 01020304 0000000000000000",
                "",
            ),
            (
                Verb::Set(3600, b"ab".to_vec()),
                "8001000508000000 0000000f 01020304 0000000000000000 00000000 00000e10",
                "6162",
            ),
            (
                Verb::Set(-1, Vec::new()),
                "8001000508000000 0000000d 01020304 0000000000000000 00000000 00278d01",
                "",
            ),
            (
                Verb::Add(0, vec![1]),
                "8002000508000000 0000000e 01020304 0000000000000000 00000000 00000000",
                "01",
            ),
            (
                Verb::Replace(5, vec![1]),
                "8003000508000000 0000000e 01020304 0000000000000000 00000000 00000005",
                "01",
            ),
            (
                Verb::Cas(5, vec![1], 77),
                "8001000508000000 0000000e 01020304 000000000000004d 00000000 00000005",
                "01",
            ),
            (
                Verb::Cas(5, vec![1], 0),
                "8001000508000000 0000000e 01020304 ffffffffffffffff 00000000 00000005",
                "01",
            ),
            (
                Verb::Touch(60),
                "801c000504000000 00000009 01020304 0000000000000000 0000003c",
                "",
            ),
            (
                Verb::Delete,
                "8004000500000000 00000005 01020304 0000000000000000",
                "",
            ),
        ] {
            let what = format!("{verb:?}");
            let expected = format!("{}{key}{body}", head.replace(' ', ""));
            assert_eq!(hex(&asked(verb).1), expected, "{what}");
        }
        let mut out = Vec::new();
        login("u", "pw", 1, &mut out);
        let expected = format!("8021000500000000{:08x}00000001{:016x}", 10, 0);
        assert_eq!(hex(&out[..HEADER]), expected);
        assert_eq!(&out[HEADER..], b"PLAIN\0u\0pw");
    }

    #[test]
    fn answers_are_read_as_soon_as_they_are_there() {
        let [flags, packed] = [[0, 0, 8, 0], [0, 0, 8, 2]];
        let set = || Verb::Set(0, Vec::new());
        let cas = || Verb::Cas(0, Vec::new(), 7);
        let add = || Verb::Add(0, Vec::new());
        for (verb, status, extras, value, expected) in [
            (
                Verb::Get,
                0,
                &flags[..],
                &b"a\r\nb"[..],
                Answer::Hit(b"a\r\nb".to_vec()),
            ),
            (Verb::Gets, 0, &flags, b"", Answer::HitCas(Vec::new(), 77)),
            (Verb::Get, 0, &packed, b"x", Answer::Failed),
            (Verb::Get, 1, b"", b"Not found", Answer::Miss),
            (set(), 0, b"", b"", Answer::Done),
            (set(), 3, b"", b"Too large.", Answer::TooLarge),
            (set(), 0x82, b"", b"Out of memory", Answer::Failed),
            (add(), 2, b"", b"Data exists for key.", Answer::NotStored),
            (
                Verb::Replace(0, Vec::new()),
                1,
                b"",
                b"Not found",
                Answer::NotStored,
            ),
            (cas(), 0, b"", b"", Answer::Done),
            (cas(), 1, b"", b"Not found", Answer::Miss),
            (cas(), 2, b"", b"Data exists for key.", Answer::Exists),
            (Verb::Touch(1), 0, &flags, b"", Answer::Done),
            (Verb::Touch(1), 1, b"", b"Not found", Answer::Miss),
            (Verb::Delete, 0, b"", b"", Answer::Done),
            (Verb::Delete, 1, b"", b"Not found", Answer::Miss),
        ] {
            let what = format!("{verb:?} {status}");
            let (asked, _) = asked(verb);
            let whole = answer(&asked, status, 77, extras, value);
            for cut in 0..whole.len() {
                assert_eq!(decode(&asked, &whole[..cut]), Ok(None), "{what}");
            }
            let with_next = [&whole[..], &[0x81, 0]].concat();
            let read = decode(&asked, &with_next);
            assert_eq!(read, Ok(Some((expected, whole.len()))), "{what}");
        }
    }

    #[test]
    fn what_belongs_to_something_else_ends_the_connection() {
        let (get, _) = asked(Verb::Get);
        let well = answer(&get, 0, 0, &[0; 4], b"x");
        let change = |at: usize, byte: u8| {
            let mut packet = well.clone();
            packet[at] = byte;
            packet
        };
        for wrong in [
            change(0, 0x80),
            change(1, 1),
            // A key longer than the body, a body of 16 MiB and more, another number.
            change(3, 6),
            change(8, 2),
            change(15, 9),
            answer(&get, 0, 0, &[0; 3], b"x"),
            answer(&get, 2, 0, b"", b""),
            answer(&get, 3, 0, b"", b""),
            answer(&get, 4, 0, b"", b"Invalid arguments"),
            answer(&get, 0x20, 0, b"", b"Auth failure."),
            answer(&get, 0x81, 0, b"", b"Unknown command"),
            b"ERROR\r\n".to_vec(),
        ] {
            assert!(decode(&get, &wrong).is_err(), "{}", hex(&wrong));
        }
    }

    #[test]
    fn a_login_is_accepted_or_refused_with_what_to_do() {
        let asked = login("u", "pw", 1, &mut Vec::new());
        let said = |status| {
            let packet = answer(&asked, status, 0, b"", b"text");
            for cut in 0..packet.len() {
                assert_eq!(login_answer(&asked, &packet[..cut]), Ok(None));
            }
            login_answer(&asked, &packet).map(|said| said.expect("whole").0)
        };
        assert_eq!(said(0), Ok(Login::Accepted));
        for status in [0x20, 0x21, 0x81] {
            assert!(matches!(said(status), Ok(Login::Refused(_))));
        }
        let odd = said(4).expect_err("no answer to a login").to_string();
        assert!(odd.contains("0x04 text"), "{odd}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for verb in [Verb::Get, Verb::Set(0, Vec::new()), Verb::Touch(0), Verb::Delete] {
                let (asked, _) = asked(verb);
                if let Ok(Some((_, used))) = decode(&asked, &bytes) {
                    prop_assert!(used <= bytes.len());
                }
            }
        }
    }
}
