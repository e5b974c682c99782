//! Whole tables: what a member that starts asks for, and what members compare that may have missed something.

use std::sync::atomic::Ordering;

use super::outbox::What;
use super::{Core, Outbox, Stream, lock};
use crate::manager::cluster::message::{SessionMessage, Whole, write_state};
use crate::manager::cluster::native::{CHUNK, Item};
use crate::manager::cluster::peers::UniqueId;
use crate::manager::cluster::replica::{Replica, Which};
use crate::manager::cluster::stamp::number;
use crate::manager::table::{Entry, SHARDS};
use crate::session::{Key, Timestamp};

/// So many versions of one shard go in one message.
const VERSIONS_MAX: usize = 4096;
/// So many sessions go to a Tomcat in one message. Tomcat: `sendAllSessionsSize`.
const TOMCAT_BLOCK: usize = 1000;
/// A line in the log for so many sessions.
const PROGRESS: u64 = 10_000;

/// A member that starts waits for the sessions of another.
#[derive(Debug)]
pub(super) struct Joining {
    source: UniqueId,
    is_native: bool,
    /// When it was asked.
    asked: Timestamp,
    /// Sources that did not answer or left.
    tried: Vec<UniqueId>,
    deadline: Option<Timestamp>,
    /// The source did not hear the question: it is just starting too.
    unheard: bool,
}

impl Core {
    /// Asks the member that runs longest for its sessions. [`Core::is_ready`] tells when requests may come.
    pub fn start(&self, now: Timestamp, out: &mut Outbox) {
        self.greet(now, out);
        if self.config.state_transfer_timeout != Some(0) {
            self.ask(Vec::new(), now, out);
        }
    }

    fn ask(&self, tried: Vec<UniqueId>, now: Timestamp, out: &mut Outbox) {
        let source = self.peers().oldest(&tried).cloned();
        let mut joining = lock(&self.joining);
        let Some(source) = source else {
            *joining = None;
            return;
        };
        let wait = self.config.state_transfer_timeout;
        *joining = Some(Joining {
            source: source.id,
            is_native: source.is_native,
            asked: now,
            tried,
            deadline: wait.map(|wait| Timestamp(now.0.saturating_add(wait))),
            unheard: false,
        });
        drop(joining);
        if source.is_native {
            let mut writer = self.writer(now);
            writer.item(&Item::Ask);
            out.tell_one(source.id, writer);
        } else if self.is_backup() {
            self.ask_for_state(&source.id, now, out);
        } else {
            let ask = SessionMessage::get_all_sessions(&self.config.context, now.0);
            out.one_tomcat.push((source.id, ask.encode()));
        }
    }

    /// Whether the sessions of the others are here, or nobody has any, or it took too long.
    pub fn is_joined(&self) -> bool {
        lock(&self.joining).is_none()
    }

