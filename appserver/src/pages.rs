//! The pages as askama templates: each struct is what its template may show.

use askama::Template;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::session::Facts;
use crate::site::Site;

/// HTML as Tomcat labels it.
pub const HTML: HeaderValue = HeaderValue::from_static("text/html;charset=UTF-8");

/// Plain text as Tomcat labels it.
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");

/// The article's test page, byte for byte as its JSP serves it: two empty lines left by the directives, `centre`, and a
/// `font` that is never closed.
#[derive(Template)]
#[template(path = "session.html", escape = "none")]
pub struct SessionPage<'a> {
    /// The node.
    pub site: &'a Site,
    /// Id, suffix included.
    pub id: &'a str,
    /// Creation time in ms.
    pub created: u64,
    /// Scheme of the URL.
    pub scheme: &'a str,
    /// Host of the URL, checked to be one.
    pub host: &'a str,
    /// Path as sent.
    pub uri: &'a str,
}

/// What a context's pages for people have in common.
pub struct Shell<'a> {
    /// The node.
    pub site: &'a Site,
    /// The session, if there is one.
    pub session: Option<Facts>,
    /// The request named a session that this node does not know.
    pub lost: bool,
}

/// The list of applications, for the root path.
#[derive(Template)]
#[template(path = "welcome.html")]
pub struct WelcomePage<'a> {
    /// The frame.
    pub shell: Shell<'a>,
}

/// The shopping cart.
#[derive(Template)]
#[template(path = "cart.html")]
pub struct CartPage<'a> {
    /// The frame.
    pub shell: Shell<'a>,
    /// What can be bought.
    pub goods: &'a [&'a str],
    /// What is in the cart.
    pub cart: &'a [String],
}

/// Log in and log out.
#[derive(Template)]
#[template(path = "login.html")]
pub struct LoginPage<'a> {
    /// The frame.
    pub shell: Shell<'a>,
    /// Who is logged in.
    pub user: Option<&'a str>,
}

/// The counter.
#[derive(Template)]
#[template(path = "counter.html")]
pub struct CounterPage<'a> {
    /// The frame.
    pub shell: Shell<'a>,
    /// How often it was counted.
    pub count: i64,
}

/// Something that cannot be done, in words.
#[derive(Template)]
#[template(path = "problem.html")]
pub struct ProblemPage<'a> {
    /// The frame.
    pub shell: &'a Shell<'a>,
    /// What, why, what to do.
    pub message: &'a str,
}

/// A page as a response with this status.
pub fn html(status: StatusCode, page: &impl Template) -> Response {
    html_with(HeaderMap::new(), status, rendered(page))
}

/// A page's text; `None`, and a line in the log, if it cannot be written.
pub fn rendered(page: &impl Template) -> Option<Bytes> {
    /// Of the pages, the article's and those with a short list need no second allocation.
    const USUAL: usize = 512;
    let mut body = String::with_capacity(USUAL);
    if let Err(error) = page.render_into(&mut body) {
        tracing::error!(%error, "a page could not be rendered");
        return None;
    }
    // Of its exact size: it may wait until other servers have the session, and many with it.
    Some(Bytes::copy_from_slice(body.as_bytes()))
}

/// A page's text as a response with these fields.
pub fn html_with(mut fields: HeaderMap, status: StatusCode, body: Option<Bytes>) -> Response {
    let Some(body) = body else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    fields.insert(header::CONTENT_TYPE, HTML);
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// A page that must never come from a cache, since it shows the state of a session.
pub fn fresh(status: StatusCode, page: &impl Template) -> Response {
    let mut response = html(status, page);
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
