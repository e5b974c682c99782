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
use http::{HeaderValue, Method, StatusCode, header};
use tower::Service;

use crate::attach::{Attach, Refused};
use crate::manager::Manager;
use crate::pages::{
    ProblemPage, SessionPage, Shell, TEXT, WelcomePage, fresh, html, html_with, rendered,
};
use crate::params::{self, Params};
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
    contexts: Vec<Place<M>>,
}

/// A context with its pages.
#[derive(Debug)]
struct Place<M> {
    context: Context<M>,
    site: Arc<Site>,
    pages: Router,
}

/// A page that needs its session and the head of the request only.
type Page = fn(&Site, &Session, Parts) -> Response;

impl<M: Manager> App<M> {
    /// The pages of a node that looks like `site`.
    pub fn new(site: &Site, contexts: impl Iterator<Item = Context<M>>) -> Self {
        let root = Router::new()
            .route("/", get(welcome))
            .fallback(nothing_here);
        let contexts = contexts.map(|context| {
            let site = Arc::new(Site {
                context: context.path.clone(),
                ..site.clone()
            });
            let pages = application(&context.path).with_state(Arc::clone(&site));
            Place {
                context,
                site,
                pages,
            }
        });
        let mut contexts: Vec<_> = contexts.collect();
        // As in Tomcat the longest path wins, so that one application can lie below another.
        contexts.sort_by_key(|place| std::cmp::Reverse(place.context.path.len()));
        Self {
            contexts,
            root: root.with_state(Arc::new(site.clone())),
        }
    }

    /// Answers a request: the context whose path its path begins with does, else the root.
    pub async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path();
        let place = self.contexts.iter().find(|place| place.context.has(path));
        let answer = match place {
            Some(Place {
                context,
                site,
                pages,
            }) => {
                if let Some(page) = context.at_once(request.method(), path) {
                    let (parts, _) = request.into_parts();
                    let answer = |session: &Session, parts| page(site, session, parts);
                    return context.sessions.answer(parts, answer).await;
                }
                context.sessions.around(pages.clone(), request).await
            }
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

    /// The pages that need nothing but their session are answered without the way through the router.
    fn at_once(&self, method: &Method, path: &str) -> Option<Page> {
        let page = path.strip_prefix(self.path.as_str())?;
        match page {
            _ if method != Method::GET => None,
            "/" | "/index.jsp" => Some(page_now),
            "/set" | "/set.jsp" => Some(set_now),
            _ => None,
        }
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
    page_now(&site, &session, parts)
}

fn page_now(site: &Site, session: &Session, parts: Parts) -> Response {
    shown(show(site, session, parts))
}

/// The article's page after setting one more attribute; without a value it is removed, as `setAttribute(name, null)` does.
async fn set(State(site): State<Arc<Site>>, session: Session, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = match Params::of(&parts, body, &site).await {
        Ok(params) => params,
        Err(bad) => return bad.into_response(),
    };
    let outcome = assign(&session, params.get("name"), params.get("value"));
    shown(outcome.and_then(|()| show(&site, &session, parts)))
}

fn set_now(site: &Site, session: &Session, parts: Parts) -> Response {
    let query = parts.uri.query().unwrap_or_default();
    let [name, value] = params::in_query(query, ["name", "value"]);
    let outcome = assign(session, name.as_deref(), value.as_deref());
    shown(outcome.and_then(|()| show(site, session, parts)))
}

fn assign(session: &Session, name: Option<&str>, value: Option<&str>) -> Result<(), Problem> {
    let name = name.ok_or(Problem::Name)?;
    match value {
        Some(value) => session.set_str(name, value)?,
        None => drop(session.remove(name)?),
    }
    Ok(())
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

fn show(site: &Site, session: &Session, parts: Parts) -> Result<Response, Problem> {
    let host = request::host(&parts).ok_or(Problem::Host)?;
    session.set_str("Blog", "MeXP")?;
    let facts = session.facts();
    let body = rendered(&SessionPage {
        site,
        id: facts.id.text().as_str(),
        created: facts.created.0,
        scheme: request::scheme(&parts),
        host,
        uri: request::sent_uri(&parts),
    });
    // The memory of the request's fields is just right for the response's.
    let mut fields = parts.headers;
    fields.clear();
    Ok(html_with(fields, StatusCode::OK, body))
}

fn shown(page: Result<Response, Problem>) -> Response {
    page.unwrap_or_else(IntoResponse::into_response)
}

/// Why a page for programs and JSPs' readers cannot be shown.
enum Problem {
    Host,
    Name,
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
            Self::Name => (
                StatusCode::BAD_REQUEST,
                "`name` is missing: add ?name=K&value=V\n",
            )
                .into_response(),
            Self::Session(error) => Refused::from(error).into_response(),
        }
    }
}
