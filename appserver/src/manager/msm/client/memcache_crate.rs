//! The nodes through the `memcache` crate: its asynchronous client of memcached's meta commands, one per node, so that it never
//! chooses a node itself. A second opinion for tests, and for whoever asks for the health of a node: it shares nothing
//! with the connections that requests wait for.
//!
//! What it cannot do, or does differently from the client of the hot path:
//!
//! - Text only, without a login: it never reaches a node that wants a user name.
//! - A connection serves one exchange at a time, so a hundred requests at once have as many connections (at most 256 per node).
//!   A hundred gets at once take 2.5 times as long as with the client of the hot path; one alone, or one batch, takes as
//!   long (`cargo bench -p appserver --bench store`).
//! - It believes the length that a node announces, and makes room for it.
//! - Addresses are resolved when it is made; so it is made again after a connection failed.
//! - It has no pause after a failure: each call to a dead node tries to connect.
//!
//! Flags, `gets`, `cas`, `replace`, `touch` and batches are there. A negative exptime is written as a time long gone.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use memcache::exp::{
    AsyncMetaClient, Error, Get, GetStatus, Meta, MutationStatus, Op, OpResult, Set,
};
use tokio::time::timeout;

use super::{BATCH_MAX, exptime_u32};
use crate::clock::Clock;
use crate::manager::msm::node::Nodes;
use crate::manager::msm::protocol::{Answer, Command, Verb, World};
use crate::manager::msm::{COMPRESSED, FLAGS};
use crate::session::Timestamp;

/// The longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The most connections to a node.
const CONNECTIONS_MAX: usize = 256;

/// The nodes.
#[derive(Debug)]
pub struct MetaClient {
    peers: Vec<Peer>,
    clock: Clock,
}

struct Peer {
    host: String,
    port: u16,
    client: Mutex<Option<AsyncMetaClient>>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl MetaClient {
    /// No connections yet.
    pub fn new(nodes: &Nodes, clock: Clock) -> Self {
        let peers = nodes.all().iter().map(|node| Peer {
            host: node.host.clone(),
            port: node.port,
            client: Mutex::new(None),
        });
        Self {
            peers: peers.collect(),
            clock,
        }
    }

    /// Whether the node answers an empty command within so many milliseconds; if not, why.
    pub async fn noop(&self, node: usize, limit: u32) -> Result<(), String> {
        let peer = &self.peers[node];
        let asked = async { peer.client().await?.noop().await };
        let answered = timeout(Duration::from_millis(limit.into()), asked).await;
        let result = match answered {
            // Before memcached 1.6 it is unknown, which is an answer too.
            Ok(Ok(()) | Err(Error::Rejected(_))) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {limit} ms")),
        };
        if result.is_err() {
            peer.forget();
        }
        result
    }
}

impl Peer {
    async fn client(&self) -> Result<AsyncMetaClient, Error> {
        let known = self
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let made = AsyncMetaClient::builder()
            .connect_timeout(Some(CONNECT_MAX))
            // The caller's limit ends an exchange, and with it its connection.
            .io_timeout(None)
            .max_connections(Some(CONNECTIONS_MAX))
            .max_idle(CONNECTIONS_MAX)
            .connect_async((self.host.as_str(), self.port))
            .await?;
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.get_or_insert(made).clone())
    }

    /// The next call looks the address up again.
    fn forget(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl World for MetaClient {
    async fn call(&self, node: usize, command: Command, limit: u32) -> Answer {
        let answers = self.batch(node, vec![command], limit).await;
        answers.into_iter().next().unwrap_or(Answer::Failed)
    }

    async fn batch(&self, node: usize, commands: Vec<Command>, limit: u32) -> Vec<Answer> {
        let (peer, count) = (&self.peers[node], commands.len());
        let verbs: Vec<Asked> = commands.iter().map(|c| Asked::of(&c.verb)).collect();
        let mut operations = commands.into_iter().map(operation);
        let asked = async {
            let client = peer.client().await?;
            let mut results = Vec::with_capacity(count);
            while results.len() < count {
                let part: Vec<Op> = operations.by_ref().take(BATCH_MAX).collect();
                results.extend(client.run_batch(part).await?);
            }
            Ok::<_, Error>(results)
        };
        let results = match timeout(Duration::from_millis(limit.into()), asked).await {
            Ok(Ok(results)) => results,
            Ok(Err(_)) => {
                peer.forget();
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let mut answers: Vec<Answer> = verbs
            .into_iter()
            .zip(results)
            .map(|(asked, result)| match result {
                Ok(result) => asked.answer(result),
                Err(error) => failure(&error),
            })
            .collect();
        answers.resize(count, Answer::Failed);
        answers
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pause(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn random(&self, below: usize) -> usize {
        super::random(below)
    }
}

/// What decides how a result is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Get,
    Gets,
    Store,
    Replace,
    Touch,
    Delete,
}

impl Asked {
    fn of(verb: &Verb) -> Self {
        match verb {
            Verb::Get => Self::Get,
            Verb::Gets => Self::Gets,
            Verb::Set(..) | Verb::Add(..) | Verb::Cas(..) => Self::Store,
            Verb::Replace(..) => Self::Replace,
            Verb::Touch(_) => Self::Touch,
            Verb::Delete => Self::Delete,
        }
    }

    fn answer(self, result: OpResult) -> Answer {
        match result {
            OpResult::Get(found) if found.status != GetStatus::Hit => Answer::Miss,
            OpResult::Get(_) if self == Self::Touch => Answer::Done,
            // Packed by a msm before 2.0: not to be read here.
            OpResult::Get(found) if found.client_flags.unwrap_or(0) & COMPRESSED != 0 => {
                Answer::Failed
            }
            OpResult::Get(found) => match (found.value, found.item.cas) {
                (Some(value), Some(unique)) if self == Self::Gets => Answer::HitCas(value, unique),
                (Some(value), _) if self == Self::Get => Answer::Hit(value),
                _ => Answer::Failed,
            },
            OpResult::Mutation(done) => match done.status {
                MutationStatus::Applied => Answer::Done,
                MutationStatus::NotFound if self == Self::Replace => Answer::NotStored,
                MutationStatus::NotFound => Answer::Miss,
                MutationStatus::AlreadyExists => Answer::NotStored,
                MutationStatus::CasMismatch => Answer::Exists,
                _ => Answer::Failed,
            },
            _ => Answer::Failed,
        }
    }
}

fn operation(command: Command) -> Op {
    let Command { verb, key } = command;
    let set = |exptime, value: Vec<u8>| {
        let set = Set::new(&key, value).client_flags(FLAGS);
        set.ttl_raw(exptime_u32(exptime))
    };
    match verb {
        Verb::Get => Get::new(&key).into(),
        Verb::Gets => Get::new(&key).meta(Meta::default().cas()).into(),
        Verb::Set(exptime, value) => set(exptime, value).into(),
        Verb::Add(exptime, value) => set(exptime, value).add().into(),
        Verb::Replace(exptime, value) => set(exptime, value).replace().into(),
        Verb::Cas(exptime, value, unique) => set(exptime, value).compare_cas(unique).into(),
        Verb::Touch(exptime) => Get::new(&key)
            .without_value()
            .touch_raw(exptime_u32(exptime))
            .into(),
        Verb::Delete => memcache::exp::Delete::new(&key).into(),
    }
}

fn failure(error: &Error) -> Answer {
    match error {
        Error::Ambiguous { source, .. } => failure(source),
        Error::Server(text) if text.contains("object too large") => Answer::TooLarge,
        _ => Answer::Failed,
    }
}
