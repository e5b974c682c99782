//! The attributes of one session, packed into a single allocation.
//!
//! Millions of sessions hold a few short attributes each, so the memory of a session is its attributes plus what
//! manages them. One entry is
//!
//! ```text
//!   name length 1 | name | kind 1 | value length 1 to 5 (LEB128) | value
//! ```
//!
//! A list's value is its elements in the same form without names. Reading decodes one value, writing one of the same
//! size happens in place. Members of a cluster send each other values in this form ([`Packed`]), checked where they arrive; its
//! kinds and lengths are part of that protocol.

mod packed;

pub use packed::Packed;

use super::value::{Foreign, NESTING_MAX, Value};

/// The longest attribute name in bytes.
pub const NAME_MAX: usize = u8::MAX as usize;

/// The most bytes that all attributes of one session may take: what a memcached node takes as one item by default.
pub const ATTRIBUTES_MAX: usize = 1 << 20;

/// Why an attribute cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The name is empty or too long.
    #[error("an attribute name has 1 to {NAME_MAX} bytes, not {0}; choose another name")]
    Name(usize),
    /// The session would get too large.
    #[error(
        "the session's attributes would take {0} bytes, the limit is {ATTRIBUTES_MAX}; store less in the session"
    )]
    TooLarge(usize),
    /// Lists within lists within lists…
    #[error("lists may nest {NESTING_MAX} deep; store a flatter value")]
    TooDeep,
    /// The attribute is there and of another type.
    #[error("attribute `{name}` is {found}, not {wanted}; use another name or remove it first")]
    Type {
        /// The attribute.
        name: String,
        /// What it is.
        found: &'static str,
        /// What the operation needs.
        wanted: &'static str,
    },
}

const STRING: u8 = 0;
const INTEGER: u8 = 1;
const LONG: u8 = 2;
const BOOLEAN: u8 = 3;
const DOUBLE: u8 = 4;
const BYTES: u8 = 5;
const LIST: u8 = 6;
const FOREIGN: u8 = 7;

/// Names and values; a name occurs once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

/// One entry's place in the bytes.
struct Entry<'a> {
    start: usize,
    end: usize,
    name: &'a [u8],
    kind: u8,
    value: &'a [u8],
}

impl Attributes {
    /// No attributes, and no allocation.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets an attribute; one of that name is replaced.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), AttributeError> {
        match value {
            Value::String(text) => self.put(name, STRING, text.as_bytes()),
            Value::Bytes(bytes) => self.put(name, BYTES, bytes),
            Value::Integer(number) => self.put(name, INTEGER, &number.to_le_bytes()),
            Value::Long(number) => self.put(name, LONG, &number.to_le_bytes()),
            Value::Boolean(yes) => self.put(name, BOOLEAN, &[u8::from(*yes)]),
            Value::Double(number) => self.put(name, DOUBLE, &number.to_le_bytes()),
            Value::List(items) => {
                let mut body = Vec::new();
                for item in items {
                    encode(item, &mut body, NESTING_MAX)?;
                }
                self.put(name, LIST, &body)
            }
            Value::Foreign(object) => self.put(name, FOREIGN, &pack(object)),
        }
    }

    /// Sets text without building a [`Value`].
    pub fn set_str(&mut self, name: &str, text: &str) -> Result<(), AttributeError> {
        self.put(name, STRING, text.as_bytes())
    }

    /// Appends to the list of that name, which begins empty.
    pub fn append(&mut self, name: &str, item: &Value) -> Result<(), AttributeError> {
        let mut body = match self.find(name) {
            Some(entry) if entry.kind != LIST => return Err(wrong_type(name, &entry, "a list")),
            Some(entry) => entry.value.to_vec(),
            None => Vec::new(),
        };
        encode(item, &mut body, NESTING_MAX)?;
        self.put(name, LIST, &body)
    }

    /// Adds to the number of that name, which begins as the long 0 and keeps its type while it fits; returns the sum.
    pub fn add(&mut self, name: &str, amount: i64) -> Result<i64, AttributeError> {
        let (sum, integer) = match self.find(name) {
            None => (amount, false),
            Some(entry) => match decode(entry.kind, entry.value) {
                Value::Integer(number) => (i64::from(number).saturating_add(amount), true),
                Value::Long(number) => (number.saturating_add(amount), false),
                _ => return Err(wrong_type(name, &entry, "a whole number")),
            },
        };
        match i32::try_from(sum) {
            Ok(sum) if integer => self.put(name, INTEGER, &sum.to_le_bytes())?,
            _ => self.put(name, LONG, &sum.to_le_bytes())?,
        }
        Ok(sum)
    }

    /// Removes an attribute; whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(Entry { start, end, .. }) = self.find(name) else {
            return false;
        };
        self.0.drain(start..end);
        self.give_back();
        true
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.find(name).map(|entry| decode(entry.kind, entry.value))
    }

    /// The text of that name, without a copy; `None` for other types too.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        let entry = self.find(name).filter(|e| e.kind == STRING)?;
        std::str::from_utf8(entry.value).ok()
    }

    /// Names and values, those changed in size last coming last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.entries().map(|entry| {
            let name = std::str::from_utf8(entry.name).unwrap_or_default();
            (name, decode(entry.kind, entry.value))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes they take.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    fn put(&mut self, name: &str, kind: u8, body: &[u8]) -> Result<(), AttributeError> {
        let name_len = u8::try_from(name.len())
            .ok()
            .filter(|len| *len > 0)
            .ok_or(AttributeError::Name(name.len()))?;
        let mut length = [0; 5];
        let length = leb128(body.len(), &mut length)?;
        let needed = 1 + name.len() + 1 + length.len() + body.len();
        if let Some(old) = self.find(name) {
            let (start, end) = (old.start, old.end);
            if old.kind == kind && old.value.len() == body.len() {
                self.0[end - body.len()..end].copy_from_slice(body);
                return Ok(());
            }
            fits(self.0.len() - (end - start) + needed)?;
            self.0.drain(start..end);
        } else {
            fits(self.0.len() + needed)?;
        }
        self.0.reserve_exact(needed);
        self.0.push(name_len);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(kind);
        self.0.extend_from_slice(length);
        self.0.extend_from_slice(body);
        self.give_back();
        Ok(())
    }

    /// A session that shrank does not keep its largest size.
    fn give_back(&mut self) {
        if self.0.capacity() > 2 * self.0.len() {
            self.0.shrink_to_fit();
        }
    }

    fn find(&self, name: &str) -> Option<Entry<'_>> {
        self.entries().find(|entry| entry.name == name.as_bytes())
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = at;
            let (name_len, rest) = self.0.get(start..)?.split_first()?;
            let (name, rest) = rest.split_at(usize::from(*name_len));
            let (kind, value, rest) = element(rest)?;
            at = self.0.len() - rest.len();
            Some(Entry {
                start,
                end: at,
                name,
                kind,
                value,
            })
        })
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn fits(size: usize) -> Result<(), AttributeError> {
    if size > ATTRIBUTES_MAX {
        return Err(AttributeError::TooLarge(size));
    }
    Ok(())
}

