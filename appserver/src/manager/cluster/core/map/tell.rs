//! What this member tells the map.

use std::sync::atomic::Ordering;

use crate::manager::cluster::core::outbox::MapSend;
use crate::manager::cluster::core::transfer::whole;
use crate::manager::cluster::core::{Core, Outbox};
use crate::manager::cluster::message::{MapKind, MapMessage};
use crate::manager::cluster::native::Place;
use crate::manager::cluster::peers::UniqueId;
use crate::manager::cluster::replica::Replica;
use crate::manager::cluster::stamp::number;
use crate::manager::table::{Entry, SHARDS};
use crate::session::{Changes, Key, SessionId, Timestamp};
use crate::tribes::member::Member;

impl Core {
    /// The whole session for its backup, and the word where it is for the others.
    pub(in super::super) fn publish(
        &self,
        replica: &mut Replica,
        place: Place,
        now: Timestamp,
        sends: &mut Vec<MapSend>,
    ) {
        let (Some(me), Some(backup)) = (self.map.me.get(), self.member_of(place.backup)) else {
            return;
        };
        note_use(replica, now);
        let key = replica.kept().id().text();
        let message = self.roles(MapKind::Backup, key.as_str(), me.clone(), Some(&backup));
        let (message, failed) = message.with_session(&whole(replica));
        self.count_unwritable(failed.iter().map(|(name, error)| (name, error)));
        let id = replica.kept().id();
        sends.push(MapSend::backup(id.key, backup.id.0, &message));
        self.tell_proxies(key.as_str(), me, &backup, sends);
    }

    /// A session that is here because it is this member's to keep, or because it was fetched, gets this member as its primary.
    pub(in super::super) fn take_over(
        &self,
        replica: &mut Replica,
        now: Timestamp,
        sends: &mut Vec<MapSend>,
    ) {
        let (me, former) = (self.store.me(), replica.place());
        let backup = self.member_of(former.backup);
        let stays = backup.filter(|_| former.backup != me);
        let (Some(backup), Some(local)) = (stays, self.map.me.get()) else {
            let place = self.place_here(replica, &[former.primary], now);
            return self.publish(replica, place, now, sends);
        };
        // It was fetched, and its backup has it.
        note_use(replica, now);
        replica.set_place(Place {
            stamp: self.store.clock.tick(now),
            primary: me,
            backup: former.backup,
        });
        let key = replica.kept().id().text();
        let notice = self.roles(MapKind::Notify, key.as_str(), local.clone(), Some(&backup));
        sends.push(MapSend::to([backup.id.0], &notice));
        self.tell_proxies(key.as_str(), local, &backup, sends);
    }

    /// The end of a request that changed something, or made the session.
    pub(in super::super) fn tell_map_of_changes(
        &self,
        replica: &mut Replica,
        changes: &Changes,
        is_new: bool,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let me = self.store.me();
        let backup = self.member_of(replica.backup);
        if is_new || replica.primary == me && backup.is_none() {
            let place = self.place_here(replica, &[], now);
            return self.publish(replica, place, now, &mut out.map);
        }
        // Another member may have become the primary meanwhile: it gets what it lacks, and has the rest.
        let to = match replica.primary == me {
            true => backup.clone(),
            false => self.member_of(replica.primary),
        };
        let (Some(to), Some(primary)) = (to, self.member_of(replica.primary)) else {
            return;
        };
        note_use(replica, now);
        let key = replica.kept().id().text();
        let (body, failed) = self.delta(replica, changes, is_new).encode();
        self.count_unwritable(failed.iter().map(|(name, error)| (name, error)));
        let message = self.roles(MapKind::Backup, key.as_str(), primary, backup.as_ref());
        let message = MapMessage {
            diff: Some(body),
            ..message
        };
        let key = replica.kept().id().key;
        out.map.push(MapSend::backup(key, to.id.0, &message));
    }

    /// Tomcats end copies that they do not hear of: the backup is told a few times per interval. The caller sends it before anything
    /// else of this session: a Tomcat that is told by a former primary sends its changes nowhere.
    pub fn use_of(&self, key: Key, now: Timestamp) -> Option<MapSend> {
        let mut shard = self.store.table.shard(key);
        let replica = shard.get_mut(key).filter(|r| !r.marks.untold)?;
        let third = (replica.kept().facts().max_inactive / 3).clamp(1, i32::from(i16::MAX)) as u16;
        let seconds = (now.0 / 1000) as u16;
        let is_told = replica.announced != 0 && seconds.wrapping_sub(replica.announced) < third;
        if is_told || replica.primary != self.store.me() {
            return None;
        }
        let (me, backup) = (self.map.me.get()?.clone(), self.member_of(replica.backup)?);
        note_use(replica, now);
        let id = replica.kept().id().text();
        let message = self.roles(MapKind::Access, id.as_str(), me, Some(&backup));
        Some(MapSend::to([backup.id.0], &message))
    }

    /// A session is gone under this id.
    pub(in super::super) fn tell_map_of_end(&self, id: &SessionId, out: &mut Outbox) {
        let to: Vec<_> = self.map_members().iter().map(|m| m.id.0).collect();
        if !to.is_empty() {
            let message = MapMessage::of_key(MapKind::Remove, &self.map.name, id.text().as_str());
            out.map.push(MapSend::to(to, &message));
        }
    }

