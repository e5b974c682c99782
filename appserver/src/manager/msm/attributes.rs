//! The attributes in a session record: a Java object stream with their number as an `Integer`, and then a name and a value
//! for each. This is what msm's `JavaSerializationTranscoder` writes, its default.

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
