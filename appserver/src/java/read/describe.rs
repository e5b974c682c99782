//! Class descriptions as they are read.

use std::borrow::Cow;

use super::{Handle, JavaError, Reader, tag, unsupported};
use crate::java::class::{
    BLOCK_DATA, ClassDesc, ClassRef, ENUM, EXTERNALIZABLE, Field, Known, SERIALIZABLE,
    WRITE_METHOD, width,
};
use crate::java::heap::Node;
use crate::java::text::JavaText;

impl Reader<'_> {
    /// A class description that must not be null.
    pub(super) fn class_of(&mut self, what: &'static str) -> Result<ClassRef, JavaError> {
        let class = self.class_desc(0)?;
        class.ok_or_else(|| unsupported("null", what))
    }

    /// A class description, of which `descendants` descend.
    fn class_desc(&mut self, descendants: usize) -> Result<Option<ClassRef>, JavaError> {
        match self.byte()? {
            tag::NULL => Ok(None),
            tag::REFERENCE => {
                let place = self.place()?;
                match self.handles[place] {
                    Handle::Class(class) => Ok(Some(class)),
                    _ => Err(self.damaged("a reference to what is no class")),
                }
            }
            tag::CLASS_DESC => self.new_class(descendants).map(Some),
            tag::PROXY_DESC => Err(unsupported("java.lang.reflect.Proxy", "a dynamic proxy")),
            found => Err(self.unexpected(found, "a class description")),
        }
    }

    fn new_class(&mut self, descendants: usize) -> Result<ClassRef, JavaError> {
        // Nearly all classes are known ones, and their descriptions the same bytes every time.
        let known = Known::described(&self.bytes[self.at..]);
        let (place, desc) = match known {
            Some((known, encoded)) => {
                self.at += encoded.len();
                (self.handle(Handle::Begun)?, Cow::Borrowed(known.desc()))
            }
            None => {
                let (place, desc) = self.own_part()?;
                (place, Cow::Owned(desc))
            }
        };
        // Checked both ways: what is described here, and what a reference to a class adds.
        self.lineage_fits(descendants + 1)?;
        let parent = self.class_desc(descendants + 1)?;
        self.lineage_fits(parent.map_or(0, |parent| self.heap.ancestors(parent) + 1))?;
        let class = match known {
            Some((known, _)) if desc.parent == parent => known.into(),
            _ => self.heap.intern(ClassDesc {
                parent,
                ..desc.into_owned()
            }),
        };
        self.handles[place] = Handle::Class(class);
        Ok(class)
    }

    /// A description without its parent, and the place of its handle.
    fn own_part(&mut self) -> Result<(usize, ClassDesc), JavaError> {
        let name = self.text(false)?;
        let serial_version = u64::from_be_bytes(self.array_of()?);
        let place = self.handle(Handle::Begun)?;
        let flags = self.byte()?;
        let refuse = |what| Err(unsupported(&name.to_string(), what));
        if flags & EXTERNALIZABLE != 0 && flags & (SERIALIZABLE | WRITE_METHOD) != 0
            || flags & ENUM != 0 && flags != ENUM | SERIALIZABLE
        {
            return Err(self.damaged("a class with flags that exclude each other"));
        }
        if flags & EXTERNALIZABLE != 0 && flags & BLOCK_DATA == 0 {
            return refuse("a class that writes itself without block data");
        }
        let fields = self.fields()?;
        if self.byte()? != tag::END {
            return refuse("an annotated class description");
        }
        let desc = ClassDesc {
            name,
            serial_version,
            flags,
            fields,
            parent: None,
        };
        Ok((place, desc))
    }

    fn lineage_fits(&self, classes: usize) -> Result<(), JavaError> {
        if classes > self.limits.depth {
            return Err(JavaError::Limit {
                what: "classes that a class descends from",
                limit: self.limits.depth,
            });
        }
        Ok(())
    }

    fn fields(&mut self) -> Result<Box<[Field]>, JavaError> {
        let mut fields = Vec::new();
        for _ in 0..u16::from_be_bytes(self.array_of()?) {
            let kind = self.byte()?;
            let name = self.text(false)?;
            let signature = match kind {
                b'L' | b'[' => Some(self.signature()?),
                _ if width(kind).is_none() => return Err(self.unexpected(kind, "a field's type")),
                _ if fields.last().is_some_and(|f: &Field| f.signature.is_some()) => {
                    return Err(self.damaged("a primitive field after a reference"));
                }
                _ => None,
            };
            fields.push(Field {
                kind,
                name,
                signature,
            });
        }
        Ok(fields.into())
    }

    /// The type of a field: a string of the stream, or a reference to one.
    fn signature(&mut self) -> Result<JavaText, JavaError> {
        match self.byte()? {
            tag::STRING => {
                let text = self.text(false)?;
                self.handle(Handle::Type(text.clone()))?;
                Ok(text)
            }
            tag::REFERENCE => {
                let place = self.place()?;
                let text = match &self.handles[place] {
                    Handle::Type(text) => Some(text),
                    Handle::Value(object) => match self.heap.node(*object) {
                        Node::String(text) => Some(text),
                        _ => None,
                    },
                    _ => None,
                };
                let text = text.cloned();
                text.ok_or_else(|| self.damaged("a field's type that is no text"))
            }
            found => Err(self.unexpected(found, "a field's type")),
        }
    }
}
