//! Session ids: 32 upper-case hexadecimal digits, then an optional memcached node and an optional route, as in
//! `47A70B5E441B8E80873DDC35E0D36EC1-n2.WEB1`.
//!
//! Only the random part names a session. The route after the dot (Tomcat's `jvmRoute`) and the node after the hyphen
//! (memcached-session-manager) say where it lives, so a session is looked up without them.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Bytes in the random part: 128 bits, as Tomcat's `sessionIdLength`.
pub const RANDOM_BYTES: usize = 16;

/// Hexadecimal digits in the random part.
pub const RANDOM_DIGITS: usize = 2 * RANDOM_BYTES;

/// The longest node or route name.
pub const LABEL_MAX: usize = 64;

/// The longest id as text.
pub const ID_MAX: usize = RANDOM_DIGITS + 2 * (1 + LABEL_MAX);

/// At most so many different suffixes live in a process: they come from settings and from the members of a cluster,
/// never from clients.
pub const SUFFIXES_MAX: usize = 1024;

/// One read of the kernel's generator serves so many ids.
const IDS_PER_READ: usize = 64;

/// The random part of an id: the key under which a session is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; RANDOM_BYTES]);

impl Key {
    /// A new key from the operating system's generator, unpredictable for clients.
    ///
    /// # Panics
    /// When the operating system has no random numbers: no session may be made then.
    pub fn random() -> Self {
        thread_local! {
            static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; IDS_PER_READ * RANDOM_BYTES], left: 0 }) };
        }
        POOL.with_borrow_mut(Pool::take)
    }

    /// A key of these bytes.
    pub const fn from_bytes(bytes: [u8; RANDOM_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; RANDOM_BYTES] {
        &self.0
    }

    /// Half of the bits, which are hash enough: those of a key in a table were drawn here, so no client can make them collide.
    pub fn random_bits(&self) -> u64 {
        let (_, half) = self.0.split_at(RANDOM_BYTES / 2);
        u64::from_le_bytes(half.try_into().unwrap_or_default())
    }

    /// 32 upper-case hexadecimal digits; anything else is `None`.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        let digits: &[u8; RANDOM_DIGITS] = digits.try_into().ok()?;
        let mut bytes = [0; RANDOM_BYTES];
        let mut wrong = 0;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
            wrong |= high | low;
            *byte = (high << 4) | (low & 15);
        }
        (wrong < 16).then_some(Self(bytes))
    }

    /// The digits, in a buffer of the right size.
    pub fn digits(&self) -> [u8; RANDOM_DIGITS] {
        let mut text = [0; RANDOM_DIGITS];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&PAIRS[usize::from(byte)]);
        }
        text
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Random bytes read ahead, one system call for many ids; each byte is used once and wiped.
struct Pool {
    bytes: [u8; IDS_PER_READ * RANDOM_BYTES],
    left: usize,
}

impl Pool {
    fn take(&mut self) -> Key {
        if self.left < RANDOM_BYTES {
            getrandom::fill(&mut self.bytes).expect("the operating system has random numbers");
            self.left = self.bytes.len();
        }
        self.left -= RANDOM_BYTES;
        let mut key = [0; RANDOM_BYTES];
        let used = &mut self.bytes[self.left..self.left + RANDOM_BYTES];
        key.copy_from_slice(used);
        used.fill(0);
        Key(key)
    }
}

/// The two digits of each byte: every request writes its id several times.
const PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

/// The value of each upper-case hexadecimal digit; 255 for every other byte. A table, so that reading an id has no branches
/// that its random digits would mislead.
const NIBBLES: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    table
};

/// What stands after the random part. One word, cheap to copy; the texts are kept once per process.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Suffix(Option<&'static Labels>);

#[derive(PartialEq, Eq)]
struct Labels {
    node: Option<Box<str>>,
    route: Option<Box<str>>,
}

/// Why a node or route name cannot be part of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuffixError {
    /// It has a character that an id or a cookie cannot hold, or is empty or too long.
    #[error(
        "`{0}` cannot be part of a session id: use 1 to 64 letters, digits, `_` or `-` (a memcached node without `-`)"
    )]
    Label(String),
    /// Too many different suffixes.
    #[error("this process already knows {SUFFIXES_MAX} different session id suffixes")]
    Full,
}

impl Suffix {
    /// No node and no route.
    pub const NONE: Self = Self(None);

