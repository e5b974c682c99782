//! What one message can tell.

use crate::manager::cluster::stamp::Stamp;
use crate::session::{Key, Packed, Timestamp};

/// What is told of a session that is no longer under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gone {
    /// It was idle too long; it had last been used then.
    Expired(Timestamp),
    /// It has another key.
    Moved {
        /// The other key.
        to: Key,
        /// When.
        stamp: Stamp,
        /// Whether clients may still come with the old key: it lost against another new key that was given at the same time.
        alias: bool,
    },
    /// It was ended on purpose, for ever.
    Ended,
}

/// A session, or what was changed of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// Its key.
    pub key: Key,
    /// Whether all of its registers are here.
    pub full: bool,
    /// When it was made.
    pub created: Timestamp,
    /// End of the previous request.
    pub last_accessed: Timestamp,
    /// From when idle time counts.
    pub touched: Timestamp,
    /// Number of the member that served it last.
    pub primary: u32,
    /// Seconds that it may be idle, and since when.
    pub interval: (i32, Stamp),
    /// The route that its id ends with, and since when; empty: none.
    pub route: (&'a str, Stamp),
    /// The key that it had first, where all is told and it has another one now.
    pub origin: Option<Key>,
    /// Its attributes.
    pub told: Vec<Told<'a>>,
}

/// What is told of an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Told<'a> {
    /// It was set.
    Set {
        /// Its name.
        name: &'a str,
        /// When.
        stamp: Stamp,
        /// To what.
        value: Packed<'a>,
    },
    /// It was removed.
    Removed {
        /// [`crate::manager::cluster::replica::name_hash`] of its name.
        name: u64,
        /// When.
        stamp: Stamp,
    },
}

/// One item of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    /// A session, made or changed.
    Record(Record<'a>),
    /// A session that is no longer there.
    Gone(Key, Gone),
    /// A session was used on the member that says so, last at this time.
    Accessed(Key, Timestamp),
    /// Send me all sessions.
    Ask,
    /// Send me this session.
    Need(Key),
    /// What follows are the versions of all my sessions with keys from the first to the second, both included.
    Range(Key, Key),
    /// The version of a session.
    Version(Key, u64),
    /// The version of a session that this member will let go: it is owed to whoever serves it now.
    Owed(Key, u64),
    /// All sessions were sent; so many.
    Complete(u64),
    /// I do not serve this context.
    NoContext,
    /// Which members keep a session, where not all do.
    Place(Key, Place),
    /// The same from its new primary, with the version that it has: whoever has that too owes it nothing.
    Claim(Key, Place, u64),
}

/// Which members keep a session. Of two the later holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Since when.
    pub stamp: Stamp,
    /// Number of the member that serves it.
    pub primary: u32,
    /// Number of the member that has a copy; 0: none.
    pub backup: u32,
}
