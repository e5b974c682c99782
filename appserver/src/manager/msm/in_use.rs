//! The sessions that requests of this server hold now: requests of one session share its state, and come one after the other where
//! the nodes are asked for it. In sticky mode also the sessions that nobody holds.
//!
//! Locks are taken in this order: a place, then the table, then a session's state. The table's is never held across an await.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::protocol::Held;
use super::protocol::safe::Owned;
use crate::session::{Kept, Key, Session, SessionId, Timestamp};

/// A session in this server: what requests share, and what the nodes have of it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) kept: Kept,
    pub(super) held: Held,
    /// Requests that have the session and did not end; those that were given up too.
    pub(super) requests: usize,
}

impl Live {
    /// A session that one request has.
    pub(super) fn new(kept: Kept, held: Held) -> Self {
        Self {
            kept,
            held,
            requests: 1,
        }
    }

    /// A request ends; whether no other has the session.
    pub(super) fn end_request(&mut self) -> bool {
        self.requests = self.requests.saturating_sub(1);
        self.requests == 0 || self.kept.references() <= PLACE_AND_ONE
    }
}

/// Where a session is while it is in use. Empty while it is being looked for, and after it ended.
pub(super) type Place = Arc<tokio::sync::Mutex<Option<Live>>>;

/// A place that is locked.
pub(super) type Locked = OwnedMutexGuard<Option<Live>>;

/// Locks a place, which mostly nobody else wants.
pub(super) async fn lock(place: &Place) -> Locked {
    match Arc::clone(place).try_lock_owned() {
        Ok(locked) => locked,
        Err(_) => Box::pin(Arc::clone(place).lock_owned()).await,
    }
}

/// The places, by the random part of the id.
#[derive(Debug, Default)]
pub(super) struct InUse(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    places: Places,
    /// Empty places that nobody has: each request needs one, and they are large.
    spare: Vec<Place>,
}

/// Clients choose the keys that are looked for, so the hash has a secret; a quick one, since each request needs several.
type Places = HashMap<Key, Place, foldhash::fast::RandomState>;

/// At most so many spare places; more are made anew.
const SPARE_MAX: usize = 64;

/// References on a session that is in its place and that one request holds.
const PLACE_AND_ONE: usize = 2;

impl InUse {
    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.table().places.len()
    }

    /// The place of a session, empty if there was none.
    pub(super) fn place(&self, key: Key) -> Place {
        let table = &mut *self.table();
        let place = table.places.entry(key);
        let place = place.or_insert_with(|| table.spare.pop().unwrap_or_default());
        Arc::clone(place)
    }

    /// A session that has a new id.
    pub(super) fn put(&self, key: Key, live: Live) {
        let table = &mut *self.table();
        let mut place = table.spare.pop().unwrap_or_default();
        match Arc::get_mut(&mut place) {
            Some(empty) => *empty.get_mut() = Some(live),
            None => place = Arc::new(tokio::sync::Mutex::new(Some(live))),
        }
        table.places.insert(key, place);
    }

    /// The place of a session that a request holds, locked, also while its id changes. `None`: it ended.
    pub(super) async fn find(&self, session: &Session) -> Option<(Place, Locked)> {
        loop {
            let key = session.id().key;
            let place = self.table().places.get(&key).cloned();
            if let Some(place) = place {
                let locked = lock(&place).await;
                let is_it = |live: &Live| live.kept.is(session.kept());
                if locked.as_ref().is_some_and(is_it) {
                    return Some((place, locked));
                }
                self.leave(key, place, locked, true);
            }
            if session.id().key == key {
                return None;
            }
        }
    }

    /// Makes the place of one id that of another; in between it is that of both. `rename` gives the session its new id.
    pub(super) fn rename<E>(
        &self,
        old: Key,
        new: Key,
        place: &Place,
        rename: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.table().places.insert(new, Arc::clone(place));
        let renamed = rename();
        self.table()
            .places
            .remove(if renamed.is_ok() { &old } else { &new });
        renamed
    }

    /// A request is done with a place: forgets it when it is empty, or when the session need not be `kept` and no other request holds
    /// it. Whoever leaves still holds the session, if there is one.
    pub(super) fn leave(&self, key: Key, place: Place, mut locked: Locked, keep: bool) {
        let table = &mut *self.table();
        // Nobody can come to the place while the table is locked. The table, we, and the guard have a reference each.
        let nobody_waits = Arc::strong_count(&place) == 3;
        let done = match locked.as_ref() {
            None => true,
            Some(live) => !keep && live.kept.references() <= PLACE_AND_ONE,
        };
        let mut left = None;
        if nobody_waits
            && done
            && let Entry::Occupied(there) = table.places.entry(key)
            && Arc::ptr_eq(there.get(), &place)
        {
            left = Some(there.remove());
            *locked = None;
        }
        // Before the table is unlocked, so that the next to leave does not count us.
        drop((locked, place));
        if table.spare.len() < SPARE_MAX {
            table.spare.extend(left);
        }
    }

    /// Takes out what was idle too long, and, unless they are to be kept, sessions of requests that were given up. The former are
    /// returned, ended.
    pub(super) fn sweep(&self, now: Timestamp, keep: bool) -> Vec<Live> {
        let mut idle = Vec::new();
        self.table().places.retain(|_, place| {
            if Arc::strong_count(place) > 1 {
                return true;
            }
            let Ok(mut live) = place.try_lock() else {
                return true;
            };
            match live.as_ref() {
                None => false,
                Some(found) if found.kept.expire(now) => {
                    idle.extend(live.take());
                    false
                }
                Some(found) => keep || found.kept.references() > 1,
            }
        });
        idle
    }

    /// The locks of sessions that requests have now, except of those that are being looked for or stored at this moment.
    pub(super) fn locks(&self) -> Vec<(SessionId, Owned)> {
        let lock_of = |place: &Place| {
            let live = place.try_lock().ok()?;
            let live = live.as_ref().filter(|live| live.kept.references() > 1)?;
            Some((live.held.id, live.held.lock()?.clone()))
        };
        self.table().places.values().filter_map(lock_of).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
