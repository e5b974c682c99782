//! What a node has done and what it holds: counters that the workers bump, and the figures made of them.

mod counters;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::auth::Policy;
use crate::buffers::Buffers;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::Config;
use crate::prefixes::Prefixes;
use crate::reload::Reload;
use crate::store::{Group, Store, Usage};
use crate::tuning::Tuning;
use crate::watch::Watch;

pub(crate) use counters::Counters;
pub use counters::Totals;

/// What a node holds and has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The process.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime: u64,
    /// Seconds since 1970.
    pub time: u32,
    /// Worker threads.
    pub threads: u64,
    /// Clients that may be connected.
    pub max_connections: u64,
    /// Clients that are connected.
    pub curr_connections: u64,
    /// Clients since the start.
    pub total_connections: u64,
    /// Clients refused because there were too many.
    pub rejected_connections: u64,
    /// What the process may take for items and for what serves them, in bytes.
    pub limit_maxbytes: u64,
    /// What of it is not for items now: the process itself and the buffers of its clients.
    pub reserved_bytes: u64,
    /// What clients' unfinished requests and unread responses take, in bytes.
    pub buffer_bytes: u64,
    /// What is held in the store.
    #[serde(flatten)]
    pub items: Items,
    /// What the commands did.
    #[serde(flatten)]
    pub commands: Totals,
}

/// What is held in the store, and what became of what was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Items {
    /// Items held.
    pub curr_items: u64,
    /// Items stored since the start.
    pub total_items: u64,
    /// What the items cost in memory, in bytes.
    pub bytes: u64,
    /// Items dropped before their time to make room.
    pub evictions: u64,
    /// Those of them that nobody had read.
    pub evicted_unfetched: u64,
    /// Those of them that were in use.
    pub evicted_active: u64,
    /// Items found to be expired, whoever found them.
    pub expired: u64,
    /// Those of them that somebody asked for.
    pub expired_on_access: u64,
    /// Those of them that nobody had read.
    pub expired_unfetched: u64,
    /// Those of them whose memory was wanted for an item that was being stored.
    pub reclaimed: u64,
    /// Items that nobody used since they were stored: they go first.
    pub probation_items: u64,
    /// What they cost.
    pub probation_bytes: u64,
    /// The age of those that go first, in seconds.
    pub probation_age: u64,
    /// Items that proved to be in use.
    pub proven_items: u64,
    /// What they cost.
    pub proven_bytes: u64,
    /// The age of those that go first, in seconds.
    pub proven_age: u64,
    /// Values that have a buffer of their own because they are large.
    pub large_items: u64,
    /// What they cost.
    pub large_bytes: u64,
    /// Memory taken from the system for all of this: segments, table, large values, in bytes.
    pub store_bytes: u64,
    /// The part of it that the table is.
    pub hash_bytes: u64,
    /// Pieces of memory that items are kept in.
    pub segments: u64,
    /// The size of such a piece, in bytes.
    pub segment_size: u64,
}

impl Items {
    /// Expired items that were found neither by those who asked for them nor for want of room.
    pub(crate) fn expired_in_background(&self) -> u64 {
        self.expired
            .saturating_sub(self.expired_on_access)
            .saturating_sub(self.reclaimed)
    }

    fn of(usage: &Usage, now: u32) -> Self {
        let age = |group: &Group| match group.items {
            0 => 0,
            _ => now.saturating_sub(group.oldest.0).into(),
        };
        Self {
            curr_items: usage.items,
            total_items: usage.stored,
            bytes: usage.bytes,
            evictions: usage.evicted,
            evicted_unfetched: usage.evicted_unfetched,
            evicted_active: usage.evicted_active,
            expired: usage.expired,
            expired_on_access: usage.expired_on_access,
            expired_unfetched: usage.expired_unfetched,
            reclaimed: usage.reclaimed,
            probation_items: usage.probation.items,
            probation_bytes: usage.probation.bytes,
            probation_age: age(&usage.probation),
            proven_items: usage.proven.items,
            proven_bytes: usage.proven.bytes,
            proven_age: age(&usage.proven),
            large_items: usage.large.items,
            large_bytes: usage.large.bytes,
            store_bytes: usage.memory,
            hash_bytes: usage.table_bytes,
            segments: usage.segments,
            segment_size: usage.segment_size,
        }
    }
}

/// A socket that clients connect to.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// Its descriptor.
    pub(crate) descriptor: i32,
    /// Its address, as `stats conns` names it.
    pub(crate) name: Arc<str>,
}

/// Where the figures of a node come from, and what its commands act on.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) config: Config,
    /// The listeners.
    pub(crate) listeners: Vec<Heard>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) reload: Reload,
    pub(crate) store: Arc<Store>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) clients: Clients,
    pub(crate) workers: Vec<Counters>,
    /// The counters of clients without a connection.
    pub(crate) datagrams: Counters,
    pub(crate) prefixes: Prefixes,
    pub(crate) watch: Arc<Watch>,
    pub(crate) tuning: Mutex<Tuning>,
    /// Cancelled by the command that stops the node.
    pub(crate) told_to_stop: CancellationToken,
}

impl Figures {
    /// What operators have changed.
    pub(crate) fn tuning(&self) -> MutexGuard<'_, Tuning> {
        self.tuning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The figures of this moment.
    pub(crate) fn status(&self) -> Status {
        let usage = self.store.usage();
        let mut commands = Totals::default();
        for counters in self.workers.iter().chain([&self.datagrams]) {
            commands.add(counters);
        }
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let limit = self.tuning().memory_limit;
        let now = self.clock.now().0;
        Status {
            node: self.config.node_id.clone(),
            pid: std::process::id(),
            uptime: self.clock.uptime_seconds(),
            time: now,
            threads: self.workers.len() as u64,
            max_connections: self.config.max_connections as u64,
            curr_connections: load(&self.clients.current),
            total_connections: load(&self.clients.total),
            rejected_connections: load(&self.clients.refused),
            limit_maxbytes: limit,
            reserved_bytes: usage.reserved,
            buffer_bytes: self.buffers.held() as u64,
            items: Items::of(&usage, now),
            commands,
        }
    }

    /// Sets what counts to zero (`stats reset`); what is held stays.
    pub(crate) fn reset(&self) {
        self.store.reset_counters();
        self.clients.total.store(0, Ordering::Relaxed);
        self.clients.refused.store(0, Ordering::Relaxed);
        self.prefixes.reset();
        self.watch.reset();
        for counters in self.workers.iter().chain([&self.datagrams]) {
            counters.reset();
        }
    }
}
