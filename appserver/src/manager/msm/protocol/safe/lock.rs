//! Locks with an owner: the value is a random token, so that nobody frees or renews what is another's. That of msm's members is
//! always the same word, and is somebody else's here.

use super::Safe;
use crate::manager::msm::expiry;
use crate::manager::msm::key::Kind;
use crate::manager::msm::protocol::{Answer, Held, Verb, World};

/// How often a lock that changes under the hands is tried to be freed or renewed.
const TRIES: usize = 3;

/// A lock that a request has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    node: usize,
    token: Vec<u8>,
}

impl Owned {
    pub(super) fn new(node: usize, token: Vec<u8>) -> Self {
        Self { node, token }
    }
}

impl<W: World> Safe<W> {
    /// A token that nobody else has.
    pub(super) fn token(&self) -> Vec<u8> {
        let half = || self.nodes.world.random(usize::MAX);
        format!("{:016x}{:016x}", half(), half()).into_bytes()
    }

    /// The session as this server has it is of no use any more, see [`Trouble::Overtaken`](super::Trouble::Overtaken).
    pub async fn abandon(&self, held: &mut Held) {
        if let Some(lock) = held.seen.lock.take() {
            self.release(held.id, &lock).await;
        }
    }

    /// Frees a lock if it is still ours.
    pub(super) async fn release(&self, id: impl std::fmt::Display, lock: &Owned) {
        self.change_lock(&id, lock, expiry::EXPIRED).await;
    }

    /// Renews the lock of a request that runs for long; to be called every third of `lockExpiration`. Whether it is still ours.
    pub async fn renew(&self, id: impl std::fmt::Display, lock: &Owned) -> bool {
        let expiry = self.nodes.settings.lock_expiration.into();
        self.change_lock(&id, lock, expiry).await
    }

    async fn change_lock(&self, id: &impl std::fmt::Display, lock: &Owned, exptime: i64) -> bool {
        for _ in 0..TRIES {
            let gets = self.command(Verb::Gets, Kind::Lock, id);
            let Some(Answer::HitCas(token, unique)) = self.ask(lock.node, vec![gets]).await.pop()
            else {
                return false;
            };
            if token != lock.token {
                return false;
            }
            let cas = self.command(Verb::Cas(exptime, token, unique), Kind::Lock, id);
            match self.ask(lock.node, vec![cas]).await.pop() {
                Some(Answer::Done) => return true,
                Some(Answer::Exists) => {}
                _ => return false,
            }
        }
        false
    }
}
