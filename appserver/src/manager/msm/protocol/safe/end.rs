//! Ends: a log out and a new id leave a mark where the session was, for as long as its record could have lived. The mark wins over
//! every record, so that neither a request that is still running nor a node that was away brings the session back.

use super::copy::{Copy, Mark};
use super::{Safe, Trouble, join};
use crate::manager::msm::key::Kind;
use crate::manager::msm::protocol::held::Held;
use crate::manager::msm::protocol::{Answer, Command, Verb, World};
use crate::session::{SessionId, Timestamp};

/// The life of the mark of a session without an interval, in seconds.
const MARK_SECONDS: i64 = 24 * 60 * 60;

impl<W: World> Safe<W> {
    /// The session was ended. An error when no node could be told.
    pub async fn remove(&self, held: &mut Held) -> Result<(), Trouble> {
        // What was never stored is nowhere.
        if held.stored.is_empty() && held.unsaved.is_none() {
            return Ok(());
        }
        self.absent.add(held.id.to_string(), self.now());
        let marked = self.mark(&held.id, held.validity.interval).await;
        if let Some(lock) = held.seen.lock.take() {
            self.release(held.id, &lock).await;
        }
        // A sticky session is gone with this server's memory; its copy follows when the node answers.
        match marked || self.nodes.settings.sticky {
            true => Ok(()),
            false => Err(self.unavailable()),
        }
    }

    /// A session that this server has given up was ended; a log out is final all the same.
    pub async fn remove_lost(&self, id: &SessionId, interval: i32) -> Result<(), Trouble> {
        self.absent.add(id.to_string(), self.now());
        match self.mark(id, interval).await || self.nodes.settings.sticky {
            true => Ok(()),
            false => Err(self.unavailable()),
        }
    }

    pub(super) fn mark_exptime(&self, interval: i32, now: Timestamp) -> i64 {
        match self.exptime(interval, now) {
            0 => MARK_SECONDS,
            exptime => exptime,
        }
    }

    /// Puts the mark on every node that has the session; whether one took it. The others get it when they answer.
    pub(super) async fn mark(&self, id: &SessionId, interval: i32) -> bool {
        let Some(primary) = self.nodes.node_of(id.suffix.node()) else {
            return true;
        };
        let homes = self.homes(primary);
        let each = homes
            .iter()
            .map(|node| self.mark_one(id, interval, *node, primary));
        let marked = join(each.collect()).await;
        let all = marked.iter().all(|marked| *marked) && self.is_complete(primary, &homes);
        if !all {
            self.ended.add(*id);
        }
        marked.contains(&true)
    }

    async fn mark_one(&self, id: &SessionId, interval: i32, node: usize, primary: usize) -> bool {
        let now = self.now();
        let Ok(mark) = Mark::of_log_out(id.text().as_str()).encode(interval, now) else {
            return false;
        };
        let exptime = self.mark_exptime(interval, now);
        let (kind, validity) = Self::kinds(node, primary);
        let mut commands = vec![self.command(Verb::Set(exptime, mark), kind, id)];
        if !self.nodes.settings.sticky {
            commands.push(self.command(Verb::Delete, validity, id));
        }
        self.ask(node, commands).await.first() == Some(&Answer::Done)
    }

    /// A copy has the mark of an end: the others get it too, in the background.
    pub(super) fn spread_end(&self, id: SessionId, copies: &[Copy]) {
        self.absent.add(id.to_string(), self.now());
        if !copies.iter().all(Copy::is_ended) && !self.are_moving(copies, &id) {
            self.ended.add(id);
        }
    }

    /// Whether one of the copies is being moved to another id, see [`Copy::is_moving`].
    pub(super) fn are_moving(&self, copies: &[Copy], id: &SessionId) -> bool {
        let (text, now) = (id.text(), self.now());
        let mut copies = copies.iter();
        copies.any(|copy| copy.is_moving(text.as_str(), now))
    }

    /// An idle session is over. Every copy says by its times that it is, so it needs no mark.
    pub async fn expire(&self, held: &Held, primary: usize) {
        let homes = self.homes(primary);
        let each = homes.iter().copied().map(|node| {
            let (kind, validity) = Self::kinds(node, primary);
            let delete = |kind: Kind| -> Command { self.command(Verb::Delete, kind, held.id) };
            let mut commands = vec![delete(kind)];
            if !self.nodes.settings.sticky {
                commands.push(delete(validity));
            }
            self.ask(node, commands)
        });
        join(each.collect()).await;
    }

    /// An idle session of this server is over.
    pub async fn expire_idle(&self, held: &Held) {
        if let Some(primary) = self.nodes.node_of(held.id.suffix.node()) {
            self.expire(held, primary).await;
        }
    }
}
