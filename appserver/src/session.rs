//! A session: its id, its times, its attributes, its end. Pure: no I/O and no clock; `now` is always a parameter.
//!
//! [`Session`] is one reference on state that all requests of this session share. Its lock guards a few words and the
//! packed attributes, and is never held across an await.

pub mod attributes;
pub mod cookie;
pub mod id;
pub mod value;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use attributes::{AttributeError, Attributes};
pub use id::{AskedId, Key, SessionId, Suffix};
pub use value::Value;

/// A point in time: milliseconds since 1970-01-01 UTC, as Java's `System.currentTimeMillis`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Milliseconds from `earlier` to this; 0 when the clock went back.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Why a session cannot be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Another request, or this one, ended the session (Tomcat's `IllegalStateException`).
    #[error(
        "the session was ended (log out or expiry) while this request ran; send it again to get a new session"
    )]
    Ended,
    /// The attribute cannot be as asked.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}

/// One reference on a session. Cloning is cheap and gives the same session.
#[derive(Clone)]
pub struct Session(Arc<Mutex<State>>);

struct State {
    id: SessionId,
    created: Timestamp,
    /// End of the previous request, which the application sees.
    last_accessed: Timestamp,
    /// Start of the current request or end of the latest, from which idle time counts.
    touched: Timestamp,
    /// Seconds; 0 or less: never expires.
    max_inactive: i32,
    is_new: bool,
    ended: bool,
    attributes: Attributes,
}

impl Session {
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

    /// Sets an attribute; one of that name is replaced.
    pub fn set(&self, name: &str, value: impl Into<Value>) -> Result<(), SessionError> {
        self.update(|attributes| attributes.set(name, &value.into()))
    }

    /// Sets text without building a [`Value`].
    pub fn set_str(&self, name: &str, text: &str) -> Result<(), SessionError> {
        self.update(|attributes| attributes.set_str(name, text))
    }

    /// Adds to the number of that name (0 at first) and returns the sum; no parallel addition is lost.
    pub fn add(&self, name: &str, amount: i64) -> Result<i64, SessionError> {
        self.update(|attributes| attributes.add(name, amount))
    }

    /// Appends to the list of that name (empty at first) and returns the list; no parallel addition is lost.
    pub fn append(&self, name: &str, item: impl Into<Value>) -> Result<Value, SessionError> {
        self.update(|attributes| {
            attributes.append(name, &item.into())?;
            Ok(attributes
                .get(name)
                .expect("what was just appended to is there"))
        })
    }

    /// Removes an attribute; whether it was there.
    pub fn remove(&self, name: &str) -> Result<bool, SessionError> {
        self.update(|attributes| Ok(attributes.remove(name)))
    }

    /// The value of that name; `None` too when the session was ended.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.read(|attributes| attributes.get(name))
    }

    /// Reads the attributes in one step.
    pub fn read<T>(&self, read: impl FnOnce(&Attributes) -> T) -> T {
        read(&self.state().attributes)
    }

    /// Changes the attributes in one step that no other request of this session can interrupt. Must not block.
    pub fn update<T>(
        &self,
        change: impl FnOnce(&mut Attributes) -> Result<T, AttributeError>,
    ) -> Result<T, SessionError> {
        let mut state = self.state();
        if state.ended {
            return Err(SessionError::Ended);
        }
        Ok(change(&mut state.attributes)?)
    }

    /// Ends the session on purpose: it is gone for every request, its attributes too.
    pub fn invalidate(&self) {
        self.state().finish();
    }

    /// How many seconds the session may be idle from now on; 0 or less: for ever.
    pub fn set_max_inactive(&self, seconds: i32) -> Result<(), SessionError> {
        let mut state = self.state();
        if state.ended {
            return Err(SessionError::Ended);
        }
        state.max_inactive = seconds;
        Ok(())
    }

    /// The id, suffix included, as it is at this moment: a log in changes it.
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

    /// Whether it was ended.
    pub fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Managers only: a request that asked for `key` begins to use the session. One that was idle too long is ended.
    pub fn begin(&self, key: Key, now: Timestamp) -> Begin {
        let mut state = self.state();
        if state.id.key != key {
            return Begin::Renamed;
        }
        if !state.ended && state.expired(now) {
            state.finish();
        }
        if state.ended {
            return Begin::Ended;
        }
        state.touched = now;
        Begin::Held(state.id)
    }

    /// Managers only: a request is over.
    pub fn end(&self, now: Timestamp) {
        let mut state = self.state();
        state.is_new = false;
        state.touched = now;
        state.last_accessed = now;
    }

    /// Managers only: ends the session if it was idle too long; whether it is ended now.
    pub fn expire(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        if !state.ended && state.expired(now) {
            state.finish();
        }
        state.ended
    }

    /// Managers only: the session is called `new` from now on; returns what it was called.
    pub fn rename(&self, new: SessionId) -> SessionId {
        std::mem::replace(&mut self.state().id, new)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn finish(&mut self) {
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

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.facts().fmt(f)
    }
}

