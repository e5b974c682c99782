//! Packets of the binary protocol as the scripts write them: `set key=a value=x flags=5 cas={n} opaque=7`.
//!
//! The first word is the command's name or its opcode (`0x50`). In a request, what is not said is 0 or empty; commands with
//! extras get them (`flags`, `exptime`, `delta`, `initial`), unless `extras=` says otherwise; `body=`, `keys=` and
//! `magic=` tell a header lies. In a reply `flags=` stands for four bytes of extras, `number=` for a value of eight
//! bytes, and `status=` brings its text along unless `value=` or `key=` is there.

use std::io::Read;
use std::net::TcpStream;

use super::Play;

const NAMES: [(&str, u8); 36] = [
    ("get", 0x00),
    ("set", 0x01),
    ("add", 0x02),
    ("replace", 0x03),
    ("delete", 0x04),
    ("increment", 0x05),
    ("decrement", 0x06),
    ("quit", 0x07),
    ("flush", 0x08),
    ("getq", 0x09),
    ("noop", 0x0a),
    ("version", 0x0b),
    ("getk", 0x0c),
    ("getkq", 0x0d),
    ("append", 0x0e),
    ("prepend", 0x0f),
    ("stat", 0x10),
    ("setq", 0x11),
    ("addq", 0x12),
    ("replaceq", 0x13),
    ("deleteq", 0x14),
    ("incrementq", 0x15),
    ("decrementq", 0x16),
    ("quitq", 0x17),
    ("flushq", 0x18),
    ("appendq", 0x19),
    ("prependq", 0x1a),
    ("touch", 0x1c),
    ("gat", 0x1d),
    ("gatq", 0x1e),
    ("mechanisms", 0x20),
    ("auth", 0x21),
    ("step", 0x22),
    ("gatk", 0x23),
    ("gatkq", 0x24),
    ("verbosity", 0x1b),
];

const STATUSES: [(&str, u16, &str); 12] = [
    ("ok", 0x00, ""),
    ("not-found", 0x01, "Not found"),
    ("exists", 0x02, "Data exists for key."),
    ("too-large", 0x03, "Too large."),
    ("invalid", 0x04, "Invalid arguments"),
    ("not-stored", 0x05, "Not stored."),
    (
        "not-numeric",
        0x06,
        "Non-numeric server-side value for incr or decr",
    ),
    ("auth-failure", 0x20, "Auth failure."),
    ("auth-continue", 0x21, ""),
    ("unknown", 0x81, "Unknown command"),
    ("no-memory", 0x82, "Out of memory"),
    ("no-room", 0x82, "Out of memory allocating item"),
];

/// A reply as it is compared and shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    opcode: String,
    status: u16,
    extras: String,
    key: String,
    value: String,
    opaque: u32,
    cas: String,
}

impl Reply {
    /// The next one that comes.
    pub(crate) fn read(stream: &mut TcpStream) -> std::io::Result<Self> {
        let mut header = [0; 24];
        stream.read_exact(&mut header)?;
        assert_eq!(header[0], 0x81, "a reply's magic: {header:?}");
        let long = |at: usize| {
            let bytes: [u8; 4] = header[at..at + 4].try_into().expect("four bytes");
            u32::from_be_bytes(bytes)
        };
        let mut body = vec![0; long(8) as usize];
        stream.read_exact(&mut body)?;
        let (extras, rest) = body.split_at(header[4].into());
        let (key, value) = rest.split_at(u16::from_be_bytes([header[2], header[3]]).into());
        Ok(Self {
            opcode: name(header[1]),
            status: u16::from_be_bytes([header[6], header[7]]),
            extras: shown(extras),
            key: shown(key),
            value: shown(value),
            opaque: long(12),
            cas: (u64::from(long(16)) << 32 | u64::from(long(20))).to_string(),
        })
    }

    /// Whether it ends the figures of stat.
    pub(crate) fn is_last_figure(&self) -> bool {
        self.opcode == "stat" && self.key.is_empty() && self.value.is_empty()
    }

    /// The name and the value of a figure.
    pub(crate) fn figure(self) -> (String, String) {
        assert_eq!((self.opcode.as_str(), self.status), ("stat", 0), "{self:?}");
        (self.key, self.value)
    }

