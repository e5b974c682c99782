//! An application server with sessions: Tomcat's role in the lab, and a session library for any axum application.
//!
//! ```text
//!             server.rs, server/connection.rs        threads, connections, drain         admin.rs, admin/msm.rs, status.rs
//!                        │ request.rs: path parameters, host, trusted proxies            access_log.rs
//!                        ▼
//!   app.rs   routes per context ─► app/{api,people}.rs, pages.rs + templates/, params.rs, site.rs
//!                        │ handlers see a Session
//!   attach.rs            ▼         cookie → find or create → handler → commit → Set-Cookie
//!     session.rs ─── session/{id,value,attributes,cookie}.rs        pure: no I/O, no clock
//!                        │
//!   manager.rs           ▼         the contract: create find change_id commit remove run status
//!     manager/standard.rs          in memory
//!     manager/msm.rs, msm/         in memcached nodes, as memcached-session-manager keeps them, safely
//!     manager/cluster.rs, cluster/ in all members of a cluster, Tomcats too (over tribes)
//!     manager/table.rs             the table that sessions in memory are in
//!
//!   tribes.rs, tribes/             Tomcat's group communication: members, and messages between them; knows no session
//!   java.rs, java/                 Java's object streams, for sessions that Java servers share; pure
//!   testing.rs, testing/           the suite of all managers; a relay that tells what a memcached is asked
//! ```
//!
//! What each part does not know: `session` knows no manager and no request, `manager` knows no request, handlers know no
//! manager, and [`serve`] is the one place that names concrete managers. Only [`clock`] reads the time.
//!
//! An application of its own needs [`Attach`], a manager and a cookie; `examples/counter.rs` is the whole of it.

pub mod access_log;
mod admin;
pub mod app;
pub mod attach;
pub mod cli;
pub mod clock;
pub mod config;
pub mod java;
pub mod manager;
pub mod pages;
pub mod params;
pub mod request;
mod server;
pub mod session;
pub mod site;
pub mod status;
pub mod testing;
pub mod tribes;

use std::future::Future;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use program::Failure;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use attach::{Attach, Sessions};
pub use clock::Clock;
pub use config::{Config, Mode};
pub use manager::Manager;
use manager::cluster::hub::Hub;
pub use manager::cluster::sessions::{ClusterConfig, ClusterManager};
use manager::msm::client::{Client, Health};
pub use manager::msm::sessions::{MsmConfig, MsmManager};
pub use manager::standard::{StandardConfig, StandardManager};
pub use session::{Session, Value};
pub use status::Status;
use tribes::channel::{self, Channel, Listener};

/// The sockets of a node; both non-blocking.
#[derive(Debug)]
pub struct Listeners {
    /// For applications.
    pub applications: TcpListener,
    /// For the admin port, if it is served.
    pub admin: Option<TcpListener>,
}

/// Serves until `shutdown` completes, then finishes what runs. Must be called inside a tokio runtime.
pub async fn serve(
    listeners: Listeners,
    config: Config,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    config.check()?;
    match config.mode {
        // These bind browsers to servers, in the proxy; each server keeps its sessions to itself.
        Mode::RoundRobin | Mode::IpHash | Mode::SessionSticky => {
            let standard = config.standard()?;
            let manager = |_context: &str| Ok(StandardManager::new(standard.clone()));
            let more = |_: &[(String, Arc<StandardManager>)]| axum::Router::new();
            serve_with(manager, more, listeners, config, clock, shutdown).await
        }
        Mode::Cluster | Mode::Backup => {
            let group = Joined::new(&config, &clock).await?;
            let settings = config.clone();
            let manager = |context: &str| {
                let settings = settings.cluster_manager(context)?;
                let (channel, clock) = (group.channel.clone(), clock.clone());
                let manager = ClusterManager::new(settings, channel, clock);
                group.hub.add(Box::new(manager.clone()));
                manager.meet();
                Ok(manager)
            };
            let more = |_: &[(String, Arc<ClusterManager<Channel>>)]| axum::Router::new();
            let served =
                serve_with(manager, more, listeners, config, clock.clone(), shutdown).await;
            group.channel.stop().await;
            served
        }
        Mode::Msm | Mode::MsmSticky => {
            let client = Client::new(&config.msm, clock.clone());
            let settings = config.clone();
            let manager = |context: &str| {
                MsmManager::new(settings.msm(context)?, client.clone())
                    .map_err(|error| Failure::Usage(format!("msm: {error}")))
            };
            let health = Health::new(&config.msm, &client);
            let asked = health.clone();
            let more = move |managers: &[(String, Arc<MsmManager<Client>>)]| {
                let managers = managers.iter().map(|(_, manager)| Arc::clone(manager));
                admin::msm::routes(managers.collect(), asked)
            };
            let check = tokio::spawn(async move { health.log().await });
            let served = serve_with(manager, more, listeners, config, clock, shutdown).await;
            check.abort();
            served
        }
    }
}

/// This node's end of a cluster, without managers yet.
struct Joined {
    hub: Arc<Hub>,
    channel: Channel,
}

