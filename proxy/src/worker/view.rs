//! A worker's own view of a site: the balancers and pools that go with it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use super::millis;
use super::reactor::Reactor;
use crate::balance::Balancer;
use crate::error_page::Pages;
use crate::headers::{Policy, Via};
use crate::pool::PeerPool;
use crate::site::Site;

/// What a request takes at its beginning and keeps to its end.
pub(crate) struct View {
    pub(crate) site: Arc<Site>,
    /// The worker, counted from 0.
    pub(crate) worker: usize,
    /// The site's, with values of this worker's own: the values that go into messages are counted references, and two
    /// processors that count one reference wait for each other.
    pub(crate) policy: Policy,
    pub(crate) pages: Pages,
    /// One for each upstream of the site.
    pub(crate) groups: Box<[Group]>,
}

/// A worker's part of one upstream.
pub(crate) struct Group {
    pub(crate) balancer: RefCell<Balancer>,
    /// One for each peer.
    pub(crate) pools: Box<[Rc<PeerPool>]>,
    /// The value of `X-Upstream` for each peer; the worker's own, as [`View::policy`].
    pub(crate) x_upstream: Box<[HeaderValue]>,
}

impl View {
    /// The pools of peers that stay go over with their connections, and whose turn it is.
    pub(crate) fn new(
        site: Arc<Site>,
        worker: usize,
        previous: Option<&Self>,
        reactor: &Rc<Reactor>,
    ) -> Self {
        let groups = site.upstreams.iter().map(|upstream| {
            let before = previous.and_then(|previous| {
                let same = |u: &Arc<crate::upstream::Upstream>| u.name == upstream.name;
                let index = previous.site.upstreams.iter().position(same)?;
                previous.groups.get(index)
            });
            let turns = before.map(|group| group.balancer.borrow());
            let balancer = Balancer::new(Arc::clone(upstream), worker, turns.as_deref());
            let pools = upstream.peers.iter().map(|peer| {
                let kept = before.and_then(|group| {
                    let same = |pool: &&Rc<PeerPool>| pool.address() == peer.address;
                    group.pools.iter().find(same).cloned()
                });
                let pool = kept
                    .unwrap_or_else(|| Rc::new(PeerPool::new(peer.address, Rc::clone(reactor))));
                pool.set_limits(
                    upstream.keepalive,
                    millis(upstream.keepalive_timeout),
                    upstream.keepalive_requests,
                );
                pool
            });
            Group {
                balancer: RefCell::new(balancer),
                pools: pools.collect(),
                x_upstream: upstream
                    .peers
                    .iter()
                    .map(|peer| own(&peer.x_upstream))
                    .collect(),
            }
        });
        Self {
            groups: groups.collect(),
            worker,
            pages: crate::page::load(&site),
            policy: Policy {
                via: site.policy.via.as_ref().map(|via| Via {
                    http1: own(&via.http1),
                    http2: own(&via.http2),
                }),
                server: site.policy.server.as_ref().map(own),
                ..site.policy.clone()
            },
            site: Arc::clone(&site),
        }
    }

    /// The place of the listener with this address in the site. A port that was chosen by the system (0 in the
    /// configuration) is found by its place among those.
    pub(crate) fn listener_at(&self, address: SocketAddr) -> Option<usize> {
        self.site
            .listeners
            .iter()
            .position(|listener| listener.address == address)
    }

    /// Closes connections that were idle for too long or that their peer has closed.
    pub(crate) fn sweep(&self, now: u64) {
        for group in &self.groups {
            for pool in &group.pools {
                pool.sweep(now);
            }
        }
    }
}

/// A copy that shares nothing with the original.
fn own(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}
