//! Stores what a request changed, on all copies at once, each only if nobody else wrote it meanwhile. Otherwise what is there now
//! is read, merged with the request's own changes, and stored again, one copy after the other, so that of several that try
//! one gets through.

use std::borrow::Cow;

use super::ancestry::Ancestors;
use super::copy::{Copy, Found, version};
use super::merge::Ours;
use super::{Asks, COPIES, Change, Safe, Trouble, join};
use crate::manager::msm::expiry;
use crate::manager::msm::pattern::RequestLine;
use crate::manager::msm::protocol::held::{Held, Outcome};
use crate::manager::msm::protocol::{Answer, Command, Verb, World};
use crate::manager::msm::record::Record;
use crate::session::{AskedId, Timestamp};

/// How often a request tries to store what others change at the same time.
pub(super) const TRIES_MAX: u64 = 12;

/// The longest pause between two tries is so many milliseconds times their number.
const PAUSE_STEP: usize = 4;

/// What became of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Done,
    Conflict,
    Failed,
    TooLarge,
}

impl Written {
    /// What the answer to the first command says.
    fn of(answers: &[Answer]) -> Self {
        match answers.first() {
            Some(Answer::Done) => Self::Done,
            Some(Answer::Exists | Answer::NotStored | Answer::Miss) => Self::Conflict,
            Some(Answer::TooLarge) => Self::TooLarge,
            _ => Self::Failed,
        }
    }
}

impl<W: World> Safe<W> {
    /// The request is over: stores what it changed, prolongs what it did not. The lock is free from then on if nobody else on
    /// this server holds the session. An error, and nothing was acknowledged, when no node took a change; in sticky mode that is
    /// [`Outcome::Failed`], since this server still has the session.
    pub async fn end(
        &self,
        held: &mut Held,
        change: Change<'_>,
        request: &RequestLine<'_>,
    ) -> Result<Outcome, Trouble> {
        let ended = self.store(held, change, request).await;
        if change.last
            && let Some(lock) = held.seen.lock.take()
        {
            Box::pin(self.release(held.id, &lock)).await;
        }
        ended
    }

    async fn store(
        &self,
        held: &mut Held,
        change: Change<'_>,
        request: &RequestLine<'_>,
    ) -> Result<Outcome, Trouble> {
        if self.is_read_only(request) {
            return Ok(Outcome::Skipped);
        }
        let changed = held.is_changed_to(change.attributes) || held.has_new_interval();
        (self.learned).learn(&self.nodes.settings.locking_mode, request, changed);
        let primary = self.nodes.node_of(held.id.suffix.node());
        if let (Some(primary), false) = (primary, changed) {
            held.seen.unsaved.clear();
            if self.is_alive(held, primary) {
                held.seen.copies.clear();
                return Ok(Outcome::Skipped);
            }
            return Box::pin(self.keep_alive(held, primary)).await;
        }
        let mut names = std::mem::take(&mut held.seen.unsaved);
        names.retain(|name| !change.names.contains(name));
        names.extend_from_slice(change.names);
        let Some(primary) = primary else {
            held.seen.unsaved = names;
            held.unsaved = change
                .attributes
                .map(<[u8]>::to_vec)
                .or(held.unsaved.take());
            return Ok(Outcome::Failed);
        };
        let attributes = match change.attributes {
            Some(attributes) => Cow::Borrowed(attributes),
            None => Cow::Owned(held.attributes().to_vec()),
        };
        let ours = Ours {
            attributes: &attributes,
            changed: &names,
        };
        let saved = Box::pin(self.save(held, primary, ours)).await;
        if matches!(saved, Ok(Outcome::Stored)) {
            held.unsaved = None;
            held.moved = false;
            held.is_new = false;
        } else {
            held.seen.unsaved = names;
            held.unsaved = Some(attributes.into_owned());
        }
        saved
    }