    /// Whether, besides, it is known which Tomcats can be asked for sessions.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.is_joined() && !self.peers().is_greeting(now)
    }

    /// The source sent all.
    pub(super) fn source_complete(&self, from: &UniqueId, count: u64, now: Timestamp) {
        let mut joining = lock(&self.joining);
        if let Some(Joining { asked, .. }) = joining.take_if(|j| j.source == *from) {
            let context = &self.config.context;
            let here = self.store.active.load(Ordering::Relaxed);
            tracing::info!(
                context,
                sent = count,
                here,
                millis = now.since(asked),
                "the sessions of the cluster are here"
            );
        }
    }

    /// The source has none; another may.
    pub(super) fn source_empty(&self, from: &UniqueId, now: Timestamp, out: &mut Outbox) {
        self.source_failed(from, now, out);
    }

    /// The source left, or does not serve the context.
    pub(super) fn source_failed(&self, id: &UniqueId, now: Timestamp, out: &mut Outbox) {
        let tried = {
            let joining = lock(&self.joining);
            let Some(joining) = joining.as_ref().filter(|j| j.source == *id) else {
                return;
            };
            let mut tried = joining.tried.clone();
            tried.push(*id);
            tried
        };
        self.ask(tried, now, out);
    }

    /// Asks again when the question was not heard, and gives the state transfer up when its time is over.
    pub(super) fn check_joining(&self, now: Timestamp, out: &mut Outbox) {
        let mut joining = lock(&self.joining);
        if let Some(Joining {
            unheard,
            deadline,
            tried,
            ..
        }) = joining.as_mut()
            && std::mem::take(unheard)
        {
            let (deadline, tried) = (*deadline, tried.clone());
            drop(joining);
            self.ask(tried, now, out);
            joining = lock(&self.joining);
            if let Some(joining) = joining.as_mut() {
                joining.deadline = deadline;
            }
        }
        let is_late = |j: &Joining| j.deadline.is_some_and(|deadline| deadline <= now);
        if joining.as_ref().is_some_and(is_late) {
            let from_tomcat = joining.take().is_some_and(|j| !j.is_native);
            let context = &self.config.context;
            tracing::warn!(
                context,
                from_tomcat,
                "the sessions of the cluster did not come within stateTransferTimeout; this node starts with what it has"
            );
        }
    }

    /// Something that was sent to a member did not arrive.
    pub fn failed(&self, id: &UniqueId, now: Timestamp) {
        if let Some(joining) = lock(&self.joining).as_mut().filter(|j| j.source == *id) {
            joining.unheard = true;
        }
        let mut peers = self.peers_mut();
        peers.greeting_ended(id);
        peers.failed(id, now);
    }

    /// A member lost some of what was sent to it.
    pub fn lost(&self, id: &UniqueId, now: Timestamp) {
        self.failed(id, now);
        if self.maps() {
            self.backups_failed(id);
        }
    }

    /// A stream ended; `complete` if the member has taken all of it.
    pub fn stream_ended(
        &self,
        id: &UniqueId,
        was_comparison: bool,
        complete: bool,
        now: Timestamp,
    ) {
        let mut peers = self.peers_mut();
        if was_comparison {
            peers.synced(id, &self.id, complete, now);
        } else if !complete {
            peers.failed(id, now);
        }
    }

    /// Begins to compare with the members that may have missed something.
    pub(super) fn begin_comparisons(&self, now: Timestamp, out: &mut Outbox) {
        if !self.has_natives() || self.maps() {
            return;
        }
        for id in self.peers_mut().due(now) {
            let what = if self.is_backup() {
                What::Roles(number(&id))
            } else {
                What::Versions
            };
            out.streams.push((id, Stream::new(what)));
        }
    }

    /// The next message of a stream; `None` at its end.
    pub fn pull(&self, stream: &mut Stream, now: Timestamp) -> Option<Vec<u8>> {
        match &mut stream.what {
            What::All => self.pull_all(stream, now),
            What::Versions => self.pull_versions(stream, now),
            What::Keys(keys) => {
                let mut writer = self.writer(now);
                while writer.len() < CHUNK
                    && let Some(key) = keys.pop()
                {
                    if self.give(key, &mut writer) {
                        stream.sent += 1;
                        self.count_out(1);
                    }
                }
                (!writer.is_empty()).then(|| writer.finish())
            }
            What::Places | What::Roles(_) => self.pull_places(stream, now),
            What::Tomcat(_) => self.pull_tomcat(stream, now),
            What::Entries(_) | What::Over => None,
        }
    }

    fn pull_all(&self, stream: &mut Stream, now: Timestamp) -> Option<Vec<u8>> {
        let mut writer = self.writer(now);
        while stream.shard < SHARDS && writer.len() < CHUNK {
            let shard = self.store.table.number(stream.shard);
            if stream.after.is_none() {
                for (key, gone) in shard.all_gone() {
                    writer.item(&Item::Gone(key, gone));
                }
            }
            let mut replicas = next(shard.iter(), stream.after);
            replicas.sort_unstable_by_key(|(key, _)| *key);
            let mut all = true;
            for (key, replica) in replicas {
                if writer.len() >= CHUNK {
                    all = false;
                    break;
                }
                replica.tell(Which::All, &mut writer);
                stream.after = Some(key);
                stream.sent += 1;
                self.count_out(1);
            }
            if all {
                (stream.shard, stream.after) = (stream.shard + 1, None);
            }
        }
        if stream.shard == SHARDS {
            writer.item(&Item::Complete(stream.sent));
            stream.what = What::Over;
            let context = &self.config.context;
            tracing::info!(
                context,
                sessions = stream.sent,
                "all sessions were sent to a member"
            );
        }
        Some(writer.finish())
    }

    fn pull_versions(&self, stream: &mut Stream, now: Timestamp) -> Option<Vec<u8>> {
        if stream.shard == SHARDS {
            return None;
        }
        let mut writer = self.writer(now);
        while stream.shard < SHARDS && writer.len() < CHUNK {
            let shard = self.store.table.number(stream.shard);
            if stream.after.is_none() {
                for (key, gone) in shard.all_gone() {
                    writer.item(&Item::Gone(key, gone));
                }
            }
            let mut replicas = next(shard.iter(), stream.after);
            replicas.sort_unstable_by_key(|(key, _)| *key);
            let is_last = replicas.len() <= VERSIONS_MAX;
            replicas.truncate(VERSIONS_MAX);
            let first = stream.after.map_or(bound(stream.shard, false), following);
            let last = replicas.last().filter(|_| !is_last).map(|(key, _)| *key);
            let high = last.unwrap_or(bound(stream.shard, true));
            writer.item(&Item::Range(first, high));
            for (key, replica) in replicas {
                writer.item(&Item::Version(key, replica.version()));
            }
            stream.after = last;
            if is_last {
                stream.shard += 1;
            }
        }
        Some(writer.finish())
    }

    fn pull_tomcat(&self, stream: &mut Stream, now: Timestamp) -> Option<Vec<u8>> {
        let What::Tomcat(listed) = stream.what else {
            return None;
        };
        let context = &self.config.context;
        let mut block = Vec::new();
        while stream.shard < SHARDS && block.len() < TOMCAT_BLOCK {
            let shard = self.store.table.number(stream.shard);
            let mut replicas = next(shard.iter(), stream.after);
            replicas.sort_unstable_by_key(|(key, _)| *key);
            let room = TOMCAT_BLOCK - block.len();
            let all = replicas.len() <= room;
            replicas.truncate(room);
            stream.after = replicas.last().filter(|_| !all).map(|(key, _)| *key);
            block.extend(replicas.iter().map(|(_, replica)| whole(replica)));
            if all {
                (stream.shard, stream.after) = (stream.shard + 1, None);
            }
        }
        // One message with sessions at least, as Tomcat sends it, be it with none.
        if block.is_empty() && stream.sent > 0 || stream.sent == u64::MAX {
            stream.what = What::Over;
            return Some(SessionMessage::transfer_complete(context, listed.0).encode());
        }
        stream.sent = match block.len() {
            0 => u64::MAX,
            len => stream.sent + len as u64,
        };
        self.count_out(block.len() as u64);
        let (body, failed) = write_state(&block);
        self.count_unwritable(failed.iter().map(|(_, name, error)| (name, error)));
        Some(SessionMessage::all_session_data(context, now.0, body).encode())
    }

    /// Sessions came in a transfer.
    pub(super) fn count_in(&self, sessions: u64) {
        let before = self
            .counts
            .transferred_in
            .fetch_add(sessions, Ordering::Relaxed);
        if before / PROGRESS != (before + sessions) / PROGRESS && !self.is_joined() {
            let context = &self.config.context;
            tracing::info!(context, sessions = before + sessions, "sessions arrive");
        }
    }

    pub(super) fn count_out(&self, sessions: u64) {
        self.counts
            .transferred_out
            .fetch_add(sessions, Ordering::Relaxed);
    }
}

