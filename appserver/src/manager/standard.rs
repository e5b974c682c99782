//! Sessions in this process's memory, gone when it ends: Tomcat's `StandardManager` without its file.
//!
//! They are in a [`Table`], which holds one word per session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::table::{SHARDS, Table};
use super::{Found, Manager, ManagerError, ManagerStatus, RequestLine, Source};
use crate::clock::Clock;
use crate::session::{AskedId, Kept, Key, Session, SessionError, SessionId, Suffix, Timestamp};

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
    table: Table<Kept>,
    active: AtomicU64,
    created: AtomicU64,
    expired: AtomicU64,
    invalidated: AtomicU64,
    rejected: AtomicU64,
    renamed: AtomicU64,
}

impl StandardManager {
    /// No sessions yet.
    pub fn new(config: StandardConfig) -> Self {
        Self {
            config,
            table: Table::new(),
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
        for shard in 0..SHARDS {
            ended += self.table.number(shard).retain(|kept| !kept.expire(now));
        }
        self.active.fetch_sub(ended as u64, Ordering::Relaxed);
        self.expired.fetch_add(ended as u64, Ordering::Relaxed);
        ended
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
            let mut shard = self.table.shard(id.key);
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
        let mut shard = self.table.shard(asked.key);
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
            // Both shards, so that at no moment both ids are unknown.
            let mut shards = self.table.two(old.key, new.key);
            if session.id() != old || shards.second().get(new.key).is_some() {
                continue;
            }
            let Some(kept) = shards.first().remove(old.key) else {
                return Err(SessionError::Ended.into());
            };
            if let Err(ended) = kept.rename(new) {
                self.count_out(&self.invalidated);
                return Err(ended.into());
            }
            shards.second().insert(kept);
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
            let mut shard = self.table.shard(key);
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
            cluster: None,
        }
    }
}
