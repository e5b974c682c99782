//! The mode: sessions of one context in memcached nodes, non-sticky or sticky, as a [`Manager`].
//!
//! ```text
//!   find ──► in_use.rs: held by another request here? ──► shares its state
//!              │ no (non-sticky: never between requests)
//!              ▼
//!            exchange.rs: protocol, which commands ──► World: client.rs
//!   commit ──► encodes what changed, exchange, and forgets the session (non-sticky) or keeps it (sticky)
//! ```
//!
//! What is different from sessions in memory:
//!
//! - An id is looked up as a whole, with node and route, unless a request here holds the session: they are part of the key.
//! - Non-sticky, only the sessions that requests hold now are counted as active and expire in the background; all others the nodes
//!   forget by themselves. For the same reason the limit of sessions is one of sessions in use.
//! - A new id may name another node.
//! - Parallel requests of a session share its state on this server. Between servers changes are merged attribute by attribute, unless
//!   the locking mode lets one request wait for the other; with msm's own behaviour the last to end wins.

mod change;
mod inner;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::change::{OwnedLine, gone};
use super::exchange::Exchange;
use super::in_use::{InUse, Live, lock};
use super::prefix::KeyPrefix;
use super::protocol::World;
use super::protocol::safe::dirty::Dirty;
use super::settings::{MsmSettings, SettingsError};
use crate::clock::Clock;
use crate::manager::{Found, Manager, ManagerError, ManagerStatus, RequestLine, StoreStatus};
use crate::session::{AskedId, Kept, Session, SessionError, Timestamp};

/// How often the nodes are looked after beside the requests.
const BACKGROUND: Duration = Duration::from_millis(250);

/// What a [`MsmManager`] is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct MsmConfig {
    /// msm's own settings, checked.
    pub settings: MsmSettings,
    /// What this context's keys begin with.
    pub prefix: KeyPrefix,
    /// The path of the context.
    pub context: String,
    /// The route that new ids end with; empty: none.
    pub route: String,
    /// Seconds that a new session may be idle; 0 or less: for ever.
    pub max_inactive: i32,
    /// At most so many sessions in this server; 0: no limit.
    pub max_active: usize,
    /// How often this server looks for sessions that were idle too long.
    pub sweep_interval: Duration,
}

impl MsmConfig {
    /// Sessions of this context, without a route, for half an hour each and without limit.
    pub fn new(context: &str, settings: MsmSettings) -> Self {
        Self {
            settings,
            prefix: KeyPrefix::default(),
            context: context.to_owned(),
            route: String::new(),
            max_inactive: 1800,
            max_active: 0,
            sweep_interval: Duration::from_secs(60),
        }
    }
}

/// Sessions in memcached nodes. Must be made inside a tokio runtime.
#[derive(Debug)]
pub struct MsmManager<W>(Arc<Inner<W>>);

#[derive(Debug)]
struct Inner<W> {
    exchange: Exchange<W>,
    in_use: InUse,
    config: MsmConfig,
    /// `sessionBackupAsync`: requests whose session is being stored although the response left.
    storing: TaskTracker,
    /// How many of them there may be; a request for which there is no room stores its session itself.
    room: Arc<Semaphore>,
    /// Where they are stored: a thread that ends after all that serve.
    runtime: Handle,
    /// The server ends, so what cannot be stored now never will be.
    closing: CancellationToken,
    /// Sticky sessions that no node took as they are now.
    unsaved: Dirty,
    created: AtomicU64,
    expired: AtomicU64,
    invalidated: AtomicU64,
    rejected: AtomicU64,
    renamed: AtomicU64,
}

