//! The acceptor, the connection limit, the threads, and how all of it stops.
//!
//! One task accepts and hands each connection to the next worker in turn, as memcached does: session managers hold a
//! few long connections, and turns spread those evenly where `SO_REUSEPORT` would leave it to a hash.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use program::{Failure, sockets};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin;
use crate::buffers::Buffers;
use crate::clients::{Client, Clients};
use crate::clock::Clock;
use crate::command::{self, Executor};
use crate::config::Config;
use crate::connection::{Desk, RETRIEVAL_LINE_MAX};
use crate::listener::accept::{Arrived, Doors};
use crate::listener::{self, Listener};
use crate::maintenance::Maintenance;
use crate::memory_file::MemoryFile;
use crate::prefixes::Prefixes;
use crate::protocol::text::Limits;
use crate::reload::Reload;
use crate::status::{Counters, Figures};
use crate::store::{Layout, OnEviction, Store};
use crate::stream::Stream;
use crate::tuning::Tuning;
use crate::udp::Datagrams;
use crate::watch::Watch;
use crate::worker::{Admitted, Mailbox, Work};

/// What a client is told that is one too many.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// How long the acceptor waits when it cannot accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound sockets of a node.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub clients: Vec<Listener>,
    /// For clients without a connection.
    pub datagrams: Vec<std::net::UdpSocket>,
    /// For health and figures.
    pub admin: Option<std::net::TcpListener>,
    /// What the files say that can be read again while clients are served.
    pub reload: Reload,
}

/// Binds what the settings name.
pub fn bind(config: &Config) -> Result<Listeners, Failure> {
    let admin = config.admin_address()?;
    let opened = listener::open(config)?;
    Ok(Listeners {
        clients: opened.clients,
        datagrams: opened.datagrams,
        admin: admin
            .map(|address| sockets::bind(address, "--admin or LNMT_ADMIN"))
            .transpose()?,
        reload: Reload::of(config)?,
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
    serve_and_tell(listeners, config, || Ok(()), shutdown).await
}

/// As [`serve`]; calls `ready` when everything that can fail at a start has gone well.
pub(crate) async fn serve_and_tell(
    listeners: Listeners,
    config: Config,
    ready: impl FnOnce() -> Result<(), Failure>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let addresses: Vec<String> = listeners.clients.iter().map(ToString::to_string).collect();
    let doors = Doors::open(listeners.clients)?;
    let datagrams = Datagrams::open(
        listeners.datagrams,
        config.udp_trusted.clone(),
        config.item_size_max.bytes(),
    )?;
    let figures = Arc::new(figures(&config, &doors, listeners.reload));
    let memory_file = MemoryFile::take(&config)?;
    // Before there are items, because it measures what the process takes without them.
    let maintenance = Maintenance::start(&figures)
        .map_err(|e| Failure::environment("cannot start the maintenance thread", e))?;
    if let Some(file) = &memory_file {
        file.load(&figures.store, figures.clock.now())?;
    }
    let stopping = CancellationToken::new();
    let admin = listeners
        .admin
        .map(|listener| admin::start(listener, Arc::clone(&figures), stopping.clone()));
    let admin = admin.transpose()?;
    ready()?;
    let workers = start_workers(&config, &figures)?;
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
        workers: workers
            .iter()
            .map(|worker| Arc::clone(&worker.mailbox))
            .collect(),
    };
    let executor = Executor::new(&figures, &figures.datagrams);
    let limits = Limits {
        item_size: config.item_size_max.bytes(),
        retrieval_line: RETRIEVAL_LINE_MAX,
    };
    let desk = Desk::new(executor, limits, 1, &figures.buffers, None);
    let served = tokio::select! {
        served = acceptor.run() => served,
        () = datagrams.serve(desk) => Ok(()),
        () = shutdown => Ok(()),
        () = figures.told_to_stop.cancelled() => Ok(()),
    };
    info!(node = config.node_id, "stopping");
    stopping.cancel();
    for worker in &workers {
        worker.ask_to_stop();
    }
    for worker in workers {
        worker.join().await;
    }
    drop(maintenance);
    if let Some(admin) = admin {
        // Its own failures are logged where they happen.
        let _ = admin.await;
    }
    if let Some(file) = &memory_file {
        file.save(&figures.store, figures.clock.now())?;
    }
    served
}

fn figures(config: &Config, doors: &Doors, reload: Reload) -> Figures {
    let clock = Arc::new(Clock::start());
    let memory = config.memory_limit.0.bytes();
    let item_size_max = config.item_size_max.bytes();
    let watch = Arc::new(Watch::default());
    let store = Store::new(Layout {
        memory,
        item_size_max,
        started: clock.now(),
        evict: !config.disable_evictions,
        cas: !config.disable_cas,
    });
    store.on_eviction(&{
        let (watch, clock) = (Arc::clone(&watch), Arc::clone(&clock));
        OnEviction::new(move |item| command::tell_eviction(&watch, &clock, item))
    });
    Figures {
        listeners: doors.heard(),
        clock,
        policy: Arc::clone(&reload.policy),
        reload,
        store: Arc::new(store),
        buffers: Arc::new(Buffers::new(memory, item_size_max)),
        clients: Clients::default(),
        datagrams: Counters::default(),
        workers: (0..config.threads).map(|_| Counters::default()).collect(),
        prefixes: Prefixes::new(&config.prefix_delimiter),
        watch,
        tuning: Mutex::new(Tuning::of(config)),
        told_to_stop: CancellationToken::new(),
        config: config.clone(),
    }
}

struct Acceptor<'a> {
    doors: Doors,
    figures: &'a Arc<Figures>,
    workers: Vec<Arc<Mailbox<Admitted>>>,
}

