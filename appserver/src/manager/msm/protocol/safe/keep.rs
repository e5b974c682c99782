//! What a request does with a session that it did not change: prolongs its copies now and then, and makes those again that are missing.

use super::ancestry::is_made_from;
use super::copy::{Copy, Found, are_beside, version};
use super::merge::Ours;
use super::{Safe, Trouble, join};
use crate::manager::msm::protocol::held::{Held, Outcome};
use crate::manager::msm::protocol::{Answer, Verb, World};
use crate::session::Timestamp;

/// Copies of a session that is in use are prolonged once in such a part of its interval.
const SHARE: u64 = 5;

impl<W: World> Safe<W> {
    /// Nothing changed: both copies get the times of this request, and, once in a part of the interval, a longer life. A copy that
    /// is missing or old is made again.
    pub(super) async fn keep_alive(
        &self,
        held: &mut Held,
        primary: usize,
    ) -> Result<Outcome, Trouble> {
        let now = self.now();
        if self.nodes.settings.sticky {
            return self.keep_sticky(held, primary, now).await;
        }
        let due = is_due(held, now);
        let homes = self.homes(primary);
        let mut complete = self.is_complete(primary, &homes);
        let text = held.id.text();
        let id = text.as_str();
        let each = homes.iter().map(|node| {
            let (kind, _) = Self::kinds(*node, primary);
            let copy = held.seen.copies.iter().find(|copy| copy.node == *node);
            let current = copy.and_then(Copy::record);
            let current = current.is_some_and(|record| record == held.stored);
            let exptime = self.exptime(held.validity.interval, now);
            // Others may have stored something since, which this request has not.
            let is_theirs = |there: &[u8]| {
                !current && is_made_from(there, &held.stored)
                    || are_beside(there, &held.stored, now)
            };
            let theirs = copy.and_then(Copy::record).is_some_and(is_theirs);
            complete &= !theirs;
            let verb = match copy {
                Some(_) if theirs => None,
                Some(copy) if !current => copy.found.replaced_by(exptime, &held.stored),
                _ => due.then_some(Verb::Touch(exptime)),
            };
            let repairs = !matches!(verb, None | Some(Verb::Touch(_)));
            let mut commands = Vec::with_capacity(2);
            commands.extend(verb.map(|verb| self.command_of(verb, kind, id)));
            commands.extend(self.validity(held, id, *node, primary, now));
            async move { (repairs, self.ask(*node, commands).await) }
        });
        for (repairs, answers) in join(each.collect()).await {
            complete &= !answers.contains(&Answer::Failed);
            if repairs && answers.first() == Some(&Answer::Done) {
                Self::count(&self.counters.repaired);
            }
        }
        let unknown = |copy: &Copy| copy.is(&Found::Unknown);
        if !complete || held.seen.copies.iter().any(unknown) {
            self.dirty.add(held.id);
        }
        held.seen.copies.clear();
        Ok(Outcome::Skipped)
    }

    async fn keep_sticky(
        &self,
        held: &mut Held,
        primary: usize,
        now: Timestamp,
    ) -> Result<Outcome, Trouble> {
        let share = u64::try_from(held.validity.interval).unwrap_or(0) * 1000 / SHARE;
        if share == 0 || now.since(held.seen.touched) < share {
            return Ok(Outcome::Skipped);
        }
        let (kind, _) = Self::kinds(primary, primary);
        let touch = Verb::Touch(self.exptime(held.validity.interval, now));
        let touch = self.command(touch, kind, held.id);
        let answer = match self.homes(primary).is_empty() {
            true => None,
            false => self.ask(primary, vec![touch]).await.pop(),
        };
        match answer {
            Some(Answer::Done) => {
                held.seen.touched = now;
                Ok(Outcome::Skipped)
            }
            Some(Answer::Miss) => {
                Self::count(&self.counters.repaired);
                held.seen.copies.clear();
                let attributes = held.attributes().to_vec();
                let ours = Ours {
                    attributes: &attributes,
                    changed: &[],
                };
                self.save(held, primary, ours).await
            }
            _ => Ok(Outcome::Failed),
        }
    }
}

/// Whether a part of the interval is over since the session was stored that was not over when it was used before.
pub(super) fn is_due(held: &Held, now: Timestamp) -> bool {
    let share = u64::try_from(held.validity.interval).unwrap_or(0) * 1000 / SHARE;
    let stored = Timestamp(version(&held.stored));
    let part = |at: Timestamp| at.since(stored).checked_div(share);
    part(now) > part(held.seen.accessed)
}

/// Whether the stored times of use are exact enough already, see [`grain`].
pub(super) fn is_recent(held: &Held, now: Timestamp) -> bool {
    now.since(held.seen.accessed) < grain(held.validity.interval)
}

/// Whether each of these nodes has the session as it is.
pub(super) fn has_all(held: &Held, homes: &[usize]) -> bool {
    let current = |copy: &Copy| {
        let record = copy.record();
        record.is_some_and(|record| record == held.stored)
    };
    let copies = &held.seen.copies;
    copies.iter().all(current)
        && homes
            .iter()
            .all(|node| copies.iter().any(|copy| copy.node == *node))
}

/// How exact the stored times of use are, in milliseconds: to a second, or to a sixtieth of an interval of less than a minute. A
/// request that changes nothing and comes within that time of the one before stores nothing.
pub(super) fn grain(interval: i32) -> u64 {
    match u64::try_from(interval) {
        Ok(seconds) if seconds > 0 => (seconds * 1000 / 60).min(1000),
        _ => 1000,
    }
}
