//! The modes `cluster` and `backup`: sessions of one context on every member, or on two of them, as a [`Manager`]. Tomcat's
//! `DeltaManager` and `BackupManager`.
//!
//! ```text
//!   requests ──► core: what to tell ──► Outbox ──► group: waits as channelSendOptions says ──► response
//!   hub ───────► core: what it makes necessary ──► Outbox ──► group, beside
//! ```
//!
//! What is different from sessions in memory: a request may find its session changed or ended by another member at any moment; and
//! a session that was idle for its interval is refused here, but ended by the member that served it last.

mod deliver;
mod fetch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use regex::Regex;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::core::{AttributeListener, ClusterStatus, Core, CoreConfig, NewKey, Outbox};
use super::group::{Group, peer};
use super::hub::Hears;
use super::message::{Said, SessionMessage};
use crate::clock::Clock;
use crate::manager::{Found, Manager, ManagerError, ManagerStatus, RequestLine};
use crate::session::{AskedId, Key, Session};
use crate::tribes::member::Member;
use crate::tribes::options::SendOptions;

use deliver::Wait;
use fetch::Fetched;

/// How often what changed little is told, and what may be due is looked for.
const TICK: Duration = Duration::from_millis(500);
/// How often a starting member looks whether the sessions are there.
const JOIN_CHECK: Duration = Duration::from_millis(10);
/// At most so many answers to members are on their way; a member that gets no answer for that is compared with later.
const ANSWERS_MAX: usize = 256;
/// A session that was fetched may be dropped again before it is used: it is fetched so many times.
const FETCHES: usize = 3;
/// Messages about one session to Tomcats leave one after the other; so many sessions at the same time.
const LANES: usize = 64;

/// Settings of a [`ClusterManager`].
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Those of its core.
    pub core: CoreConfig,
    /// What the response waits for. Tomcat: `channelSendOptions`.
    pub send_options: SendOptions,
    /// The longest wait for the members to answer; then they are not waited for until they do. Tomcat: the sender's `timeout`.
    pub limit: Duration,
    /// The longest wait for a session that another member keeps. Tomcat: `rpcTimeout`.
    pub fetch_limit: Duration,
    /// Requests whose decoded path matches as a whole tell nothing. Tomcat: the `ReplicationValve`'s `filter`.
    pub filter: Option<Regex>,
    /// How often this member looks for sessions that were idle too long.
    pub sweep_interval: Duration,
}

/// Sessions on every member. Cloning gives the same manager. Must be made inside a tokio runtime.
#[derive(Debug)]
pub struct ClusterManager<G>(Arc<Inner<G>>);

#[derive(Debug)]
struct Inner<G> {
    core: Core,
    group: G,
    config: ClusterConfig,
    clock: Clock,
    runtime: Handle,
    answers: Arc<Semaphore>,
    lanes: [Mutex<()>; LANES],
    unanswered: AtomicU64,
    /// Something came from another member.
    arrived: Notify,
}

impl<G> Clone for ClusterManager<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<G: Group> ClusterManager<G> {
    /// No sessions and no members yet.
    pub fn new(config: ClusterConfig, group: G, clock: Clock) -> Self {
        let core = Core::new(config.core.clone(), group.id(), NewKey::default());
        if let Some(member) = group.local() {
            core.known_as(member);
        }
        Self(Arc::new(Inner {
            core,
            group,
            config,
            clock,
            runtime: Handle::current(),
            answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
            lanes: [const { Mutex::const_new(()) }; LANES],
            unanswered: AtomicU64::new(0),
            arrived: Notify::new(),
        }))
    }

    /// Has a listener told of changed attributes from now on; whether there was none.
    pub fn listen(&self, listener: Arc<dyn AttributeListener>) -> bool {
        self.0.core.listen(listener)
    }

    /// Learns of the members that were there before this manager listened.
    pub fn meet(&self) {
        for member in self.0.group.members() {
            self.0.core.member_added(member, self.0.clock.now());
        }
    }

    /// Whether the request tells the others what it changed.
    fn tells(&self, request: &RequestLine<'_>) -> bool {
        let Some(filter) = &self.0.config.filter else {
            return true;
        };
        let path = percent_decode_str(request.path).decode_utf8_lossy();
        !filter.is_match(&path)
    }
}

impl<G: Group> Inner<G> {
    /// A session's messages to Tomcats leave in the order of its changes.
    async fn lane(&self, key: Key) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if !self.core.has_tomcats() && !self.core.maps() {
            return None;
        }
        let lane = usize::from(key.as_bytes()[0]) % LANES;
        Some(self.lanes[lane].lock().await)
    }
}

impl<G: Group> Hears for ClusterManager<G> {
    fn context(&self) -> &str {
        &self.0.config.core.context
    }

    fn native(&self, from: &Member, message: &[u8]) -> bool {
        let (inner, mut out) = (&self.0, Outbox::default());
        let read = inner
            .core
            .receive(&from.id.0, message, inner.clock.now(), &mut out);
        inner.answer(&from.id.0, out);
        if inner.core.is_backup() {
            inner.arrived.notify_waiters();
        }
        match read {
            Ok(is_whole) => is_whole,
            Err(error) => {
                tracing::warn!(member = %from.id, %error, "a message is dropped");
                false
            }
        }
    }

    fn tomcat(&self, from: &Member, message: SessionMessage) {
        let (inner, mut out) = (&self.0, Outbox::default());
        let now = inner.clock.now();
        inner
            .core
            .receive_tomcat(&from.id.0, message, now, &mut out);
        inner.answer(&from.id.0, out);
    }

