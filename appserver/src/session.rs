//! A session: its id, its times, its attributes, its end. Pure: no I/O and no clock; `now` is always a parameter.
//!
//! [`Kept`] is the session as a manager keeps it, [`Session`] the same as one request holds it. All references on one
//! session share its state; the lock around it is never held across an await.

pub mod attributes;
pub mod changes;
pub mod cookie;
pub mod id;
pub mod kept;
pub mod value;

use std::sync::{Arc, Mutex, PoisonError};

pub use attributes::{AttributeError, Attributes, Packed};
pub use changes::{Changes, Edit};
pub use id::{AskedId, Key, SessionId, Suffix};
pub use kept::{Kept, Parts};
pub use value::{Foreign, Value};

/// A point in time: milliseconds since 1970-01-01 UTC, as Java's `System.currentTimeMillis`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Milliseconds from `earlier` to this; 0 when the clock went back.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Why a session cannot be changed.
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

/// A session as one request holds it. Cloning is cheap and gives the same session.
#[derive(Clone)]
pub struct Session {
    kept: Kept,
    changes: Option<Arc<Mutex<Changes>>>,
}

impl Session {
    /// Holds the session without a record of what changes.
    pub fn holding(kept: Kept) -> Self {
        Self {
            kept,
            changes: None,
        }
    }

    /// The same, with a record of each change that this request makes, and not only of the names.
    pub fn recording_each(self) -> Self {
        Self {
            changes: Some(Arc::new(Mutex::new(Changes::each()))),
            ..self
        }
    }

    /// The same, with a record of what this request changes.
    pub fn recording(self) -> Self {
        Self {
            changes: Some(Arc::default()),
            ..self
        }
    }

    /// Sets an attribute; one of that name is replaced.
    pub fn set(&self, name: &str, value: impl Into<Value>) -> Result<(), SessionError> {
        self.update(|edit| edit.set(name, &value.into()))
    }

    /// Sets text without building a [`Value`].
    pub fn set_str(&self, name: &str, text: &str) -> Result<(), SessionError> {
        self.update(|edit| edit.set_str(name, text))
    }

    /// Adds to the number of that name (0 at first) and returns the sum; no parallel addition is lost.
    pub fn add(&self, name: &str, amount: i64) -> Result<i64, SessionError> {
        self.update(|edit| edit.add(name, amount))
    }

    /// Appends to the list of that name (empty at first) and returns the list; no parallel addition is lost.
    pub fn append(&self, name: &str, item: impl Into<Value>) -> Result<Value, SessionError> {
        self.update(|edit| {
            edit.append(name, &item.into())?;
            Ok(edit.get(name).expect("what was just appended to is there"))
        })
    }

    /// Removes an attribute; whether it was there.
    pub fn remove(&self, name: &str) -> Result<bool, SessionError> {
        self.update(|edit| Ok(edit.remove(name)))
    }

    /// The value of that name; `None` too when the session was ended.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.read(|attributes| attributes.get(name))
    }

    /// Reads the attributes in one step; there are none when the session was ended.
    pub fn read<T>(&self, read: impl FnOnce(&Attributes) -> T) -> T {
        read(&self.kept.state().attributes)
    }

    /// Changes the attributes in one step that no other request of this session can interrupt. Must not block.
    pub fn update<T>(
        &self,
        change: impl FnOnce(&mut Edit<'_>) -> Result<T, AttributeError>,
    ) -> Result<T, SessionError> {
        let mut state = self.kept.state();
        if state.ended {
            return Err(SessionError::Ended);
        }
        let mut changes = self
            .changes
            .as_ref()
            .map(|c| c.lock().unwrap_or_else(PoisonError::into_inner));
        let mut edit = Edit::new(&mut state.attributes, changes.as_deref_mut());
        Ok(change(&mut edit)?)
    }

    /// How many seconds the session may be idle from now on; 0 or less: for ever.
    pub fn set_max_inactive(&self, seconds: i32) -> Result<(), SessionError> {
        let mut state = self.kept.state();
        if state.ended {
            return Err(SessionError::Ended);
        }
        state.max_inactive = seconds;
        if let Some(changes) = &self.changes {
            changes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .max_inactive = true;
        }
        Ok(())
    }

    /// Ends the session on purpose: it is gone for every request, its attributes too.
    pub fn invalidate(&self) {
        self.kept.state().finish();
    }

    /// Whether it was ended.
    pub fn is_ended(&self) -> bool {
        self.kept.state().ended
    }

    /// The id, suffix included, as it is at this moment: a log in changes it.
    pub fn id(&self) -> SessionId {
        self.kept.id()
    }

    /// The plain facts in one step.
    pub fn facts(&self) -> Facts {
        self.kept.facts()
    }

    /// The session as a manager keeps it.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What this request changed so far, and forgets it; nothing when it is not recorded.
    pub fn take_changes(&self) -> Changes {
        let changes = self.changes.as_ref();
        changes
            .map(|c| std::mem::take(&mut *c.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.facts().fmt(f)
    }
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
    use super::{Changes, Kept, Key, Session, SessionId, Suffix, Timestamp};

    fn kept() -> Kept {
        let id = SessionId {
            key: Key::random(),
            suffix: Suffix::NONE,
        };
        Kept::new(id, Timestamp(0), 1800)
    }

    #[test]
    fn each_change_is_recorded_up_to_a_bound() {
        let kept = kept();
        let record = |changes: i32| {
            let session = Session::holding(kept.clone()).recording_each();
            (0..changes).for_each(|n| session.set("k", n).expect("alive"));
            session.take_changes()
        };
        let changes = record(2);
        let each = [0, 1].map(|n| ("k".to_owned(), Some(n.into())));
        assert_eq!(changes.every.as_deref(), Some(&each[..]));
        let changes = record(5_000);
        assert_eq!(
            (changes.every, changes.attributes),
            (None, vec!["k".to_owned()])
        );
    }

    #[test]
    fn a_request_records_its_own_changes() {
        let kept = kept();
        let (one, two) = (
            Session::holding(kept.clone()).recording(),
            Session::holding(kept).recording(),
        );
        one.set("a", 1).expect("alive");
        one.append("list", "x").expect("alive");
        one.set("a", 1).expect("alive");
        one.remove("list").expect("alive");
        one.remove("nothing").expect("alive");
        assert!(one.add("list", 1).is_ok());
        assert!(one.append("list", "x").is_err());
        two.set_max_inactive(60).expect("alive");
        let names = |changes: &Changes| changes.attributes.join(" ");
        let changes = one.take_changes();
        assert_eq!(
            (names(&changes).as_str(), changes.max_inactive),
            ("a list", false)
        );
        assert!(one.take_changes().is_empty());
        let changes = two.take_changes();
        assert_eq!((names(&changes).as_str(), changes.max_inactive), ("", true));
        assert!(
            Session::holding(one.kept().clone())
                .take_changes()
                .is_empty()
        );
    }
}
