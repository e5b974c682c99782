//! Objects of the JDK's own classes, made here, as the JDK of today (17) writes them.
//!
//! Java makes small numbers once per process, and writes an object that comes again as a reference. So do these
//! functions: `heap.integer(5)` is the same object every time, `heap.integer(5000)` a new one.

use super::class::Known;
use super::heap::{Content, Elements, Heap, Node, Ref, Reference};
use super::text::JavaText;
use super::view::View;

/// `HashMap.DEFAULT_INITIAL_CAPACITY`.
const CAPACITY: u32 = 16;
/// `HashMap.MAXIMUM_CAPACITY`.
const CAPACITY_MAX: u32 = 1 << 30;
/// `HashMap.DEFAULT_LOAD_FACTOR`.
const LOAD_FACTOR: f32 = 0.75;

impl Heap {
    /// A `String`, a new one each time.
    pub fn text(&mut self, text: &str) -> Ref {
        self.java_text(JavaText::new(text))
    }

    /// The same of a text that is Java's already.
    pub fn java_text(&mut self, text: JavaText) -> Ref {
        self.add(Node::String(text))
    }

    /// `Integer.valueOf`.
    pub fn integer(&mut self, value: i32) -> Ref {
        self.boxed(Known::Integer, small(value.into()), &value.to_be_bytes())
    }

    /// `Long.valueOf`.
    pub fn long(&mut self, value: i64) -> Ref {
        self.boxed(Known::Long, small(value), &value.to_be_bytes())
    }

    /// `Boolean.valueOf`.
    pub fn boolean(&mut self, value: bool) -> Ref {
        self.boxed(Known::Boolean, Some(value.into()), &[value.into()])
    }

    /// `Double.valueOf`.
    pub fn double(&mut self, value: f64) -> Ref {
        self.boxed(Known::Double, None, &value.to_be_bytes())
    }

    /// `Float.valueOf`.
    pub fn float(&mut self, value: f32) -> Ref {
        self.boxed(Known::Float, None, &value.to_be_bytes())
    }

    /// `Short.valueOf`.
    pub fn short(&mut self, value: i16) -> Ref {
        self.boxed(Known::Short, small(value.into()), &value.to_be_bytes())
    }

    /// `Byte.valueOf`.
    pub fn byte(&mut self, value: i8) -> Ref {
        self.boxed(Known::Byte, Some(value.into()), &value.to_be_bytes())
    }

    /// `Character.valueOf` of a UTF-16 unit.
    pub fn character(&mut self, unit: u16) -> Ref {
        let same = (unit < 128).then_some(unit.into());
        self.boxed(Known::Character, same, &unit.to_be_bytes())
    }

    /// A `Date` of milliseconds since 1970-01-01 UTC.
    pub fn date(&mut self, millis: i64) -> Ref {
        self.collection(Known::Date, &[], &[], &millis.to_be_bytes(), &[])
    }

