//! One primary and one backup per session, and every other member knows which: Tomcat's `BackupManager`.
//!
//! How a member becomes the primary: [`super::claims`]. What whoever was it owes the new one: [`super::debts`].

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::debts::Payment;
use super::outbox::What;
use super::{Core, Outbox, Stream};
use crate::manager::cluster::native::{CHUNK, Item, Place, Record};
use crate::manager::cluster::peers::UniqueId;
use crate::manager::cluster::replica::{Replica, Which};
use crate::manager::cluster::stamp::number;
use crate::manager::cluster::store::StoreShard;
use crate::manager::table::{Entry, SHARDS};
use crate::session::{Changes, Key, Timestamp};

/// So many sessions get a new backup at each tick, so that a member that leaves does not stop the others.
const CLAIMS_MAX: usize = 2_000;

/// What another member's word where a session is makes necessary here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// Nothing.
    Well,
    /// This member should have the session and has not.
    Missing,
    /// The session, which has this key now, is somewhere else since, and the member that said so may be gone: nobody else would tell.
    Older(Key, Place),
}

/// A version that the other holder of a session has, against what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// It is here.
    Same,
    /// This copy may lack something.
    CopyDiffers,
    /// This primary's backup has something else, which it tells when it has what is here.
    BackupDiffers,
}

impl Core {
    pub(super) fn id_of(&self, number: u32) -> Option<UniqueId> {
        let peers = self.peers();
        let peer = peers.of_number(number).filter(|peer| peer.is_in_map());
        peer.map(|peer| peer.id)
    }

    /// Which members keep a session, as far as this one knows.
    pub fn place(&self, key: Key) -> Option<Place> {
        let shard = self.store.table.shard(key);
        let here = shard.get(key).map(Replica::place);
        here.or_else(|| shard.beside.place(key))
    }

    /// Whether the primary may lack what this record tells: its teller is neither primary nor backup, or takes another member for the
    /// primary.
    pub(super) fn is_stray(&self, key: Key, teller: &UniqueId, record: &Record<'_>) -> bool {
        let teller = number(teller);
        let is_stray = |place: Place| {
            let holds = place.primary == teller || place.backup == teller;
            !holds || record.primary != place.primary
        };
        self.place(key).is_none_or(is_stray)
    }

    /// Whether this member is the session's primary or its backup, as far as it knows.
    pub(super) fn has_role(&self, key: Key) -> bool {
        let me = self.store.me();
        let place = self.place(key);
        place.is_some_and(|place| place.primary == me || place.backup == me)
    }

    /// Who has a session that is not here: the primary, then the backup, which may lack the last change of a primary that could not
    /// reach it. A Tomcat asks the backup only.
    pub fn holders(&self, key: Key) -> Vec<UniqueId> {
        let key = self.store.resolve(key, true);
        let place = {
            let shard = self.store.table.shard(key);
            let partial = shard.get(key).filter(|r| r.marks.partial);
            let place = partial.map(Replica::place);
            place.or_else(|| shard.beside.place(key))
        };
        let Some(place) = place else {
            return Vec::new();
        };
        let numbers = [place.primary, place.backup];
        let others = numbers.iter().filter(|n| **n != self.store.me());
        others.filter_map(|n| self.id_of(*n)).collect()
    }

    /// The question for one session.
    pub fn need(&self, key: Key, now: Timestamp) -> Vec<u8> {
        let mut writer = self.writer(now);
        writer.item(&Item::Need(self.store.resolve(key, true)));
        writer.finish()
    }

    /// The end of a request that changed something.
    pub(super) fn tell_copy(
        &self,
        replica: &mut Replica,
        changes: &Changes,
        is_new: bool,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if self.maps() {
            return self.tell_map_of_changes(replica, changes, is_new, now, out);
        }
        let me = self.store.me();
        let alone = self.id_of(replica.backup).is_none();
        if is_new || replica.primary == me && alone {
            let mut claims = self.claims(now);
            self.claim(replica, &[], now, &mut claims);
            return self.send_claims(claims, out);
        }
        // Another member may have become the primary meanwhile: both get it.
        replica.marks.owed |= replica.primary != me;
        if replica.marks.owed {
            self.orphans.store(true, Ordering::Relaxed);
        }
        for number in [replica.primary, replica.backup] {
            if let Some(id) = self.id_of(number).filter(|_| number != me) {
                let mut writer = self.writer(now);
                replica.tell(Which::Named(&changes.attributes), &mut writer);
                out.copy(id, writer);
            }
        }
    }

