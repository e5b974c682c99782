//! What a gateway does to fields on their way: out goes what belongs to one connection or could deceive the next reader, in
//! comes what tells the application who asked and the client who answered (RFC 9110 section 7.6).
//!
//! Everything works in place on a [`HeaderMap`]: one walk over the names finds what there is to do, and where there is nothing,
//! nothing is allocated. What is the same for all requests of a connection is made once, in [`ConnectionFields`].
//!
//! | field of a request | from a trusted proxy | from anybody else |
//! |---|---|---|
//! | `X-Forwarded-For` | the neighbour's address is appended | the same; readers count from the right |
//! | `X-Forwarded-Proto`, `-Host` | kept, set where absent | set |
//! | `X-Forwarded-Port`, `X-Real-IP` | kept | dropped |
//! | `Forwarded` | appended to where it is on | appended to where it is on, else dropped |
//! | `Proxy`, names with `_` | dropped | dropped |

mod address;
mod hop_by_hop;

use std::net::{IpAddr, SocketAddr};

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

use crate::balance::Reason;
use crate::config::XForwarded;
use crate::cookie::made_of_parts;
use hop_by_hop::Found;

pub use address::AddressText;
pub use hop_by_hop::HopByHop;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_PROXY: HeaderName = HeaderName::from_static("x-proxy");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_ROUTE: HeaderName = HeaderName::from_static("x-route");
const X_UPSTREAM: HeaderName = HeaderName::from_static("x-upstream");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// What is done to fields in general; from the configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which of `X-Forwarded-For` (appended to), `-Proto` and `-Host` (set) to write; the others pass as received.
    pub x_forwarded: XForwarded,
    /// Write `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// Appended to `Via` of requests.
    pub via: Option<Via>,
    /// Keep fields with `_` in their names (nginx `underscores_in_headers`).
    pub underscores: bool,
    /// The `Server` of every response; `None` passes the upstream's on.
    pub server: Option<HeaderValue>,
    /// Send `X-Proxy`.
    pub x_proxy: bool,
    /// Send `X-Upstream`.
    pub x_upstream: bool,
    /// Send `X-Route`.
    pub x_route: bool,
}

/// What is appended to `Via`: the version that the client speaks, and our name (RFC 9110 section 7.6.3).
#[derive(Debug, Clone)]
pub struct Via {
    /// `1.1 NAME`.
    pub http1: HeaderValue,
    /// `2.0 NAME`.
    pub http2: HeaderValue,
}

/// What is the same for all requests of one client connection.
#[derive(Debug, Clone)]
pub struct ConnectionFields {
    /// `Proxy-ADDR:PORT`, the local address of the connection; the value of `X-Proxy`.
    pub x_proxy: HeaderValue,
    /// The connection is encrypted.
    pub secure: bool,
    /// The connection comes from a trusted proxy, whose `X-Forwarded-*` and `Forwarded` hold.
    pub trusted: bool,
    /// The connection speaks HTTP/2.
    pub http2: bool,
    /// The address the connection came from.
    address: IpAddr,
}

impl ConnectionFields {
    /// For a connection from `peer` to `local`. `trusted`: `peer` is in `set_real_ip_from`.
    pub fn new(peer: SocketAddr, local: SocketAddr, secure: bool, trusted: bool) -> Self {
        Self::with_x_proxy(x_proxy(local), peer, secure, trusted)
    }

    /// The same where the value of `X-Proxy` is known already; see [`x_proxy`].
    pub fn with_x_proxy(
        x_proxy: HeaderValue,
        peer: SocketAddr,
        secure: bool,
        trusted: bool,
    ) -> Self {
        Self {
            x_proxy,
            secure,
            trusted,
            http2: false,
            address: peer.ip().to_canonical(),
        }
    }

    /// `for=ADDR;proto=http`, to which the host is added.
    fn forwarded_element(&self) -> String {
        let proto = if self.secure { "https" } else { "http" };
        match self.address {
            IpAddr::V4(address) => format!("for={address};proto={proto}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\";proto={proto}"),
        }
    }

