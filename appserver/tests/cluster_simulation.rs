//! Members of a cluster over a network that loses, delays, reorders and repeats messages and falls into parts, with members that crash
//! and come back empty, and with a clock of its own. Every schedule is made by one number; a failing one is printed.
//!
//! What must hold when the network is whole again: all members have the same sessions; what was acknowledged is there as long as
//! one of those that had it lives; a session that was ended stays ended.

#[path = "support/seeds.rs"]
mod seeds;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use appserver::manager::cluster::core::{Core, CoreConfig, NewKey, Outbox, Spread, Stream};
use appserver::manager::cluster::peers::{Peer, UniqueId};
use appserver::session::{AskedId, Key, Session, Timestamp};
use fastrand::Rng;

const SCHEDULES: u64 = 10_000;
const STEPS: usize = 30;
/// Milliseconds that a lost message takes to be known as lost.
const LOST_AFTER: u64 = 400;
const TICK: u64 = 700;

fn config(spread: Spread) -> CoreConfig {
    CoreConfig::new("/jsp", spread)
}

struct Node {
    core: Core,
    id: UniqueId,
    born: u64,
    /// Messages that are made one after the other's arrival.
    streams: Vec<(usize, Stream)>,
    /// Whom it takes for a member.
    sees: BTreeSet<usize>,
}

/// What a request waits for.
#[derive(Default)]
struct Promise {
    waits: usize,
    /// Members, and which of their lives, that have it.
    holders: Vec<UniqueId>,
    /// Some did not answer, or that they lack something.
    failed: bool,
    /// It may be lost: its only holder crashed before another one had answered.
    forgiven: bool,
    what: Option<Fact>,
}

#[derive(Clone)]
enum Fact {
    Token(usize, String),
    Ended(usize),
}

enum Job {
    Deliver {
        from: UniqueId,
        to: usize,
        bytes: Arc<[u8]>,
        promise: Option<usize>,
        stream: bool,
    },
    Paid {
        from: usize,
        life: UniqueId,
        to: usize,
        bytes: Arc<[u8]>,
        paid: Option<(Key, u64)>,
    },
    Lost {
        from: usize,
        life: UniqueId,
        to: UniqueId,
        promise: Option<usize>,
        stream: bool,
    },
    Notice {
        at: usize,
        life: UniqueId,
        of: usize,
        of_life: UniqueId,
        here: bool,
    },
}

struct World {
    rng: Rng,
    now: u64,
    next_tick: u64,
    nodes: Vec<Node>,
    /// Which side of a cut each node is on.
    side: Vec<bool>,
    jobs: BTreeMap<(u64, u64), Job>,
    counter: u64,
    promises: Vec<Promise>,
    /// Clients: the key that each was told last.
    clients: Vec<Option<Key>>,
    ended: BTreeSet<usize>,
    faults: bool,
    spread: Spread,
}

