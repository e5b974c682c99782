//! The copies of a session as they were read. Pure.

use crate::manager::msm::attributes;
use crate::manager::msm::key::Kind;
use crate::manager::msm::protocol::{Answer, Verb};
use crate::manager::msm::record::{Record, RecordError};
use crate::session::{Attributes, Timestamp};

/// One copy of a session, on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(super) node: usize,
    pub(super) kind: Kind,
    pub(super) found: Found,
}

/// What a node has of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A session record, with its cas unique and [`version`].
    Record(Vec<u8>, u64, u64),
    /// Nothing.
    Missing,
    /// Something that is no session record, such as the byte of msm's probes; with its cas unique.
    Damaged(u64),
    /// The mark of a session that was ended, as it stands there.
    Ended(Vec<u8>),
    /// It did not answer.
    Unknown,
}

impl Found {
    /// What the answer to a `gets` says.
    pub(super) fn of(answer: Option<Answer>) -> Self {
        match answer {
            Some(Answer::HitCas(bytes, unique)) => match Record::decode(&bytes) {
                Ok(record) if !record.is_valid => Self::Ended(bytes),
                Ok(record) => {
                    let version = record.last_backup.0;
                    Self::Record(bytes, unique, version)
                }
                Err(_) => Self::Damaged(unique),
            },
            Some(Answer::Miss) => Self::Missing,
            _ => Self::Unknown,
        }
    }

    /// The command that puts a record there unless somebody else wrote meanwhile.
    pub(super) fn replaced_by(&self, exptime: i64, record: &[u8]) -> Option<Verb> {
        match self {
            Self::Record(_, unique, _) | Self::Damaged(unique) => {
                Some(Verb::Cas(exptime, record.into(), *unique))
            }
            Self::Missing => Some(Verb::Add(exptime, record.into())),
            Self::Ended(_) | Self::Unknown => None,
        }
    }
}

impl Copy {
    /// Its record and version.
    pub(super) fn record(&self) -> Option<(&[u8], u64)> {
        match &self.found {
            Found::Record(bytes, _, version) => Some((bytes, *version)),
            _ => None,
        }
    }

    pub(super) fn is(&self, found: &Found) -> bool {
        self.found == *found
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.found, Found::Ended(_))
    }

    /// Whether the session with this id is being given another: the mark stands here, and whoever put it there may still be about
    /// to take along what others store on another node. Until then the mark must not be brought there.
    pub(super) fn is_moving(&self, id: &str, now: Timestamp) -> bool {
        let is_other = |mark: Record<'_>| mark.id != id && is_young(mark.last_backup.0, now);
        self.mark().is_some_and(is_other)
    }

    /// Whether the session with this id was logged out.
    pub(super) fn is_over(&self, id: &str) -> bool {
        self.mark().is_some_and(|mark| mark.id == id)
    }

    fn mark(&self) -> Option<Record<'_>> {
        match &self.found {
            Found::Ended(mark) => Record::decode(mark).ok(),
            _ => None,
        }
    }
}

/// The newest record of some copies; of equally new ones the first.
pub(super) fn newest(copies: &[Copy]) -> Option<(&[u8], u64)> {
    let records = copies.iter().filter_map(Copy::record);
    records.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// For so many milliseconds the writer of a copy may still be about to find out that another was written beside it.
const YOUNG_MILLIS: u64 = 10_000;

/// Whether there is a copy that the newest one was not made from, and their writers may still be at it: nobody else can say which
/// of them is acknowledged.
pub(super) fn are_in_doubt(copies: &[Copy], now: Timestamp) -> bool {
    let Some((newest, at)) = newest(copies) else {
        return false;
    };
    let mut records = copies.iter().filter_map(Copy::record);
    records.any(|(record, at)| is_sibling(record, at, newest)) && is_young(at, now)
}

/// Whether this record, of this version, was stored beside one that is as new or newer, so that neither was made from the other.
pub(super) fn is_sibling(record: &[u8], at: u64, newer: &[u8]) -> bool {
    record != newer && at > base_version(newer)
}

/// Whether of these two, with their versions, neither was made from the other, and their writers may still be at it.
pub(super) fn are_beside(one: (&[u8], u64), other: (&[u8], u64), now: Timestamp) -> bool {
    let is_from = |one: u64, other: &[u8]| one <= base_version(other);
    let related = one.0 == other.0 || is_from(one.1, other.0) || is_from(other.1, one.0);
    !related && is_young(one.1.max(other.1), now)
}

/// Whether a record was stored so lately that its writer may still be at it.
pub(super) fn is_young(at: u64, now: Timestamp) -> bool {
    now.since(Timestamp(at)) < YOUNG_MILLIS
}

/// How new a record is: its time of storing, which each writer makes larger than that of the record that it read.
pub(super) fn version(record: &[u8]) -> u64 {
    Record::decode(record).map_or(0, |record| record.last_backup.0)
}

/// The version that a record was made from: each writer puts it where msm has the time of the access before, which members read
/// from the validity record.
pub(super) fn base_version(record: &[u8]) -> u64 {
    Record::decode(record).map_or(0, |record| record.last_accessed.0)
}

/// What stands where a session was ended, so that who still holds it cannot bring it back: a record that says that it is not valid,
/// which msm reads as no session. `id` is the one that it has instead, or had.
pub(super) fn tombstone(id: &str, interval: i32, now: Timestamp) -> Result<Vec<u8>, RecordError> {
    let none = attributes::encode(&Attributes::new(), |_| true);
    Record {
        created: now,
        last_accessed: now,
        interval,
        is_new: false,
        is_valid: false,
        this_accessed: now,
        last_backup: now,
        id,
        log_in: Default::default(),
        principal: &[],
        saved_request: &[],
        saved_principal: &[],
        attributes: &none.unwrap_or_default(),
    }
    .encode()
}