fn wrong_type(name: &str, entry: &Entry<'_>, wanted: &'static str) -> AttributeError {
    AttributeError::Type {
        name: name.to_owned(),
        found: decode(entry.kind, entry.value).kind(),
        wanted,
    }
}

/// Writes an element of a list; `depth` is how many more levels may follow.
fn encode(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), AttributeError> {
    let mut element = |kind: u8, body: &[u8]| {
        let mut length = [0; 5];
        let length = leb128(body.len(), &mut length)?;
        out.push(kind);
        out.extend_from_slice(length);
        out.extend_from_slice(body);
        Ok(())
    };
    match value {
        Value::String(text) => element(STRING, text.as_bytes()),
        Value::Bytes(bytes) => element(BYTES, bytes),
        Value::Integer(number) => element(INTEGER, &number.to_le_bytes()),
        Value::Long(number) => element(LONG, &number.to_le_bytes()),
        Value::Boolean(yes) => element(BOOLEAN, &[u8::from(*yes)]),
        Value::Double(number) => element(DOUBLE, &number.to_le_bytes()),
        Value::List(items) => {
            let depth = depth.checked_sub(1).ok_or(AttributeError::TooDeep)?;
            let mut body = Vec::new();
            for item in items {
                encode(item, &mut body, depth)?;
            }
            element(LIST, &body)
        }
        Value::Foreign(object) => element(FOREIGN, &pack(object)),
    }
}

/// Length of the class name, its name, the stream.
fn pack(object: &Foreign) -> Vec<u8> {
    let len = (object.class.len() as u32).to_le_bytes();
    [&len, object.class.as_bytes(), &object.stream].concat()
}

fn unpack(body: &[u8]) -> Foreign {
    let (len, rest) = body.split_at_checked(4).unwrap_or_default();
    let len = u32::from_le_bytes(fixed(len)) as usize;
    let (class, stream) = rest.split_at_checked(len).unwrap_or_default();
    Foreign {
        class: String::from_utf8_lossy(class).into_owned(),
        stream: stream.to_vec(),
    }
}

/// The value of these bytes, which this module wrote.
fn decode(kind: u8, body: &[u8]) -> Value {
    match kind {
        STRING => Value::String(String::from_utf8_lossy(body).into_owned()),
        INTEGER => Value::Integer(i32::from_le_bytes(fixed(body))),
        LONG => Value::Long(i64::from_le_bytes(fixed(body))),
        BOOLEAN => Value::Boolean(body.first() == Some(&1)),
        DOUBLE => Value::Double(f64::from_le_bytes(fixed(body))),
        LIST => {
            let mut rest = body;
            let items = std::iter::from_fn(|| {
                let (kind, value, after) = element(rest)?;
                rest = after;
                Some(decode(kind, value))
            });
            Value::List(items.collect())
        }
        FOREIGN => Value::Foreign(unpack(body)),
        _ => Value::Bytes(body.to_vec()),
    }
}

