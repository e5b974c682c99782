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
use crate::config::BalanceName;
use crate::upstream::health::Turn;
use crate::upstream::{PeerIndex, PeerSet, RunState, Unusable, Upstream};
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

impl Method {
    /// Its name in the configuration.
    pub fn name(&self) -> &'static str {
        let name = match self {
            Self::RoundRobin => BalanceName::RoundRobin,
            Self::LeastConn => BalanceName::LeastConn,
            Self::IpHash => BalanceName::IpHash,
            Self::Source => BalanceName::Source,
            Self::Hash(_) => BalanceName::Hash,
            Self::Consistent(..) => BalanceName::ConsistentHash,
            Self::Bound(Binding::Sticky(_)) => BalanceName::SessionSticky,
            Self::Bound(Binding::Route(_)) => BalanceName::Route,
            Self::Bound(Binding::Learn(_)) => BalanceName::Learn,
        };
        name.as_str()
    }
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
    /// Peers that this request was given, and those that another worker was just trying after their pause.
    pub tried: PeerSet,
    /// How many choices were made.
    pub tries: u32,
    /// What the request said about its binding; read by the first choice.
    pub presented: Presented,
    /// The last choice.
    pub choice: Option<Choice>,
    /// Of the methods that hash a key.
    key: Option<hash::Key>,
    /// Hash so far, of the methods that hash again.
    hash: u32,
    /// How many hashes went into it.
    hashes: u32,
    /// How many of the peers that were hit could not serve.
    misses: u32,
    /// Why the first of them could not.
    first_miss: Option<Unusable>,
}

impl Default for Attempt {
    fn default() -> Self {
        Self {
            tried: PeerSet::default(),
            tries: 0,
            presented: Presented::Unread,
            choice: None,
            key: None,
            hash: 0,
            hashes: 0,
            misses: 0,
            first_miss: None,
        }
    }
}

impl Attempt {
    fn miss(&mut self, why: Unusable) {
        self.misses += 1;
        self.first_miss.get_or_insert(why);
    }

