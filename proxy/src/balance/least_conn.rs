//! nginx's `least_conn`: the peer with the fewest requests for its weight; equals take turns.
//!
//! A worker compares its own counts, as nginx does without `zone`: no core then waits for another's counters.

use std::cmp::Ordering;
use std::ops::Range;
use std::time::Instant;

use super::round_robin::RoundRobin;
use crate::upstream::{PeerIndex, PeerSet, Upstream};

/// The least busy peer of `range`.
pub(super) fn choose(
    upstream: &Upstream,
    worker: usize,
    turns: &mut RoundRobin,
    range: Range<PeerIndex>,
    tried: &PeerSet,
    now: Instant,
) -> Option<PeerIndex> {
    let may = |peer| !tried.contains(peer) && upstream.usable(peer, now).is_ok();
    let best = range
        .clone()
        .filter(|peer| may(*peer))
        .min_by(|a, b| compare(upstream, worker, *a, *b))?;
    turns.choose(upstream, range, tried, now, |peer| {
        may(peer) && compare(upstream, worker, peer, best) == Ordering::Equal
    })
}

/// Requests by weight, without dividing.
fn compare(upstream: &Upstream, worker: usize, a: PeerIndex, b: PeerIndex) -> Ordering {
    let load = |peer: PeerIndex| upstream.peers[peer].counters.active_of(worker);
    let weight = |peer: PeerIndex| u64::from(upstream.peers[peer].health.weight());
    (load(a) * weight(b)).cmp(&(load(b) * weight(a)))
}
