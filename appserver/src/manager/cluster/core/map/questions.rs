//! What this member asks other members of the map.

use std::collections::HashMap;

use crate::manager::cluster::core::outbox::MapSend;
use crate::manager::cluster::core::outbox::What;
use crate::manager::cluster::core::{Core, Outbox, Stream, lock};
use crate::manager::cluster::message::{MapKind, MapMessage, RpcBody, RpcMessage};
use crate::manager::cluster::peers::UniqueId;
use crate::manager::cluster::stamp::number;
use crate::manager::table::{Entry, SHARDS};
use crate::session::{AskedId, Key, SessionId, Timestamp};

/// At most so many questions are open; further ones are not asked.
const OPEN_MAX: usize = 4096;
/// After so long nobody waits for an answer any more, in milliseconds.
const OPEN_FOR: u64 = 60_000;

/// A question's name.
pub type QuestionId = [u8; 16];

/// The questions that were not answered yet.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: u64,
    open: HashMap<QuestionId, Question>,
}

#[derive(Debug)]
struct Question {
    to: UniqueId,
    about: About,
    at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// I have the map; have you?
    Start,
    /// Which sessions are there?
    State,
    /// A session.
    Session(Key),
}

impl Core {
    /// The question for a session, and its name: it is open until the answer is here ([`Core::is_open`]).
    pub fn ask_for_session(
        &self,
        asked: &AskedId<'_>,
        of: &UniqueId,
        now: Timestamp,
    ) -> Option<(QuestionId, Vec<u8>)> {
        let suffix = self.store.table.shard(asked.key).beside.suffix(asked.key);
        let key = match suffix {
            Some(suffix) => SessionId {
                key: asked.key,
                suffix,
            }
            .to_string(),
            None => match asked.route {
                Some(route) => format!("{}.{route}", asked.key),
                None => asked.key.to_string(),
            },
        };
        let question = MapMessage::of_key(MapKind::Retrieve, &self.map.name, &key);
        self.ask_in_map(of, About::Session(asked.key), question, now)
    }

    /// Whether a question was not answered yet.
    pub fn is_open(&self, question: &QuestionId) -> bool {
        lock(&self.map.questions).open.contains_key(question)
    }

    /// Nobody waits for the answer any more.
    pub fn give_up(&self, question: &QuestionId) {
        lock(&self.map.questions).open.remove(question);
    }

    /// The same beside requests: this member should have the session.
    pub(super) fn ask_for(
        &self,
        asked: &AskedId<'_>,
        of: &UniqueId,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if let Some((_, question)) = self.ask_for_session(asked, of, now) {
            out.map.push(MapSend::question(*of, question));
        }
    }

    /// Asks a Tomcat which sessions there are.
    pub(in super::super) fn ask_for_state(&self, of: &UniqueId, now: Timestamp, out: &mut Outbox) {
        let question = MapMessage::new(MapKind::State, &self.map.name, None);
        if let Some((_, question)) = self.ask_in_map(of, About::State, question, now) {
            out.map.push(MapSend::question(*of, question));
        }
    }

    /// Tells the Tomcats that came that this member has the map.
    pub(in super::super) fn greet(&self, now: Timestamp, out: &mut Outbox) {
        if !self.is_backup() || self.map.me.get().is_none() {
            return;
        }
        let new = self.peers_mut().take_ungreeted(now);
        for id in new {
            let me = self.map.me.get().cloned();
            let start = MapMessage::new(MapKind::Start, &self.map.name, me);
            if let Some((_, question)) = self.ask_in_map(&id, About::Start, start, now) {
                out.map.push(MapSend::question(id, question));
            }
        }
    }

    /// Forgets questions that nobody answers, and tells of Tomcats that do not take part.
    pub(in super::super) fn check_map(&self, now: Timestamp) {
        if !self.is_backup() {
            return;
        }
        let mapless = self.peers_mut().take_mapless(now);
        if mapless > 0 {
            tracing::warn!(
                context = self.config.context,
                mapless,
                "Tomcats are in the cluster that have no map of this application: they do not run BackupManager, or do not serve it; \
                 they share no sessions"
            );
        }
        let mut questions = lock(&self.map.questions);
        questions.open.retain(|_, q| now.since(q.at) < OPEN_FOR);
    }

