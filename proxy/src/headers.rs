//! What a gateway does to fields on their way: out goes what belongs to one connection or could deceive the next reader, in
//! comes what tells the application who asked and the client who answered (RFC 9110 section 7.6).
//!
//! Everything works in place on a [`HeaderMap`] and allocates nothing where there is nothing to do. What is the same for all
//! requests of a connection is made once, in [`ConnectionFields`].

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

/// What is done to fields in general; from the configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Append the client to `X-Forwarded-For` and set `X-Forwarded-Proto`, `-Host` and `-Port`.
    pub x_forwarded: bool,
    /// Write `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `1.1 NAME`, appended to `Via` of requests.
    pub via: Option<HeaderValue>,
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

/// What is the same for all requests of one client connection.
#[derive(Debug, Clone)]
pub struct ConnectionFields {
    /// `Proxy-ADDR:PORT`, the local address of the connection; the value of `X-Proxy`.
    pub x_proxy: HeaderValue,
    /// The address the connection came from, as text.
    pub peer: HeaderValue,
    /// The connection is encrypted.
    pub secure: bool,
    /// The connection comes from a trusted proxy, whose `X-Forwarded-*` and `Forwarded` hold.
    pub trusted: bool,
    local: SocketAddr,
}

impl ConnectionFields {
    /// For a connection from `peer` to `local`. `trusted`: `peer` is in `set_real_ip_from`.
    pub fn new(peer: SocketAddr, local: SocketAddr, secure: bool, trusted: bool) -> Self {
        unimplemented!()
    }
}

/// What the hop-by-hop fields of a request said, before they were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HopByHop {
    /// `Upgrade: websocket`, named in `Connection`. To pass it on, see [`ask_websocket`].
    pub websocket: bool,
    /// `TE: trailers`, which is kept.
    pub trailers: bool,
}

/// Makes a received request's fields ready for the peer. `host` is the request's own host (authority of the target, else
/// `Host`); `send_host` the value of `Host` for the peer.
pub fn request(
    headers: &mut HeaderMap,
    policy: &Policy,
    connection: &ConnectionFields,
    host: &HeaderValue,
    send_host: &HeaderValue,
) -> HopByHop {
    unimplemented!()
}

/// Adds `Connection: upgrade` and `Upgrade: websocket` to a request that [`request`] has cleaned (RFC 6455 section 4.1).
pub fn ask_websocket(headers: &mut HeaderMap) {
    unimplemented!()
}

/// Whether the response to an asked upgrade is one: status 101 is checked by the caller, this checks `Upgrade: websocket`.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    unimplemented!()
}

/// Makes a peer's response fields ready for the client: hop-by-hop, `Date`, `Server`, `X-Pad` and `X-Accel-*` go.
pub fn response(headers: &mut HeaderMap, policy: &Policy) {
    unimplemented!()
}

/// Marks a response of any origin with `X-Proxy`, and with `X-Upstream` and `X-Route` where a peer was chosen.
pub fn mark(
    headers: &mut HeaderMap,
    policy: &Policy,
    connection: &ConnectionFields,
    chosen: Option<(&HeaderValue, crate::balance::Reason)>,
) {
    unimplemented!()
}
