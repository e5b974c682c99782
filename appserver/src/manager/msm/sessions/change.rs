//! What a request did with its session, what others did with it meanwhile, and the request's line for a response that has left.

use crate::manager::msm::attributes;
use crate::manager::msm::protocol::Held;
use crate::manager::msm::protocol::safe::Change;
use crate::manager::{ManagerError, RequestLine};
use crate::session::attributes::Attributes;
use crate::session::{Facts, Kept, Session, SessionError, Timestamp};

/// Why a session is not where its requests have it: another request ended it, which is no fault, or its place was given up.
pub(super) fn gone(session: &Session) -> Option<ManagerError> {
    (!session.is_ended()).then_some(ManagerError::Overtaken)
}

/// Takes over what others changed between `base` and what is stored now, except what requests here changed as well. Whether there is
/// such a thing although they have a lock.
pub(super) fn rebase(kept: &Kept, base: &[u8], held: &Held) -> Result<bool, ManagerError> {
    let decode = |bytes: &[u8]| {
        attributes::decode(bytes).map_err(|error| ManagerError::Form(error.to_string()))
    };
    let (base, stored) = (decode(base)?, decode(held.stored_attributes())?);
    let mut is_both = false;
    let rebased = Session::holding(kept.clone()).update(|edit| {
        for (name, _) in stored.iter().chain(base.iter()) {
            let (before, now) = (base.get(name), stored.get(name));
            let here = edit.get(name);
            if before == now || here != before {
                is_both |= before != now && here != now;
                continue;
            }
            match now {
                Some(value) => edit.set(name, &value)?,
                None => drop(edit.remove(name)),
            }
        }
        Ok(())
    });
    match rebased {
        Ok(()) => Ok(is_both && held.is_fenced()),
        Err(SessionError::Ended) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What a request did with its session.
pub(super) struct Ended {
    pub(super) attributes: Option<Vec<u8>>,
    pub(super) names: Vec<String>,
    pub(super) last: bool,
}

impl Ended {
    pub(super) fn change(&self) -> Change<'_> {
        Change {
            attributes: self.attributes.as_deref(),
            names: &self.names,
            last: self.last,
        }
    }
}

/// A request line for a response that has left.
pub(super) struct OwnedLine {
    method: String,
    path: String,
    query: Option<String>,
}

impl OwnedLine {
    pub(super) fn of(request: &RequestLine<'_>) -> Self {
        Self {
            method: request.method.to_owned(),
            path: request.path.to_owned(),
            query: request.query.map(str::to_owned),
        }
    }

    pub(super) fn borrowed(&self) -> RequestLine<'_> {
        RequestLine {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            context: "",
        }
    }
}

/// The session of a record for a request that begins now.
pub(super) fn restored(held: &Held, attributes: Attributes, now: Timestamp) -> Kept {
    let facts = Facts {
        id: held.id,
        created: held.created,
        last_accessed: held.validity.last_accessed,
        max_inactive: held.validity.interval,
        is_new: false,
    };
    Kept::restored(facts, attributes, now)
}
