//! What the map tells this member about sessions.

use std::sync::atomic::Ordering;

use super::tell::numbers;
use crate::manager::cluster::core::outbox::MapSend;
use crate::manager::cluster::core::tomcat::take_delta;
use crate::manager::cluster::core::{Core, Outbox};
use crate::manager::cluster::message::{Delta, MapKind, MapMessage, Whole};
use crate::manager::cluster::native::{Gone, Place, Record, Told};
use crate::manager::cluster::peers::UniqueId;
use crate::manager::cluster::replica::{Replica, name_hash};
use crate::manager::cluster::stamp::{Stamp, number};
use crate::manager::cluster::store::{StoreShard, Taken};
use crate::manager::table::Entry;
use crate::session::attributes::Attributes;
use crate::session::{AskedId, Key, Suffix, Timestamp};

impl Core {
    /// A session, or a difference, for this member to keep.
    pub(super) fn take_backup(
        &self,
        from: &UniqueId,
        message: &MapMessage,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let Some(id) = self.asked(message) else {
            return;
        };
        if self.ended_here(id.key) {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            let key = message.key.as_deref().unwrap_or_default();
            let remove = MapMessage::of_key(MapKind::Remove, &self.map.name, key);
            return out.map.push(MapSend::to([*from], &remove));
        }
        let by = number(from);
        if let Some(diff) = &message.diff {
            let (delta, error) = Delta::decode(diff);
            let mut names = self.wants_names();
            {
                let mut shard = self.store.table.shard(id.key);
                let Some(replica) = shard.get_mut(id.key).filter(|r| !r.marks.partial) else {
                    drop(shard);
                    return self.take_roles(from, message, now, out);
                };
                take_delta(replica, &delta, now, by, names.as_mut());
                replica.accessed(now, by);
            }
            self.tell_listener(id.key, names);
            if let Some(error) = error {
                self.drop_in_map(message, &error);
            }
        } else {
            match message.session() {
                Ok(Some(session)) => self.take_session(&id, &session, by, now),
                Ok(None) => {}
                Err(error) => return self.drop_in_map(message, &error),
            }
        }
        self.take_roles(from, message, now, out);
    }

