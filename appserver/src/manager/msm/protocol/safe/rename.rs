//! New ids. The session is stored under the new one first, and then a mark that names it takes its place under the old one, so that
//! it is never nowhere.
//!
//! Of several log ins of one session at the same time one wins, also where servers disagree about which nodes are up; the others
//! are told that the session was ended. A winner's mark stands on every node that it reaches, and where two reach one node, that
//! node's compare-and-swap decides:
//!
//! - A mark is open at first. Whoever has its own on an earlier node of the ring writes over it; everybody else gives way to it.
//! - Whoever does not reach both nodes cannot be seen on the other one. Its marks are decided, one node after the other, and
//!   everybody gives way to these.
//!
//! Two log ins of which each reaches only a node that the other does not reach both win: neither can know of the other.

use super::ancestry::Ancestors;
use super::conflict::Body;
use super::copy::{Copy, Mark, version};
use super::merge::Ours;
use super::save::{TRIES_MAX, attributes_of};
use super::{Safe, Trouble, join};
use crate::manager::msm::protocol::held::Held;
use crate::manager::msm::protocol::{Answer, Verb, World};
use crate::manager::msm::record::RecordError;
use crate::session::{AskedId, Timestamp};

/// What became of our mark on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marked {
    Done,
    /// Somebody else wrote there.
    Conflict,
    Failed,
}

/// A change of id on its way.
struct Renaming {
    /// The text of the old id, and of the new one.
    old: String,
    new: String,
    /// The nodes where our mark was put.
    marked: Vec<usize>,
    /// A node did not answer, so that our marks must be decided.
    failed: bool,
    /// What marks took the place of: ours, and those of log ins that give way to ours. Others may have acknowledged it.
    replaced: Vec<Copy>,
    /// The encoded attributes when others' changes are among them.
    merged: Option<Vec<u8>>,
}

impl<W: World> Safe<W> {
    /// Gives the session a new id, perhaps on another node. What others store under the old one meanwhile goes with it. Nobody knows
    /// the new one before the response. `here` are the encoded attributes as this server has them now.
    pub async fn change_id(&self, held: &mut Held, here: &[u8]) -> Result<(), Trouble> {
        let mut renamed = held.clone();
        renamed.id = self.nodes.new_id(self.choose(None));
        renamed.seen.copies.clear();
        renamed.seen.lock = None;
        renamed.moved = true;
        let primary = self.nodes.node_of(held.id.suffix.node());
        if let (Some(primary), false) = (primary, held.stored.is_empty()) {
            self.rename(held, primary, here, &mut renamed).await?;
            self.absent.add(held.id.to_string(), self.now());
        }
        if let Some(lock) = held.seen.lock.take() {
            self.release(held.id, &lock).await;
        }
        *held = renamed;
        Ok(())
    }

    async fn rename(
        &self,
        held: &mut Held,
        primary: usize,
        here: &[u8],
        renamed: &mut Held,
    ) -> Result<(), Trouble> {
        let base = held.stored.clone();
        let names = held.seen.unsaved.clone();
        let here = Ours {
            attributes: here,
            changed: &names,
        };
        let mut renaming = Renaming {
            old: held.id.to_string(),
            new: renamed.id.to_string(),
            marked: Vec::new(),
            failed: false,
            replaced: Vec::new(),
            merged: None,
        };
        for attempt in 0..TRIES_MAX {
            let homes = self.homes(primary);
            self.read_missing(held, primary, &homes).await;
            let count = self.nodes.settings.memcached_nodes.all().len();
            let place = |node: usize| (node + count - primary) % count;
            held.seen.copies.sort_by_key(|copy| place(copy.node));
            if renaming.gives_way(&held.seen.copies, place) {
                self.spread_end(held.id, &held.seen.copies);
                return Err(Trouble::Ended);
            }
            let marked = !renaming.marked.is_empty();
            if !marked && self.has_sibling(held, &base, &[]) {
                held.seen.copies.clear();
                self.breathe(attempt).await;
                continue;
            }
            self.read_losers(held, &mut renaming).await;
            let body = self.put_together(held, &base, here, &mut renaming)?;
            if body.is_merged {
                renaming.merged = Some(body.attributes.to_vec());
            }
            // What others stored may be gone already by our own mark.
            let attributes = renaming.merged.as_deref().unwrap_or(&body.attributes);
            let stored = self.store_renamed(renamed, attributes, body.ancestors);
            let stored = stored.await;
            if !marked {
                stored?;
            }
            let decided = renaming.failed || !self.is_complete(primary, &homes);
            let results = self.put_marks(held, &homes, &renaming, decided).await?;
            held.seen.copies.clear();
            let is = |what| results.iter().any(|(_, marked)| *marked == what);
            let done = results.iter().filter(|(_, marked)| *marked == Marked::Done);
            renaming.marked.extend(done.map(|(node, _)| node));
            if is(Marked::Conflict) {
                continue;
            }
            if renaming.marked.is_empty() && !self.nodes.settings.sticky {
                return Err(self.unavailable());
            }
            if is(Marked::Failed) && !decided {
                renaming.failed = true;
                continue;
            }
            if decided {
                self.ended.add(held.id);
            }
            let is_merged = renaming.merged.is_some();
            renamed.seen.foreign = is_merged;
            renamed.seen.base = is_merged.then(|| held.stored_attributes().to_vec());
            return Ok(());
        }
        if renaming.marked.is_empty() {
            return Err(Trouble::Contended);
        }
        self.ended.add(held.id);
        Ok(())
    }

