//! The objects of a stream: a graph in which objects refer to each other by number, so that shared objects cost nothing twice,
//! circles are harmless, and nothing that is walked or freed depends on how deep a stranger nested it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::class::{ClassDesc, ClassRef, EXTERNALIZABLE, Known};
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
    /// Classes that are not known; their numbers come after those of the known ones.
    others: Vec<Class>,
    /// There are few of them, and to hash one takes longer than to find it.
    numbers: BTreeMap<Arc<ClassDesc>, ClassRef>,
    pub(super) boxes: BTreeMap<(Known, i64), Ref>,
}

/// A class that is not known.
#[derive(Debug, Clone)]
struct Class {
    desc: Arc<ClassDesc>,
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
        match self.known(class) {
            Some(known) => known.desc(),
            None => &self.others[class.0 as usize - Known::ALL.len()].desc,
        }
    }

    /// Which of the JDK's classes this is; `None` for every other class, and for one that only has such a name.
    pub fn known(&self, class: ClassRef) -> Option<Known> {
        Known::ALL.get(class.0 as usize).copied()
    }

    /// One more than the largest number of a class.
    pub(super) fn classes(&self) -> usize {
        Known::ALL.len() + self.others.len()
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

    /// The fields of an object of whatever class, as they stand in the stream: the primitive ones of all its classes, big-endian,
    /// and the references. `None` for strings, arrays and enum constants.
    pub fn fields(&self, object: Ref) -> Option<(&[u8], &[Reference])> {
        match self.node(object) {
            Node::Object {
                primitives,
                references,
                ..
            } => Some((primitives, references)),
            _ => None,
        }
    }

    /// Adds a class; the same description is the same class.
    pub fn intern(&mut self, desc: ClassDesc) -> ClassRef {
        if let Some(known) = Known::of_name(desc.name.as_modified_utf8())
            && *known.desc() == desc
        {
            return known.into();
        }
        if let Some(class) = self.numbers.get(&desc) {
            return *class;
        }
        let class = ClassRef(self.classes() as u32);
        let desc = Arc::new(desc);
        self.others.push(Class {
            ancestors: desc.parent.map_or(0, |parent| self.ancestors(parent) + 1),
            desc: Arc::clone(&desc),
        });
        self.numbers.insert(desc, class);
        class
    }

    /// How many classes it descends from.
    pub(super) fn ancestors(&self, class: ClassRef) -> usize {
        match self.known(class) {
            Some(known) => usize::from(known.desc().parent.is_some()),
            None => self.others[class.0 as usize - Known::ALL.len()].ancestors,
        }
    }

    /// The class and those that it descends from, the topmost first, as an object of it is written. A class that writes its objects
    /// itself writes for those that it descends from too.
    pub(super) fn lineage(&self, class: ClassRef) -> impl Iterator<Item = ClassRef> + use<> {
        let desc = self.class(class);
        let parent = desc.parent.filter(|_| desc.flags & EXTERNALIZABLE == 0);
        let parent_of = |class: &ClassRef| self.class(*class).parent;
        // Most classes have no more than a parent, and take no memory here.
        let above = parent.as_ref().and_then(parent_of);
        let mut above: Vec<_> = std::iter::successors(above, parent_of).collect();
        above.reverse();
        above.into_iter().chain(parent).chain(Some(class))
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
