//! What one member does with its sessions, without I/O and clock: what goes to whom when a request ends, a message arrives, a member
//! comes or leaves, or time passes. All of it is for several threads at once.
//!
//! ```text
//!   create find change_id commit remove ──┐                  ┌──► Outbox: to all, to one, to Tomcats, streams
//!   receive, receive_tomcat ──────────────┼──► store.rs ─────┤
//!   member_added member_removed tick ─────┘                  └──► what the caller asked for
//!
//!   Spread::All      receive, transfer      with a Tomcat: tomcat      (DeltaManager)
//!   Spread::Backup   places, claims, debts  with a Tomcat: map         (BackupManager)
//! ```

mod claims;
mod debts;
mod expiry;
mod listener;
mod map;
mod outbox;
mod places;
mod receive;
mod status;
mod tomcat;
mod transfer;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use super::native::{Gone, Item, Writer};
use super::peers::{Peer, Peers, UniqueId};
use super::replica::{Replica, Which};
use super::stamp::number;
use super::store::{Store, StoreShard};
use crate::manager::table::{Entry, SHARDS};
use crate::manager::{ManagerError, Source};
use crate::session::{AskedId, Kept, Key, Session, SessionError, SessionId, Suffix, Timestamp};

pub use listener::{AttributeListener, Origin};
use map::Map;
pub use map::questions::QuestionId;
pub use outbox::{MapSend, Outbox, Owed, Stream};
pub use status::{ClusterStatus, PeerStatus};
use tomcat::Held;
use transfer::Joining;

/// Settings of a [`Core`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreConfig {
    /// The application's name in messages. Tomcat: `/jsp` for a `<Cluster>` in the `<Host>`, `localhost#/jsp` in the `<Engine>`.
    pub context: String,
    /// Which members keep a session.
    pub spread: Spread,
    /// What new sessions' ids end with.
    pub suffix: Suffix,
    /// A session that another member served gets this member's route, if it has one. Tomcat: `JvmRouteBinderValve`.
    pub binds_route: bool,
    /// Seconds that a new session may be idle; 0 or less: for ever.
    pub max_inactive: i32,
    /// At most so many sessions are made here; 0: no limit. Copies of others' sessions count and are never refused.
    pub max_active: usize,
    /// A stopping member ends all sessions of the cluster. Tomcat: `expireSessionsOnShutdown`.
    pub expire_sessions_on_shutdown: bool,
    /// Listeners hear of changes that were made on other members too. Tomcat: `notifyListenersOnReplication`.
    pub notify_listeners_on_replication: bool,
    /// Every change since the last message goes to Tomcats, and not only the last one of each attribute. Tomcat: `recordAllActions`.
    pub record_all_actions: bool,
    /// Milliseconds to wait for the sessions of the others when starting; 0: not at all; `None`: for ever.
    /// Tomcat: `stateTransferTimeout`.
    pub state_transfer_timeout: Option<u64>,
}

impl CoreConfig {
    /// An application with what Tomcat has where nothing is said.
    pub fn new(context: &str, spread: Spread) -> Self {
        Self {
            context: context.to_owned(),
            spread,
            suffix: Suffix::NONE,
            binds_route: true,
            max_inactive: 1800,
            max_active: 0,
            expire_sessions_on_shutdown: false,
            notify_listeners_on_replication: true,
            record_all_actions: false,
            state_transfer_timeout: Some(60_000),
        }
    }
}

/// Which members keep a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// All. Tomcat: `DeltaManager`.
    All,
    /// A primary and a backup; the others know which. Tomcat: `BackupManager`.
    Backup,
}

/// Makes keys: [`Key::random`], or what a simulation wants.
pub struct NewKey(pub Box<dyn Fn() -> Key + Send + Sync>);

impl Default for NewKey {
    fn default() -> Self {
        Self(Box::new(Key::random))
    }
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKey")
    }
}

