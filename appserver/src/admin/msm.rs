//! What an operator can ask and switch in the modes msm and msm_sticky.
//!
//! | request | answer |
//! |---|---|
//! | `GET /msm/nodes` | which nodes answer now, asked for this request |
//! | `GET /msm/enabled` | `true` or `false`: whether the nodes are used |
//! | `PUT /msm/enabled` with `true` or `false` | the same, after it was switched (msm: its JMX attribute `enabled`); 409 for sessions that no server has |
//!
//! A switch is a `PUT`, which a page of another origin cannot make a browser send.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;

use crate::manager::msm::client::{Client, Health};
use crate::manager::msm::sessions::MsmManager;

/// The longest body that is read.
const BODY_MAX: usize = 64;

#[derive(Clone)]
struct Asked {
    managers: Arc<[Arc<MsmManager<Client>>]>,
    health: Health,
}

/// The routes for the managers of all contexts, which share the nodes.
pub(crate) fn routes(managers: Vec<Arc<MsmManager<Client>>>, health: Health) -> Router {
    Router::new()
        .route("/msm/nodes", get(nodes))
        .route("/msm/enabled", get(enabled).put(enable))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Asked {
            managers: managers.into(),
            health,
        })
}

async fn nodes(State(asked): State<Asked>) -> Response {
    axum::Json(asked.health.ask().await).into_response()
}

async fn enabled(State(asked): State<Asked>) -> Response {
    let enabled = asked.managers.iter().all(|manager| manager.is_enabled());
    axum::Json(enabled).into_response()
}

async fn enable(State(asked): State<Asked>, body: String) -> Response {
    let enabled = match body.trim() {
        "true" => true,
        "false" => false,
        _ => return (StatusCode::BAD_REQUEST, "send true or false\n").into_response(),
    };
    for manager in asked.managers.iter() {
        if let Err(refused) = manager.enable(enabled) {
            return (StatusCode::CONFLICT, format!("{refused}\n")).into_response();
        }
    }
    tracing::info!(enabled, "the use of the store nodes was switched");
    axum::Json(enabled).into_response()
}
