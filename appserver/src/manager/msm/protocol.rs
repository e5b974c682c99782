//! What msm asks its nodes for: command for command what the real one sends, with what it loses, or safely. No I/O, no clock and no chance
//! of its own: all that is outside is a [`World`], in tests a few tables.
//!
//! ```text
//!   non_sticky.rs     find, create, end, change_id, remove: sessions live in the nodes
//!   sticky.rs         the same verbs: sessions live in the servers, one node has a copy
//!   safe.rs, safe/    both again, with the same keys and records, and nothing acknowledged is lost
//!        │
//!   nodes_in_use.rs   which node is up, asked at most once a second; which one a session goes to
//!   locks.rs          which requests lock, how long they try
//!   absent.rs         ids that are known not to exist
//!   held.rs           a session as one request holds it
//! ```
//!
//! The caller keeps the sessions of running requests, decides what an application changed and whether the response waits.

pub mod absent;
pub mod held;
pub mod locks;
pub mod nodes_in_use;
pub mod non_sticky;
pub mod safe;
pub mod sticky;

use std::future::Future;

use crate::manager::NodeStatus;
use crate::manager::msm::key::ItemKey;
use crate::session::Timestamp;

pub use held::{Ending, Held, Outcome};
pub use non_sticky::NonSticky;
pub use safe::Safe;
pub use sticky::Sticky;

/// All that is outside: the nodes, time and chance.
pub trait World: Send + Sync {
    /// Sends a command to the node at this place of `memcachedNodes` and waits for its answer, at most `limit` milliseconds.
    fn call(
        &self,
        node: usize,
        command: Command,
        limit: u32,
    ) -> impl Future<Output = Answer> + Send;

    /// Sends commands to a node one behind the other without waiting in between, and waits for all answers, at most `limit`
    /// milliseconds together; there are as many answers as commands, in the same order.
    fn batch(
        &self,
        node: usize,
        commands: Vec<Command>,
        limit: u32,
    ) -> impl Future<Output = Vec<Answer>> + Send {
        async move {
            let mut answers = Vec::with_capacity(commands.len());
            for command in commands {
                answers.push(self.call(node, command, limit).await);
            }
            answers
        }
    }

    /// Two nodes at the same time, each as with [`World::batch`]; for the few commands of one session.
    fn both(
        &self,
        asks: [(usize, Vec<Command>); 2],
        limit: u32,
    ) -> impl Future<Output = [Vec<Answer>; 2]> + Send {
        async move {
            let [(one, first), (other, second)] = asks;
            let first = self.batch(one, first, limit);
            let second = self.batch(other, second, limit);
            tokio::join!(first, second).into()
        }
    }

    /// The time.
    fn now(&self) -> Timestamp;

    /// Waits so many milliseconds.
    fn pause(&self, millis: u64) -> impl Future<Output = ()> + Send;

    /// A number below `below`, which is at least 1, each with the same chance.
    fn random(&self, below: usize) -> usize;

    /// Figures of the nodes for the operator; none where they are only tables.
    fn nodes(&self) -> Vec<NodeStatus> {
        Vec::new()
    }
}

/// What a node is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub verb: Verb,
    /// With which key.
    pub key: ItemKey,
}

/// What to do with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// `get`.
    Get,
    /// `gets`: the value and what [`Verb::Cas`] needs.
    Gets,
    /// `set` with this exptime and value.
    Set(i64, Vec<u8>),
    /// `add`, which an item with the key makes fail.
    Add(i64, Vec<u8>),
    /// `replace`, which needs an item with the key.
    Replace(i64, Vec<u8>),
    /// `cas`, which needs the item to be as it was when it had this cas unique.
    Cas(i64, Vec<u8>, u64),
    /// `touch`: a new exptime, and the value stays.
    Touch(i64),
    /// `delete`.
    Delete,
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A `get` found this.
    Hit(Vec<u8>),
    /// A `gets` found this, with its cas unique.
    HitCas(Vec<u8>, u64),
    /// A `get`, `gets`, `cas`, `touch` or `delete` found nothing.
    Miss,
    /// The command did what it says.
    Done,
    /// An `add` met an item with the key, or a `replace` none.
    NotStored,
    /// A `cas` met an item that is not as it was.
    Exists,
    /// The value is larger than the node takes; memcached then has no item with the key any more.
    TooLarge,
    /// No answer: connection refused or cut, too late, or an error of the node. Nothing is known then.
    Failed,
}
