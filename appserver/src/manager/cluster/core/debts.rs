//! What a member owes the new primary of a session: whoever loses its role makes sure that the new primary has what it has, so that
//! nothing is lost when two served the session at the same time. Until it is paid the copy stays.

use std::sync::atomic::Ordering;

use super::{Core, Outbox, Owed};
use crate::manager::cluster::native::Item;
use crate::manager::cluster::peers::UniqueId;
use crate::manager::cluster::replica::{Replica, Which};
use crate::manager::cluster::stamp::number;
use crate::manager::table::Entry;
use crate::session::{Key, Timestamp};

/// How a member pays what it owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payment {
    /// It says which version it has: mostly the primary has the same, and nothing else is to be sent.
    Version,
    /// It sends all that it has.
    Whole,
}

impl Core {
    /// Sends the primary what this member owes it, or asks first whether it has just that.
    pub(super) fn pay(
        &self,
        replica: &mut Replica,
        payment: Payment,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        replica.marks.owed &= replica.primary != self.store.me();
        if !replica.marks.owed {
            return;
        }
        self.orphans.store(true, Ordering::Relaxed);
        if let Some(to) = self.id_of(replica.primary) {
            let mut writer = self.writer(now);
            let (key, version) = (replica.kept().id().key, replica.version());
            // The two may know different places.
            writer.item(&Item::Place(key, replica.place()));
            match payment {
                Payment::Version => writer.item(&Item::Owed(key, version)),
                Payment::Whole => replica.tell(Which::All, &mut writer),
            }
            out.owed.push(Owed {
                to,
                key,
                version,
                message: writer.finish(),
            });
        }
    }

    /// Pays the primary that asks for a session what this member owes it; whether it owes it anything.
    pub(super) fn pays(&self, key: Key, to: &UniqueId, now: Timestamp, out: &mut Outbox) -> bool {
        let key = self.store.resolve(key, false);
        let mut shard = self.store.table.shard(key);
        let replica = shard.get_mut(key).filter(|r| r.marks.owed);
        let Some(replica) = replica.filter(|r| r.primary == number(to)) else {
            return false;
        };
        self.pay(replica, Payment::Whole, now, out);
        true
    }

    /// Whether this member is the session's primary and has just this version of it.
    pub(super) fn is_paid(&self, key: Key, version: u64) -> bool {
        let shard = self.store.table.shard(key);
        let mine = shard.get(key).filter(|r| r.primary == self.store.me());
        mine.is_some_and(|r| !r.marks.partial && r.version() == version)
    }

    /// The primary may lack something that is here.
    pub(super) fn owe(&self, key: Key, now: Timestamp, out: &mut Outbox) {
        let mut shard = self.store.table.shard(key);
        if let Some(replica) = shard.get_mut(key) {
            replica.marks.owed = true;
            self.pay(replica, Payment::Whole, now, out);
        }
    }

    /// The primary has what this member owed it.
    pub fn repaid(&self, key: Key, version: u64) {
        let key = self.store.resolve(key, false);
        let mut shard = self.store.table.shard(key);
        if let Some(replica) = shard.get_mut(key) {
            replica.marks.owed &= replica.version() != version;
        }
        self.let_go(&mut shard, key);
    }
}
