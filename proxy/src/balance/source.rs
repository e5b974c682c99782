//! HAProxy's `balance source` with its default map: a table with one slot per unit of weight, filled in smooth order, and the
//! client's address modulo its length.
//!
//! Only usable peers are in the map. When one goes or comes the map is made anew and most clients move, as with HAProxy;
//! `ip_hash` and `consistent_hash` move fewer.

use std::net::IpAddr;
use std::time::Instant;

use super::{Attempt, Hit, Reason};
use crate::upstream::{MAX_PEERS, PeerIndex, PeerSet, Upstream};

/// Largest weight that counts, as in HAProxy; bounds the map at 65,536 slots.
const MAX_WEIGHT: u32 = 256;

/// Which peer has which slot, for the peers that were usable when it was made.
#[derive(Debug, Default)]
pub struct Map {
    slots: Vec<u16>,
    usable: PeerSet,
    weights: u64,
}

const _: () = assert!(MAX_PEERS <= u16::MAX as usize);

impl Map {
    /// The peer for this client, and for a retry the next one behind it in the map.
    pub(super) fn choose(
        &mut self,
        upstream: &Upstream,
        client: IpAddr,
        attempt: &Attempt,
        now: Instant,
    ) -> Hit {
        self.refresh(upstream, now);
        if self.slots.is_empty() {
            return (None, Reason::Source);
        }
        let first = hash(client) as usize % self.slots.len();
        let (before, from) = self.slots.split_at(first);
        let mut slots = from.iter().chain(before).map(|slot| usize::from(*slot));
        let peer = slots.find(|peer| !attempt.tried.contains(*peer));
        (peer, attempt.reason(Reason::Source))
    }

    /// Makes the map anew when peers came or went, or weights changed.
    fn refresh(&mut self, upstream: &Upstream, now: Instant) {
        let mut usable = PeerSet::default();
        let mut weights = 0_u64;
        for peer in 0..upstream.primaries {
            if upstream.usable(peer, now).is_ok() {
                usable.insert(peer);
                let weight = u64::from(weight(upstream, peer));
                weights = weights.wrapping_mul(0x1_0000_01b3).wrapping_add(weight);
            }
        }
        if usable != self.usable || weights != self.weights {
            self.fill(upstream, &usable);
            self.usable = usable;
            self.weights = weights;
        }
    }

    fn fill(&mut self, upstream: &Upstream, usable: &PeerSet) {
        let peers: Vec<PeerIndex> = (0..upstream.primaries)
            .filter(|peer| usable.contains(*peer))
            .collect();
        let total: i64 = peers.iter().map(|p| i64::from(weight(upstream, *p))).sum();
        let mut scores = vec![0_i64; peers.len()];
        self.slots.clear();
        for _ in 0..total {
            let mut best = (0, i64::MIN);
            for (place, peer) in peers.iter().enumerate() {
                scores[place] += i64::from(weight(upstream, *peer));
                let share = (scores[place] + total) / total;
                if share > best.1 {
                    best = (place, share);
                }
            }
            scores[best.0] -= total;
            // Peers are below MAX_PEERS, which fits.
            self.slots.push(peers[best.0] as u16);
        }
    }
}

fn weight(upstream: &Upstream, peer: PeerIndex) -> u32 {
    upstream.peers[peer].health.weight().min(MAX_WEIGHT)
}

/// An IPv4 address as a number; of an IPv6 address the XOR of its four words.
fn hash(client: IpAddr) -> u32 {
    match client {
        IpAddr::V4(client) => client.to_bits(),
        IpAddr::V6(client) => {
            let bits = client.to_bits();
            [0, 32, 64, 96]
                .into_iter()
                .fold(0, |hash, shift| hash ^ (bits >> shift) as u32)
        }
    }
}
