//! Ends: a log out and a new id leave a mark where the session was, for as long as its record could have lived. The mark wins over
//! every record, so that neither a request that is still running nor a node that was away brings the session back.

use super::ancestry::Ancestors;
use super::copy::{Copy, Found, tombstone, version};
use super::merge::Ours;
use super::save::{TRIES_MAX, attributes_of};
use super::{Safe, Trouble, join};
use crate::manager::msm::key::Kind;
use crate::manager::msm::protocol::held::Held;
use crate::manager::msm::protocol::{Answer, Command, Verb, World};
use crate::manager::msm::record::RecordError;
use crate::session::{SessionId, Timestamp};

/// The life of the mark of a session without an interval, in seconds.
const MARK_SECONDS: i64 = 24 * 60 * 60;

impl<W: World> Safe<W> {
    /// The session was ended. An error when no node could be told.
    pub async fn remove(&self, held: &mut Held) -> Result<(), Trouble> {
        // What was never stored is nowhere.
        if held.stored.is_empty() && held.unsaved.is_none() {
            return Ok(());
        }
        self.absent.add(held.id.to_string(), self.now());
        let marked = self.mark(&held.id, held.validity.interval).await;
        if let Some(lock) = held.seen.lock.take() {
            self.release(held.id, &lock).await;
        }
        // A sticky session is gone with this server's memory; its copy follows when the node answers.
        match marked || self.nodes.settings.sticky {
            true => Ok(()),
            false => Err(self.unavailable()),
        }
    }

    /// A session that this server has given up was ended; a log out is final all the same.
    pub async fn remove_lost(&self, id: &SessionId, interval: i32) -> Result<(), Trouble> {
        self.absent.add(id.to_string(), self.now());
        match self.mark(id, interval).await || self.nodes.settings.sticky {
            true => Ok(()),
            false => Err(self.unavailable()),
        }
    }