/// One member's sessions of one context.
#[derive(Debug)]
pub struct Core {
    new_key: NewKey,
    pub(super) config: CoreConfig,
    id: UniqueId,
    pub(super) store: Store,
    peers: RwLock<Peers>,
    has_natives: AtomicBool,
    has_tomcats: AtomicBool,
    has_maps: AtomicBool,
    /// A session was used that the others do not know of yet.
    any_used: AtomicBool,
    /// A session may have lost its primary or its backup.
    orphans: AtomicBool,
    /// Whose turn it is to be a backup.
    turn: AtomicUsize,
    joining: Mutex<Option<Joining>>,
    held: Mutex<Held>,
    map: Map,
    listener: OnceLock<Arc<dyn AttributeListener>>,
    pub(super) counts: Counts,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) created: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) invalidated: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) renamed: AtomicU64,
    conflicts: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    unwritable: AtomicU64,
    transferred_in: AtomicU64,
    transferred_out: AtomicU64,
}

impl Core {
    /// A member without sessions. `id` is its own; `new_key` makes keys that nobody can guess.
    pub fn new(config: CoreConfig, id: UniqueId, new_key: NewKey) -> Self {
        Self {
            new_key,
            store: Store::new(number(&id), config.max_inactive),
            peers: RwLock::new(Peers::new(config.spread == Spread::Backup)),
            map: Map::new(&config.context),
            config,
            id,
            has_natives: AtomicBool::new(false),
            has_tomcats: AtomicBool::new(false),
            has_maps: AtomicBool::new(false),
            any_used: AtomicBool::new(false),
            orphans: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            joining: Mutex::default(),
            held: Mutex::default(),
            listener: OnceLock::new(),
            counts: Counts::default(),
        }
    }

    /// A new session with a new id.
    pub fn create(&self, now: Timestamp) -> Result<Session, ManagerError> {
        let limit = self.config.max_active;
        if limit > 0 && self.store.active.load(Ordering::Relaxed) >= limit as u64 {
            self.counts.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(ManagerError::TooMany { limit });
        }
        self.counts.created.fetch_add(1, Ordering::Relaxed);
        loop {
            let id = SessionId {
                key: (self.new_key.0)(),
                suffix: self.config.suffix,
            };
            let mut shard = self.store.table.shard(id.key);
            if shard.get(id.key).is_some() || shard.gone(id.key).is_some() {
                continue;
            }
            let kept = Kept::new(id, now, self.config.max_inactive);
            let mut replica = Replica::new(kept.clone(), self.store.me());
            replica.marks.untold = true;
            self.store.insert(&mut shard, replica);
            return Ok(self.recording(Session::holding(kept)));
        }
    }

    /// The valid session with this id. One that was idle for its interval is refused here even if it is another member's to end.
    pub fn find(
        &self,
        asked: &AskedId<'_>,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Option<(Session, Source)> {
        let me = self.store.me();
        let mut key = asked.key;
        let mut shard = self.store.table.shard(key);
        if shard.get(key).is_none() {
            shard.gone(key)?;
            drop(shard);
            key = self.store.resolve(key, true);
            shard = self.store.table.shard(key);
        }
        let replica = shard.get_mut(key).filter(|r| !r.marks.partial)?;
        if replica.kept().is_idle(now) {
            if self.is_responsible(replica.primary) {
                let gone = Gone::Expired(replica.touched());
                let id = replica.kept().id();
                self.end(&mut shard, &id, gone, now, out);
                self.counts.expired.fetch_add(1, Ordering::Relaxed);
            }
            return None;
        }
        let session = self.recording(replica.kept().begin(now)?);
        let source = if replica.primary == me {
            Source::Local
        } else {
            Source::Replica
        };
        if self.is_backup() && replica.primary != me {
            let holders = [replica.primary, replica.backup];
            let mut claims = self.claims(now);
            if self.maps() {
                // With a new id it is told as a new session.
                if !self.binds(&replica.kept().id()) {
                    self.take_over(replica, now, &mut claims.map);
                }
            } else {
                self.claim_from(replica, holders, now, &mut claims);
            }
            self.send_claims(claims, out);
        }
        replica.primary = me;
        self.bind_route(replica, now, out);
        self.used(&mut shard, key);
        Some((session, source))
    }

    fn recording(&self, session: Session) -> Session {
        match self.config.record_all_actions {
            true => session.recording_each(),
            false => session.recording(),
        }
    }

