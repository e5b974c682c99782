//! The nodes over TCP, in memcached's text or binary protocol. With `client/` the only files of the mode that know sockets.
//!
//! ```text
//!   request on thread 1 ──► queue of thread 1 for n1 ──► link.rs: one connection, commands one behind the other
//!     ▲          │  └─────► queue of thread 1 for n2 ──► …          codec.rs ── wire.rs: lines
//!     │          │             queue.rs                              └──── binary.rs: packets, login
//!     └─ round.rs: woken when both have told
//!   request on thread 2 ──► queue of thread 2 for n1 ──► …
//!
//!   operator ──► Health ──► memcache_crate.rs: another client, connections of its own
//! ```
//!
//! Two clients implement [`World`], and this file alone says which is used where: [`Client`] for the requests, since it is the
//! faster when many ask at once, and [`memcache_crate::MetaClient`] for the health of nodes. One suite tries both.
//!
//! Each serving thread has one connection per node, opened when first needed and kept open by a task of that thread's runtime, so
//! that no command crosses threads: a thousand requests at once share it as spymemcached's do. All contexts of a server share
//! the connections.
//!
//! - The queue has a bound (4096 calls); what does not fit fails at once. A request waits for an answer as long as its command
//!   may take (`operationTimeout`, `sessionBackupTimeout`), and never for another node.
//! - A batch is one entry of the queue, one write and one wait, with that of another node if both are asked at the same time. At
//!   most 16 commands go together; more go in several batches.
//! - A connection that breaks fails what was under way. After 2, 4 … 30 seconds it is tried again; meanwhile commands fail at once.
//!   A node that does not say anything for 5 seconds counts as broken, and so does one that refuses `username` and `password`.

pub mod binary;
mod codec;
mod link;
pub mod memcache_crate;
mod queue;
mod round;
pub mod wire;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::link::Call;
use self::memcache_crate::MetaClient;
use self::queue::{Closed, Queue};
use self::round::{Answered, NODES};
use super::protocol::{Answer, Command, Verb, World};
use super::settings::{MemcachedProtocol, MsmSettings, Secret};
use crate::clock::Clock;
use crate::manager::NodeStatus;
use crate::session::{Key, Timestamp};

/// At most so many calls of a thread wait for a node.
const QUEUE_MAX: usize = 4096;

/// At most so many commands go together.
const BATCH_MAX: usize = 16;

/// The largest value that is read: more than a session's attributes can have in Java's form.
const VALUE_MAX: usize = 16 << 20;

/// The nodes. Cloning is cheap and gives the same connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Tells the connections of several clients on a thread apart.
    number: u64,
    peers: Vec<Arc<Peer>>,
    clock: Clock,
}

/// One node, and what was seen of it.
#[derive(Debug)]
struct Peer {
    id: String,
    host: String,
    port: u16,
    protocol: MemcachedProtocol,
    login: Option<Credentials>,
    connections: AtomicU64,
    commands: AtomicU64,
    failed: AtomicU64,
}

/// Who this server is for its nodes.
#[derive(Debug, Clone)]
struct Credentials {
    username: String,
    password: Secret,
}

/// What cannot be the answer: nothing that follows on this connection can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the node answered what does not belong to the command: {0}")]
pub struct Broken(String);

impl Broken {
    /// The beginning of these bytes.
    fn of(bytes: &[u8]) -> Self {
        const SHOWN_MAX: usize = 80;
        let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
        Self(shown.escape_ascii().to_string())
    }

    /// A status of the binary protocol, with the node's text.
    fn status(status: u16, text: &[u8]) -> Self {
        let Self(text) = Self::of(text);
        Self(format!("status {status:#04x} {text}"))
    }
}

/// Asks nodes whether they answer, for the operator: on connections of its own, so that the answer is not one of a connection
/// that works or of one that waits to be tried again; with the binary protocol on those of the requests.
#[derive(Debug, Clone)]
pub struct Health(Arc<Asker>);

#[derive(Debug)]
struct Asker {
    ids: Vec<String>,
    limit: u32,
    by: By,
}

