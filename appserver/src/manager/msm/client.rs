//! The nodes over TCP, in memcached's text protocol. With `client/` the only files of the mode that know sockets.
//!
//! ```text
//!   request on thread 1 ──► queue of thread 1 for n1 ──► link.rs: one connection, commands one behind the other
//!                      └──► queue of thread 1 for n2 ──► …                     wire.rs: bytes
//!   request on thread 2 ──► queue of thread 2 for n1 ──► …
//! ```
//!
//! Each serving thread has one connection per node, opened when first needed and kept open by a task of that thread's runtime, so
//! that no command crosses threads: a thousand requests at once share it as spymemcached's do. All contexts of a server share
//! the connections.
//!
//! - The queue has a bound (4096 commands); what does not fit fails at once. A request waits for an answer as long as its command
//!   may take (`operationTimeout`, `sessionBackupTimeout`), and never for another node.
//! - A connection that breaks fails what was under way. After 2, 4 … 30 seconds it is tried again; meanwhile commands fail at once.
//!   A node that does not say anything for 5 seconds counts as broken.

mod link;
mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use self::link::Call;
use super::node::Nodes;
use super::protocol::{Answer, Command, World};
use crate::clock::Clock;
use crate::manager::NodeStatus;
use crate::session::{Key, Timestamp};

/// At most so many commands of a thread wait for a node.
const QUEUE_MAX: usize = 4096;

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
    connections: AtomicU64,
    commands: AtomicU64,
    failed: AtomicU64,
}

thread_local! {
    /// This thread's queues, by client and node.
    static QUEUES: RefCell<HashMap<(u64, usize), mpsc::Sender<Call>>> = RefCell::new(HashMap::new());
}

impl Client {
    /// No connections yet.
    pub fn new(nodes: &Nodes, clock: Clock) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let peers = nodes.all().iter().map(|node| {
            Arc::new(Peer {
                id: node.id.clone(),
                host: node.host.clone(),
                port: node.port,
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

    /// This thread's queue for a node.
    fn queue(&self, node: usize) -> mpsc::Sender<Call> {
        QUEUES.with_borrow_mut(|queues| {
            let queue = queues
                .entry((self.0.number, node))
                .or_insert_with(|| link::open(&self.0.peers[node]));
            // The runtime that kept the connection may have ended, with its task.
            if queue.is_closed() {
                *queue = link::open(&self.0.peers[node]);
            }
            queue.clone()
        })
    }
}

impl World for Client {
    async fn call(&self, node: usize, command: Command, limit: u32) -> Answer {
        let peer = &self.0.peers[node];
        peer.commands.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let sent = self.queue(node).try_send(Call { command, answer });
        let limit = Duration::from_millis(limit.into());
        let answer = match sent {
            Ok(()) => tokio::time::timeout(limit, answered).await,
            Err(_) => Ok(Ok(Answer::Failed)),
        };
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            // The connection broke, or it took too long.
            Ok(Err(_)) | Err(_) => Answer::Failed,
        };
        if answer == Answer::Failed {
            peer.failed.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    async fn pause(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn random(&self, below: usize) -> usize {
        let below = below.max(1) as u64;
        (Key::random().random_bits() % below) as usize
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let figures = self.0.peers.iter().map(|peer| NodeStatus {
            node: peer.id.clone(),
            connections: read(&peer.connections),
            commands: read(&peer.commands),
            failed: read(&peer.failed),
        });
        figures.collect()
    }
}
