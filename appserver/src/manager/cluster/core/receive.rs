//! What other members of our kind say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::outbox::What;
use super::places::{Compared, Placed};
use super::{Core, Outbox, Stream};
use crate::manager::cluster::native::{Gone, Item, NativeError, Place, Reader, Record};
use crate::manager::cluster::peers::UniqueId;
use crate::manager::cluster::replica::Which;
use crate::manager::cluster::stamp::number;
use crate::manager::cluster::store::{Left, Taken};
use crate::manager::table::{Entry, shard_of};
use crate::session::{Key, Timestamp};

/// What a message makes necessary besides what its items do by themselves.
#[derive(Debug, Default)]
struct Answer {
    /// The sender does not know that these are gone.
    gone: Vec<(Key, Gone)>,
    /// The sender has what is missing here.
    need: Vec<Key>,
    /// The sender, which compares, has something else than what is here.
    differ: Vec<Key>,
    /// The sender does not know that these are somewhere else.
    places: Vec<(Key, Place)>,
    /// The sender lacks these.
    give: Vec<Key>,
    /// These keys moved here because the sender said so, and whether two copies became one. Whoever has compared with this member
    /// already lacks what was changed here under the old key, unless the sender's copy has it all.
    moved: Vec<(Key, bool)>,
    /// These are more than what their teller has.
    owe: Vec<Key>,
    /// This member's backup may lack what came of these.
    forward: Vec<Key>,
    /// These ended under keys that the sender may not know.
    ended: Vec<(Key, Gone)>,
    /// Between which keys the sender tells all versions that it has.
    ranges: Vec<Range>,
    told_gone: BTreeSet<Key>,
}

/// The versions of all sessions that the sender has between two keys of one shard.
#[derive(Debug)]
struct Range {
    low: Key,
    high: Key,
    versions: BTreeMap<Key, u64>,
}

impl Answer {
    /// Whether nothing is necessary, as after most messages.
    fn is_empty(&self) -> bool {
        self.gone.is_empty()
            && self.need.is_empty()
            && self.differ.is_empty()
            && self.places.is_empty()
            && self.give.is_empty()
            && self.moved.is_empty()
            && self.owe.is_empty()
            && self.forward.is_empty()
            && self.ended.is_empty()
            && self.ranges.is_empty()
    }
}

