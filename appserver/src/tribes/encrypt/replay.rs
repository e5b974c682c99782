//! Messages that were recorded and are sent again: each is taken once, and only while it is young.

use std::collections::{HashSet, VecDeque};

use super::IV_MAX;

/// What a message is to those that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// New.
    Never,
    /// It was taken already: recorded and sent again, or sent once more after its connection broke.
    Before,
    /// Too old, or from too far in the future, to tell.
    Unknown,
}

/// What was taken lately. Bounded by time and number; when there are more within the time, the oldest are forgotten, and what is older than
/// they is refused from then on.
#[derive(Debug)]
pub struct ReplayWindow {
    /// The most milliseconds between the sender's clock and this node's.
    time: u64,
    count: usize,
    /// In the order in which they came.
    taken: VecDeque<(u64, Iv)>,
    known: HashSet<Iv>,
    /// What is older was perhaps taken.
    floor: u64,
}

type Iv = [u8; IV_MAX];

impl ReplayWindow {
    /// Nothing was taken yet. `time` is in milliseconds, `count` at least 1.
    pub fn new(time: u64, count: usize) -> Self {
        Self {
            time,
            count: count.max(1),
            taken: VecDeque::new(),
            known: HashSet::new(),
            floor: 0,
        }
    }

    /// Takes a message with this initialization vector and time, if it is new.
    pub fn take(&mut self, iv: &[u8], sent: u64, now: u64) -> Seen {
        let mut key = [0; IV_MAX];
        let len = iv.len().min(IV_MAX);
        key[..len].copy_from_slice(&iv[..len]);
        if self.known.contains(&key) {
            return Seen::Before;
        }
        if sent.abs_diff(now) > self.time || sent < self.floor {
            return Seen::Unknown;
        }
        self.known.insert(key);
        self.taken.push_back((sent, key));
        while let Some((oldest, iv)) = self.taken.front() {
            let old = oldest + self.time < now;
            if !old && self.taken.len() <= self.count {
                break;
            }
            if !old {
                self.floor = self.floor.max(oldest + 1);
            }
            self.known.remove(iv);
            self.taken.pop_front();
        }
        Seen::Never
    }
}