fn fixed<const N: usize>(body: &[u8]) -> [u8; N] {
    body.try_into().unwrap_or([0; N])
}

/// Kind, value and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, mut rest) = bytes.split_first()?;
    let (mut len, mut shift) = (0, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        len |= usize::from(byte & 0x7F) << shift;
        rest = after;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
    let (value, rest) = rest.split_at_checked(len)?;
    Some((*kind, value, rest))
}

fn leb128(len: usize, buffer: &mut [u8; 5]) -> Result<&[u8], AttributeError> {
    fits(len)?;
    let (mut rest, mut used) = (len, 0);
    loop {
        buffer[used] = (rest & 0x7F) as u8;
        rest >>= 7;
        used += 1;
        if rest == 0 {
            return Ok(&buffer[..used]);
        }
        buffer[used - 1] |= 0x80;
    }
}

#[cfg(test)]
mod tests {
    use super::{ATTRIBUTES_MAX, AttributeError, Attributes, Foreign, NESTING_MAX, Value};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            ".{0,200}".prop_map(Value::String),
            any::<i32>().prop_map(Value::Integer),
            any::<i64>().prop_map(Value::Long),
            any::<bool>().prop_map(Value::Boolean),
            (-1e300..1e300).prop_map(Value::Double),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
            (".{0,20}", prop::collection::vec(any::<u8>(), 0..300))
                .prop_map(|(class, stream)| Value::Foreign(Foreign { class, stream })),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop::collection::vec(inner, 0..5).prop_map(Value::List)
        })
    }

    proptest! {
        /// Against a plain map: the same answers after any sequence of changes.
        #[test]
        fn they_behave_as_a_map(steps in prop::collection::vec(("[a-d]{1,2}", prop::option::weighted(0.8, any_value())), 0..40)) {
            let mut attributes = Attributes::new();
            let mut map = BTreeMap::new();
            for (name, value) in steps {
                match value {
                    Some(value) => {
                        attributes.set(&name, &value).expect("small");
                        map.insert(name.clone(), value);
                    }
                    None => prop_assert_eq!(attributes.remove(&name), map.remove(&name).is_some()),
                }
                prop_assert_eq!(attributes.get(&name), map.get(&name).cloned());
                prop_assert_eq!(attributes.len(), map.len());
            }
            let all: BTreeMap<String, Value> = attributes.iter().map(|(n, v)| (n.to_owned(), v)).collect();
            prop_assert_eq!(all, map);
        }
    }

    #[test]
    fn a_list_grows_and_a_number_counts() {
        let mut attributes = Attributes::new();
        for i in 0..300 {
            attributes
                .append("cart", &Value::String(format!("good {i}")))
                .expect("a list");
            assert_eq!(attributes.add("count", 1), Ok(i + 1));
        }
        let cart = attributes.get("cart").expect("set");
        assert_eq!(cart.as_list().map(<[Value]>::len), Some(300));
        assert_eq!(attributes.get("count"), Some(Value::Long(300)));
        attributes.set("int", &Value::Integer(1)).expect("fits");
        attributes.add("int", 1).expect("a number");
        assert_eq!(attributes.get("int"), Some(Value::Integer(2)));
        attributes
            .add("int", i64::from(i32::MAX))
            .expect("a number");
        assert_eq!(attributes.get("int"), Some(Value::Long(2_147_483_649)));
    }

    #[test]
    fn other_types_are_refused_and_kept() {
        let mut attributes = Attributes::new();
        attributes.set_str("k", "v").expect("fits");
        assert!(matches!(
            attributes.append("k", &"x".into()),
            Err(AttributeError::Type { found: "text", .. })
        ));
        assert!(matches!(
            attributes.add("k", 1),
            Err(AttributeError::Type { .. })
        ));
        assert_eq!(attributes.get_str("k"), Some("v"));
    }

    #[test]
    fn limits_hold_and_change_nothing() {
        let mut attributes = Attributes::new();
        attributes.set_str("k", "v").expect("fits");
        assert_eq!(attributes.set_str("", "v"), Err(AttributeError::Name(0)));
        assert_eq!(
            attributes.set_str(&"n".repeat(256), "v"),
            Err(AttributeError::Name(256))
        );
        let large = "x".repeat(ATTRIBUTES_MAX);
        assert!(matches!(
            attributes.set_str("k", &large),
            Err(AttributeError::TooLarge(_))
        ));
        let mut deep = Value::List(Vec::new());
        for _ in 0..=NESTING_MAX {
            deep = Value::List(vec![deep]);
        }
        assert_eq!(attributes.set("k", &deep), Err(AttributeError::TooDeep));
        assert_eq!(attributes.get_str("k"), Some("v"));
        attributes
            .set_str("k", &large[..ATTRIBUTES_MAX / 2])
            .expect("fits");
        attributes.set_str("k", "v").expect("fits");
        assert!(attributes.0.capacity() < 64, "the memory is given back");
    }
}
