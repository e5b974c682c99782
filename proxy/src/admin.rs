//! The admin port: health, status and metrics for everybody who reaches it, changes of peers from this machine only.
//!
//! | request | answer |
//! |---|---|
//! | `GET /livez`, `GET /readyz` | 200, or 503 while stopping or without a usable peer |
//! | `GET /status` | everything as JSON |
//! | `GET /stub_status` | nginx's four lines |
//! | `GET /check_status?format=html\|csv\|json\|prometheus&status=up\|down` | Tengine's page |
//! | `GET /metrics` | OpenMetrics |
//! | `POST /upstreams/NAME/peers/PEER/up\|drain\|down` | changes what the operator wants of a peer; PEER is its name or node |
//! | `POST /upstreams/NAME/peers/PEER/weight?value=N` | changes its weight |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use program::Failure;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::shared::Shared;
use crate::site::Site;
use crate::status::{Process, Status, checks, metrics};
use crate::upstream::{Peer, RunState};
use crate::worker::stats::WorkerStats;

/// Connections at the same time; more wait.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take for a request head, and stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The largest weight that can be set.
const MAX_WEIGHT: u32 = 65_535;

/// The running admin port; ends when dropped.
pub(crate) struct Admin {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// The address of the admin port; none when it is off.
pub(crate) fn parse(address: &str) -> Result<Option<SocketAddr>, Failure> {
    if address.is_empty() {
        return Ok(None);
    }
    address.parse().map(Some).map_err(|_| {
        Failure::Usage(format!(
            "admin: `{address}` is not an address; write ADDR:PORT"
        ))
    })
}

impl Admin {
    /// Binds and serves; `None` when `address` is empty.
    pub(crate) fn start(address: &str, shared: &Arc<Shared>) -> Result<Option<Self>, Failure> {
        let Some(address) = parse(address)? else {
            return Ok(None);
        };
        let listener = program::sockets::bind(address, "admin")?;
        let listener = TcpListener::from_std(listener)
            .map_err(|e| Failure::environment("cannot watch the admin port", e))?;
        let address = listener
            .local_addr()
            .map_err(|e| Failure::environment("cannot read the admin address", e))?;
        let task = tokio::spawn(accept(listener, Arc::clone(shared)));
        Ok(Some(Self { address, task }))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin port; pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&shared, peer, &request);
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "admin connection ended");
            }
            drop(permit);
        });
    }
}

fn answer(shared: &Shared, from: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    if *request.method() == Method::POST {
        return change(shared, from, path, query);
    }
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "use GET or POST\n");
    }
    match path {
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" => readiness(shared),
        "/status" => match serde_json::to_string_pretty(&status(shared)) {
            Ok(json) => page(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        },
        "/stub_status" => page(
            StatusCode::OK,
            "text/plain",
            status(shared).client.stub_status(),
        ),
        "/check_status" => {
            let (format, filter) = checks::Format::of_query(query);
            let shown = format.page(&status(shared), filter);
            page(StatusCode::OK, format.content_type(), shown)
        }
        "/metrics" => page(
            StatusCode::OK,
            metrics::CONTENT_TYPE,
            metrics::text(&status(shared)),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez /readyz /status /stub_status /check_status /metrics\n",
        ),
    }
}

fn status(shared: &Shared) -> Status {
    let process = Process {
        uptime_seconds: shared.started.elapsed().as_secs(),
        workers: shared.workers.len(),
        generation: shared.generation.load(Relaxed),
        refused_reloads: shared.refused_reloads.load(Relaxed),
    };
    let clients = WorkerStats::totals(&shared.workers);
    Status::new(&shared.site.load(), process, clients, Instant::now())
}

fn readiness(shared: &Shared) -> Response<Full<Bytes>> {
    if shared.stopping.load(Relaxed) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if !status(shared).is_ready() {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "an upstream has no usable peer\n",
        );
    }
    text(StatusCode::OK, "ready\n")
}

/// Changes a peer, for callers on this machine.
fn change(shared: &Shared, from: SocketAddr, path: &str, query: &str) -> Response<Full<Bytes>> {
    if !from.ip().to_canonical().is_loopback() {
        return text(
            StatusCode::FORBIDDEN,
            "peers are changed from this machine only\n",
        );
    }
    let site = shared.site.load();
    let mut parts = path.trim_start_matches('/').split('/');
    let (Some("upstreams"), Some(upstream), Some("peers"), Some(peer), Some(verb), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return text(
            StatusCode::NOT_FOUND,
            "use POST /upstreams/NAME/peers/PEER/up, drain, down or weight?value=N\n",
        );
    };
    let peers = peers(&site, upstream, peer);
    if peers.is_empty() {
        let known = names(&site);
        return text(
            StatusCode::NOT_FOUND,
            &format!("no peer `{peer}` in an upstream `{upstream}`; there are: {known}\n"),
        );
    }
    let now = Instant::now();
    for peer in &peers {
        let state = match verb {
            "up" => RunState::Up,
            "drain" => RunState::Draining,
            "down" => RunState::Down,
            "weight" => {
                let value = query
                    .strip_prefix("value=")
                    .and_then(|value| value.parse().ok());
                let Some(weight @ 0..=MAX_WEIGHT) = value else {
                    return text(
                        StatusCode::BAD_REQUEST,
                        &format!(
                            "`{query}` is no weight; write value=N with N up to {MAX_WEIGHT}\n"
                        ),
                    );
                };
                peer.health.set_weight(weight);
                continue;
            }
            _ => {
                return text(
                    StatusCode::NOT_FOUND,
                    &format!("`{verb}` is not up, drain, down or weight\n"),
                );
            }
        };
        peer.health.set_run_state(state, now);
    }
    tracing::info!(
        upstream,
        peer,
        verb,
        query,
        "peer changed from the admin port"
    );
    text(StatusCode::OK, "done\n")
}

/// The peers that a name or node means; a name that resolves to several addresses means all of them.
fn peers<'a>(site: &'a Site, upstream: &str, wanted: &str) -> Vec<&'a Peer> {
    let groups = site
        .upstreams
        .iter()
        .filter(|group| *group.name == *upstream);
    let fits = |peer: &&Peer| {
        *peer.node == *wanted
            || *peer.name == *wanted
            || peer.address.to_string() == wanted
            || peer.name.split(' ').next() == Some(wanted)
    };
    groups
        .flat_map(|group| group.peers.iter().filter(fits))
        .collect()
}

fn names(site: &Site) -> String {
    let of = |group: &Arc<crate::upstream::Upstream>| {
        let nodes = group
            .peers
            .iter()
            .map(|peer| format!("{}/{}", group.name, peer.node));
        nodes.collect::<Vec<_>>()
    };
    site.upstreams
        .iter()
        .flat_map(of)
        .collect::<Vec<_>>()
        .join(", ")
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", text.to_owned())
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
