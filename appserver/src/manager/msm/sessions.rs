//! The mode: sessions of one context in memcached nodes, non-sticky or sticky, as a [`Manager`].
//!
//! ```text
//!   find ──► in_use.rs: held by another request here? ──► shares its state
//!              │ no (non-sticky: never between requests)
//!              ▼
//!            protocol: which commands ──► World: client.rs
//!   commit ──► encodes what changed, protocol, and forgets the session (non-sticky) or keeps it (sticky)
//! ```
//!
//! What is different from sessions in memory:
//!
//! - An id is looked up as a whole, with node and route, unless a request here holds the session: they are part of the key.
//! - Non-sticky, only the sessions that requests hold now are counted as active and expire in the background; all others the nodes
//!   forget by themselves. For the same reason the limit of sessions is one of sessions in use.
//! - A new id may name another node.
//! - Parallel requests of a session share its state on this server. Between servers the last to end wins, unless the locking mode
//!   lets one wait for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attributes;
use super::in_use::{InUse, Live, Locked, Place};
use super::prefix::KeyPrefix;
use super::protocol::{Ending, Held, NonSticky, Sticky, World};
use super::settings::{MsmSettings, SettingsError};
use super::validity::Validity;
use crate::clock::Clock;
use crate::manager::{Found, Manager, ManagerError, ManagerStatus, RequestLine, Source};
use crate::session::attributes::Attributes;
use crate::session::{AskedId, Facts, Kept, Session, SessionError, Timestamp};

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
    created: AtomicU64,
    expired: AtomicU64,
    invalidated: AtomicU64,
    rejected: AtomicU64,
    renamed: AtomicU64,
}

#[derive(Debug)]
enum Exchange<W> {
    NonSticky(Box<NonSticky<W>>),
    Sticky(Box<Sticky<W>>),
}

