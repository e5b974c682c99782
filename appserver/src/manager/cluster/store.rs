//! The copies of one member, and what it remembers of those that are gone. Every change that another member tells ends here.
//!
//! A key that is gone leaves a mark for a bounded time, so that what comes late cannot bring the session back:
//!
//! | mark | a change that comes under this key |
//! |---|---|
//! | ended (log out) | is refused, for ever |
//! | expired | is refused, unless the session was used after it had been thought idle |
//! | moved | is applied to the session where it is now |
//!
//! A session that has got other keys knows its first one, and a log out marks that too: whoever has the mark refuses the session
//! under whatever key it comes, without a chain of marks from one to the other.
//!
//! Two members may give a session new keys at the same time. The later one wins on every member; the other stays an alias, since
//! a client was told it.

mod beside;

use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};

use super::native::{Gone, Item, Reader, Record, Writer};
use super::replica::{Merged, Replica, Which};
use super::stamp::{Stamp, StampClock};
use crate::manager::table::{Entry, SHARDS, Shard, Table};
use crate::session::attributes::Attributes;
use crate::session::{Facts, Kept, Key, SessionId, Suffix, Timestamp};

pub use beside::Beside;

/// A chain of keys that is longer than this is no honest member's.
const HOPS_MAX: usize = 16;
/// Marks are kept at least so long.
const GONE_LEAST: u64 = 600_000;
/// And at most so long.
const GONE_MOST: u64 = 86_400_000;

/// The shard of a [`Store`].
pub type StoreShard = Shard<Replica, Beside>;

/// Copies of sessions.
#[derive(Debug)]
pub struct Store {
    /// The sessions.
    pub table: Table<Replica, Beside>,
    /// This member's clock.
    pub clock: StampClock,
    /// How many sessions there are.
    pub active: AtomicU64,
    /// How long marks are kept, in milliseconds.
    keep_gone: u64,
}

/// What became of a told session or change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was merged into the session that is here under this key.
    Merged(Merged, Key),
    /// It is new here.
    New {
        /// Its key.
        key: Key,
        /// It was a part of the session only.
        partial: bool,
    },
    /// The session is gone, whatever its teller thinks.
    Refused(Gone),
}

/// What became of an end or a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It is done.
    Done,
    /// It was done before, or the session is not known.
    Nothing,
    /// The session that is here has this key now.
    Moved {
        /// The new key.
        to: Key,
        /// It was known under the new key already, and the two became one.
        united: bool,
    },
    /// Another key is gone with it, which its teller may not know.
    Ended(Key, Gone),
    /// It is not true: this member has served the session meanwhile.
    Alive(Key),
}

impl Store {
    /// No sessions. `max_inactive` is in seconds.
    pub fn new(member: u32, max_inactive: i32) -> Self {
        let twice = u64::try_from(max_inactive).unwrap_or_default() * 2_000;
        Self {
            table: Table::new(),
            clock: StampClock::new(member),
            active: AtomicU64::new(0),
            keep_gone: twice.clamp(GONE_LEAST, GONE_MOST),
        }
    }

    /// This member's number.
    pub fn me(&self) -> u32 {
        self.clock.member()
    }

    /// The shard that this session is in now, and its key. A session that moves meanwhile is followed.
    pub fn shard_of(&self, kept: &Kept) -> (Key, MutexGuard<'_, StoreShard>) {
        loop {
            let key = kept.id().key;
            let shard = self.table.shard(key);
            if kept.id().key == key {
                return (key, shard);
            }
        }
    }

    /// Where a session is that had this key. With `client`, only if a client may still come with it.
    pub fn resolve(&self, mut key: Key, client: bool) -> Key {
        for _ in 0..HOPS_MAX {
            match self.table.shard(key).gone(key) {
                Some(Gone::Moved { to, alias, .. }) if alias || !client => key = to,
                _ => break,
            }
        }
        key
    }

