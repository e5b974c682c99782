//! What Tomcats say and are told, by Tomcat's rules.
//!
//! A Tomcat knows no stamps. Its changes get stamps that follow what they replace here, as they do there; all our members that had
//! the same give the same stamps. It keeps no order between messages either: a change that overtook its session's creation
//! waits here for a second, where Tomcat drops it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::outbox::What;
use super::{Core, Outbox, Stream, lock};
use crate::java::JavaError;
use crate::manager::cluster::message::{
    Action, Delta, Event, MessageError, SessionMessage, Whole, WholeReader,
};
use crate::manager::cluster::native::{Gone, Record, Told};
use crate::manager::cluster::peers::UniqueId;
use crate::manager::cluster::replica::{Replica, name_hash};
use crate::manager::cluster::stamp::{Stamp, number};
use crate::manager::table::Entry;
use crate::session::attributes::Attributes;
use crate::session::{AskedId, Changes, Session, SessionId, Suffix, Timestamp};

/// How long a change waits for its session.
const HOLD: u64 = 1_000;
/// At most so many changes wait.
const HELD_MAX: usize = 1024;
/// At most so many bytes of them.
const HELD_BYTES: usize = 4 << 20;

/// Changes that wait for their sessions.
#[derive(Debug, Default)]
pub(super) struct Held {
    messages: VecDeque<(Timestamp, UniqueId, SessionMessage)>,
    bytes: usize,
}

impl Core {
    /// A message of a Tomcat arrived.
    pub fn receive_tomcat(
        &self,
        from: &UniqueId,
        message: SessionMessage,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        match message.event {
            Event::GetAllSessions => out.streams.push((*from, Stream::new(What::Tomcat(now)))),
            Event::AllSessionData => {
                if let Err(error) = self.take_state(from, &message, now) {
                    self.drop_message(&message, &error);
                }
            }
            Event::TransferComplete => self.source_complete(from, 0, now),
            Event::NoContextManager => self.source_empty(from, now, out),
            Event::Created
            | Event::Expired
            | Event::Accessed
            | Event::Delta
            | Event::ChangeSessionId => {
                let Some(id) = AskedId::parse(message.session_id.as_bytes()) else {
                    let error = format!("`{}` is no session id of 32 digits", message.session_id);
                    return self.drop_message(&message, &MessageError::Unknown(error));
                };
                self.take_event(from, id, &message, now);
            }
        }
    }

    fn take_event(
        &self,
        from: &UniqueId,
        id: AskedId<'_>,
        message: &SessionMessage,
        now: Timestamp,
    ) {
        let by = number(from);
        let told = Timestamp(message.timestamp.unwrap_or(now.0));
        let key = self.store.resolve(id.key, false);
        let mut shard = self.store.table.shard(key);
        let is_here = shard.get(key).is_some();
        match message.event {
            // One that is here stays as it is: the message came twice, or a change was faster.
            Event::Created if is_here => {}
            Event::Created => {
                drop(shard);
                let record = Record {
                    key,
                    full: true,
                    created: told,
                    last_accessed: told,
                    touched: now,
                    primary: by,
                    interval: (self.config.max_inactive, Stamp::ZERO),
                    route: (id.route.unwrap_or_default(), Stamp::ZERO),
                    origin: None,
                    told: Vec::new(),
                };
                self.store.take(&record, None, now);
                self.release_held(id, now);
            }
            Event::Expired => {
                drop(shard);
                self.store.leave(key, Gone::Ended, now);
            }
            _ if !is_here => {
                let is_gone = shard.gone(key).is_some();
                drop(shard);
                if !is_gone && message.event != Event::Accessed {
                    self.hold(*from, message.clone(), now);
                }
            }
            Event::Accessed => {
                if let Some(replica) = shard.get_mut(key) {
                    replica.accessed(now, by);
                }
            }
            Event::Delta => {
                let (delta, error) = Delta::decode(message.body.as_deref().unwrap_or_default());
                let mut names = self.wants_names();
                if let Some(replica) = shard.get_mut(key) {
                    take_delta(replica, &delta, told, by, names.as_mut());
                    replica.accessed(now, by);
                }
                drop(shard);
                self.tell_listener(key, names);
                if let Some(error) = error {
                    self.drop_message(message, &error.into());
                }
            }
            Event::ChangeSessionId => {
                let before = shard.get(key).map_or(Stamp::ZERO, Replica::stamp_of_route);
                drop(shard);
                let stamp = before.after(told, by);
                let new = message.new_id();
                let new = new
                    .as_ref()
                    .ok()
                    .and_then(|id| AskedId::parse(id.as_bytes()));
                let Some(new) = new else {
                    let error = MessageError::Unknown("its new id is none".into());
                    return self.drop_message(message, &error);
                };
                let to = new.key;
                if to != key {
                    let alias = false;
                    self.store.leave(key, Gone::Moved { to, stamp, alias }, now);
                }
                self.take_route(to, new.route, stamp);
                self.release_held(new, now);
            }
            _ => {}
        }
    }

