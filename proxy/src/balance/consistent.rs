//! nginx's `hash KEY consistent`: 160 points per unit of weight on a circle for each peer; a key belongs to the next point.
//! Adding or removing a peer moves only its own share of the keys. The points are those of the memcached ketama variant that
//! nginx uses, so both put a key in the same place.

use std::time::Instant;

use crc32fast::Hasher;

use super::hash::KeyPattern;
use super::{Attempt, Facts, Hit, MAX_REHASHES, Reason, unusable};
use crate::upstream::{PeerIndex, Upstream};

const POINTS_PER_WEIGHT: u32 = 160;

/// Largest weight on the circle; bounds its memory.
pub const MAX_WEIGHT: u32 = 1000;

/// Points on a circle, each belonging to a peer. It keeps the configured weights: a weight that is changed while running does
/// not move keys.
#[derive(Debug)]
pub struct Ring {
    /// Sorted by hash.
    points: Box<[(u32, u16)]>,
}

impl Ring {
    /// The circle for these servers: `host:port` as the configuration writes it, and weight.
    pub fn new<'a>(servers: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut points = Vec::new();
        for (peer, (server, weight)) in (0_u16..).zip(servers) {
            let base = base(server);
            let mut previous = 0_u32;
            for _ in 0..weight.min(MAX_WEIGHT) * POINTS_PER_WEIGHT {
                let mut hasher = base.clone();
                hasher.update(&previous.to_le_bytes());
                previous = hasher.finalize();
                points.push((previous, peer));
            }
        }
        // Of equal points the first server's stays.
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        Self {
            points: points.into(),
        }
    }

    fn find(&self, hash: u32) -> usize {
        self.points.partition_point(|(point, _)| *point < hash)
    }
}

/// Host, a zero byte, port.
fn base(server: &str) -> Hasher {
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (server, ""),
    };
    let mut hasher = Hasher::new();
    hasher.update(host.as_bytes());
    hasher.update(&[0]);
    hasher.update(port.as_bytes());
    hasher
}

/// The peer for this key; nobody when the key is empty (then it is round robin and nothing else), and after 21 points without
/// a usable peer.
pub(super) fn choose(
    upstream: &Upstream,
    pattern: &KeyPattern,
    ring: &Ring,
    facts: &Facts<'_>,
    attempt: &mut Attempt,
    now: Instant,
) -> Hit {
    let key = *attempt.key.get_or_insert_with(|| pattern.key(facts));
    if key.is_empty() || ring.points.is_empty() {
        return (None, Reason::RoundRobin);
    }
    let first = ring.find(key.checksum);
    while attempt.misses <= MAX_REHASHES {
        let (_, peer) = ring.points[(first + attempt.misses as usize) % ring.points.len()];
        let peer = PeerIndex::from(peer);
        match unusable(upstream, peer, attempt, now) {
            None => return (Some(peer), attempt.reason(Reason::Hash)),
            Some(why) => attempt.miss(why),
        }
    }
    (None, attempt.reason(Reason::Hash))
}

#[cfg(test)]
mod tests {
    use super::Ring;

    /// How many of many keys belong to another server on another circle.
    fn moved(before: &[(&str, u32)], after: &[(&str, u32)]) -> usize {
        let owner = |servers: &[(&str, u32)], key: u32| {
            let ring = Ring::new(servers.iter().copied());
            let hash = crc32fast::hash(&key.to_le_bytes());
            let (_, peer) = ring.points[ring.find(hash) % ring.points.len()];
            servers[usize::from(peer)].0.to_owned()
        };
        (0..300)
            .filter(|key| owner(before, *key) != owner(after, *key))
            .count()
    }

    #[test]
    fn a_new_server_takes_its_share_and_moves_nothing_else() {
        let two = [("a:80", 1), ("b:80", 1)];
        let three = [("a:80", 1), ("b:80", 1), ("c:80", 1)];
        let moved = moved(&two, &three);
        assert!((50..150).contains(&moved), "{moved} of 300");
    }

    #[test]
    fn servers_without_a_port_have_points_too() {
        assert_eq!(Ring::new([("a", 1)]).points.len(), 160);
        assert_eq!(Ring::new([("[::1]:80", 2)]).points.len(), 320);
    }
}
