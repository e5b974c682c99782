//! The attributes in a session record: a Java object stream with their number as an `Integer`, and then a name and a value
//! for each. This is what msm's `JavaSerializationTranscoder` writes, its default.

mod plain;

use crate::java::{Heap, JavaError, Limits, Reader, View, Writer};
use crate::session::attributes::{AttributeError, Attributes};

/// Why a session's attributes cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    /// The stream.
    #[error("the session's attributes cannot be read: {0}")]
    Java(#[from] JavaError),
    /// An attribute that a session here cannot have.
    #[error("attribute `{name}` of the stored session cannot be kept: {error}")]
    Attribute {
        /// Its name.
        name: String,
        /// Why.
        error: AttributeError,
    },
}

/// Reads the attributes. Those of classes that only Java knows are kept as they are.
pub fn decode(bytes: &[u8]) -> Result<Attributes, AttributesError> {
    match plain::decode(bytes) {
        Some(attributes) => Ok(attributes),
        None => decode_any(bytes),
    }
}

fn decode_any(bytes: &[u8]) -> Result<Attributes, AttributesError> {
    let mut reader = Reader::new(bytes, Limits::default())?;
    let count = match value(&mut reader, "the number of attributes")? {
        Some(object) => match reader.heap().view(object) {
            View::Integer(count) => count,
            _ => return Err(wrong(&reader, Some(object), "the number of attributes")),
        },
        None => return Err(wrong(&reader, None, "the number of attributes")),
    };
    let mut attributes = Attributes::new();
    for _ in 0..count {
        let name = value(&mut reader, "an attribute's name")?;
        let text = name.and_then(|object| match reader.heap().view(object) {
            View::Text(text) => text.to_str().map(|name| name.into_owned()),
            _ => None,
        });
        let Some(name) = text else {
            return Err(wrong(&reader, name, "an attribute's name"));
        };
        // Java's map may hold a null, which no application can tell from an attribute that is not there.
        let Some(object) = value(&mut reader, "an attribute's value")? else {
            continue;
        };
        let value = reader.heap().to_attribute(object)?;
        if let Err(error) = attributes.set(&name, &value) {
            return Err(AttributesError::Attribute { name, error });
        }
    }
    if !reader.is_end() {
        return Err(JavaError::Type {
            found: "more data".into(),
            wanted: "the end of the attributes",
        }
        .into());
    }
    Ok(attributes)
}

/// Writes the attributes whose names `stored` lets through.
pub fn encode(
    attributes: &Attributes,
    stored: impl Fn(&str) -> bool,
) -> Result<Vec<u8>, AttributesError> {
    match plain::encode(attributes, &stored) {
        Some(stream) => Ok(stream),
        None => encode_any(attributes, stored),
    }
}

/// Whether [`encode`] is sure to write this very stream, found out without writing it. False says nothing.
pub fn is_encoded(attributes: &Attributes, stream: &[u8], stored: impl Fn(&str) -> bool) -> bool {
    plain::is_encoded(attributes, stream, stored)
}

fn encode_any(
    attributes: &Attributes,
    stored: impl Fn(&str) -> bool,
) -> Result<Vec<u8>, AttributesError> {
    let mut heap = Heap::new();
    let mut objects = vec![None];
    for (name, value) in attributes.iter().filter(|(name, _)| stored(name)) {
        objects.push(Some(heap.text(name)));
        let object;
        (heap, object) = heap.with_attribute(&value)?;
        objects.push(object);
    }
    let count = i32::try_from(objects.len() / 2).unwrap_or(i32::MAX);
    objects[0] = Some(heap.integer(count));
    let mut writer = Writer::new(&heap);
    objects.into_iter().for_each(|object| writer.object(object));
    Ok(writer.finish())
}

fn value(
    reader: &mut Reader<'_>,
    wanted: &'static str,
) -> Result<Option<crate::java::Ref>, AttributesError> {
    if reader.is_end() {
        let found = "the end".into();
        return Err(JavaError::Type { found, wanted }.into());
    }
    Ok(reader.object()?)
}

fn wrong(
    reader: &Reader<'_>,
    object: Option<crate::java::Ref>,
    wanted: &'static str,
) -> AttributesError {
    let found = object.map_or("null".into(), |object| reader.heap().class_name(object));
    JavaError::Type { found, wanted }.into()
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_any, encode, encode_any, plain};
    use crate::session::Value;
    use crate::session::attributes::Attributes;
    use proptest::prelude::*;

    fn any_attributes() -> impl Strategy<Value = Attributes> {
        let value = prop_oneof![
            6 => "[ -~]{0,20}".prop_map(Value::String),
            1 => ".{0,5}".prop_map(Value::String),
            1 => Just(Value::String("x".repeat(70_000))),
            1 => any::<i32>().prop_map(Value::Integer),
        ];
        prop::collection::vec(("[a-zäб\0]{1,3}", value), 0..5).prop_map(|all| {
            let mut attributes = Attributes::new();
            for (name, value) in &all {
                attributes.set(name, value).expect("small");
            }
            attributes
        })
    }

    proptest! {
        /// The short way and the general one write the same bytes and read the same attributes.
        #[test]
        fn the_short_way_leads_to_the_same_place(attributes in any_attributes(), cut in any::<prop::sample::Index>(), bit in 0..8) {
            let all = |_: &str| true;
            let long = encode_any(&attributes, all).expect("values of ours");
            prop_assert_eq!(&encode(&attributes, all).expect("values of ours"), &long);
            prop_assert_eq!(decode(&long).expect("written here"), decode_any(&long).expect("written here"));
            let is_plain = plain::encode(&attributes, all).is_some();
            prop_assert_eq!(plain::is_encoded(&attributes, &long, all), is_plain);
            let longer = [&long[..], b"x"].concat();
            prop_assert!(!plain::is_encoded(&attributes, &longer, all));
            let mut damaged = long;
            let at = cut.index(damaged.len());
            damaged[at] ^= 1_u8 << bit;
            prop_assert!(!plain::is_encoded(&attributes, &damaged, all));
            if let Some(read) = plain::decode(&damaged) {
                prop_assert_eq!(Some(read), decode_any(&damaged).ok());
            }
        }
    }

    #[test]
    fn a_plain_text_takes_the_short_way() {
        let mut attributes = Attributes::new();
        attributes.set_str("Blog", "MeXP").expect("small");
        let stream = plain::encode(&attributes, |_| true).expect("plain");
        assert_eq!(plain::decode(&stream), Some(attributes));
    }
}