    fn ask_in_map(
        &self,
        to: &UniqueId,
        about: About,
        message: MapMessage,
        now: Timestamp,
    ) -> Option<(QuestionId, Vec<u8>)> {
        let mut questions = lock(&self.map.questions);
        if questions.open.len() >= OPEN_MAX {
            return None;
        }
        questions.asked += 1;
        // Nobody else names its questions like this.
        let mut id = self.id;
        id[8..].copy_from_slice(&questions.asked.to_be_bytes());
        let (to, at) = (*to, now);
        questions.open.insert(id, Question { to, about, at });
        drop(questions);
        let question = RpcMessage {
            id: id.to_vec(),
            channel: self.map.name.clone(),
            body: RpcBody::Ask(Box::new(message)),
        };
        Some((id, question.encode()))
    }

    fn close(&self, from: &UniqueId, id: &[u8]) -> Option<(QuestionId, About)> {
        let id: QuestionId = id.try_into().ok()?;
        let questions = lock(&self.map.questions);
        let question = questions.open.get(&id).filter(|q| q.to == *from)?;
        Some((id, question.about))
    }

    /// An answer came.
    pub(super) fn answered(
        &self,
        from: &UniqueId,
        id: &[u8],
        answer: Option<&MapMessage>,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let Some((question, about)) = self.close(from, id) else {
            return;
        };
        match (about, answer) {
            (About::Start, Some(_)) => {
                self.map_added(from, now, out);
                self.ask_for_state(from, now, out);
                // It was there before, and may not know what was done here meanwhile.
                let keys = self.own_keys();
                out.streams.push((*from, Stream::new(What::Entries(keys))));
            }
            (About::State, Some(answer)) => {
                // It may have answered this first.
                self.map_added(from, now, out);
                self.take_entries(from, answer, now, out);
            }
            (About::Session(key), Some(answer)) => match answer.session() {
                Ok(Some(session)) => {
                    let asked = AskedId::parse(session.id.as_bytes());
                    if let Some(asked) = asked.filter(|asked| asked.key == key) {
                        self.take_session(&asked, &session, number(from), now);
                        // For a request that makes this member its primary, or left over.
                        self.orphans
                            .store(true, std::sync::atomic::Ordering::Relaxed);
                    }
                }
                Ok(None) => {}
                Err(error) => self.drop_in_map(answer, &error),
            },
            (About::Session(key), None) => self.forget_place(key, from),
            (About::Start, None) => self.peers_mut().greeting_ended(from),
            (About::State, None) => {}
        }
        // Only now, when what was asked for is here.
        self.give_up(&question);
    }

    /// The primary has not got a session: nobody has.
    fn forget_place(&self, key: Key, primary: &UniqueId) {
        let mut shard = self.store.table.shard(key);
        let place = shard.beside.place(key);
        if place.is_some_and(|place| place.primary == number(primary)) {
            shard.beside.drop_place(key);
        }
    }

    /// Nobody there has the map.
    pub(super) fn nobody_answered(
        &self,
        from: &UniqueId,
        id: &[u8],
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let Some((question, about)) = self.close(from, id) else {
            return;
        };
        self.give_up(&question);
        match about {
            // Its application has not started yet: it says START itself.
            About::Start => self.peers_mut().greeting_ended(from),
            About::State => self.source_empty(from, now, out),
            About::Session(_) => {}
        }
    }

    fn take_entries(&self, from: &UniqueId, answer: &MapMessage, now: Timestamp, out: &mut Outbox) {
        match answer.entries() {
            Ok((entries, unread)) => {
                for entry in &entries {
                    self.take_roles(from, entry, now, out);
                }
                if unread > 0 {
                    tracing::warn!(unread, "entries of a Tomcat's map cannot be read");
                }
                self.source_complete(from, entries.len() as u64, now);
            }
            Err(error) => {
                self.drop_in_map(answer, &error);
                self.source_failed(from, now, out);
            }
        }
    }

    /// The sessions of which this member is the primary.
    pub(super) fn own_keys(&self) -> Vec<Key> {
        let me = self.store.me();
        let shards = (0..SHARDS).map(|number| self.store.table.number(number));
        let keys = shards.flat_map(|shard| {
            let own = shard.iter().filter(|r| r.primary == me && !r.marks.untold);
            own.map(|r| r.kept().id().key).collect::<Vec<_>>()
        });
        keys.collect()
    }
}