    /// Enters a session that is here only.
    pub fn insert(&self, shard: &mut StoreShard, replica: Replica) {
        shard.insert(replica);
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a session out, ends it, and leaves a mark; whether it was there.
    pub fn end(&self, shard: &mut StoreShard, key: Key, gone: Gone, now: Timestamp) -> bool {
        let removed = shard.drop_copy(key);
        if let Some(replica) = &removed {
            replica.kept().finish();
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
        self.mark(shard, key, gone, now);
        removed.is_some()
    }

    /// Remembers that a key is gone.
    pub fn mark(&self, shard: &mut StoreShard, key: Key, gone: Gone, now: Timestamp) {
        let forget = Timestamp(now.0.saturating_add(self.keep_gone));
        shard.beside.mark(key, gone, forget);
    }

    /// Takes over a session, or a change of one. `names` is for those of the attributes that changed in a session that was here.
    pub fn take(
        &self,
        record: &Record<'_>,
        names: Option<&mut Vec<String>>,
        now: Timestamp,
    ) -> Taken {
        if record.origin.is_some_and(|origin| self.is_ended(origin)) {
            self.finish(record.key, Gone::Ended, now);
            return Taken::Refused(Gone::Ended);
        }
        let mut key = record.key;
        for _ in 0..HOPS_MAX {
            let mut shard = self.table.shard(key);
            if let Some(replica) = shard.get_mut(key) {
                let merged = replica.merge(record, names);
                self.clock.observe(merged.latest, now);
                return Taken::Merged(merged, key);
            }
            match shard.gone(key) {
                Some(Gone::Moved { to, .. }) => {
                    key = to;
                    continue;
                }
                Some(Gone::Expired(touched)) if record.touched > touched => {
                    shard.beside.drop_mark(key);
                }
                Some(gone) => return Taken::Refused(gone),
                None => {}
            }
            let mut replica = Replica::new(restored(key, record), record.primary);
            let merged = replica.merge(record, None);
            self.clock.observe(merged.latest, now);
            replica.marks.partial = !record.full;
            if let Some(place) = shard.beside.drop_place(key) {
                replica.set_place(place);
            }
            self.insert(&mut shard, replica);
            let partial = !record.full;
            return Taken::New { key, partial };
        }
        Taken::Refused(Gone::Ended)
    }

    /// A key is gone, as another member says.
    pub fn leave(&self, key: Key, gone: Gone, now: Timestamp) -> Left {
        match gone {
            Gone::Moved { to, stamp, alias } => {
                self.clock.observe(stamp, now);
                self.follow(key, Moved { to, stamp, alias }, now, HOPS_MAX)
            }
            Gone::Ended | Gone::Expired(_) => self.finish(key, gone, now),
        }
    }

    fn finish(&self, told: Key, gone: Gone, now: Timestamp) -> Left {
        let mut key = told;
        let left = |key| {
            if key == told {
                Left::Done
            } else {
                Left::Ended(key, gone)
            }
        };
        for _ in 0..HOPS_MAX {
            let mut shard = self.table.shard(key);
            if let Some(replica) = shard.get(key) {
                let used_here = replica.primary == self.me() && !replica.kept().is_idle(now);
                if matches!(gone, Gone::Expired(_)) && used_here {
                    return Left::Alive(key);
                }
                self.end(&mut shard, key, gone, now);
                return left(key);
            }
            match shard.gone(key) {
                Some(Gone::Moved { to, .. }) => {
                    if gone == Gone::Ended {
                        self.mark(&mut shard, key, gone, now);
                    }
                    key = to;
                }
                known => {
                    if known >= Some(gone) {
                        return Left::Nothing;
                    }
                    self.mark(&mut shard, key, gone, now);
                    return left(key);
                }
            }
        }
        Left::Nothing
    }

    /// A session has another key.
    fn follow(&self, key: Key, moved: Moved, now: Timestamp, hops: usize) -> Left {
        // It may have moved on already.
        let target = self.resolve(moved.to, false);
        if hops == 0 || key == target {
            return Left::Nothing;
        }
        let mut shards = self.table.two(key, target);
        match shards.first().gone(key) {
            Some(Gone::Ended) => {
                drop(shards);
                match self.finish(target, Gone::Ended, now) {
                    Left::Done => Left::Ended(target, Gone::Ended),
                    left => left,
                }
            }
            // Two new keys at the same time: the later wins, and the other leads to it.
            Some(Gone::Moved { to, stamp, .. }) => {
                if to == moved.to {
                    return Left::Nothing;
                }
                let (loser, winner) = if (moved.stamp, moved.to) > (stamp, to) {
                    self.mark(shards.first(), key, moved.into(), now);
                    (to, moved)
                } else {
                    let alias = false;
                    (moved.to, Moved { to, stamp, alias })
                };
                drop(shards);
                let alias = Moved {
                    alias: true,
                    ..winner
                };
                self.follow(loser, alias, now, hops - 1)
            }
            Some(Gone::Expired(_)) | None => {
                if let Some(Gone::Moved { .. }) = shards.second().gone(target) {
                    drop(shards);
                    return self.follow(key, moved, now, hops - 1);
                }
                self.mark(shards.first(), key, moved.into(), now);
                let Some(mut replica) = shards.first().remove(key) else {
                    return Left::Nothing;
                };
                // Of one that is not all here the rest tells it.
                if !replica.marks.partial && replica.origin().is_none() {
                    replica.set_origin(key);
                }
                self.active.fetch_sub(1, Ordering::Relaxed);
                let pending = shards.first().beside.pending.remove(&key);
                let shard = shards.second();
                if shard.gone(target) == Some(Gone::Ended) {
                    replica.kept().finish();
                    return Left::Ended(target, Gone::Ended);
                }
                shard.beside.drop_mark(target);
                if let Some(pending) = pending {
                    shard.beside.pending.insert(target, pending);
                }
                let united = self.enter(shard, target, replica, now);
                Left::Moved { to: target, united }
            }
        }
    }

    /// Puts a session under its new key. One that is there is the same session, and the two become one; whether it was so.
    fn enter(
        &self,
        shard: &mut StoreShard,
        key: Key,
        mut replica: Replica,
        now: Timestamp,
    ) -> bool {
        let id = SessionId {
            key,
            ..replica.kept().id()
        };
        // What was ended meanwhile is dropped by whoever ended it, or by the sweep.
        let _ = replica.kept().rename(id);
        let other = shard.remove(key);
        let united = other.is_some();
        if let Some(mut other) = other {
            self.active.fetch_sub(1, Ordering::Relaxed);
            // The one that requests hold now stays.
            if other.kept().references() > replica.kept().references() {
                std::mem::swap(&mut other, &mut replica);
            }
            let mut writer = Writer::new("", now);
            other.tell(Which::All, &mut writer);
            let told = writer.finish();
            if let Ok(mut reader) = Reader::new(&told, now)
                && let Ok(Some(Item::Record(record))) = reader.item()
            {
                replica.merge(&record, None);
            }
            if other.place() > replica.place() {
                replica.set_place(other.place());
            }
            other.kept().finish();
        }
        self.insert(shard, replica);
        united
    }

    /// Gives a session a new key here. `None`, and nothing is changed, when the key is taken or the session is not here any more.
    pub fn rename(&self, kept: &Kept, new: Key, now: Timestamp) -> Option<(SessionId, Stamp)> {
        let old = kept.id();
        let mut shards = self.table.two(old.key, new);
        let is_taken = shards.second().get(new).is_some() || shards.second().gone(new).is_some();
        let is_here = |r: &Replica| r.kept().is(kept);
        if is_taken || !shards.first().get(old.key).is_some_and(is_here) {
            return None;
        }
        let id = SessionId { key: new, ..old };
        let mut replica = shards.first().remove(old.key)?;
        if replica.kept().rename(id).is_err() {
            shards.first().insert(replica);
            return None;
        }
        if replica.origin().is_none() {
            replica.set_origin(old.key);
        }
        let stamp = self.clock.tick(now);
        let (to, alias) = (new, false);
        self.mark(
            shards.first(),
            old.key,
            Gone::Moved { to, stamp, alias },
            now,
        );
        if let Some(pending) = shards.first().beside.pending.remove(&old.key) {
            shards.second().beside.pending.insert(new, pending);
        }
        shards.second().insert(replica);
        Some((old, stamp))
    }

    /// Whether the session that had this key was ended on purpose.
    pub fn is_ended(&self, key: Key) -> bool {
        self.table.shard(key).gone(key) == Some(Gone::Ended)
    }

    /// Forgets marks whose time is over.
    pub fn forget(&self, now: Timestamp) {
        for number in 0..SHARDS {
            self.table.number(number).beside.forget(now);
        }
    }
}

/// What [`Gone::Moved`] says.
#[derive(Debug, Clone, Copy)]
struct Moved {
    to: Key,
    stamp: Stamp,
    alias: bool,
}

impl From<Moved> for Gone {
    fn from(Moved { to, stamp, alias }: Moved) -> Self {
        Self::Moved { to, stamp, alias }
    }
}

impl StoreShard {
    /// The mark of a key that is gone.
    pub fn gone(&self, key: Key) -> Option<Gone> {
        self.beside.gone(key)
    }

    /// Takes a session out, with what is beside it; no mark is left.
    pub fn drop_copy(&mut self, key: Key) -> Option<Replica> {
        self.beside.pending.remove(&key);
        self.remove(key)
    }

    /// All marks.
    pub fn all_gone(&self) -> impl Iterator<Item = (Key, Gone)> {
        self.beside.all_gone()
    }
}

fn restored(key: Key, record: &Record<'_>) -> Kept {
    let facts = Facts {
        id: SessionId {
            key,
            suffix: Suffix::NONE,
        },
        created: record.created,
        last_accessed: record.last_accessed,
        max_inactive: record.interval.0,
        is_new: false,
    };
    Kept::restored(facts, Attributes::new(), record.touched)
}
