//! What a shard of the store has beside its sessions: the marks of those that are gone, and what is known of those that others keep.

use std::collections::{HashMap, VecDeque};

use hashbrown::HashTable;

use crate::manager::cluster::native::{Gone, Place};
use crate::session::{Changes, Key, Suffix, Timestamp};

/// What a shard has beside its sessions.
#[derive(Debug, Default)]
pub struct Beside {
    gone: HashTable<(Key, Gone)>,
    /// When to forget which.
    order: VecDeque<(Timestamp, Key)>,
    /// Sessions that other members keep.
    pub places: HashTable<(Key, Place)>,
    /// How their ids end, where Tomcats told it.
    suffixes: HashMap<Key, Suffix>,
    /// Sessions that were used here, which the others do not know yet.
    pub used: Vec<Key>,
    /// Changes that were not told yet, because their requests match the filter.
    pub pending: HashMap<Key, Changes>,
}

/// At most so many marks per shard, 262,144 in all; then the oldest goes.
const GONE_MAX: usize = 4096;

impl Beside {
    /// Remembers until then that a key is gone.
    pub(super) fn mark(&mut self, key: Key, gone: Gone, forget: Timestamp) {
        self.drop_place(key);
        if self.put(key, gone).is_none() {
            self.order.push_back((forget, key));
        }
        if self.gone.len() > GONE_MAX {
            self.forget_first();
        }
    }

    /// The mark of a key that is gone.
    pub(super) fn gone(&self, key: Key) -> Option<Gone> {
        let mark = self.gone.find(key.random_bits(), |(k, _)| *k == key);
        mark.map(|(_, gone)| *gone)
    }

    /// All marks.
    pub(super) fn all_gone(&self) -> impl Iterator<Item = (Key, Gone)> {
        self.gone.iter().copied()
    }

    /// Forgets marks whose time is over.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| *at <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.drop_mark(key);
        }
    }

    /// The mark that was there.
    fn put(&mut self, key: Key, gone: Gone) -> Option<Gone> {
        let known = self.gone.find_mut(key.random_bits(), |(k, _)| *k == key);
        if let Some((_, known)) = known {
            return Some(std::mem::replace(known, gone));
        }
        let hash = |(key, _): &(Key, Gone)| key.random_bits();
        self.gone
            .insert_unique(key.random_bits(), (key, gone), hash);
        None
    }

    /// Which members keep a session that is not here.
    pub fn place(&self, key: Key) -> Option<Place> {
        let place = self.places.find(key.random_bits(), |(k, _)| *k == key);
        place.map(|(_, place)| *place)
    }

    /// Remembers which members keep a session; an earlier word does not replace a later one. What is known now.
    pub fn set_place(&mut self, key: Key, place: Place) -> Place {
        let known = self.places.find_mut(key.random_bits(), |(k, _)| *k == key);
        match known {
            Some((_, known)) => {
                *known = place.max(*known);
                *known
            }
            None => {
                let hash = |(key, _): &(Key, Place)| key.random_bits();
                self.places
                    .insert_unique(key.random_bits(), (key, place), hash);
                place
            }
        }
    }

    /// How the id of a session that is not here ends, if a Tomcat told it.
    pub fn suffix(&self, key: Key) -> Option<Suffix> {
        self.suffixes.get(&key).copied()
    }

    /// Remembers it.
    pub fn set_suffix(&mut self, key: Key, suffix: Suffix) {
        self.suffixes.insert(key, suffix);
    }

    /// Forgets sessions of which nobody is left that keeps them.
    pub fn retain_places(&mut self, is_kept: impl Fn(&Place) -> bool) {
        let suffixes = &mut self.suffixes;
        self.places.retain(|(key, place)| {
            let stays = is_kept(place);
            if !stays {
                suffixes.remove(key);
            }
            stays
        });
    }

    /// Forgets where a session is kept.
    pub fn drop_place(&mut self, key: Key) -> Option<Place> {
        self.suffixes.remove(&key);
        let place = self
            .places
            .find_entry(key.random_bits(), |(k, _)| *k == key);
        place.ok().map(|place| place.remove().0.1)
    }

    /// Forgets a mark: the session is there again.
    pub(super) fn drop_mark(&mut self, key: Key) {
        let place = self.gone.find_entry(key.random_bits(), |(k, _)| *k == key);
        if let Ok(place) = place {
            place.remove();
        }
    }
}