    /// Whether the client's own connection is encrypted, as far as we can know: ours is, or a trusted proxy says that its own
    /// is. To be asked before [`request`] changes the fields.
    pub fn is_secure(&self, headers: &HeaderMap) -> bool {
        self.secure
            || (self.trusted
                && headers
                    .get(X_FORWARDED_PROTO)
                    .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https")))
    }
}

/// The value of `X-Proxy` for connections to this local address.
pub fn x_proxy(local: SocketAddr) -> HeaderValue {
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    made_of_parts(format!("Proxy-{local}").into_bytes())
}

/// Makes a received request's fields ready for the peer. `host` is the request's own host (authority of the target, else
/// `Host`); `send_host` becomes the `Host` for the peer, `None` leaves it as received.
///
/// `Expect` is dropped, because the HTTP library answers it; `Transfer-Encoding` and `Trailer` are dropped, because the body is
/// framed anew and trailers of requests are not passed on.
pub fn request(
    headers: &mut HeaderMap,
    policy: &Policy,
    connection: &ConnectionFields,
    host: Option<&HeaderValue>,
    send_host: Option<HeaderValue>,
) -> HopByHop {
    let found = Found::look(headers);
    let hop_by_hop = found.drop_from_request(headers);
    if found.underscores && !policy.underscores {
        hop_by_hop::drop_underscores(headers);
    }
    if found.zeros {
        strip_zeros(headers);
    }
    set_x_forwarded(headers, policy.x_forwarded, connection, host, &found);
    if policy.forwarded {
        append_forwarded(headers, connection, host);
    } else if found.forwarded && !connection.trusted {
        headers.remove(header::FORWARDED);
    }
    if let Some(via) = &policy.via {
        let via = if connection.http2 {
            &via.http2
        } else {
            &via.http1
        };
        headers.append(header::VIA, via.clone());
    }
    if let Some(host) = send_host {
        headers.insert(header::HOST, host);
    }
    hop_by_hop
}

/// Makes a peer's response fields ready for the client: hop-by-hop fields, `Date`, `Server`, `X-Pad` and `X-Accel-*` go, as in
/// nginx. The HTTP library writes `Date`.
pub fn response(headers: &mut HeaderMap, policy: &Policy) -> HopByHop {
    let found = Found::look(headers);
    let hop_by_hop = found.drop_from_response(headers);
    headers.remove(header::DATE);
    if let Some(server) = &policy.server {
        headers.insert(header::SERVER, server.clone());
    }
    hop_by_hop
}

/// Adds `Connection: upgrade` and `Upgrade: websocket` to a message whose fields were made ready: to a request that asked for
/// it, or to the 101 that answers it (RFC 6455 section 4).
pub fn ask_websocket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Marks a response of any origin with `X-Proxy`, and with `X-Upstream` and `X-Route` where a peer was chosen.
pub fn mark(
    headers: &mut HeaderMap,
    policy: &Policy,
    connection: &ConnectionFields,
    chosen: Option<(&HeaderValue, Reason)>,
) {
    if policy.x_proxy {
        headers.insert(X_PROXY, connection.x_proxy.clone());
    }
    let Some((upstream, reason)) = chosen else {
        return;
    };
    if policy.x_upstream {
        headers.insert(X_UPSTREAM, upstream.clone());
    }
    if policy.x_route {
        headers.insert(X_ROUTE, HeaderValue::from_static(reason.as_str()));
    }
}

fn set_x_forwarded(
    headers: &mut HeaderMap,
    wanted: XForwarded,
    connection: &ConnectionFields,
    host: Option<&HeaderValue>,
    found: &Found,
) {
    if wanted.client {
        let address = AddressText::new(connection.address);
        match headers.entry(X_FORWARDED_FOR) {
            Entry::Vacant(entry) => {
                entry.insert(address.to_value());
            }
            Entry::Occupied(mut entry) => {
                let list = list_with(entry.iter(), address.as_bytes());
                entry.insert(made_of_parts(list));
            }
        }
    }
    if wanted.is_on() && !connection.trusted && found.x_other {
        headers.remove(X_FORWARDED_PORT);
        headers.remove(X_REAL_IP);
    }
    if wanted.proto && !(connection.trusted && found.x_proto) {
        let proto = if connection.secure { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if wanted.host && !(connection.trusted && found.x_host) {
        match host {
            Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
            None => headers.remove(X_FORWARDED_HOST),
        };
    }
}

/// A list field with one element more: what was received, in one line, then the new one.
pub(crate) fn list_with<'a>(
    received: impl Iterator<Item = &'a HeaderValue>,
    element: &[u8],
) -> Vec<u8> {
    let mut list = Vec::with_capacity(64);
    for received in received.filter(|received| !received.is_empty()) {
        list.extend_from_slice(received.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element);
    list
}

fn append_forwarded(
    headers: &mut HeaderMap,
    connection: &ConnectionFields,
    host: Option<&HeaderValue>,
) {
    let mut element = Vec::with_capacity(96);
    for received in headers.get_all(header::FORWARDED) {
        element.extend_from_slice(received.as_bytes());
        element.extend_from_slice(b", ");
    }
    element.extend_from_slice(connection.forwarded_element().as_bytes());
    // A host was checked before it came here; what could end the quotes early would not be one.
    if let Some(host) = host.filter(|host| !host.as_bytes().contains(&b'"')) {
        element.extend_from_slice(b";host=\"");
        element.extend_from_slice(host.as_bytes());
        element.push(b'"');
    }
    headers.insert(header::FORWARDED, made_of_parts(element));
}

/// `Content-Length: 005` goes on as 5.
fn strip_zeros(headers: &mut HeaderMap) {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

#[cfg(test)]
mod tests;