    fn take_route(&self, key: crate::session::Key, route: Option<&str>, stamp: Stamp) {
        let mut shard = self.store.table.shard(key);
        if let (Some(replica), Ok(suffix)) = (shard.get_mut(key), Suffix::new(None, route)) {
            replica.kept().replicate(|parts| parts.id.suffix = suffix);
            replica.stamp_route(stamp);
        }
    }

    /// Sessions of a Tomcat, in answer to the question for all.
    fn take_state(
        &self,
        from: &UniqueId,
        message: &SessionMessage,
        now: Timestamp,
    ) -> Result<(), MessageError> {
        let listed = Timestamp(message.timestamp.unwrap_or(now.0));
        let mut reader = WholeReader::new(message.body.as_deref().unwrap_or_default())?;
        while let Some(whole) = reader.session()? {
            self.take_whole(&whole, Stamp::ZERO.after(listed, number(from)), now);
        }
        Ok(())
    }

    fn take_whole(&self, whole: &Whole, stamp: Stamp, now: Timestamp) {
        let Some(id) = AskedId::parse(whole.id.as_bytes()).filter(|_| whole.is_valid) else {
            return;
        };
        let mut attributes = Attributes::new();
        for (name, value) in &whole.attributes {
            if let Err(error) = attributes.set(name, value) {
                tracing::warn!(id = %whole.id, name, %error, "an attribute of a Tomcat's session is left out");
            }
        }
        let told = attributes.iter_packed();
        let told = told.map(|(name, value)| Told::Set { name, stamp, value });
        let record = Record {
            key: id.key,
            full: true,
            created: Timestamp(whole.created),
            last_accessed: Timestamp(whole.last_accessed),
            touched: Timestamp(whole.this_accessed.min(now.0)),
            primary: stamp.member,
            interval: (whole.max_inactive, stamp),
            route: (id.route.unwrap_or_default(), stamp),
            origin: None,
            told: told.collect(),
        };
        self.store.take(&record, None, now);
        self.count_in(1);
    }

    /// A change came before its session.
    fn hold(&self, from: UniqueId, message: SessionMessage, now: Timestamp) {
        let mut held = lock(&self.held);
        let size = message.body.as_ref().map_or(0, Vec::len);
        if held.messages.len() == HELD_MAX || held.bytes + size > HELD_BYTES {
            drop(held);
            let error = MessageError::Unknown("too many changes wait for their sessions".into());
            return self.drop_message(&message, &error);
        }
        held.bytes += size;
        let until = Timestamp(now.0.saturating_add(HOLD));
        held.messages.push_back((until, from, message));
    }

