//! nginx's `ip_hash`, bit for bit: the first three bytes of an IPv4 address or all of an IPv6 address, hashed into 6,271
//! values, modulo the sum of all weights. A peer that cannot serve keeps its share; its clients hash again, on top of the
//! hash so far, until they hit another.

use std::net::IpAddr;
use std::time::Instant;

use super::{Attempt, Hit, MAX_REHASHES, Reason, at_weight, unusable};
use crate::upstream::Upstream;

const START: u32 = 89;
const FACTOR: u32 = 113;
const VALUES: u32 = 6271;

/// The peer for this client; nobody after 21 hashes without one, when it is round robin's turn.
pub(super) fn choose(
    upstream: &Upstream,
    client: IpAddr,
    attempt: &mut Attempt,
    now: Instant,
) -> Hit {
    if attempt.hashes == 0 {
        attempt.hash = START;
    }
    while attempt.misses <= MAX_REHASHES {
        attempt.hash = match client {
            IpAddr::V4(client) => mix(attempt.hash, &client.octets()[..3]),
            IpAddr::V6(client) => mix(attempt.hash, &client.octets()),
        };
        attempt.hashes += 1;
        let Some(peer) = at_weight(upstream, attempt.hash) else {
            break;
        };
        match unusable(upstream, peer, attempt, now) {
            None => return (Some(peer), attempt.reason(Reason::IpHash)),
            Some(why) => attempt.miss(why),
        }
    }
    (None, attempt.reason(Reason::IpHash))
}

fn mix(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash * FACTOR + u32::from(*byte)) % VALUES
    })
}
