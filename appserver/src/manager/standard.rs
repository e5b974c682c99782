//! Sessions in this process's memory, gone when it ends: Tomcat's `StandardManager` without its file.
//!
//! ```text
//!   key's first byte ──► one of 64 shards, each a small map behind its own lock:  key ──► Session
//! ```
//!
//! Locks are taken one at a time, shard or session, except by the sweep, which takes a session's inside its shard's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Found, Manager, ManagerError, ManagerStatus, Source};
use crate::clock::Clock;
use crate::session::{AskedId, Begin, Key, Session, SessionError, SessionId, Suffix, Timestamp};

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
    /// Renaming and removing exclude each other, so that a session is never left under a key nobody knows.
    ends: Mutex<()>,
    active: AtomicU64,
    created: AtomicU64,
    expired: AtomicU64,
    invalidated: AtomicU64,
    rejected: AtomicU64,
    renamed: AtomicU64,
}

type Sessions = HashMap<Key, Session, BuildHasherDefault<KeyHasher>>;

/// On a cache line of its own, so that neighbours' locks do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Sessions>);

impl StandardManager {
    /// No sessions yet.
    pub fn new(config: StandardConfig) -> Self {
        Self {
            config,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            ends: Mutex::new(()),
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
            let mut sessions = shard.lock();
            let before = sessions.len();
            sessions.retain(|_, session| !session.expire(now));
            ended += before - sessions.len();
            if sessions.len() < sessions.capacity() / 4 {
                sessions.shrink_to_fit();
            }
        }
        self.active.fetch_sub(ended as u64, Ordering::Relaxed);
        self.expired.fetch_add(ended as u64, Ordering::Relaxed);
        ended
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Sessions> {
        self.shards[usize::from(key.as_bytes()[0]) % SHARDS].lock()
    }

    /// Enters what `session` makes of a fresh id under that id.
    fn enter(&self, session: impl FnOnce(SessionId) -> Session) -> SessionId {
        loop {
            let id = SessionId {
                key: Key::random(),
                suffix: self.config.suffix,
            };
            if let Entry::Vacant(place) = self.shard(id.key).entry(id.key) {
                place.insert(session(id));
                return id;
            }
        }
    }

    /// Forgets the session under `key`; whether this call did it.
    fn forget(&self, key: Key, counter: &AtomicU64) -> bool {
        let removed = self.shard(key).remove(&key).is_some();
        if removed {
            self.active.fetch_sub(1, Ordering::Relaxed);
            counter.fetch_add(1, Ordering::Relaxed);
        }
        removed
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
        let mut made = None;
        self.enter(|id| {
            let session = Session::new(id, now, self.config.max_inactive);
            made.insert(session).clone()
        });
        Ok(made.expect("enter calls what makes the session"))
    }

    async fn find(
        &self,
        asked: &AskedId<'_>,
        now: Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        let Some(session) = self.shard(asked.key).get(&asked.key).cloned() else {
            return Ok(None);
        };
        match session.begin(asked.key, now) {
            Begin::Held(id) => Ok(Some(Found {
                session,
                id,
                source: Source::Local,
            })),
            Begin::Renamed => Ok(None),
            Begin::Ended => {
                self.forget(asked.key, &self.expired);
                Ok(None)
            }
        }
    }

    async fn change_id(&self, session: &Session, _now: Timestamp) -> Result<(), ManagerError> {
        let _no_other = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = self.enter(|_| session.clone());
        let old = session.rename(fresh);
        if self.shard(old.key).remove(&old.key).is_none() {
            // Expired meanwhile: it was counted out under its old key.
            self.shard(fresh.key).remove(&fresh.key);
            return Err(SessionError::Ended.into());
        }
        self.renamed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn commit(&self, session: &Session, now: Timestamp) -> Result<(), ManagerError> {
        session.end(now);
        Ok(())
    }

    async fn remove(&self, session: &Session) -> Result<(), ManagerError> {
        let _no_other = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        session.invalidate();
        self.forget(session.id().key, &self.invalidated);
        Ok(())
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
        }
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the random bits of a [`Key`] as they are. Clients cannot choose the keys in the map, so they cannot make them
/// collide.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write_u64(&mut self, random: u64) {
        self.0 = random;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
