//! What an object means, if it is of one of the JDK's own classes.

use super::class::Known;
use super::heap::{Content, Elements, Heap, Node, Ref, Reference};
use super::text::JavaText;

/// An object by its meaning. Elements are references: an element may be the collection itself.
#[derive(Debug, Clone, PartialEq)]
pub enum View<'h> {
    /// `java.lang.String`.
    Text(&'h JavaText),
    /// `java.lang.Integer`.
    Integer(i32),
    /// `java.lang.Long`.
    Long(i64),
    /// `java.lang.Boolean`.
    Boolean(bool),
    /// `java.lang.Double`.
    Double(f64),
    /// `java.lang.Float`.
    Float(f32),
    /// `java.lang.Short`.
    Short(i16),
    /// `java.lang.Byte`.
    Byte(i8),
    /// `java.lang.Character`: a UTF-16 unit.
    Character(u16),
    /// `java.util.Date`: milliseconds since 1970-01-01 UTC.
    Date(i64),
    /// `byte[]`.
    Bytes(&'h [u8]),
    /// An array of another primitive type: its class and its elements, big-endian.
    Primitives(Known, &'h [u8]),
    /// `String[]`, `Object[]` and every other array of objects.
    Array(&'h [Reference]),
    /// `ArrayList` or `LinkedList`.
    List(Known, Vec<Reference>),
    /// `HashSet`, `LinkedHashSet`, or a `TreeSet` in natural order.
    Set(Known, Vec<Reference>),
    /// `HashMap`, `LinkedHashMap`, or a `TreeMap` in natural order.
    Map(Known, Vec<(Reference, Reference)>),
    /// Of another class, or not as the class writes it; it can be kept and written back.
    Other,
}

impl Heap {
    /// What the object means.
    pub fn view(&self, object: Ref) -> View<'_> {
        match self.node(object) {
            Node::String(text) => View::Text(text),
            Node::Array { class, elements } => match (elements, self.known(*class)) {
                (Elements::References(elements), _) => View::Array(elements),
                (Elements::Primitive(bytes), Some(Known::Bytes)) => View::Bytes(bytes),
                (Elements::Primitive(bytes), Some(known)) => View::Primitives(known, bytes),
                (Elements::Primitive(_), None) => View::Other,
            },
            Node::Object {
                class,
                primitives,
                references,
                contents,
            } => self
                .known(*class)
                .and_then(|known| of_class(known, primitives, references, contents))
                .unwrap_or(View::Other),
            Node::Enum { .. } | Node::Class(_) => View::Other,
        }
    }
}

fn of_class<'h>(
    known: Known,
    primitives: &[u8],
    references: &[Reference],
    contents: &[Content],
) -> Option<View<'h>> {
    Some(match known {
        Known::Integer => View::Integer(i32::from_be_bytes(primitives.try_into().ok()?)),
        Known::Long => View::Long(i64::from_be_bytes(primitives.try_into().ok()?)),
        Known::Boolean => View::Boolean(primitives != [0]),
        Known::Double => View::Double(f64::from_be_bytes(primitives.try_into().ok()?)),
        Known::Float => View::Float(f32::from_be_bytes(primitives.try_into().ok()?)),
        Known::Short => View::Short(i16::from_be_bytes(primitives.try_into().ok()?)),
        Known::Byte => View::Byte(i8::from_be_bytes(primitives.try_into().ok()?)),
        Known::Character => View::Character(u16::from_be_bytes(primitives.try_into().ok()?)),
        Known::Date => {
            let (data, _) = split(contents)?;
            View::Date(i64::from_be_bytes(data.try_into().ok()?))
        }
        Known::ArrayList => {
            // The capacity stands in the contents, the size in the fields.
            let (capacity, items) = split(contents)?;
            let counted = [primitives, capacity].concat();
            let size = number(counted.get(..4)?)?;
            View::List(known, exactly(size, items)?)
        }
        Known::LinkedList => {
            let (size, items) = split(contents)?;
            View::List(known, exactly(number(size)?, items)?)
        }
        Known::HashSet | Known::LinkedHashSet => {
            let (data, items) = split(contents)?;
            View::Set(known, exactly(number(data.get(8..)?)?, items)?)
        }
        Known::TreeSet => {
            let [Content::Value(None), rest @ ..] = contents else {
                return None;
            };
            let (size, items) = split(rest)?;
            View::Set(known, exactly(number(size)?, items)?)
        }
        Known::HashMap | Known::LinkedHashMap => {
            let (data, items) = split(contents)?;
            View::Map(known, pairs(number(data.get(4..)?)?, items)?)
        }
        Known::TreeMap if references == [None] => {
            let (size, items) = split(contents)?;
            View::Map(known, pairs(number(size)?, items)?)
        }
        _ => return None,
    })
}

/// The primitive data in front and the values behind it, without the end mark.
fn split(contents: &[Content]) -> Option<(&[u8], &[Content])> {
    match contents {
        [Content::Block(data), values @ .., Content::End] => Some((data, values)),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_be_bytes(bytes.try_into().ok()?)).ok()
}

/// The values, if they are so many.
fn exactly(count: usize, values: &[Content]) -> Option<Vec<Reference>> {
    if values.len() != count {
        return None;
    }
    let value = |content: &Content| match content {
        Content::Value(value) => Some(*value),
        Content::Block(_) | Content::End => None,
    };
    values.iter().map(value).collect()
}

fn pairs(count: usize, values: &[Content]) -> Option<Vec<(Reference, Reference)>> {
    let values = exactly(count.checked_mul(2)?, values)?;
    Some(
        values
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect(),
    )
}