impl World {
    fn new(seed: u64, faults: bool, spread: Spread) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(2..=4);
        let mut world = Self {
            rng,
            now: 1_795_000_000_000,
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
        let keys = std::sync::Mutex::new(self.rng.fork());
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

    fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn at(&mut self, delay: u64, job: Job) {
        self.counter += 1;
        self.jobs.insert((self.now + delay, self.counter), job);
    }

    /// A member comes or goes in the eyes of another.
    fn notice(&mut self, node: usize, other: usize, here: bool) {
        if node == other {
            return;
        }
        let (of_life, born) = (self.nodes[other].id, self.nodes[other].born);
        let alive = self.now - born;
        let now = self.now();
        let mut out = Outbox::default();
        let watcher = &mut self.nodes[node];
        if here && watcher.sees.insert(other) {
            watcher
                .core
                .member_added(Peer::new(of_life, true, alive), now);
        } else if !here && watcher.sees.remove(&other) {
            watcher.core.member_removed(&of_life, now, &mut out);
        }
        self.send(node, out, None);
    }

    fn connected(&self, one: usize, two: usize) -> bool {
        self.side[one] == self.side[two]
    }

    fn post(
        &mut self,
        from: usize,
        to: usize,
        bytes: Arc<[u8]>,
        promise: Option<usize>,
        stream: bool,
    ) {
        if let Some(promise) = promise {
            self.promises[promise].waits += 1;
        }
        let lost = !self.connected(from, to) || self.faults && self.rng.u32(..100) < 5;
        let (life, other) = (self.nodes[from].id, self.nodes[to].id);
        if lost {
            // The message, or only its answer.
            if self.faults && self.connected(from, to) && self.rng.bool() {
                let delay = self.rng.u64(1..60);
                let bytes = Arc::clone(&bytes);
                self.at(
                    delay,
                    Job::Deliver {
                        from: life,
                        to,
                        bytes,
                        promise: None,
                        stream: false,
                    },
                );
            }
            return self.at(
                LOST_AFTER,
                Job::Lost {
                    from,
                    life,
                    to: other,
                    promise,
                    stream,
                },
            );
        }
        let delay = self.rng.u64(1..60);
        if self.faults && self.rng.u32(..100) < 5 {
            let again = self.rng.u64(1..900);
            let bytes = Arc::clone(&bytes);
            self.at(
                again,
                Job::Deliver {
                    from: life,
                    to,
                    bytes,
                    promise: None,
                    stream: false,
                },
            );
        }
        self.at(
            delay,
            Job::Deliver {
                from: life,
                to,
                bytes,
                promise,
                stream,
            },
        );
    }

    /// What a former primary sends: it hears when that arrived.
    fn post_paid(&mut self, from: usize, to: usize, bytes: Arc<[u8]>, paid: Option<(Key, u64)>) {
        let life = self.nodes[from].id;
        let lost = !self.connected(from, to) || self.faults && self.rng.u32(..100) < 5;
        if !lost {
            let delay = self.rng.u64(1..60);
            self.at(
                delay,
                Job::Paid {
                    from,
                    life,
                    to,
                    bytes,
                    paid,
                },
            );
        }
    }

    fn place(&self, id: &UniqueId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == *id)
    }

    fn send(&mut self, from: usize, out: Outbox, promise: Option<usize>) {
        for message in out.natives {
            let message: Arc<[u8]> = message.into();
            for to in self.nodes[from].sees.clone() {
                self.post(from, to, Arc::clone(&message), promise, false);
            }
        }
        for (but, message) in out.others {
            let message: Arc<[u8]> = message.into();
            let mut others = self.nodes[from].sees.clone();
            others.retain(|other| self.nodes[*other].id != but);
            for to in others {
                self.post(from, to, Arc::clone(&message), promise, false);
            }
        }
        for (to, message) in out.copies {
            if let Some(to) = self.place(&to) {
                self.post(from, to, message.into(), promise, false);
            }
        }
        for owed in out.owed {
            if let Some(to) = self.place(&owed.to) {
                let paid = Some((owed.key, owed.version));
                self.post_paid(from, to, owed.message.into(), paid);
            }
        }
        for (to, message) in out.one {
            if let Some(to) = self.place(&to) {
                self.post(from, to, message.into(), None, false);
            }
        }
        for (to, stream) in out.streams {
            match self.place(&to) {
                Some(to) => {
                    self.nodes[from].streams.push((to, stream));
                    if self.nodes[from]
                        .streams
                        .iter()
                        .filter(|(other, _)| *other == to)
                        .count()
                        == 1
                    {
                        self.pull(from, to);
                    }
                }
                None => {
                    let now = self.now();
                    self.nodes[from]
                        .core
                        .stream_ended(&to, stream.is_comparison(), false, now);
                }
            }
        }
    }

    /// Sends the next message of the first stream to that member.
    fn pull(&mut self, from: usize, to: usize) {
        let now = self.now();
        loop {
            let node = &mut self.nodes[from];
            let Some(place) = node.streams.iter().position(|(other, _)| *other == to) else {
                return;
            };
            if let Some(bytes) = node.core.pull(&mut node.streams[place].1, now) {
                return self.post(from, to, bytes.into(), None, true);
            }
            let (_, stream) = node.streams.remove(place);
            let id = self.nodes[to].id;
            self.nodes[from]
                .core
                .stream_ended(&id, stream.is_comparison(), true, now);
        }
    }

    /// Does what is due until then.
    fn run(&mut self, until: u64) {
        loop {
            if self.next_tick == 0 {
                self.next_tick = self.now + TICK;
            }
            let due = self
                .jobs
                .first_key_value()
                .map_or(u64::MAX, |(key, _)| key.0);
            let next = due.min(self.next_tick);
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            if due <= self.next_tick {
                if let Some((_, job)) = self.jobs.pop_first() {
                    self.step(job);
                }
            } else {
                self.next_tick += TICK;
                for node in 0..self.nodes.len() {
                    let mut out = Outbox::default();
                    self.nodes[node].core.tick(self.now(), &mut out);
                    self.send(node, out, None);
                }
            }
        }
    }