    /// The suffix with this memcached node and this route.
    pub fn new(node: Option<&str>, route: Option<&str>) -> Result<Self, SuffixError> {
        static KNOWN: Mutex<Vec<&'static Labels>> = Mutex::new(Vec::new());
        for (label, hyphens) in [(node, false), (route, true)] {
            if let Some(label) = label.filter(|l| !is_label(l.as_bytes(), hyphens)) {
                return Err(SuffixError::Label(label.to_owned()));
            }
        }
        if node.is_none() && route.is_none() {
            return Ok(Self::NONE);
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |k: &&&Labels| k.node.as_deref() == node && k.route.as_deref() == route;
        if let Some(same) = known.iter().find(same) {
            return Ok(Self(Some(same)));
        }
        if known.len() == SUFFIXES_MAX {
            return Err(SuffixError::Full);
        }
        let labels: &'static Labels = Box::leak(Box::new(Labels {
            node: node.map(Into::into),
            route: route.map(Into::into),
        }));
        known.push(labels);
        Ok(Self(Some(labels)))
    }

    /// The memcached node.
    pub fn node(self) -> Option<&'static str> {
        self.0.and_then(|l| l.node.as_deref())
    }

    /// The route.
    pub fn route(self) -> Option<&'static str> {
        self.0.and_then(|l| l.route.as_deref())
    }
}

impl fmt::Debug for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suffix({:?}, {:?})", self.node(), self.route())
    }
}

/// The id of a session that this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId {
    /// The part that names the session.
    pub key: Key,
    /// Where it lives.
    pub suffix: Suffix,
}

impl SessionId {
    /// The id as the client gets it.
    pub fn text(&self) -> IdText {
        let mut text = IdText {
            bytes: [0; ID_MAX],
            len: RANDOM_DIGITS,
        };
        text.bytes[..RANDOM_DIGITS].copy_from_slice(&self.key.digits());
        if let Some(node) = self.suffix.node() {
            text.push(b'-', node);
        }
        if let Some(route) = self.suffix.route() {
            text.push(b'.', route);
        }
        text
    }

    /// The same session on another memcached node; `None`: on none.
    pub fn with_node(&self, node: Option<&str>) -> Result<Self, SuffixError> {
        let suffix = Suffix::new(node, self.suffix.route())?;
        Ok(Self { suffix, ..*self })
    }

    /// The same session with another route.
    pub fn with_route(&self, route: Option<&str>) -> Result<Self, SuffixError> {
        let suffix = Suffix::new(self.suffix.node(), route)?;
        Ok(Self { suffix, ..*self })
    }

    /// Whether `asked` is this very id, suffix included.
    pub fn is(&self, asked: &AskedId<'_>) -> bool {
        self.key == asked.key
            && self.suffix.node() == asked.node
            && self.suffix.route() == asked.route
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

/// An id as text, without a heap allocation.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; ID_MAX],
    len: usize,
}

impl IdText {
    fn push(&mut self, mark: u8, label: &str) {
        self.bytes[self.len] = mark;
        self.bytes[self.len + 1..][..label.len()].copy_from_slice(label.as_bytes());
        self.len += 1 + label.len();
    }

    /// The text: ASCII only.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An id as a client sent it: well formed, and nothing more is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedId<'a> {
    /// The part that names the session.
    pub key: Key,
    /// The memcached node, if one was sent.
    pub node: Option<&'a str>,
    /// The route, if one was sent.
    pub route: Option<&'a str>,
}

impl<'a> AskedId<'a> {
    /// Reads an id; `None` for whatever no server of ours or Tomcat would hand out.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (digits, suffix) = text.split_at_checked(RANDOM_DIGITS)?;
        let key = Key::parse(digits)?;
        if suffix.is_empty() {
            return Some(Self {
                key,
                node: None,
                route: None,
            });
        }
        let suffix = std::str::from_utf8(suffix).ok()?;
        let (node, route) = match suffix.split_once('.') {
            Some((node, route)) => (node, Some(route)),
            None => (suffix, None),
        };
        let node = match node.strip_prefix('-') {
            Some(node) => Some(node),
            None if node.is_empty() => None,
            None => return None,
        };
        let wrong = node.is_some_and(|n| !is_label(n.as_bytes(), false))
            || route.is_some_and(|r| !is_label(r.as_bytes(), true));
        (!wrong).then_some(Self { key, node, route })
    }

    /// The id with this very suffix. Only for an id under which a session was found: suffixes that clients made up would
    /// use up what a process can know of them.
    pub fn confirmed(&self) -> Result<SessionId, SuffixError> {
        Ok(SessionId {
            key: self.key,
            suffix: Suffix::new(self.node, self.route)?,
        })
    }
}

impl fmt::Display for AskedId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Piece by piece: each request makes several keys of it, and `write!` takes several times as long.
        fmt::Display::fmt(&self.key, f)?;
        for (mark, label) in [("-", self.node), (".", self.route)] {
            if let Some(label) = label {
                f.write_str(mark)?;
                f.write_str(label)?;
            }
        }
        Ok(())
    }
}

