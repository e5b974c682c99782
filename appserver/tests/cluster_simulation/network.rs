//! The network: what becomes of each message, when members hear of each other, and what is due next.

use std::sync::Arc;

use appserver::manager::cluster::core::{Outbox, Stream};
use appserver::manager::cluster::peers::{Peer, UniqueId};
use appserver::session::{Key, Timestamp};

use super::trace;
use super::world::World;

/// Milliseconds that a lost message takes to be known as lost.
const LOST_AFTER: u64 = 400;
const TICK: u64 = 700;

/// A message on its way. It comes from one life of a member.
#[derive(Clone)]
pub(super) struct Letter {
    from: UniqueId,
    to: usize,
    bytes: Arc<[u8]>,
}

/// Who waits for its arrival.
#[derive(Clone, Copy, Default)]
pub(super) struct Waiting {
    promise: Option<usize>,
    /// The rest of a stream.
    stream: bool,
}

pub(super) enum Job {
    Deliver(Letter, Waiting),
    /// What a former primary owes: the version of this session.
    Pay(Letter, Key, u64),
    Lost {
        from: UniqueId,
        to: UniqueId,
        waiting: Waiting,
    },
    Notice {
        at: UniqueId,
        of: UniqueId,
        here: bool,
    },
}

impl World {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn at(&mut self, delay: u64, job: Job) {
        self.counter += 1;
        self.jobs.insert((self.now + delay, self.counter), job);
    }

    /// A member comes or goes in the eyes of another.
    pub(super) fn notice(&mut self, node: usize, other: usize, here: bool) {
        if node == other {
            return;
        }
        let (of_life, born) = (self.nodes[other].id, self.nodes[other].born);
        let alive = self.now - born;
        let now = self.now();
        let mut out = Outbox::default();
        let watcher = &mut self.nodes[node];
        if here && watcher.sees.insert(other) {
            let peer = Peer::new(of_life, true, alive);
            watcher.core.member_added(peer, now);
        } else if !here && watcher.sees.remove(&other) {
            watcher.core.member_removed(&of_life, now, &mut out);
        }
        self.send(node, out, None);
    }

    /// Both learn, each at its own time, that the other is there or not.
    pub(super) fn notice_later(&mut self, one: usize, two: usize, here: bool) {
        for (at, of) in [(one, two), (two, one)] {
            let delay = self.rng.u64(1..500);
            let [at, of] = [at, of].map(|node| self.nodes[node].id);
            self.at(delay, Job::Notice { at, of, here });
        }
    }

    pub(super) fn connected(&self, one: usize, two: usize) -> bool {
        self.side[one] == self.side[two]
    }

    /// Whether the network loses what is sent now.
    fn loses(&mut self, from: usize, to: usize) -> bool {
        !self.connected(from, to) || self.faults && self.rng.u32(..100) < 5
    }

    fn letter(&self, from: usize, to: usize, bytes: &Arc<[u8]>) -> Letter {
        Letter {
            from: self.nodes[from].id,
            to,
            bytes: Arc::clone(bytes),
        }
    }

    fn post(&mut self, from: usize, to: usize, bytes: &Arc<[u8]>, waiting: Waiting) {
        if let Some(promise) = waiting.promise {
            self.promises[promise].waits += 1;
        }
        let letter = self.letter(from, to, bytes);
        let unawaited = |letter| Job::Deliver(letter, Waiting::default());
        if self.loses(from, to) {
            // The message, or only its answer.
            if self.faults && self.connected(from, to) && self.rng.bool() {
                let delay = self.rng.u64(1..60);
                self.at(delay, unawaited(letter.clone()));
            }
            let lost = Job::Lost {
                from: letter.from,
                to: self.nodes[to].id,
                waiting,
            };
            return self.at(LOST_AFTER, lost);
        }
        let delay = self.rng.u64(1..60);
        if self.faults && self.rng.u32(..100) < 5 {
            let again = self.rng.u64(1..900);
            self.at(again, unawaited(letter.clone()));
        }
        self.at(delay, Job::Deliver(letter, waiting));
    }

