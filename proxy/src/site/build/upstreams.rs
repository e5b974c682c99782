//! Upstreams and peers from the configuration; the state of peers that were there before goes over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{MIN_KEY, Result, is_token, refuse, value};
use crate::balance::Method;
use crate::balance::consistent::{self, Ring};
use crate::balance::hash::KeyPattern;
use crate::binding::Binding;
use crate::config::{
    BalanceName, CheckConfig, CheckType, Config, CookieMode, HashName, SameSite, Secure,
    ServerEntry, StickyConfig, UpstreamConfig,
};
use crate::learn::Learn;
use crate::route::Route;
use crate::site::{SiteError, Surroundings};
use crate::sticky::Sticky;
use crate::sticky::name::{Nameable, Names};
use crate::upstream::{
    ActiveCheck, CheckKind, Counters, Health, MAX_PEERS, Peer, RunState, Upstream,
};

/// Port of a server that names none.
const DEFAULT_PORT: u16 = 80;
/// Largest weight; above, sums of weights could run over.
const MAX_WEIGHT: u32 = 65_535;
/// HAProxy's largest weight, which bounds the map of `source`.
const MAX_SOURCE_WEIGHT: u32 = 256;

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
    let check = check(&path, group.check.as_ref().unwrap_or(&config.check))?;
    let maker = Maker {
        config,
        group,
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

fn check_server(path: &str, server: &ServerEntry, balance: BalanceName) -> Result<()> {
    let largest = match balance {
        BalanceName::Source => MAX_SOURCE_WEIGHT,
        BalanceName::ConsistentHash => consistent::MAX_WEIGHT,
        _ => MAX_WEIGHT,
    };
    if server.weight == 0 || server.weight > largest {
        return refuse(
            format!("{path}.weight"),
            format!(
                "{} is not between 1 and {largest}; to let a server keep its sessions and get no new ones, write drain",
                server.weight
            ),
        );
    }
    let hashes = matches!(
        balance,
        BalanceName::IpHash | BalanceName::Hash | BalanceName::ConsistentHash
    );
    if server.backup && hashes {
        return refuse(
            format!("{path}.backup"),
            "there are no backups with ip_hash, hash and consistent_hash (as in nginx); make it an ordinary server, or choose another balance",
        );
    }
    if server.down && server.drain {
        return refuse(
            format!("{path}.drain"),
            "a server is either down (takes nothing) or drain (keeps its sessions); write one of them",
        );
    }
    for (name, text) in [("id", &server.id), ("route", &server.route)] {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !text.bytes().all(good) {
            return refuse(
                format!("{path}.{name}"),
                format!("`{text}` must stand in a cookie; use letters, digits, `-`, `_` and `.`"),
            );
        }
    }
    Ok(())
}

/// What an upstream is made from.
struct Maker<'a> {
    config: &'a Config,
    group: &'a UpstreamConfig,
    /// Of the group, for errors.
    path: String,
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
            let path = format!("{}.server.{number}", self.path);
            check_server(&path, server, self.balance)?;
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
        let sticky = self.group.sticky.as_ref().unwrap_or(&self.config.sticky);
        let key = match sticky.key.as_bytes() {
            [] => self.surroundings.sticky_key,
            key => key,
        };
        check_sticky(&self.path, sticky, key.len())?;
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
                format!("{}.server", self.path),
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

fn check_sticky(path: &str, sticky: &StickyConfig, key: usize) -> Result<()> {
    let at = |name: &str| format!("{path}.sticky.{name}");
    if sticky.cookie.is_empty() || !sticky.cookie.bytes().all(is_token) {
        return refuse(
            at("cookie"),
            format!(
                "`{}` is no cookie name; use letters, digits, `-` and `_`",
                sticky.cookie
            ),
        );
    }
    for (name, text) in [("domain", &sticky.domain), ("path", &sticky.path)] {
        if !text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b';' && b != b',')
        {
            return refuse(
                at(name),
                format!("`{text}` cannot stand in a cookie; leave out blanks, `;` and `,`"),
            );
        }
    }
    let limited = !sticky.maxidle.is_zero() || !sticky.maxlife.is_zero();
    if limited && sticky.mode != CookieMode::Insert {
        return refuse(
            at("mode"),
            "maxidle and maxlife need a cookie of the proxy's own; write mode = \"insert\", or leave them 0",
        );
    }
    if sticky.samesite == SameSite::None && sticky.secure == Secure::Off {
        return refuse(
            at("samesite"),
            "browsers throw a SameSite=None cookie away that is not Secure; write secure = \"auto\" or \"on\"",
        );
    }
    let signs = sticky.hash == HashName::Hmac || sticky.accept.contains(&HashName::Hmac);
    if signs && key < MIN_KEY {
        return refuse(
            at("key"),
            format!(
                "{key} bytes are too few for a secret; write at least {MIN_KEY} random characters"
            ),
        );
    }
    Ok(())
}

fn check(path: &str, check: &CheckConfig) -> Result<Option<ActiveCheck>> {
    let kind = match check.kind {
        CheckType::Off => return Ok(None),
        CheckType::Tcp => CheckKind::Tcp,
        CheckType::Http => CheckKind::Http {
            path: check.path.as_str().into(),
        },
    };
    let at = |name: &str| format!("{path}.check.{name}");
    if !check.path.starts_with('/') || !check.path.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse(
            at("path"),
            format!(
                "`{}` is no path; write one that begins with `/`",
                check.path
            ),
        );
    }
    super::positive(&at("interval"), *check.interval)?;
    super::positive(&at("timeout"), *check.timeout)?;
    Ok(Some(ActiveCheck {
        kind,
        interval: (*check.interval).max(Duration::from_millis(1)),
        rise: check.rise.max(1),
        fall: check.fall.max(1),
        timeout: *check.timeout,
        port: check.port,
    }))
}
