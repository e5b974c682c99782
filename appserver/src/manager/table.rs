//! The sessions that are in this process's memory, for every manager that keeps some there.
//!
//! ```text
//!   key's first byte ──► one of 64 shards, each a small table behind its own lock ──► an entry, which knows its own key
//! ```
//!
//! Locks are taken in this order: shards by number, then one session's state. Whoever enters, finds, renames or removes a
//! session holds its shard's lock, so each of these is one step for all others.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use crate::session::{Kept, Key};

/// Enough that threads rarely meet and that a sweep holds a request up for a 64th of the sessions only.
pub const SHARDS: usize = 64;

/// What a table holds: a session, and what the manager needs beside it.
pub trait Entry {
    /// The session.
    fn kept(&self) -> &Kept;
}

impl Entry for Kept {
    fn kept(&self) -> &Kept {
        self
    }
}

/// Entries by key. `B` is what a manager keeps beside the entries of each shard, under the same lock.
#[derive(Debug)]
pub struct Table<E, B = ()>(Box<[Place<E, B>]>);

/// On a cache line of its own, so that neighbours' locks do not slow each other down.
#[derive(Debug)]
#[repr(align(64))]
struct Place<E, B>(Mutex<Shard<E, B>>);

/// The entries of one shard.
#[derive(Debug)]
pub struct Shard<E, B = ()> {
    entries: HashTable<E>,
    /// What the manager keeps beside them.
    pub beside: B,
}

/// The shards of two keys, which may be one and the same.
#[derive(Debug)]
pub struct Two<'a, E, B> {
    lower: MutexGuard<'a, Shard<E, B>>,
    upper: Option<MutexGuard<'a, Shard<E, B>>>,
    /// The first key's shard is the upper one.
    swapped: bool,
}

impl<E: Entry, B: Default> Table<E, B> {
    /// No entries.
    pub fn new() -> Self {
        let shard = || Shard {
            entries: HashTable::new(),
            beside: B::default(),
        };
        Self((0..SHARDS).map(|_| Place(Mutex::new(shard()))).collect())
    }

    /// The shard of this key.
    pub fn shard(&self, key: Key) -> MutexGuard<'_, Shard<E, B>> {
        self.number(shard_of(key))
    }

    /// The shard of this number, below [`SHARDS`].
    pub fn number(&self, number: usize) -> MutexGuard<'_, Shard<E, B>> {
        let Place(shard) = &self.0[number];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both keys' shards: by number, so that nobody waits in a circle.
    pub fn two(&self, first: Key, second: Key) -> Two<'_, E, B> {
        let (first, second) = (shard_of(first), shard_of(second));
        Two {
            lower: self.number(first.min(second)),
            upper: (first != second).then(|| self.number(first.max(second))),
            swapped: first > second,
        }
    }
}

impl<E: Entry, B: Default> Default for Table<E, B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E, B> Two<'_, E, B> {
    /// The first key's shard.
    pub fn first(&mut self) -> &mut Shard<E, B> {
        match &mut self.upper {
            Some(upper) if self.swapped => upper,
            _ => &mut self.lower,
        }
    }

    /// The second key's shard.
    pub fn second(&mut self) -> &mut Shard<E, B> {
        match &mut self.upper {
            Some(upper) if !self.swapped => upper,
            _ => &mut self.lower,
        }
    }
}

impl<E: Entry, B> Shard<E, B> {
    /// The entry of this key.
    pub fn get(&self, key: Key) -> Option<&E> {
        self.entries.find(key.random_bits(), |e| is(e, key))
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut E> {
        self.entries.find_mut(key.random_bits(), |e| is(e, key))
    }

    /// Enters what is not there yet.
    pub fn insert(&mut self, entry: E) {
        self.entries
            .insert_unique(random_bits(&entry), entry, random_bits);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: Key) -> Option<E> {
        let place = self.entries.find_entry(key.random_bits(), |e| is(e, key));
        place.ok().map(|place| place.remove().0)
    }

    /// Takes out what is not to stay; how many. Memory that many fewer sessions need is given back.
    pub fn retain(&mut self, stays: impl FnMut(&mut E) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(stays);
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to_fit(random_bits);
        }
        before - self.entries.len()
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.entries.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The number of the shard that this key is in.
pub fn shard_of(key: Key) -> usize {
    usize::from(key.as_bytes()[0]) % SHARDS
}

fn is<E: Entry>(entry: &E, key: Key) -> bool {
    entry.kept().id().key == key
}

fn random_bits<E: Entry>(entry: &E) -> u64 {
    entry.kept().id().key.random_bits()
}