    fn step(&mut self, job: Job) {
        let now = self.now();
        match job {
            Job::Deliver {
                from,
                to,
                bytes,
                promise,
                stream,
            } => {
                let mut out = Outbox::default();
                let core = &self.nodes[to].core;
                let read = core.receive(&from, &bytes, now, &mut out);
                let has_it = read.expect("a member's message") && core.is_joined();
                let life = self.nodes[to].id;
                self.send(to, out, None);
                if let Some(promise) = promise {
                    self.promises[promise].waits -= 1;
                    if has_it {
                        self.promises[promise].holders.push(life);
                    } else {
                        // It is answered with failure.
                        self.promises[promise].failed = true;
                        if let Some(from) = self.place(&from) {
                            self.nodes[from].core.failed(&life, now);
                        }
                    }
                }
                if stream && let Some(from) = self.place(&from) {
                    self.pull(from, to);
                }
            }
            Job::Paid {
                from,
                life,
                to,
                bytes,
                paid,
            } => {
                let mut out = Outbox::default();
                let core = &self.nodes[to].core;
                let read = core.receive(&life, &bytes, now, &mut out);
                let applied = read.expect("a member's message");
                self.send(to, out, None);
                if let Some((key, version)) =
                    paid.filter(|_| applied && self.nodes[from].id == life)
                {
                    self.nodes[from].core.repaid(key, version);
                }
            }
            Job::Lost {
                from,
                life,
                to,
                promise,
                stream,
            } => {
                if let Some(promise) = promise {
                    self.promises[promise].waits -= 1;
                    self.promises[promise].failed = true;
                }
                if self.nodes[from].id != life {
                    return;
                }
                self.nodes[from].core.failed(&to, now);
                if stream {
                    let place = self.place(&to);
                    let streams = std::mem::take(&mut self.nodes[from].streams);
                    for (other, stream) in streams {
                        if place == Some(other) {
                            self.nodes[from].core.stream_ended(
                                &to,
                                stream.is_comparison(),
                                false,
                                now,
                            );
                        } else {
                            self.nodes[from].streams.push((other, stream));
                        }
                    }
                }
            }
            Job::Notice {
                at,
                life,
                of,
                of_life,
                here,
            } => {
                if self.nodes[at].id == life && self.nodes[of].id == of_life {
                    self.notice(at, of, here);
                }
            }
        }
    }

    /// Both learn, each at its own time, that the other is there or not.
    fn notice_later(&mut self, one: usize, two: usize, here: bool) {
        for (at, of) in [(one, two), (two, one)] {
            let delay = self.rng.u64(1..500);
            let (life, of_life) = (self.nodes[at].id, self.nodes[of].id);
            self.at(
                delay,
                Job::Notice {
                    at,
                    life,
                    of,
                    of_life,
                    here,
                },
            );
        }
    }

