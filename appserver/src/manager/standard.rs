//! Sessions in this process's memory, gone when it ends: Tomcat's `StandardManager` without its file.
//!
//! ```text
//!   key's first byte ──► one of 64 shards, each a small table behind its own lock ──► Kept, which knows its own key
//! ```
//!
//! The tables hold one word per session. Locks are taken in this order: shards by number, then one session's state. Whoever
//! enters, finds, renames or removes a session holds its shard's lock, so each of these is one step for all others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashTable;
use tokio_util::sync::CancellationToken;

use super::{Found, Manager, ManagerError, ManagerStatus, RequestLine, Source};
use crate::clock::Clock;
use crate::session::{AskedId, Kept, Key, Session, SessionError, SessionId, Suffix, Timestamp};

/// Enough that threads rarely meet and that a sweep holds a request up for a 64th of the sessions only.
const SHARDS: usize = 64;

/// Settings of a [`StandardManager`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandardConfig {
    /// What new sessions' ids end with.
    pub suffix: Suffix,
    /// Seconds that a new session may be idle; 0 or less: for ever. Tomcat: `sessionTimeout`, in minutes there.
    pub max_inactive: i32,
    /// At most so many sessions; 0: no limit. Tomcat: `maxActiveSessions`.
    pub max_active: usize,
    /// How often expired sessions are looked for. Tomcat: `processExpiresFrequency` × `backgroundProcessorDelay`.
    pub sweep_interval: Duration,
}

impl Default for StandardConfig {
    fn default() -> Self {
        Self {
            suffix: Suffix::NONE,
            max_inactive: 30 * 60,
            max_active: 1_000_000,
            sweep_interval: Duration::from_secs(60),
        }
    }
}

/// Sessions in memory.
#[derive(Debug)]
pub struct StandardManager {
    config: StandardConfig,
    shards: Box<[Shard]>,
    active: AtomicU64,
    created: AtomicU64,
    expired: AtomicU64,
    invalidated: AtomicU64,
    rejected: AtomicU64,
    renamed: AtomicU64,
}

/// On a cache line of its own, so that neighbours' locks do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions(HashTable<Kept>);

impl StandardManager {
    /// No sessions yet.
    pub fn new(config: StandardConfig) -> Self {
        Self {
            config,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            active: AtomicU64::new(0),
            created: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            invalidated: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            renamed: AtomicU64::new(0),
        }
    }

    /// Ends and forgets every session that was idle too long at `now`; how many.
    pub fn sweep(&self, now: Timestamp) -> usize {
        let mut ended = 0;
        for shard in &self.shards {
            ended += shard.lock().sweep(now);
        }
        self.active.fetch_sub(ended as u64, Ordering::Relaxed);
        self.expired.fetch_add(ended as u64, Ordering::Relaxed);
        ended
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Sessions> {
        self.shards[shard_of(key)].lock()
    }

    fn fresh_id(&self) -> SessionId {
        SessionId {
            key: Key::random(),
            suffix: self.config.suffix,
        }
    }

    /// A session was taken out of its shard.
    fn count_out(&self, why: &AtomicU64) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        why.fetch_add(1, Ordering::Relaxed);
    }
}

impl Manager for StandardManager {
    async fn create(&self, now: Timestamp) -> Result<Session, ManagerError> {
        let limit = self.config.max_active;
        let before = self.active.fetch_add(1, Ordering::Relaxed);
        if limit > 0 && before >= limit as u64 {
            self.active.fetch_sub(1, Ordering::Relaxed);
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(ManagerError::TooMany { limit });
        }
        self.created.fetch_add(1, Ordering::Relaxed);
        loop {
            let id = self.fresh_id();
            let mut shard = self.shard(id.key);
            if shard.get(id.key).is_none() {
                let kept = Kept::new(id, now, self.config.max_inactive);
                shard.insert(kept.clone());
                return Ok(Session::holding(kept));
            }
        }
    }

    async fn find(
        &self,
        asked: &AskedId<'_>,
        _request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        let mut shard = self.shard(asked.key);
        let Some(kept) = shard.get(asked.key) else {
            return Ok(None);
        };
        if let Some(session) = kept.begin(now) {
            return Ok(Some(Found {
                session,
                source: Source::Local,
            }));
        }
        shard.remove(asked.key);
        self.count_out(&self.expired);
        Ok(None)
    }

    async fn change_id(&self, session: &Session, _now: Timestamp) -> Result<(), ManagerError> {
        loop {
            let (old, new) = (session.id(), self.fresh_id());
            // Both shards, so that at no moment both ids are unknown; by number, so that nobody waits in a circle.
            let (first, second) = (shard_of(old.key), shard_of(new.key));
            let mut lower = self.shards[first.min(second)].lock();
            let mut upper = (first != second).then(|| self.shards[first.max(second)].lock());
            let (mut from, to) = match &mut upper {
                None => (None, &mut *lower),
                Some(upper) if first < second => (Some(&mut *lower), &mut **upper),
                Some(upper) => (Some(&mut **upper), &mut *lower),
            };
            if session.id() != old || to.get(new.key).is_some() {
                continue;
            }
            let Some(kept) = from.take().unwrap_or(to).remove(old.key) else {
                return Err(SessionError::Ended.into());
            };
            if let Err(ended) = kept.rename(new) {
                self.count_out(&self.invalidated);
                return Err(ended.into());
            }
            to.insert(kept);
            self.renamed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
    }

    async fn commit(
        &self,
        session: &Session,
        _request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<(), ManagerError> {
        session.kept().end(now);
        Ok(())
    }

    async fn remove(&self, session: &Session) -> Result<(), ManagerError> {
        session.invalidate();
        loop {
            let key = session.id().key;
            let mut shard = self.shard(key);
            if session.id().key == key {
                if shard.remove(key).is_some() {
                    self.count_out(&self.invalidated);
                }
                return Ok(());
            }
        }
    }

    async fn run(&self, shutdown: CancellationToken, clock: Clock) {
        let sweeps = async {
            loop {
                tokio::time::sleep(self.config.sweep_interval).await;
                let ended = self.sweep(clock.now());
                if ended > 0 {
                    tracing::info!(ended, "idle sessions expired");
                }
            }
        };
        shutdown.run_until_cancelled(sweeps).await;
    }

    fn status(&self) -> ManagerStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ManagerStatus {
            manager: "standard",
            active: read(&self.active),
            max_active: self.config.max_active as u64,
            created: read(&self.created),
            expired: read(&self.expired),
            invalidated: read(&self.invalidated),
            rejected: read(&self.rejected),
            renamed: read(&self.renamed),
            store: None,
            nodes: Vec::new(),
        }
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn get(&self, key: Key) -> Option<&Kept> {
        self.0.find(key.random_bits(), |kept| kept.id().key == key)
    }

    fn insert(&mut self, kept: Kept) {
        self.0.insert_unique(random_bits(&kept), kept, random_bits);
    }

    fn remove(&mut self, key: Key) -> Option<Kept> {
        let place = self
            .0
            .find_entry(key.random_bits(), |kept| kept.id().key == key);
        place.ok().map(|place| place.remove().0)
    }

    /// Takes out what is ended or was idle too long; how many. Memory that many fewer sessions need is given back.
    fn sweep(&mut self, now: Timestamp) -> usize {
        let before = self.0.len();
        self.0.retain(|kept| !kept.expire(now));
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit(random_bits);
        }
        before - self.0.len()
    }
}

fn shard_of(key: Key) -> usize {
    usize::from(key.as_bytes()[0]) % SHARDS
}

fn random_bits(kept: &Kept) -> u64 {
    kept.id().key.random_bits()
}
