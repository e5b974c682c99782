//! What one worker counts. It is the only writer, so counting is a load and a store; readers add the workers up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::status::ClientTotals;

/// The counters of one worker, alone on their cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerStats {
    accepted: AtomicU64,
    handled: AtomicU64,
    active: AtomicU64,
    waiting: AtomicU64,
    reading: AtomicU64,
    requests: AtomicU64,
    request_millis: AtomicU64,
    sent: AtomicU64,
    statuses: [AtomicU64; 5],
}

impl WorkerStats {
    pub(crate) fn accepted(&self) {
        add(&self.accepted, 1);
    }

    pub(crate) fn opened(&self) {
        add(&self.handled, 1);
        add(&self.active, 1);
    }

    pub(crate) fn closed(&self) {
        add(&self.active, -1);
    }

    pub(crate) fn waiting(&self, change: i64) {
        add(&self.waiting, change);
    }

    pub(crate) fn reading(&self, change: i64) {
        add(&self.reading, change);
    }

    pub(crate) fn request(&self) {
        add(&self.requests, 1);
    }

    pub(crate) fn answered(&self, status: u16, sent: u64, millis: u64) {
        if let Some(class) = usize::from(status / 100).checked_sub(1)
            && let Some(counter) = self.statuses.get(class)
        {
            add(counter, 1);
        }
        add(&self.sent, i64::try_from(sent).unwrap_or(i64::MAX));
        add(
            &self.request_millis,
            i64::try_from(millis).unwrap_or(i64::MAX),
        );
    }

    /// No connection is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.load(Relaxed) == 0
    }

    /// All workers together.
    pub(crate) fn totals(workers: &[Self]) -> ClientTotals {
        let sum = |of: fn(&Self) -> &AtomicU64| -> u64 {
            workers.iter().map(|w| of(w).load(Relaxed)).sum()
        };
        let (active, waiting, reading) =
            (sum(|w| &w.active), sum(|w| &w.waiting), sum(|w| &w.reading));
        let mut statuses = [0; 5];
        for (class, total) in statuses.iter_mut().enumerate() {
            *total = workers
                .iter()
                .map(|w| w.statuses[class].load(Relaxed))
                .sum();
        }
        ClientTotals {
            accepts: sum(|w| &w.accepted),
            handled: sum(|w| &w.handled),
            active,
            reading,
            writing: active.saturating_sub(waiting).saturating_sub(reading),
            waiting: waiting.min(active),
            requests: sum(|w| &w.requests),
            request_millis: sum(|w| &w.request_millis),
            sent: sum(|w| &w.sent),
            statuses,
        }
    }
}

/// Adds without a locked instruction: there is one writer.
fn add(counter: &AtomicU64, change: i64) {
    counter.store(counter.load(Relaxed).wrapping_add_signed(change), Relaxed);
}