impl Acceptor<'_> {
    /// Accepts clients; returns only when a worker is gone, which nothing that clients do should bring about.
    async fn run(mut self) -> Result<(), Failure> {
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
            let sent = self.workers.get(turn).map(|worker| worker.send(admitted));
            if !matches!(sent, Some(Ok(()))) {
                return Err(Failure::Failed(format!("worker {turn} has ended")));
            }
            turn = (turn + 1) % self.workers.len();
        }
    }

    /// Counts a client in, or tells it that there are too many.
    fn admit(&self, arrived: Arrived) -> Option<Admitted> {
        let clients = &self.figures.clients;
        let (seat, others) = Seat::take(self.figures);
        if others >= self.figures.config.max_connections as u64 {
            clients.refused.fetch_add(1, Ordering::Relaxed);
            arrived.tell(TOO_MANY);
            return None;
        }
        clients.total.fetch_add(1, Ordering::Relaxed);
        let certificates = self.figures.reload.certificates.as_ref();
        let tls = certificates.filter(|_| arrived.tls);
        // The worker watches the socket with its own event loop.
        let (peer, listener) = (arrived.peer, Arc::clone(&arrived.listener));
        let stream = arrived.into_socket().and_then(|socket| {
            let descriptor = socket.as_raw_fd();
            let stream = match tls {
                Some(tls) => Stream::tls(socket, tls)?,
                None => Stream::Plain(socket),
            };
            Ok((stream, descriptor))
        });
        match stream {
            Ok((stream, descriptor)) => {
                let now = self.figures.clock.now();
                let client = clients.enter(descriptor, peer, &listener, now);
                let seat = seat.of(client);
                Some(Admitted { stream, seat })
            }
            Err(error) => {
                warn!(%error, "cannot hand a connection over");
                None
            }
        }
    }
}

/// A client's place among those connected; given back when dropped, however its connection ends.
#[derive(Debug)]
pub(crate) struct Seat {
    figures: Arc<Figures>,
    client: Option<Arc<Client>>,
}

impl Seat {
    /// Takes a place; says how many were taken before.
    fn take(figures: &Arc<Figures>) -> (Self, u64) {
        let others = figures.clients.current.fetch_add(1, Ordering::Relaxed);
        let seat = Self {
            figures: Arc::clone(figures),
            client: None,
        };
        (seat, others)
    }

    /// The same place, now with a client on it.
    fn of(mut self, client: Arc<Client>) -> Self {
        self.client = Some(client);
        self
    }

    /// Who has it.
    pub(crate) fn client(&self) -> Option<&Client> {
        self.client.as_deref()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let clients = &self.figures.clients;
        clients.current.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = &self.client {
            clients.leave(client);
        }
    }
}

struct Worker {
    mailbox: Arc<Mailbox<Admitted>>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Worker {
    fn ask_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.mailbox.ring();
    }

    /// Waits for the worker's connections to end.
    async fn join(self) {
        match tokio::task::spawn_blocking(|| self.thread.join()).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "a worker failed"),
            Ok(Err(_)) | Err(_) => warn!("a worker did not end well"),
        }
    }
}

fn start_workers(config: &Config, figures: &Arc<Figures>) -> Result<Vec<Worker>, Failure> {
    let cannot = |e| Failure::environment("cannot start a worker", e);
    let stopping = Arc::new(AtomicBool::new(false));
    let start = |index| {
        let mailbox = Arc::new(Mailbox::new().map_err(cannot)?);
        let work = Work {
            index,
            item_size_max: config.item_size_max.bytes(),
            turn: config.max_reqs_per_event as usize,
            idle_timeout: idle_timeout(config),
            grace_period: config.grace_period.into(),
            figures: Arc::clone(figures),
            buffers: Arc::clone(&figures.buffers),
            mailbox: Arc::clone(&mailbox),
            stopping: Arc::clone(&stopping),
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || work.run())
            .map_err(cannot)?;
        Ok(Worker {
            mailbox,
            stopping: Arc::clone(&stopping),
            thread,
        })
    };
    (0..config.threads).map(start).collect()
}

fn idle_timeout(config: &Config) -> Option<Duration> {
    (config.idle_timeout != 0).then(|| Duration::from_secs(config.idle_timeout.into()))
}