impl<W: World + 'static> MsmManager<W> {
    /// No sessions here yet.
    pub fn new(config: MsmConfig, world: W) -> Result<Self, SettingsError> {
        let (settings, prefix) = (config.settings.clone(), config.prefix.clone());
        let threads = match settings.backup_thread_count {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads.into(),
        };
        let exchange = Exchange::new(settings, prefix, &config.route, world)?;
        Ok(Self(Arc::new(Inner {
            exchange,
            in_use: InUse::default(),
            config,
            storing: TaskTracker::new(),
            room: Arc::new(Semaphore::new(threads)),
            runtime: Handle::current(),
            closing: CancellationToken::new(),
            unsaved: Dirty::default(),
            created: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            invalidated: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            renamed: AtomicU64::new(0),
        })))
    }

    /// One turn of what [`Manager::run`] does beside requests with the safe behaviour: asks nodes whether they are there, makes copies
    /// alike, stores what no node took.
    pub async fn look_after(&self) {
        self.0.exchange.background().await;
        self.0.store_unsaved().await;
    }

    /// Sessions that are in this server's memory now.
    pub fn in_use(&self) -> usize {
        self.0.in_use.len()
    }

    /// Whether the nodes are used: msm's `enabled`.
    pub fn is_enabled(&self) -> bool {
        match &self.0.exchange {
            Exchange::NonSticky(_) => true,
            Exchange::Sticky(exchange) => exchange.is_enabled(),
            Exchange::Safe(exchange) => exchange.is_enabled(),
        }
    }

    /// Uses the nodes from now on, or does not. What was not stored meanwhile is stored by the next request that uses it.
    pub fn enable(&self, enabled: bool) -> Result<(), NotSticky> {
        match &self.0.exchange {
            Exchange::Sticky(exchange) => exchange.enable(enabled),
            Exchange::Safe(exchange) if self.0.keeps() => exchange.enable(enabled),
            Exchange::NonSticky(_) | Exchange::Safe(_) => return Err(NotSticky),
        }
        Ok(())
    }
}

/// Without their nodes non-sticky sessions would be nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "enabled can be switched with sticky = true only: without a store no server would know the session"
)]
pub struct NotSticky;

