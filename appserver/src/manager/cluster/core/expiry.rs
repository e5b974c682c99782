//! What time brings: sessions that are idle for too long, and what is told only now and then.

use std::sync::atomic::Ordering;

use super::{Core, Outbox};
use crate::manager::cluster::native::{CHUNK, Gone, Item};
use crate::manager::cluster::replica::Replica;
use crate::manager::table::{Entry, SHARDS};
use crate::session::{SessionId, Timestamp};

impl Core {
    /// Some time went by: call it about twice per second.
    pub fn tick(&self, now: Timestamp, out: &mut Outbox) {
        self.check_joining(now, out);
        self.greet(now, out);
        self.check_map(now);
        self.tell_of_use(now, out);
        self.drop_held(now);
        self.begin_comparisons(now, out);
        if self.is_backup() {
            self.rebalance(now, out);
        }
    }

    /// Tells the native members which sessions were used since the last time, so that theirs do not expire.
    fn tell_of_use(&self, now: Timestamp, out: &mut Outbox) {
        if !self.any_used.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut writer = self.writer(now);
        let mut to_backups = Vec::new();
        for shard in 0..SHARDS {
            let mut shard = self.store.table.number(shard);
            for key in std::mem::take(&mut shard.beside.used) {
                let Some(replica) = shard.get_mut(key) else {
                    continue;
                };
                replica.marks.used = false;
                // What nobody knows is told with its first change.
                if replica.primary != self.store.me() || replica.marks.untold {
                    continue;
                }
                if self.maps() {
                    out.used.push(key);
                } else if self.is_backup() {
                    to_backups.push((key, replica.touched(), replica.backup));
                } else {
                    writer.item(&Item::Accessed(key, replica.touched()));
                }
            }
            if writer.len() > CHUNK {
                let full = std::mem::replace(&mut writer, self.writer(now));
                self.tell_natives(full, out);
            }
        }
        self.tell_natives(writer, out);
        self.tell_backups_of_use(to_backups, now, out);
    }

    fn tell_natives(&self, writer: crate::manager::cluster::native::Writer, out: &mut Outbox) {
        if self.has_natives() {
            out.tell_all(writer);
        }
    }

    /// Ends and forgets what was idle too long; how many. A session that another member served last is that member's to end; if it
    /// says nothing for another interval, the copy goes by itself.
    pub fn sweep(&self, now: Timestamp, out: &mut Outbox) -> usize {
        self.store.forget(now);
        let mut ended = 0;
        let mut writer = self.writer(now);
        let mut renamed = Vec::new();
        for number in 0..SHARDS {
            let mut shard = self.store.table.number(number);
            let (mut expired, mut over) = (Vec::new(), Vec::new());
            for replica in shard.iter() {
                let kept = replica.kept();
                renamed.extend(replica.origin().map(|origin| (kept.id().key, origin)));
                if kept.is_ended() {
                    over.push(kept.id());
                } else if kept.is_idle(now) {
                    if self.is_responsible(replica.primary) {
                        expired.push((kept.id(), replica.touched(), replica.marks.untold));
                    } else if is_idle_twice(replica, now) {
                        over.push(kept.id());
                    }
                }
            }
            ended += expired.len() + over.len();
            for SessionId { key, .. } in over {
                if let Some(replica) = shard.drop_copy(key) {
                    replica.kept().finish();
                    self.store.active.fetch_sub(1, Ordering::Relaxed);
                }
            }
            for (id, touched, untold) in expired {
                let gone = Gone::Expired(touched);
                self.store.end(&mut shard, id.key, gone, now);
                if self.maps() {
                    if !untold {
                        self.tell_map_of_end(&id, out);
                    }
                    continue;
                }
                writer.item(&Item::Gone(id.key, gone));
                if !untold {
                    self.tell_tomcats_of_end(&id, now, out);
                }
            }
            if self.is_backup() {
                let keys: Vec<_> = shard.iter().map(|r| r.kept().id().key).collect();
                for key in keys {
                    self.let_go(&mut shard, key);
                }
            }
            shard.retain(|_| true);
            if writer.len() > CHUNK {
                let full = std::mem::replace(&mut writer, self.writer(now));
                self.tell_natives(full, out);
            }
        }
        // Of those whose log out was heard of under their first key.
        renamed.retain(|(_, origin)| self.store.is_ended(*origin));
        for (key, _) in renamed {
            self.store.leave(key, Gone::Ended, now);
            writer.item(&Item::Gone(key, Gone::Ended));
        }
        self.tell_natives(writer, out);
        self.counts
            .expired
            .fetch_add(ended as u64, Ordering::Relaxed);
        ended
    }

    /// Ends every session of the cluster. Tomcat: `expireSessionsOnShutdown`.
    pub fn end_all(&self, now: Timestamp, out: &mut Outbox) {
        for number in 0..SHARDS {
            let mut shard = self.store.table.number(number);
            let ids: Vec<_> = shard.iter().map(|replica| replica.kept().id()).collect();
            for id in ids {
                self.end(&mut shard, &id, Gone::Ended, now, out);
            }
        }
    }
}

fn is_idle_twice(replica: &Replica, now: Timestamp) -> bool {
    let interval = u64::try_from(replica.kept().facts().max_inactive).unwrap_or_default();
    let earlier = now.0.saturating_sub(interval * 1000);
    replica.kept().is_idle(Timestamp(earlier))
}
