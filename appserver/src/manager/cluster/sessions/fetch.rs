//! A session that other members keep is fetched when a request names it.

use std::pin::pin;

use super::Inner;
use super::deliver::READ;
use crate::manager::cluster::group::Group;
use crate::session::AskedId;

/// What became of the question for a session that others keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    /// It is here, or is known to be gone.
    Here,
    /// Nobody has it.
    Nowhere,
    /// A member that has it did not answer, and no other sent it.
    Unanswered,
}

impl<G: Group> Inner<G> {
    /// Gets a session from one of those that keep it: by Tomcat's rules.
    async fn fetch_from_map(&self, asked: &AskedId<'_>) -> Fetched {
        let (mut fetched, limit) = (Fetched::Nowhere, self.config.fetch_limit);
        for holder in self.core.holders(asked.key) {
            let now = self.clock.now();
            let Some((name, question)) = self.core.ask_for_session(asked, &holder, now) else {
                return Fetched::Unanswered;
            };
            let mut arrived = pin!(self.arrived.notified());
            // Before the question, or the answer could be faster.
            arrived.as_mut().enable();
            let failed = self.group.send(&[holder], &question, READ, limit).await;
            let answer = async {
                while self.core.is_open(&name) {
                    arrived.as_mut().await;
                    arrived.set(self.arrived.notified());
                    arrived.as_mut().enable();
                }
            };
            if !failed.is_empty() || tokio::time::timeout(limit, answer).await.is_err() {
                self.core.give_up(&name);
                fetched = Fetched::Unanswered;
            } else if self.core.holders(asked.key).is_empty() {
                return Fetched::Here;
            }
        }
        fetched
    }

    /// Gets a session from one of those that keep it, the primary first.
    pub(super) async fn fetch(&self, asked: &AskedId<'_>) -> Fetched {
        if self.core.maps() {
            return self.fetch_from_map(asked).await;
        }
        let key = asked.key;
        let mut fetched = Fetched::Nowhere;
        for holder in self.core.holders(key) {
            let question = self.core.need(key, self.clock.now());
            let limit = self.config.fetch_limit;
            let mut arrived = pin!(self.arrived.notified());
            // Before the question, or the answer could be faster.
            arrived.as_mut().enable();
            if !self.group.ask(&holder, &question, limit).await {
                self.core.failed(&holder, self.clock.now());
                fetched = Fetched::Unanswered;
                continue;
            }
            // Whoever took the question and sends nothing has nothing.
            let arrival = async {
                while !self.core.holders(key).is_empty() {
                    arrived.as_mut().await;
                    arrived.set(self.arrived.notified());
                    arrived.as_mut().enable();
                }
            };
            if tokio::time::timeout(limit, arrival).await.is_ok() {
                return Fetched::Here;
            }
        }
        fetched
    }
}