impl Joined {
    async fn new(config: &Config, clock: &Clock) -> Result<Self, Failure> {
        let failed = |error| Failure::environment("cannot join the cluster", error);
        let hub = Arc::new(Hub::new(clock.clone()));
        let bound = channel::bind(&config.cluster).map_err(failed)?;
        let listener: Arc<dyn Listener> = Arc::clone(&hub) as _;
        let channel = Channel::start(&config.cluster, bound, clock.clone(), listener)
            .await
            .map_err(failed)?;
        hub.open(&channel);
        Ok(Self { hub, channel })
    }
}

/// [`serve`] with sessions kept by what `manager` makes for each context, and `more` routes for the admin port.
async fn serve_with<M: Manager>(
    manager: impl Fn(&str) -> Result<M, Failure>,
    more: impl FnOnce(&[(String, Arc<M>)]) -> axum::Router,
    listeners: Listeners,
    config: Config,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let config = Arc::new(config);
    let managers: Vec<(String, Arc<M>)> = config
        .contexts
        .iter()
        .map(|path| Ok((path.clone(), Arc::new(manager(path)?))))
        .collect::<Result<_, Failure>>()?;
    let serving = server::Serving {
        config: Arc::clone(&config),
        clock: clock.clone(),
        counters: status::Counters::new(workers(&config)),
        access_log_dropped: Arc::new(AtomicU64::new(0)),
        beside_caller: matches!(config.mode, Mode::Cluster | Mode::Backup),
    };
    let ready = Arc::new(AtomicBool::new(true));
    let stop = CancellationToken::new();
    let finish = CancellationToken::new();
    let beside = TaskTracker::new();

    for (_, manager) in &managers {
        let (manager, finish, clock) = (Arc::clone(manager), finish.clone(), clock.clone());
        beside.spawn(async move { manager.run(finish, clock).await });
    }
    let mut shutdown = pin!(shutdown);
    for (_, manager) in &managers {
        tokio::select! {
            () = manager.start() => {}
            // Nobody was served yet.
            () = &mut shutdown => {
                finish.cancel();
                beside.close();
                beside.wait().await;
                return Ok(());
            }
        }
    }
    if let Some(listener) = listeners.admin {
        let ask = status_of(&config, &managers, &serving, Arc::clone(&ready));
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|e| Failure::environment("cannot serve the admin port", e))?;
        let serve = axum::serve(listener, admin::routes(ask).merge(more(&managers)));
        let finish = finish.clone();
        beside.spawn(async move {
            let ended = serve.with_graceful_shutdown(finish.cancelled_owned()).await;
            if let Err(error) = ended {
                tracing::error!(%error, "the admin port ended");
            }
        });
    }

    let site = site::Site::new(&config);
    let app = || {
        let contexts = managers.iter().map(|(path, manager)| app::Context {
            path: path.clone(),
            sessions: Attach::new(Arc::clone(manager), cookie(&config, path), clock.clone()),
        });
        app::App::new(&site, contexts)
    };
    let serving = server::serve(listeners.applications, &serving, app, stop.clone());
    let served = {
        tokio::pin!(serving);
        tokio::select! {
            failed = &mut serving => failed,
            () = &mut shutdown => {
                ready.store(false, Ordering::Relaxed);
                stop.cancel();
                serving.await
            }
        }
    };
    finish.cancel();
    beside.close();
    // The admin port waits for its clients; nobody may hold the end up.
    let grace = *config.shutdown_grace;
    if tokio::time::timeout(grace, beside.wait()).await.is_err() {
        tracing::warn!("the session manager or the admin port did not end in time");
    }
    served.map_err(|e| Failure::Failed(format!("cannot serve: {e}")))
}

fn workers(config: &Config) -> usize {
    match config.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}

fn cookie(config: &Config, path: &str) -> session::cookie::SessionCookie {
    config
        .cookie
        .cookie(path)
        .expect("the configuration was checked")
}

/// A function that tells the node's state.
fn status_of<M: Manager>(
    config: &Arc<Config>,
    managers: &[(String, Arc<M>)],
    serving: &server::Serving,
    ready: Arc<AtomicBool>,
) -> admin::Ask {
    let start = Instant::now();
    let config = Arc::clone(config);
    let managers = managers.to_vec();
    let counters = serving.counters.clone();
    let dropped = Arc::clone(&serving.access_log_dropped);
    Arc::new(move || {
        let mut status = Status {
            node: config.node_id.clone(),
            jvm_route: config.jvm_route.clone(),
            mode: config.mode.name(),
            ready: ready.load(Ordering::Relaxed),
            uptime_seconds: start.elapsed().as_secs(),
            requests: 0,
            client_errors: 0,
            server_errors: 0,
            connections: 0,
            open_connections: 0,
            access_log_dropped: dropped.load(Ordering::Relaxed),
            resident_bytes: status::resident_bytes(),
            contexts: managers
                .iter()
                .map(|(path, manager)| status::ContextStatus {
                    context: path.clone(),
                    sessions: manager.status(),
                })
                .collect(),
        };
        status.count(&counters);
        status
    })
}