    fn cut(&mut self) {
        let node = self.rng.usize(..self.nodes.len());
        self.side[node] = !self.side[node];
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

    fn found(&mut self, node: usize, key: Key) -> Option<Session> {
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

    fn promise(&mut self, node: usize, what: Option<Fact>, out: Outbox) {
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
        if self.clients.len() < 3 {
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
        match self.rng.u32(..20) {
            0 => {
                core.remove(&session, now, &mut out);
                self.ended.insert(client);
                self.promise(node, Some(Fact::Ended(client)), out);
            }
            1..=3 => {
                if core.change_id(&session, now, &mut out).is_ok() {
                    self.clients[client] = Some(session.id().key);
                }
                core.commit(&session, true, now, &mut out);
                self.promise(node, None, out);
            }
            4 | 5 => {
                core.commit(&session, true, now, &mut out);
                self.promise(node, None, out);
            }
            _ => self.write(node, client, &session),
        }
    }

    /// A token of its own, and an attribute that others write too.
    fn write(&mut self, node: usize, client: usize, session: &Session) {
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
        let fact = written.then_some(Fact::Token(client, token));
        self.promise(node, fact, out);
    }

    /// The sessions of each node, without what may differ.
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

    fn heal(&mut self) {
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

    fn check(&self) -> Result<(), String> {
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
    /// Requests, cuts and crashes.
    fn live(&mut self, crashes: bool) {
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
    fn crash_one(&mut self) {
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

    /// For sessions on two members: no copies differ, no third is left, and nothing that was acknowledged is lost.
    fn check_backup(&self) -> Result<(), String> {
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

#[test]
fn members_agree_when_the_network_is_whole_again() {
    seeds::play("CLUSTER_SEED", SCHEDULES, |seed| {
        let mut world = World::new(seed, true, Spread::All);
        world.live(true);
        world.heal();
        world.check().unwrap_or_else(|what| panic!("{what}"));
    });
}

/// The same with one backup per session, without crashes: two at once may take both copies.
#[test]
fn two_members_keep_each_session_when_the_network_is_whole_again() {
    seeds::play("CLUSTER_SEED", SCHEDULES, |seed| {
        let mut world = World::new(seed, true, Spread::Backup);
        world.live(false);
        world.heal();
        world.check_backup().unwrap_or_else(|what| panic!("{what}"));
    });
}

/// As long as one member crashes at a time, and the next one when all sessions have a backup again, what the backup acknowledged
/// is not lost. One crash takes most schedules through all that it can meet; some go on after it.
#[test]
fn a_crash_loses_nothing_that_the_backup_acknowledged() {
    seeds::play("CLUSTER_SEED", SCHEDULES, |seed| {
        let mut world = World::new(seed, true, Spread::Backup);
        let crashes = if seed % 20 == 0 { 3 } else { 1 };
        for crash in 0..crashes {
            world.live(false);
            world.heal();
            world.crash_one();
            world.heal();
            let kept = world.check_backup();
            kept.unwrap_or_else(|what| panic!("after crash {crash}: {what}"));
        }
    });
}

/// A client has either the old id or the new one; whichever node it comes to and whatever has arrived there, the node knows one.
#[test]
fn at_no_moment_are_both_ids_unknown() {
    for seed in 0..300 {
        let mut world = World::new(seed, false, Spread::All);
        let node = world.rng.usize(..world.nodes.len());
        let session = world.nodes[node]
            .core
            .create(world.now())
            .expect("no limit");
        world.clients.push(Some(session.id().key));
        world.write(node, 0, &session);
        world.run(world.now + 1_000);
        for _ in 0..5 {
            let node = world.rng.usize(..world.nodes.len());
            let old = world.clients[0].expect("a key");
            let session = world.found(node, old).expect("known everywhere");
            let mut out = Outbox::default();
            let now = world.now();
            world.nodes[node]
                .core
                .change_id(&session, now, &mut out)
                .expect("alive");
            world.promise(node, None, out);
            let new = session.id().key;
            for _ in 0..80 {
                for node in 0..world.nodes.len() {
                    let known = [old, new].map(|key| world.found(node, key).is_some());
                    assert_ne!(known, [false, false], "with seed {seed}");
                }
                world.run(world.now + 1);
            }
            for node in 0..world.nodes.len() {
                let known = [old, new].map(|key| world.found(node, key).is_some());
                assert_eq!(known, [false, true], "with seed {seed}");
            }
            world.clients[0] = Some(new);
        }
    }
}

/// The same on one node while requests run side by side: whoever asks in the middle of a change finds one of the two.
#[test]
fn in_the_middle_of_a_change_one_of_both_ids_is_known() {
    const CHANGES: u64 = 2_000;
    const ASKS: usize = 20;
    let key = |number: u64| Key::from_bytes(u128::from(number).to_be_bytes());
    let numbers = AtomicU64::new(0);
    let new_key = NewKey(Box::new(move || {
        key(numbers.fetch_add(1, Ordering::Relaxed))
    }));
    let core = Core::new(config(Spread::All), [1; 16], new_key);
    let now = Timestamp(1_795_000_000_000);
    let session = core.create(now).expect("no limit");
    core.commit(&session, true, now, &mut Outbox::default());
    let is_known = |number| {
        let asked = AskedId {
            key: key(number),
            node: None,
            route: None,
        };
        core.find(&asked, now, &mut Outbox::default()).is_some()
    };
    let (together, mut lost) = (Barrier::new(2), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..CHANGES {
                together.wait();
                let changed = core.change_id(&session, now, &mut Outbox::default());
                changed.expect("alive");
                together.wait();
            }
        });
        for old in 0..CHANGES {
            together.wait();
            let asks = (0..ASKS).filter(|_| !is_known(old) && !is_known(old + 1));
            lost += asks.count();
            together.wait();
        }
    });
    assert_eq!(lost, 0, "asks that found neither");
}
