//! A session as one request holds it.

use super::safe::{Owned, Seen};
use crate::manager::msm::record::{Record, RecordError};
use crate::manager::msm::validity::Validity;
use crate::session::{SessionId, Timestamp};

/// A session between [`NonSticky::find`](super::NonSticky::find) or `create` and `end` or `remove`; in sticky mode for longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its id with node and route; the cookie to be sent if it is not the one that came.
    pub id: SessionId,
    /// When it was made.
    pub created: Timestamp,
    /// Its interval and times: as they were found, and at last as they are to be stored.
    pub validity: Validity,
    /// Whether this request made it.
    pub is_new: bool,
    /// The record as it was stored last; empty: never.
    pub(super) stored: Vec<u8>,
    /// Encoded attributes that no node took.
    pub(super) unsaved: Option<Vec<u8>>,
    /// The id changed in this request, so the record is stored whatever else happened.
    pub(super) moved: bool,
    /// This request has the lock.
    pub(super) locked: bool,
    /// What the safe behaviour knows of its copies.
    pub(super) seen: Seen,
}

/// What a request did with a session, seen at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending<'a> {
    /// The encoded attributes as they are now. `None`, which a session that was found may have: none was got, set or removed.
    /// Equal bytes are no change.
    pub attributes: Option<&'a [u8]>,
}

/// What became of the record at the end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was stored.
    Stored,
    /// It is as it was and was not stored.
    Skipped,
    /// A node did not take it, or there is none for it.
    Failed,
}

impl Held {
    /// A session that is made now.
    pub(super) fn new(id: SessionId, interval: i32, now: Timestamp) -> Self {
        Self {
            id,
            created: now,
            validity: Validity {
                interval,
                last_accessed: now,
                this_accessed: now,
            },
            is_new: true,
            stored: Vec::new(),
            unsaved: None,
            moved: false,
            locked: false,
            seen: Seen::default(),
        }
    }

    /// The session of a record that was found under this id.
    pub(super) fn found(id: SessionId, stored: Vec<u8>) -> Result<Self, RecordError> {
        Record::decode(&stored)?;
        Self::known(id, stored).ok_or(RecordError::Truncated)
    }

    /// The same for a record that was decoded once.
    pub(super) fn known(id: SessionId, stored: Vec<u8>) -> Option<Self> {
        let times = Record::times_of(&stored)?;
        Some(Self {
            id,
            created: times.created,
            validity: Validity {
                interval: times.interval,
                last_accessed: times.last_accessed,
                this_accessed: times.this_accessed,
            },
            is_new: false,
            stored,
            unsaved: None,
            moved: false,
            locked: false,
            seen: Seen::default(),
        })
    }

    /// The encoded attributes as they were found, or at the end of the latest request; empty: there are none yet.
    pub fn attributes(&self) -> &[u8] {
        match &self.unsaved {
            Some(unsaved) => unsaved,
            None => self.stored_attributes(),
        }
    }

    /// The encoded attributes of the record that is stored.
    pub fn stored_attributes(&self) -> &[u8] {
        Record::attributes_of(&self.stored).unwrap_or_default()
    }

    /// The encoded attributes that the session in this server was based on when changes of others were merged into the stored one:
    /// whoever keeps it brings it to [`Held::stored_attributes`].
    pub fn take_base(&mut self) -> Option<Vec<u8>> {
        self.seen.foreign &= self.seen.base.is_none();
        self.seen.base.take()
    }

    /// The lock that the safe behaviour got for it.
    pub fn lock(&self) -> Option<&Owned> {
        self.seen.lock.as_ref()
    }

    /// Whether nobody else may change what a request of this server changes, since it got the lock.
    pub fn is_fenced(&self) -> bool {
        self.seen.is_fenced()
    }

    fn record(&self) -> Option<Record<'_>> {
        // A session that was never stored has no record; every other was decoded once.
        Record::decode(&self.stored).ok()
    }

    /// Whether the record that is stored is at least one interval old, and so has to be stored again. Always, for a session
    /// that never expires.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        let stored = Record::last_backup_of(&self.stored).unwrap_or_default();
        let interval = u64::try_from(self.validity.interval).unwrap_or(0);
        now.since(stored) >= interval * 1000
    }

    /// Whether what the request did has to be stored.
    pub(super) fn is_changed_to(&self, attributes: Option<&[u8]>) -> bool {
        if self.stored.is_empty() {
            return true;
        }
        let changed = |attributes: &[u8]| attributes != self.attributes();
        self.moved || self.unsaved.is_some() || attributes.is_some_and(changed)
    }

    /// Whether the request set another interval than the record has, which msm does not count as a change.
    pub(super) fn has_new_interval(&self) -> bool {
        let stored = Record::interval_of(&self.stored);
        stored.is_some_and(|interval| interval != self.validity.interval)
    }

    /// The record with these attributes, to be stored now; what only Tomcat's log in needs stays as it was.
    pub(super) fn encode(&self, attributes: &[u8], now: Timestamp) -> Result<Vec<u8>, RecordError> {
        self.encode_after(attributes, now, self.validity.last_accessed, &[])
    }

    /// The same with an extension, and with the time of the last access before this one; the validity record has a better one.
    pub(super) fn encode_after(
        &self,
        attributes: &[u8],
        now: Timestamp,
        before: Timestamp,
        extension: &[u8],
    ) -> Result<Vec<u8>, RecordError> {
        let id = self.id.text();
        let new = Record {
            created: self.created,
            last_accessed: before,
            interval: self.validity.interval,
            is_new: self.is_new,
            is_valid: true,
            this_accessed: self.validity.this_accessed,
            last_backup: now,
            id: id.as_str(),
            log_in: Default::default(),
            principal: &[],
            saved_request: &[],
            saved_principal: &[],
            extension,
            attributes,
        };
        match self.record() {
            Some(old) => Record {
                log_in: old.log_in,
                principal: old.principal,
                saved_request: old.saved_request,
                saved_principal: old.saved_principal,
                ..new
            }
            .encode(),
            None => new.encode(),
        }
    }
}
