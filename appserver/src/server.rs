//! Sockets and threads: accept, hand out, drain.
//!
//! ```text
//!   accept loop ──► bounded queue of worker 1 ──► thread with its own runtime: all of a connection's life
//!     (limit)  └──► bounded queue of worker 2 ──► …
//! ```
//!
//! Connections are dealt out in turn and stay on their thread. A proxy keeps few connections open; left to the kernel
//! (`SO_REUSEPORT`), all of them may land on one thread.
//!
//! Where requests wait for tasks of the caller's runtime, as those of a cluster do for its channel, a single worker runs there too:
//! on a thread of its own each request would wake the other thread, and its answer would wake it back.

mod connection;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access_log::AccessLogger;
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::manager::Manager;
use crate::request::Network;
use crate::status::{Counters, WorkerCounters};

/// Connections that wait for a worker to take them up.
const QUEUE_PER_WORKER: usize = 64;

/// After a failed accept (no file descriptor left, say) the next try waits this long.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Everything that a worker needs to serve connections.
pub(crate) struct Serving {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) counters: Counters,
    pub(crate) access_log_dropped: Arc<AtomicU64>,
    /// Whether a single worker runs on the runtime that this is called in, not on a thread of its own.
    pub(crate) beside_caller: bool,
}

/// What one thread serves with.
struct Worker<M> {
    app: App<M>,
    clock: Clock,
    counters: Arc<WorkerCounters>,
    proxies: Vec<Network>,
    log: Option<AccessLogger>,
    keepalive_timeout: Duration,
    path_parameter: String,
}

struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
}

/// Serves until `stop`, then lets running requests finish for the configured grace. `app` makes the pages of one thread.
/// Ends when the last connection has.
pub(crate) async fn serve<M: Manager>(
    listener: TcpListener,
    serving: &Serving,
    app: impl Fn() -> App<M>,
    stop: CancellationToken,
) -> io::Result<()> {
    let config = &serving.config;
    let log = AccessLogger::start(config.access_log, Arc::clone(&serving.access_log_dropped));
    let force = CancellationToken::new();
    let mut queues = Vec::new();
    let mut ended = Vec::new();
    for counters in &serving.counters.0 {
        let worker = Arc::new(Worker {
            app: app(),
            clock: serving.clock.clone(),
            counters: Arc::clone(counters),
            proxies: config.internal_proxies.clone(),
            log: log.clone(),
            keepalive_timeout: config.keepalive_timeout.into(),
            path_parameter: format!("{}=", config.cookie.name.to_ascii_lowercase()),
        });
        let (queue, connections) = mpsc::channel(QUEUE_PER_WORKER);
        let (end, has_ended) = oneshot::channel::<()>();
        let life = work(worker, connections, stop.clone(), force.clone());
        if serving.beside_caller && serving.counters.0.len() == 1 {
            tokio::spawn(async move {
                life.await;
                let _ = end.send(());
            });
        } else {
            spawn_thread(queues.len(), life, end)?;
        }
        queues.push(queue);
        ended.push(has_ended);
    }
    drop(log);
    let accepting = accept(listener, config.max_connections, queues);
    stop.run_until_cancelled(accepting).await.transpose()?;
    tracing::info!(grace = %config.shutdown_grace, "no more connections; running requests finish");
    let finished = async {
        for end in ended {
            // An error means that the thread is gone, which is as good.
            let _ = end.await;
        }
    };
    tokio::pin!(finished);
    if tokio::time::timeout(*config.shutdown_grace, &mut finished)
        .await
        .is_err()
    {
        tracing::warn!("the grace is over: what still runs is cut off");
        force.cancel();
        finished.await;
    }
    Ok(())
}

fn spawn_thread(
    number: usize,
    life: impl Future<Output = ()> + Send + 'static,
    end: oneshot::Sender<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Where workers share a core, each lets the others go on after a batch of requests, not after a time slice of
        // milliseconds that their clients would feel.
        .on_thread_park(std::thread::yield_now)
        .build()?;
    std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            runtime.block_on(life);
            drop(runtime);
            let _ = end.send(());
        })?;
    Ok(())
}

/// Accepts and deals out in turn. A permit is taken before the accept and returned when the connection ends, so that at the
/// limit clients wait in the kernel's queue.
async fn accept(
    listener: TcpListener,
    max_connections: usize,
    queues: Vec<mpsc::Sender<Accepted>>,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let listener = tokio::net::TcpListener::from_std(listener)?;
    for queue in queues.iter().cycle() {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            break;
        };
        let (stream, peer) = loop {
            // Given back to the standard library, so that the worker registers it with its own runtime.
            let accepted = match listener.accept().await {
                Ok((stream, peer)) => stream.into_std().map(|stream| (stream, peer)),
                Err(error) => Err(error),
            };
            match accepted {
                Ok(accepted) => break accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        };
        let accepted = Accepted {
            stream,
            peer,
            permit,
        };
        if queue.send(accepted).await.is_err() {
            return Err(io::Error::other("a worker thread is gone"));
        }
    }
    Ok(())
}

/// One thread's life: takes connections up until the accept loop ends, then waits for those that are open.
async fn work<M: Manager>(
    worker: Arc<Worker<M>>,
    mut connections: mpsc::Receiver<Accepted>,
    stop: CancellationToken,
    force: CancellationToken,
) {
    let mut open = JoinSet::new();
    // A token of its own: its lock is not shared with the other threads.
    let stop = stop.child_token();
    loop {
        let accepted = tokio::select! {
            accepted = connections.recv() => accepted,
            Some(_) = open.join_next() => continue,
        };
        let Some(accepted) = accepted else { break };
        let worker = Arc::clone(&worker);
        let stop = stop.clone();
        worker.counters.connections.fetch_add(1, Ordering::Relaxed);
        worker
            .counters
            .open_connections
            .fetch_add(1, Ordering::Relaxed);
        open.spawn(async move {
            let Accepted {
                stream,
                peer,
                permit,
            } = accepted;
            if let Err(error) = connection::serve(stream, peer, &worker, &stop).await {
                tracing::debug!(%peer, error, "connection ended");
            }
            worker
                .counters
                .open_connections
                .fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
    }
    let ended = async { while open.join_next().await.is_some() {} };
    if force.run_until_cancelled(ended).await.is_none() {
        open.shutdown().await;
    }
}
