//! Request parameters as a servlet sees them: from the query, then from a form in the body; of several values of a name
//! the first counts.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use memchr::{memchr, memchr2};

use crate::site::Site;

/// The most parameters that are looked at. Tomcat: `maxParameterCount`.
const PARAMETERS_MAX: usize = 1000;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|(n, _)| n == name);
        first.map(|(_, value)| value.as_str())
    }

    /// Adds those of `text`, which is form-encoded; what is no UTF-8 becomes U+FFFD.
    fn read(&mut self, text: &[u8]) {
        let room = PARAMETERS_MAX - self.0.len();
        let pairs = text.split(|byte| *byte == b'&').filter(|p| !p.is_empty());
        let pairs = pairs
            .take(room)
            .filter_map(|text| match std::str::from_utf8(text) {
                Ok(text) => pair(text),
                Err(_) => form_urlencoded::parse(text).next(),
            });
        self.0
            .extend(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())));
    }

    /// The parameters of a request with this head and body.
    pub async fn of(parts: &Parts, body: Body, site: &Site) -> Result<Self, BadForm> {
        let mut params = Self::default();
        if let Some(query) = parts.uri.query() {
            params.read(query.as_bytes());
        }
        if parts.method == Method::POST && is_form(&parts.headers) {
            let body = axum::body::to_bytes(body, site.max_post_size);
            match tokio::time::timeout(site.body_timeout, body).await {
                Ok(Ok(body)) => params.read(&body),
                Ok(Err(_)) => return Err(BadForm::Broken(site.max_post_size)),
                Err(_) => return Err(BadForm::Slow),
            }
        }
        Ok(params)
    }
}

impl FromRequest<Arc<Site>> for Params {
    type Rejection = BadForm;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, BadForm> {
        let (parts, body) = request.into_parts();
        Self::of(&parts, body, site).await
    }
}

/// The first value of each of these names in a query, for those that need nothing else of it.
pub fn in_query<'q, const N: usize>(query: &'q str, names: [&str; N]) -> [Option<Cow<'q, str>>; N] {
    let mut values = [const { None }; N];
    let mut left = Some(query);
    let texts = std::iter::from_fn(|| {
        let text = left?;
        let (text, after) = match memchr(b'&', text.as_bytes()) {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        };
        left = after;
        Some(text)
    });
    let texts = texts.filter(|text| !text.is_empty()).take(PARAMETERS_MAX);
    for (name, value) in texts.filter_map(pair) {
        if let Some(place) = names.iter().position(|wanted| *wanted == name) {
            values[place].get_or_insert(value);
        }
    }
    values
}

/// A name and its value. Most have nothing to decode, and decoding goes byte by byte.
fn pair(text: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if memchr2(b'%', b'+', text.as_bytes()).is_some() {
        return form_urlencoded::parse(text.as_bytes()).next();
    }
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Some((name.into(), value.into()))
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    kind.and_then(|k| k.split(';').next()).is_some_and(|k| {
        k.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

/// Why a form was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadForm {
    /// Too large, or the client gave up.
    #[error("the form is larger than {0} bytes (max_post_size) or broke off; send less")]
    Broken(usize),
    /// Too slow.
    #[error("the form did not arrive in time (body_timeout); send it again")]
    Slow,
}

impl IntoResponse for BadForm {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Broken(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
        };
        (status, format!("{self}\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::{Params, in_query};

    #[test]
    fn pairs_are_those_of_a_form() {
        for text in [
            "",
            "&&",
            "a",
            "a=1&b=2",
            "a=1=2&=x&&c=",
            "plus+name=a+b&percent%3d=%26%C3%A9&plain=\u{e9}",
            "a=%F0%28%8C%28&b=%&c=%zz&+",
        ] {
            let mut params = Params::default();
            params.read(text.as_bytes());
            let pairs = form_urlencoded::parse(text.as_bytes());
            let wanted: Vec<_> = pairs.into_owned().collect();
            assert_eq!(params.0, wanted, "{text}");
            for (name, _) in &wanted {
                let [found, none] = in_query(text, [name, "nothing"]);
                assert_eq!(found.as_deref(), params.get(name), "{text}");
                assert_eq!(none, None);
            }
        }
        let mut params = Params::default();
        params.read(b"a=\xFF\xFE&b=1");
        assert_eq!(params.get("a"), Some("\u{FFFD}\u{FFFD}"));
        assert_eq!(params.get("b"), Some("1"));
    }
}
