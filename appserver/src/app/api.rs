//! The same application as JSON, for programs: the contract is in `README.md`, so that other servers can offer it too.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value as Json, json};

use crate::attach::{Refused, Sessions};
use crate::params::{BadForm, Params};
use crate::session::{Session, SessionError, Value};
use crate::site::Site;

/// The routes below `path`.
pub fn routes(path: &str) -> Router<Arc<Site>> {
    let at = |call: &str| format!("{path}/{call}");
    Router::new()
        .route(&at("session"), get(session))
        .route(&at("get"), get(read))
        .route(&at("set"), get(set).post(set))
        .route(&at("append"), get(append).post(append))
        .route(&at("count"), get(count).post(count))
        .route(&at("login"), get(login).post(login))
        .route(&at("logout"), get(logout).post(logout))
        .route(&at("slow"), get(slow).post(slow))
        .route(&at("{*call}"), any(nothing_here))
}

type Answer = Result<Response, Problem>;
type MaybeSessions = Result<Sessions, Refused>;
type MaybeParams = Result<Params, BadForm>;

async fn session(State(site): State<Arc<Site>>, sessions: MaybeSessions) -> Answer {
    let sessions = sessions?;
    let session = sessions.current_or_new().await?;
    let attributes: Map<String, Json> = session.read(|attributes| {
        let pairs = attributes.iter();
        pairs
            .map(|(name, value)| (name.to_owned(), to_json(&value)))
            .collect()
    });
    let mut more = json!({ "attributes": attributes });
    if site.tells_primary {
        more["primary"] = sessions.is_primary().into();
    }
    Ok(answer(&site, Some(&session), more))
}

async fn read(
    State(site): State<Arc<Site>>,
    sessions: MaybeSessions,
    params: MaybeParams,
) -> Answer {
    let params = params?;
    let name = required(&params, "name")?;
    let session = sessions?.current();
    let value = session.as_ref().and_then(|s| s.get(name));
    Ok(named(&site, session.as_ref(), name, value.as_ref()))
}

async fn set(
    State(site): State<Arc<Site>>,
    sessions: MaybeSessions,
    params: MaybeParams,
) -> Answer {
    let params = params?;
    let (name, value) = (required(&params, "name")?, required(&params, "value")?);
    let session = sessions?.current_or_new().await?;
    let value = Value::from(value);
    session.update(|edit| edit.set(name, &value))?;
    Ok(named(&site, Some(&session), name, Some(&value)))
}

async fn append(
    State(site): State<Arc<Site>>,
    sessions: MaybeSessions,
    params: MaybeParams,
) -> Answer {
    let params = params?;
    let (name, value) = (required(&params, "name")?, required(&params, "value")?);
    let session = sessions?.current_or_new().await?;
    let list = session.append(name, value)?;
    Ok(named(&site, Some(&session), name, Some(&list)))
}

async fn count(State(site): State<Arc<Site>>, sessions: MaybeSessions) -> Answer {
    let session = sessions?.current_or_new().await?;
    let value = Value::Long(session.add("count", 1)?);
    Ok(named(&site, Some(&session), "count", Some(&value)))
}

async fn login(
    State(site): State<Arc<Site>>,
    sessions: MaybeSessions,
    params: MaybeParams,
) -> Answer {
    let params = params?;
    let user = required(&params, "user")?;
    let sessions = sessions?;
    let session = sessions.current_or_new().await?;
    session.set("user", user)?;
    sessions.change_id().await?;
    Ok(named(&site, Some(&session), "user", Some(&user.into())))
}

async fn logout(State(site): State<Arc<Site>>, sessions: MaybeSessions) -> Answer {
    if let Some(session) = sessions?.current() {
        session.invalidate();
    }
    Ok(answer(&site, None, json!({})))
}

/// Loads the session, waits, and only then changes it: a request that is overtaken by others.
async fn slow(
    State(site): State<Arc<Site>>,
    sessions: MaybeSessions,
    params: MaybeParams,
) -> Answer {
    let params = params?;
    let text = required(&params, "ms")?;
    let most = site.slow_max.as_millis();
    let wait = text.parse().ok().filter(|ms| u128::from(*ms) <= most);
    let wait = wait.ok_or_else(|| {
        Problem::bad(format!(
            "`ms` = `{text}` is no wait: send 0 to {most} (setting slow_max)"
        ))
    })?;
    let name = params.get("name");
    let value = match name {
        Some(_) => Some(Value::from(required(&params, "value")?)),
        None => None,
    };
    let session = sessions?.current_or_new().await?;
    tokio::time::sleep(Duration::from_millis(wait)).await;
    if let (Some(name), Some(value)) = (name, &value) {
        session.update(|edit| edit.set(name, value))?;
    } else if session.is_ended() {
        return Err(SessionError::Ended.into());
    }
    Ok(match name {
        Some(name) => named(&site, Some(&session), name, value.as_ref()),
        None => answer(&site, Some(&session), json!({})),
    })
}

async fn nothing_here() -> Problem {
    Problem {
        status: StatusCode::NOT_FOUND,
        message:
            "there is no such call: use session, get, set, append, count, login, logout or slow"
                .into(),
    }
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, Problem> {
    params.get(name).ok_or_else(|| {
        Problem::bad(format!(
            "the parameter `{name}` is missing: add {name}=… to the query"
        ))
    })
}

/// An answer about one attribute.
fn named(site: &Site, session: Option<&Session>, name: &str, value: Option<&Value>) -> Response {
    let value = value.map_or(Json::Null, to_json);
    answer(site, session, json!({ "name": name, "value": value }))
}

/// The common fields, and `more`.
fn answer(site: &Site, session: Option<&Session>, mut more: Json) -> Response {
    let session = session.map(Session::facts).map(|facts| {
        json!({
            "id": facts.id.to_string(),
            "is_new": facts.is_new,
            "created": facts.created.0,
            "last_accessed": facts.last_accessed.0,
            "max_inactive": facts.max_inactive,
        })
    });
    more["node"] = site.node.as_str().into();
    more["session"] = session.unwrap_or(Json::Null);
    respond(StatusCode::OK, &more)
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Long(number) => (*number).into(),
        Value::Boolean(yes) => (*yes).into(),
        Value::Double(number) => (*number).into(),
        Value::Bytes(bytes) => bytes.as_slice().into(),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Foreign(_) => value.to_string().into(),
    }
}

fn respond(status: StatusCode, body: &Json) -> Response {
    let json = HeaderValue::from_static("application/json");
    let no_store = HeaderValue::from_static("no-store");
    let headers = [
        (header::CONTENT_TYPE, json),
        (header::CACHE_CONTROL, no_store),
    ];
    (status, headers, body.to_string()).into_response()
}

/// An error as `{"error": "what, why, what to do"}`.
struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    fn bad(message: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        respond(self.status, &json!({ "error": self.message }))
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self {
            status: refused.status(),
            message: refused.to_string(),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        Refused::from(error).into()
    }
}

impl From<BadForm> for Problem {
    fn from(bad: BadForm) -> Self {
        Self::bad(bad.to_string())
    }
}
