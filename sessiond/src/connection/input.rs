//! What was received from a client and is not executed yet.

use super::desk::Desk;

/// Bytes of which the first `start` are done with.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    /// Bytes none of which is done with.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// What is not executed yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The memory it holds.
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// The buffer, with nothing in it but the rest.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.drop_done();
        self.bytes
    }

    fn drop_done(&mut self) {
        let done = self.start.min(self.bytes.len());
        self.bytes.drain(..done);
        self.start = 0;
    }

    /// Passes over `bytes`, as far as they are here; says how many are still to come.
    pub(super) fn pass_over(&mut self, bytes: usize) -> usize {
        let here = bytes.min(self.rest().len());
        self.start = self.start.saturating_add(here);
        bytes.saturating_sub(here)
    }

    /// Leaves to the connection what it has to keep, and gives the buffer back to the worker if it can do without.
    pub(super) fn kept(mut self, desk: &mut Desk<'_>) -> Self {
        let rest = self.rest();
        if rest.is_empty() {
            desk.take_back(self.bytes);
            return Self::default();
        }
        // A small rest of a large buffer is worth a copy; a large one moves with the buffer.
        if rest.len() < self.bytes.capacity() / 4 {
            let copy = rest.to_vec();
            desk.take_back(self.bytes);
            return Self::of(copy);
        }
        if rest.len() < self.bytes.len() / 2 {
            self.drop_done();
        }
        self
    }
}
