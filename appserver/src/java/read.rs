//! Bytes to objects: a reader that trusts nothing. Every length is compared with what is there before memory is taken, every
//! reference must name an object that has begun, and nesting is bounded.

mod describe;

use std::borrow::Cow;

use super::class::{ClassRef, ENUM, EXTERNALIZABLE, SERIALIZABLE, width};
use super::heap::{Content, Elements, Heap, Node, Ref, Reference};
use super::text::JavaText;
use super::{DEPTH_MAX, FIRST_HANDLE, HEADER, JavaError, Limits, tag};

/// Reads a stream as Java's `ObjectInputStream`: the caller knows what comes next and asks for it.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How much of the primitive data that was begun is left.
    block: usize,
    heap: Heap,
    handles: Vec<Handle>,
    limits: Limits,
    /// What [`Limits::objects`] counts, so far.
    taken: usize,
}

/// What a reference in the stream can name.
#[derive(Debug, Clone)]
enum Handle {
    Value(Ref),
    Class(ClassRef),
    /// The type of a field, which is a string too.
    Type(JavaText),
    /// A class description that is not complete.
    Begun,
}

impl<'a> Reader<'a> {
    /// Begins a stream.
    pub fn new(bytes: &'a [u8], limits: Limits) -> Result<Self, JavaError> {
        Self::appending(Heap::new(), bytes, limits)
    }

    /// The same, with the objects added to those that are in `heap`.
    pub fn appending(heap: Heap, bytes: &'a [u8], limits: Limits) -> Result<Self, JavaError> {
        if bytes.len() > limits.bytes {
            return Err(JavaError::Limit {
                what: "bytes",
                limit: limits.bytes,
            });
        }
        let limits = Limits {
            depth: limits.depth.min(DEPTH_MAX),
            ..limits
        };
        let mut reader = Self {
            bytes,
            at: 0,
            block: 0,
            heap,
            handles: Vec::new(),
            limits,
            taken: 0,
        };
        for wanted in HEADER {
            if reader.byte()? != wanted {
                let (at, found) = (reader.at - 1, bytes[reader.at - 1]);
                let wanted = "the beginning of a Java stream";
                return Err(JavaError::Unexpected { at, found, wanted });
            }
        }
        Ok(reader)
    }

    /// `readObject`.
    pub fn object(&mut self) -> Result<Reference, JavaError> {
        if self.block > 0 {
            return Err(self.damaged("primitive data is left where an object is expected"));
        }
        while self.peek() == Some(tag::RESET) {
            self.at += 1;
            self.handles.clear();
        }
        self.value(0)
    }

    /// Begins to read an object of this class, which writes its objects itself (`writeExternal`): what it wrote comes next, and then
    /// [`Reader::leave`].
    pub fn enter(&mut self, class: &'static str) -> Result<(), JavaError> {
        if self.block > 0 {
            return Err(self.damaged("primitive data is left where an object is expected"));
        }
        match self.byte()? {
            tag::OBJECT => {}
            found => return Err(self.unexpected(found, "an object")),
        }
        let found = self.class_of("an object")?;
        let desc = self.heap.class(found);
        if desc.name.as_modified_utf8() != class.as_bytes() || desc.flags & EXTERNALIZABLE == 0 {
            return Err(JavaError::Type {
                found: desc.name.to_string(),
                wanted: class,
            });
        }
        // What refers back to it gets an empty object.
        let object = self.heap.add(Node::Class(found));
        self.handle(Handle::Value(object))?;
        Ok(())
    }

    /// The end of the object that was begun last; what its class wrote besides is passed over.
    pub fn leave(&mut self) -> Result<(), JavaError> {
        self.take(self.block)?;
        self.block = 0;
        self.contents(0, &mut Vec::new())
    }

    /// `readBoolean`.
    pub fn boolean(&mut self) -> Result<bool, JavaError> {
        Ok(self.data_array::<1>()? != [0])
    }

    /// `readInt`.
    pub fn i32(&mut self) -> Result<i32, JavaError> {
        Ok(i32::from_be_bytes(self.data_array()?))
    }

    /// `readLong`.
    pub fn i64(&mut self) -> Result<i64, JavaError> {
        Ok(i64::from_be_bytes(self.data_array()?))
    }

    /// `readUTF`.
    pub fn utf(&mut self) -> Result<JavaText, JavaError> {
        let len = u16::from_be_bytes(self.data_array()?);
        let at = self.at;
        let text = JavaText::from_modified_utf8(&self.data(len.into())?);
        text.ok_or(not_text(at))
    }