    fn map(&self, from: &Member, said: Said) -> bool {
        let (inner, mut out) = (&self.0, Outbox::default());
        let now = inner.clock.now();
        let is_here = inner.core.receive_map(&from.id.0, said, now, &mut out);
        inner.answer(&from.id.0, out);
        inner.arrived.notify_waiters();
        is_here
    }

    fn added(&self, member: &Member) {
        let inner = &self.0;
        inner.core.member_added(peer(member), inner.clock.now());
    }

    fn removed(&self, member: &Member) {
        let (inner, mut out) = (&self.0, Outbox::default());
        let now = inner.clock.now();
        inner.core.member_removed(&member.id.0, now, &mut out);
        inner.answer(&member.id.0, out);
    }

    fn lost(&self, member: &Member) {
        let inner = &self.0;
        inner.core.lost(&member.id.0, inner.clock.now());
    }
}

impl<G: Group> Manager for ClusterManager<G> {
    const READS_REQUESTS: bool = true;

    async fn create(&self, now: crate::session::Timestamp) -> Result<Session, ManagerError> {
        self.0.core.create(now)
    }

    async fn find(
        &self,
        asked: &AskedId<'_>,
        _request: &RequestLine<'_>,
        now: crate::session::Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        let mut out = Outbox::default();
        let _lane = self.0.lane(asked.key).await;
        let mut found = self.0.core.find(asked, now, &mut out);
        let fetches = if self.0.core.is_backup() { FETCHES } else { 0 };
        for _ in 0..fetches {
            if found.is_some() {
                break;
            }
            match self.0.fetch(asked).await {
                Fetched::Here => found = self.0.core.find(asked, now, &mut out),
                Fetched::Nowhere => break,
                Fetched::Unanswered => return Err(ManagerError::NoHolder),
            }
        }
        self.0.deliver(out, Wait::Applied).await;
        Ok(found.map(|(session, source)| Found { session, source }))
    }

    /// The others know the new id when this ends, whatever the settings say: the client will have it.
    async fn change_id(
        &self,
        session: &Session,
        now: crate::session::Timestamp,
    ) -> Result<(), ManagerError> {
        let mut out = Outbox::default();
        let _lane = self.0.lane(session.id().key).await;
        let changed = self.0.core.change_id(session, now, &mut out);
        self.0.deliver(out, Wait::Applied).await;
        Ok(changed?)
    }

    async fn commit(
        &self,
        session: &Session,
        request: &RequestLine<'_>,
        now: crate::session::Timestamp,
    ) -> Result<(), ManagerError> {
        let mut out = Outbox::default();
        let _lane = self.0.lane(session.id().key).await;
        let tells = self.tells(request);
        self.0.core.commit(session, tells, now, &mut out);
        self.0.deliver(out, Wait::Configured).await;
        Ok(())
    }

    async fn remove(&self, session: &Session) -> Result<(), ManagerError> {
        let mut out = Outbox::default();
        let _lane = self.0.lane(session.id().key).await;
        self.0.core.remove(session, self.0.clock.now(), &mut out);
        self.0.deliver(out, Wait::Configured).await;
        Ok(())
    }

    /// Waits for the sessions of the others.
    async fn start(&self) {
        let mut out = Outbox::default();
        self.0.core.start(self.0.clock.now(), &mut out);
        self.0.deliver(out, Wait::Applied).await;
        while !self.0.core.is_ready(self.0.clock.now()) {
            tokio::time::sleep(JOIN_CHECK).await;
        }
    }

    async fn run(&self, shutdown: CancellationToken, clock: Clock) {
        let inner = &self.0;
        let ticks = async {
            loop {
                tokio::time::sleep(TICK).await;
                let mut out = Outbox::default();
                inner.core.tick(clock.now(), &mut out);
                inner.deliver(out, Wait::Applied).await;
            }
        };
        let sweeps = async {
            loop {
                tokio::time::sleep(inner.config.sweep_interval).await;
                let (swept, now) = (Arc::clone(inner), clock.now());
                // Beside, since all sessions are looked at, and requests may be served here.
                let sweep = move || {
                    let mut out = Outbox::default();
                    let ended = swept.core.sweep(now, &mut out);
                    if ended > 0 {
                        tracing::info!(ended, "idle sessions expired");
                    }
                    out
                };
                match tokio::task::spawn_blocking(sweep).await {
                    Ok(out) => inner.deliver(out, Wait::Applied).await,
                    Err(error) => tracing::error!(%error, "idle sessions were not looked for"),
                }
            }
        };
        let both = async { tokio::join!(ticks, sweeps) };
        shutdown.run_until_cancelled(both).await;
        let mut out = Outbox::default();
        if inner.config.core.expire_sessions_on_shutdown {
            inner.core.end_all(clock.now(), &mut out);
        } else {
            inner.core.tick(clock.now(), &mut out);
        }
        inner.core.leave_map(&mut out);
        inner.deliver(out, Wait::Applied).await;
    }

    fn status(&self) -> ManagerStatus {
        let inner = &self.0;
        ManagerStatus {
            cluster: Some(ClusterStatus {
                unanswered: inner.unanswered.load(Ordering::Relaxed),
                channel: inner.group.status(),
                ..inner.core.cluster_status()
            }),
            ..inner.core.status()
        }
    }
}
