//! What is to be sent to a client: bytes, with large values in between that are not copied.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

/// Pieces that are handed to the socket in one call.
pub(crate) const PIECES_MAX: usize = 64;

/// So many copied bytes are worth sending: more would leave the processor's nearer caches before they are sent.
const COPIED_MAX: usize = 64 * 1024;

/// Bytes to send. It is written to like the `Vec<u8>` that it mostly is; [`Output::share`] puts a value behind what is
/// there without copying it.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// How many of `bytes` are sent.
    sent: usize,
    /// Values, each with the place in `bytes` where it belongs.
    shared: VecDeque<(usize, Bytes)>,
    /// What the values of `shared` have still to send.
    shared_len: usize,
}

impl Deref for Output {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Output {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Output {
    /// Puts a value behind what is there, without copying it.
    pub fn share(&mut self, value: Bytes) {
        if value.is_empty() {
            return;
        }
        self.shared_len = self.shared_len.saturating_add(value.len());
        self.shared.push_back((self.bytes.len(), value));
    }

    /// How many bytes are still to be sent, shared ones among them.
    pub fn waiting(&self) -> usize {
        let own = self.bytes.len().saturating_sub(self.sent);
        own.saturating_add(self.shared_len)
    }

    /// Whether it should be sent before more is written: `enough` bytes wait, or as many pieces or copied bytes as are
    /// worth a call.
    pub fn is_full(&self, enough: usize) -> bool {
        self.waiting() >= enough
            || self.bytes.len() >= COPIED_MAX
            || self.shared.len() >= PIECES_MAX / 2
    }

    /// Memory that is held for this output alone.
    pub(crate) fn own_room(&self) -> usize {
        self.bytes.capacity()
    }

    /// Memory of values that may be held for this output alone.
    pub(crate) fn shared_room(&self) -> usize {
        self.shared_len
    }

    /// Calls `send` with what comes next, at most [`PIECES_MAX`] pieces.
    pub(crate) fn with_pieces<R>(&self, send: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        if self.shared.is_empty() {
            // What most responses are.
            let own = self.bytes.get(self.sent..).unwrap_or_default();
            return send(&[IoSlice::new(own)]);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let mut used = 0;
        let mut from = self.sent;
        let mut next = |piece| {
            let place = pieces.get_mut(used)?;
            *place = IoSlice::new(piece);
            used = used.saturating_add(1);
            Some(())
        };
        let mut shared = self.shared.iter();
        loop {
            let value = shared.next();
            let until = value.map_or(self.bytes.len(), |(at, _)| *at);
            let own = self.bytes.get(from..until).unwrap_or_default();
            if !own.is_empty() && next(own).is_none() {
                break;
            }
            from = until;
            let Some((_, value)) = value else { break };
            if next(value).is_none() {
                break;
            }
        }
        send(pieces.get(..used).unwrap_or_default())
    }

    /// Takes note that so many bytes are sent.
    pub(crate) fn advance(&mut self, mut sent: usize) {
        while let Some((at, value)) = self.shared.front_mut() {
            let own = at.saturating_sub(self.sent).min(sent);
            self.sent = self.sent.saturating_add(own);
            sent = sent.saturating_sub(own);
            if self.sent < *at {
                return;
            }
            let part = sent.min(value.len());
            self.shared_len = self.shared_len.saturating_sub(part);
            sent = sent.saturating_sub(part);
            if part < value.len() {
                // Not `Buf::advance`: a cut handle is as cheap.
                *value = value.slice(part..);
                return;
            }
            self.shared.pop_front();
        }
        self.sent = self.sent.saturating_add(sent).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.clear_all();
        }
    }

    /// Forgets everything; for what nobody will read.
    pub(crate) fn clear_all(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(COPIED_MAX);
        self.sent = 0;
        self.shared.clear();
        self.shared_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Output;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// Everything that is still to come, by sending `step` bytes at a time.
    fn sent_in_steps(mut output: Output, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while output.waiting() > 0 {
            let before = output.waiting();
            let part: Vec<u8> = output.with_pieces(|pieces| {
                pieces
                    .iter()
                    .flat_map(|piece| piece.to_vec())
                    .take(step)
                    .collect()
            });
            output.advance(part.len());
            assert_eq!(output.waiting(), before - part.len());
            all.extend(part);
        }
        all
    }

    proptest! {
        /// However little the socket takes at once, what was written comes out in order.
        #[test]
        fn pieces_come_out_in_the_order_they_were_written(
            parts in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..50)), 0..100),
            step in 1usize..400,
        ) {
            let mut output = Output::default();
            let mut whole = Vec::new();
            for (shared, part) in parts {
                whole.extend_from_slice(&part);
                if shared {
                    output.share(Bytes::from(part));
                } else {
                    output.extend_from_slice(&part);
                }
            }
            prop_assert_eq!(output.waiting(), whole.len());
            prop_assert_eq!(sent_in_steps(output, step), whole);
        }
    }
}