    pub(super) fn place(&self, id: &UniqueId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == *id)
    }

    pub(super) fn send(&mut self, from: usize, out: Outbox, promise: Option<usize>) {
        let awaited = Waiting {
            promise,
            stream: false,
        };
        for message in out.natives {
            let message = message.into();
            for to in self.nodes[from].sees.clone() {
                self.post(from, to, &message, awaited);
            }
        }
        for (but, message) in out.others {
            let message = message.into();
            let mut others = self.nodes[from].sees.clone();
            others.retain(|other| self.nodes[*other].id != but);
            for to in others {
                self.post(from, to, &message, awaited);
            }
        }
        for (to, message) in out.copies {
            if let Some(to) = self.place(&to) {
                self.post(from, to, &message.into(), awaited);
            }
        }
        for owed in out.owed {
            if let Some(to) = self.place(&owed.to)
                && !self.loses(from, to)
            {
                let delay = self.rng.u64(1..60);
                let letter = self.letter(from, to, &owed.message.into());
                self.at(delay, Job::Pay(letter, owed.key, owed.version));
            }
        }
        for (to, message) in out.one {
            if let Some(to) = self.place(&to) {
                self.post(from, to, &message.into(), Waiting::default());
            }
        }
        for (to, stream) in out.streams {
            self.begin(from, &to, stream);
        }
    }

    /// Begins a stream to a member, or has it wait for those before it.
    fn begin(&mut self, from: usize, to: &UniqueId, stream: Stream) {
        let Some(place) = self.place(to) else {
            let (core, now) = (&self.nodes[from].core, self.now());
            return core.stream_ended(to, stream.is_comparison(), false, now);
        };
        let streams = &mut self.nodes[from].streams;
        let is_first = streams.iter().all(|(other, _)| *other != place);
        streams.push((place, stream));
        if is_first {
            self.pull(from, place);
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
                let waiting = Waiting {
                    promise: None,
                    stream: true,
                };
                return self.post(from, to, &bytes.into(), waiting);
            }
            let (_, stream) = node.streams.remove(place);
            let id = self.nodes[to].id;
            let core = &self.nodes[from].core;
            core.stream_ended(&id, stream.is_comparison(), true, now);
        }
    }

    /// Does what is due until then.
    pub(super) fn run(&mut self, until: u64) {
        loop {
            if self.next_tick == 0 {
                self.next_tick = self.now + TICK;
            }
            let first = self.jobs.first_key_value();
            let due = first.map_or(u64::MAX, |(key, _)| key.0);
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
        match job {
            Job::Deliver(letter, waiting) => self.deliver(&letter, waiting),
            Job::Pay(letter, key, version) => {
                let applied = self.receive(&letter);
                if let (true, Some(from)) = (applied, self.place(&letter.from)) {
                    self.nodes[from].core.repaid(key, version);
                }
            }
            Job::Lost { from, to, waiting } => self.lost(&from, &to, waiting),
            Job::Notice { at, of, here } => {
                if let (Some(at), Some(of)) = (self.place(&at), self.place(&of)) {
                    self.notice(at, of, here);
                }
            }
        }
    }

    /// A member reads a message; whether it applied all of it.
    fn receive(&mut self, letter: &Letter) -> bool {
        let Letter { from, to, bytes } = letter;
        trace::message(self, from, *to, bytes);
        let mut out = Outbox::default();
        let core = &self.nodes[*to].core;
        let read = core.receive(from, bytes, self.now(), &mut out);
        let applied = read.expect("a member's message");
        self.send(*to, out, None);
        applied
    }

    fn deliver(&mut self, letter: &Letter, waiting: Waiting) {
        let to = letter.to;
        let has_it = self.receive(letter) && self.nodes[to].core.is_joined();
        let life = self.nodes[to].id;
        if let Some(promise) = waiting.promise {
            self.promises[promise].waits -= 1;
            if has_it {
                self.promises[promise].holders.push(life);
            } else {
                // It is answered with failure.
                self.promises[promise].failed = true;
                if let Some(from) = self.place(&letter.from) {
                    self.nodes[from].core.failed(&life, self.now());
                }
            }
        }
        if waiting.stream
            && let Some(from) = self.place(&letter.from)
        {
            self.pull(from, to);
        }
    }

    fn lost(&mut self, from: &UniqueId, to: &UniqueId, waiting: Waiting) {
        if let Some(promise) = waiting.promise {
            self.promises[promise].waits -= 1;
            self.promises[promise].failed = true;
        }
        let (Some(from), place, now) = (self.place(from), self.place(to), self.now()) else {
            return;
        };
        let node = &mut self.nodes[from];
        node.core.failed(to, now);
        if waiting.stream {
            let to_it = |(other, _): &mut (usize, Stream)| Some(*other) == place;
            for (_, stream) in node.streams.extract_if(.., to_it) {
                let is_comparison = stream.is_comparison();
                node.core.stream_ended(to, is_comparison, false, now);
            }
        }
    }
}