impl<W: World + 'static> Manager for MsmManager<W> {
    const READS_REQUESTS: bool = true;

    async fn create(&self, now: Timestamp) -> Result<Session, ManagerError> {
        let inner = &*self.0;
        let limit = inner.config.max_active;
        if limit > 0 && inner.in_use.len() >= limit {
            inner.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(ManagerError::TooMany { limit });
        }
        let interval = inner.config.max_inactive;
        let mut held = inner.exchange.create(interval).await;
        held.created = now;
        let kept = Kept::new(held.id, now, interval);
        let session = Session::holding(kept.clone()).recording();
        inner.in_use.put(held.id.key, Live::new(kept, held));
        inner.created.fetch_add(1, Ordering::Relaxed);
        Ok(session)
    }

    async fn find(
        &self,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        let inner = &*self.0;
        let place = inner.in_use.place(asked.key);
        let mut locked = lock(&place).await;
        let found = inner.find(&mut locked, asked, request, now).await;
        if !matches!(found, Ok(Some(_))) {
            let keep = inner.keeps();
            inner.in_use.leave(asked.key, place, locked, keep);
        }
        found
    }

    async fn change_id(&self, session: &Session, _now: Timestamp) -> Result<(), ManagerError> {
        let inner = &*self.0;
        let ended = || ManagerError::from(SessionError::Ended);
        let found = inner.in_use.find(session).await;
        let (place, mut locked) = found.ok_or_else(|| gone(session).unwrap_or_else(ended))?;
        let renamed = match locked.as_mut() {
            Some(live) if !session.is_ended() => inner.rename(live, &place).await,
            _ => Err(ended()),
        };
        if matches!(renamed, Ok(true) | Err(ManagerError::Overtaken)) {
            inner.overtaken(&mut locked).await;
        }
        inner.in_use.leave(session.id().key, place, locked, true);
        renamed?;
        inner.renamed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn commit(
        &self,
        session: &Session,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<(), ManagerError> {
        let inner = &self.0;
        session.kept().end(now);
        let Some((place, mut locked)) = inner.in_use.find(session).await else {
            let changed = !session.take_changes().is_empty();
            return gone(session).filter(|_| changed).map_or(Ok(()), Err);
        };
        if session.is_ended() {
            // Whoever ended it waits for the place, and takes it away.
            inner.in_use.leave(session.id().key, place, locked, true);
            return Ok(());
        }
        let ending = match inner.ending(session, &mut locked, now) {
            Ok(ending) => ending,
            Err(error) => {
                let keep = inner.keeps();
                inner.in_use.leave(session.id().key, place, locked, keep);
                return Err(error);
            }
        };
        let room = inner.config.settings.session_backup_async;
        let room = room.then(|| Arc::clone(&inner.room).try_acquire_owned());
        let Some(Ok(permit)) = room else {
            let stored = inner.store(&mut locked, &ending, request).await;
            inner.ended(session, place, locked, request);
            return stored;
        };
        let (inner, session) = (Arc::clone(inner), session.clone());
        let line = OwnedLine::of(request);
        let task = async move {
            let request = line.borrowed();
            inner
                .store_behind(&session, place, locked, ending, &request)
                .await;
            drop(permit);
        };
        self.0.storing.spawn_on(task, &self.0.runtime);
        Ok(())
    }

    async fn remove(&self, session: &Session) -> Result<(), ManagerError> {
        let inner = &*self.0;
        session.invalidate();
        let Some((place, mut locked)) = inner.in_use.find(session).await else {
            // Another request ended it, or was overtaken, and the nodes still have it.
            let interval = session.facts().max_inactive;
            return inner.exchange.remove_lost(&session.id(), interval).await;
        };
        let mut removed = Ok(());
        if let Some(mut live) = locked.take() {
            removed = Box::pin(inner.exchange.remove(&mut live.held)).await;
            inner.invalidated.fetch_add(1, Ordering::Relaxed);
        }
        let keep = inner.keeps();
        inner.in_use.leave(session.id().key, place, locked, keep);
        removed
    }

    fn is_read_only(&self, request: &RequestLine<'_>) -> bool {
        self.0.exchange.is_read_only(&self.0.here(request))
    }

    fn prolongs_unused(&self) -> bool {
        self.0.exchange.prolongs_unused()
    }

    async fn unused(&self, asked: &AskedId<'_>, request: &RequestLine<'_>) {
        let request = self.0.here(request);
        self.0.exchange.unused(asked, &request).await;
    }

    async fn run(&self, shutdown: CancellationToken, clock: Clock) {
        let inner = &*self.0;
        let sweeps = async {
            loop {
                tokio::time::sleep(inner.config.sweep_interval).await;
                inner.sweep(clock.now()).await;
            }
        };
        let background = async {
            loop {
                tokio::time::sleep(BACKGROUND).await;
                self.look_after().await;
            }
        };
        let renewals = async {
            let third = Duration::from_secs(inner.config.settings.lock_expiration.into()) / 3;
            loop {
                tokio::time::sleep(third).await;
                for (id, lock) in inner.in_use.locks() {
                    inner.exchange.renew(id, &lock).await;
                }
            }
        };
        let all = async { tokio::join!(sweeps, background, renewals) };
        shutdown.run_until_cancelled(all).await;
        inner.closing.cancel();
        inner.storing.close();
        inner.storing.wait().await;
        inner.store_unsaved().await;
    }

    fn status(&self) -> ManagerStatus {
        let inner = &*self.0;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (nodes, store) = inner.exchange.status();
        let store = store.map(|store| StoreStatus {
            dirty: store.dirty + inner.unsaved.count() as u64,
            ..store
        });
        let shown = inner.config.settings.enable_statistics;
        let manager = match inner.keeps() {
            true => "msm_sticky",
            false => "msm",
        };
        ManagerStatus {
            manager,
            active: inner.in_use.len() as u64,
            max_active: inner.config.max_active as u64,
            created: read(&inner.created),
            expired: read(&inner.expired),
            invalidated: read(&inner.invalidated),
            rejected: read(&inner.rejected),
            renamed: read(&inner.renamed),
            store: store.filter(|_| shown),
            nodes: if shown { nodes } else { Vec::new() },
            cluster: None,
        }
    }
}
