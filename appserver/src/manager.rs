//! Who keeps the sessions of one context of this node: the contract, and one file per way to do it.

pub mod cluster;
pub mod msm;
pub mod standard;
pub mod table;

use std::future::Future;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::session::{AskedId, Session, SessionError, Timestamp};

pub use cluster::core::ClusterStatus;
pub use msm::pattern::RequestLine;

/// Keeps the sessions of one context. Each room below is one way to do it; `testing::managers` is the suite that all of
/// them pass.
///
/// - **Ids** are made by the manager only. An id that a client sent is looked up and never adopted. A session is looked
///   up by the random part of its id; route and node do not matter for finding it.
/// - **Parallel requests** of one session on this node share its state: each gets a reference on the same [`Session`], a
///   change of one is seen by the other, and no `add`, `append` or `update` is lost.
/// - **Conflict**: of two requests that set the same attribute, the later wins. An end wins over every change: whoever
///   still holds an ended session gets [`SessionError::Ended`] and cannot bring it back. Of two changes of id both are
///   done, one after the other, and the last id holds.
/// - **Absence**: unknown, ended and expired are one answer, `None`; never an error. That a store cannot be reached is
///   [`ManagerError::Unavailable`] or [`ManagerError::NoHolder`]: the session may exist.
/// - **Expiry**: a session idle for its interval is ended at the next `find` of it, or by the sweep in `run`, whichever is
///   first. A request that is running does not end, but may find its session ended.
/// - **Order within a request**: `create` or `find`, any number of changes and of `change_id`, then exactly one of
///   `commit` and `remove`, before the response's first byte leaves. A request that is given up has neither.
///
/// Managers that share sessions with other servers keep the sentences about parallel requests on this node only, and say of
/// themselves what else is different.
pub trait Manager: Send + Sync + 'static {
    /// Whether [`Manager::find`] and [`Manager::commit`] look at the request. Those of a manager that says no may get an empty
    /// line, so that nothing is copied for it.
    const READS_REQUESTS: bool = false;

    /// A new session with a new id, held for this request.
    fn create(&self, now: Timestamp) -> impl Future<Output = Result<Session, ManagerError>> + Send;

    /// The valid session with this id, held for this request; `None` when it is unknown, ended or expired.
    fn find(
        &self,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Found>, ManagerError>> + Send;

    /// Gives the session a new id; nothing else of it changes. From then on the old id is unknown, and at no moment are
    /// both. Protects a log in against an id that an attacker planted (session fixation).
    fn change_id(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), ManagerError>> + Send;

    /// The request is over: the session was used until `now`, and what it changed is kept as safely as this manager
    /// promises when the future ends.
    fn commit(
        &self,
        session: &Session,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), ManagerError>> + Send;

    /// The application ended the session: no request finds it again.
    fn remove(&self, session: &Session) -> impl Future<Output = Result<(), ManagerError>> + Send;

    /// Whether the request may read its session and keep nothing: no client gets to know an id from it, and its `commit` stores
    /// nothing.
    fn is_read_only(&self, _request: &RequestLine<'_>) -> bool {
        false
    }

    /// Whether [`Manager::unused`] does something.
    fn prolongs_unused(&self) -> bool {
        false
    }

    /// A request named this session and never asked for it.
    fn unused(
        &self,
        _asked: &AskedId<'_>,
        _request: &RequestLine<'_>,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// What must be done before requests come, such as to get the sessions that other servers have. Called once, while `run` runs.
    fn start(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Life beside the requests, such as the sweep for expired sessions. Ends soon after `shutdown` and when all is safe.
    fn run(&self, shutdown: CancellationToken, clock: Clock) -> impl Future<Output = ()> + Send;

    /// Figures for the operator.
    fn status(&self) -> ManagerStatus;
}

/// A session that was found, and how.
#[derive(Debug, Clone)]
pub struct Found {
    /// The session, held for this request.
    pub session: Session,
    /// Where it came from.
    pub source: Source,
}

/// Where a request's session came from; the response says so in `X-Session-Source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Made in this request.
    New,
    /// From this node's memory.
    Local,
    /// From a store that several nodes share.
    Store,
    /// From this node's copy of a session that another node served last.
    Replica,
}

/// Why a manager could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagerError {
    /// As many sessions as are allowed (Tomcat's `maxActiveSessions`).
    #[error(
        "{limit} sessions are active and no more are allowed; try again later, or raise session.max_active"
    )]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The session was ended meanwhile.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The session cannot be put into the form that the store keeps.
    #[error("the session cannot be stored: {0}; remove what was put into it last")]
    Form(String),
    /// The session is larger than the store takes. What it held before the request is still there.
    #[error(
        "the session takes {bytes} bytes, which is more than its store takes; what it held before is kept: put less into it, or raise \
         the store's item limit"
    )]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// The store cannot be reached. The session may well exist, and nothing that the request did is kept.
    #[error("no node of the session store answers, and nothing was changed; try again")]
    Unavailable,
    /// The members of the cluster that keep the session do not answer. It may well exist.
    #[error("the servers that keep the session do not answer, and nothing was changed; try again")]
    NoHolder,
    /// Others have the session, for longer than a request may wait.
    #[error(
        "other requests use the session, and this one waited long enough; nothing was changed, try again"
    )]
    Busy,
    /// Another server changed what the request changed, although the request had a lock: it was lost with its node.
    #[error(
        "another server changed the same attribute of the session, since a lock was lost; what this request changed is not kept, \
         try again"
    )]
    Overtaken,
}

/// Figures of one context's manager.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ManagerStatus {
    /// Which way of keeping sessions.
    pub manager: &'static str,
    /// Sessions that exist now.
    pub active: u64,
    /// At most so many; 0: no limit.
    pub max_active: u64,
    /// Sessions made since the start.
    pub created: u64,
    /// Sessions ended for being idle.
    pub expired: u64,
    /// Sessions ended by the application.
    pub invalidated: u64,
    /// Sessions refused for the limit.
    pub rejected: u64,
    /// Changes of id.
    pub renamed: u64,
    /// What keeps copies in several nodes alike; none for other ways of keeping sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreStatus>,
    /// The store's nodes; none for sessions in memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatus>,
    /// Replication to other servers; none for sessions that are here only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterStatus>,
}

/// Figures of one node of a store, as this server sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its name in session ids.
    pub node: String,
    /// Connections to it that are open now.
    pub connections: u64,
    /// Commands that it was sent, or should have been.
    pub commands: u64,
    /// Of these without a usable answer in time.
    pub failed: u64,
    /// Since when it does not answer, in milliseconds since 1970; none while it does, or where nobody takes note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_since: Option<u64>,
}

/// Figures of a manager that keeps copies of its sessions in several nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// Sessions whose copies are known to differ now, to be made alike.
    pub dirty: u64,
    /// Copies that were made again.
    pub repaired: u64,
    /// Stores that met what another request had stored meanwhile.
    pub conflicts: u64,
    /// Of these whose changes were merged.
    pub merges: u64,
    /// Requests that waited for a lock.
    pub lock_waits: u64,
    /// Of these that waited in vain.
    pub lock_timeouts: u64,
    /// Stores of sessions larger than a node takes.
    pub too_large: u64,
    /// Requests that were refused because no node answered.
    pub unavailable: u64,
}
