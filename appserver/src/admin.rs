//! The admin port: liveness, readiness, state and metrics, away from the port that clients reach.

pub(crate) mod msm;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::status::Status;

/// Where the state is asked.
pub(crate) type Ask = Arc<dyn Fn() -> Status + Send + Sync>;

/// The routes of the admin port.
pub(crate) fn routes(ask: Ask) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(ask)
}

async fn ready(State(ask): State<Ask>) -> Response {
    if ask().ready {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    }
}

async fn status(State(ask): State<Ask>) -> Response {
    axum::Json(ask()).into_response()
}

async fn metrics(State(ask): State<Ask>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], ask().metrics()).into_response()
}