impl Core {
    /// A message arrived. Whether this member now has what it tells: it has not when a change came for a session that is not here.
    pub fn receive(
        &self,
        from: &UniqueId,
        message: &[u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<bool, NativeError> {
        let mut answer = Answer::default();
        let read = self.apply(from, message, now, &mut answer, out);
        if read.is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever starts gets the sessions to the changes soon.
        let is_whole = answer.need.is_empty() || !self.is_joined();
        if !answer.is_empty() {
            self.answer(from, answer, now, out);
        }
        read.map(|()| is_whole)
    }

    fn answer(&self, from: &UniqueId, mut answer: Answer, now: Timestamp, out: &mut Outbox) {
        for range in std::mem::take(&mut answer.ranges) {
            self.compare(range, &mut answer);
        }
        let mut writer = self.writer(now);
        for (key, united) in answer.moved {
            if !self.is_backup() {
                self.give(key, &mut writer);
            } else if united {
                answer.give.push(key);
            }
        }
        for key in answer.owe {
            self.owe(key, now, out);
        }
        for key in answer.forward {
            self.forward(key, now, out);
        }
        for (key, gone) in answer.ended {
            writer.item(&Item::Gone(key, gone));
        }
        out.tell_all(writer);
        let mut writer = self.writer(now);
        for (key, gone) in answer.gone {
            writer.item(&Item::Gone(key, gone));
        }
        for (key, place) in answer.places {
            writer.item(&Item::Place(key, place));
        }
        for key in answer.need.into_iter().chain(answer.differ) {
            writer.item(&Item::Need(key));
        }
        out.tell_one(*from, writer);
        if !answer.give.is_empty() {
            out.streams.push((*from, Stream::keys(answer.give)));
        }
    }

    fn apply(
        &self,
        from: &UniqueId,
        message: &[u8],
        now: Timestamp,
        answer: &mut Answer,
        out: &mut Outbox,
    ) -> Result<(), NativeError> {
        let mut reader = Reader::new(message, now)?;
        while let Some(item) = reader.item()? {
            match item {
                Item::Record(record) => self.take(from, &record, now, answer),
                Item::Gone(key, gone) => {
                    answer.told_gone.insert(key);
                    match self.store.leave(key, gone, now) {
                        Left::Alive(key) => answer.give.push(key),
                        Left::Moved { to, united } => {
                            answer.moved.push((key, united));
                            if self.is_backup() {
                                if self.settle(to, now, out) {
                                    answer.need.push(to);
                                }
                                // Two copies may be more than the other holder has.
                                self.owe(to, now, out);
                                self.announce(to, now, out);
                                answer.forward.push(to);
                            }
                        }
                        Left::Ended(key, gone) => answer.ended.push((key, gone)),
                        Left::Done | Left::Nothing => {}
                    }
                }
                Item::Accessed(key, touched) => {
                    if let Some(gone) = self.accessed(key, touched, number(from)) {
                        answer.gone.push((key, gone));
                    }
                }
                Item::Ask => {
                    let all = if self.is_backup() {
                        What::Places
                    } else {
                        What::All
                    };
                    out.streams.push((*from, Stream::new(all)));
                }
                Item::Need(key) => {
                    if !self.is_backup() || !self.pays(key, from, now, out) {
                        answer.give.push(key);
                    }
                }
                Item::Range(low, high) => answer.ranges.push(Range {
                    low,
                    high,
                    versions: BTreeMap::new(),
                }),
                Item::Version(key, version) => {
                    if let Some(range) = answer.ranges.last_mut() {
                        range.versions.insert(key, version);
                    } else if self.is_backup() {
                        // Its place may have said already that it is missing.
                        answer.need.retain(|needed| *needed != key);
                        match self.compare_one(key, version, from) {
                            Compared::Same => {}
                            Compared::CopyDiffers => answer.differ.push(key),
                            Compared::BackupDiffers => answer.forward.push(key),
                        }
                    }
                }
                Item::Owed(key, version) => {
                    if self.is_backup() && !self.is_paid(key, version) {
                        answer.need.push(key);
                    }
                }
                Item::Complete(count) => self.source_complete(from, count, now),
                Item::NoContext => self.source_empty(from, now, out),
                Item::Place(key, place) => self.placed(key, place, None, now, answer, out),
                Item::Claim(key, place, version) => {
                    self.placed(key, place, Some(version), now, answer, out);
                }
            }
        }
        Ok(())
    }

    fn placed(
        &self,
        key: Key,
        place: Place,
        version: Option<u64>,
        now: Timestamp,
        answer: &mut Answer,
        out: &mut Outbox,
    ) {
        if self.is_backup() {
            match self.take_place(key, place, version, now, out) {
                Placed::Well => {}
                Placed::Missing => answer.need.push(key),
                Placed::Older(key, known) => answer.places.push((key, known)),
            }
        }
    }

    fn take(&self, from: &UniqueId, record: &Record<'_>, now: Timestamp, answer: &mut Answer) {
        // What was missing a moment ago came with the same message.
        if record.full {
            answer.need.retain(|key| *key != record.key);
        }
        let mut names = self.wants_names();
        match self.store.take(record, names.as_mut(), now) {
            Taken::Merged(merged, key) => {
                self.tell_listener(key, names);
                if merged.partial {
                    answer.need.push(key);
                }
                if self.is_backup() {
                    if merged.completed {
                        // For a request that makes this member its primary, or left over.
                        self.orphans.store(true, Ordering::Relaxed);
                    }
                    let is_news = merged.completed || merged.taken > 0;
                    let is_owed = match record.full {
                        true => merged.ahead || is_news && self.is_stray(key, from, record),
                        // Its teller does not know of a later claim, and takes this member for the backup.
                        false => !self.has_role(key),
                    };
                    if is_owed {
                        answer.owe.push(key);
                    }
                    // What a former primary still had: the backup lacks it too. Or the backup told less than what is here, unless
                    // each of the two has something that has no room with the other: they would tell it for ever.
                    let lacks = record.full && merged.ahead && merged.too_large == 0;
                    if merged.taken > 0 || lacks && self.is_my_backup(key, from) {
                        answer.forward.push(key);
                    }
                    return;
                }
                // What was here of it was compared with nobody.
                if merged.completed && merged.ahead {
                    answer.moved.push((key, true));
                }
                if record.full && !merged.ahead {
                    let (moved, store) = (&mut answer.moved, &self.store);
                    moved.retain(|(old, united)| *united || store.resolve(*old, false) != key);
                }
                // The sender does not know what the session is called now, or what else is in it.
                if key != record.key || record.full && merged.ahead {
                    answer.give.push(record.key);
                }
                let conflicts = u64::from(merged.refused);
                if conflicts > 0 {
                    self.counts
                        .conflicts
                        .fetch_add(conflicts, Ordering::Relaxed);
                }
                if merged.too_large > 0 {
                    let key = record.key;
                    tracing::warn!(%key, "a session is too large for what another member put into it");
                }
            }
            Taken::New { key, partial } => {
                self.count_in(1);
                // It was fetched for a request that makes this member its primary, or is left over.
                if self.is_backup() {
                    self.orphans.store(true, Ordering::Relaxed);
                    if self.is_stray(key, from, record) {
                        answer.owe.push(key);
                    }
                }
                if partial {
                    answer.need.push(key);
                }
            }
            Taken::Refused(gone) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                answer.gone.push((record.key, gone));
            }
        }
    }

    /// A session was used on another member. The mark of one that is gone for ever.
    fn accessed(&self, key: Key, touched: Timestamp, by: u32) -> Option<Gone> {
        let key = self.store.resolve(key, false);
        let mut shard = self.store.table.shard(key);
        match shard.get_mut(key) {
            Some(replica) => {
                replica.accessed(touched, by);
                None
            }
            None => shard.gone(key),
        }
    }

    /// What the sender has against what is here, between two keys of one shard.
    fn compare(&self, range: Range, answer: &mut Answer) {
        let Range {
            low,
            high,
            mut versions,
        } = range;
        let shard = self.store.table.number(shard_of(low));
        let number = shard_of(low);
        let within = |key: Key| low <= key && key <= high && shard_of(key) == number;
        for replica in shard.iter() {
            let key = replica.kept().id().key;
            if !within(key) {
                continue;
            }
            let version = versions.remove(&key);
            if replica.marks.partial {
                // Whoever has it is asked; what is here goes to nobody.
                if version.is_some() {
                    answer.need.push(key);
                }
                continue;
            }
            match version {
                Some(version) if version == replica.version() => {}
                Some(_) => {
                    answer.need.push(key);
                    answer.give.push(key);
                }
                None => answer.give.push(key),
            }
        }
        for key in versions.into_keys().filter(|key| within(*key)) {
            match shard.gone(key) {
                Some(gone @ Gone::Expired(_)) => {
                    answer.gone.push((key, gone));
                    // If it was used since, it comes back with the answer.
                    answer.need.push(key);
                }
                Some(gone @ Gone::Moved { .. }) => {
                    answer.gone.push((key, gone));
                    answer.need.push(key);
                }
                Some(gone) => answer.gone.push((key, gone)),
                None => answer.need.push(key),
            }
        }
        let unknown = shard
            .all_gone()
            .filter(|(key, _)| within(*key) && !answer.told_gone.contains(key));
        answer.gone.extend(unknown);
    }

    /// Adds the session, or the mark that it left, to a message; whether it was a session.
    pub(super) fn give(
        &self,
        key: Key,
        writer: &mut crate::manager::cluster::native::Writer,
    ) -> bool {
        let shard = self.store.table.shard(key);
        if let Some(replica) = shard.get(key) {
            if !replica.marks.partial {
                replica.tell(Which::All, writer);
            }
            return !replica.marks.partial;
        }
        let gone = shard.gone(key);
        drop(shard);
        let Some(gone) = gone else {
            return false;
        };
        writer.item(&Item::Gone(key, gone));
        match gone {
            // Its session goes with it, or it would be known under no key.
            Gone::Moved { .. } => {
                let to = self.store.resolve(key, false);
                let shard = self.store.table.shard(to);
                let replica = shard.get(to).filter(|r| !r.marks.partial);
                let is_there = replica.map(|r| r.tell(Which::All, writer)).is_some();
                if let Some(gone) = shard.gone(to) {
                    writer.item(&Item::Gone(to, gone));
                }
                is_there
            }
            _ => false,
        }
    }
}