/// What became of an attempt to use a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It is held for this request, under this id.
    Held(SessionId),
    /// It was ended, now or before.
    Ended,
    /// It lives on under another id.
    Renamed,
}

/// What the application may know of a session besides its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The id, suffix included.
    pub id: SessionId,
    /// When it was made.
    pub created: Timestamp,
    /// End of the previous request; the creation time in the first.
    pub last_accessed: Timestamp,
    /// Seconds that it may be idle; 0 or less: for ever.
    pub max_inactive: i32,
    /// Whether this is the request that made it, so that the client does not know of it yet.
    pub is_new: bool,
}

#[cfg(test)]
mod tests {
    use super::{Begin, Key, Session, SessionError, SessionId, Suffix, Timestamp};

    fn session(max_inactive: i32) -> Session {
        let id = SessionId {
            key: Key::random(),
            suffix: Suffix::NONE,
        };
        Session::new(id, Timestamp(1_000_000), max_inactive)
    }

    fn alive(session: &Session, now: u64) -> bool {
        matches!(
            session.begin(session.id().key, Timestamp(now)),
            Begin::Held(_)
        )
    }

    #[test]
    fn times_are_those_of_tomcat() {
        let session = session(1800);
        assert!(session.facts().is_new);
        assert_eq!(session.facts().last_accessed, Timestamp(1_000_000));
        session.end(Timestamp(1_000_050));
        assert!(alive(&session, 1_002_000));
        let facts = session.facts();
        assert!(!facts.is_new);
        assert_eq!(
            facts.last_accessed,
            Timestamp(1_000_050),
            "end of the previous request"
        );
        assert_eq!(facts.created, Timestamp(1_000_000));
    }

    #[test]
    fn idle_time_ends_a_session_at_the_interval() {
        for (max_inactive, idle, expected) in [
            (1, 999, true),
            (1, 1000, false),
            (1800, 1_799_999, true),
            (1800, 1_800_000, false),
            (0, u64::MAX / 2, true),
            (-1, u64::MAX / 2, true),
        ] {
            let session = session(max_inactive);
            session.end(Timestamp(1_000_000));
            assert_eq!(
                alive(&session, 1_000_000 + idle),
                expected,
                "{max_inactive} {idle}"
            );
            assert_eq!(session.is_ended(), !expected);
        }
        let backwards = session(1);
        assert!(alive(&backwards, 5), "a clock set back ends nothing");
    }

    #[test]
    fn an_ended_session_takes_nothing() {
        let session = session(1800);
        session.set("k", "v").expect("alive");
        session.invalidate();
        assert_eq!(session.set("k", "w"), Err(SessionError::Ended));
        assert_eq!(session.add("n", 1), Err(SessionError::Ended));
        assert_eq!(session.get("k"), None);
        assert!(!alive(&session, 1_000_001));
    }
}
