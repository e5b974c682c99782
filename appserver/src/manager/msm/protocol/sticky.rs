//! Sticky sessions: each server keeps its own, and one node has a copy of each for the case that the server dies.

use std::sync::atomic::Ordering;

use super::held::{Ending, Held, Outcome};
use super::nodes_in_use::NodesInUse;
use super::{Answer, World};
use crate::manager::msm::expiry;
use crate::manager::msm::key::Kind;
use crate::manager::msm::pattern::{RequestLine, Subject};
use crate::manager::msm::prefix::KeyPrefix;
use crate::manager::msm::settings::{MsmSettings, SettingsError};
use crate::session::AskedId;

/// The exchange with the nodes for the sessions of one context. The caller keeps each [`Held`] as long as its session lives.
#[derive(Debug)]
pub struct Sticky<W> {
    nodes: NodesInUse<W>,
}

impl<W: World> Sticky<W> {
    /// The exchange of a context with this key prefix; `route` is the server's `jvm_route`, empty for none.
    pub fn new(
        settings: MsmSettings,
        prefix: KeyPrefix,
        route: &str,
        world: W,
    ) -> Result<Self, SettingsError> {
        let nodes = NodesInUse::new(settings, prefix, route, world)?;
        Ok(Self { nodes })
    }

    /// All that is outside.
    pub fn world(&self) -> &W {
        &self.nodes.world
    }

    /// Uses the nodes, or does not: msm's `enabled`. Without nodes sessions are in this server only, and new ids name none.
    pub fn enable(&self, enabled: bool) {
        self.nodes.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Whether the nodes are used.
    pub fn is_enabled(&self) -> bool {
        self.nodes.enabled.load(Ordering::Relaxed)
    }

    /// A new session on a random node that is up and for everyday use, else on a failover node, else on none. `interval` is in
    /// seconds. Nothing is stored yet.
    pub async fn create(&self, interval: i32) -> Held {
        let node = self.nodes.choose(None).await;
        let id = self.nodes.new_id(node);
        Held::new(id, interval, self.nodes.world.now())
    }

    /// The copy of a session that this server does not know. From now on it is this server's; with routes it gets a new id and
    /// the old copy is deleted at once, so that until [`Sticky::end`] the session is in this server's memory only, as in msm.
    pub async fn take_over(&self, asked: &AskedId<'_>) -> Option<Held> {
        let node = self.nodes.node_of(asked.node)?;
        if !self.nodes.is_up(node).await {
            return None;
        }
        let key = self.nodes.key(Kind::Session, asked);
        let Answer::Hit(stored) = self.nodes.get(node, key.clone()).await else {
            return None;
        };
        let mut held = Held::found(asked.confirmed().ok()?, stored).ok()?;
        if self.nodes.route().is_none() || held.id.suffix.route() == self.nodes.route() {
            return Some(held);
        }
        held.id = self.nodes.taken_over(&held.id);
        held.moved = true;
        if self.nodes.is_failover(node)
            && let Some(other) = self.nodes.choose(Some(node)).await
        {
            held.id = self.nodes.moved(&held.id, other);
        }
        self.nodes.delete(node, key).await;
        Some(held)
    }

    /// A request of a session that this server knows begins: moves it to another node if its own is down.
    pub async fn begin(&self, held: &mut Held) {
        let node = self.nodes.node_of(held.id.suffix.node());
        if let Some(node) = node
            && self.nodes.is_up(node).await
        {
            return;
        }
        if let Some(other) = self.nodes.choose(node).await {
            held.id = self.nodes.moved(&held.id, other);
            held.moved = true;
        }
    }

    /// The request is over: stores the copy if it changed. What no node took is stored by the next request.
    pub async fn end(
        &self,
        held: &mut Held,
        ending: Ending<'_>,
        request: &RequestLine<'_>,
    ) -> Outcome {
        let settings = &self.nodes.settings;
        let pattern = &settings.request_uri_ignore_pattern;
        let ignored = pattern.matches_request(request, Subject::MethodUriQuery);
        if ignored || !held.is_changed_to(ending.attributes) {
            return Outcome::Skipped;
        }
        let attributes = ending.attributes.unwrap_or(held.attributes()).to_vec();
        let outcome = self.store(held, &attributes).await;
        held.unsaved = (outcome == Outcome::Failed).then_some(attributes);
        outcome
    }

    async fn store(&self, held: &mut Held, attributes: &[u8]) -> Outcome {
        let now = self.nodes.world.now();
        let (Some(node), Ok(record)) = (
            self.nodes.node_of(held.id.suffix.node()),
            held.encode(attributes, now),
        ) else {
            return Outcome::Failed;
        };
        if !self.nodes.is_up(node).await {
            return Outcome::Failed;
        }
        let accessed = held.validity.this_accessed;
        let exptime = expiry::sticky(held.validity.interval, accessed, now);
        let key = self.nodes.key(Kind::Session, held.id);
        if !self.nodes.set(node, key, exptime, &record).await {
            self.nodes.seen(node, false);
            return Outcome::Failed;
        }
        held.stored = record;
        held.moved = false;
        held.is_new = false;
        Outcome::Stored
    }

    /// Gives the session a new id, perhaps on another node; the copy under the old one is gone from now on.
    pub async fn change_id(&self, held: &mut Held) {
        let node = self.nodes.choose(None).await;
        self.remove(held).await;
        held.id = self.nodes.new_id(node);
        held.moved = true;
    }

    /// The session was ended.
    pub async fn remove(&self, held: &Held) {
        if let Some(node) = self.nodes.node_of(held.id.suffix.node())
            && self.nodes.is_up(node).await
        {
            let key = self.nodes.key(Kind::Session, held.id);
            self.nodes.delete(node, key).await;
        }
    }
}
