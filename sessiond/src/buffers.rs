//! The account of what connections hold in memory beside the items: requests that are not all there, responses that
//! nobody reads. Together they may have a share of `-m`; who wants more is refused or closed.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The part of the memory limit that connections may hold: one of so many.
const PART: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Buffers {
    held: AtomicUsize,
    share: usize,
}

impl Buffers {
    /// An account for a process that may use `memory` bytes. The largest item (`item_size_max`) can be received
    /// whatever the memory.
    pub(crate) fn new(memory: usize, item_size_max: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            share: (memory / PART).max(item_size_max.saturating_mul(2)),
        }
    }

    /// What all connections hold, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether so many bytes more may be held.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.held().saturating_add(bytes) <= self.share
    }

    /// Whether connections should wait for their clients rather than gather more.
    pub(crate) fn are_scarce(&self) -> bool {
        self.held() > self.share / 2
    }
}

/// What one connection holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    buffers: Arc<Buffers>,
    bytes: usize,
}

impl Held {
    /// Nothing, so far.
    pub(crate) fn nothing(buffers: &Arc<Buffers>) -> Self {
        Self {
            buffers: Arc::clone(buffers),
            bytes: 0,
        }
    }

    /// From now on it is so much.
    pub(crate) fn set(&mut self, bytes: usize) {
        // Nothing most of the time: idle connections and those in step with their clients hold no buffers.
        if bytes > self.bytes {
            self.buffers
                .held
                .fetch_add(bytes.saturating_sub(self.bytes), Ordering::Relaxed);
        } else if bytes < self.bytes {
            self.buffers
                .held
                .fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, Held};
    use std::sync::Arc;

    #[test]
    fn what_is_held_is_counted_until_it_is_given_back() {
        let buffers = Arc::new(Buffers::new(4000, 10));
        let (mut one, mut other) = (Held::nothing(&buffers), Held::nothing(&buffers));
        one.set(400);
        other.set(300);
        assert!(buffers.has_room_for(300) && !buffers.has_room_for(301));
        assert!(buffers.are_scarce());
        one.set(100);
        assert_eq!(buffers.held(), 400);
        assert!(!buffers.are_scarce());
        drop(other);
        assert_eq!(buffers.held(), 100);
        drop(one);
        assert_eq!(buffers.held(), 0);
        assert!(Buffers::new(4000, 5000).has_room_for(5000));
    }
}
