//! The admin port: `/livez`, `/readyz`, `/status` (JSON) and `/metrics` (OpenMetrics text). Answers go to operators and
//! to `sessiond healthcheck`; clients never come here.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use program::Failure;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::status::{Figures, Status};

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
    registry.register_collector(Box::new(Snapshot(admin.figures.status())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|fmt::Error| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}

/// The figures of one moment, as metrics.
#[derive(Debug)]
struct Snapshot(Status);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(status) = self;
        let gauges = [
            (
                "connections",
                "Clients that are connected.",
                status.curr_connections,
            ),
            (
                "connections_limit",
                "Clients that may be connected.",
                status.max_connections,
            ),
            ("items", "Items held.", status.curr_items),
            (
                "memory_bytes",
                "What the items cost in memory.",
                status.bytes,
            ),
            (
                "memory_limit_bytes",
                "What the items may cost in memory.",
                status.limit_maxbytes,
            ),
            ("uptime_seconds", "Time since the start.", status.uptime),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let commands = &status.commands;
        let counters = [
            (
                "connections_accepted",
                "Clients since the start.",
                status.total_connections,
            ),
            (
                "connections_refused",
                "Clients that were one too many.",
                status.rejected_connections,
            ),
            ("items_stored", "Items stored.", status.total_items),
            (
                "items_evicted",
                "Items dropped before their time to make room.",
                status.evictions,
            ),
            (
                "items_expired",
                "Items found to be expired.",
                status.expired,
            ),
            (
                "received_bytes",
                "Bytes received from clients.",
                commands.bytes_read,
            ),
            (
                "sent_bytes",
                "Bytes sent to clients.",
                commands.bytes_written,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        self.encode_commands(encoder)
    }
}

impl Snapshot {
    /// One family for what the commands did: `commands_total{command, outcome}`.
    fn encode_commands(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let commands = &self.0.commands;
        let outcomes = [
            ("get", "hit", commands.get_hits),
            ("get", "miss", commands.get_misses),
            ("touch", "hit", commands.touch_hits),
            ("touch", "miss", commands.touch_misses),
            ("set", "any", commands.cmd_set),
            ("set", "too_large", commands.store_too_large),
            ("set", "no_memory", commands.store_no_memory),
            ("cas", "hit", commands.cas_hits),
            ("cas", "miss", commands.cas_misses),
            ("cas", "changed", commands.cas_badval),
            ("delete", "hit", commands.delete_hits),
            ("delete", "miss", commands.delete_misses),
            ("incr", "hit", commands.incr_hits),
            ("incr", "miss", commands.incr_misses),
            ("decr", "hit", commands.decr_hits),
            ("decr", "miss", commands.decr_misses),
            ("flush_all", "any", commands.cmd_flush),
        ];
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor(
            "commands",
            "Keys and data blocks that commands were given, by what became of them.",
            None,
            kind,
        )?;
        for (command, outcome, value) in outcomes {
            let labels = [("command", command), ("outcome", outcome)];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
