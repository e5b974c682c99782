//! Fields that belong to one connection only (RFC 9110 section 7.6.1), and the walk that finds them.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY: HeaderName = HeaderName::from_static("proxy");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What the hop-by-hop fields of a message said, before they were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HopByHop {
    /// `Upgrade: websocket`, named in `Connection`. To pass it on, see [`ask_websocket`](super::ask_websocket).
    pub websocket: bool,
    /// `TE: trailers`.
    pub trailers: bool,
}

/// Which fields there are that need work, found in one walk over the names.
#[derive(Debug, Default)]
pub(super) struct Found {
    connection: bool,
    /// `Connection` says more than one plain word.
    named: bool,
    keep_alive: bool,
    proxy_connection: bool,
    te: bool,
    transfer_encoding: bool,
    trailer: bool,
    upgrade: bool,
    expect: bool,
    proxy: bool,
    hidden: bool,
    pub(super) forwarded: bool,
    pub(super) x_proto: bool,
    pub(super) x_host: bool,
    pub(super) x_other: bool,
    pub(super) zeros: bool,
    pub(super) underscores: bool,
}

impl Found {
    pub(super) fn look(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "connection" => {
                    found.connection = true;
                    found.named |= !is_plain(value.as_bytes());
                }
                "keep-alive" => found.keep_alive = true,
                "proxy-connection" => found.proxy_connection = true,
                "te" => found.te = true,
                "transfer-encoding" => found.transfer_encoding = true,
                "trailer" => found.trailer = true,
                "upgrade" => found.upgrade = true,
                "expect" => found.expect = true,
                "proxy" => found.proxy = true,
                "forwarded" => found.forwarded = true,
                "x-forwarded-proto" => found.x_proto = true,
                "x-forwarded-host" => found.x_host = true,
                "x-forwarded-port" | "x-real-ip" => found.x_other = true,
                "x-pad" => found.hidden = true,
                "content-length" => {
                    found.zeros = value.len() > 1 && value.as_bytes().starts_with(b"0");
                }
                other => {
                    found.underscores |= other.contains('_');
                    found.hidden |= other.starts_with("x-accel-");
                }
            }
        }
        found
    }

    /// Drops what a peer must not get.
    pub(super) fn drop_from_request(&self, headers: &mut HeaderMap) -> HopByHop {
        let said = self.drop_common(headers);
        for (there, name) in [
            (self.te, header::TE),
            (self.trailer, header::TRAILER),
            (self.expect, header::EXPECT),
            (self.proxy, PROXY),
        ] {
            if there {
                headers.remove(name);
            }
        }
        said
    }

    /// Drops what a client must not get. `Trailer` stays, since trailers of responses are passed on.
    pub(super) fn drop_from_response(&self, headers: &mut HeaderMap) -> HopByHop {
        let said = self.drop_common(headers);
        if self.hidden {
            let hidden = |name: &str| name == "x-pad" || name.starts_with("x-accel-");
            drop_where(headers, hidden);
        }
        said
    }

    fn drop_common(&self, headers: &mut HeaderMap) -> HopByHop {
        let trailers = self.te && names(headers, &header::TE, "trailers");
        let websocket = self.upgrade
            && self.connection
            && names(headers, &header::CONNECTION, "upgrade")
            && names(headers, &header::UPGRADE, "websocket");
        if self.named {
            drop_named(headers);
        }
        for (there, name) in [
            (self.connection, header::CONNECTION),
            (self.keep_alive, KEEP_ALIVE),
            (self.proxy_connection, PROXY_CONNECTION),
            (self.transfer_encoding, header::TRANSFER_ENCODING),
            (self.upgrade, header::UPGRADE),
        ] {
            if there {
                headers.remove(name);
            }
        }
        HopByHop {
            websocket,
            trailers,
        }
    }
}

/// Drops the fields with `_` in their names: to a CGI-like application `X_Forwarded_For` is the same as `X-Forwarded-For`.
pub(super) fn drop_underscores(headers: &mut HeaderMap) {
    drop_where(headers, |name| name.contains('_'));
}

/// A word of `Connection` that names no field.
fn is_plain(token: &[u8]) -> bool {
    token.eq_ignore_ascii_case(b"keep-alive")
        || token.eq_ignore_ascii_case(b"close")
        || token.eq_ignore_ascii_case(b"upgrade")
}

/// Drops the fields that `Connection` names, apart from those that it must not name.
fn drop_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter(|token| !is_plain(token) && !is_protected(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// What a client must not be able to take out of its request by naming it in `Connection`: what we add, what frames the
/// message, and what applications decide by.
pub(super) fn is_protected(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 12] = [
        b"host",
        b"content-length",
        b"content-type",
        b"cookie",
        b"set-cookie",
        b"authorization",
        b"forwarded",
        b"via",
        b"origin",
        b"x-real-ip",
        b"cache-control",
        b"date",
    ];
    const PREFIX: &[u8] = b"x-forwarded-";
    NAMES.iter().any(|n| n.eq_ignore_ascii_case(name))
        || name
            .get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn drop_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a list field has this element; parameters do not matter.
fn names(headers: &HeaderMap, field: &HeaderName, element: &str) -> bool {
    tokens(headers, field).any(|token| {
        let name = token.split(|byte| *byte == b';').next().unwrap_or(token);
        name.trim_ascii().eq_ignore_ascii_case(element.as_bytes())
    })
}

fn tokens<'a>(headers: &'a HeaderMap, field: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(field)
        .iter()
        .map(HeaderValue::as_bytes)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}
