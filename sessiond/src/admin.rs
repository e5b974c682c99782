//! The admin port: `/livez`, `/readyz`, `/status` (JSON) and `/metrics` (OpenMetrics text). Answers go to operators and
//! to `sessiond healthcheck`; clients never come here.

mod metrics;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use program::Failure;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::status::{Figures, Status};
use metrics::Snapshot;

/// The media type of `/metrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone)]
struct Admin {
    figures: Arc<Figures>,
    stopping: CancellationToken,
}

/// Serves the admin port until the node stops.
pub(crate) fn start(
    listener: std::net::TcpListener,
    figures: Arc<Figures>,
    stopping: CancellationToken,
) -> Result<JoinHandle<()>, Failure> {
    let listener = TcpListener::from_std(listener)
        .map_err(|e| Failure::environment("cannot use the admin socket", e))?;
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(Admin {
            figures,
            stopping: stopping.clone(),
        });
    // A stop does not wait for those who keep a connection to the admin port open.
    Ok(tokio::spawn(async move {
        tokio::select! {
            served = axum::serve(listener, router).into_future() => if let Err(error) = served {
                error!(%error, "the admin port is not served any more");
            },
            () = stopping.cancelled() => {}
        }
    }))
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn status(State(admin): State<Admin>) -> axum::Json<Status> {
    axum::Json(admin.figures.status())
}

async fn metrics(
    State(admin): State<Admin>,
) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    let mut registry = Registry::with_prefix("lnmt_sessiond");
    registry.register_collector(Box::new(Snapshot {
        status: admin.figures.status(),
        watch: admin.figures.watch.counts(),
    }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|fmt::Error| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}
