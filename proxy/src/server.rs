//! The proxy as a whole: resolves names, builds the site, binds, starts the workers, and hands on what the operator wants.
//! `reload` changes what is served; here it begins and ends.

use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use program::Failure;
use socket2::{Domain, Protocol, Socket, Type};

use crate::admin::Admin;
use crate::check::Checks;
use crate::config::Config;
use crate::resolve::Addresses;
use crate::shared::Shared;
use crate::site::Site;
use crate::worker::mailbox::Mailbox;
use crate::worker::{Order, Worker};

/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How often a stop looks whether the workers have finished.
const STOP_POLL: Duration = Duration::from_millis(10);

/// A running proxy. Dropping it without [`Proxy::stop`] ends the workers at once.
pub struct Proxy {
    pub(crate) config: Config,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Each address as configured, and as bound.
    pub(crate) bound: Vec<(SocketAddr, SocketAddr)>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Vec<WorkerThread>,
    pub(crate) sticky_key: Vec<u8>,
    pub(crate) resolved: Addresses,
    pub(crate) checks: Checks,
    admin: Option<Admin>,
}

/// What the operator asks of a running proxy; see [`serve`].
pub enum Command {
    /// Serve by this configuration.
    Reload(Box<Config>),
    /// There was to be a new configuration, and it could not be read: told and counted like one that is wrong.
    Refuse(Failure),
    /// Write the access log out and open its file again.
    ReopenLogs,
    /// Finish what runs, then end; the second one ends at once.
    Stop,
}