    /// The session is here now.
    fn release_held(&self, id: AskedId<'_>, now: Timestamp) {
        let mut ready = Vec::new();
        {
            let mut held = lock(&self.held);
            let is_for = |message: &SessionMessage| {
                AskedId::parse(message.session_id.as_bytes()).is_some_and(|of| of.key == id.key)
            };
            let mut place = 0;
            while let Some((_, _, message)) = held.messages.get(place) {
                if !is_for(message) {
                    place += 1;
                    continue;
                }
                if let Some((_, from, message)) = held.messages.remove(place) {
                    held.bytes -= message.body.as_ref().map_or(0, Vec::len);
                    ready.push((from, message));
                }
            }
        }
        for (from, message) in ready {
            if let Some(id) = AskedId::parse(message.session_id.as_bytes()) {
                self.take_event(&from, id, &message, now);
            }
        }
    }

    /// Drops what waited too long.
    pub(super) fn drop_held(&self, now: Timestamp) {
        loop {
            let late = {
                let mut held = lock(&self.held);
                let is_late = held
                    .messages
                    .front()
                    .is_some_and(|(until, ..)| *until <= now);
                let late = is_late.then(|| held.messages.pop_front()).flatten();
                if let Some((_, _, message)) = &late {
                    held.bytes -= message.body.as_ref().map_or(0, Vec::len);
                }
                late
            };
            let Some((_, _, message)) = late else {
                return;
            };
            let error = MessageError::Unknown("nobody knows its session".into());
            self.drop_message(&message, &error);
        }
    }

    fn drop_message(&self, message: &SessionMessage, error: &MessageError) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        let event = message.event;
        tracing::debug!(?event, id = message.session_id, %error, "a Tomcat's message is dropped");
    }

    /// Whether a session with this id gets this member's route when it is served here.
    pub(super) fn binds(&self, id: &SessionId) -> bool {
        let suffix = self.config.suffix;
        self.config.binds_route && suffix != Suffix::NONE && id.suffix != suffix
    }

    /// The session's id gets this member's route (`JvmRouteBinderValve`).
    pub(super) fn bind_route(&self, replica: &mut Replica, now: Timestamp, out: &mut Outbox) {
        let old = replica.kept().id();
        if !self.binds(&old) {
            return;
        }
        let suffix = self.config.suffix;
        replica.kept().replicate(|parts| parts.id.suffix = suffix);
        replica.stamp_route(self.store.clock.tick(now));
        // Native members find it by its key, and learn the route at the end of the request.
        replica.marks.bound = true;
        let new = SessionId { suffix, ..old };
        self.tell_tomcats_of_id(&old, &new, replica.marks.untold, now, out);
        if self.maps() {
            self.tell_map_of_id(replica, &old, now, out);
        }
    }

    pub(super) fn tell_tomcats_of_id(
        &self,
        old: &SessionId,
        new: &SessionId,
        untold: bool,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if self.has_tomcats() && !untold {
            let (old, new) = (old.text(), new.text());
            let context = &self.config.context;
            let message =
                SessionMessage::change_session_id(context, old.as_str(), new.as_str(), now.0);
            out.tomcats.push(message.encode());
        }
    }

    pub(super) fn tell_tomcats_of_end(&self, id: &SessionId, now: Timestamp, out: &mut Outbox) {
        if self.has_tomcats() {
            let id = id.text();
            let message = SessionMessage::expired(&self.config.context, id.as_str(), now.0);
            out.tomcats.push(message.encode());
        }
    }

    /// Tomcats end copies that they do not hear of: each session is told when it is used here first, and then a few times per interval.
    pub(super) fn tell_tomcats_of_use(
        &self,
        replica: &mut Replica,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if !self.has_tomcats() {
            return;
        }
        let facts = replica.kept().facts();
        let seconds = (now.0 / 1000) as u16;
        let third = (facts.max_inactive / 3).clamp(1, i32::from(i16::MAX)) as u16;
        if replica.announced != 0 && seconds.wrapping_sub(replica.announced) < third {
            return;
        }
        replica.announced = seconds.max(1);
        let id = facts.id.text();
        let message = SessionMessage::accessed(&self.config.context, id.as_str(), now.0);
        out.tomcats.push(message.encode());
    }

    pub(super) fn tell_tomcats_of_changes(
        &self,
        replica: &mut Replica,
        changes: &Changes,
        is_new: bool,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if !self.has_tomcats() {
            return;
        }
        let context = &self.config.context;
        let facts = replica.kept().facts();
        let text = facts.id.text();
        let id = text.as_str();
        replica.announced = ((now.0 / 1000) as u16).max(1);
        if is_new {
            out.tomcats
                .push(SessionMessage::created(context, id, facts.created.0).encode());
        }
        let (body, failed) = self.delta(replica, changes, is_new).encode();
        self.count_unwritable(failed.iter().map(|(name, error)| (name, error)));
        out.tomcats
            .push(SessionMessage::delta(context, id, now.0, body).encode());
    }

    /// What a request changed, as Tomcats are told it.
    pub(super) fn delta(&self, replica: &Replica, changes: &Changes, is_new: bool) -> Delta {
        let facts = replica.kept().facts();
        let session = Session::holding(replica.kept().clone());
        let mut actions = vec![Action::IsNew(is_new)];
        if is_new || changes.max_inactive {
            actions.push(Action::MaxInactive(facts.max_inactive));
        }
        let action = |name: &String, value| match value {
            Some(value) => Action::Set(name.clone(), value),
            None => Action::Removed(name.clone()),
        };
        let every = changes.every.iter().flatten();
        actions.extend(
            every
                .clone()
                .map(|(name, value)| action(name, value.clone())),
        );
        for name in &changes.attributes {
            // Another request may have changed it since.
            let now = session.get(name);
            let told = every.clone().rev().find(|(told, _)| told == name);
            if told.is_none_or(|(_, told)| *told != now) {
                actions.push(action(name, now));
            }
        }
        Delta {
            session_id: facts.id.to_string(),
            record_all: self.config.record_all_actions,
            actions,
        }
    }

    pub(super) fn count_unwritable<'f>(
        &self,
        failed: impl Iterator<Item = (&'f String, &'f JavaError)>,
    ) {
        for (name, error) in failed {
            self.counts.unwritable.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(name, %error, "an attribute cannot be written for Tomcats and is left out");
        }
    }
}

