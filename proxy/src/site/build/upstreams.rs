//! Upstreams and peers from the configuration; the state of peers that were there before goes over.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Result, refuse, rules, value};
use crate::balance::Method;
use crate::balance::consistent::Ring;
use crate::balance::hash::KeyPattern;
use crate::binding::Binding;
use crate::config::{BalanceName, Config, ServerEntry, UpstreamConfig, UpstreamEntry};
use crate::learn::Learn;
use crate::route::Route;
use crate::site::{SiteError, Surroundings};
use crate::sticky::Sticky;
use crate::sticky::name::{Nameable, Names};
use crate::upstream::{Counters, Health, MAX_PEERS, Peer, RunState, Upstream};

/// Port of a server that names none.
const DEFAULT_PORT: u16 = 80;

/// `host:port` of a server, with the port in any case.
pub(crate) fn host_and_port(server: &ServerEntry) -> String {
    let text = server.address.as_str();
    // An IPv6 address without brackets is all colons and no port.
    let bare_ipv6 = text.matches(':').count() > 1 && !text.contains('[');
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) if !bare_ipv6 => text.to_owned(),
        _ if bare_ipv6 => format!("[{text}]:{DEFAULT_PORT}"),
        _ => format!("{text}:{DEFAULT_PORT}"),
    }
}

/// One upstream.
pub(super) fn upstream(
    config: &Config,
    group: &UpstreamConfig,
    place: usize,
    surroundings: &Surroundings<'_>,
) -> Result<Arc<Upstream>> {
    let path = format!("upstream.{place}");
    let (check_path, check) = match &group.check {
        Some(own) => (format!("{path}.check"), own),
        None => ("check".to_owned(), &config.check),
    };
    let check = rules::check(&check_path, check)?;
    let simple = matches!(config.upstream.first(), Some(UpstreamEntry::Server(_)));
    let maker = Maker {
        config,
        group,
        servers: if simple && place == 0 {
            "upstream".to_owned()
        } else {
            format!("{path}.server")
        },
        path,
        surroundings,
        balance: group.balance.unwrap_or_else(|| config.balance()),
        before: surroundings
            .previous
            .and_then(|site| site.upstreams.iter().find(|u| *u.name == *group.name)),
        checked: check.is_some(),
    };
    let mut peers = maker.peers()?;
    peers.sort_by_key(|peer| peer.backup);
    Ok(Arc::new(Upstream {
        name: group.name.as_str().into(),
        primaries: peers.iter().filter(|p| !p.backup).count(),
        method: maker.method(&peers)?,
        peers: peers.into(),
        keepalive: group.keepalive.unwrap_or(config.keepalive),
        keepalive_timeout: *config.upstream_keepalive_timeout,
        keepalive_requests: config.upstream_keepalive_requests.max(1),
        check,
    }))
}

/// What an upstream is made from.
struct Maker<'a> {
    config: &'a Config,
    group: &'a UpstreamConfig,
    /// Of the group, for errors.
    path: String,
    /// Of its servers.
    servers: String,
    surroundings: &'a Surroundings<'a>,
    balance: BalanceName,
    before: Option<&'a Arc<Upstream>>,
    checked: bool,
}