    /// Gives the session a new id.
    pub fn change_id(
        &self,
        session: &Session,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), SessionError> {
        let (old, stamp) = loop {
            if let Some(renamed) = self.store.rename(session.kept(), (self.new_key.0)(), now) {
                break renamed;
            }
            let (key, shard) = self.store.shard_of(session.kept());
            let here = shard.get(key).filter(|r| r.kept().is(session.kept()));
            match here {
                None => return Err(SessionError::Ended),
                Some(_) if session.is_ended() => {
                    self.log_out(shard, &session.id(), now, out);
                    return Err(SessionError::Ended);
                }
                Some(_) => {}
            }
        };
        self.counts.renamed.fetch_add(1, Ordering::Relaxed);
        let (key, mut shard) = self.store.shard_of(session.kept());
        let Some(replica) = shard.get_mut(key) else {
            return Ok(());
        };
        replica.primary = self.store.me();
        if self.maps() {
            self.tell_map_of_id(replica, &old, now, out);
        } else if self.has_natives() {
            let moved = Gone::Moved {
                to: key,
                stamp,
                alias: false,
            };
            let mut writer = self.writer(now);
            writer.item(&Item::Gone(old.key, moved));
            if self.is_backup() {
                let prefer = [replica.backup];
                let mut claims = self.claims(now);
                self.claim(replica, &prefer, now, &mut claims);
                out.tell_all(writer);
                self.send_claims(claims, out);
            } else {
                replica.tell(Which::All, &mut writer);
                out.tell_all(writer);
            }
        }
        self.tell_tomcats_of_id(&old, &replica.kept().id(), replica.marks.untold, now, out);
        Ok(())
    }

    /// The request is over. Unless `tell`, what it changed is told with the next one's changes.
    pub fn commit(&self, session: &Session, tell: bool, now: Timestamp, out: &mut Outbox) {
        session.kept().end(now);
        let mut changes = session.take_changes();
        self.tell_of_own(session, &changes);
        let (key, mut shard) = self.store.shard_of(session.kept());
        let is_here = |r: &Replica| r.kept().is(session.kept());
        if !shard.get(key).is_some_and(is_here) {
            return;
        }
        let has_pending = !shard.beside.pending.is_empty();
        if has_pending && let Some(mut pending) = shard.beside.pending.remove(&key) {
            pending.then(changes);
            changes = pending;
        }
        if !tell {
            if !changes.is_empty() {
                shard.beside.pending.insert(key, changes);
            }
            return;
        }
        let me = self.store.me();
        let Some(replica) = shard.get_mut(key) else {
            return;
        };
        if !self.is_backup() {
            replica.primary = me;
        }
        let is_new = std::mem::take(&mut replica.marks.untold);
        let is_bound = std::mem::take(&mut replica.marks.bound);
        if changes.is_empty() && !is_new && !is_bound {
            self.tell_tomcats_of_use(replica, now, out);
            self.used(&mut shard, key);
            return;
        }
        let stamp = self.store.clock.tick(now);
        replica.stamp(&changes.attributes, changes.max_inactive, stamp);
        if self.is_backup() {
            self.tell_copy(replica, &changes, is_new, now, out);
            return;
        }
        if self.has_natives() {
            let mut writer = self.writer(now);
            let which = if is_new {
                Which::All
            } else {
                Which::Named(&changes.attributes)
            };
            replica.tell(which, &mut writer);
            out.tell_all(writer);
        }
        self.tell_tomcats_of_changes(replica, &changes, is_new, now, out);
    }

    /// The application ended the session.
    pub fn remove(&self, session: &Session, now: Timestamp, out: &mut Outbox) {
        session.invalidate();
        let (key, shard) = self.store.shard_of(session.kept());
        let is_here = |r: &Replica| r.kept().is(session.kept());
        if shard.get(key).is_some_and(is_here) {
            self.log_out(shard, &session.id(), now, out);
        }
    }

    fn log_out(
        &self,
        mut shard: MutexGuard<'_, StoreShard>,
        id: &SessionId,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let origin = shard.get(id.key).and_then(Replica::origin);
        self.end(&mut shard, id, Gone::Ended, now, out);
        drop(shard);
        if let Some(origin) = origin {
            self.store.leave(origin, Gone::Ended, now);
        }
        self.counts.invalidated.fetch_add(1, Ordering::Relaxed);
    }

    /// A member came.
    pub fn member_added(&self, peer: Peer, now: Timestamp) {
        let mut peers = self.peers_mut();
        self.orphans.fetch_or(self.is_backup(), Ordering::Relaxed);
        peers.add(peer, &self.id, now);
        self.count_kinds(&peers);
    }

