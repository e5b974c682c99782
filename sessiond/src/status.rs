//! What a node has done and what it holds: counters that the workers bump, and the figures made of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::auth::Policy;
use crate::clock::Clock;
use crate::reload::Reload;
use crate::store::Store;

/// Declares the counters once: their place, and their name, which is memcached's in `stats`.
macro_rules! counters {
    ($($(#[$text:meta])+ $name:ident,)+) => {
        /// Counters of one worker. Each worker bumps its own, so that they never wait for each other's.
        #[derive(Debug, Default)]
        #[repr(align(128))] // two cache lines, the unit that processors prefetch
        pub(crate) struct Counters {
            $($(#[$text])+ pub(crate) $name: Counter,)+
        }

        /// The counters of all workers together, under memcached's names.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct Totals {
            $($(#[$text])+ pub $name: u64,)+
        }

        impl Totals {
            fn add(&mut self, counters: &Counters) {
                $(self.$name += counters.$name.0.load(Ordering::Relaxed);)+
            }

            /// Every figure with its name.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }

        impl Counters {
            fn reset(&self) {
                $(self.$name.0.store(0, Ordering::Relaxed);)+
            }
        }
    };
}

counters! {
    /// Keys asked for by get, gets, gat, gats.
    cmd_get,
    /// Data blocks received, whatever became of them.
    cmd_set,
    /// flush_all.
    cmd_flush,
    /// Keys touched by touch, gat, gats.
    cmd_touch,
    /// Meta commands.
    cmd_meta,
    /// Keys found by a retrieval.
    get_hits,
    /// Keys not found by a retrieval.
    get_misses,
    /// delete of an absent key.
    delete_misses,
    /// delete of a present key.
    delete_hits,
    /// incr of an absent key.
    incr_misses,
    /// incr of a present key.
    incr_hits,
    /// decr of an absent key.
    decr_misses,
    /// decr of a present key.
    decr_hits,
    /// cas on an absent key.
    cas_misses,
    /// cas that stored.
    cas_hits,
    /// cas with another cas unique than the item's.
    cas_badval,
    /// touch, gat, gats of a present key.
    touch_hits,
    /// touch, gat, gats of an absent key.
    touch_misses,
    /// Stores refused because the item is too large.
    store_too_large,
    /// Stores refused because no room could be made.
    store_no_memory,
    /// Attempts to authenticate.
    auth_cmds,
    /// Attempts to authenticate that failed.
    auth_errors,
    /// Times a connection had its share of requests and others were served first.
    conn_yields,
    /// Connections closed because nothing moved on them for too long.
    idle_kicks,
    /// Bytes received from clients.
    bytes_read,
    /// Bytes sent to clients.
    bytes_written,
}

/// A number that only grows, until it is reset.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn bump(&self) {
        self.add(1);
    }

    /// So many more.
    pub(crate) fn add(&self, more: usize) {
        // Only its worker writes, so a load and a store are enough; a reset at the same moment may be lost.
        let count = self.0.load(Ordering::Relaxed).wrapping_add(more as u64);
        self.0.store(count, Ordering::Relaxed);
    }
}

/// Clients that are connected, were, and were refused.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) current: AtomicU64,
    pub(crate) total: AtomicU64,
    pub(crate) refused: AtomicU64,
}

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
    /// Items held.
    pub curr_items: u64,
    /// Items stored since the start.
    pub total_items: u64,
    /// What the items cost in memory, in bytes.
    pub bytes: u64,
    /// What they may cost.
    pub limit_maxbytes: u64,
    /// Items dropped before their time to make room.
    pub evictions: u64,
    /// Items found to be expired.
    pub expired: u64,
    /// What the commands did.
    #[serde(flatten)]
    pub commands: Totals,
}

/// Where the figures of a node come from.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) node: String,
    pub(crate) max_connections: usize,
    pub(crate) clock: Clock,
    pub(crate) policy: Arc<Policy>,
    pub(crate) reload: Reload,
    pub(crate) store: Arc<Store>,
    pub(crate) clients: Clients,
    pub(crate) workers: Vec<Counters>,
    /// The counters of clients without a connection.
    pub(crate) datagrams: Counters,
}

impl Figures {
    /// The figures of this moment.
    pub(crate) fn status(&self) -> Status {
        let usage = self.store.usage();
        let mut commands = Totals::default();
        for counters in self.workers.iter().chain([&self.datagrams]) {
            commands.add(counters);
        }
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Status {
            node: self.node.clone(),
            pid: std::process::id(),
            uptime: self.clock.uptime_seconds(),
            time: self.clock.now().0,
            threads: self.workers.len() as u64,
            max_connections: self.max_connections as u64,
            curr_connections: load(&self.clients.current),
            total_connections: load(&self.clients.total),
            rejected_connections: load(&self.clients.refused),
            curr_items: usage.items,
            total_items: usage.stored,
            bytes: usage.bytes,
            limit_maxbytes: usage.limit,
            evictions: usage.evicted,
            expired: usage.expired,
            commands,
        }
    }

    /// Sets what counts to zero (`stats reset`); what is held stays.
    pub(crate) fn reset(&self) {
        self.store.reset_counters();
        self.clients.total.store(0, Ordering::Relaxed);
        self.clients.refused.store(0, Ordering::Relaxed);
        for counters in self.workers.iter().chain([&self.datagrams]) {
            counters.reset();
        }
    }
}

impl Status {
    /// Every figure with memcached's name for it, as `stats` sends them, but pid, time and version.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let first = [
            ("max_connections", self.max_connections),
            ("curr_connections", self.curr_connections),
            ("total_connections", self.total_connections),
            ("rejected_connections", self.rejected_connections),
        ];
        let last = [
            ("limit_maxbytes", self.limit_maxbytes),
            ("threads", self.threads),
            ("bytes", self.bytes),
            ("curr_items", self.curr_items),
            ("total_items", self.total_items),
            ("evictions", self.evictions),
        ];
        first.into_iter().chain(self.commands.figures()).chain(last)
    }
}
