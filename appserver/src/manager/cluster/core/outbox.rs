//! What a member has to send.

use std::collections::HashSet;

use crate::manager::cluster::message::MapMessage;
use crate::manager::cluster::native::Writer;
use crate::manager::cluster::peers::UniqueId;
use crate::session::{Key, Timestamp};

/// What is to be sent. Empty for most requests that only read.
#[derive(Debug, Default)]
pub struct Outbox {
    /// To each native member; of no order among each other.
    pub natives: Vec<Vec<u8>>,
    /// To each native member but this one, which gets the same with its copy.
    pub others: Vec<(UniqueId, Vec<u8>)>,
    /// To one native member each: changes, for which the response waits as it does for those to all.
    pub copies: Vec<(UniqueId, Vec<u8>)>,
    /// To the new primary each: what a former one has, which it may forget when this has arrived ([`super::Core::repaid`]).
    pub owed: Vec<Owed>,
    /// To one native member each: answers.
    pub one: Vec<(UniqueId, Vec<u8>)>,
    /// To each Tomcat; a message may leave when the one before was acknowledged, or its session's first change is lost.
    pub tomcats: Vec<Vec<u8>>,
    /// To one Tomcat each.
    pub one_tomcat: Vec<(UniqueId, Vec<u8>)>,
    /// Sessions that need a backup in the map of Tomcats: each is sent as it is when its turn comes ([`super::Core::publish_orphan`]),
    /// so that no later change of it overtakes it. None of these while something of a session is in hand.
    pub publish: Vec<Key>,
    /// Sessions that were used, of which the backups there may have to hear ([`super::Core::use_of`]); the same holds for these.
    pub used: Vec<Key>,
    /// To members of the map of Tomcats, in this order, each when the one before was applied.
    pub map: Vec<MapSend>,
    /// To one member each, message by message, as fast as it takes them: [`super::Core::pull`].
    pub streams: Vec<(UniqueId, Stream)>,
}

/// A message about the map of Tomcats.
#[derive(Debug)]
pub struct MapSend {
    /// Who gets it.
    pub to: Vec<UniqueId>,
    /// The message.
    pub message: Vec<u8>,
    /// A question or an answer: it is enough that it was read there.
    pub is_rpc: bool,
    /// The session that its backup has only when this arrived.
    pub backs_up: Option<Key>,
}

impl MapSend {
    pub(super) fn to(to: impl Into<Vec<UniqueId>>, message: &MapMessage) -> Self {
        Self {
            to: to.into(),
            message: message.encode(),
            is_rpc: false,
            backs_up: None,
        }
    }

    pub(super) fn backup(key: Key, to: UniqueId, message: &MapMessage) -> Self {
        Self {
            backs_up: Some(key),
            ..Self::to([to], message)
        }
    }

    pub(super) fn question(to: UniqueId, message: Vec<u8>) -> Self {
        Self {
            to: vec![to],
            message,
            is_rpc: true,
            backs_up: None,
        }
    }
}

/// What a former primary owes the new one.
#[derive(Debug)]
pub struct Owed {
    /// The new primary.
    pub to: UniqueId,
    /// The session.
    pub key: Key,
    /// Its version in the message.
    pub version: u64,
    /// The message.
    pub message: Vec<u8>,
}

impl Outbox {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.natives.is_empty()
            && self.others.is_empty()
            && self.copies.is_empty()
            && self.owed.is_empty()
            && self.one.is_empty()
            && self.tomcats.is_empty()
            && self.one_tomcat.is_empty()
            && self.publish.is_empty()
            && self.used.is_empty()
            && self.map.is_empty()
            && self.streams.is_empty()
    }

    pub(super) fn tell_all(&mut self, message: Writer) {
        if !message.is_empty() {
            match self.natives.is_empty() {
                // Mostly it is the only one.
                true => self.natives = vec![message.finish()],
                false => self.natives.push(message.finish()),
            }
        }
    }

    pub(super) fn copy(&mut self, id: UniqueId, message: Writer) {
        if !message.is_empty() {
            self.copies.push((id, message.finish()));
        }
    }

    pub(super) fn answer_in_map(&mut self, to: UniqueId, message: Vec<u8>) {
        self.map.push(MapSend::question(to, message));
    }

    pub(super) fn tell_one(&mut self, id: UniqueId, message: Writer) {
        if !message.is_empty() {
            self.one.push((id, message.finish()));
        }
    }
}

/// Messages that are made one by one, so that many sessions need no more memory than a few.
#[derive(Debug)]
pub struct Stream {
    pub(super) what: What,
    /// The shard that is being sent.
    pub(super) shard: usize,
    /// The last key of it that was sent.
    pub(super) after: Option<Key>,
    /// How many sessions were sent.
    pub(super) sent: u64,
}

/// What a stream is made of.
#[derive(Debug)]
pub(super) enum What {
    /// All sessions, and the word that it was all.
    All,
    /// The versions of all sessions, to compare.
    Versions,
    /// These sessions.
    Keys(Vec<Key>),
    /// Where all sessions are, and the word that it was all.
    Places,
    /// For the member with this number: where the sessions are of which this member is the primary, and the versions of those that
    /// only the two of them have.
    Roles(u32),
    /// All sessions for a Tomcat, listed at this time.
    Tomcat(Timestamp),
    /// For a Tomcat: where these sessions are.
    Entries(Vec<Key>),
    /// It ended.
    Over,
}

impl Stream {
    pub(super) fn new(what: What) -> Self {
        Self {
            what,
            shard: 0,
            after: None,
            sent: 0,
        }
    }

    /// These sessions, each once.
    pub(super) fn keys(keys: Vec<Key>) -> Self {
        let mut seen = HashSet::new();
        let keys = keys.into_iter().filter(|key| seen.insert(*key)).collect();
        Self::new(What::Keys(keys))
    }

    /// Whether sessions are being compared: if it ends well, the member lacks nothing.
    pub fn is_comparison(&self) -> bool {
        matches!(self.what, What::Versions | What::Roles(_))
    }

    /// The next session whose place is told to a member of the map of Tomcats.
    pub fn next_entry(&mut self) -> Option<Key> {
        match &mut self.what {
            What::Entries(keys) => keys.pop(),
            _ => None,
        }
    }

    /// Whether it tells a member of the map of Tomcats where sessions are.
    pub fn is_entries(&self) -> bool {
        matches!(self.what, What::Entries(_))
    }

    /// Whether it is for a Tomcat.
    pub fn is_for_tomcat(&self) -> bool {
        matches!(self.what, What::Tomcat(_))
    }
}