    /// Reads what log ins have put together whose marks ours are about to replace: these may have replaced what is nowhere else.
    async fn read_losers(&self, held: &Held, renaming: &mut Renaming) {
        let marks = held.seen.copies.iter().filter_map(Copy::mark);
        for mark in marks.filter(|mark| mark.id != renaming.new) {
            let Some(asked) = AskedId::parse(mark.id.as_bytes()) else {
                continue;
            };
            if let Some(primary) = self.nodes.node_of(asked.node) {
                let reading = self.read(&asked, primary, None).await;
                renaming.replaced.extend(reading.copies);
            }
        }
    }

    /// What the session has under its new id: what this server has, and what others stored.
    fn put_together<'a>(
        &self,
        held: &mut Held,
        base: &'a [u8],
        here: Ours<'a>,
        renaming: &mut Renaming,
    ) -> Result<Body<'a>, Trouble> {
        let read = held.seen.copies.len();
        held.seen.copies.append(&mut renaming.replaced);
        let marked = !renaming.marked.is_empty();
        let body = match self.body(held, base, &[], here, marked) {
            // It is too late to refuse: what requests here changed is not in it, and they will be told so.
            Err(Trouble::Overtaken) if marked => {
                let unchanged = Ours {
                    attributes: attributes_of(base),
                    changed: &[],
                };
                self.body(held, base, &[], unchanged, marked)
            }
            body => body,
        }?;
        renaming.replaced = held.seen.copies.split_off(read);
        let records = held.seen.copies.iter();
        let records = records.filter(|copy| copy.record().is_some());
        renaming.replaced.extend(records.cloned());
        Ok(body)
    }

    /// Puts our mark in place of each copy that is still as it was read: at the same time, or, where it is decided, one after the
    /// other up to the first that is not.
    async fn put_marks(
        &self,
        held: &Held,
        homes: &[usize],
        renaming: &Renaming,
        decided: bool,
    ) -> Result<Vec<(usize, Marked)>, Trouble> {
        let mark = Mark {
            id: &renaming.new,
            is_decided: decided,
        };
        let (interval, now) = (held.validity.interval, self.now());
        let bytes = mark.encode(interval, now);
        let bytes = bytes.map_err(|error: RecordError| Trouble::Form(error.to_string()))?;
        let copies = held.seen.copies.iter();
        let copies = copies.filter(|copy| homes.contains(&copy.node));
        let exptime = self.mark_exptime(interval, now);
        let each = copies.map(async |copy| {
            if copy.mark().is_some_and(|there| there.stands_for(&mark)) {
                return (copy.node, Marked::Done);
            }
            let Some(verb) = copy.found.ended_by(exptime, &bytes) else {
                return (copy.node, Marked::Failed);
            };
            let commands = vec![self.command(verb, copy.kind, held.id)];
            let marked = match self.ask(copy.node, commands).await.first() {
                Some(Answer::Done) => Marked::Done,
                Some(Answer::Exists | Answer::NotStored | Answer::Miss) => Marked::Conflict,
                _ => Marked::Failed,
            };
            (copy.node, marked)
        });
        if !decided {
            return Ok(join(each.collect()).await);
        }
        let mut results = Vec::new();
        for one in each {
            let one = one.await;
            results.push(one);
            if one.1 == Marked::Conflict {
                break;
            }
        }
        Ok(results)
    }

    /// Stores a session under an id that nobody knows.
    pub(super) async fn store_renamed(
        &self,
        renamed: &mut Held,
        attributes: &[u8],
        ancestors: Ancestors,
    ) -> Result<(), Trouble> {
        let Some(primary) = self.nodes.node_of(renamed.id.suffix.node()) else {
            return Ok(());
        };
        let now = self.now();
        let at = Timestamp(now.0.max(version(&renamed.stored) + 1));
        let record = self.record(renamed, attributes, ancestors, at)?;
        let interval = renamed.validity.interval;
        let homes = self.homes(primary);
        let text = renamed.id.text();
        let id = text.as_str();
        let each = homes.iter().map(|node| {
            let node = *node;
            let (kind, _) = Self::kinds(node, primary);
            let set = Verb::Set(self.exptime(interval, now), record.clone());
            let mut commands = vec![self.command_of(set, kind, id)];
            commands.extend(self.validity(renamed, id, node, primary, now));
            self.ask(node, commands)
        });
        let answers = join(each.collect()).await;
        let done = |answers: &Vec<Answer>| answers.first() == Some(&Answer::Done);
        if !answers.iter().any(done) && !self.nodes.settings.sticky {
            return Err(self.unavailable());
        }
        if !answers.iter().all(done) || !self.is_complete(primary, &homes) {
            self.dirty.add(renamed.id);
        }
        renamed.moved = !answers.iter().any(done);
        renamed.stored = record;
        Ok(())
    }
}

impl Renaming {
    /// Whether the session was logged out, or another log in has it. The copies are in the order of the ring, which `place` tells.
    fn gives_way(&self, copies: &[Copy], place: impl Fn(usize) -> usize) -> bool {
        let is_lost = |node: &usize| {
            let mut there = copies.iter().filter(|copy| copy.node == *node);
            there.any(|copy| {
                copy.mark()
                    .map_or(!copy.is_unknown(), |mark| mark.id != self.new)
            })
        };
        let ours: Vec<usize> = (self.marked.iter())
            .filter(|node| !is_lost(node))
            .map(|node| place(*node))
            .collect();
        copies.iter().any(|copy| match copy.mark() {
            None => false,
            Some(mark) if mark.id == self.new => false,
            Some(mark) => {
                let is_first = || ours.iter().all(|ours| *ours > place(copy.node));
                mark.id == self.old || mark.is_decided || is_first()
            }
        })
    }
}
