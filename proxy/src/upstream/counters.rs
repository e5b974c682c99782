//! What each worker counts for a peer. Every worker writes a cell of its own, which nobody else writes, so that counting
//! costs plain loads and stores and no cache line travels between cores; a reader adds the cells up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// One cell per worker.
#[derive(Debug)]
pub struct Counters {
    cells: Box<[Cell]>,
}

/// The counters of one worker, alone on their cache lines (two, because processors fetch lines in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    active: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    bound: AtomicU64,
    new: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    statuses: [AtomicU64; 5],
}

/// The cells of all workers added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests that are being served now.
    pub active: u64,
    /// Requests sent, retries included.
    pub requests: u64,
    /// Failed attempts.
    pub failures: u64,
    /// Requests that came because they were bound here.
    pub bound: u64,
    /// Sessions newly bound here, moved ones included.
    pub new: u64,
    /// Bytes of responses from the peer.
    pub received: u64,
    /// Bytes of requests to the peer.
    pub sent: u64,
    /// Responses by class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub statuses: [u64; 5],
}

impl Counters {
    /// Counters for so many workers (at least one).
    pub fn new(workers: usize) -> Self {
        Self {
            cells: (0..workers.max(1)).map(|_| Cell::default()).collect(),
        }
    }

    /// How many workers may count here.
    pub fn workers(&self) -> usize {
        self.cells.len()
    }

    /// A request was sent to the peer; pair it with [`Counters::end`].
    pub fn begin(&self, worker: usize) {
        let cell = &self.cells[worker];
        add(&cell.active, 1);
        add(&cell.requests, 1);
    }

    /// The request is over, however it went.
    pub fn end(&self, worker: usize) {
        let active = &self.cells[worker].active;
        active.store(active.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// An attempt failed.
    pub fn failed(&self, worker: usize) {
        add(&self.cells[worker].failures, 1);
    }

    /// A request came because it was bound to this peer.
    pub fn bound(&self, worker: usize) {
        add(&self.cells[worker].bound, 1);
    }

    /// A session was bound to this peer.
    pub fn new_binding(&self, worker: usize) {
        add(&self.cells[worker].new, 1);
    }

    /// A response with this status came.
    pub fn status(&self, worker: usize, status: u16) {
        if let Some(class) = (status / 100).checked_sub(1)
            && let Some(counter) = self.cells[worker].statuses.get(usize::from(class))
        {
            add(counter, 1);
        }
    }

    /// Bytes of a request went to the peer, and bytes of its response came back.
    pub fn bytes(&self, worker: usize, sent: u64, received: u64) {
        add(&self.cells[worker].sent, sent);
        add(&self.cells[worker].received, received);
    }

    /// Requests that this worker has at the peer now; nginx's `conns` without `zone`.
    pub fn active_of(&self, worker: usize) -> u64 {
        self.cells[worker].active.load(Relaxed)
    }

    /// Requests that all workers have at the peer now.
    pub fn active(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| cell.active.load(Relaxed))
            .sum()
    }

    /// All cells added up.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for cell in &self.cells {
            totals.active += cell.active.load(Relaxed);
            totals.requests += cell.requests.load(Relaxed);
            totals.failures += cell.failures.load(Relaxed);
            totals.bound += cell.bound.load(Relaxed);
            totals.new += cell.new.load(Relaxed);
            totals.received += cell.received.load(Relaxed);
            totals.sent += cell.sent.load(Relaxed);
            for (total, class) in totals.statuses.iter_mut().zip(&cell.statuses) {
                *total += class.load(Relaxed);
            }
        }
        totals
    }
}

/// Adds without a locked instruction: the cell has one writer.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::Counters;

    #[test]
    fn totals_are_the_sum_of_the_workers() {
        let counters = Counters::new(2);
        counters.begin(0);
        counters.begin(1);
        counters.begin(1);
        counters.end(1);
        counters.failed(0);
        counters.bound(1);
        counters.new_binding(0);
        counters.bytes(0, 10, 20);
        counters.bytes(1, 1, 2);
        for status in [200, 204, 404, 503, 0, 999] {
            counters.status(1, status);
        }
        let totals = counters.totals();
        assert_eq!((totals.active, totals.requests, totals.failures), (2, 3, 1));
        assert_eq!((totals.bound, totals.new), (1, 1));
        assert_eq!((totals.sent, totals.received), (11, 22));
        assert_eq!(totals.statuses, [0, 2, 0, 1, 1]);
        assert_eq!((counters.active_of(0), counters.active()), (1, 2));
    }

    #[test]
    fn an_end_too_many_does_not_wrap() {
        let counters = Counters::new(1);
        counters.end(0);
        assert_eq!(counters.active(), 0);
    }
}
