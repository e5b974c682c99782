//! The members, and what is done with them: requests of a few clients, cuts and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use appserver::manager::cluster::core::{Core, NewKey, Outbox, Spread, Stream};
use appserver::manager::cluster::peers::UniqueId;
use appserver::session::{AskedId, Key, Session};
use fastrand::Rng;

use super::checks::{Fact, Promise};
use super::network::Job;
use super::{START, config, trace};

const STEPS: usize = 30;
const CLIENTS: usize = 3;

pub(super) struct Node {
    pub(super) core: Core,
    /// Which of its lives it is.
    pub(super) id: UniqueId,
    pub(super) born: u64,
    /// Messages that are made one after the other's arrival.
    pub(super) streams: Vec<(usize, Stream)>,
    /// Whom it takes for a member.
    pub(super) sees: BTreeSet<usize>,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: u64,
    pub(super) next_tick: u64,
    pub(super) nodes: Vec<Node>,
    /// Which side of a cut each node is on.
    pub(super) side: Vec<bool>,
    pub(super) jobs: BTreeMap<(u64, u64), Job>,
    pub(super) counter: u64,
    pub(super) promises: Vec<Promise>,
    /// Clients: the key that each was told last.
    pub(super) clients: Vec<Option<Key>>,
    pub(super) ended: BTreeSet<usize>,
    pub(super) faults: bool,
    spread: Spread,
}

