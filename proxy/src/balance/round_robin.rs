//! nginx's smooth weighted round robin: weights 5, 1, 1 give `0 0 1 0 2 0 0`, not `0 0 0 0 0 1 2`.
//!
//! Each peer has a weight, a penalty for failures, and a current value. Per choice every usable peer's current value grows by
//! its effective weight (weight less penalty), and the largest pays the sum of all. A failure costs `weight / max_fails`,
//! which is paid back by one with every choice. nginx keeps the effective weight instead of the penalty; kept this way
//! round, a weight that is changed while running or rises in slow start holds at once.

use std::ops::Range;
use std::time::Instant;

use crate::upstream::{PeerIndex, PeerSet, Upstream};

/// With slow start, weights are counted in hundredths, so that a weight of 1 can rise too.
const SLOW_START_SCALE: u32 = 100;

/// Whose turn it is, as one worker sees it.
#[derive(Debug)]
pub struct RoundRobin {
    turns: Box<[Turn]>,
    scale: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    current: i64,
    penalty: u32,
}

impl RoundRobin {
    /// From the start: the first peer is next.
    pub fn new(upstream: &Upstream) -> Self {
        let slow = upstream.peers.iter().any(|p| !p.slow_start.is_zero());
        Self {
            turns: vec![Turn::default(); upstream.peers.len()].into(),
            scale: if slow { SLOW_START_SCALE } else { 1 },
        }
    }

    /// Takes the turns of peers that were there before a reload.
    pub fn take_over(&mut self, upstream: &Upstream, previous: &Self, before: &Upstream) {
        if self.scale != previous.scale {
            return;
        }
        for (turn, peer) in self.turns.iter_mut().zip(&upstream.peers) {
            let old = before.peers.iter().position(|p| p.name == peer.name);
            if let Some(old) = old {
                *turn = previous.turns[old];
            }
        }
    }

    /// The peer whose turn it is among those of `range` that `may` accepts and that are not in `tried`.
    pub fn choose(
        &mut self,
        upstream: &Upstream,
        range: Range<PeerIndex>,
        tried: &PeerSet,
        now: Instant,
        may: impl Fn(PeerIndex) -> bool,
    ) -> Option<PeerIndex> {
        let mut best: Option<PeerIndex> = None;
        let mut total = 0;
        for peer in range {
            if tried.contains(peer) || !may(peer) {
                continue;
            }
            let weight = upstream.peers[peer].weight(self.scale, now);
            let turn = &mut self.turns[peer];
            let effective = i64::from(weight.saturating_sub(turn.penalty));
            turn.current += effective;
            total += effective;
            turn.penalty = turn.penalty.min(weight).saturating_sub(self.scale);
            if best.is_none_or(|best| self.turns[peer].current > self.turns[best].current) {
                best = Some(peer);
            }
        }
        if let Some(best) = best {
            self.turns[best].current -= total;
        }
        best
    }

    /// A failure lowers the effective weight, so that a peer that fails now and then gets less.
    pub fn failed(&mut self, upstream: &Upstream, peer: PeerIndex) {
        let Some(cost) = upstream.peers[peer]
            .health
            .weight()
            .checked_div(upstream.peers[peer].max_fails)
        else {
            return;
        };
        let turn = &mut self.turns[peer];
        turn.penalty = turn.penalty.saturating_add(cost.saturating_mul(self.scale));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::RoundRobin;
    use crate::upstream::{PeerSet, Upstream};

    fn sequence(upstream: &Upstream, length: usize, now: Instant) -> String {
        let mut round_robin = RoundRobin::new(upstream);
        let mut next = || {
            round_robin.choose(
                upstream,
                0..upstream.peers.len(),
                &PeerSet::default(),
                now,
                |_| true,
            )
        };
        (0..length)
            .map(|_| next().expect("a peer").to_string())
            .collect()
    }

    #[test]
    fn periods_as_in_nginx() {
        for (weights, period) in [
            ("1|1", "01"),
            ("2|1", "010"),
            ("3|2|1", "010210"),
            ("5|1|1", "0010200"),
            ("7|3", "0100010010"),
            ("4|3|2|1", "0120130210"),
        ] {
            let upstream = Upstream::sample(weights);
            let seen = sequence(&upstream, period.len() * 3, Instant::now());
            assert_eq!(seen, period.repeat(3), "{weights}");
        }
    }

    #[test]
    fn a_failing_peer_gets_less_and_recovers() {
        let upstream = Upstream::sample("4|4");
        let now = Instant::now();
        let mut round_robin = RoundRobin::new(&upstream);
        round_robin.failed(&upstream, 0);
        let mut shares = [0; 2];
        for _ in 0..8 {
            let tried = PeerSet::default();
            let peer = round_robin.choose(&upstream, 0..2, &tried, now, |_| true);
            shares[peer.expect("a peer")] += 1;
        }
        assert!(shares[0] < shares[1], "{shares:?}");
        assert_eq!(round_robin.turns[0].penalty, 0);
    }

    #[test]
    fn turns_survive_a_reload() {
        let (before, after) = (Upstream::sample("1|1"), Upstream::sample("1|1|1"));
        let now = Instant::now();
        let mut old = RoundRobin::new(&before);
        let all = PeerSet::default();
        assert_eq!(old.choose(&before, 0..2, &all, now, |_| true), Some(0));
        let mut new = RoundRobin::new(&after);
        new.take_over(&after, &old, &before);
        assert_eq!(new.choose(&after, 0..3, &all, now, |_| true), Some(1));
    }

    #[test]
    fn slow_start_raises_the_share_little_by_little() {
        let mut upstream = Upstream::sample("1|1");
        upstream.peers[0].slow_start = Duration::from_secs(100);
        let start = Instant::now();
        assert_eq!(
            sequence(&upstream, 4, start),
            "0101",
            "never at the start of the proxy"
        );
        upstream.peers[0].health.recovered_for_test(start);
        let share = |after| {
            sequence(&upstream, 1000, start + Duration::from_secs(after))
                .matches('0')
                .count()
        };
        assert_eq!(
            [share(1), share(50), share(100)],
            [10, 333, 500],
            "1:100, 50:100, 100:100"
        );
    }

    proptest! {
        /// Over one period (the sum of the weights) each peer gets exactly its weight, and never falls far behind.
        #[test]
        fn fair(weights in prop::collection::vec(1_u32..20, 1..8)) {
            let text: Vec<String> = weights.iter().map(u32::to_string).collect();
            let upstream = Upstream::sample(&text.join("|"));
            let total: u32 = weights.iter().sum();
            let mut round_robin = RoundRobin::new(&upstream);
            let mut shares = vec![0_u32; weights.len()];
            let now = Instant::now();
            for step in 1..=total {
                let peer = round_robin.choose(&upstream, 0..weights.len(), &PeerSet::default(), now, |_| true);
                shares[peer.expect("a peer")] += 1;
                for (share, weight) in shares.iter().zip(&weights) {
                    let due = f64::from(step) * f64::from(*weight) / f64::from(total);
                    prop_assert!((f64::from(*share) - due).abs() < weights.len() as f64);
                }
            }
            prop_assert_eq!(shares, weights);
        }
    }
}
