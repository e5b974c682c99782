//! Sticky sessions: each server keeps its own, and one node has a copy of each for the case that the server dies.

use super::ancestry::Ancestors;
use super::copy::Found;
use super::{Safe, Trouble};
use crate::manager::msm::protocol::World;
use crate::manager::msm::protocol::held::Held;
use crate::session::AskedId;

impl<W: World> Safe<W> {
    /// The copy of a session that this server does not know. From now on it is this server's; with routes it gets a new id, under
    /// which it is stored before the old one ends.
    pub async fn take_over(&self, asked: &AskedId<'_>) -> Result<Option<Held>, Trouble> {
        let enabled = self
            .nodes
            .enabled
            .load(std::sync::atomic::Ordering::Relaxed);
        let Some(primary) = self.nodes.node_of(asked.node).filter(|_| enabled) else {
            return Ok(None);
        };
        let text = asked.to_string();
        if self.absent.has(&text, || self.now()) {
            return Ok(None);
        }
        let reading = self.read(asked, primary, None).await;
        let found = self.held_of(asked, reading).await;
        let Some(mut held) = found? else {
            self.absent.add(text, self.now());
            return Ok(None);
        };
        if self.nodes.route().is_none() || held.id.suffix.route() == self.nodes.route() {
            return Ok(Some(held));
        }
        let mut renamed = held.clone();
        renamed.id = self.nodes.taken_over(&held.id);
        if self.nodes.is_failover(primary)
            && let Some(other) = self.choose(Some(primary))
        {
            renamed.id = self.nodes.moved(&renamed.id, other);
        }
        renamed.seen.copies.clear();
        let attributes = held.attributes().to_vec();
        let ancestors = Ancestors::of(&renamed.stored);
        self.store_renamed(&mut renamed, &attributes, ancestors)
            .await?;
        if renamed.moved {
            // The node died in between; the old copy stays until there is a new one.
            return Ok(Some(held));
        }
        renamed.seen.touched = self.now();
        self.mark(&held.id, held.validity.interval).await;
        std::mem::swap(&mut held, &mut renamed);
        Ok(Some(held))
    }

    async fn held_of(
        &self,
        asked: &AskedId<'_>,
        reading: super::find::Reading,
    ) -> Result<Option<Held>, Trouble> {
        let Some(copy) = reading.copies.into_iter().next() else {
            return Err(self.unavailable());
        };
        let Ok(id) = asked.confirmed() else {
            return Ok(None);
        };
        match &copy.found {
            Found::Record(record, _) => {
                let Ok(mut held) = Held::found(id, record.clone()) else {
                    return Ok(None);
                };
                held.seen.copies = vec![copy];
                Ok(Some(held))
            }
            Found::Unknown => Err(self.unavailable()),
            Found::Missing | Found::Damaged(_) | Found::Ended(..) => Ok(None),
        }
    }

    /// A request of a session that this server knows begins: moves it to another node if its own is down, or if it has none.
    pub fn begin(&self, held: &mut Held) {
        let node = self.nodes.node_of(held.id.suffix.node());
        let now = self.now();
        if node.is_some_and(|node| self.health.is_up(node, now)) {
            return;
        }
        let other = self.choose(node);
        if let Some(other) = other.filter(|other| self.health.is_up(*other, now)) {
            // Its node may come back with the copy as it is now.
            if node.is_some() && !held.stored.is_empty() {
                self.ended.add(held.id);
            }
            held.id = self.nodes.moved(&held.id, other);
            held.moved = true;
            held.seen.copies.clear();
        }
    }
}
