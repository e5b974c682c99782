//! Objects to bytes, as Java's `ObjectOutputStream` writes them: an object once, references to it after that, primitive data
//! in blocks of at most 1024 bytes.

use std::collections::HashMap;

use super::class::{ClassRef, Known};
use super::heap::{Content, Elements, Heap, Node, Ref, Reference};
use super::text::JavaText;
use super::{FIRST_HANDLE, HEADER, tag};

/// Java cuts primitive data into blocks of this size.
const BLOCK_MAX: usize = 1024;

/// Writes objects of one heap, and primitive data between them.
#[derive(Debug)]
pub struct Writer<'h> {
    heap: &'h Heap,
    out: Vec<u8>,
    block: Vec<u8>,
    /// The number in references of each object and class; 0: not written yet.
    objects: Vec<u32>,
    classes: Vec<u32>,
    /// Types of fields, of which Java too has each only once.
    types: HashMap<&'h JavaText, u32>,
    next: u32,
}

/// What is still to be written of objects that were begun: a list instead of recursion, so that no depth is too deep.
enum Step<'h> {
    Value(Reference),
    Bytes(&'h [u8]),
    Block(&'h [u8]),
    End,
}

impl<'h> Writer<'h> {
    /// Begins a stream.
    pub fn new(heap: &'h Heap) -> Self {
        Self {
            heap,
            out: HEADER.to_vec(),
            block: Vec::new(),
            objects: vec![0; heap.len()],
            classes: vec![0; heap.classes()],
            types: HashMap::new(),
            next: FIRST_HANDLE,
        }
    }

    /// `writeObject`: an object with all that it refers to.
    pub fn object(&mut self, value: Reference) {
        let mut steps = Vec::new();
        self.flush();
        self.value(value, &mut steps);
        while let Some(step) = steps.pop() {
            match step {
                Step::Block(bytes) => self.data(bytes),
                Step::Bytes(bytes) => self.out.extend_from_slice(bytes),
                Step::End => {
                    self.flush();
                    self.out.push(tag::END);
                }
                Step::Value(value) => {
                    self.flush();
                    self.value(value, &mut steps);
                }
            }
        }
    }

    /// Begins an object of a class that writes its objects itself (`writeExternal`): what it writes comes next, and then
    /// [`Writer::leave`].
    pub fn enter(&mut self, class: ClassRef) {
        self.flush();
        self.out.push(tag::OBJECT);
        self.class(Some(class));
        self.next_handle();
    }

    /// The end of the object that was begun last.
    pub fn leave(&mut self) {
        self.flush();
        self.out.push(tag::END);
    }

    /// `writeBoolean`.
    pub fn boolean(&mut self, value: bool) {
        self.data(&[u8::from(value)]);
    }

    /// `writeInt`.
    pub fn i32(&mut self, value: i32) {
        self.data(&value.to_be_bytes());
    }

    /// `writeLong`.
    pub fn i64(&mut self, value: i64) {
        self.data(&value.to_be_bytes());
    }

    /// `writeUTF`; whether the text is short enough for it, 65535 bytes. A longer one is not written.
    #[must_use]
    pub fn utf(&mut self, text: &JavaText) -> bool {
        let bytes = text.as_modified_utf8();
        let Ok(len) = u16::try_from(bytes.len()) else {
            return false;
        };
        self.data(&len.to_be_bytes());
        self.data(bytes);
        true
    }

    /// `write`: primitive data.
    pub fn data(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.block.len() == BLOCK_MAX {
                self.flush();
            }
            let (part, rest) = data.split_at(data.len().min(BLOCK_MAX - self.block.len()));
            self.block.extend_from_slice(part);
            data = rest;
        }
    }

    /// The stream.
    pub fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.out
    }

    fn flush(&mut self) {
        match u8::try_from(self.block.len()) {
            Ok(0) => return,
            Ok(len) => self.out.extend([tag::BLOCK, len]),
            Err(_) => {
                self.out.push(tag::LONG_BLOCK);
                self.out.extend((self.block.len() as u32).to_be_bytes());
            }
        }
        self.out.append(&mut self.block);
    }

    /// Writes the beginning of an object and puts the rest on top of `steps`.
    fn value(&mut self, value: Reference, steps: &mut Vec<Step<'h>>) {
        let Some(object) = value else {
            return self.out.push(tag::NULL);
        };
        match self.objects[object.0 as usize] {
            0 => {}
            handle => return self.reference(handle),
        }
        match self.heap.node(object) {
            Node::String(text) => {
                self.begun(object);
                let bytes = text.as_modified_utf8();
                match u16::try_from(bytes.len()) {
                    Ok(len) => {
                        self.out.push(tag::STRING);
                        self.out.extend(len.to_be_bytes());
                    }
                    Err(_) => {
                        self.out.push(tag::LONG_STRING);
                        self.out.extend((bytes.len() as u64).to_be_bytes());
                    }
                }
                self.out.extend_from_slice(bytes);
            }
            Node::Class(class) => {
                self.out.push(tag::CLASS);
                self.class(Some(*class));
                self.begun(object);
            }
            Node::Enum { class, constant } => {
                self.out.push(tag::ENUM);
                self.class(Some(*class));
                self.begun(object);
                steps.push(Step::Value(Some(*constant)));
            }
            Node::Array { class, elements } => {
                self.out.push(tag::ARRAY);
                self.class(Some(*class));
                self.begun(object);
                match elements {
                    Elements::Primitive(bytes) => {
                        let desc = self.heap.class(*class);
                        let width = desc.element().and_then(super::class::width).unwrap_or(1);
                        self.out
                            .extend(((bytes.len() / width) as u32).to_be_bytes());
                        self.out.extend_from_slice(bytes);
                    }
                    Elements::References(elements) => {
                        self.out.extend((elements.len() as u32).to_be_bytes());
                        steps.extend(elements.iter().rev().map(|e| Step::Value(*e)));
                    }
                }
            }
            Node::Object {
                class,
                primitives,
                references,
                contents,
            } => {
                self.out.push(tag::OBJECT);
                self.class(Some(*class));
                self.begun(object);
                if references.is_empty() && contents.is_empty() {
                    return self.out.extend_from_slice(primitives);
                }
                let first = steps.len();
                self.fields(*class, primitives, references, contents, steps);
                steps[first..].reverse();
            }
        }
    }

    /// The parts of an object in their order.
    fn fields(
        &self,
        class: ClassRef,
        mut primitives: &'h [u8],
        mut references: &'h [Reference],
        mut contents: &'h [Content],
        steps: &mut Vec<Step<'h>>,
    ) {
        for class in self.heap.lineage(class) {
            let desc = self.heap.class(class);
            let (bytes, rest) = primitives.split_at(desc.primitive_bytes());
            primitives = rest;
            steps.push(Step::Bytes(bytes));
            let (values, rest) = references.split_at(desc.references());
            references = rest;
            steps.extend(values.iter().map(|value| Step::Value(*value)));
            while desc.has_contents()
                && let Some((content, rest)) = contents.split_first()
            {
                contents = rest;
                match content {
                    Content::Block(bytes) => steps.push(Step::Block(bytes)),
                    Content::Value(value) => steps.push(Step::Value(*value)),
                    Content::End => {
                        steps.push(Step::End);
                        break;
                    }
                }
            }
        }
    }

    /// The description of a class and of those that it descends from.
    fn class(&mut self, mut class: Option<ClassRef>) {
        while let Some(described) = class {
            match self.classes[described.0 as usize] {
                0 => {}
                handle => return self.reference(handle),
            }
            let heap = self.heap;
            let desc = heap.class(described);
            self.out.push(tag::CLASS_DESC);
            class = desc.parent;
            if let Some(encoded) = heap.known(described).and_then(Known::encoded) {
                self.classes[described.0 as usize] = self.next_handle();
                self.out.extend_from_slice(encoded);
                continue;
            }
            self.short_text(&desc.name);
            self.out.extend(desc.serial_version.to_be_bytes());
            self.classes[described.0 as usize] = self.next_handle();
            self.out.push(desc.flags);
            self.out.extend((desc.fields.len() as u16).to_be_bytes());
            for field in &desc.fields {
                self.out.push(field.kind);
                self.short_text(&field.name);
                let Some(signature) = &field.signature else {
                    continue;
                };
                match self.types.get(signature).copied() {
                    Some(handle) => self.reference(handle),
                    None => {
                        let handle = self.next_handle();
                        self.types.insert(signature, handle);
                        self.out.push(tag::STRING);
                        self.short_text(signature);
                    }
                }
            }
            self.out.push(tag::END);
        }
        self.out.push(tag::NULL);
    }

    /// A text that was read with a 16-bit length, or is a constant.
    fn short_text(&mut self, text: &JavaText) {
        let bytes = text.as_modified_utf8();
        self.out.extend((bytes.len() as u16).to_be_bytes());
        self.out.extend_from_slice(bytes);
    }

    fn reference(&mut self, handle: u32) {
        self.out.push(tag::REFERENCE);
        self.out.extend(handle.to_be_bytes());
    }

    fn begun(&mut self, object: Ref) {
        self.objects[object.0 as usize] = self.next_handle();
    }

    fn next_handle(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}