    /// Puts our changes into every copy that can be reached. Where it merged them with those of others, and the session is not dropped
    /// now, [`Held::take_base`] tells what it was based on.
    pub(super) async fn save(
        &self,
        held: &mut Held,
        primary: usize,
        ours: Ours<'_>,
    ) -> Result<Outcome, Trouble> {
        let base = held.stored.clone();
        let sticky = self.nodes.settings.sticky;
        let mut written: Vec<Vec<u8>> = Vec::new();
        let (mut ours, mut refused) = (ours, false);
        let foreign = held.seen.foreign;
        for attempt in 0..TRIES_MAX {
            let homes = self.homes(primary);
            self.read_missing(held, primary, &homes).await;
            let copies = &held.seen.copies;
            if copies.iter().any(|copy| copy.is_ended()) {
                self.spread_end(held.id, copies);
                return Err(Trouble::Ended);
            }
            // Gone from everywhere: msm's log out leaves no mark. A sticky session is in this server all the same.
            let gone = !copies.is_empty() && copies.iter().all(|copy| copy.is(&Found::Missing));
            if gone && !base.is_empty() && !sticky {
                return Err(Trouble::Ended);
            }
            if self.has_sibling(held, &base, &written) {
                held.seen.copies.clear();
                self.breathe(attempt).await;
                continue;
            }
            let newest = copies.iter().filter_map(Copy::record).map(version);
            let newest = newest.max().unwrap_or(0);
            let last = written.last().map_or(0, |record| version(record));
            let at = Timestamp(self.now().0.max(newest.max(last).max(version(&base)) + 1));
            let body = match self.body(held, &base, &written, ours, false) {
                // What reached one node must not stay there as the newest, over what others were told is stored.
                Err(Trouble::Overtaken) if !written.is_empty() => {
                    refused = true;
                    ours = Ours {
                        attributes: attributes_of(&base),
                        changed: &[],
                    };
                    self.body(held, &base, &written, ours, false)?
                }
                body => body?,
            };
            let record = self.record(held, &body.attributes, body.ancestors, at)?;
            let results = self
                .write(held, primary, &homes, &record, attempt > 0)
                .await;
            let is = |result| results.iter().any(|(_, written)| *written == result);
            if is(Written::TooLarge) {
                self.restore(held, primary, &results).await;
                Self::count(&self.counters.too_large);
                return Err(Trouble::TooLarge(record.len()));
            }
            held.seen.copies.clear();
            if is(Written::Conflict) {
                Self::count(&self.counters.conflicts);
                written.push(record);
                self.breathe(attempt).await;
                continue;
            }
            if !is(Written::Done) {
                return match sticky {
                    true => Ok(Outcome::Failed),
                    false => Err(self.unavailable()),
                };
            }
            if is(Written::Failed) || !self.is_complete(primary, &homes) {
                self.dirty.add(held.id);
            }
            if refused {
                held.seen.foreign = foreign;
                return Err(Trouble::Overtaken);
            }
            held.seen.base = held.seen.foreign.then(|| attributes_of(&base).to_vec());
            held.stored = record;
            held.seen.touched = self.now();
            return Ok(Outcome::Stored);
        }
        Err(Trouble::Contended)
    }

    /// The record with these attributes that is made from these ancestors.
    pub(super) fn record(
        &self,
        held: &Held,
        attributes: &[u8],
        ancestors: Ancestors,
        at: Timestamp,
    ) -> Result<Vec<u8>, Trouble> {
        let (settled, extension) = ancestors.of_next(&self.writer, at);
        let record = held.encode_after(attributes, at, settled, &extension);
        record.map_err(|error| Trouble::Form(error.to_string()))
    }

    /// Between two tries.
    pub(super) async fn breathe(&self, attempt: u64) {
        let longest = PAUSE_STEP * (attempt as usize + 1);
        let world = &self.nodes.world;
        world.pause(world.random(longest) as u64).await;
    }

