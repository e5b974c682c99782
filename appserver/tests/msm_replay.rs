//! Recorded traffic of a real msm (`msm/traces.txt`) against ours through sockets: a recording relay stands between each server
//! and each node, and what passes there is what msm sent. On our store and on the real memcached. The same scenarios are
//! played on tables in `msm_protocol.rs`, and requests over HTTP in `msm_requests.rs`.

#[path = "support/replay.rs"]
mod replay;
mod support;
#[path = "support/tapped.rs"]
mod tapped;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use appserver::Clock;
use appserver::manager::msm::client::Client;
use appserver::manager::msm::protocol::{Answer, Command, World};
use appserver::manager::msm::settings::MsmSettings;
use appserver::session::Timestamp;
use replay::{Stage, nodes_of, replay, scenarios};
use support::store::Kind;
use tapped::Tapped;

/// A busy machine is not a dead node: milliseconds that each command may take.
const LONG: u32 = 20_000;

/// Nodes behind relays, a clock that the scenario moves, and a client for each server.
struct Sockets {
    nodes: Tapped,
    shared: Arc<Shared>,
    servers: HashMap<String, Seen>,
    /// When items expire by the scenario's clock, which the nodes do not know.
    expiry: HashMap<(usize, String), u64>,
}

#[derive(Debug)]
struct Shared {
    now: AtomicU64,
    next_random: AtomicUsize,
}

/// The world of one server.
#[derive(Clone)]
struct Seen {
    client: Client,
    shared: Arc<Shared>,
}

impl World for Seen {
    async fn call(&self, node: usize, command: Command, _limit: u32) -> Answer {
        self.client.call(node, command, LONG).await
    }

    async fn batch(&self, node: usize, commands: Vec<Command>, _limit: u32) -> Vec<Answer> {
        self.client.batch(node, commands, LONG).await
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.shared.now.load(Ordering::SeqCst))
    }

    async fn pause(&self, millis: u64) {
        self.shared.now.fetch_add(millis, Ordering::SeqCst);
    }

    fn random(&self, below: usize) -> usize {
        let next = self.shared.next_random.load(Ordering::SeqCst);
        next.min(below - 1)
    }
}

impl Sockets {
    fn new(kind: Kind, count: usize) -> Option<Self> {
        Some(Self {
            nodes: Tapped::start(kind, count)?,
            shared: Arc::new(Shared {
                now: AtomicU64::new(1_795_389_394_716),
                next_random: AtomicUsize::new(0),
            }),
            servers: HashMap::new(),
            expiry: HashMap::new(),
        })
    }

    fn now(&self) -> u64 {
        self.shared.now.load(Ordering::SeqCst)
    }

    /// Remembers until when a node has what it stored.
    fn remember(&mut self, node: usize, told: &str) {
        let Some((command, "STORED")) = told.rsplit_once('=') else {
            return;
        };
        let (key, stored) = command.split_once('(').expect("a store");
        let key = key.split_once(' ').expect("a verb").1.to_owned();
        let exptime = stored.split(',').nth(1).expect("an exptime");
        match exptime.parse::<i64>().expect("a number") {
            seconds @ 1.. => {
                let end = self.now() + seconds as u64 * 1000;
                self.expiry.insert((node, key), end);
            }
            _ => drop(self.expiry.remove(&(node, key))),
        }
    }
}

impl Stage for Sockets {
    type World = Seen;

    fn world(&mut self, server: &str) -> Seen {
        let known = self.servers.entry(server.to_owned());
        let seen = known.or_insert_with(|| {
            let settings = MsmSettings {
                memcached_nodes: self.nodes.nodes().parse().expect("nodes"),
                ..MsmSettings::default()
            };
            Seen {
                client: Client::new(&settings, Clock::system()),
                shared: Arc::clone(&self.shared),
            }
        });
        seen.clone()
    }

    fn choose(&mut self, node: usize) {
        self.shared.next_random.store(node, Ordering::SeqCst);
    }

    fn wait(&mut self, millis: u64) {
        let now = self.shared.now.fetch_add(millis, Ordering::SeqCst) + millis;
        let gone: Vec<_> = self.expiry.extract_if(|_, end| *end <= now).collect();
        for ((node, key), _) in gone {
            // Of a node that is down nothing is remembered.
            let mut stream = TcpStream::connect(self.nodes.address(node)).expect("it is up");
            write!(stream, "delete {key}\r\n").expect("it listens");
            let mut line = String::new();
            BufReader::new(stream)
                .read_line(&mut line)
                .expect("answered");
        }
    }

    async fn kill(&mut self, node: usize) {
        self.nodes.kill(node);
        self.expiry.retain(|(place, _), _| *place != node);
    }

    async fn start(&mut self, node: usize) {
        let servers = self.servers.values();
        let know_it = servers.filter(|seen| seen.client.nodes()[node].commands > 0);
        self.nodes.restart(node, know_it.count()).await;
    }

    fn take_log(&mut self) -> Vec<Vec<String>> {
        let log = self.nodes.take();
        for (node, told) in log.iter().enumerate() {
            for told in told {
                self.remember(node, told);
            }
        }
        log
    }
}

/// Plays all scenarios on nodes of this kind, side by side, for most of them wait for a connection to come back.
fn replay_all(kind: Kind) {
    let requests: usize = std::thread::scope(|scope| {
        let playing: Vec<_> = scenarios()
            .into_iter()
            .map(|(name, config, steps)| {
                scope.spawn(move || {
                    let mut stage = Sockets::new(kind, nodes_of(name))?;
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    Some(runtime.block_on(replay(&mut stage, name, &config, &steps)))
                })
            })
            .collect();
        let played = playing.into_iter().map(|thread| match thread.join() {
            Ok(requests) => requests.unwrap_or(0),
            Err(failure) => std::panic::resume_unwind(failure),
        });
        played.sum()
    });
    assert!(requests > 140 || requests == 0, "{requests}");
}

#[test]
fn on_our_store_the_same_commands_pass_as_msm_sent() {
    replay_all(Kind::Sessiond);
}

#[test]
fn on_memcached_the_same_commands_pass_as_msm_sent() {
    replay_all(Kind::Memcached);
}