    /// A session has another id: for the map it is another session.
    pub(in super::super) fn tell_map_of_id(
        &self,
        replica: &mut Replica,
        old: &SessionId,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if !replica.marks.untold {
            self.tell_map_of_end(old, out);
            let place = self.place_here(replica, &[replica.backup], now);
            self.publish(replica, place, now, &mut out.map);
        }
    }

    /// This member does not have the map any more.
    pub fn leave_map(&self, out: &mut Outbox) {
        let to: Vec<_> = self.map_members().iter().map(|m| m.id.0).collect();
        let me = self.map.me.get().cloned();
        if self.maps() && !to.is_empty() {
            let message = MapMessage::new(MapKind::Stop, &self.map.name, me);
            out.map.push(MapSend::to(to, &message));
        }
    }

    /// Where a session of this member is, for one that may not know, and is not its backup.
    pub fn entry_of(&self, key: Key, to: &UniqueId) -> Option<Vec<u8>> {
        let shard = self.store.table.shard(key);
        let replica = shard.get(key).filter(|r| r.primary == self.store.me());
        let replica = replica.filter(|r| !r.marks.untold && r.backup != number(to))?;
        self.count_out(1);
        Some(self.entry(&replica.kept().id(), replica.place()).encode())
    }

    /// Where a session is.
    pub(super) fn entry(&self, id: &SessionId, place: Place) -> MapMessage {
        let nodes: Vec<_> = self.member_of(place.backup).into_iter().collect();
        MapMessage {
            key: Some(id.text().as_str().to_owned()),
            nodes: Some(nodes),
            ..MapMessage::new(
                MapKind::Proxy,
                &self.map.name,
                self.member_of(place.primary),
            )
        }
    }

    fn roles(
        &self,
        kind: MapKind,
        key: &str,
        primary: Member,
        backup: Option<&Member>,
    ) -> MapMessage {
        let nodes = backup.into_iter().cloned().collect();
        MapMessage::about(kind, &self.map.name, key, primary, nodes)
    }

    fn tell_proxies(&self, key: &str, me: &Member, backup: &Member, sends: &mut Vec<MapSend>) {
        let members = self.map_members();
        let others = members.iter().filter(|m| m.id != backup.id);
        let others: Vec<_> = others.map(|m| m.id.0).collect();
        if !others.is_empty() {
            let message = self.roles(MapKind::Proxy, key, me.clone(), Some(backup));
            sends.push(MapSend::to(others, &message));
        }
    }

    /// A session's backup may not have what it was sent: the session gets one again, be it the same.
    pub fn backup_failed(&self, key: Key) {
        let mut shard = self.store.table.shard(key);
        if let Some(replica) = shard.get_mut(key).filter(|r| r.primary == self.store.me()) {
            replica.set_place(Place {
                backup: 0,
                ..replica.place()
            });
            self.orphans.store(true, Ordering::Relaxed);
        }
    }

    /// The same for all sessions of which this member is the backup.
    pub(in super::super) fn backups_failed(&self, at: &UniqueId) {
        let (me, at) = (self.store.me(), number(at));
        for shard in 0..SHARDS {
            let shard = self.store.table.number(shard);
            let there = shard.iter().filter(|r| (r.primary, r.backup) == (me, at));
            let keys: Vec<_> = there.map(|r| r.kept().id().key).collect();
            drop(shard);
            keys.into_iter().for_each(|key| self.backup_failed(key));
        }
    }

    /// The messages that give a session a backup, if it still needs one. The caller sends them before anything else of this session.
    pub fn publish_orphan(&self, key: Key, now: Timestamp) -> Vec<MapSend> {
        let mut sends = Vec::new();
        let mut shard = self.store.table.shard(key);
        let replica = shard.get_mut(key);
        let whole = replica.filter(|r| !r.marks.partial && !r.marks.untold);
        if let Some(replica) = whole.filter(|r| self.is_my_orphan(r)) {
            let place = self.place_here(replica, &[], now);
            self.publish(replica, place, now, &mut sends);
        }
        sends
    }

    /// They were not sent.
    pub fn not_published(&self) {
        self.orphans.store(true, Ordering::Relaxed);
    }

    /// Another member sent this one, the primary, what it had: the backup gets all of it.
    pub(super) fn publish_again(&self, replica: &mut Replica, out: &mut Outbox) {
        replica.set_place(Place {
            backup: 0,
            ..replica.place()
        });
        out.publish.push(replica.kept().id().key);
    }
}

fn note_use(replica: &mut Replica, now: Timestamp) {
    replica.announced = ((now.0 / 1000) as u16).max(1);
}

/// The numbers of those that keep a session, as a message names them.
pub(super) fn numbers(message: &MapMessage) -> (u32, u32) {
    let of = |member: &Member| number(&member.id.0);
    let backup = message.nodes.as_ref().and_then(|nodes| nodes.first());
    (message.primary.as_ref().map_or(0, of), backup.map_or(0, of))
}
