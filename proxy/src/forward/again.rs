//! Reading the head of a request once more, for another try.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Version};

use crate::connection::wire::Wire;

/// Most fields of a head; more are refused before any try.
const MAX_FIELDS: usize = 1024;

/// The request under `wire` as it was received. `None` when its head is not there any more.
pub(super) fn parts(wire: &Wire) -> Option<Parts> {
    wire.with_head(parse)
}

fn parse(head: &[u8]) -> Option<Parts> {
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    if !parsed.parse(head).ok()?.is_complete() {
        return None;
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    parts.uri = parsed.path?.parse().ok()?;
    parts.version = match parsed.version? {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        parts
            .headers
            .append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_head_reads_the_same_again() {
        let parts = parse(b"GET /a?b HTTP/1.1\r\nHost: t\r\nX: 1\r\nx: 2\r\n\r\n").expect("a head");
        assert_eq!(
            (parts.method.as_str(), parts.uri.to_string().as_str()),
            ("GET", "/a?b")
        );
        let both: Vec<_> = parts.headers.get_all("x").iter().collect();
        assert_eq!(both, ["1", "2"]);
        assert!(parse(b"GET / HTTP/1.1\r\nHost: t\r\n").is_none());
        assert!(parse(b"").is_none());
    }
}