    /// `readFully`: primitive data, which the stream may hold in several blocks.
    pub fn data(&mut self, len: usize) -> Result<Cow<'a, [u8]>, JavaError> {
        if len <= self.block {
            self.block -= len;
            return Ok(Cow::Borrowed(self.take(len)?));
        }
        if len > self.bytes.len() - self.at {
            return Err(JavaError::Truncated { at: self.at });
        }
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            if self.block == 0 {
                self.block = self.block_header()?;
            }
            let part = self.block.min(len - data.len());
            self.block -= part;
            data.extend_from_slice(self.take(part)?);
        }
        Ok(Cow::Owned(data))
    }

    /// Whether all was read.
    pub fn is_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The objects so far.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// The objects.
    pub fn into_heap(self) -> Heap {
        self.heap
    }

    fn data_array<const N: usize>(&mut self) -> Result<[u8; N], JavaError> {
        let mut array = [0; N];
        array.copy_from_slice(&self.data(N)?);
        Ok(array)
    }

    /// One object or null; `depth` objects hold it.
    fn value(&mut self, depth: usize) -> Result<Reference, JavaError> {
        if depth > self.limits.depth {
            return Err(JavaError::Limit {
                what: "objects within objects",
                limit: self.limits.depth,
            });
        }
        let object = match self.byte()? {
            tag::NULL => return Ok(None),
            tag::REFERENCE => self.referred()?,
            tag::STRING => self.string(false)?,
            tag::LONG_STRING => self.string(true)?,
            tag::OBJECT => self.instance(depth)?,
            tag::ARRAY => self.array(depth)?,
            tag::ENUM => self.enumeration(depth)?,
            tag::CLASS => {
                let class = self.class_of("a class")?;
                let object = self.heap.add(Node::Class(class));
                self.handle(Handle::Value(object))?;
                object
            }
            tag::CLASS_DESC | tag::PROXY_DESC => {
                return Err(unsupported(
                    "java.io.ObjectStreamClass",
                    "a class description",
                ));
            }
            tag::EXCEPTION => return Err(JavaError::WriterFailed),
            found => return Err(self.unexpected(found, "an object")),
        };
        Ok(Some(object))
    }

    fn referred(&mut self) -> Result<Ref, JavaError> {
        let place = self.place()?;
        match self.handles[place].clone() {
            Handle::Value(object) => Ok(object),
            Handle::Type(text) => {
                let object = self.heap.add(Node::String(text));
                self.handles[place] = Handle::Value(object);
                Ok(object)
            }
            Handle::Class(_) | Handle::Begun => Err(unsupported(
                "java.io.ObjectStreamClass",
                "a class description",
            )),
        }
    }

    /// Where in the table the reference that comes next points to.
    fn place(&mut self) -> Result<usize, JavaError> {
        let handle = u32::from_be_bytes(self.array_of()?);
        let place = handle.checked_sub(FIRST_HANDLE).map(|place| place as usize);
        place
            .filter(|place| *place < self.handles.len())
            .ok_or_else(|| self.damaged("a reference to an object that is not there"))
    }

    fn string(&mut self, long: bool) -> Result<Ref, JavaError> {
        let text = self.text(long)?;
        let object = self.heap.add(Node::String(text));
        self.handle(Handle::Value(object))?;
        Ok(object)
    }

    fn text(&mut self, long: bool) -> Result<JavaText, JavaError> {
        let len = if long {
            u64::from_be_bytes(self.array_of()?)
        } else {
            u16::from_be_bytes(self.array_of()?).into()
        };
        let at = self.at;
        let len = usize::try_from(len).map_err(|_| JavaError::Truncated { at })?;
        JavaText::from_modified_utf8(self.take(len)?).ok_or(not_text(at))
    }

    fn instance(&mut self, depth: usize) -> Result<Ref, JavaError> {
        let class = self.class_of("an object")?;
        let desc = self.heap.class(class);
        if desc.flags & (SERIALIZABLE | EXTERNALIZABLE) == 0 || desc.element().is_some() {
            return Err(self.damaged("an object of a class that has no objects in streams"));
        }
        let object = self.heap.add(Node::Class(class));
        self.handle(Handle::Value(object))?;
        let (mut primitives, mut references, mut contents) = (Vec::new(), Vec::new(), Vec::new());
        for class in self.heap.lineage(class) {
            let desc = self.heap.class(class);
            let (bytes, count, more) = (
                desc.primitive_bytes(),
                desc.references(),
                desc.has_contents(),
            );
            primitives.extend_from_slice(self.take(bytes)?);
            for _ in 0..count {
                references.push(self.value(depth + 1)?);
            }
            if more {
                self.contents(depth + 1, &mut contents)?;
            }
        }
        let node = Node::Object {
            class,
            primitives: primitives.into(),
            references: references.into(),
            contents: contents.into(),
        };
        self.heap.complete(object, node);
        Ok(object)
    }

    /// What a class wrote itself, with the end mark.
    fn contents(&mut self, depth: usize, contents: &mut Vec<Content>) -> Result<(), JavaError> {
        loop {
            match self.peek() {
                Some(tag::END) => {
                    self.at += 1;
                    contents.push(Content::End);
                    return Ok(());
                }
                Some(tag::BLOCK | tag::LONG_BLOCK) => {
                    let mut block = Vec::new();
                    while let Some(tag::BLOCK | tag::LONG_BLOCK) = self.peek() {
                        let len = self.block_header()?;
                        block.extend_from_slice(self.take(len)?);
                    }
                    contents.push(Content::Block(block.into()));
                }
                _ => {
                    self.count()?;
                    contents.push(Content::Value(self.value(depth)?));
                }
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Ref, JavaError> {
        let class = self.class_of("an array")?;
        let Some(kind) = self.heap.class(class).element() else {
            return Err(self.damaged("an array of a class that is none"));
        };
        let object = self.heap.add(Node::Class(class));
        self.handle(Handle::Value(object))?;
        let len = u32::from_be_bytes(self.array_of()?) as usize;
        let elements = match width(kind) {
            Some(width) => {
                let bytes = len.checked_mul(width);
                let bytes = bytes.ok_or(JavaError::Truncated { at: self.at })?;
                Elements::Primitive(self.take(bytes)?.into())
            }
            None if kind != b'L' && kind != b'[' => {
                return Err(self.damaged("an array of a type that does not exist"));
            }
            None => {
                // An element takes a byte at least, so a length that is a lie takes no memory.
                if len > self.bytes.len() - self.at {
                    return Err(JavaError::Truncated { at: self.at });
                }
                let mut elements = Vec::new();
                for _ in 0..len {
                    elements.push(self.value(depth + 1)?);
                }
                Elements::References(elements.into())
            }
        };
        self.heap.complete(object, Node::Array { class, elements });
        Ok(object)
    }

    fn enumeration(&mut self, depth: usize) -> Result<Ref, JavaError> {
        let class = self.class_of("an enum constant")?;
        if self.heap.class(class).flags & ENUM == 0 {
            return Err(self.damaged("an enum constant of a class that is no enum"));
        }
        let object = self.heap.add(Node::Class(class));
        self.handle(Handle::Value(object))?;
        let constant = self.value(depth + 1)?;
        let constant = constant.filter(|name| matches!(self.heap.node(*name), Node::String(_)));
        let constant = constant.ok_or_else(|| self.damaged("an enum constant without a name"))?;
        self.heap.complete(object, Node::Enum { class, constant });
        Ok(object)
    }

    /// Gives the next number in references to this; where it is in the table.
    fn handle(&mut self, handle: Handle) -> Result<usize, JavaError> {
        self.count()?;
        self.handles.push(handle);
        Ok(self.handles.len() - 1)
    }

    fn count(&mut self) -> Result<(), JavaError> {
        if self.taken == self.limits.objects {
            return Err(JavaError::Limit {
                what: "objects",
                limit: self.limits.objects,
            });
        }
        self.taken += 1;
        Ok(())
    }

    fn block_header(&mut self) -> Result<usize, JavaError> {
        let len = match self.byte()? {
            tag::BLOCK => self.byte()?.into(),
            tag::LONG_BLOCK => u32::from_be_bytes(self.array_of()?) as usize,
            tag::EXCEPTION => return Err(JavaError::WriterFailed),
            found => return Err(self.unexpected(found, "primitive data")),
        };
        if len > self.bytes.len() - self.at {
            return Err(JavaError::Truncated { at: self.at });
        }
        Ok(len)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn byte(&mut self) -> Result<u8, JavaError> {
        let [byte] = self.array_of()?;
        Ok(byte)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], JavaError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], JavaError> {
        let (_, rest) = self.bytes.split_at(self.at);
        let (taken, _) = rest
            .split_at_checked(len)
            .ok_or(JavaError::Truncated { at: self.at })?;
        self.at += len;
        Ok(taken)
    }

    fn damaged(&self, what: &'static str) -> JavaError {
        JavaError::Damaged { at: self.at, what }
    }

    /// About the byte that was just read.
    fn unexpected(&self, found: u8, wanted: &'static str) -> JavaError {
        let at = self.at - 1;
        JavaError::Unexpected { at, found, wanted }
    }
}

fn not_text(at: usize) -> JavaError {
    let what = "a text that is not modified UTF-8";
    JavaError::Damaged { at, what }
}

fn unsupported(class: &str, what: &'static str) -> JavaError {
    let class = class.to_owned();
    JavaError::Unsupported { class, what }
}