impl<W: World + 'static> MsmManager<W> {
    /// No sessions here yet.
    pub fn new(config: MsmConfig, world: W) -> Result<Self, SettingsError> {
        let (settings, prefix) = (config.settings.clone(), config.prefix.clone());
        let threads = match settings.backup_thread_count {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads.into(),
        };
        let exchange = if settings.sticky {
            let exchange = Sticky::new(settings, prefix, &config.route, world)?;
            Exchange::Sticky(Box::new(exchange))
        } else {
            let exchange = NonSticky::new(settings, prefix, &config.route, world)?;
            Exchange::NonSticky(Box::new(exchange))
        };
        Ok(Self(Arc::new(Inner {
            exchange,
            in_use: InUse::default(),
            config,
            storing: TaskTracker::new(),
            room: Arc::new(Semaphore::new(threads)),
            runtime: Handle::current(),
            created: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            invalidated: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            renamed: AtomicU64::new(0),
        })))
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
        }
    }

    /// Uses the nodes from now on, or does not. What was not stored meanwhile is stored by the next request that uses it.
    pub fn enable(&self, enabled: bool) -> Result<(), NotSticky> {
        match &self.0.exchange {
            Exchange::NonSticky(_) => Err(NotSticky),
            Exchange::Sticky(exchange) => {
                exchange.enable(enabled);
                Ok(())
            }
        }
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
        let mut held = match &inner.exchange {
            Exchange::NonSticky(exchange) => exchange.create(interval).await,
            Exchange::Sticky(exchange) => exchange.create(interval).await,
        };
        held.created = now;
        let kept = Kept::new(held.id, now, interval);
        let session = Session::holding(kept.clone()).recording();
        inner.in_use.put(held.id.key, Live { kept, held });
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
        let mut locked = Arc::clone(&place).lock_owned().await;
        let found = inner.find(&mut locked, asked, request, now).await;
        if found.is_none() {
            let keep = inner.keeps();
            inner.in_use.leave(asked.key, place, locked, keep);
        }
        Ok(found)
    }

    async fn change_id(&self, session: &Session, _now: Timestamp) -> Result<(), ManagerError> {
        let inner = &*self.0;
        let ended = || ManagerError::from(SessionError::Ended);
        let (place, mut locked) = inner.in_use.find(session).await.ok_or_else(ended)?;
        let renamed = match locked.as_mut() {
            Some(live) if !session.is_ended() => inner.rename(live, &place).await,
            _ => Err(SessionError::Ended),
        };
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
            // Another request ended it.
            return Ok(());
        };
        if session.is_ended() {
            // Whoever ended it waits for the place, and takes it away.
            inner.in_use.leave(session.id().key, place, locked, true);
            return Ok(());
        }
        let settings = &inner.config.settings;
        let changes = session.take_changes();
        let live = locked.as_mut();
        let encoded = live.map_or(Ok(None), |live| {
            let interval = session.facts().max_inactive;
            live.held.validity = Validity {
                interval,
                last_accessed: now,
                this_accessed: now,
            };
            // What is new was never stored and must be, with or without attributes.
            if changes.attributes.is_empty() && !live.held.is_new {
                return Ok(None);
            }
            session
                .read(|attributes| attributes::encode(attributes, |name| settings.stores(name)))
                .map(Some)
        });
        let encoded = encoded.map_err(|error| ManagerError::Form(error.to_string()));
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                let keep = inner.keeps();
                inner.in_use.leave(session.id().key, place, locked, keep);
                return Err(error);
            }
        };
        let room = settings
            .session_backup_async
            .then(|| Arc::clone(&inner.room).try_acquire_owned());
        let Some(Ok(permit)) = room else {
            inner.store(session, place, locked, encoded, request).await;
            return Ok(());
        };
        let (inner, session) = (Arc::clone(inner), session.clone());
        let line = OwnedLine::of(request);
        let task = async move {
            let request = line.borrowed();
            inner
                .store(&session, place, locked, encoded, &request)
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
            return Ok(());
        };
        if let Some(live) = locked.take() {
            inner.remove(&live.held).await;
            inner.invalidated.fetch_add(1, Ordering::Relaxed);
        }
        let keep = inner.keeps();
        inner.in_use.leave(session.id().key, place, locked, keep);
        Ok(())
    }

    async fn run(&self, shutdown: CancellationToken, clock: Clock) {
        let inner = &*self.0;
        let sweeps = async {
            loop {
                tokio::time::sleep(inner.config.sweep_interval).await;
                inner.sweep(clock.now()).await;
            }
        };
        shutdown.run_until_cancelled(sweeps).await;
        inner.storing.close();
        inner.storing.wait().await;
    }

    fn status(&self) -> ManagerStatus {
        let inner = &*self.0;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (manager, nodes) = match &inner.exchange {
            Exchange::NonSticky(exchange) => ("msm", exchange.world().nodes()),
            Exchange::Sticky(exchange) => ("msm_sticky", exchange.world().nodes()),
        };
        let shown = inner.config.settings.enable_statistics;
        ManagerStatus {
            manager,
            active: inner.in_use.len() as u64,
            max_active: inner.config.max_active as u64,
            created: read(&inner.created),
            expired: read(&inner.expired),
            invalidated: read(&inner.invalidated),
            rejected: read(&inner.rejected),
            renamed: read(&inner.renamed),
            nodes: if shown { nodes } else { Vec::new() },
        }
    }
}

