//! Objects of classes that are not the JDK's, for the formats that have some: made here, and looked into.

use super::class::{ClassDesc, ClassRef, Field, width};
use super::heap::{Content, Elements, Heap, Node, Ref, Reference};
use super::text::JavaText;

impl ClassDesc {
    /// A class: its name, `serialVersionUID`, `SC_…` flags, and its own fields with the types of those that are references.
    pub fn new(
        name: &str,
        serial_version: u64,
        flags: u8,
        fields: &[(u8, &str, &str)],
        parent: Option<ClassRef>,
    ) -> Self {
        let field = |(kind, name, signature): &(u8, &str, &str)| Field {
            kind: *kind,
            name: JavaText::new(name),
            signature: width(*kind).is_none().then(|| JavaText::new(signature)),
        };
        Self {
            name: JavaText::new(name),
            serial_version,
            flags,
            fields: fields.iter().map(field).collect(),
            parent,
        }
    }
}

impl Heap {
    /// An object with these fields, as they stand in a stream: the primitive ones, big-endian, and the references.
    pub fn instance(
        &mut self,
        class: ClassRef,
        primitives: &[u8],
        references: &[Reference],
    ) -> Ref {
        self.add(Node::Object {
            class,
            primitives: primitives.into(),
            references: references.into(),
            contents: Box::new([]),
        })
    }

    /// An object whose class writes it itself, as primitive data (`writeExternal`).
    pub fn external(&mut self, class: ClassRef, data: &[u8]) -> Ref {
        self.add(Node::Object {
            class,
            primitives: Box::new([]),
            references: Box::new([]),
            contents: Box::new([Content::Block(data.into()), Content::End]),
        })
    }

    /// An array of references.
    pub fn array(&mut self, class: ClassRef, elements: &[Reference]) -> Ref {
        let elements = Elements::References(elements.into());
        self.add(Node::Array { class, elements })
    }

    /// An enum's constant.
    pub fn constant(&mut self, class: ClassRef, name: &str) -> Ref {
        let constant = self.text(name);
        self.add(Node::Enum { class, constant })
    }

    /// The primitive data that an object begins with which its class writes itself.
    pub fn external_data(&self, object: Ref) -> Option<&[u8]> {
        match self.node(object) {
            Node::Object { contents, .. } => match contents.first() {
                Some(Content::Block(data)) => Some(data),
                _ => None,
            },
            _ => None,
        }
    }

    /// The name of an enum's constant.
    pub fn constant_name(&self, object: Ref) -> Option<&JavaText> {
        match self.node(object) {
            Node::Enum { constant, .. } => match self.node(*constant) {
                Node::String(name) => Some(name),
                _ => None,
            },
            _ => None,
        }
    }
}
