//! Which requests have a session to themselves, and for how long they try to get it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::{Answer, Command, Verb, World};
use crate::manager::msm::LOCK_VALUE;
use crate::manager::msm::key::ItemKey;
use crate::manager::msm::pattern::{RequestLine, Subject};
use crate::manager::msm::settings::LockingMode;

/// The first pause between two tries in milliseconds; each is twice the one before.
const PAUSE_MIN: u64 = 10;
/// The longest pause.
const PAUSE_MAX: u64 = 500;

/// `auto` knows so many requests that only read.
const READING_MAX: usize = 1000;
/// And so many that change.
const CHANGING_MAX: usize = 50_000;

/// Tries to get a lock until `timeout` milliseconds are over; whether it was got. After the time, and after any error, the
/// request goes on without it, as in msm.
pub(super) async fn acquire<W: World>(
    world: &W,
    node: usize,
    key: &ItemKey,
    expiry: i64,
    timeout: u32,
) -> bool {
    let start = world.now();
    let mut pause = PAUSE_MIN;
    loop {
        let add = Command {
            verb: Verb::Add(expiry, LOCK_VALUE.into()),
            key: key.clone(),
        };
        match world.call(node, add, timeout).await {
            Answer::Done => return true,
            Answer::NotStored if world.now().since(start) < u64::from(timeout) => {
                world.pause(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            _ => return false,
        }
    }
}

/// What `auto` learned of requests on this server. Each text of method, path and query is a request of its own.
#[derive(Debug, Default)]
pub struct Learned(Mutex<(Bounded, Bounded)>);

/// A set that forgets its oldest members.
#[derive(Debug, Default)]
struct Bounded {
    members: HashSet<String>,
    order: VecDeque<String>,
}

impl Bounded {
    fn insert(&mut self, member: String, max: usize) {
        if !self.members.insert(member.clone()) {
            return;
        }
        self.order.push_back(member);
        if self.order.len() > max
            && let Some(oldest) = self.order.pop_front()
        {
            self.members.remove(&oldest);
        }
    }
}

impl Learned {
    /// Whether the request has to lock.
    pub fn locks(&self, mode: &LockingMode, request: &RequestLine<'_>, subject: Subject) -> bool {
        match mode {
            LockingMode::None | LockingMode::App | LockingMode::Merge => false,
            LockingMode::All => true,
            LockingMode::UriPattern(pattern) => pattern.matches_request(request, subject),
            LockingMode::Auto => {
                let learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let text = request.method_uri_query();
                !learned.0.members.contains(&text) || learned.1.members.contains(&text)
            }
        }
    }

    /// The request changed its session, or did not. One that ever did counts as changing.
    pub fn learn(&self, mode: &LockingMode, request: &RequestLine<'_>, changed: bool) {
        if *mode != LockingMode::Auto {
            return;
        }
        let mut learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = request.method_uri_query();
        if changed {
            learned.1.insert(text, CHANGING_MAX);
        } else {
            learned.0.insert(text, READING_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Learned, READING_MAX};
    use crate::manager::msm::pattern::{RequestLine, Subject};
    use crate::manager::msm::settings::LockingMode;

    #[test]
    fn auto_stops_locking_what_only_reads_until_it_changes_once() {
        let learned = Learned::default();
        let request = |path, query| RequestLine {
            method: "GET",
            path,
            query,
            context: "/jsp",
        };
        let auto = LockingMode::Auto;
        let locks = |request| learned.locks(&auto, &request, Subject::Path);
        let read = request("/jsp/get", None);
        assert!(locks(read));
        learned.learn(&auto, &read, false);
        assert!(!locks(read));
        assert!(locks(request("/jsp/get", Some("q=1"))), "another request");
        learned.learn(&auto, &read, true);
        learned.learn(&auto, &read, false);
        assert!(locks(read), "for good");

        let paths: Vec<String> = (0..=READING_MAX).map(|i| format!("/jsp/{i}")).collect();
        for path in &paths {
            learned.learn(&auto, &request(path, None), false);
        }
        assert!(locks(request(&paths[0], None)), "forgotten");
        assert!(!locks(request(&paths[1], None)));
        assert!(learned.locks(&LockingMode::All, &read, Subject::Path));
        assert!(!learned.locks(&LockingMode::None, &read, Subject::Path));
    }
}