impl<W: World + 'static> Inner<W> {
    /// Whether sessions stay in this server between requests.
    fn keeps(&self) -> bool {
        matches!(self.exchange, Exchange::Sticky(_))
    }

    /// The session in its place, or from the nodes into it.
    async fn find(
        &self,
        place: &mut Locked,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Option<Found> {
        // Whoever gave a request up may have left a session that the nodes know better.
        let is_shared = |live: &Live| self.keeps() || live.kept.references() > 1;
        if (**place).as_ref().is_some_and(is_shared) {
            return self.share(place, asked, now).await;
        }
        **place = None;
        let request = &self.here(request);
        let held = match &self.exchange {
            Exchange::NonSticky(exchange) => exchange.find(asked, request).await?,
            Exchange::Sticky(exchange) => exchange.take_over(asked).await?,
        };
        let attributes = match attributes::decode(held.attributes()) {
            Ok(attributes) => attributes,
            Err(error) => {
                tracing::warn!(id = %held.id, %error, "a stored session cannot be read");
                return None;
            }
        };
        let kept = restored(&held, attributes, now);
        let session = Session::holding(kept.clone()).recording();
        **place = Some(Live { kept, held });
        Some(Found {
            session,
            source: Source::Store,
        })
    }

    /// The session that is here already; `None` if it ended, or was idle too long and is ended now.
    async fn share(
        &self,
        place: &mut Locked,
        asked: &AskedId<'_>,
        now: Timestamp,
    ) -> Option<Found> {
        let live = (**place).as_mut()?;
        let is_ended = Session::holding(live.kept.clone()).is_ended();
        // It may have got a new id while this request waited for the place.
        if is_ended || live.held.id.key != asked.key {
            return None;
        }
        let Some(session) = live.kept.begin(now) else {
            self.expired.fetch_add(1, Ordering::Relaxed);
            let live = (**place).take()?;
            self.remove(&live.held).await;
            return None;
        };
        if let Exchange::Sticky(exchange) = &self.exchange {
            exchange.begin(&mut live.held).await;
            live.kept.rename(live.held.id).ok()?;
        }
        Some(Found {
            session: session.recording(),
            source: Source::Local,
        })
    }

    /// Stores a session at the end of a request, and leaves its place.
    async fn store(
        &self,
        session: &Session,
        place: Place,
        mut locked: Locked,
        encoded: Option<Vec<u8>>,
        request: &RequestLine<'_>,
    ) {
        if let Some(Live { held, .. }) = locked.as_mut() {
            let ending = Ending {
                attributes: encoded.as_deref(),
            };
            let request = &self.here(request);
            match &self.exchange {
                Exchange::NonSticky(exchange) => {
                    if let Some(copies) = exchange.end(held, ending, request).await {
                        exchange.copy(held, copies).await;
                    }
                }
                Exchange::Sticky(exchange) => {
                    exchange.end(held, ending, request).await;
                }
            }
        }
        let keep = self.keeps();
        self.in_use.leave(session.id().key, place, locked, keep);
    }

    /// The request, which does not know its context.
    fn here<'a>(&'a self, request: &RequestLine<'a>) -> RequestLine<'a> {
        RequestLine {
            context: &self.config.context,
            ..*request
        }
    }

    /// Gives a session a new id.
    async fn rename(&self, live: &mut Live, place: &Place) -> Result<(), SessionError> {
        let old = live.held.id.key;
        match &self.exchange {
            Exchange::NonSticky(exchange) => exchange.change_id(&mut live.held).await,
            Exchange::Sticky(exchange) => exchange.change_id(&mut live.held).await,
        }
        let new = live.held.id;
        let rename = || live.kept.rename(new);
        self.in_use.rename(old, new.key, place, rename)
    }

    async fn remove(&self, held: &Held) {
        match &self.exchange {
            Exchange::NonSticky(exchange) => exchange.remove(held).await,
            Exchange::Sticky(exchange) => exchange.remove(held).await,
        }
    }

    /// Ends sessions that were idle too long. A copy in sticky mode is this server's to delete; of non-sticky sessions another
    /// server may know better.
    async fn sweep(&self, now: Timestamp) {
        let idle = self.in_use.sweep(now, self.keeps());
        if idle.is_empty() {
            return;
        }
        tracing::info!(ended = idle.len(), "idle sessions expired");
        self.expired.fetch_add(idle.len() as u64, Ordering::Relaxed);
        if self.keeps() {
            for live in &idle {
                self.remove(&live.held).await;
            }
        }
    }
}

/// A request line for a response that has left.
struct OwnedLine {
    method: String,
    path: String,
    query: Option<String>,
}

impl OwnedLine {
    fn of(request: &RequestLine<'_>) -> Self {
        Self {
            method: request.method.to_owned(),
            path: request.path.to_owned(),
            query: request.query.map(str::to_owned),
        }
    }

    fn borrowed(&self) -> RequestLine<'_> {
        RequestLine {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            context: "",
        }
    }
}

/// The session of a record for a request that begins now.
fn restored(held: &Held, attributes: Attributes, now: Timestamp) -> Kept {
    let facts = Facts {
        id: held.id,
        created: held.created,
        last_accessed: held.validity.last_accessed,
        max_inactive: held.validity.interval,
        is_new: false,
    };
    Kept::restored(facts, attributes, now)
}
