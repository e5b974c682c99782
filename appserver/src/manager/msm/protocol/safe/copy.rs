//! The copies of a session as they were read. Pure.

use super::ancestry::{are_unrelated, is_made_from, is_newer};
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
    /// A session record, with its cas unique.
    Record(Vec<u8>, u64),
    /// Nothing.
    Missing,
    /// Something that is no session record, such as the byte of msm's probes; with its cas unique.
    Damaged(u64),
    /// The mark of a session that was ended, as it stands there, with its cas unique.
    Ended(Vec<u8>, u64),
    /// It did not answer.
    Unknown,
}

impl Found {
    /// What the answer to a `gets` says.
    pub(super) fn of(answer: Option<Answer>) -> Self {
        match answer {
            Some(Answer::HitCas(bytes, unique)) => match Record::decode(&bytes) {
                Ok(record) if !record.is_valid => Self::Ended(bytes, unique),
                Ok(_) => Self::Record(bytes, unique),
                Err(_) => Self::Damaged(unique),
            },
            Some(Answer::Miss) => Self::Missing,
            _ => Self::Unknown,
        }
    }

    /// The same beside a record that was read already: mostly both are alike, and then it need not be decoded again.
    pub(super) fn beside(known: Option<&[u8]>, answer: Option<Answer>) -> Self {
        match answer {
            Some(Answer::HitCas(bytes, unique)) if known == Some(&*bytes) => {
                Self::Record(bytes, unique)
            }
            answer => Self::of(answer),
        }
    }

    /// The command that puts a record there unless somebody else wrote meanwhile.
    pub(super) fn replaced_by(&self, exptime: i64, record: &[u8]) -> Option<Verb> {
        match self {
            Self::Record(_, unique) | Self::Damaged(unique) => {
                Some(Verb::Cas(exptime, record.into(), *unique))
            }
            Self::Missing => Some(Verb::Add(exptime, record.into())),
            Self::Ended(..) | Self::Unknown => None,
        }
    }

    /// The command that puts a mark there, also in place of another one, unless somebody else wrote meanwhile.
    pub(super) fn ended_by(&self, exptime: i64, mark: &[u8]) -> Option<Verb> {
        match self {
            Self::Ended(_, unique) => Some(Verb::Cas(exptime, mark.into(), *unique)),
            found => found.replaced_by(exptime, mark),
        }
    }
}

impl Copy {
    /// Its record.
    pub(super) fn record(&self) -> Option<&[u8]> {
        match &self.found {
            Found::Record(bytes, _) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn is(&self, found: &Found) -> bool {
        self.found == *found
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.found, Found::Ended(..))
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.is(&Found::Unknown)
    }

    /// Whether the session with this id is being given another: the mark stands here, and whoever put it there may still be about
    /// to take along what others store on another node. Until then the mark must not be brought there.
    pub(super) fn is_moving(&self, id: &str, now: Timestamp) -> bool {
        let is_other = |record: &Record<'_>| record.id != id && is_young(record.last_backup.0, now);
        self.ended().is_some_and(|record| is_other(&record))
    }

    /// The mark that stands here.
    pub(super) fn mark(&self) -> Option<Mark<'_>> {
        self.ended().map(|record| Mark {
            id: record.id,
            is_decided: !record.is_new,
        })
    }

    fn ended(&self) -> Option<Record<'_>> {
        match &self.found {
            Found::Ended(mark, _) => Record::decode(mark).ok(),
            _ => None,
        }
    }
}

/// What stands where a session was ended, so that who still holds it cannot bring it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark<'a> {
    /// The id that it has instead, or had.
    pub(super) id: &'a str,
    /// Nobody may write over it, not even another log in.
    pub(super) is_decided: bool,
}

impl<'a> Mark<'a> {
    /// The one of a session that is over.
    pub(super) fn of_log_out(id: &'a str) -> Self {
        let is_decided = true;
        Self { id, is_decided }
    }

    /// Whether this one, standing there, does what the other would.
    pub(super) fn stands_for(&self, other: &Self) -> bool {
        self.id == other.id && (self.is_decided || !other.is_decided)
    }

    /// As a record that says that it is not valid, which msm reads as no session. One that is not decided says that it is new.
    pub(super) fn encode(&self, interval: i32, now: Timestamp) -> Result<Vec<u8>, RecordError> {
        let none = attributes::encode(&Attributes::new(), |_| true);
        Record {
            created: now,
            last_accessed: now,
            interval,
            is_new: !self.is_decided,
            is_valid: false,
            this_accessed: now,
            last_backup: now,
            id: self.id,
            log_in: Default::default(),
            principal: &[],
            saved_request: &[],
            saved_principal: &[],
            extension: &[],
            attributes: &none.unwrap_or_default(),
        }
        .encode()
    }
}

/// The newest record of some copies; of equally new ones the first.
pub(super) fn newest(copies: &[Copy]) -> Option<&[u8]> {
    let records = copies.iter().filter_map(Copy::record);
    records.reduce(|best, next| if is_newer(next, best) { next } else { best })
}

/// For so many milliseconds the writer of a copy may still be about to find out that another was written beside it.
const YOUNG_MILLIS: u64 = 10_000;

/// Whether there is a copy that the newest one was not made from, or a record `here` beside it, and their writers may still be at
/// it: nobody else can say which of them is acknowledged.
pub(super) fn are_in_doubt(copies: &[Copy], here: &[u8], now: Timestamp) -> bool {
    newest(copies).is_some_and(|newest| {
        let at = version(newest).max(version(here));
        is_young(at, now) && has_stranger(copies, here)
    })
}

/// Whether there is a copy that the newest one was not made from, or a record `here` beside it.
pub(super) fn has_stranger(copies: &[Copy], here: &[u8]) -> bool {
    let Some(newest) = newest(copies) else {
        return false;
    };
    let mut records = copies.iter().filter_map(Copy::record);
    records.any(|record| !is_made_from(newest, record)) || are_unrelated(newest, here)
}

/// Whether of these two none was made from the other, and their writers may still be at it.
pub(super) fn are_beside(one: &[u8], other: &[u8], now: Timestamp) -> bool {
    are_unrelated(one, other) && is_young(version(one).max(version(other)), now)
}

/// Whether a record was stored so lately that its writer may still be at it.
pub(super) fn is_young(at: u64, now: Timestamp) -> bool {
    now.since(Timestamp(at)) < YOUNG_MILLIS
}

/// When a record was stored, which each writer makes later than that of the record that it read.
pub(super) fn version(record: &[u8]) -> u64 {
    Record::last_backup_of(record).map_or(0, |at| at.0)
}