    /// A `byte[]`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Ref {
        let class = Known::Bytes.into();
        let elements = Elements::Primitive(bytes.into());
        self.add(Node::Array { class, elements })
    }

    /// A `String[]`. The elements must be strings or null.
    pub fn strings(&mut self, elements: &[Reference]) -> Ref {
        let class = Known::Strings.into();
        let elements = Elements::References(elements.into());
        self.add(Node::Array { class, elements })
    }

    /// An `Object[]`.
    pub fn objects(&mut self, elements: &[Reference]) -> Ref {
        let class = Known::Objects.into();
        let elements = Elements::References(elements.into());
        self.add(Node::Array { class, elements })
    }

    /// An `ArrayList`.
    pub fn array_list(&mut self, items: &[Reference]) -> Ref {
        let size = (items.len() as u32).to_be_bytes();
        self.collection(Known::ArrayList, &size, &[], &size, items)
    }

    /// A `LinkedList`.
    pub fn linked_list(&mut self, items: &[Reference]) -> Ref {
        let size = (items.len() as u32).to_be_bytes();
        self.collection(Known::LinkedList, &[], &[], &size, items)
    }

    /// A `HashMap` that was filled with these pairs, one after the other. They come in the order of Java's table as long as
    /// the keys are of classes whose hash code does not differ from run to run; Java does not mind other orders.
    pub fn hash_map(&mut self, pairs: &[(Reference, Reference)]) -> Ref {
        let pairs = self.in_table_order(pairs, |pair| pair.0);
        self.map(Known::HashMap, &pairs, &[])
    }

    /// A `LinkedHashMap` in insertion order.
    pub fn linked_hash_map(&mut self, pairs: &[(Reference, Reference)]) -> Ref {
        self.map(Known::LinkedHashMap, pairs, &[0])
    }

    /// A `TreeMap` in natural order. The pairs must be in that order.
    pub fn tree_map(&mut self, pairs: &[(Reference, Reference)]) -> Ref {
        let size = (pairs.len() as u32).to_be_bytes();
        self.collection(Known::TreeMap, &[], &[None], &size, &flat(pairs))
    }

    /// A `HashSet` that was filled with these items, one after the other; see [`Heap::hash_map`].
    pub fn hash_set(&mut self, items: &[Reference]) -> Ref {
        let items = self.in_table_order(items, |item| *item);
        self.set(Known::HashSet, &items)
    }

    /// A `LinkedHashSet`.
    pub fn linked_hash_set(&mut self, items: &[Reference]) -> Ref {
        self.set(Known::LinkedHashSet, items)
    }

    /// An object whose contents are primitive data and then these values.
    fn collection(
        &mut self,
        known: Known,
        primitives: &[u8],
        references: &[Reference],
        data: &[u8],
        values: &[Reference],
    ) -> Ref {
        let mut contents = vec![Content::Block(data.into())];
        contents.extend(values.iter().map(|value| Content::Value(*value)));
        contents.push(Content::End);
        self.add(Node::Object {
            class: known.into(),
            primitives: primitives.into(),
            references: references.into(),
            contents: contents.into(),
        })
    }

    fn map(&mut self, known: Known, pairs: &[(Reference, Reference)], own: &[u8]) -> Ref {
        let table = table_size(pairs.len());
        // An empty map has no table yet and no threshold.
        let threshold = if pairs.is_empty() { 0 } else { table / 4 * 3 };
        let mut primitives = [LOAD_FACTOR.to_be_bytes(), threshold.to_be_bytes()].concat();
        primitives.extend(own);
        let data = [table.to_be_bytes(), (pairs.len() as u32).to_be_bytes()].concat();
        self.collection(known, &primitives, &[], &data, &flat(pairs))
    }

    fn set(&mut self, known: Known, items: &[Reference]) -> Ref {
        let data = [
            table_size(items.len()).to_be_bytes(),
            LOAD_FACTOR.to_be_bytes(),
            (items.len() as u32).to_be_bytes(),
        ];
        self.collection(known, &[], &[], &data.concat(), items)
    }

    /// A box of a number; with `same`, the one box that Java has of it.
    fn boxed(&mut self, known: Known, same: Option<i64>, value: &[u8]) -> Ref {
        if let Some(object) = same.and_then(|same| self.boxes.get(&(known, same))) {
            return *object;
        }
        let object = self.add(Node::Object {
            class: known.into(),
            primitives: value.into(),
            references: Box::new([]),
            contents: Box::new([]),
        });
        if let Some(same) = same {
            self.boxes.insert((known, same), object);
        }
        object
    }

    /// By bucket, and within one by insertion.
    fn in_table_order<T: Clone>(&self, items: &[T], key: impl Fn(&T) -> Reference) -> Vec<T> {
        let mask = table_size(items.len()) - 1;
        let mut items = items.to_vec();
        items.sort_by_cached_key(|item| {
            let hash = key(item).map_or(0, |key| self.hash_code(key)) as u32;
            (hash ^ (hash >> 16)) & mask
        });
        items
    }

    /// `hashCode` of the classes where it is the same in every run; 0 for the others.
    fn hash_code(&self, object: Ref) -> i32 {
        let folded = |bits: i64| (bits ^ ((bits as u64) >> 32) as i64) as i32;
        match self.view(object) {
            View::Text(text) => text.hash_code(),
            View::Integer(value) => value,
            View::Long(value) | View::Date(value) => folded(value),
            View::Boolean(value) => {
                if value {
                    1231
                } else {
                    1237
                }
            }
            View::Double(value) => folded(value.to_bits() as i64),
            View::Float(value) => value.to_bits() as i32,
            View::Short(value) => value.into(),
            View::Byte(value) => value.into(),
            View::Character(unit) => unit.into(),
            _ => 0,
        }
    }
}

/// The numbers of which Java has one box each.
fn small(value: i64) -> Option<i64> {
    (-128..128).contains(&value).then_some(value)
}

/// How large a table grows that is filled one by one.
fn table_size(entries: usize) -> u32 {
    let mut size = CAPACITY;
    while entries > (size / 4 * 3) as usize && size < CAPACITY_MAX {
        size *= 2;
    }
    size
}

fn flat(pairs: &[(Reference, Reference)]) -> Vec<Reference> {
    pairs
        .iter()
        .flat_map(|(key, value)| [*key, *value])
        .collect()
}
