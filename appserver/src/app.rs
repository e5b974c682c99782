//! Routes and the article's page. Handlers see a [`Session`], never a manager.
//!
//! Every context serves the same application, as the article's alias `/test/` serves the files of `/jsp/`; what differs is
//! its path, and with it its cookie and its sessions.

pub mod api;
pub mod people;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use tower::Service;

use crate::attach::{Attach, Refused};
use crate::manager::Manager;
use crate::pages::{ProblemPage, SessionPage, Shell, TEXT, WelcomePage, fresh, html};
use crate::params::Params;
use crate::request;
use crate::session::{Session, SessionError};
use crate::site::Site;

/// One application: where it is, and who keeps its sessions.
#[derive(Debug)]
pub struct Context<M> {
    /// Its path, `/jsp`.
    pub path: String,
    /// Its sessions.
    pub sessions: Attach<M>,
}

/// All of this node's pages. Each serving thread makes its own, so that threads share no reference counts.
#[derive(Debug)]
pub struct App<M> {
    root: Router,
    contexts: Vec<(Context<M>, Router)>,
}

impl<M: Manager> App<M> {
    /// The pages of a node that looks like `site`.
    pub fn new(site: &Site, contexts: impl Iterator<Item = Context<M>>) -> Self {
        let root = Router::new()
            .route("/", get(welcome))
            .fallback(nothing_here);
        let contexts = contexts.map(|context| {
            let site = Site {
                context: context.path.clone(),
                ..site.clone()
            };
            let pages = application(&context.path).with_state(Arc::new(site));
            (context, pages)
        });
        let mut contexts: Vec<_> = contexts.collect();
        // As in Tomcat the longest path wins, so that one application can lie below another.
        contexts.sort_by_key(|(context, _)| std::cmp::Reverse(context.path.len()));
        Self {
            contexts,
            root: root.with_state(Arc::new(site.clone())),
        }
    }

    /// Answers a request: the context whose path its path begins with does, else the root.
    pub async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path();
        let answer = match self.contexts.iter().find(|(context, _)| context.has(path)) {
            Some((context, pages)) => context.sessions.around(pages.clone(), request).await,
            None => self.root.clone().call(request).await,
        };
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl<M> Context<M> {
    /// Whether this path is the context's or below it.
    fn has(&self, path: &str) -> bool {
        path.strip_prefix(self.path.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn application(path: &str) -> Router<Arc<Site>> {
    let at = |name: &str| format!("{path}/{name}");
    let to_folder = HeaderValue::try_from(at("")).expect("context paths are plain ASCII");
    let redirect = move || async { (StatusCode::FOUND, [(header::LOCATION, to_folder)]) };
    Router::new()
        .route(path, get(redirect))
        .route(&at(""), get(page))
        .route(&at("index.jsp"), get(page))
        .route(&at("set.jsp"), get(set).post(set))
        .route(&at("set"), get(set).post(set))
        .route(&at("get.jsp"), get(read))
        .route(&at("get"), get(read))
        .route(&at("cart"), get(people::cart).post(people::add_to_cart))
        .route(&at("cart/empty"), post(people::empty_cart))
        .route(&at("login"), get(people::login).post(people::do_login))
        .route(&at("logout"), post(people::do_logout))
        .route(&at("counter"), get(people::counter).post(people::count))
        .merge(api::routes(&at("api")))
        .fallback(nothing_here)
}

async fn welcome(State(site): State<Arc<Site>>) -> Response {
    let shell = Shell {
        site: &site,
        session: None,
        lost: false,
    };
    fresh(StatusCode::OK, &WelcomePage { shell })
}

async fn nothing_here(State(site): State<Arc<Site>>) -> Response {
    let shell = Shell {
        site: &site,
        session: None,
        lost: false,
    };
    let message = "There is no such page here. Begin at the list of all applications.";
    html(
        StatusCode::NOT_FOUND,
        &ProblemPage {
            shell: &shell,
            message,
        },
    )
}

/// The article's page.
async fn page(State(site): State<Arc<Site>>, session: Session, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match show(&site, &session, &parts) {
        Ok(page) => page,
        Err(problem) => problem.into_response(),
    }
}

/// The article's page after setting one more attribute; without a value it is removed, as `setAttribute(name, null)` does.
async fn set(State(site): State<Arc<Site>>, session: Session, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = match Params::of(&parts, body, &site).await {
        Ok(params) => params,
        Err(bad) => return bad.into_response(),
    };
    let outcome = match (params.get("name"), params.get("value")) {
        (None, _) => {
            return (
                StatusCode::BAD_REQUEST,
                "`name` is missing: add ?name=K&value=V\n",
            )
                .into_response();
        }
        (Some(name), Some(value)) => session.set_str(name, value),
        (Some(name), None) => session.remove(name).map(drop),
    };
    match outcome
        .map_err(Problem::from)
        .and_then(|()| show(&site, &session, &parts))
    {
        Ok(page) => page,
        Err(problem) => problem.into_response(),
    }
}

/// One attribute as text; makes no session.
async fn read(session: Option<Session>, params: Params) -> Response {
    let text = match (session, params.get("name")) {
        (None, _) => "no session".to_owned(),
        (Some(session), Some(name)) => match session.get(name) {
            Some(value) => value.to_string(),
            None => "null".to_owned(),
        },
        (Some(_), None) => {
            return (StatusCode::BAD_REQUEST, "`name` is missing: add ?name=K\n").into_response();
        }
    };
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}

fn show(site: &Site, session: &Session, parts: &Parts) -> Result<Response, Problem> {
    let host = request::host(parts).ok_or(Problem::Host)?;
    session.set_str("Blog", "MeXP")?;
    let facts = session.facts();
    Ok(html(
        StatusCode::OK,
        &SessionPage {
            site,
            id: facts.id.text().as_str(),
            created: facts.created.0,
            scheme: request::scheme(parts),
            host,
            uri: request::sent_uri(parts),
        },
    ))
}

/// Why a page for programs and JSPs' readers cannot be shown.
enum Problem {
    Host,
    Session(SessionError),
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::Host => (
                StatusCode::BAD_REQUEST,
                "the Host field is missing, doubled or no host: send one such as Host: localhost:8080\n",
            )
                .into_response(),
            Self::Session(error) => Refused::from(error).into_response(),
        }
    }
}