    /// A whole session: what is here of it becomes the same.
    pub(super) fn take_session(&self, id: &AskedId<'_>, session: &Whole, by: u32, now: Timestamp) {
        let mut attributes = Attributes::new();
        for (name, value) in &session.attributes {
            if let Err(error) = attributes.set(name, value) {
                tracing::warn!(key = %id.key, name, %error, "an attribute of a Tomcat's session is left out");
            }
        }
        let mut names = self.wants_names();
        let mut record = Record {
            key: id.key,
            full: true,
            created: Timestamp(session.created),
            last_accessed: Timestamp(session.last_accessed),
            touched: Timestamp(session.this_accessed.min(now.0)),
            primary: by,
            interval: (session.max_inactive, Stamp::ZERO.after(now, by)),
            route: (id.route.unwrap_or_default(), Stamp::ZERO.after(now, by)),
            origin: None,
            told: Vec::new(),
        };
        let mut shard = self.store.table.shard(id.key);
        if let Some(replica) = shard.get_mut(id.key) {
            replace(replica, record, &attributes, by, now, names.as_mut());
            drop(shard);
            return self.tell_listener(id.key, names);
        }
        drop(shard);
        let stamp = Stamp::ZERO.after(now, by);
        let told = attributes.iter_packed();
        record.told = told
            .map(|(name, value)| Told::Set { name, stamp, value })
            .collect();
        if let Taken::Refused(_) = self.store.take(&record, None, now) {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        self.count_in(1);
    }

    /// Who keeps a session, and maybe that it was used.
    pub(super) fn take_roles(
        &self,
        from: &UniqueId,
        message: &MapMessage,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let Some(id) = self.asked(message) else {
            return;
        };
        let (me, by) = (self.store.me(), number(from));
        let (primary, backup) = numbers(message);
        if primary == 0 && backup == 0 || self.ended_here(id.key) {
            return;
        }
        let mut shard = self.store.table.shard(id.key);
        let known = shard.get(id.key).map(Replica::place);
        let known = known.or_else(|| shard.beside.place(id.key));
        let stamp = known
            .map_or(Stamp::ZERO, |known| known.stamp)
            .after(now, by);
        let place = Place {
            stamp,
            primary,
            backup,
        };
        self.store.clock.observe(stamp, now);
        let Some(replica) = shard.get_mut(id.key) else {
            shard.beside.set_place(id.key, place);
            let suffix = Suffix::new(None, id.route).unwrap_or(Suffix::NONE);
            shard.beside.set_suffix(id.key, suffix);
            drop(shard);
            if backup == me {
                // It was a difference, or this member was taken for one that has it.
                self.ask_for(&id, from, now, out);
            }
            return;
        };
        if message.kind != MapKind::Proxy {
            replica.accessed(now, by);
        }
        // Who lists all that it knows may name this member; what it does itself, it knows better.
        let is_mine = replica.primary == me || replica.backup == me;
        if message.kind == MapKind::Proxy && is_mine && (primary == me || backup == me) {
            return;
        }
        replica.set_place(place);
        if replica.marks.partial && backup == me {
            drop(shard);
            self.ask_for(&id, from, now, out);
        } else if primary == me {
            // It was changed elsewhere before that member heard who the primary is.
            self.publish_again(replica, out);
        } else if backup != me {
            // What happens to it from now on is not told here.
            replica.marks.partial = true;
            self.drop_copy(&mut shard, id.key);
        }
    }

    /// A session is gone.
    pub(super) fn take_remove(&self, message: &MapMessage) {
        let Some(id) = self.asked(message) else {
            return;
        };
        let mut shard = self.store.table.shard(id.key);
        let suffix = shard.get(id.key).map(|replica| replica.kept().id().suffix);
        let suffix = suffix.or_else(|| shard.beside.suffix(id.key));
        // A session that got another route is told as a new one first, or only afterwards.
        if suffix.is_some_and(|suffix| suffix.route() != id.route) {
            return;
        }
        shard.beside.drop_place(id.key);
        shard.beside.pending.remove(&id.key);
        if let Some(replica) = shard.remove(id.key) {
            replica.kept().finish();
            self.store.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops a copy of which others are primary and backup, unless a request holds it; then the next tick tries again.
    fn drop_copy(&self, shard: &mut StoreShard, key: Key) {
        let is_free = |r: &Replica| r.kept().references() == 1;
        if !shard.get(key).is_some_and(is_free) {
            return self.orphans.store(true, Ordering::Relaxed);
        }
        if let Some(replica) = shard.remove(key) {
            self.store.active.fetch_sub(1, Ordering::Relaxed);
            shard.beside.set_place(key, replica.place());
            shard.beside.set_suffix(key, replica.kept().id().suffix);
        }
    }

    /// Whether the session ended here, or has another id.
    fn ended_here(&self, key: Key) -> bool {
        let shard = self.store.table.shard(key);
        matches!(shard.gone(key), Some(Gone::Ended | Gone::Moved { .. }))
    }

    fn asked<'m>(&self, message: &'m MapMessage) -> Option<AskedId<'m>> {
        let key = message.key.as_deref().unwrap_or_default();
        let id = AskedId::parse(key.as_bytes());
        if id.is_none() {
            self.drop_in_map(message, &format!("`{key}` is no session id of 32 digits"));
        }
        id
    }

    pub(super) fn drop_in_map(&self, message: &MapMessage, error: &dyn std::fmt::Display) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        let MapMessage { kind, key, .. } = message;
        tracing::debug!(?kind, key, %error, "a Tomcat's message is dropped");
    }
}

/// Makes a copy what was told. What is the same keeps its stamp.
fn replace<'a>(
    replica: &mut Replica,
    mut record: Record<'a>,
    attributes: &'a Attributes,
    by: u32,
    now: Timestamp,
    names: Option<&mut Vec<String>>,
) {
    let facts = replica.kept().facts();
    record.interval.1 = match facts.max_inactive == record.interval.0 {
        true => Stamp::ZERO,
        false => replica.stamp_of_interval().after(now, by),
    };
    record.route.1 = match facts.id.suffix.route().unwrap_or_default() == record.route.0 {
        true => Stamp::ZERO,
        false => replica.stamp_of_route().after(now, by),
    };
    let here: Vec<(String, u8, Box<[u8]>)> = replica
        .kept()
        .replicate(|parts| {
            let all = parts.attributes.iter_packed();
            all.map(|(name, value)| (name.to_owned(), value.kind(), value.body().into()))
                .collect()
        })
        .unwrap_or_default();
    for (name, value) in attributes.iter_packed() {
        let same = |(n, kind, body): &(String, u8, Box<[u8]>)| {
            n == name && *kind == value.kind() && **body == *value.body()
        };
        if !here.iter().any(same) {
            let stamp = replica.stamp_of(name).after(now, by);
            record.told.push(Told::Set { name, stamp, value });
        }
    }
    for (name, ..) in &here {
        if attributes.get_packed(name).is_none() {
            let stamp = replica.stamp_of(name).after(now, by);
            let name = name_hash(name);
            record.told.push(Told::Removed { name, stamp });
        }
    }
    replica.merge(&record, names);
}
