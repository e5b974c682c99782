//! Responses that the proxy makes itself: error pages, fixed answers, redirects.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, LOCATION, SERVER};
use http::{HeaderValue, Response, StatusCode};

use crate::body::ResponseBody;
use crate::error_page::Pages;
use crate::exchange::Exchange;
use crate::site::Site;

/// The pages of a site, with its own 50x file where it names one. A file that cannot be read is told, and the built-in page
/// takes its place.
pub(crate) fn load(site: &Site) -> Pages {
    let file = site.error_page_50x.as_ref().and_then(|path| {
        let read = || {
            let changed = std::fs::metadata(path)?.modified()?;
            Ok::<_, std::io::Error>((Bytes::from(std::fs::read(path)?), changed))
        };
        read()
            .map_err(|error| {
                tracing::warn!(path = %path.display(), %error, "cannot read error_page_50x; the built-in page is used");
            })
            .ok()
    });
    Pages::new(file)
}

/// The page for a status.
pub(crate) fn of(exchange: &Rc<Exchange>, status: StatusCode) -> Response<ResponseBody> {
    let page = exchange.view.pages.page(status);
    let mut response = html(exchange, status, page.body);
    if let Some(etag) = page.etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// A `return` of the configuration: for a redirect `text` is where to go.
pub(crate) fn fixed(
    exchange: &Rc<Exchange>,
    status: StatusCode,
    text: &str,
) -> Response<ResponseBody> {
    if status.is_redirection()
        && let Ok(location) = HeaderValue::from_str(text)
    {
        let mut response = of(exchange, status);
        response.headers_mut().insert(LOCATION, location);
        return response;
    }
    if text.is_empty() && !status.is_success() {
        return of(exchange, status);
    }
    let mut response = html(exchange, status, Bytes::copy_from_slice(text.as_bytes()));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// A redirect to `path` with a slash behind it.
pub(crate) fn moved_below(
    exchange: &Rc<Exchange>,
    path: &str,
    query: Option<&str>,
) -> Response<ResponseBody> {
    let mut response = of(exchange, StatusCode::MOVED_PERMANENTLY);
    let mark = if query.is_some() { "?" } else { "" };
    let target = format!("{path}/{mark}{}", query.unwrap_or_default());
    if let Ok(target) = HeaderValue::try_from(target) {
        response.headers_mut().insert(LOCATION, target);
    }
    response
}

fn html(exchange: &Rc<Exchange>, status: StatusCode, text: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::ready(text, exchange));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    if let Some(server) = &exchange.view.policy.server {
        headers.insert(SERVER, server.clone());
    }
    response
}
