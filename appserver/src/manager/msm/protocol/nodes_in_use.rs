//! Which nodes are up, and which of them a session goes to.
//!
//! An opinion about a node holds for a second; then the next request that needs the node asks it for a key that never
//! exists. Any answer means that it is up. Nothing runs beside the requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Answer, Command, Verb, World};
use crate::manager::msm::key::{self, ItemKey, Kind};
use crate::manager::msm::node::Nodes;
use crate::manager::msm::prefix::KeyPrefix;
use crate::manager::msm::settings::{MsmSettings, SettingsError};
use crate::session::{AskedId, Key, SessionId, Suffix, Timestamp};

/// For how many milliseconds an opinion holds: msm's `msm.nodeAvailabilityCacheTTL`.
const OPINION_MILLIS: u64 = 1000;

/// The nodes with their settings, and what is known of them.
#[derive(Debug)]
pub(super) struct NodesInUse<W> {
    pub(super) world: W,
    pub(super) settings: MsmSettings,
    prefix: KeyPrefix,
    /// Failover nodes are used only when no other node is up.
    failover: Vec<usize>,
    /// For each node those after it in the ring, without failover nodes.
    rings: Vec<Vec<usize>>,
    opinions: Mutex<Vec<Option<Opinion>>>,
    /// The suffix of ids on each node, and of those on none.
    suffixes: Vec<Suffix>,
    bare: Suffix,
    /// Whether the nodes are used: msm's `enabled`, which can be switched at run time.
    pub(super) enabled: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Opinion {
    up: bool,
    since: Timestamp,
}

impl<W: World> NodesInUse<W> {
    /// `route` is the server's `jvm_route`; empty: none.
    pub(super) fn new(
        settings: MsmSettings,
        prefix: KeyPrefix,
        route: &str,
        world: W,
    ) -> Result<Self, SettingsError> {
        let route = Some(route).filter(|route| !route.is_empty());
        let suffix = |node| Suffix::new(node, route).map_err(|e| SettingsError::new(e.to_string()));
        let nodes = settings.memcached_nodes.all();
        let failover = settings.failover_places()?;
        let ring = |node| {
            let after = settings.memcached_nodes.after(node);
            after.filter(|node| !failover.contains(node)).collect()
        };
        let suffixes = nodes.iter().map(|node| suffix(Some(&node.id)));
        Ok(Self {
            suffixes: suffixes.collect::<Result<_, _>>()?,
            bare: suffix(None)?,
            rings: (0..nodes.len()).map(ring).collect(),
            failover,
            opinions: Mutex::new(vec![None; nodes.len()]),
            enabled: AtomicBool::new(settings.enabled),
            world,
            settings,
            prefix,
        })
    }

    fn nodes(&self) -> &Nodes {
        &self.settings.memcached_nodes
    }

    /// Whether the node is up, by an opinion or by asking it. No node is, while the nodes are not used.
    pub(super) async fn is_up(&self, node: usize) -> bool {
        if !self.enabled.load(Ordering::Relaxed) {
            return false;
        }
        let now = self.world.now();
        if let Some(opinion) = self.opinions()[node]
            && now.since(opinion.since) < OPINION_MILLIS
        {
            return opinion.up;
        }
        let id = &self.nodes().all()[node].id;
        let command = Command {
            verb: Verb::Get,
            key: key::ping(&self.prefix, id),
        };
        let limit = self.settings.operation_timeout;
        let up = self.world.call(node, command, limit).await != Answer::Failed;
        let since = self.world.now();
        self.opinions()[node] = Some(Opinion { up, since });
        up
    }

    /// What a command showed. An opinion that it confirms keeps its age.
    pub(super) fn seen(&self, node: usize, up: bool) {
        let since = self.world.now();
        let opinion = &mut self.opinions()[node];
        if opinion.is_none_or(|opinion| opinion.up != up) {
            *opinion = Some(Opinion { up, since });
        }
    }

    fn opinions(&self) -> MutexGuard<'_, Vec<Option<Opinion>>> {
        self.opinions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node for a session other than `not`: a random one of those for everyday use, if it is down a random other one that
    /// is up, then a random failover node that is up. `None`: all are down.
    pub(super) async fn choose(&self, not: Option<usize>) -> Option<usize> {
        let places = 0..self.nodes().all().len();
        let (failover, everyday): (Vec<_>, Vec<_>) = places
            .filter(|node| Some(*node) != not)
            .partition(|node| self.failover.contains(node));
        for mut candidates in [everyday, failover] {
            while !candidates.is_empty() {
                let node = candidates.swap_remove(self.world.random(candidates.len()));
                if self.is_up(node).await {
                    return Some(node);
                }
            }
        }
        None
    }

