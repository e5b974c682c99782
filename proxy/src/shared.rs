//! What all threads of the process share: counters with one writer each, the number of open connections, and the site
//! for those who only look at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::site::Site;
use crate::worker::stats::WorkerStats;

/// See the module.
pub(crate) struct Shared {
    pub(crate) site: ArcSwap<Site>,
    pub(crate) workers: Box<[WorkerStats]>,
    pub(crate) started: Instant,
    /// Configurations put into force, the first included.
    pub(crate) generation: AtomicU64,
    /// Reloads that were refused.
    pub(crate) refused_reloads: AtomicU64,
    /// The process is about to end.
    pub(crate) stopping: AtomicBool,
    open: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(site: Arc<Site>, workers: usize) -> Self {
        Self {
            site: ArcSwap::new(site),
            workers: (0..workers).map(|_| WorkerStats::default()).collect(),
            started: Instant::now(),
            generation: AtomicU64::new(1),
            refused_reloads: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        }
    }

    /// Counts a new client connection; false when there are `limit` already.
    pub(crate) fn admit(&self, limit: usize) -> bool {
        if self.open.fetch_add(1, Relaxed) < limit {
            return true;
        }
        self.open.fetch_sub(1, Relaxed);
        false
    }

    /// A client connection is gone.
    pub(crate) fn dismiss(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}