/// Serves by `config` until [`Command::Stop`], or until `commands` has no more. `started` is told the addresses and the
/// admin address once they are bound; port 0 in the configuration asks the system for a port.
pub async fn serve<F>(
    config: &Config,
    started: impl FnOnce(&[SocketAddr], Option<SocketAddr>),
    mut commands: impl FnMut() -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Command>,
{
    let mut proxy = Proxy::start(config).await?;
    started(proxy.addresses(), proxy.admin_address());
    loop {
        let again = proxy.shared.site.load().resolver_valid;
        let mut command = std::pin::pin!(commands());
        let command = loop {
            tokio::select! {
                command = &mut command => break command,
                () = tokio::time::sleep(again), if !again.is_zero() && !proxy.resolved.is_empty() => {
                    proxy.resolve_again().await;
                }
                failure = proxy.failed() => return Err(failure),
            }
        };
        match command {
            // What went wrong is logged; the old configuration stays.
            Command::Reload(config) => drop(proxy.reload(&config).await),
            Command::Refuse(error) => proxy.refuse(&error),
            Command::ReopenLogs => proxy.reopen_logs(),
            Command::Stop => {
                let again = async { while !matches!(commands().await, Command::Stop) {} };
                proxy.stop(again).await;
                return Ok(());
            }
        }
    }
}

/// Checks everything that [`serve`] would check before it binds (nginx's `-t`).
pub async fn test(config: &Config) -> Result<(), Failure> {
    crate::admin::parse(&config.admin)?;
    let resolved = crate::resolve::resolve(config).await;
    let key = crate::state::random_key();
    let site = crate::reload::build(config, &resolved, &key, worker_count(config), None)?;
    for listener in &site.listeners {
        crate::tls::acceptor(&listener.tls)?;
    }
    crate::log_sink::test(&site.access_log)
}

impl Proxy {
    /// Starts serving by `config`.
    pub async fn start(config: &Config) -> Result<Self, Failure> {
        let sticky_key = crate::state::sticky_key(config, None);
        let resolved = crate::resolve::resolve(config).await;
        let count = worker_count(config);
        let mut site = crate::reload::build(config, &resolved, &sticky_key, count, None)?;
        let mut sockets: Vec<Vec<OwnedFd>> = (0..count).map(|_| Vec::new()).collect();
        let (mut acceptors, mut all_bound) = (Vec::new(), Vec::new());
        for listener in &mut site.listeners {
            acceptors.push(crate::tls::acceptor(&listener.tls)?);
            let bound = bind(listener.address, count)?;
            all_bound.push((listener.address, bound.address));
            listener.address = bound.address;
            for (worker, fd) in sockets.iter_mut().zip(bound.sockets) {
                worker.push(fd);
            }
        }
        let site = Arc::new(site);
        let shared = Arc::new(Shared::new(Arc::clone(&site), count));
        let admin = Admin::start(&config.admin, &shared)?;
        let mut proxy = Self {
            config: config.clone(),
            addresses: site
                .listeners
                .iter()
                .map(|listener| listener.address)
                .collect(),
            bound: all_bound,
            checks: Checks::start(&site),
            shared,
            workers: Vec::new(),
            sticky_key,
            resolved,
            admin,
        };
        for (index, sockets) in sockets.into_iter().enumerate() {
            let shared = Arc::clone(&proxy.shared);
            let worker = WorkerThread::start(index, shared, Arc::clone(&site)).await?;
            for ((address, fd), tls) in proxy.addresses.iter().zip(sockets).zip(&acceptors) {
                worker.order(Order::Listen(*address, fd, tls.clone()));
            }
            proxy.workers.push(worker);
        }
        Ok(proxy)
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin port listens, where there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Writes out the access log and opens its file again.
    pub fn reopen_logs(&self) {
        self.order(|| Order::ReopenLogs);
    }

    /// Stops: accepts nothing more, finishes what runs (at most `shutdown_timeout`, and until `hurry` completes), then ends.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) {
        let mut hurry = std::pin::pin!(hurry);
        self.shared.stopping.store(true, Relaxed);
        let limit = self.shared.site.load().shutdown_timeout;
        self.order(|| Order::Drain);
        let deadline = tokio::time::Instant::now() + limit;
        while self.workers.iter().any(WorkerThread::is_running) {
            if tokio::time::Instant::now() >= deadline {
                tracing::warn!("shutdown_timeout has passed; what still runs is ended");
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(STOP_POLL) => {}
                () = &mut hurry => {
                    tracing::warn!("asked to stop once more; what still runs is ended");
                    break;
                }
            }
        }
        self.end();
    }

    /// Completes when a worker has ended although nobody asked it to.
    async fn failed(&self) -> Failure {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !self.workers.iter().all(WorkerThread::is_running) {
                return Failure::Failed("a worker thread has ended; see the log".into());
            }
        }
    }

    pub(crate) fn order(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            worker.order(order());
        }
    }

    fn end(&mut self) {
        self.order(|| Order::Stop);
        for worker in &mut self.workers {
            worker.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// A worker from outside.
pub(crate) struct WorkerThread {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerThread {
    async fn start(index: usize, shared: Arc<Shared>, site: Arc<Site>) -> Result<Self, Failure> {
        let (started, ready) = tokio::sync::oneshot::channel();
        let run = move || -> std::io::Result<()> {
            // The mailbox belongs to the thread that reads it.
            let mailbox = Arc::new(Mailbox::new()?);
            let worker = Worker::new(index, Arc::clone(&mailbox), shared, site)?;
            let _ = started.send(mailbox);
            worker.run()
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                if let Err(error) = run() {
                    tracing::error!(worker = index, %error, "worker ended");
                }
            })
            .map_err(|e| Failure::environment("cannot start a worker thread", e))?;
        let mailbox = ready
            .await
            .map_err(|_| Failure::Environment("a worker thread could not start".into()))?;
        Ok(Self {
            mailbox,
            thread: Some(thread),
        })
    }

    pub(crate) fn order(&self, order: Order) {
        self.mailbox.order(order);
    }

    fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker thread panicked");
        }
    }
}

/// How many workers a configuration asks for.
fn worker_count(config: &Config) -> usize {
    match config.worker_processes {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        count => count,
    }
}

/// An address and its sockets, one for each worker.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// Binds an address once for each worker, each with a queue of its own (`SO_REUSEPORT`).
pub(crate) fn bind(address: SocketAddr, workers: usize) -> Result<Bound, Failure> {
    let cannot = |e| program::sockets::cannot_bind(address, "listen", &e);
    // Another process that shares its ports would let us bind beside it; ask once without sharing.
    drop(socket(address, false).map_err(cannot)?);
    let mut bound = Bound {
        address,
        sockets: Vec::new(),
    };
    for _ in 0..workers {
        let socket = socket(bound.address, workers > 1).map_err(cannot)?;
        socket.listen(BACKLOG).map_err(cannot)?;
        let local = socket.local_addr().map_err(cannot)?;
        bound.address = local.as_socket().unwrap_or(address);
        bound.sockets.push(socket.into());
    }
    Ok(bound)
}

fn socket(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted connections inherit it, so that it costs no call for each of them.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