    /// `reason` for a first hit; after a miss, why there was one.
    fn reason(&self, reason: Reason) -> Reason {
        match self.first_miss {
            None => reason,
            Some(Unusable::Down) => Reason::FallbackDown,
            Some(Unusable::Draining) => Reason::FallbackDraining,
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
    /// `rr`: it was its turn; also where the key of a hash is empty.
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
        if attempt.tries > 0 {
            attempt.first_miss.get_or_insert(Unusable::Down);
        }
        loop {
            let choice = self.pick(facts, attempt, now)?;
            attempt.tried.insert(choice.peer);
            let peer = &self.upstream.peers[choice.peer];
            let may_go = self.upstream.is_single()
                || peer.health.begin(peer.max_fails, peer.fail_timeout, now);
            if may_go {
                attempt.tries += 1;
                attempt.choice = Some(choice);
                return Ok(choice);
            }
            attempt.first_miss.get_or_insert(Unusable::Down);
        }
    }

    /// The attempt on this peer went well (a response came whose status is not listed in `proxy_next_upstream`).
    pub fn succeeded(&mut self, peer: PeerIndex, now: Instant) -> Turn {
        let peer = &self.upstream.peers[peer];
        peer.health.succeeded(peer.max_fails, now)
    }

    /// The attempt on this peer failed in a way that counts (see [`crate::retry::NextUpstream::counts`]). Statistics are the
    /// caller's ([`Counters::failed`](crate::upstream::Counters::failed)).
    pub fn failed(&mut self, peer: PeerIndex, now: Instant) -> Turn {
        self.round_robin.failed(&self.upstream, peer);
        let peer = &self.upstream.peers[peer];
        if self.upstream.is_single() {
            return Turn::None;
        }
        peer.health.failed(peer.max_fails, now)
    }

    fn pick(
        &mut self,
        facts: &Facts<'_>,
        attempt: &mut Attempt,
        now: Instant,
    ) -> Result<Choice, NoPeer> {
        let upstream = &*self.upstream;
        let single = upstream.is_single();
        let (hit, reason) = match &upstream.method {
            Method::RoundRobin => (None, Reason::RoundRobin),
            Method::LeastConn => (None, Reason::LeastConn),
            Method::IpHash if single => (None, Reason::IpHash),
            Method::IpHash => ip_hash::choose(upstream, facts.client, attempt, now),
            Method::Source => self.source.choose(upstream, facts.client, attempt, now),
            Method::Hash(_) | Method::Consistent(..) if single => (None, Reason::Hash),
            Method::Hash(key) => hash::choose(upstream, key, facts, attempt, now),
            Method::Consistent(key, ring) => {
                consistent::choose(upstream, key, ring, facts, attempt, now)
            }
            Method::Bound(binding) => bound(upstream, binding, facts, attempt, now)?,
        };
        let peer = match hit {
            Some(peer) => peer,
            None => self.in_turn(attempt, now)?,
        };
        Ok(Choice { peer, reason })
    }

    /// Round robin, or `least_conn` where that is the method, over the primaries and then over the backups.
    fn in_turn(&mut self, attempt: &Attempt, now: Instant) -> Result<PeerIndex, NoPeer> {
        let upstream = &*self.upstream;
        let turns = &mut self.round_robin;
        let groups = [
            0..upstream.primaries,
            upstream.primaries..upstream.peers.len(),
        ];
        groups
            .into_iter()
            .find_map(|group| match upstream.method {
                Method::LeastConn => {
                    least_conn::choose(upstream, self.worker, turns, group, &attempt.tried, now)
                }
                _ => turns.choose(upstream, group, &attempt.tried, now, |peer| {
                    upstream.usable(peer, now).is_ok()
                }),
            })
            .ok_or(NoPeer::NoneLive)
    }
}

/// What a method hits, or nobody, when it is somebody's turn; and the reason for either.
type Hit = (Option<PeerIndex>, Reason);

/// The bound peer if it can serve.
fn bound(
    upstream: &Upstream,
    binding: &Binding,
    facts: &Facts<'_>,
    attempt: &mut Attempt,
    now: Instant,
) -> Result<Hit, NoPeer> {
    if attempt.presented == Presented::Unread {
        attempt.presented = binding.read(facts, now);
    }
    Ok(match attempt.presented {
        Presented::Unread | Presented::Nothing => (None, Reason::New),
        Presented::Unknown(_) => (None, Reason::FallbackUnknown),
        Presented::Peer { peer, by } => {
            let able = upstream.usable_for_bound(peer, now).is_ok();
            if able && !attempt.tried.contains(peer) {
                return Ok((Some(peer), by.reason()));
            }
            if binding.is_strict() {
                return Err(NoPeer::BoundPeerDown);
            }
            match upstream.peers[peer].health.run_state() {
                RunState::Draining => (None, Reason::FallbackDraining),
                RunState::Up | RunState::Down => (None, Reason::FallbackDown),
            }
        }
    })
}

/// The primary peer whose share of the summed weights the hash falls into. A peer that cannot serve keeps its share.
fn at_weight(upstream: &Upstream, hash: u32) -> Option<PeerIndex> {
    let primaries = &upstream.peers[..upstream.primaries];
    let total: u32 = primaries.iter().map(|p| p.health.weight()).sum();
    let mut rest = hash.checked_rem(total)?;
    primaries.iter().position(|peer| {
        let weight = peer.health.weight();
        let here = rest < weight;
        rest = rest.saturating_sub(weight);
        here
    })
}

/// Why this peer cannot get this request, if so.
fn unusable(
    upstream: &Upstream,
    peer: PeerIndex,
    attempt: &Attempt,
    now: Instant,
) -> Option<Unusable> {
    if attempt.tried.contains(peer) {
        return Some(Unusable::Down);
    }
    upstream.usable(peer, now).err()
}
