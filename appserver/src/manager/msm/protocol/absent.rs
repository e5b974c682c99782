//! Ids that are known not to exist, so that a client that repeats one costs nothing.

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use crate::session::Timestamp;

/// For how many milliseconds an id is believed not to exist.
const MILLIS: u64 = 500;

/// At most so many ids; the oldest is forgotten first.
const IDS_MAX: usize = 2000;

/// Ids without a session, by their text.
#[derive(Debug, Default)]
pub struct Absent(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    since: HashMap<String, Timestamp>,
    order: VecDeque<(String, Timestamp)>,
}

impl Absent {
    /// The id does not exist, or not any more.
    pub fn add(&self, id: String, now: Timestamp) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = &mut *ids;
        while let Some((oldest, since)) = ids.order.front()
            && (ids.order.len() >= IDS_MAX || now.since(*since) >= MILLIS)
        {
            if ids.since.get(oldest) == Some(since) {
                ids.since.remove(oldest);
            }
            ids.order.pop_front();
        }
        ids.since.insert(id.clone(), now);
        ids.order.push_back((id, now));
    }

    /// Whether the id was seen not to exist a moment ago.
    pub fn has(&self, id: impl Display, now: impl FnOnce() -> Timestamp) -> bool {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly there is none so young, and then the text need not be made.
        let Some((_, newest)) = ids.order.back() else {
            return false;
        };
        let now = now();
        if now.since(*newest) >= MILLIS {
            return false;
        }
        ids.since
            .get(&id.to_string())
            .is_some_and(|since| now.since(*since) < MILLIS)
    }
}

#[cfg(test)]
mod tests {
    use super::{Absent, IDS_MAX};
    use crate::session::Timestamp;

    #[test]
    fn ids_are_forgotten_after_half_a_second_and_the_oldest_of_many() {
        let absent = Absent::default();
        absent.add("a".into(), Timestamp(1000));
        assert!(absent.has("a", || Timestamp(1499)));
        assert!(!absent.has("a", || Timestamp(1500)));
        assert!(!absent.has("b", || Timestamp(1000)));
        absent.add("a".into(), Timestamp(1400));
        absent.add("b".into(), Timestamp(1500));
        assert!(absent.has("a", || Timestamp(1600)), "seen again meanwhile");
        for i in 0..IDS_MAX {
            absent.add(format!("id{i}"), Timestamp(1600));
        }
        assert!(!absent.has("a", || Timestamp(1600)));
        assert!(absent.has("id0", || Timestamp(1600)));
        let ids = absent.0.lock().expect("not poisoned");
        assert_eq!((ids.since.len(), ids.order.len()), (IDS_MAX, IDS_MAX));
    }
}