impl Maker<'_> {
    /// The peers in the order of the configuration.
    fn peers(&self) -> Result<Vec<Peer>> {
        let mut peers: Vec<Peer> = Vec::new();
        for (number, server) in self.group.server.iter().enumerate() {
            let path = format!("{}.{number}", self.servers);
            rules::check_server(&path, server, self.balance)?;
            for peer in self.peers_of(&path, server)? {
                if peers.iter().any(|p| p.name == peer.name) {
                    return refuse(
                        path,
                        format!(
                            "server {} is there twice; give it a weight instead",
                            peer.name
                        ),
                    );
                }
                if !peer.id.is_empty() && peers.iter().any(|p| p.id == peer.id) {
                    return refuse(
                        format!("{path}.id"),
                        format!(
                            "{} names two peers; give each server an id and one address of its own",
                            peer.id
                        ),
                    );
                }
                peers.push(peer);
            }
        }
        if peers.len() > MAX_PEERS {
            return refuse(
                self.path.as_str(),
                format!(
                    "{} peers are more than the {MAX_PEERS} that one upstream may have; split it",
                    peers.len()
                ),
            );
        }
        Ok(peers)
    }

    /// One peer for each address of the server; none while its name has no address.
    fn peers_of(&self, path: &str, server: &ServerEntry) -> Result<Vec<Peer>> {
        let written = host_and_port(server);
        let literal = written.parse::<SocketAddr>().ok();
        let mut addresses = match (literal, self.surroundings.addresses.get(&written)) {
            (Some(address), _) => vec![address],
            (None, Some(addresses)) => addresses.clone(),
            (None, None) => Vec::new(),
        };
        // In one order, whatever order the resolver gives them in.
        addresses.sort();
        addresses.dedup();
        let several = addresses.len() > 1;
        addresses
            .into_iter()
            .map(|address| self.peer(path, server, &written, address, several))
            .collect()
    }

    fn peer(
        &self,
        path: &str,
        server: &ServerEntry,
        written: &str,
        address: SocketAddr,
        several: bool,
    ) -> Result<Peer> {
        let name = if several {
            format!("{written}/{address}")
        } else {
            written.to_owned()
        };
        let node = [&server.id, &server.route, &name]
            .into_iter()
            .find(|n| !n.is_empty())
            .unwrap_or(&name)
            .clone();
        let route = if server.route.is_empty() {
            &server.id
        } else {
            &server.route
        };
        let state = match (server.down, server.drain) {
            (true, _) => RunState::Down,
            (false, true) => RunState::Draining,
            (false, false) => RunState::Up,
        };
        let old = self
            .before
            .and_then(|u| u.peers.iter().find(|p| *p.name == *name));
        Ok(Peer {
            x_upstream: value(path, &node)?,
            host: value(path, written)?,
            health: self.health(old, state, server.weight),
            counters: self.counters(old),
            name: name.into(),
            node: node.into(),
            id: server.id.as_str().into(),
            route: route.as_str().into(),
            address,
            max_fails: server.max_fails.unwrap_or(self.config.max_fails),
            fail_timeout: *server.fail_timeout.unwrap_or(self.config.fail_timeout),
            max_conns: server.max_conns,
            backup: server.backup,
            slow_start: *server.slow_start.unwrap_or(self.config.slow_start),
        })
    }

    fn health(&self, old: Option<&Peer>, state: RunState, weight: u32) -> Arc<Health> {
        let Some(old) = old else {
            return Arc::new(Health::new(state, weight, self.surroundings.now));
        };
        if !self.checked {
            old.health.forget_checks();
        }
        if old.health.configured() == (state, weight) {
            return Arc::clone(&old.health);
        }
        Arc::new(old.health.reconfigured(state, weight))
    }

    fn counters(&self, old: Option<&Peer>) -> Arc<Counters> {
        match old {
            Some(old) if old.counters.workers() == self.surroundings.workers.max(1) => {
                Arc::clone(&old.counters)
            }
            _ => Arc::new(Counters::new(self.surroundings.workers)),
        }
    }

    fn method(&self, peers: &[Peer]) -> Result<Method> {
        Ok(match self.balance {
            BalanceName::RoundRobin => Method::RoundRobin,
            BalanceName::LeastConn => Method::LeastConn,
            BalanceName::IpHash => Method::IpHash,
            BalanceName::Source => Method::Source,
            BalanceName::Hash => Method::Hash(self.key()?),
            BalanceName::ConsistentHash => Method::Consistent(
                self.key()?,
                Ring::new(peers.iter().map(|p| (&*p.name, p.health.configured().1))),
            ),
            BalanceName::SessionSticky => Method::Bound(Binding::Sticky(self.sticky(peers)?)),
            BalanceName::Route => Method::Bound(Binding::Route(self.route(peers)?)),
            BalanceName::Learn => Method::Bound(Binding::Learn(self.learn(peers))),
        })
    }

    fn sticky(&self, peers: &[Peer]) -> Result<Sticky> {
        let (path, sticky) = match &self.group.sticky {
            Some(own) => (format!("{}.sticky", self.path), own),
            None => ("sticky".to_owned(), &self.config.sticky),
        };
        let key = match sticky.key.as_bytes() {
            [] => self.surroundings.sticky_key,
            key => key,
        };
        rules::check_sticky(&path, sticky, key.len())?;
        let named = peers.iter().map(|peer| Nameable {
            id: &peer.id,
            name: &peer.name,
            address: peer.address,
        });
        let names = Names::new(key, &self.group.name, &sticky.cookie, named);
        Ok(Sticky::new(sticky, names))
    }

    fn route(&self, peers: &[Peer]) -> Result<Route> {
        let servers = &self.group.server;
        let named = |s: &ServerEntry| !s.route.is_empty() || !s.id.is_empty();
        if !servers.is_empty() && !servers.iter().any(named) {
            return refuse(
                self.servers.as_str(),
                "balance = \"route\" follows the route in the session id, and no server has one; write route= (Tomcat's jvmRoute) behind each",
            );
        }
        let routes = peers.iter().map(|p| p.route.clone());
        Ok(Route::new(self.session_cookie(), routes))
    }

    fn learn(&self, peers: &[Peer]) -> Learn {
        let learned = self.before.and_then(|upstream| match &upstream.method {
            Method::Bound(Binding::Learn(learn)) => Some(learn),
            _ => None,
        });
        Learn::new(
            self.session_cookie(),
            *self.config.learn_timeout,
            self.config.learn_sessions,
            peers.iter().map(|p| p.name.clone()).collect(),
            learned,
        )
    }

    fn session_cookie(&self) -> &str {
        let own = self.group.session_cookie.as_ref();
        own.unwrap_or(&self.config.session_cookie)
    }

    fn key(&self) -> Result<KeyPattern> {
        let (path, key) = match &self.group.hash_key {
            Some(key) => (format!("{}.hash_key", self.path), key),
            None => ("hash_key".to_owned(), &self.config.hash_key),
        };
        key.parse().map_err(|why| SiteError { path, why })
    }
}
