//! One client's connection: HTTP/1.1 by hyper, each request made ready for the router, idle ones closed in time.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::manager::Manager;
use crate::request::{PathSession, Secured, SentPath, client, with_path, without_parameters};

/// The largest request head. Tomcat: `maxHttpHeaderSize` is 8 KiB.
const HEAD_MAX: usize = 16 << 10;

/// Written as the idle time's beginning while a request runs.
const BUSY: u64 = u64::MAX;

/// Serves one connection until it ends, is idle too long, or `stop`: then after the request that runs.
pub(super) async fn serve<M: Manager>(
    stream: TcpStream,
    peer: SocketAddr,
    worker: &Worker<M>,
    stop: &CancellationToken,
) -> Result<(), String> {
    let stream = tokio::net::TcpStream::from_std(stream).map_err(|e| e.to_string())?;
    // Answers are written whole; waiting for more would only delay them.
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let start = Instant::now();
    let idle_since = AtomicU64::new(0);
    let idle_since = &idle_since;
    let service = service_fn(|request| async move {
        idle_since.store(BUSY, Ordering::Relaxed);
        let response = worker.answer(request, peer.ip()).await;
        let now = u64::try_from(start.elapsed().as_millis()).unwrap_or(BUSY - 1);
        idle_since.store(now, Ordering::Relaxed);
        Ok::<_, Infallible>(response)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            // A client that stops sending gets its answer, and what it asked for is done. And nothing is read ahead meanwhile, for
            // which each request would need another buffer.
            .half_close(true)
            // Answers are short: one piece is copied sooner than two are handed over.
            .writev(false)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut stopped = pin!(stop.cancelled());
    let mut draining = false;
    let mut look_again = pin!(sleep_until(start + worker.keepalive_timeout));
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => return ended.map_err(|e| e.to_string()),
            () = &mut stopped, if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            // Not reset by each request: it looks when the connection could have been idle for long enough.
            () = &mut look_again => {
                let since = match idle_since.load(Ordering::Relaxed) {
                    BUSY => Instant::now(),
                    millis => start + std::time::Duration::from_millis(millis),
                };
                if since.elapsed() >= worker.keepalive_timeout {
                    return Err("idle for keepalive_timeout".into());
                }
                look_again.as_mut().reset(since + worker.keepalive_timeout);
            }
        }
    }
}

impl<M: Manager> Worker<M> {
    /// From a request as hyper gives it to a response as hyper takes it.
    async fn answer(&self, request: http::Request<Incoming>, peer: IpAddr) -> Response {
        let (mut parts, body) = request.into_parts();
        let mut address = peer;
        if !self.proxies.is_empty() {
            let client = client(peer, &parts.headers, &self.proxies);
            address = client.address;
            if client.secure {
                parts.extensions.insert(Secured);
            }
        }
        let log = self.log.as_ref().map(|log| {
            let entry = log.entry(&parts, parts.uri.path(), address, self.clock.now());
            (log, entry)
        });
        if let Some((path, session)) = without_parameters(parts.uri.path(), &self.path_parameter)
            && let Some(uri) = with_path(&parts.uri, &path)
        {
            let sent = std::mem::replace(&mut parts.uri, uri);
            parts.extensions.insert(SentPath(sent.path().to_owned()));
            if let Some(session) = session {
                parts.extensions.insert(PathSession(session));
            }
        }
        // Most requests have no body; an empty one costs no allocation.
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(body)
        };
        let response = self
            .app
            .answer(http::Request::from_parts(parts, body))
            .await;
        let status = response.status();
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        if status.is_client_error() {
            self.counters.client_errors.fetch_add(1, Ordering::Relaxed);
        } else if status.is_server_error() {
            self.counters.server_errors.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((log, entry)) = log {
            let bytes = response.body().size_hint().exact();
            log.log(&entry, status.as_u16(), bytes, self.clock.now());
        }
        response
    }
}
