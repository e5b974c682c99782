//! The nodes, and the ways to them, with what goes wrong there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use appserver::manager::msm::protocol::{Answer, Command, Verb, World};
use appserver::session::Timestamp;

use super::trace;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// The node is dead, and at the end back without what it had.
    Dead(usize),
    /// The node cannot be reached, and at the end back with what it had.
    CutOff(usize),
    /// One server does not reach the node.
    CutOffFrom(usize, usize),
    /// Some answers of the node do not come in time, and some commands arrive late.
    Slow(usize),
    /// Some connections to the node are broken and others are not, as after its return.
    Flaky(usize),
    /// Servers die and start again.
    Servers,
}

/// When it goes, its value, its cas unique.
type Item = (u64, Vec<u8>, u64);

#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) now: u64,
    pub(super) random: fastrand::Rng,
    pub(super) trouble: Trouble,
    pub(super) items: Vec<HashMap<String, Item>>,
    /// Commands that arrive after their sender gave up.
    pub(super) late: Vec<(usize, Vec<Command>)>,
    pub(super) unique: u64,
}

impl Nodes {
    pub(super) fn act(&mut self, node: usize, command: &Command) -> Answer {
        let now = self.now;
        self.unique += 1;
        let unique = self.unique;
        let items = &mut self.items[node];
        let (verb, key) = (&command.verb, &command.key.to_string());
        if items.get(key).is_some_and(|(until, ..)| *until <= now) {
            items.remove(key);
        }
        let until = |exptime: i64| match exptime {
            0 => u64::MAX,
            ..0 => 0,
            2_592_001.. => exptime as u64 * 1000,
            _ => now + exptime as u64 * 1000,
        };
        let item = |exptime: i64, value: &Vec<u8>| (until(exptime), value.clone(), unique);
        match (verb, items.get_mut(key)) {
            (Verb::Get, Some(item)) => Answer::Hit(item.1.clone()),
            (Verb::Gets, Some(item)) => Answer::HitCas(item.1.clone(), item.2),
            (Verb::Add(..), Some(_)) | (Verb::Replace(..), None) => Answer::NotStored,
            (Verb::Cas(_, _, unique), Some(item)) if item.2 != *unique => Answer::Exists,
            (Verb::Cas(exptime, value, _), Some(there)) => {
                *there = item(*exptime, value);
                Answer::Done
            }
            (Verb::Touch(exptime), Some(item)) => {
                item.0 = until(*exptime);
                Answer::Done
            }
            (Verb::Set(exptime, value) | Verb::Add(exptime, value), _)
            | (Verb::Replace(exptime, value), Some(_)) => {
                items.insert(key.clone(), item(*exptime, value));
                Answer::Done
            }
            (Verb::Delete, Some(_)) => {
                items.remove(key);
                Answer::Done
            }
            (Verb::Get | Verb::Gets | Verb::Cas(..) | Verb::Touch(_) | Verb::Delete, None) => {
                Answer::Miss
            }
        }
    }

    pub(super) fn act_late(&mut self) {
        if !self.late.is_empty() {
            let which = self.random.usize(..self.late.len());
            let (node, commands) = self.late.swap_remove(which);
            for command in commands {
                self.act(node, &command);
            }
        }
    }
}

/// The nodes as one server sees them.
#[derive(Debug, Clone)]
pub(super) struct Net {
    pub(super) shared: Arc<Mutex<Nodes>>,
    pub(super) server: usize,
}

impl Net {
    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.shared.lock().expect("not poisoned")
    }

    /// Whether nothing that is sent to the node arrives there now.
    fn is_away(&self, node: usize) -> bool {
        let mut nodes = self.nodes();
        match nodes.trouble {
            Trouble::Dead(away) | Trouble::CutOff(away) => away == node,
            Trouble::CutOffFrom(away, server) => (away, server) == (node, self.server),
            Trouble::Flaky(flaky) => flaky == node && nodes.random.u8(..10) < 3,
            Trouble::None | Trouble::Slow(_) | Trouble::Servers => false,
        }
    }

    pub(super) async fn some_time(&self) {
        let breaths = self.nodes().random.usize(1..4);
        for _ in 0..breaths {
            breath().await;
        }
    }
}

async fn breath() {
    let mut taken = false;
    std::future::poll_fn(move |context| match std::mem::replace(&mut taken, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

impl World for Net {
    async fn call(&self, node: usize, command: Command, limit: u32) -> Answer {
        let mut answers = self.batch(node, vec![command], limit).await;
        answers.pop().expect("one answer")
    }

    async fn batch(&self, node: usize, commands: Vec<Command>, _limit: u32) -> Vec<Answer> {
        self.some_time().await;
        let failed = vec![Answer::Failed; commands.len()];
        if self.is_away(node) {
            return failed;
        }
        let is_slow = {
            let mut nodes = self.nodes();
            nodes.trouble == Trouble::Slow(node) && nodes.random.u8(..10) < 3
        };
        if is_slow && self.nodes().random.bool() {
            self.nodes().late.push((node, commands));
            return failed;
        }
        let answers: Vec<Answer> = {
            let mut nodes = self.nodes();
            let answers = commands.iter().map(|command| nodes.act(node, command));
            answers.collect()
        };
        self.some_time().await;
        let is_lost = is_slow || self.is_away(node);
        trace::commands(self, node, &commands, &answers, is_lost);
        if is_lost {
            return failed;
        }
        answers
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.nodes().now)
    }

    async fn pause(&self, millis: u64) {
        let until = self.nodes().now + millis;
        while self.nodes().now < until {
            breath().await;
        }
    }

    fn random(&self, below: usize) -> usize {
        self.nodes().random.usize(..below)
    }
}