    /// The other holder of a session has this version of it. What that makes necessary here.
    pub(super) fn compare_one(&self, key: Key, version: u64, teller: &UniqueId) -> Compared {
        let (me, teller) = (self.store.me(), number(teller));
        let is_same = {
            let shard = self.store.table.shard(key);
            let whole = shard.get(key).filter(|r| !r.marks.partial);
            whole.is_some_and(|r| r.version() == version)
        };
        match self.place(key) {
            _ if is_same => Compared::Same,
            Some(place) if place.primary == me && place.backup == teller => Compared::BackupDiffers,
            _ => Compared::CopyDiffers,
        }
    }

    /// The session got another key: if this member is its primary, the others may not know it by this key.
    pub(super) fn announce(&self, key: Key, now: Timestamp, out: &mut Outbox) {
        let shard = self.store.table.shard(key);
        let mine = shard.get(key).filter(|r| r.primary == self.store.me());
        if let Some(replica) = mine.filter(|_| self.has_natives()) {
            let mut writer = self.writer(now);
            writer.item(&Item::Place(key, replica.place()));
            out.tell_all(writer);
        }
    }

    /// Sends the backup what this member has, if it is the primary. With its place, or an older word about that could make the
    /// backup think that this copy is none of its own.
    pub(super) fn forward(&self, key: Key, now: Timestamp, out: &mut Outbox) {
        let me = self.store.me();
        let shard = self.store.table.shard(key);
        let Some(replica) = shard.get(key).filter(|r| r.primary == me) else {
            return;
        };
        if let Some(id) = self.id_of(replica.backup) {
            let mut writer = self.writer(now);
            writer.item(&Item::Place(key, replica.place()));
            replica.tell(Which::All, &mut writer);
            out.tell_one(id, writer);
        }
    }

    /// Whether this member is the session's primary and `member` its backup.
    pub(super) fn is_my_backup(&self, key: Key, member: &UniqueId) -> bool {
        let (me, member) = (self.store.me(), number(member));
        self.place(key)
            .is_some_and(|place| place.primary == me && place.backup == member)
    }

