//! What the background does: asks the nodes whether they are there, and makes copies alike that were seen to differ.

use super::copy::{Found, are_in_doubt, newest};
use super::health::State;
use super::{Safe, join};
use crate::manager::msm::expiry;
use crate::manager::msm::key;
use crate::manager::msm::protocol::{Answer, Command, Verb, World};
use crate::manager::msm::record::Record;
use crate::manager::msm::validity::Validity;
use crate::session::{AskedId, SessionId};

/// At most so many sessions are repaired in one turn.
const REPAIRS_MAX: usize = 64;

impl<W: World> Safe<W> {
    /// Asks the nodes whose turn it is whether they are there, each with msm's own question, two at a time.
    pub async fn check(&self) {
        let due = self.health.due(self.now());
        for pair in due.chunks(2) {
            let each = pair.iter().map(|node| {
                let id = &self.nodes.settings.memcached_nodes.all()[*node].id;
                let ping = Command {
                    verb: Verb::Get,
                    key: key::ping(self.nodes.prefix(), id),
                };
                self.ask(*node, vec![ping])
            });
            join(each.collect()).await;
        }
    }

    /// Makes copies alike, and tells nodes of log outs that they missed; at most 64 of each. Those whose nodes are
    /// down wait.
    pub async fn repair(&self) {
        for id in self.ended.take(REPAIRS_MAX) {
            let complete = self.all_up(&id);
            // It is put on the list again when a node does not take it.
            if !complete || !self.mark(&id, 0).await {
                self.ended.add(id);
            } else {
                Self::count(&self.counters.repaired);
            }
        }
        if self.nodes.settings.sticky {
            return;
        }
        for id in self.dirty.take(REPAIRS_MAX) {
            if !self.all_up(&id) || !self.make_alike(&id).await {
                self.dirty.add(id);
            }
        }
    }

    /// Whether all nodes that should have the session are there.
    fn all_up(&self, id: &SessionId) -> bool {
        let Some(primary) = self.nodes.node_of(id.suffix.node()) else {
            return true;
        };
        let states = self.health.states();
        self.wanted(primary).all(|node| states[node] == State::Up)
    }

    /// Reads the copies and writes the newest where it is not; whether all are alike then.
    async fn make_alike(&self, id: &SessionId) -> bool {
        let text = id.text();
        let (Some(primary), Some(asked)) = (
            self.nodes.node_of(id.suffix.node()),
            AskedId::parse(text.as_str().as_bytes()),
        ) else {
            return true;
        };
        let reading = self.read(&asked, primary, None).await;
        let copies = &reading.copies;
        if copies.iter().any(|copy| copy.is(&Found::Unknown)) {
            return false;
        }
        if copies.iter().any(|copy| copy.is_ended()) {
            return !self.are_moving(copies, id) && self.mark(id, 0).await;
        }
        let Some(record) = newest(copies) else {
            return true;
        };
        // Their writers are about to find out and put them together; the older one may be acknowledged, and the newer one not.
        if are_in_doubt(copies, &[], self.now()) {
            return false;
        }
        let Ok(read) = Record::decode(record) else {
            return true;
        };
        let (now, interval) = (self.now(), read.interval);
        let times = reading.validity.unwrap_or(Validity {
            interval,
            last_accessed: read.last_accessed,
            this_accessed: read.this_accessed,
        });
        if !(Validity { interval, ..times }).is_valid(now) {
            return true;
        }
        let differ = copies.iter().filter(|copy| copy.record() != Some(record));
        let mut alike = true;
        for copy in differ.take(super::COPIES) {
            let (_, validity) = Self::kinds(copy.node, primary);
            let Some(verb) = copy.found.replaced_by(self.exptime(interval, now), record) else {
                continue;
            };
            let set = Verb::Set(expiry::validity_safe(interval, now), times.encode().into());
            let commands = vec![
                self.command(verb, copy.kind, id),
                self.command(set, validity, id),
            ];
            match self.ask(copy.node, commands).await.first() {
                Some(Answer::Done) => Self::count(&self.counters.repaired),
                // Somebody wrote something newer.
                Some(Answer::Exists | Answer::NotStored | Answer::Miss) => {}
                _ => alike = false,
            }
        }
        alike
    }
}
