//! The objects of a stream: a graph in which objects refer to each other by number, so that shared objects cost nothing twice,
//! circles are harmless, and nothing that is walked or freed depends on how deep a stranger nested it.

use std::collections::HashMap;
use std::sync::Arc;

use super::class::{ClassDesc, ClassRef, Known};
use super::text::JavaText;

/// An object in a [`Heap`]. It means nothing in another heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref(pub(super) u32);

/// What a field, an element or a stream holds: an object, or Java's `null`.
pub type Reference = Option<Ref>;

/// Objects and the classes that describe them. A class is in it once, however often a stream described it.
#[derive(Debug, Clone, Default)]
pub struct Heap {
    nodes: Vec<Node>,
    classes: Vec<Class>,
    known_by_desc: HashMap<Arc<ClassDesc>, ClassRef>,
    known: HashMap<Known, ClassRef>,
    pub(super) boxes: HashMap<(Known, i64), Ref>,
}

/// A class of a heap.
#[derive(Debug, Clone)]
struct Class {
    desc: Arc<ClassDesc>,
    /// Which of the JDK's classes it is, if the description is exactly that.
    known: Option<Known>,
    /// How many classes it descends from.
    ancestors: usize,
}

/// One object. What an object consists of stands here as it stands in the stream: for each class from the topmost parent
/// down to its own, the primitive fields, the references, and then what the class wrote itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    String(JavaText),
    Array {
        class: ClassRef,
        elements: Elements,
    },
    Object {
        class: ClassRef,
        /// The primitive fields of all its classes, big-endian.
        primitives: Box<[u8]>,
        /// The references of all its classes.
        references: Box<[Reference]>,
        /// What its classes wrote themselves; an [`Content::End`] for each class that did.
        contents: Box<[Content]>,
    },
    Enum {
        class: ClassRef,
        constant: Ref,
    },
    /// A `java.lang.Class`.
    Class(ClassRef),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Elements {
    /// Big-endian.
    Primitive(Box<[u8]>),
    References(Box<[Reference]>),
}

/// A part of what a class's `writeObject` or `writeExternal` wrote.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Primitive data; never next to another block.
    Block(Box<[u8]>),
    Value(Reference),
    End,
}

impl Heap {
    /// No objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The description of a class.
    pub fn class(&self, class: ClassRef) -> &ClassDesc {
        &self.classes[class.0 as usize].desc
    }

    /// Which of the JDK's classes this is; `None` for every other class, and for one that only has such a name.
    pub fn known(&self, class: ClassRef) -> Option<Known> {
        self.classes[class.0 as usize].known
    }

    /// The class as the JDK describes it.
    pub fn known_class(&mut self, known: Known) -> ClassRef {
        if let Some(class) = self.known.get(&known) {
            return *class;
        }
        let (mut desc, parent) = known.desc();
        // Two levels are the most that there are.
        desc.parent = parent.map(|parent| self.known_class(parent));
        self.intern(desc)
    }

    /// The name of an object's class.
    pub fn class_name(&self, object: Ref) -> String {
        match self.node(object) {
            Node::String(_) => "java.lang.String".into(),
            Node::Class(_) => "java.lang.Class".into(),
            Node::Array { class, .. } | Node::Object { class, .. } | Node::Enum { class, .. } => {
                self.class(*class).name.to_string()
            }
        }
    }

    /// Adds a class; the same description is the same class.
    pub(super) fn intern(&mut self, desc: ClassDesc) -> ClassRef {
        if let Some(class) = self.known_by_desc.get(&desc) {
            return *class;
        }
        let class = ClassRef(self.classes.len() as u32);
        let known = self.identify(&desc);
        if let Some(known) = known {
            self.known.insert(known, class);
        }
        let desc = Arc::new(desc);
        self.classes.push(Class {
            ancestors: desc.parent.map_or(0, |parent| self.ancestors(parent) + 1),
            desc: Arc::clone(&desc),
            known,
        });
        self.known_by_desc.insert(desc, class);
        class
    }

    fn identify(&self, desc: &ClassDesc) -> Option<Known> {
        let name = |known: &&Known| known.name().as_bytes() == desc.name.as_modified_utf8();
        let known = Known::ALL.iter().find(name)?;
        let (mut wanted, parent) = known.desc();
        wanted.parent = desc.parent;
        let same = wanted == *desc && parent == desc.parent.and_then(|parent| self.known(parent));
        // An unknown parent is no parent of a class that has none.
        (same && parent.is_some() == desc.parent.is_some()).then_some(*known)
    }

    /// How many classes it descends from.
    pub(super) fn ancestors(&self, class: ClassRef) -> usize {
        self.classes[class.0 as usize].ancestors
    }

    /// The class and those that it descends from, the topmost first.
    pub(super) fn lineage(&self, class: ClassRef) -> Vec<ClassRef> {
        let mut lineage: Vec<_> =
            std::iter::successors(Some(class), |class| self.class(*class).parent).collect();
        lineage.reverse();
        lineage
    }

    pub(super) fn node(&self, object: Ref) -> &Node {
        &self.nodes[object.0 as usize]
    }

    pub(super) fn add(&mut self, node: Node) -> Ref {
        self.nodes.push(node);
        Ref(self.nodes.len() as u32 - 1)
    }

    /// Replaces an object that was added before it was complete.
    pub(super) fn complete(&mut self, object: Ref, node: Node) {
        self.nodes[object.0 as usize] = node;
    }
}