    /// A member left. If it was to send all sessions, another one is asked.
    pub fn member_removed(&self, id: &UniqueId, now: Timestamp, out: &mut Outbox) {
        let mut peers = self.peers_mut();
        peers.remove(id, &self.id, now);
        self.count_kinds(&peers);
        self.orphans.store(self.is_backup(), Ordering::Relaxed);
        drop(peers);
        self.source_failed(id, now, out);
    }

    /// All sessions, to look at them.
    pub fn sessions(&self) -> Vec<Session> {
        let shards = (0..SHARDS).map(|number| self.store.table.number(number));
        let of = |shard: MutexGuard<'_, StoreShard>| {
            let whole = shard.iter().filter(|replica| !replica.marks.partial);
            let kept = whole.map(|replica| replica.kept().clone());
            kept.map(Session::holding).collect::<Vec<_>>()
        };
        shards.flat_map(of).collect()
    }

    /// The ids of the other native members, or of the Tomcats.
    pub fn members(&self, native: bool) -> Vec<UniqueId> {
        let peers = self.peers();
        let of_kind = peers.iter().filter(|peer| peer.is_native == native);
        of_kind.map(|peer| peer.id).collect()
    }

    /// The ids of the other native members.
    pub fn natives(&self) -> Arc<[UniqueId]> {
        self.peers().natives()
    }

    /// Ends a session for all members.
    fn end(
        &self,
        shard: &mut StoreShard,
        id: &SessionId,
        gone: Gone,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let replica = shard.get(id.key);
        let is_told = replica.is_some_and(|r| !r.marks.untold);
        let origin = replica.and_then(Replica::origin);
        self.store.end(shard, id.key, gone, now);
        if self.maps() {
            if is_told {
                self.tell_map_of_end(id, out);
            }
        } else if self.has_natives() {
            let mut writer = self.writer(now);
            writer.item(&Item::Gone(id.key, gone));
            if let (Some(origin), Gone::Ended) = (origin, gone) {
                writer.item(&Item::Gone(origin, gone));
            }
            out.tell_all(writer);
        }
        if is_told {
            self.tell_tomcats_of_end(id, now, out);
        }
    }

    /// The session was used here: the others are told soon, with many others at once.
    fn used(&self, shard: &mut StoreShard, key: Key) {
        let Some(replica) = shard.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut replica.marks.used, true) {
            shard.beside.used.push(key);
            self.any_used.store(true, Ordering::Relaxed);
        }
    }

    fn writer(&self, now: Timestamp) -> Writer {
        Writer::new(&self.config.context, now)
    }

    /// Whether a session has one backup only.
    pub fn is_backup(&self) -> bool {
        self.config.spread == Spread::Backup
    }

    fn has_natives(&self) -> bool {
        self.has_natives.load(Ordering::Relaxed)
    }

    /// Whether a member is a Tomcat that is told what happens.
    pub fn has_tomcats(&self) -> bool {
        !self.is_backup() && self.has_tomcats.load(Ordering::Relaxed)
    }

    fn count_kinds(&self, peers: &Peers) {
        let has = |is_native| peers.iter().any(|peer| peer.is_native == is_native);
        self.has_natives.store(has(true), Ordering::Relaxed);
        self.has_tomcats.store(has(false), Ordering::Relaxed);
        self.has_maps.store(peers.have_map(), Ordering::Relaxed);
    }

    /// Whether sessions can have a backup.
    fn has_others(&self) -> bool {
        self.has_natives() || self.maps()
    }

    /// Whether it is this member that ends the idle sessions which `primary` served last: its own, and those of members that are
    /// gone if it has the lowest number of those that are left.
    fn is_responsible(&self, primary: u32) -> bool {
        let me = self.store.me();
        if primary == me || !self.has_others() && !self.has_tomcats() {
            return true;
        }
        let peers = self.peers();
        let mut natives = peers.iter().filter(|peer| peer.is_native);
        peers.of_number(primary).is_none() && natives.all(|peer| me < peer.number())
    }

    fn peers(&self) -> RwLockReadGuard<'_, Peers> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers_mut(&self) -> RwLockWriteGuard<'_, Peers> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