    /// Reads the copies on those of the nodes where they are not known.
    pub(super) async fn read_missing(&self, held: &mut Held, primary: usize, homes: &[usize]) {
        // A session that was never stored is nowhere.
        if held.stored.is_empty() && held.seen.copies.is_empty() {
            held.seen.copies = homes
                .iter()
                .map(|node| Copy {
                    node: *node,
                    kind: Self::kinds(*node, primary).0,
                    found: Found::Missing,
                })
                .collect();
            // Unless an answer got lost on the way.
            if held.unsaved.is_none() {
                return;
            }
            held.seen.copies.clear();
        }
        let known = |node| held.seen.copies.iter().any(|copy| copy.node == node);
        let unknown: Vec<usize> = homes.iter().copied().filter(|node| !known(*node)).collect();
        if unknown.is_empty() {
            return;
        }
        let text = held.id.text();
        let Some(asked) = AskedId::parse(text.as_str().as_bytes()) else {
            return;
        };
        let each = unknown.into_iter().map(|node| {
            let kind = Self::kinds(node, primary).0;
            let gets = self.command(Verb::Gets, kind, asked);
            async move {
                let found = Found::of(self.ask(node, vec![gets]).await.pop());
                Copy { node, kind, found }
            }
        });
        let read = join(each.collect()).await;
        held.seen.copies.extend(read);
    }

    /// Writes the record to the nodes: at the same time, or one after the other up to the first that somebody else wrote.
    async fn write(
        &self,
        held: &Held,
        primary: usize,
        homes: &[usize],
        record: &[u8],
        in_turn: bool,
    ) -> Vec<(usize, Written)> {
        let copies = held.seen.copies.iter();
        let copies = copies.filter(|copy| homes.contains(&copy.node));
        let mut results = Vec::with_capacity(COPIES);
        let mut asks = Asks::default();
        let mut count = 0;
        for copy in copies {
            match self.writes(held, primary, copy, record) {
                Some(commands) if count < COPIES => {
                    asks[count] = Some((copy.node, commands));
                    count += 1;
                }
                _ => results.push((copy.node, Written::Failed)),
            }
        }
        if !in_turn {
            let nodes = asks
                .each_ref()
                .map(|ask| ask.as_ref().map(|(node, _)| *node));
            let answers = self.ask_each(asks).await;
            let asked = nodes.into_iter().flatten().zip(&answers);
            results.extend(asked.map(|(node, answers)| (node, Written::of(answers))));
            return results;
        }
        for (node, commands) in asks.into_iter().flatten() {
            let written = Written::of(&self.ask(node, commands).await);
            results.push((node, written));
            if written == Written::Conflict {
                break;
            }
        }
        results
    }

    /// The commands that write the record to one node; none where it is not known what stands there.
    fn writes(
        &self,
        held: &Held,
        primary: usize,
        copy: &Copy,
        record: &[u8],
    ) -> Option<Vec<Command>> {
        let (now, interval) = (self.now(), held.validity.interval);
        let verb = copy
            .found
            .replaced_by(self.exptime(interval, now), record)?;
        let text = held.id.text();
        let id = text.as_str();
        let mut commands = Vec::with_capacity(2);
        commands.push(self.command_of(verb, copy.kind, id));
        commands.extend(self.validity(held, id, copy.node, primary, now));
        Some(commands)
    }

    /// The command that writes the times of a session beside it; `id` is the session's.
    pub(super) fn validity(
        &self,
        held: &Held,
        id: &str,
        node: usize,
        primary: usize,
        now: Timestamp,
    ) -> Option<Command> {
        if self.nodes.settings.sticky {
            return None;
        }
        let exptime = expiry::validity_safe(held.validity.interval, now);
        let verb = Verb::Set(exptime, held.validity.encode().into());
        Some(self.command_of(verb, Self::kinds(node, primary).1, id))
    }

    /// memcached drops what a value that it does not take would have replaced: puts it there again.
    async fn restore(&self, held: &Held, primary: usize, results: &[(usize, Written)]) {
        if held.stored.is_empty() {
            return;
        }
        let now = self.now();
        let refused = results.iter().filter(|(_, w)| *w == Written::TooLarge);
        let each = refused.map(|(node, _)| {
            let exptime = self.exptime(held.validity.interval, now);
            let add = Verb::Add(exptime, held.stored.clone());
            let add = self.command(add, Self::kinds(*node, primary).0, held.id);
            self.ask(*node, vec![add])
        });
        join(each.collect()).await;
    }
}

pub(super) fn attributes_of(record: &[u8]) -> &[u8] {
    Record::attributes_of(record).unwrap_or_default()
}