    /// The nodes after this one in the ring, without failover nodes.
    pub(super) fn after(&self, node: usize) -> impl Iterator<Item = usize> + use<'_, W> {
        self.rings[node].iter().copied()
    }

    /// The first of them that is up: where the copy of a session on `node` goes.
    pub(super) async fn next_up(&self, node: usize) -> Option<usize> {
        for node in self.after(node) {
            if self.is_up(node).await {
                return Some(node);
            }
        }
        None
    }

    /// Whether there are failover nodes.
    pub(super) fn has_failover(&self) -> bool {
        !self.failover.is_empty()
    }

    pub(super) fn is_failover(&self, node: usize) -> bool {
        self.failover.contains(&node)
    }

    /// The node that an id names.
    pub(super) fn node_of(&self, node: Option<&str>) -> Option<usize> {
        self.nodes().find(node?)
    }

    /// The id, if it ends as this server's ids on this node do.
    pub(super) fn ours(&self, asked: &AskedId<'_>, node: usize) -> Option<SessionId> {
        let ours = SessionId {
            key: asked.key,
            suffix: self.suffixes[node],
        };
        ours.is(asked).then_some(ours)
    }

    /// The id with this very suffix, which names this node. Only for one under which a session was found, see
    /// [`AskedId::confirmed`].
    pub(super) fn confirmed(&self, asked: &AskedId<'_>, node: usize) -> Option<SessionId> {
        self.ours(asked, node).or_else(|| asked.confirmed().ok())
    }

    /// A new id on a node, or on none.
    pub(super) fn new_id(&self, node: Option<usize>) -> SessionId {
        let suffix = node.map_or(self.bare, |node| self.suffixes[node]);
        SessionId {
            key: Key::random(),
            suffix,
        }
    }

    /// The same session on another node. The route stays.
    pub(super) fn moved(&self, id: &SessionId, node: usize) -> SessionId {
        let known = self.suffixes[node];
        if known.route() == id.suffix.route() {
            return SessionId {
                suffix: known,
                ..*id
            };
        }
        // Without room for one more suffix the session stays where it is.
        let node = &self.nodes().all()[node].id;
        id.with_node(Some(node)).unwrap_or(*id)
    }

    /// The same session with the route of this server.
    pub(super) fn taken_over(&self, id: &SessionId) -> SessionId {
        let node = self.node_of(id.suffix.node());
        let suffix = node.map_or(self.bare, |node| self.suffixes[node]);
        SessionId { suffix, ..*id }
    }

    /// The route of this server.
    pub(super) fn route(&self) -> Option<&'static str> {
        self.bare.route()
    }

    pub(super) fn prefix(&self) -> &KeyPrefix {
        &self.prefix
    }

    pub(super) fn key(&self, kind: Kind, id: impl std::fmt::Display) -> ItemKey {
        key::key(kind, &self.prefix, id)
    }

    /// The same for an id that is text already.
    pub(super) fn key_of(&self, kind: Kind, id: &str) -> ItemKey {
        key::key_of(kind, &self.prefix, id)
    }

    pub(super) async fn get(&self, node: usize, key: ItemKey) -> Answer {
        let verb = Verb::Get;
        let limit = self.settings.operation_timeout;
        self.world.call(node, Command { verb, key }, limit).await
    }

    /// Sets and waits as long as a store may take; whether it was stored.
    pub(super) async fn set(&self, node: usize, key: ItemKey, exptime: i64, value: &[u8]) -> bool {
        let verb = Verb::Set(exptime, value.into());
        let limit = self.settings.session_backup_timeout;
        self.world.call(node, Command { verb, key }, limit).await == Answer::Done
    }

    /// Adds the one-byte value; whether the node took it, which means that the record was not there.
    pub(super) async fn probe(&self, node: usize, key: ItemKey, exptime: i64) -> bool {
        let verb = Verb::Add(exptime, crate::manager::msm::PROBE_VALUE.into());
        let limit = self.settings.operation_timeout;
        self.world.call(node, Command { verb, key }, limit).await == Answer::Done
    }

    pub(super) async fn delete(&self, node: usize, key: ItemKey) {
        let verb = Verb::Delete;
        let limit = self.settings.operation_timeout;
        self.world.call(node, Command { verb, key }, limit).await;
    }
}