/// Applies the actions in their order.
pub(super) fn take_delta(
    replica: &mut Replica,
    delta: &Delta,
    told: Timestamp,
    by: u32,
    mut names: Option<&mut Vec<String>>,
) {
    for action in &delta.actions {
        let mut attributes = Attributes::new();
        let (mut interval, mut change) = (None, None);
        match action {
            Action::IsNew(_) => continue,
            Action::MaxInactive(seconds) => {
                interval = Some((*seconds, replica.stamp_of_interval().after(told, by)));
            }
            Action::Set(name, value) => {
                if let Err(error) = attributes.set(name, value) {
                    tracing::warn!(name, %error, "an attribute of a Tomcat's session is left out");
                    continue;
                }
                let stamp = replica.stamp_of(name).after(told, by);
                change = attributes
                    .get_packed(name)
                    .map(|value| Told::Set { name, stamp, value });
            }
            Action::Removed(name) => {
                let stamp = replica.stamp_of(name).after(told, by);
                let name = name_hash(name);
                change = Some(Told::Removed { name, stamp });
            }
        }
        let facts = replica.kept().facts();
        let route = facts.id.suffix.route().unwrap_or_default();
        let record = Record {
            key: facts.id.key,
            full: false,
            created: facts.created,
            last_accessed: facts.last_accessed,
            touched: Timestamp(0),
            primary: by,
            interval: interval.unwrap_or((facts.max_inactive, Stamp::ZERO)),
            route: (route, Stamp::ZERO),
            origin: None,
            told: change.into_iter().collect(),
        };
        replica.merge(&record, names.as_deref_mut());
    }
}
