//! Sessions whose copies are known to differ, to be made alike in the background: a bounded set of ids. Those that do not fit are
//! made alike by their next request.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::{Key, SessionId};

/// At most so many ids; one more is not taken.
pub const DIRTY_MAX: usize = 4096;

/// The ids, the first to come first.
#[derive(Debug, Default)]
pub struct Dirty(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    order: VecDeque<SessionId>,
    /// A session may be there under an old id and a new one, which have the same random part in sticky mode.
    known: HashSet<(Key, Option<&'static str>, Option<&'static str>)>,
}

fn name(id: &SessionId) -> (Key, Option<&'static str>, Option<&'static str>) {
    (id.key, id.suffix.node(), id.suffix.route())
}

impl Dirty {
    /// The copies of this session differ.
    pub fn add(&self, id: SessionId) {
        let mut ids = self.ids();
        if ids.order.len() < DIRTY_MAX && ids.known.insert(name(&id)) {
            ids.order.push_back(id);
        }
    }

    /// Takes out up to so many.
    pub fn take(&self, most: usize) -> Vec<SessionId> {
        let mut ids = self.ids();
        let count = most.min(ids.order.len());
        let taken: Vec<SessionId> = ids.order.drain(..count).collect();
        for id in &taken {
            ids.known.remove(&name(id));
        }
        taken
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ids().order.len()
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{DIRTY_MAX, Dirty};
    use crate::session::{Key, SessionId, Suffix};

    #[test]
    fn an_id_is_there_once_and_their_number_has_a_bound() {
        let dirty = Dirty::default();
        let id = || SessionId {
            key: Key::random(),
            suffix: Suffix::NONE,
        };
        let first = id();
        dirty.add(first);
        dirty.add(first);
        assert_eq!(dirty.count(), 1);
        for _ in 0..DIRTY_MAX {
            dirty.add(id());
        }
        assert_eq!(dirty.count(), DIRTY_MAX);
        assert_eq!(dirty.take(1), [first]);
        assert_eq!(dirty.take(DIRTY_MAX).len(), DIRTY_MAX - 1);
        dirty.add(first);
        assert_eq!(dirty.take(2), [first]);
    }
}
