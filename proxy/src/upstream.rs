//! Upstreams and their peers: what is fixed by the configuration, and beside it the live [`Health`] that all workers share.
//!
//! ```text
//!   Upstream ── peers: [ primary, primary, … | backup, … ]      immutable, swapped as a whole on reload
//!                 │
//!                 └─ Peer ── health: Arc<Health>                atomics: fails, pause, check, run-time state, weight
//!                        └── Arc<Counters>, one cell per worker single writer each, summed when somebody looks
//! ```
//!
//! A reload makes a new `Upstream`; [`Health`] and counters go over by upstream name and peer name, so that a peer that is
//! down stays down and a request that began under the old snapshot reports to the same place.

pub mod counters;
pub mod health;
pub mod peer_set;
#[cfg(test)]
mod sample;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

pub use counters::{Counters, Totals};
pub use health::{Check, Health, RunState};
pub use peer_set::{MAX_PEERS, PeerSet};

use crate::balance::Method;

/// The place of a peer in [`Upstream::peers`].
pub type PeerIndex = usize;

/// A group of peers (nginx's `upstream` block).
#[derive(Debug)]
pub struct Upstream {
    /// Its name, as in `proxy_pass http://NAME/`.
    pub name: Box<str>,
    /// Primary peers in the order of the configuration, then the backups; at most [`MAX_PEERS`].
    pub peers: Box<[Peer]>,
    /// How many of [`Upstream::peers`] are primary.
    pub primaries: usize,
    /// How a peer is chosen.
    pub method: Method,
    /// Idle connections kept for each peer by each worker; 0 keeps none (nginx `keepalive`).
    pub keepalive: usize,
    /// How long an idle connection is kept (nginx upstream `keepalive_timeout`).
    pub keepalive_timeout: Duration,
    /// Requests over one connection before it is closed (nginx upstream `keepalive_requests`).
    pub keepalive_requests: u64,
    /// Active checks, where they are on.
    pub check: Option<ActiveCheck>,
}

/// One server of an upstream, with one address.
#[derive(Debug)]
pub struct Peer {
    /// The server as the configuration writes it (`web1:8080`), followed by the address when the name has several.
    pub name: Box<str>,
    /// What the lab calls it: `id=` of the configuration, else `route=`, else its name.
    pub node: Box<str>,
    /// `id=` of the configuration; may be empty.
    pub id: Box<str>,
    /// The route that session ids carry (Tomcat's jvmRoute): `route=`, else `id=`; empty when neither is given.
    pub route: Box<str>,
    /// Where to connect.
    pub address: SocketAddr,
    /// Failures inside [`Peer::fail_timeout`] that pause the peer; 0: never (nginx `max_fails`).
    pub max_fails: u32,
    /// Window in which failures count, and the length of the pause (nginx `fail_timeout`).
    pub fail_timeout: Duration,
    /// Requests at the same time, over all workers; 0: no limit (nginx `max_conns`).
    pub max_conns: u32,
    /// Used only when no primary is usable (nginx `backup`).
    pub backup: bool,
    /// After recovery the weight rises linearly for so long; zero: at once (HAProxy `slowstart`). Never at start.
    pub slow_start: Duration,
    /// What changes while running.
    pub health: Arc<Health>,
    /// What each worker counts.
    pub counters: Arc<Counters>,
    /// [`Peer::node`] as the value of `X-Upstream`.
    pub x_upstream: HeaderValue,
    /// `host:port` as the value of `Host`, for locations that send the peer's own name.
    pub host: HeaderValue,
}

/// How peers are checked beside the traffic (Tengine `check`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveCheck {
    /// What a check does.
    pub kind: CheckKind,
    /// Time between two checks of one peer.
    pub interval: Duration,
    /// Consecutive passes that bring a peer up.
    pub rise: u32,
    /// Consecutive failures that take it down.
    pub fall: u32,
    /// Longest time for one check.
    pub timeout: Duration,
    /// Another port to check; 0: the peer's own.
    pub port: u16,
}

/// What an active check does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// Connects, no more.
    Tcp,
    /// `GET path`; alive are statuses 2xx and 3xx.
    Http {
        /// The path and query to ask for.
        path: Box<str>,
    },
}

/// Why a peer cannot take a request at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Marked down, failed its checks, paused after failures, or full.
    Down,
    /// Draining (or its weight is 0, which means the same): bound sessions only.
    Draining,
}

impl Upstream {
    /// Whether the group has one peer only; passive failures never make it unusable, as in nginx.
    pub fn is_single(&self) -> bool {
        self.peers.len() == 1
    }

    /// Whether `peer` may take a request that is not bound to it. Counts of connections are looked at only where
    /// `max_conns` is set, because they are spread over the workers.
    pub fn usable(&self, peer: PeerIndex, now: Instant) -> Result<(), Unusable> {
        let peer = &self.peers[peer];
        match peer.health.run_state() {
            RunState::Down => return Err(Unusable::Down),
            RunState::Draining => return Err(Unusable::Draining),
            RunState::Up if peer.health.weight() == 0 => return Err(Unusable::Draining),
            RunState::Up => {}
        }
        self.able(peer, now)
    }

    /// Whether `peer` may take a request of a session that is bound to it: as [`Upstream::usable`], but a draining peer
    /// may.
    pub fn usable_for_bound(&self, peer: PeerIndex, now: Instant) -> Result<(), Unusable> {
        let peer = &self.peers[peer];
        match peer.health.run_state() {
            RunState::Down => Err(Unusable::Down),
            RunState::Draining => self.able(peer, now).map_err(|_| Unusable::Draining),
            RunState::Up => self.able(peer, now),
        }
    }

    fn able(&self, peer: &Peer, now: Instant) -> Result<(), Unusable> {
        let paused = !self.is_single()
            && peer
                .health
                .is_paused(peer.max_fails, peer.fail_timeout, now);
        let full = peer.max_conns > 0 && peer.counters.active() >= u64::from(peer.max_conns);
        if paused || full || peer.health.check() == Check::Down {
            return Err(Unusable::Down);
        }
        Ok(())
    }
}

impl Peer {
    /// Its weight now, times `scale`: lower during slow start, but at least 1 unless the weight itself is 0.
    pub fn weight(&self, scale: u32, now: Instant) -> u32 {
        let full = self.health.weight().saturating_mul(scale);
        if self.slow_start.is_zero() {
            return full;
        }
        let Some(since) = self.health.since_recovery(now) else {
            return full;
        };
        if since >= self.slow_start {
            return full;
        }
        let part = u128::from(full) * since.as_millis() / self.slow_start.as_millis().max(1);
        u32::try_from(part).unwrap_or(full).max(full.min(1))
    }
}