impl World {
    pub(super) fn new(seed: u64, faults: bool, spread: Spread) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(2..=4);
        let mut world = Self {
            rng,
            now: START,
            next_tick: 0,
            nodes: Vec::new(),
            side: vec![false; count],
            jobs: BTreeMap::new(),
            counter: 0,
            promises: Vec::new(),
            clients: Vec::new(),
            ended: BTreeSet::new(),
            faults,
            spread,
        };
        for _ in 0..count {
            let node = world.node();
            world.nodes.push(node);
        }
        for node in 0..count {
            for other in 0..count {
                world.notice(node, other, true);
            }
        }
        world
    }

    fn node(&mut self) -> Node {
        let id = self.rng.u128(..).to_be_bytes();
        let keys = Mutex::new(self.rng.fork());
        let new_key = NewKey(Box::new(move || {
            let mut keys = keys.lock().expect("nobody panics");
            Key::from_bytes(keys.u128(..).to_be_bytes())
        }));
        Node {
            core: Core::new(config(self.spread), id, new_key),
            id,
            born: self.now,
            streams: Vec::new(),
            sees: BTreeSet::new(),
        }
    }

    fn cut(&mut self) {
        let node = self.rng.usize(..self.nodes.len());
        self.side[node] = !self.side[node];
        trace::say(
            self,
            &format_args!("n{node} changes sides: {:?}", self.side),
        );
        for other in 0..self.nodes.len() {
            if other != node {
                // Short cuts are not noticed.
                let here = self.connected(node, other);
                if here || self.rng.bool() {
                    self.notice_later(node, other, here);
                }
            }
        }
    }

    fn crash(&mut self) {
        let node = self.rng.usize(..self.nodes.len());
        for other in 0..self.nodes.len() {
            self.notice(other, node, false);
        }
        for watcher in &mut self.nodes {
            watcher.streams.retain(|(to, _)| *to != node);
        }
        self.nodes[node] = self.node();
        trace::say(self, &format_args!("n{node} crashes and comes back"));
        for other in 0..self.nodes.len() {
            if other != node && self.connected(node, other) {
                self.notice(node, other, true);
                self.notice(other, node, true);
            }
        }
        let mut out = Outbox::default();
        self.nodes[node].core.start(self.now(), &mut out);
        self.send(node, out, None);
    }

    pub(super) fn found(&mut self, node: usize, key: Key) -> Option<Session> {
        let mut out = Outbox::default();
        let asked = AskedId {
            key,
            node: None,
            route: None,
        };
        let found = self.nodes[node].core.find(&asked, self.now(), &mut out);
        if found.is_none() {
            // The client comes again.
            let core = &self.nodes[node].core;
            let holders = core.holders(key).into_iter();
            out.one
                .extend(holders.map(|holder| (holder, core.need(key, self.now()))));
        }
        self.send(node, out, None);
        found.map(|(session, _)| session)
    }

    pub(super) fn promise(&mut self, node: usize, what: Option<Fact>, out: Outbox) {
        let holders = vec![self.nodes[node].id];
        self.promises.push(Promise {
            holders,
            what,
            ..Promise::default()
        });
        let promise = self.promises.len() - 1;
        self.send(node, out, Some(promise));
    }

    /// One request of one client to some node.
    fn request(&mut self) {
        let now = self.now();
        let node = self.rng.usize(..self.nodes.len());
        if !self.nodes[node].core.is_joined() {
            return;
        }
        let mut out = Outbox::default();
        if self.clients.len() < CLIENTS {
            let session = self.nodes[node].core.create(now).expect("no limit");
            self.clients.push(Some(session.id().key));
            return self.write(node, self.clients.len() - 1, &session);
        }
        let client = self.rng.usize(..self.clients.len());
        let Some(session) = self.clients[client].and_then(|key| self.found(node, key)) else {
            return;
        };
        self.clients[client] = Some(session.id().key);
        let core = &self.nodes[node].core;
        let does = match self.rng.u32(..20) {
            0 => {
                core.remove(&session, now, &mut out);
                self.ended.insert(client);
                self.promise(node, Some(Fact::Ended(client)), out);
                "logs out"
            }
            1..=3 => {
                if core.change_id(&session, now, &mut out).is_ok() {
                    self.clients[client] = Some(session.id().key);
                }
                core.commit(&session, true, now, &mut out);
                self.promise(node, None, out);
                "gets a new ID"
            }
            4 | 5 => {
                core.commit(&session, true, now, &mut out);
                self.promise(node, None, out);
                "looks"
            }
            _ => return self.write(node, client, &session),
        };
        trace::say(self, &format_args!("client {client} {does} at n{node}"));
    }

    /// A token of its own, and an attribute that others write too.
    pub(super) fn write(&mut self, node: usize, client: usize, session: &Session) {
        let now = self.now();
        let mut out = Outbox::default();
        let token = format!("token {}", self.promises.len());
        let shared = ["a", "b"][self.rng.usize(..2)];
        let written = session.set(&token, 1).is_ok();
        match self.rng.u32(..4) {
            0 => drop(session.remove(shared)),
            _ => drop(session.set(shared, self.rng.i32(..))),
        }
        self.nodes[node].core.commit(session, true, now, &mut out);
        trace::say(
            self,
            &format_args!("client {client} writes {token} at n{node}"),
        );
        let fact = written.then_some(Fact::Token(client, token));
        self.promise(node, fact, out);
    }

    pub(super) fn heal(&mut self) {
        trace::say(self, &"the network is whole");
        self.faults = false;
        self.side.fill(false);
        self.jobs
            .retain(|_, job| !matches!(job, Job::Notice { .. }));
        for one in 0..self.nodes.len() {
            for two in 0..self.nodes.len() {
                self.notice(one, two, true);
            }
        }
        self.run(self.now + 15_000);
        for node in 0..self.nodes.len() {
            let mut out = Outbox::default();
            self.nodes[node].core.sweep(self.now(), &mut out);
            self.send(node, out, None);
        }
    }

    /// Requests, cuts and crashes.
    pub(super) fn live(&mut self, crashes: bool) {
        for _ in 0..STEPS {
            match self.rng.u32(..40) {
                0..=2 => self.cut(),
                3 if crashes => self.crash(),
                _ => self.request(),
            }
            let pause = match self.rng.u32(..8) {
                0 => 2_000,
                1..=3 => 100,
                _ => 1,
            };
            let pause = self.rng.u64(..=pause);
            self.run(self.now + pause);
        }
    }

    /// One member crashes while requests run. Until now each session had two copies.
    pub(super) fn crash_one(&mut self) {
        let settled = self.promises.len();
        self.faults = self.rng.bool();
        for _ in 0..self.rng.usize(1..STEPS) {
            self.request();
            let pause = self.rng.u64(..=100);
            self.run(self.now + pause);
        }
        for promise in &mut self.promises[settled..] {
            let acknowledged = promise.waits == 0 && !promise.failed;
            promise.forgiven = !acknowledged;
        }
        self.crash();
    }
}