    /// Another member says where a session is; its new primary also which `version` that one has.
    pub(super) fn take_place(
        &self,
        key: Key,
        place: Place,
        version: Option<u64>,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Placed {
        self.store.clock.observe(place.stamp, now);
        let me = self.store.me();
        // Whoever says it may know the session by an older key.
        let key = self.store.resolve(key, false);
        let mut shard = self.store.table.shard(key);
        if shard.gone(key).is_some() {
            return Placed::Well;
        }
        let Some(replica) = shard.get_mut(key) else {
            return match shard.beside.set_place(key, place) {
                known if known > place => Placed::Older(key, known),
                _ if place.backup == me => Placed::Missing,
                _ => Placed::Well,
            };
        };
        let known = replica.place();
        if place < known {
            return Placed::Older(key, known);
        }
        if place == known {
            return Placed::Well;
        }
        let (was_primary, was_backup) = (replica.primary == me, replica.backup == me);
        replica.set_place(place);
        // It may have been changed here after the new primary got it. What a backup acknowledged too: the primary that told it may
        // be gone. Whoever stays the backup hears from the primary what that one has.
        let is_ousted = was_primary || was_backup && place.backup != me;
        let is_partial = replica.marks.partial;
        let is_same = version.map(|version| !is_partial && version == replica.version());
        // A backup whose copy was not sent along tells what it has, and hears what it lacks.
        let differs = place.backup == me && is_same == Some(false);
        replica.marks.owed |= (is_ousted || differs) && place.primary != me;
        replica.marks.owed &= is_same != Some(true);
        let payment = match is_same {
            Some(false) if !is_partial => Payment::Whole,
            _ => Payment::Version,
        };
        self.pay(replica, payment, now, out);
        if place.primary != me && place.backup != me {
            // What happens to it from now on is not told here: it is shown to nobody before it was fetched again.
            replica.marks.partial = true;
        }
        let is_partial = replica.marks.partial;
        if !self.let_go(&mut shard, key) && place.primary != me && place.backup != me {
            // A request holds it; the next tick tries again.
            self.orphans.store(true, Ordering::Relaxed);
        }
        if place.primary != me && self.id_of(place.primary).is_none() {
            // The word of a member that has left came after the tick that looked for what it left behind.
            self.orphans.store(true, Ordering::Relaxed);
        }
        if place.backup == me && is_partial {
            Placed::Missing
        } else {
            Placed::Well
        }
    }

    /// A session got the key under which its place was told before. Whether this member should have it and has not.
    pub(super) fn settle(&self, key: Key, now: Timestamp, out: &mut Outbox) -> bool {
        let place = self.store.table.shard(key).beside.drop_place(key);
        place.is_some_and(|place| self.take_place(key, place, None, now, out) == Placed::Missing)
    }

    /// Drops a copy that is neither the primary's nor the backup's, unless a request holds it; whether it was dropped.
    pub(super) fn let_go(&self, shard: &mut StoreShard, key: Key) -> bool {
        let me = self.store.me();
        let is_free = |r: &Replica| {
            let has_role = r.primary == me || r.backup == me || r.backup == 0;
            !has_role && !r.marks.owed && r.kept().references() == 1
        };
        if shard.get(key).is_some_and(is_free)
            && let Some(replica) = shard.drop_copy(key)
        {
            self.store.active.fetch_sub(1, Ordering::Relaxed);
            shard.beside.set_place(key, replica.place());
            return true;
        }
        false
    }

    /// Whether a session's primary or backup is gone, and it is this member that gives it another one.
    pub(super) fn is_my_orphan(&self, replica: &Replica) -> bool {
        let me = self.store.me();
        let has_backup = self.id_of(replica.backup).is_some();
        let has_primary = replica.primary == me || self.id_of(replica.primary).is_some();
        let is_mine =
            replica.primary == me || !has_primary && (replica.backup == me || !has_backup);
        let is_orphan = !has_primary || replica.primary == me && !has_backup;
        is_mine && is_orphan && (self.has_others() || !has_primary)
    }

    /// Gives sessions whose primary or backup is gone a new one. Some at each tick.
    pub(super) fn rebalance(&self, now: Timestamp, out: &mut Outbox) {
        if !self.orphans.swap(false, Ordering::Relaxed) {
            return;
        }
        let me = self.store.me();
        let mut claims = self.claims(now);
        let mut left = CLAIMS_MAX;
        for number in 0..SHARDS {
            let mut shard = self.store.table.number(number);
            let keys: Vec<Key> = shard.iter().map(|r| r.kept().id().key).collect();
            for key in keys {
                if let Some(replica) = shard.get_mut(key) {
                    self.pay(replica, Payment::Whole, now, out);
                }
                let Some(replica) = shard.get_mut(key).filter(|r| !r.marks.partial) else {
                    if !self.let_go(&mut shard, key) {
                        self.orphans.store(true, Ordering::Relaxed);
                    }
                    continue;
                };
                if self.is_my_orphan(replica) {
                    if left == 0 {
                        self.orphans.store(true, Ordering::Relaxed);
                        return self.send_claims(claims, out);
                    }
                    left -= 1;
                    if self.maps() {
                        out.publish.push(key);
                    } else {
                        self.claim(replica, &[], now, &mut claims);
                    }
                } else {
                    self.let_go(&mut shard, key);
                }
            }
            if self.maps() {
                let is_here = |number: u32| number == me || self.id_of(number).is_some();
                let beside = &mut shard.beside;
                beside.retain_places(|place| is_here(place.primary) || is_here(place.backup));
            }
        }
        self.send_claims(claims, out);
    }

    /// Tells the backups which sessions were used.
    pub(super) fn tell_backups_of_use(
        &self,
        used: Vec<(Key, Timestamp, u32)>,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let mut writers = BTreeMap::new();
        for (key, touched, backup) in used {
            let writer = writers.entry(backup).or_insert_with(|| self.writer(now));
            writer.item(&Item::Accessed(key, touched));
        }
        for (number, writer) in writers {
            if let Some(id) = self.id_of(number) {
                out.tell_one(id, writer);
            }
        }
    }

    pub(super) fn pull_places(&self, stream: &mut Stream, now: Timestamp) -> Option<Vec<u8>> {
        let me = self.store.me();
        if stream.shard == SHARDS {
            return None;
        }
        // What it should have sent to this backup, or the question for it, may have been lost.
        let is_missing = |place: Place| {
            place.backup == me && matches!(stream.what, What::Roles(to) if place.primary == to)
        };
        let mut writer = self.writer(now);
        while stream.shard < SHARDS && writer.len() < CHUNK {
            let shard = self.store.table.number(stream.shard);
            for (key, gone) in shard.all_gone() {
                writer.item(&Item::Gone(key, gone));
            }
            for replica in shard.iter() {
                let key = replica.kept().id().key;
                if replica.marks.partial {
                    if is_missing(replica.place()) {
                        writer.item(&Item::Need(key));
                    }
                    continue;
                }
                if replica.primary == me || matches!(stream.what, What::Places) {
                    writer.item(&Item::Place(key, replica.place()));
                }
                if let What::Roles(to) = stream.what {
                    let roles = (replica.primary, replica.backup);
                    if roles != (me, to) && roles != (to, me) {
                        continue;
                    }
                    writer.item(&Item::Version(key, replica.version()));
                }
                stream.sent += 1;
            }
            for (key, place) in &shard.beside.places {
                if matches!(stream.what, What::Places) {
                    writer.item(&Item::Place(*key, *place));
                } else if is_missing(*place) {
                    writer.item(&Item::Need(*key));
                }
            }
            stream.shard += 1;
        }
        if stream.shard == SHARDS && matches!(stream.what, What::Places) {
            writer.item(&Item::Complete(stream.sent));
        }
        Some(writer.finish())
    }
}