#[derive(Debug)]
enum By {
    Meta(MetaClient),
    Link(Client),
}

/// Whether a node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeHealth {
    /// Its id in `memcachedNodes`.
    pub node: String,
    /// Whether it answered in `operationTimeout`.
    pub answers: bool,
    /// If not, why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

thread_local! {
    /// This thread's queues, by client and node: those of one or two clients with a few nodes each.
    static QUEUES: RefCell<Vec<((u64, usize), Queue)>> = const { RefCell::new(Vec::new()) };
}

impl Client {
    /// The nodes, protocol and login of these settings. No connections yet.
    pub fn new(settings: &MsmSettings, clock: Clock) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let login = (!settings.username.is_empty()).then(|| Credentials {
            username: settings.username.clone(),
            password: settings.password.clone(),
        });
        let peers = settings.memcached_nodes.all().iter().map(|node| {
            Arc::new(Peer {
                id: node.id.clone(),
                host: node.host.clone(),
                port: node.port,
                protocol: settings.memcached_protocol,
                login: login.clone(),
                connections: AtomicU64::new(0),
                commands: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            })
        });
        Self(Arc::new(Inner {
            number: CLIENTS.fetch_add(1, Ordering::Relaxed),
            peers: peers.collect(),
            clock,
        }))
    }

    /// Puts commands into this thread's queue for a node. Without room whoever waits is told at once.
    fn send(&self, node: usize, call: Call) {
        QUEUES.with_borrow_mut(|queues| {
            let name = (self.0.number, node);
            let open = || link::open(&self.0.peers[node]);
            let place = queues.iter().position(|(known, _)| *known == name);
            let place = place.unwrap_or_else(|| {
                queues.push((name, open()));
                queues.len() - 1
            });
            let (_, queue) = &mut queues[place];
            // The runtime that kept the connection may have ended, with its task.
            if let Err(Closed(call)) = queue.put(call) {
                *queue = open();
                drop(queue.put(call));
            }
        });
    }

    /// Asks up to [`NODES`] nodes at the same time, each at most [`BATCH_MAX`] commands; one node's answers are all there, or none is.
    /// The commands are in the queues at once, and what is waited for has no room for them.
    fn ask<const COUNT: usize>(
        &self,
        asks: [(usize, Vec<Command>); COUNT],
        limit: u32,
    ) -> impl Future<Output = [Vec<Answer>; COUNT]> + Send {
        const { assert!(COUNT <= NODES) };
        let end = Instant::now() + Duration::from_millis(limit.into());
        let answered = Answered::new(COUNT);
        let counts = asks
            .each_ref()
            .map(|(node, commands)| (*node, commands.len()));
        for (place, (node, commands)) in asks.into_iter().enumerate() {
            let waiter = answered.waiter(place);
            self.send(
                node,
                Call {
                    commands,
                    waiter,
                    end,
                },
            );
        }
        async move {
            let mut told = answered.await.into_iter();
            counts.map(|(node, count)| {
                let mut answers = told.next().unwrap_or_default();
                // Nothing: the connection broke, or it took too long.
                answers.resize(count, Answer::Failed);
                self.count(node, &answers);
                answers
            })
        }
    }

    fn count(&self, node: usize, answers: &[Answer]) {
        let peer = &self.0.peers[node];
        let failed = answers.iter().filter(|answer| **answer == Answer::Failed);
        let failed = failed.count() as u64;
        peer.commands
            .fetch_add(answers.len() as u64, Ordering::Relaxed);
        if failed > 0 {
            peer.failed.fetch_add(failed, Ordering::Relaxed);
        }
    }
}

impl World for Client {
    async fn call(&self, node: usize, command: Command, limit: u32) -> Answer {
        let [mut answers] = self.ask([(node, vec![command])], limit).await;
        answers.pop().unwrap_or(Answer::Failed)
    }

