//! A set of peers as bits, so that remembering what was tried costs no allocation.

use super::PeerIndex;

/// Most peers of one upstream, backups included.
pub const MAX_PEERS: usize = 256;

const WORDS: usize = MAX_PEERS / 64;

/// Some of an upstream's peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerSet([u64; WORDS]);

impl PeerSet {
    /// Adds a peer. `peer` is below [`MAX_PEERS`], which the configuration guarantees.
    pub fn insert(&mut self, peer: PeerIndex) {
        self.0[peer / 64] |= 1 << (peer % 64);
    }

    /// Whether the peer is in the set.
    pub fn contains(&self, peer: PeerIndex) -> bool {
        self.0[peer / 64] & (1 << (peer % 64)) != 0
    }

    /// How many peers are in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_PEERS, PeerSet};

    #[test]
    fn holds_every_peer_apart_from_the_others() {
        for peer in 0..MAX_PEERS {
            let mut set = PeerSet::default();
            assert!(set.is_empty());
            set.insert(peer);
            assert_eq!(set.len(), 1);
            assert!((0..MAX_PEERS).all(|other| set.contains(other) == (other == peer)));
        }
    }
}
