//! A circuit breaker per node: what requests and background checks saw of it. Pure; `now` is a parameter.
//!
//! ```text
//!   up ──(no answer within operationTimeout, or refused)──► down ──(it answers a check)──► up
//! ```
//!
//! A node that is down is asked nothing by requests, so it costs them nothing. [`Health::due`] says which nodes the background
//! asks. Where nothing runs in the background, one request every [`PROBE_MILLIS`] tries.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::Timestamp;

/// How often the background asks each node whether it is there, in milliseconds.
pub const CHECK_MILLIS: u64 = 1000;

/// After so many milliseconds without a check a request tries a node that is down.
pub const PROBE_MILLIS: u64 = 5000;

/// What is known of the nodes.
#[derive(Debug)]
pub struct Health {
    nodes: Mutex<Vec<Node>>,
    /// How many are not up. Mostly none, and then nobody has to lock.
    down: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    state: State,
    /// When it was last asked by the background, or by a request that tried.
    checked: Timestamp,
}

/// The state of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is used.
    Up,
    /// It did not answer, first at this time.
    Down(Timestamp),
}

impl State {
    /// Since when it is down.
    pub fn down_since(self) -> Option<Timestamp> {
        match self {
            Self::Up => None,
            Self::Down(since) => Some(since),
        }
    }
}

impl Health {
    /// So many nodes, believed to be up.
    pub fn new(nodes: usize) -> Self {
        let node = Node {
            state: State::Up,
            checked: Timestamp(0),
        };
        Self {
            nodes: Mutex::new(vec![node; nodes]),
            down: AtomicUsize::new(0),
        }
    }

    /// Whether requests use the node.
    pub fn is_up(&self, node: usize, now: Timestamp) -> bool {
        if self.all_are_up() {
            return true;
        }
        let node = &mut self.nodes()[node];
        if node.state == State::Up {
            return true;
        }
        let tries = now.since(node.checked) >= PROBE_MILLIS;
        if tries {
            node.checked = now;
        }
        tries
    }

    /// A node answered; whether it had been down.
    pub fn answered(&self, node: usize) -> bool {
        if self.all_are_up() {
            return false;
        }
        let nodes = &mut *self.nodes();
        let was_down = std::mem::replace(&mut nodes[node].state, State::Up) != State::Up;
        if was_down {
            self.down.fetch_sub(1, Ordering::Release);
        }
        was_down
    }

    /// A node did not answer in time, or refused; whether that is news.
    pub fn failed(&self, node: usize, now: Timestamp) -> bool {
        let nodes = &mut *self.nodes();
        if nodes[node].state != State::Up {
            return false;
        }
        nodes[node] = Node {
            state: State::Down(now),
            checked: now,
        };
        self.down.fetch_add(1, Ordering::Release);
        true
    }

    /// The nodes that the background has to ask now.
    pub fn due(&self, now: Timestamp) -> Vec<usize> {
        let mut due = Vec::new();
        for (place, node) in self.nodes().iter_mut().enumerate() {
            if now.since(node.checked) >= CHECK_MILLIS {
                node.checked = now;
                due.push(place);
            }
        }
        due
    }

    /// The state of each node.
    pub fn states(&self) -> Vec<State> {
        self.nodes().iter().map(|node| node.state).collect()
    }

    /// Whether no node is down, so that the time does not matter.
    pub fn all_are_up(&self) -> bool {
        self.down.load(Ordering::Acquire) == 0
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{CHECK_MILLIS, Health, PROBE_MILLIS, State};
    use crate::session::Timestamp;

    #[test]
    fn a_node_is_down_from_its_first_failure_to_its_next_answer() {
        let health = Health::new(2);
        let at = Timestamp(10_000);
        assert!(health.is_up(0, at));
        assert!(health.failed(0, at), "news");
        assert!(!health.failed(0, Timestamp(10_001)), "no news");
        assert_eq!(health.states(), [State::Down(at), State::Up]);
        assert!(!health.is_up(0, Timestamp(10_500)));
        assert!(health.is_up(1, Timestamp(10_500)), "the other one");
        assert!(health.answered(0));
        assert!(!health.answered(0));
        assert!(health.is_up(0, Timestamp(10_501)));
    }

    #[test]
    fn the_background_asks_each_node_once_in_a_while_and_one_request_does_without_it() {
        let health = Health::new(2);
        let at = |millis| Timestamp(10_000 + millis);
        assert_eq!(health.due(at(0)), [0, 1]);
        assert!(health.due(at(CHECK_MILLIS - 1)).is_empty());
        health.failed(1, at(500));
        assert_eq!(health.due(at(CHECK_MILLIS)), [0]);
        assert_eq!(health.due(at(500 + CHECK_MILLIS)), [1]);
        let tries = 500 + CHECK_MILLIS + PROBE_MILLIS;
        assert!(!health.is_up(1, at(tries - 1)));
        assert!(health.is_up(1, at(tries)), "this one tries");
        assert!(!health.is_up(1, at(tries)), "and no other");
    }
}
