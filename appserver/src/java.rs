//! Java's object streams (`java.io.ObjectOutputStream`), so that sessions can be shared with servers that are written in
//! Java. Pure: bytes in, values out and back; no class is loaded and no code of a class runs.
//!
//! ```text
//!   bytes ── Reader ──►  Heap: nodes and class descriptions  ── Writer ──► bytes
//!              ▲             ▲                   │
//!        text, class         │ build             ▼ view           what the JDK's own classes mean
//!                            └──── attribute ────┘                the session's values
//!                             custom: objects of other classes, for formats that have some
//! ```
//!
//! A stream is a graph: objects refer to each other, and circles are allowed. The reader keeps the graph as it is, in a
//! [`Heap`], also of classes that it never heard of, so writing gives back what was read, byte for byte when the JDK wrote it.
//! The grammar is chapter 6 of Java's Object Serialization Specification, version 2 of the protocol.
//!
//! What cannot be read without the class itself is refused by name ([`JavaError::Unsupported`]): `Externalizable` classes
//! that write without block data, dynamic proxies and annotated class descriptions.
//!
//! No length in a stream is believed: memory is taken for what is there, and [`Limits`] bound the rest.

pub mod attribute;
pub mod build;
pub mod class;
mod custom;
pub mod heap;
mod read;
pub mod text;
pub mod view;
mod write;

pub use class::{ClassDesc, ClassRef, Field, Known};
pub use heap::{Heap, Ref};
pub use read::Reader;
pub use text::JavaText;
pub use view::View;
pub use write::Writer;

/// What a stream begins with: the magic number and version 5.
const HEADER: [u8; 4] = [0xAC, 0xED, 0x00, 0x05];

/// The deepest nesting that any [`Limits`] allow; reading takes stack for each level.
pub const DEPTH_MAX: usize = 128;

/// What a reader takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the stream.
    pub bytes: usize,
    /// Objects, strings, arrays, class descriptions and elements of collections.
    pub objects: usize,
    /// How deep objects nest, and how many serializable classes a class may descend from; at most [`DEPTH_MAX`].
    pub depth: usize,
}

/// For the attributes of one session: twice what a session may hold, for the descriptions of classes.
impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 << 20,
            objects: 1 << 17,
            depth: 64,
        }
    }
}

/// Why a stream cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JavaError {
    /// It ends too early.
    #[error(
        "the Java stream ends within a value, at byte {at}; it was cut or a length in it is wrong"
    )]
    Truncated {
        /// Where more was expected.
        at: usize,
    },
    /// Something stands where it may not.
    #[error(
        "the Java stream has byte {found:#04x} at {at} where {wanted} is expected; it is damaged"
    )]
    Unexpected {
        /// Where.
        at: usize,
        /// What.
        found: u8,
        /// Instead of what.
        wanted: &'static str,
    },
    /// A part contradicts another.
    #[error("the Java stream is damaged at byte {at}: {what}")]
    Damaged {
        /// Where.
        at: usize,
        /// How.
        what: &'static str,
    },
    /// Valid, but it cannot be read without the class.
    #[error(
        "the Java stream has {what} ({class}), which only Java can read; do not put it into a session"
    )]
    Unsupported {
        /// The class, or what is known of it.
        class: String,
        /// What it is.
        what: &'static str,
    },
    /// More than the reader was allowed to take.
    #[error("the Java stream has more than {limit} {what}; store less in the session")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The server that wrote the stream met an error half-way and said so in the stream.
    #[error(
        "the Java stream ends with an exception of its writer: an object in it could not be serialized there"
    )]
    WriterFailed,
    /// A value is not what the format that uses the stream demands.
    #[error("the Java stream has {found} where {wanted} is expected")]
    Type {
        /// What is there.
        found: String,
        /// What should be.
        wanted: &'static str,
    },
}

/// The bytes that elements of a stream begin with.
mod tag {
    pub(super) const NULL: u8 = 0x70;
    pub(super) const REFERENCE: u8 = 0x71;
    pub(super) const CLASS_DESC: u8 = 0x72;
    pub(super) const OBJECT: u8 = 0x73;
    pub(super) const STRING: u8 = 0x74;
    pub(super) const ARRAY: u8 = 0x75;
    pub(super) const CLASS: u8 = 0x76;
    pub(super) const BLOCK: u8 = 0x77;
    pub(super) const END: u8 = 0x78;
    pub(super) const RESET: u8 = 0x79;
    pub(super) const LONG_BLOCK: u8 = 0x7A;
    pub(super) const EXCEPTION: u8 = 0x7B;
    pub(super) const LONG_STRING: u8 = 0x7C;
    pub(super) const PROXY_DESC: u8 = 0x7D;
    pub(super) const ENUM: u8 = 0x7E;
}

/// The number of the first object of a stream in references.
const FIRST_HANDLE: u32 = 0x007E_0000;
