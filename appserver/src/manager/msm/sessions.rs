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

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attributes;
use super::exchange::Exchange;
use super::in_use::{InUse, Live, Locked, Place, lock};
use super::prefix::KeyPrefix;
use super::protocol::safe::Change;
use super::protocol::safe::dirty::Dirty;
use super::protocol::{Held, Outcome, World};
use super::settings::{MsmSettings, SettingsError};
use super::validity::Validity;
use crate::clock::Clock;
use crate::manager::{
    Found, Manager, ManagerError, ManagerStatus, RequestLine, Source, StoreStatus,
};
use crate::session::attributes::Attributes;
use crate::session::{AskedId, Facts, Kept, Session, SessionError, Timestamp};

/// How often the nodes are looked after beside the requests.
const BACKGROUND: Duration = Duration::from_millis(250);

/// The first pause before a session is stored again whose response left; each is twice the one before.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// At most so many sticky sessions are stored again in one turn.
const UNSAVED_MAX: usize = 64;

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
        let (place, mut locked) = inner.in_use.find(session).await.ok_or_else(ended)?;
        let renamed = match locked.as_mut() {
            Some(live) if !session.is_ended() => inner.rename(live, &place).await,
            _ => Err(ended()),
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
            return Ok(());
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

impl<W: World + 'static> Inner<W> {
    /// Whether sessions stay in this server between requests.
    fn keeps(&self) -> bool {
        self.config.settings.sticky
    }

    /// The session in its place, or from the nodes into it.
    async fn find(
        &self,
        place: &mut Locked,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        let request = &self.here(request);
        // Whoever gave a request up may have left a session that the nodes know better.
        let is_shared = |live: &Live| self.keeps() || live.kept.references() > 1;
        if (**place).as_ref().is_some_and(is_shared) {
            return Box::pin(self.share(place, asked, request, now)).await;
        }
        **place = None;
        let held = self.exchange.find(asked, request, self.keeps()).await?;
        let Some(held) = held else {
            return Ok(None);
        };
        let attributes = match attributes::decode(held.attributes()) {
            Ok(attributes) => attributes,
            Err(error) => {
                tracing::warn!(id = %held.id, %error, "a stored session cannot be read");
                return Ok(None);
            }
        };
        let kept = restored(&held, attributes, now);
        let session = Session::holding(kept.clone()).recording();
        **place = Some(Live::new(kept, held));
        Ok(Some(Found {
            session,
            source: Source::Store,
        }))
    }

    /// The session that is here already; `None` if it ended, or was idle too long and is ended now.
    async fn share(
        &self,
        place: &mut Locked,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        let Some(live) = (**place).as_mut() else {
            return Ok(None);
        };
        let is_ended = Session::holding(live.kept.clone()).is_ended();
        // It may have got a new id while this request waited for the place.
        if is_ended || live.held.id.key != asked.key {
            return Ok(None);
        }
        let Some(session) = live.kept.begin(now) else {
            self.expired.fetch_add(1, Ordering::Relaxed);
            if let Some(live) = (**place).take() {
                self.exchange.expire(&live.held).await;
            }
            return Ok(None);
        };
        let keeps = self.keeps();
        match self.exchange.begin(&mut live.held, request, keeps).await {
            Ok(Some(base)) => rebase(&live.kept, &base, live.held.attributes())?,
            Ok(None) => {}
            Err(ManagerError::Session(_)) => {
                // Another server ended it.
                session.invalidate();
                **place = None;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        if live.kept.rename(live.held.id).is_err() {
            // Another request ended it meanwhile, and waits for the place.
            return Ok(None);
        }
        live.requests += 1;
        Ok(Some(Found {
            session: session.recording(),
            source: Source::Local,
        }))
    }

    /// What a request did that ends now.
    fn ending(
        &self,
        session: &Session,
        locked: &mut Locked,
        now: Timestamp,
    ) -> Result<Ended, ManagerError> {
        let changes = session.take_changes();
        let mut ended = Ended {
            attributes: None,
            names: changes.attributes,
            last: true,
        };
        let Some(live) = (**locked).as_mut() else {
            return Ok(ended);
        };
        ended.last = live.end_request();
        live.held.validity = Validity {
            interval: session.facts().max_inactive,
            last_accessed: now,
            this_accessed: now,
        };
        // What is new was never stored and must be, with or without attributes.
        if !ended.names.is_empty() || live.held.is_new {
            let settings = &self.config.settings;
            ended.names.retain(|name| settings.stores(name));
            let encoded = session
                .read(|attributes| attributes::encode(attributes, |name| settings.stores(name)));
            let encoded = encoded.map_err(|error| ManagerError::Form(error.to_string()))?;
            ended.attributes = Some(encoded);
        }
        Ok(ended)
    }

    /// Stores a session at the end of a request.
    async fn store(
        &self,
        locked: &mut Locked,
        ended: &Ended,
        request: &RequestLine<'_>,
    ) -> Result<(), ManagerError> {
        let Some(live) = (**locked).as_mut() else {
            return Ok(());
        };
        let request = &self.here(request);
        match self
            .exchange
            .end(&mut live.held, ended.change(), request)
            .await
        {
            Ok(Outcome::Failed) => self.unsaved.add(live.held.id),
            Ok(_) => {
                if let Some(base) = live.held.take_base() {
                    rebase(&live.kept, &base, live.held.attributes())?;
                }
            }
            Err(ManagerError::Session(error)) => {
                // Another server ended it.
                Session::holding(live.kept.clone()).invalidate();
                **locked = None;
                return Err(error.into());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Stores a session whose response has left, until a node has it: the session stays here so long, for the next request. Gives
    /// up when the session cannot be stored at all, was idle for its interval, or the server ends.
    async fn store_behind(
        &self,
        session: &Session,
        mut place: Place,
        mut locked: Locked,
        ended: Ended,
        request: &RequestLine<'_>,
    ) {
        let mut pause = RETRY_MIN;
        loop {
            let last = self.closing.is_cancelled();
            let stored = self.store(&mut locked, &ended, request).await;
            let again = matches!(stored, Err(ManagerError::Unavailable | ManagerError::Busy));
            if let Err(error) = &stored
                && (!again || last)
            {
                tracing::error!(id = %session.id(), %error, "a session was not stored behind its response");
            }
            if !again || last {
                return self.ended(session, place, locked, request);
            }
            self.in_use.leave(session.id().key, place, locked, true);
            let paused = tokio::time::sleep(pause);
            self.closing.run_until_cancelled(paused).await;
            pause = (pause * 2).min(RETRY_MAX);
            match self.in_use.find(session).await {
                Some(found) => (place, locked) = found,
                None => return,
            }
        }
    }

    /// A request leaves the place of its session.
    fn ended(&self, session: &Session, place: Place, locked: Locked, request: &RequestLine<'_>) {
        // What a request made that may not store is known to nobody.
        let is_lost = locked.as_ref().is_some_and(|live| live.held.is_new)
            && self.exchange.is_read_only(&self.here(request));
        let keep = self.keeps() && !is_lost;
        self.in_use.leave(session.id().key, place, locked, keep);
    }

    /// Stores sticky sessions that no node took.
    async fn store_unsaved(&self) {
        for id in self.unsaved.take(UNSAVED_MAX) {
            let place = self.in_use.place(id.key);
            let mut locked = lock(&place).await;
            if let Some(live) = locked.as_mut()
                && !live.kept.facts().is_new
            {
                let nothing = Ended {
                    attributes: None,
                    names: Vec::new(),
                    last: false,
                };
                let request = &RequestLine::default();
                if let Err(error) = self.store(&mut locked, &nothing, request).await {
                    tracing::warn!(%id, %error, "a session was not stored");
                }
            }
            self.in_use.leave(id.key, place, locked, true);
        }
    }

    /// The request, which does not know its context.
    fn here<'a>(&'a self, request: &RequestLine<'a>) -> RequestLine<'a> {
        RequestLine {
            context: &self.config.context,
            ..*request
        }
    }

    /// Gives a session a new id.
    async fn rename(&self, live: &mut Live, place: &Place) -> Result<(), ManagerError> {
        let old = live.held.id.key;
        self.exchange.change_id(&mut live.held).await?;
        if let Some(base) = live.held.take_base() {
            rebase(&live.kept, &base, live.held.attributes())?;
        }
        let new = live.held.id;
        let rename = || live.kept.rename(new);
        Ok(self.in_use.rename(old, new.key, place, rename)?)
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
                self.exchange.expire(&live.held).await;
            }
        }
    }
}

/// Takes over what others changed between `base` and `stored`, except what requests here changed as well.
fn rebase(kept: &Kept, base: &[u8], stored: &[u8]) -> Result<(), ManagerError> {
    let decode = |bytes: &[u8]| {
        attributes::decode(bytes).map_err(|error| ManagerError::Form(error.to_string()))
    };
    let (base, stored) = (decode(base)?, decode(stored)?);
    let rebased = Session::holding(kept.clone()).update(|edit| {
        for (name, _) in stored.iter().chain(base.iter()) {
            let (before, now) = (base.get(name), stored.get(name));
            if before == now || edit.get(name) != before {
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
        Ok(()) | Err(SessionError::Ended) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What a request did with its session.
struct Ended {
    attributes: Option<Vec<u8>>,
    names: Vec<String>,
    last: bool,
}

impl Ended {
    fn change(&self) -> Change<'_> {
        Change {
            attributes: self.attributes.as_deref(),
            names: &self.names,
            last: self.last,
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