    /// Gives the session a new id, perhaps on another node: it is stored under the new one first, and then ended under the old
    /// one, so that it is never nowhere. What others store under the old one meanwhile goes with it. Nobody knows the new one before
    /// the response. `here` are the encoded attributes as this server has them now.
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
        let form = |error: RecordError| Trouble::Form(error.to_string());
        let interval = held.validity.interval;
        let mark = tombstone(renamed.id.text().as_str(), interval, self.now()).map_err(form)?;
        let ours = Found::Ended(mark.clone());
        let mut marked = false;
        let (mut merged, mut replaced) = (None, Vec::new());
        for attempt in 0..TRIES_MAX {
            let homes = self.homes(primary);
            self.read_missing(held, primary, &homes).await;
            // Of two log ins at the same time that one goes on whose mark is on the first node; a log out is final.
            let copies = &held.seen.copies;
            let is_over = |copy: &Copy| copy.is_over(held.id.text().as_str());
            let is_first = |copy: &Copy| Some(&copy.node) == homes.first() && copy.is(&ours);
            let is_theirs = |copy: &Copy| copy.is_ended() && !copy.is(&ours);
            if copies.iter().any(is_over)
                || copies.iter().any(is_theirs) && !copies.iter().any(is_first)
            {
                self.spread_end(held.id, copies);
                return Err(Trouble::Ended);
            }
            if !marked && self.has_sibling(held, &base, &[]) {
                held.seen.copies.clear();
                self.breathe(attempt).await;
                continue;
            }
            let names = held.seen.unsaved.clone();
            let mut own = Ours {
                attributes: here,
                changed: &names,
            };
            // What our mark replaced on one node others may have acknowledged.
            let read = held.seen.copies.len();
            held.seen.copies.append(&mut replaced);
            let body = match self.body(held, &base, &[], own, marked) {
                // It is too late to refuse: what requests here changed is not in it, and they will be told so.
                Err(Trouble::Overtaken) if marked => {
                    own = Ours {
                        attributes: attributes_of(&base),
                        changed: &[],
                    };
                    self.body(held, &base, &[], own, marked)?
                }
                body => body?,
            };
            replaced = held.seen.copies.split_off(read);
            let records = held.seen.copies.iter();
            let records = records.filter(|copy| copy.record().is_some());
            replaced.extend(records.cloned());
            let ancestors = body.ancestors;
            if body.is_merged {
                merged = Some(body.attributes.into_owned());
            }
            // What others stored may be gone already by our own mark.
            let body = merged.as_deref().unwrap_or(own.attributes);
            let stored = self.store_renamed(renamed, body, ancestors).await;
            if !marked {
                stored?;
            }
            let copies = held.seen.copies.iter();
            let copies = copies.filter(|copy| homes.contains(&copy.node));
            let each = copies.map(|copy| self.end_copy(held, copy, &mark));
            let ended = join(each.collect()).await;
            held.seen.copies.clear();
            marked |= ended.contains(&Some(true));
            if ended.contains(&Some(false)) {
                continue;
            }
            if !marked && !self.nodes.settings.sticky {
                return Err(self.unavailable());
            }
            if ended.contains(&None) || !self.is_complete(primary, &homes) {
                self.ended.add(held.id);
            }
            renamed.seen.foreign = merged.is_some();
            renamed.seen.base = merged.map(|_| held.stored_attributes().to_vec());
            return Ok(());
        }
        match marked {
            true => {
                self.ended.add(held.id);
                Ok(())
            }
            false => Err(Trouble::Contended),
        }
    }

    /// Puts the mark in place of this copy, if it is still the same; `None`: no answer.
    async fn end_copy(&self, held: &Held, copy: &Copy, mark: &[u8]) -> Option<bool> {
        if copy.is_ended() {
            return Some(true);
        }
        let exptime = self.mark_exptime(held.validity.interval, self.now());
        let verb = copy.found.replaced_by(exptime, mark)?;
        let commands = vec![self.command(verb, copy.kind, held.id)];
        match self.ask(copy.node, commands).await.first() {
            Some(Answer::Done) => Some(true),
            Some(Answer::Exists | Answer::NotStored | Answer::Miss) => Some(false),
            _ => None,
        }
    }

    fn mark_exptime(&self, interval: i32, now: Timestamp) -> i64 {
        match self.exptime(interval, now) {
            0 => MARK_SECONDS,
            exptime => exptime,
        }
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

    /// Puts the mark on every node that has the session; whether one took it. The others get it when they answer.
    pub(super) async fn mark(&self, id: &SessionId, interval: i32) -> bool {
        let Some(primary) = self.nodes.node_of(id.suffix.node()) else {
            return true;
        };
        let homes = self.homes(primary);
        let each = homes
            .iter()
            .map(|node| self.mark_one(id, interval, *node, primary));
        let marked = join(each.collect()).await;
        let all = marked.iter().all(|marked| *marked) && self.is_complete(primary, &homes);
        if !all {
            self.ended.add(*id);
        }
        marked.contains(&true)
    }

    async fn mark_one(&self, id: &SessionId, interval: i32, node: usize, primary: usize) -> bool {
        let now = self.now();
        let Ok(mark) = tombstone(id.text().as_str(), interval, now) else {
            return false;
        };
        let exptime = self.mark_exptime(interval, now);
        let (kind, validity) = Self::kinds(node, primary);
        let mut commands = vec![self.command(Verb::Set(exptime, mark), kind, id)];
        if !self.nodes.settings.sticky {
            commands.push(self.command(Verb::Delete, validity, id));
        }
        self.ask(node, commands).await.first() == Some(&Answer::Done)
    }

    /// A copy has the mark of an end: the others get it too, in the background.
    pub(super) fn spread_end(&self, id: SessionId, copies: &[Copy]) {
        self.absent.add(id.to_string(), self.now());
        if !copies.iter().all(Copy::is_ended) && !self.are_moving(copies, &id) {
            self.ended.add(id);
        }
    }

    /// Whether one of the copies is being moved to another id, see [`Copy::is_moving`].
    pub(super) fn are_moving(&self, copies: &[Copy], id: &SessionId) -> bool {
        let (text, now) = (id.text(), self.now());
        let mut copies = copies.iter();
        copies.any(|copy| copy.is_moving(text.as_str(), now))
    }

    /// An idle session is over. Every copy says by its times that it is, so it needs no mark.
    pub async fn expire(&self, held: &Held, primary: usize) {
        let homes = self.homes(primary);
        let each = homes.iter().copied().map(|node| {
            let (kind, validity) = Self::kinds(node, primary);
            let delete = |kind: Kind| -> Command { self.command(Verb::Delete, kind, held.id) };
            let mut commands = vec![delete(kind)];
            if !self.nodes.settings.sticky {
                commands.push(delete(validity));
            }
            self.ask(node, commands)
        });
        join(each.collect()).await;
    }

    /// An idle session of this server is over.
    pub async fn expire_idle(&self, held: &Held) {
        if let Some(primary) = self.nodes.node_of(held.id.suffix.node()) {
            self.expire(held, primary).await;
        }
    }
}
