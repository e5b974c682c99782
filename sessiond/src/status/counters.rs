//! What the workers count, each for itself, and the sums.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

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
            pub(super) fn add(&mut self, counters: &Counters) {
                $(self.$name += counters.$name.0.load(Ordering::Relaxed);)+
            }
        }

        impl Counters {
            pub(super) fn reset(&self) {
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
    /// add on a present key, which counts as a use of its item.
    refused_adds,
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
