//! A session as a manager keeps it: what all requests of it share, and its life.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attributes::Attributes;
use super::{Facts, Session, SessionError, SessionId, Timestamp};

/// One reference on a session's state: a word. Its lock guards a few words and the packed attributes.
#[derive(Clone)]
pub struct Kept(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) id: SessionId,
    created: Timestamp,
    /// End of the previous request, which the application sees.
    last_accessed: Timestamp,
    /// Start of the current request or end of the latest, from which idle time counts.
    touched: Timestamp,
    /// Seconds; 0 or less: never expires.
    pub(super) max_inactive: i32,
    is_new: bool,
    pub(super) ended: bool,
    pub(super) attributes: Attributes,
}

/// The parts of a session that servers tell each other.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The id. The key in it is the table's, which alone may change it.
    pub id: &'a mut SessionId,
    /// When it was made.
    pub created: &'a mut Timestamp,
    /// End of the previous request.
    pub last_accessed: &'a mut Timestamp,
    /// From when idle time counts.
    pub touched: &'a mut Timestamp,
    /// Seconds that it may be idle; 0 or less: for ever.
    pub max_inactive: &'a mut i32,
    /// Whether the request that made it is running.
    pub is_new: &'a mut bool,
    /// The attributes.
    pub attributes: &'a mut Attributes,
}

impl Kept {
    /// A new, empty session. `max_inactive` is in seconds; 0 or less means that it never expires.
    pub fn new(id: SessionId, now: Timestamp, max_inactive: i32) -> Self {
        Self(Arc::new(Mutex::new(State {
            id,
            created: now,
            last_accessed: now,
            touched: now,
            max_inactive,
            is_new: true,
            ended: false,
            attributes: Attributes::new(),
        })))
    }

    /// A session that was kept elsewhere and is needed by a request that begins now; its idle time is over.
    pub fn restored(facts: Facts, attributes: Attributes, now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State {
            id: facts.id,
            created: facts.created,
            last_accessed: facts.last_accessed,
            touched: now,
            max_inactive: facts.max_inactive,
            is_new: facts.is_new,
            ended: false,
            attributes,
        })))
    }

    /// How many references on the session there are, this one included; one if nobody else holds it.
    pub fn references(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Holds the session for one request, which begins now. `None`, and the session is ended, when it was idle too long.
    pub fn begin(&self, now: Timestamp) -> Option<Session> {
        let mut state = self.state();
        if state.ended || state.expired(now) {
            state.finish();
            return None;
        }
        state.touched = now;
        Some(Session::holding(self.clone()))
    }

    /// A request is over.
    pub fn end(&self, now: Timestamp) {
        let mut state = self.state();
        state.is_new = false;
        state.touched = now;
        state.last_accessed = now;
    }

    /// Ends the session if it was idle too long; whether it is ended now.
    pub fn expire(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        if !state.ended && state.expired(now) {
            state.finish();
        }
        state.ended
    }

    /// The session is called `new` from now on, unless it was ended.
    pub fn rename(&self, new: SessionId) -> Result<(), SessionError> {
        let mut state = self.state();
        if state.ended {
            return Err(SessionError::Ended);
        }
        state.id = new;
        Ok(())
    }

    /// The id at this moment.
    pub fn id(&self) -> SessionId {
        self.state().id
    }

    /// The plain facts in one step.
    pub fn facts(&self) -> Facts {
        let state = self.state();
        Facts {
            id: state.id,
            created: state.created,
            last_accessed: state.last_accessed,
            max_inactive: state.max_inactive,
            is_new: state.is_new,
        }
    }

    /// Changes what another server tells of the session, in one step. `None` when it was ended. Must not block.
    pub fn replicate<T>(&self, change: impl FnOnce(Parts<'_>) -> T) -> Option<T> {
        let mut state = self.state();
        let state = &mut *state;
        if state.ended {
            return None;
        }
        Some(change(Parts {
            id: &mut state.id,
            created: &mut state.created,
            last_accessed: &mut state.last_accessed,
            touched: &mut state.touched,
            max_inactive: &mut state.max_inactive,
            is_new: &mut state.is_new,
            attributes: &mut state.attributes,
        }))
    }

    /// Whether the session was idle too long, without ending it.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.state().expired(now)
    }

    /// Whether it was ended.
    pub fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Ends the session: every request that still holds it learns of it.
    pub fn finish(&self) {
        self.state().finish();
    }

    /// Whether both are the same session.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn finish(&mut self) {
        self.ended = true;
        self.attributes.clear();
    }

    fn expired(&self, now: Timestamp) -> bool {
        match u64::try_from(self.max_inactive) {
            Ok(seconds) if seconds > 0 => now.since(self.touched) >= seconds * 1000,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.facts().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;
    use crate::session::{Key, SessionError, SessionId, Suffix, Timestamp};

    fn kept(max_inactive: i32) -> Kept {
        let id = SessionId {
            key: Key::random(),
            suffix: Suffix::NONE,
        };
        Kept::new(id, Timestamp(1_000_000), max_inactive)
    }

    #[test]
    fn times_are_those_of_tomcat() {
        let kept = kept(1800);
        assert!(kept.facts().is_new);
        assert_eq!(kept.facts().last_accessed, Timestamp(1_000_000));
        kept.end(Timestamp(1_000_050));
        assert!(kept.begin(Timestamp(1_002_000)).is_some());
        let facts = kept.facts();
        assert!(!facts.is_new);
        let end_of_previous = Timestamp(1_000_050);
        assert_eq!(facts.last_accessed, end_of_previous);
        assert_eq!(facts.created, Timestamp(1_000_000));
    }

    #[test]
    fn idle_time_ends_a_session_at_the_interval() {
        for (max_inactive, idle, alive) in [
            (1, 999, true),
            (1, 1000, false),
            (1800, 1_799_999, true),
            (1800, 1_800_000, false),
            (0, u64::MAX / 2, true),
            (-1, u64::MAX / 2, true),
        ] {
            let now = Timestamp(1_000_000 + idle);
            for found in [
                kept(max_inactive).begin(now).is_some(),
                !kept(max_inactive).expire(now),
            ] {
                assert_eq!(found, alive, "{max_inactive} {idle}");
            }
        }
        let backwards = kept(1);
        let session = backwards.begin(Timestamp(5));
        assert!(session.is_some(), "a clock set back ends nothing");
    }

    #[test]
    fn an_ended_session_takes_nothing() {
        let kept = kept(1800);
        let session = kept.begin(Timestamp(1_000_000)).expect("alive");
        session.set("k", "v").expect("alive");
        session.invalidate();
        assert_eq!(session.set("k", "w"), Err(SessionError::Ended));
        assert_eq!(session.add("n", 1), Err(SessionError::Ended));
        assert_eq!(session.set_max_inactive(5), Err(SessionError::Ended));
        assert_eq!(session.get("k"), None);
        assert_eq!(kept.rename(kept.id()), Err(SessionError::Ended));
        assert!(kept.begin(Timestamp(1_000_001)).is_none());
    }
}