    /// What `text` says is to come, where `received` came: a cas unique that is not known yet is the one that came.
    pub(crate) fn expected(text: &str, received: &Self, play: &mut Play) -> Self {
        let (command, fields) = fields(text);
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| *value)
        };
        if let Some(name) = field("cas").and_then(|cas| cas.strip_prefix('{')) {
            let name = name.strip_suffix('}').expect("a closing brace");
            assert_ne!(received.cas, "0", "{text}: {received:?}");
            let known = play.numbers.entry(name.to_owned());
            known.or_insert_with(|| received.cas.clone());
        }
        let bytes = |name: &str| field(name).map(|value| shown(&play.bytes(value)));
        let number = |name: &str| field(name).map_or(0u64, |text| text.parse().expect("a number"));
        let status = field("status").unwrap_or("ok");
        let (_, status, text) = STATUSES
            .iter()
            .find(|(name, ..)| *name == status)
            .unwrap_or_else(|| panic!("no such status: {status}"));
        let eight = field("number").map(|_| shown(&number("number").to_be_bytes()));
        let value = bytes("value").or(eight);
        let key = bytes("key").unwrap_or_default();
        let text = if key.is_empty() { text } else { "" };
        let flags = field("flags").map(|_| shown(&(number("flags") as u32).to_be_bytes()));
        Self {
            opcode: name(opcode(command)),
            status: *status,
            extras: flags.unwrap_or_default(),
            key,
            value: value.unwrap_or_else(|| text.to_owned()),
            opaque: number("opaque") as u32,
            cas: bytes("cas").unwrap_or_else(|| "0".into()),
        }
    }
}

/// The bytes of a request.
pub(crate) fn request(text: &str, play: &Play) -> Vec<u8> {
    let (command, fields) = fields(text);
    let bytes = |wanted: &str| {
        let found = fields.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| play.bytes(value))
    };
    let number = |wanted: &str, default: u64| {
        bytes(wanted).map_or(default, |text| {
            let text = String::from_utf8(text).expect("digits");
            text.parse().expect("a number")
        })
    };
    let short = |wanted: &str| (number(wanted, 0) as u32).to_be_bytes();
    let opcode = opcode(command);
    let extras = bytes("extras").unwrap_or_else(|| match opcode {
        0x01..=0x03 | 0x11..=0x13 => [short("flags"), short("exptime")].concat(),
        0x05 | 0x06 | 0x15 | 0x16 => {
            let mut extras = number("delta", 1).to_be_bytes().to_vec();
            extras.extend(number("initial", 0).to_be_bytes());
            extras.extend(short("exptime"));
            extras
        }
        0x1c..=0x1e | 0x23 | 0x24 => short("exptime").to_vec(),
        0x08 | 0x18 if bytes("exptime").is_some() => short("exptime").to_vec(),
        _ => Vec::new(),
    });
    let key = bytes("key").unwrap_or_default();
    let value = bytes("value").unwrap_or_default();
    let body = (extras.len() + key.len() + value.len()) as u64;
    let mut packet = vec![number("magic", 0x80) as u8, opcode];
    packet.extend((number("keys", key.len() as u64) as u16).to_be_bytes());
    // The data type and what is reserved mean nothing.
    packet.extend([extras.len() as u8, 9, 9, 9]);
    packet.extend((number("body", body) as u32).to_be_bytes());
    packet.extend(short("opaque"));
    packet.extend(number("cas", 0).to_be_bytes());
    [packet, extras, key, value].concat()
}

/// The command, and what is said of it.
fn fields(text: &str) -> (&str, Vec<(&str, &str)>) {
    let mut words = text.split(' ');
    let command = words.next().expect("a command");
    let fields = words.map(|word| {
        word.split_once('=')
            .unwrap_or_else(|| panic!("not name=value: {word}"))
    });
    (command, fields.collect())
}

fn opcode(command: &str) -> u8 {
    match command.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16).expect("two hex digits"),
        None => {
            let found = NAMES.iter().find(|(name, _)| *name == command);
            found
                .unwrap_or_else(|| panic!("no such command: {command}"))
                .1
        }
    }
}

fn name(opcode: u8) -> String {
    let found = NAMES.iter().find(|(_, code)| *code == opcode);
    found.map_or_else(|| format!("{opcode:#04x}"), |(name, _)| (*name).to_owned())
}

/// Bytes as they are compared and shown.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
