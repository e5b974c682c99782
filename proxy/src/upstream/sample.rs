//! Upstreams for the tests of this crate, written as in the vectors: `5|1:down|1`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::{Counters, Health, Peer, RunState, Upstream};
use crate::balance::Method;

impl Upstream {
    /// Peers with these weights, on 127.0.0.1:8081 and up; round robin.
    pub(crate) fn sample(weights: &str) -> Self {
        let peers: Box<[Peer]> = weights
            .split('|')
            .zip(8081_u16..)
            .map(|(peer, port)| {
                let (weight, state) = peer.split_once(':').unwrap_or((peer, "up"));
                let state = match state {
                    "down" => RunState::Down,
                    "drain" => RunState::Draining,
                    _ => RunState::Up,
                };
                sample_peer(weight.parse().expect("a weight"), state, port)
            })
            .collect();
        Self {
            name: "sample".into(),
            primaries: peers.len(),
            peers,
            method: Method::RoundRobin,
            keepalive: 0,
            keepalive_timeout: Duration::ZERO,
            keepalive_requests: 0,
            check: None,
        }
    }
}

fn sample_peer(weight: u32, state: RunState, port: u16) -> Peer {
    let address = format!("127.0.0.1:{port}");
    let value = HeaderValue::from_str(&address).expect("a value");
    Peer {
        name: address.as_str().into(),
        node: address.as_str().into(),
        id: Box::default(),
        route: Box::default(),
        address: address.parse().expect("an address"),
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        max_conns: 0,
        backup: false,
        slow_start: Duration::ZERO,
        health: Arc::new(Health::new(state, weight, Instant::now())),
        counters: Arc::new(Counters::new(1)),
        x_upstream: value.clone(),
        host: value,
    }
}
