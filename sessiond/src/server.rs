//! The acceptor, the workers, the connection limit, and how all of it stops.
//!
//! One task accepts and hands each connection to the next worker in turn, as memcached does: session managers hold a
//! few long connections, and turns spread those evenly where `SO_REUSEPORT` would leave it to a hash.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use program::{Failure, sockets};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::admin;
use crate::clock::Clock;
use crate::command::Executor;
use crate::config::Config;
use crate::connection;
use crate::listener::accept::{Arrived, Doors};
use crate::listener::{self, Listener};
use crate::status::{Clients, Counters, Figures};
use crate::store::{Layout, Store};

/// What a client is told that is one too many.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// Connections that may wait for a worker to take them; at the bound the acceptor waits.
const HANDED_OVER_MAX: usize = 64;

/// How long the acceptor waits when it cannot accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound sockets of a node.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub clients: Vec<Listener>,
    /// For health and figures.
    pub admin: Option<std::net::TcpListener>,
}

/// Binds what the settings name.
pub fn bind(config: &Config) -> Result<Listeners, Failure> {
    let admin = config.admin_address()?;
    let opened = listener::open(config)?;
    Ok(Listeners {
        clients: opened.clients,
        admin: admin
            .map(|address| sockets::bind(address, "--admin or LNMT_ADMIN"))
            .transpose()?,
    })
}

/// Serves clients until `shutdown` completes, then lets connections finish for at most `grace_period`.
///
/// Must be called inside a tokio runtime; the workers are threads of their own.
pub async fn serve(
    listeners: Listeners,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let addresses: Vec<String> = listeners.clients.iter().map(ToString::to_string).collect();
    let doors = Doors::open(listeners.clients)?;
    let figures = Arc::new(figures(&config));
    let stopping = CancellationToken::new();
    let admin = listeners
        .admin
        .map(|listener| admin::start(listener, Arc::clone(&figures), stopping.clone()));
    let admin = admin.transpose()?;
    let workers = start_workers(&config, &figures, &stopping)?;
    info!(
        node = config.node_id,
        address = addresses.join(" "),
        admin = config.admin,
        memory = %config.memory_limit.0,
        threads = config.threads,
        "listening"
    );
    let acceptor = Acceptor {
        doors,
        figures: &figures,
        workers: workers.iter().map(|worker| worker.sender.clone()).collect(),
    };
    tokio::select! {
        () = acceptor.run() => {}
        () = shutdown => {}
    }
    info!(node = config.node_id, "stopping");
    stopping.cancel();
    for worker in workers {
        worker.stop().await;
    }
    if let Some(admin) = admin {
        // Its own failures are logged where they happen.
        let _ = admin.await;
    }
    Ok(())
}

fn figures(config: &Config) -> Figures {
    let clock = Clock::start();
    let store = Store::new(Layout {
        memory: config.memory_limit.0.bytes(),
        item_size_max: config.item_size_max.bytes(),
        started: clock.now(),
        evict: true,
        cas: true,
    });
    Figures {
        node: config.node_id.clone(),
        max_connections: config.max_connections,
        clock,
        store: Arc::new(store),
        clients: Clients::default(),
        workers: (0..config.threads).map(|_| Counters::default()).collect(),
    }
}

struct Acceptor<'a> {
    doors: Doors,
    figures: &'a Arc<Figures>,
    workers: Vec<mpsc::Sender<Admitted>>,
}

impl Acceptor<'_> {
    /// Accepts clients; returns only when no worker is left.
    async fn run(mut self) {
        let mut turn = 0;
        loop {
            let arrived = match self.doors.accept().await {
                Ok(arrived) => arrived,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(admitted) = self.admit(arrived) else {
                continue;
            };
            let Some(worker) = self.workers.get(turn) else {
                return;
            };
            turn = (turn + 1) % self.workers.len();
            if worker.send(admitted).await.is_err() {
                return;
            }
        }
    }

    /// Counts a client in, or tells it that there are too many.
    fn admit(&self, arrived: Arrived) -> Option<Admitted> {
        let clients = &self.figures.clients;
        let (seat, others) = Seat::take(self.figures);
        if others >= self.figures.max_connections as u64 {
            clients.refused.fetch_add(1, Ordering::Relaxed);
            arrived.tell(TOO_MANY);
            return None;
        }
        clients.total.fetch_add(1, Ordering::Relaxed);
        // The worker registers the socket with its own event loop.
        match arrived.into_socket() {
            Ok(socket) => Some(Admitted { socket, seat }),
            Err(error) => {
                warn!(%error, "cannot hand a connection over");
                None
            }
        }
    }
}

/// A client that is counted in.
struct Admitted {
    socket: OwnedFd,
    seat: Seat,
}

/// A client's place among those connected; given back when dropped, however its connection ends.
struct Seat(Arc<Figures>);

impl Seat {
    /// Takes a place; says how many were taken before.
    fn take(figures: &Arc<Figures>) -> (Self, u64) {
        let others = figures.clients.current.fetch_add(1, Ordering::Relaxed);
        (Self(Arc::clone(figures)), others)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.current.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Worker {
    sender: mpsc::Sender<Admitted>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Waits for the worker's connections to end.
    async fn stop(self) {
        drop(self.sender);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            warn!("a worker did not end well");
        }
    }
}

fn start_workers(
    config: &Config,
    figures: &Arc<Figures>,
    stopping: &CancellationToken,
) -> Result<Vec<Worker>, Failure> {
    let start = |index| {
        let (sender, receiver) = mpsc::channel(HANDED_OVER_MAX);
        let work = Work {
            index,
            item_size_max: config.item_size_max.bytes(),
            grace_period: config.grace_period.into(),
            figures: Arc::clone(figures),
            stopping: stopping.clone(),
        };
        let cannot = |e| Failure::environment("cannot start a worker", e);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot)?;
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || runtime.block_on(Arc::new(work).run(receiver)))
            .map_err(cannot)?;
        Ok(Worker { sender, thread })
    };
    (0..config.threads).map(start).collect()
}

/// What a worker thread needs.
struct Work {
    index: usize,
    item_size_max: usize,
    grace_period: Duration,
    figures: Arc<Figures>,
    stopping: CancellationToken,
}

impl Work {
    async fn run(self: Arc<Self>, mut receiver: mpsc::Receiver<Admitted>) {
        let connections = TaskTracker::new();
        loop {
            tokio::select! {
                admitted = receiver.recv() => match admitted {
                    Some(admitted) => connections.spawn(Arc::clone(&self).serve(admitted)),
                    None => break,
                },
                () = self.stopping.cancelled() => break,
            };
        }
        connections.close();
        let left = tokio::time::timeout(self.grace_period, connections.wait()).await;
        if left.is_err() {
            warn!(
                connections = connections.len(),
                "closing connections that did not finish in time"
            );
        }
    }

    async fn serve(self: Arc<Self>, admitted: Admitted) {
        let outcome = match prepare(admitted.socket) {
            Ok(stream) => {
                let executor = Executor {
                    figures: &self.figures,
                    counters: &self.figures.workers[self.index],
                };
                connection::serve(stream, executor, self.item_size_max, &self.stopping).await
            }
            Err(error) => Err(error),
        };
        drop(admitted.seat);
        match outcome {
            Ok(ended) => debug!(?ended, "connection over"),
            Err(error) => debug!(%error, "connection lost"),
        }
    }
}

fn prepare(socket: OwnedFd) -> std::io::Result<TcpStream> {
    // Reading and writing a Unix socket is the same calls.
    TcpStream::from_std(socket.into())
}