    async fn batch(&self, node: usize, mut commands: Vec<Command>, limit: u32) -> Vec<Answer> {
        if commands.len() <= BATCH_MAX && !commands.is_empty() {
            let [answers] = self.ask([(node, commands)], limit).await;
            return answers;
        }
        let end = Instant::now() + Duration::from_millis(limit.into());
        let count = commands.len();
        let mut answers = Vec::with_capacity(count);
        while !commands.is_empty() && !answers.contains(&Answer::Failed) {
            let rest = commands.split_off(commands.len().min(BATCH_MAX));
            let asked = std::mem::replace(&mut commands, rest);
            let left = end.saturating_duration_since(Instant::now());
            let left = u32::try_from(left.as_millis()).unwrap_or(limit);
            let [more] = self.ask([(node, asked)], left).await;
            answers.extend(more);
        }
        answers.resize(count, Answer::Failed);
        answers
    }

    fn both(
        &self,
        asks: [(usize, Vec<Command>); 2],
        limit: u32,
    ) -> impl Future<Output = [Vec<Answer>; 2]> + Send {
        self.ask(asks, limit)
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    async fn pause(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn random(&self, below: usize) -> usize {
        random(below)
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let figures = self.0.peers.iter().map(|peer| NodeStatus {
            node: peer.id.clone(),
            connections: read(&peer.connections),
            commands: read(&peer.commands),
            failed: read(&peer.failed),
            ..NodeStatus::default()
        });
        figures.collect()
    }
}

impl Health {
    /// For the nodes of these settings, which `client` uses.
    pub fn new(settings: &MsmSettings, client: &Client) -> Self {
        let nodes = &settings.memcached_nodes;
        Self(Arc::new(Asker {
            ids: nodes.all().iter().map(|node| node.id.clone()).collect(),
            limit: settings.operation_timeout,
            by: match settings.memcached_protocol {
                MemcachedProtocol::Text => By::Meta(MetaClient::new(nodes, client.0.clock.clone())),
                MemcachedProtocol::Binary => By::Link(client.clone()),
            },
        }))
    }

    /// Asks all nodes at the same time; in the order of `memcachedNodes`.
    pub async fn ask(&self) -> Vec<NodeHealth> {
        let mut asking = JoinSet::new();
        for node in 0..self.0.ids.len() {
            let asker = Arc::clone(&self.0);
            asking.spawn(async move { (node, asker.ask(node).await) });
        }
        let mut all = asking.join_all().await;
        all.sort_unstable_by_key(|(node, _)| *node);
        let told = all.into_iter().map(|(node, answer)| NodeHealth {
            node: self.0.ids[node].clone(),
            answers: answer.is_ok(),
            error: answer.err(),
        });
        told.collect()
    }

    /// Asks all nodes and logs what they answer, so that a wrong address shows at the start and not with the first session.
    pub async fn log(&self) {
        for told in self.ask().await {
            match told.error {
                None => tracing::info!(node = told.node, "store node answers"),
                Some(error) => tracing::warn!(
                    node = told.node,
                    error,
                    "store node does not answer; sessions go to the others until it does"
                ),
            }
        }
    }
}

impl Asker {
    async fn ask(&self, node: usize) -> Result<(), String> {
        match &self.by {
            By::Meta(client) => client.noop(node, self.limit).await,
            By::Link(client) => {
                let command = Command {
                    verb: Verb::Get,
                    key: format!("ping-{}", self.ids[node]).into(),
                };
                match client.call(node, command, self.limit).await {
                    Answer::Failed => Err("no answer; the log tells why".into()),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A number below `below`, or 0.
fn random(below: usize) -> usize {
    (Key::random().random_bits() % below.max(1) as u64) as usize
}

/// An exptime where the protocol has no negative numbers for what is gone at once: then a time long gone.
fn exptime_u32(exptime: i64) -> u32 {
    /// The largest number of seconds that is relative; one more is a second in the January of 1970.
    const LONG_GONE: u32 = 60 * 60 * 24 * 30 + 1;
    match exptime {
        ..0 => LONG_GONE,
        later => u32::try_from(later).unwrap_or(u32::MAX),
    }
}
