//! Session attributes as Java objects and back.
//!
//! | Java | here |
//! |---|---|
//! | `String`, `Integer`, `Long`, `Boolean`, `Double`, `byte[]` | the value of that type |
//! | `ArrayList` of these and of such lists | a list |
//! | anything else that can be read | a [`Foreign`] object, written back as it came |
//!
//! Also foreign: a text with half a surrogate pair, a list with a null in it, a list that nests too deep or holds itself.
//! An object that two attributes share becomes one object for each.

use super::heap::{Heap, Ref, Reference};
use super::{JavaError, Limits, Reader, View, Writer};
use crate::session::attributes::ATTRIBUTES_MAX;
use crate::session::value::NESTING_MAX;
use crate::session::{Foreign, Value};

impl Heap {
    /// The attribute's value that this object is. Fails only when a foreign object is too large for a session.
    pub fn to_attribute(&self, object: Ref) -> Result<Value, JavaError> {
        let mut room = ATTRIBUTES_MAX;
        match self.plain(object, NESTING_MAX, &mut room) {
            Some(value) => Ok(value),
            None => self.foreign(object).map(Value::Foreign),
        }
    }

    /// Adds the object that this attribute's value is.
    pub fn with_attribute(self, value: &Value) -> Result<(Self, Reference), JavaError> {
        let mut heap = self;
        let object = match value {
            Value::String(text) => heap.text(text),
            Value::Integer(number) => heap.integer(*number),
            Value::Long(number) => heap.long(*number),
            Value::Boolean(yes) => heap.boolean(*yes),
            Value::Double(number) => heap.double(*number),
            Value::Bytes(bytes) => heap.bytes(bytes),
            Value::List(items) => {
                let mut objects = Vec::with_capacity(items.len());
                for item in items {
                    let object;
                    // No deeper than a session's values nest.
                    (heap, object) = heap.with_attribute(item)?;
                    objects.push(object);
                }
                heap.array_list(&objects)
            }
            Value::Foreign(object) => {
                let mut reader = Reader::appending(heap, &object.stream, Limits::default())?;
                let object = reader.object()?;
                return Ok((reader.into_heap(), object));
            }
        };
        Ok((heap, Some(object)))
    }

    /// The value if it is of the plain types all through; `room` is how many bytes it may still take, since a list that
    /// holds one object a thousand times is small in a stream.
    fn plain(&self, object: Ref, depth: usize, room: &mut usize) -> Option<Value> {
        let mut take = |len: usize| {
            *room = room.checked_sub(len + 1)?;
            Some(())
        };
        Some(match self.view(object) {
            View::Text(text) => {
                take(text.as_modified_utf8().len())?;
                Value::String(text.to_str()?.into_owned())
            }
            View::Bytes(bytes) => {
                take(bytes.len())?;
                Value::Bytes(bytes.to_vec())
            }
            View::Integer(number) => Value::Integer(number),
            View::Long(number) => Value::Long(number),
            View::Boolean(yes) => Value::Boolean(yes),
            View::Double(number) => Value::Double(number),
            View::List(super::Known::ArrayList, items) => {
                take(items.len())?;
                let depth = depth.checked_sub(1)?;
                let item = |item: &Reference| self.plain((*item)?, depth, room);
                Value::List(items.iter().map(item).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    fn foreign(&self, object: Ref) -> Result<Foreign, JavaError> {
        let mut writer = Writer::new(self);
        writer.object(Some(object));
        let stream = writer.finish();
        let class = self.class_name(object);
        if class.len() + stream.len() + 16 > ATTRIBUTES_MAX {
            return Err(JavaError::Limit {
                what: "bytes in one attribute",
                limit: ATTRIBUTES_MAX,
            });
        }
        // Alone it may nest deeper than where it stood, if parts of it came before it there.
        Reader::new(&stream, Limits::default())?.object()?;
        Ok(Foreign { class, stream })
    }
}
