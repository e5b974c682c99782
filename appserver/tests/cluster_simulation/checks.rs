//! What must hold when the network is whole again.

use std::collections::{BTreeMap, BTreeSet};

use appserver::manager::cluster::peers::UniqueId;
use appserver::session::{Key, Session};

use super::world::{Node, World};

/// What a request waits for.
#[derive(Default)]
pub(super) struct Promise {
    pub(super) waits: usize,
    /// Members, and which of their lives, that have it.
    pub(super) holders: Vec<UniqueId>,
    /// Some did not answer, or that they lack something.
    pub(super) failed: bool,
    /// It may be lost: its only holder crashed before another one had answered.
    pub(super) forgiven: bool,
    pub(super) what: Option<Fact>,
}

/// What a client was told.
#[derive(Debug, Clone)]
pub(super) enum Fact {
    /// It wrote this attribute.
    Token(usize, String),
    /// It logged out.
    Ended(usize),
}

impl World {
    /// The sessions of a node, without what may differ.
    fn dump(&self, node: usize) -> BTreeMap<Key, BTreeMap<String, String>> {
        let sessions = self.nodes[node].core.sessions();
        let of = |session: &Session| {
            let all = session.read(|attributes| {
                let all = attributes.iter();
                all.map(|(name, value)| (name.to_owned(), format!("{value:?}")))
                    .collect()
            });
            (session.id().key, all)
        };
        sessions.iter().map(of).collect()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let first = self.dump(0);
        for node in 1..self.nodes.len() {
            let other = self.dump(node);
            if other != first {
                return Err(format!("node 0 has {first:#?}, node {node} has {other:#?}"));
            }
        }
        let lives: BTreeSet<UniqueId> = self.nodes.iter().map(|node| node.id).collect();
        for promise in &self.promises {
            // All that was asked for an answer has answered or is known to be lost by now.
            if promise.waits > 0 || !promise.holders.iter().any(|life| lives.contains(life)) {
                continue;
            }
            match &promise.what {
                Some(Fact::Ended(client)) => {
                    let key = self.clients[*client];
                    if key.is_some_and(|key| first.contains_key(&key)) {
                        return Err(format!("client {client} logged out and is in again"));
                    }
                }
                Some(Fact::Token(client, token))
                    if !self.ended.contains(client)
                        && !first.values().any(|session| session.contains_key(token)) =>
                {
                    return Err(format!("`{token}` of client {client} is lost: {first:#?}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// For sessions on two members: no copies differ, no third is left, and nothing that was acknowledged is lost.
    pub(super) fn check_backup(&self) -> Result<(), String> {
        let mut all: BTreeMap<Key, Vec<BTreeMap<String, String>>> = BTreeMap::new();
        for node in 0..self.nodes.len() {
            for (key, session) in self.dump(node) {
                all.entry(key).or_default().push(session);
            }
        }
        for (key, copies) in &all {
            let same = copies.iter().all(|copy| *copy == copies[0]);
            if copies.len() != 2 || !same {
                let place = |node: &Node| (node.id[0], node.core.place(*key));
                let places: Vec<_> = self.nodes.iter().map(place).collect();
                return Err(format!("{key} is {copies:#?} at {places:#?}"));
            }
        }
        for promise in self.promises.iter().filter(|promise| !promise.forgiven) {
            match &promise.what {
                Some(Fact::Ended(client))
                    if self.clients[*client].is_some_and(|key| all.contains_key(&key)) =>
                {
                    return Err(format!("client {client} logged out and is in again"));
                }
                Some(Fact::Token(client, token))
                    if !self.ended.contains(client)
                        && !all.values().any(|copies| copies[0].contains_key(token)) =>
                {
                    return Err(format!("`{token}` of client {client} is lost: {all:#?}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