fn next<'s>(
    replicas: impl Iterator<Item = &'s Replica>,
    after: Option<Key>,
) -> Vec<(Key, &'s Replica)> {
    let whole = replicas.filter(|replica| !replica.marks.partial);
    whole
        .map(|replica| (replica.kept().id().key, replica))
        .filter(|(key, _)| after.is_none_or(|after| *key > after))
        .collect()
}

/// The lowest or the highest key of a shard.
fn bound(shard: usize, high: bool) -> Key {
    let mut bytes = [if high { u8::MAX } else { 0 }; 16];
    let first = if high { 256 - SHARDS + shard } else { shard };
    bytes[0] = u8::try_from(first).unwrap_or(u8::MAX);
    Key::from_bytes(bytes)
}

/// The key after this one.
fn following(key: Key) -> Key {
    let number = u128::from_be_bytes(*key.as_bytes());
    Key::from_bytes(number.saturating_add(1).to_be_bytes())
}

/// The session as a Tomcat is sent it.
pub(super) fn whole(replica: &Replica) -> Whole {
    let facts = replica.kept().facts();
    let session = crate::session::Session::holding(replica.kept().clone());
    Whole {
        created: facts.created.0,
        last_accessed: facts.last_accessed.0,
        this_accessed: replica.touched().0,
        max_inactive: facts.max_inactive,
        is_new: facts.is_new,
        is_valid: true,
        id: facts.id.to_string(),
        attributes: session.read(|attributes| {
            let all = attributes.iter();
            all.map(|(name, value)| (name.to_owned(), value)).collect()
        }),
    }
}
