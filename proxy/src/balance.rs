//! Which peer gets this request.
//!
//! ```text
//!   Facts (client, target, cookies) ─┐
//!   Attempt (tried, hash, binding) ──┤   bound?  ── yes, and it can serve ──────────────► Choice { peer, cookie | route | learn }
//!                                    └─► method: hash, counts or turns over the primaries ─► Choice { peer, rr | ip_hash | … }
//!                                           nobody left ─► the backups, round robin ─► nobody: NoPeer, 502
//! ```
//!
//! Each worker has a [`Balancer`] per upstream and calls it with `&mut`: turns and effective weights are the worker's own,
//! as in nginx without `zone`. A retry calls [`Balancer::choose`] again with the same [`Attempt`], which remembers whom the
//! request has tried and how far its hash has come. Choosing allocates nothing.

pub mod consistent;
pub mod hash;
pub mod ip_hash;
pub mod least_conn;
pub mod round_robin;
pub mod source;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;

use crate::binding::{Binding, Presented};
use crate::upstream::{PeerIndex, PeerSet, Unusable, Upstream};
use hash::KeyPattern;
use round_robin::RoundRobin;

/// How often nginx's hash methods hash again before round robin decides.
pub(crate) const MAX_REHASHES: u32 = 20;

/// How an upstream chooses, with everything computed that can be before the first request.
#[derive(Debug)]
pub enum Method {
    /// nginx's smooth weighted round robin.
    RoundRobin,
    /// nginx's `least_conn`.
    LeastConn,
    /// nginx's `ip_hash`.
    IpHash,
    /// HAProxy's `balance source`, map-based.
    Source,
    /// nginx's `hash KEY`.
    Hash(KeyPattern),
    /// nginx's `hash KEY consistent`.
    Consistent(KeyPattern, consistent::Ring),
    /// Sessions are bound to peers by a cookie, a route or a learned id; the rest is round robin.
    Bound(Binding),
}

/// What a choice may look at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The client, after realip. An IPv4 client that came over a dual-stack socket (`::ffff:a.b.c.d`) hashes as IPv6, as in
    /// nginx, unless the caller maps it back first ([`IpAddr::to_canonical`]).
    pub client: IpAddr,
    /// Path and query as received.
    pub target: &'a str,
    /// The request's host, without port.
    pub host: &'a str,
    /// The fields as received, before anything was taken out.
    pub headers: &'a HeaderMap,
    /// Unix time in seconds, for the times in a sticky cookie.
    pub unix: u64,
}

/// What one request remembers over its tries. Make one per request; it is small and needs no allocation.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Peers this request has been sent to or was about to.
    pub tried: PeerSet,
    /// How many choices were made.
    pub tries: u32,
    /// What the request said about its binding; read by the first choice.
    pub presented: Presented,
    /// The peer of the last choice.
    pub peer: Option<PeerIndex>,
    pub(crate) rehashes: u32,
    pub(crate) hash: u32,
    pub(crate) home: Option<Unusable>,
    pub(crate) backups: bool,
}

impl Default for Attempt {
    fn default() -> Self {
        Self {
            tried: PeerSet::default(),
            tries: 0,
            presented: Presented::Unread,
            peer: None,
            rehashes: 0,
            hash: 0,
            home: None,
            backups: false,
        }
    }
}

/// A peer and why it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Which one.
    pub peer: PeerIndex,
    /// Why; the value of `X-Route`.
    pub reason: Reason,
}

/// Why a peer was chosen: the value of `X-Route` and of `route` in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `rr`: it was its turn. Also where a hash method found nobody in 21 attempts, and for the backups.
    RoundRobin,
    /// `ip_hash`: the client's address hashes to it, and it was the first hit.
    IpHash,
    /// `cookie`: the sticky cookie names it.
    Cookie,
    /// `route`: the session id ends in its route (jvmRoute).
    Route,
    /// `learn`: this session was seen to begin there.
    Learn,
    /// `new`: a method that binds, and the request was not bound yet (no cookie, or one that has expired or is malformed).
    New,
    /// `hash`: the key hashes to it, and it was the first hit.
    Hash,
    /// `source`: HAProxy's map gives it to the client's address.
    Source,
    /// `least_conn`: it had the fewest requests for its weight.
    LeastConn,
    /// `fallback:down`: the peer that the request is bound or hashes to is down, failed, paused, full, or failed this very
    /// request; this is another one.
    FallbackDown,
    /// `fallback:draining`: as before, but that peer is draining (a hash never goes there; a bound session stays as long as
    /// the draining peer answers).
    FallbackDraining,
    /// `fallback:unknown`: the request names a peer that does not exist, or its sticky cookie is forged.
    FallbackUnknown,
}

impl Reason {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::IpHash => "ip_hash",
            Self::Cookie => "cookie",
            Self::Route => "route",
            Self::Learn => "learn",
            Self::New => "new",
            Self::Hash => "hash",
            Self::Source => "source",
            Self::LeastConn => "least_conn",
            Self::FallbackDown => "fallback:down",
            Self::FallbackDraining => "fallback:draining",
            Self::FallbackUnknown => "fallback:unknown",
        }
    }

    /// Whether the request came because it was bound to the peer.
    pub const fn is_bound(self) -> bool {
        matches!(self, Self::Cookie | Self::Route | Self::Learn)
    }
}

/// Why there is no peer; the answer is 502 in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPeer {
    /// Every peer is down, paused, full or tried (nginx: "no live upstreams").
    #[error("no live upstreams")]
    NoneLive,
    /// The peer the session is bound to cannot serve, and `fallback=off` forbids another.
    #[error("the peer this session is bound to cannot serve, and fallback is off")]
    BoundPeerDown,
}

/// One worker's choice of peers in one upstream.
#[derive(Debug)]
pub struct Balancer {
    upstream: Arc<Upstream>,
    worker: usize,
    round_robin: RoundRobin,
    source: source::Map,
}

impl Balancer {
    /// A balancer for this worker (counted from 0). `previous`, from before a reload, hands over whose turn it is.
    pub fn new(upstream: Arc<Upstream>, worker: usize, previous: Option<&Self>) -> Self {
        let mut round_robin = RoundRobin::new(&upstream);
        if let Some(previous) = previous {
            round_robin.take_over(&upstream, &previous.round_robin, &previous.upstream);
        }
        Self {
            upstream,
            worker,
            round_robin,
            source: source::Map::default(),
        }
    }

    /// The peers it chooses from.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The next peer for this request. Call it again with the same `attempt` to retry elsewhere.
    pub fn choose(
        &mut self,
        facts: &Facts<'_>,
        attempt: &mut Attempt,
        now: Instant,
    ) -> Result<Choice, NoPeer> {
        unimplemented!()
    }

    /// The attempt on this peer went well (a response came whose status is not listed in `proxy_next_upstream`).
    pub fn succeeded(&mut self, peer: PeerIndex, now: Instant) -> crate::upstream::health::Turn {
        unimplemented!()
    }

    /// The attempt on this peer failed in a way that counts (see [`crate::retry`]).
    pub fn failed(&mut self, peer: PeerIndex, now: Instant) -> crate::upstream::health::Turn {
        unimplemented!()
    }
}