fn is_label(label: &[u8], hyphens: bool) -> bool {
    (1..=LABEL_MAX).contains(&label.len())
        && label
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'_' || (hyphens && *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::{AskedId, Key, SessionId, Suffix};
    use proptest::prelude::*;

    #[test]
    fn ids_of_the_field_are_read() {
        for (text, node, route) in [
            ("47A70B5E441B8E80873DDC35E0D36EC1", None, None),
            ("47A70B5E441B8E80873DDC35E0D36EC1.WEB1", None, Some("WEB1")),
            ("47A70B5E441B8E80873DDC35E0D36EC1-n2", Some("n2"), None),
            (
                "47A70B5E441B8E80873DDC35E0D36EC1-n2.WEB1",
                Some("n2"),
                Some("WEB1"),
            ),
            (
                "47A70B5E441B8E80873DDC35E0D36EC1.web-1_x",
                None,
                Some("web-1_x"),
            ),
        ] {
            let asked = AskedId::parse(text.as_bytes()).expect(text);
            assert_eq!((asked.node, asked.route), (node, route), "{text}");
            let suffix = Suffix::new(node, route).expect(text);
            let id = SessionId {
                key: asked.key,
                suffix,
            };
            assert_eq!(id.to_string(), text);
            assert!(id.is(&asked));
        }
    }

    #[test]
    fn node_and_route_change_and_the_session_stays() {
        let asked = AskedId::parse(b"47A70B5E441B8E80873DDC35E0D36EC1-n2.WEB1").expect("an id");
        let id = asked.confirmed().expect("labels");
        for (changed, text) in [
            (
                id.with_node(Some("n1")),
                "47A70B5E441B8E80873DDC35E0D36EC1-n1.WEB1",
            ),
            (id.with_node(None), "47A70B5E441B8E80873DDC35E0D36EC1.WEB1"),
            (
                id.with_route(Some("WEB2")),
                "47A70B5E441B8E80873DDC35E0D36EC1-n2.WEB2",
            ),
            (id.with_route(None), "47A70B5E441B8E80873DDC35E0D36EC1-n2"),
        ] {
            assert_eq!(changed.expect("labels").to_string(), text);
        }
        assert!(id.with_node(Some("n-1")).is_err());
        assert!(id.with_route(Some("a.b")).is_err());
    }

    #[test]
    fn what_nobody_hands_out_is_no_id() {
        let long = format!("47A70B5E441B8E80873DDC35E0D36EC1.{}", "x".repeat(65));
        for text in [
            "",
            "47A70B5E441B8E80873DDC35E0D36EC",
            "47A70B5E441B8E80873DDC35E0D36EC11",
            "47a70b5e441b8e80873ddc35e0d36ec1",
            "G7A70B5E441B8E80873DDC35E0D36EC1",
            "47A70B5E441B8E80873DDC35E0D36EC1.",
            "47A70B5E441B8E80873DDC35E0D36EC1-",
            "47A70B5E441B8E80873DDC35E0D36EC1-.WEB1",
            "47A70B5E441B8E80873DDC35E0D36EC1-a-b",
            "47A70B5E441B8E80873DDC35E0D36EC1.a.b",
            "47A70B5E441B8E80873DDC35E0D36EC1.ä",
            "47A70B5E441B8E80873DDC35E0D36EC1 .WEB1",
            "../../../../etc/passwd/../../../",
            &long,
        ] {
            assert_eq!(AskedId::parse(text.as_bytes()), None, "{text}");
        }
        for label in ["", "a.b", "a;b", "a b", "ä", &"x".repeat(65)] {
            assert!(Suffix::new(None, Some(label)).is_err(), "{label}");
        }
        assert!(Suffix::new(Some("n-2"), None).is_err());
    }

    #[test]
    fn keys_differ() {
        let keys: std::collections::HashSet<Key> = (0..10_000).map(|_| Key::random()).collect();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn the_same_suffix_is_kept_once() {
        let one = Suffix::new(Some("n1"), Some("WEB1")).expect("valid");
        let two = Suffix::new(Some("n1"), Some("WEB1")).expect("valid");
        assert_eq!(one, two);
        assert_ne!(one, Suffix::new(None, Some("WEB1")).expect("valid"));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bytes: [u8; 16], node in prop::option::of("[A-Za-z0-9_]{1,3}"), route in prop::option::of("[a-c-]{1,2}")) {
            let id = SessionId { key: Key::from_bytes(bytes), suffix: Suffix::new(node.as_deref(), route.as_deref()).expect("labels") };
            let text = id.text();
            let asked = AskedId::parse(text.as_str().as_bytes()).expect("own ids are read");
            prop_assert!(id.is(&asked));
        }

        #[test]
        fn anything_is_refused_or_printed_back_the_same(text in "\\PC{0,40}|[0-9A-F]{31,33}[-.]?[a-z0-9]{0,3}\\.?[A-Z]{0,3}") {
            if let Some(asked) = AskedId::parse(text.as_bytes()) {
                prop_assert_eq!(asked.to_string(), text);
            }
        }
    }
}
