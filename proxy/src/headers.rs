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

mod hop_by_hop;

use std::net::{IpAddr, SocketAddr};

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

use crate::balance::Reason;
use crate::cookie::made_of_parts;
use hop_by_hop::Found;

pub use hop_by_hop::HopByHop;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
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
    /// Append the client to `X-Forwarded-For`, and set `X-Forwarded-Proto` and `-Host`.
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
    /// `for=ADDR;proto=http`, to which the host is added.
    forwarded: Box<str>,
}

impl ConnectionFields {
    /// For a connection from `peer` to `local`. `trusted`: `peer` is in `set_real_ip_from`.
    pub fn new(peer: SocketAddr, local: SocketAddr, secure: bool, trusted: bool) -> Self {
        let address = peer.ip().to_canonical();
        let node = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        let proto = if secure { "https" } else { "http" };
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        Self {
            x_proxy: made_of_parts(format!("Proxy-{local}").into_bytes()),
            peer: made_of_parts(address.to_string().into_bytes()),
            secure,
            trusted,
            forwarded: format!("for={node};proto={proto}").into(),
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

/// Makes a received request's fields ready for the peer. `host` is the request's own host (authority of the target, else
/// `Host`); `send_host` becomes the `Host` for the peer.
///
/// `Expect` is dropped, because the HTTP library answers it; `Transfer-Encoding` and `Trailer` are dropped, because the body is
/// framed anew and trailers of requests are not passed on.
pub fn request(
    headers: &mut HeaderMap,
    policy: &Policy,
    connection: &ConnectionFields,
    host: Option<&HeaderValue>,
    send_host: HeaderValue,
) -> HopByHop {
    let found = Found::look(headers);
    let hop_by_hop = found.drop_from_request(headers);
    if found.underscores && !policy.underscores {
        hop_by_hop::drop_underscores(headers);
    }
    if found.zeros {
        strip_zeros(headers);
    }
    if policy.x_forwarded {
        set_x_forwarded(headers, connection, host, &found);
    }
    if policy.forwarded {
        append_forwarded(headers, connection, host);
    } else if found.forwarded && !connection.trusted {
        headers.remove(header::FORWARDED);
    }
    if let Some(via) = &policy.via {
        headers.append(header::VIA, via.clone());
    }
    headers.insert(header::HOST, send_host);
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
    connection: &ConnectionFields,
    host: Option<&HeaderValue>,
    found: &Found,
) {
    match headers.entry(X_FORWARDED_FOR) {
        Entry::Vacant(entry) => {
            entry.insert(connection.peer.clone());
        }
        Entry::Occupied(mut entry) => {
            let mut list = Vec::with_capacity(64);
            for received in entry.iter().filter(|received| !received.is_empty()) {
                list.extend_from_slice(received.as_bytes());
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(connection.peer.as_bytes());
            entry.insert(made_of_parts(list));
        }
    }
    if !connection.trusted && found.x_other {
        headers.remove(X_FORWARDED_PORT);
        headers.remove(X_REAL_IP);
    }
    if !(connection.trusted && found.x_proto) {
        let proto = if connection.secure { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if !(connection.trusted && found.x_host) {
        match host {
            Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
            None => headers.remove(X_FORWARDED_HOST),
        };
    }
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
    element.extend_from_slice(connection.forwarded.as_bytes());
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
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::{ConnectionFields, HopByHop, Policy, ask_websocket, mark, request, response};
    use crate::balance::Reason;

    fn policy() -> Policy {
        Policy {
            x_forwarded: true,
            forwarded: false,
            via: None,
            underscores: false,
            server: Some(HeaderValue::from_static("lnmt")),
            x_proxy: true,
            x_upstream: true,
            x_route: true,
        }
    }

    fn connection(trusted: bool) -> ConnectionFields {
        let peer = "10.0.0.9:5000".parse().expect("an address");
        let local = "192.168.23.1:80".parse().expect("an address");
        ConnectionFields::new(peer, local, false, trusted)
    }

    fn map(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("a field");
            let name: HeaderName = name.parse().expect("a name");
            let value = HeaderValue::from_str(value.trim()).expect("a value");
            headers.append(name, value);
        }
        headers
    }

    fn text(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        lines.sort();
        lines
    }

    fn sent(received: &str, policy: &Policy, trusted: bool) -> Vec<String> {
        let mut headers = map(received);
        let host = HeaderValue::from_static("example.org");
        let send = HeaderValue::from_static("dynamic");
        request(
            &mut headers,
            policy,
            &connection(trusted),
            Some(&host),
            send,
        );
        text(&headers)
    }

    const OURS: [&str; 4] = [
        "host: dynamic",
        "x-forwarded-for: 10.0.0.9",
        "x-forwarded-host: example.org",
        "x-forwarded-proto: http",
    ];

    /// What the peer gets beside our own fields.
    fn passed(received: &str) -> Vec<String> {
        let lines = sent(received, &policy(), false);
        lines
            .into_iter()
            .filter(|line| !OURS.contains(&&**line))
            .collect()
    }

    #[test]
    fn what_belongs_to_one_connection_is_dropped() {
        for (received, expected) in [
            ("", &[][..]),
            ("Connection: keep-alive\nKeep-Alive: timeout=5", &[]),
            (
                "Proxy-Connection: keep-alive\nTE: trailers\nUpgrade: h2c",
                &[],
            ),
            (
                "Transfer-Encoding: chunked\nTrailer: X-Sum\nExpect: 100-continue",
                &[],
            ),
            (
                "Connection: close, X-Private\nX-Private: 1\nX-Public: 2",
                &["x-public: 2"],
            ),
            ("Connection: x-a\nConnection: x-b\nX-A: 1\nX-B: 2", &[]),
            ("Proxy: http://evil\nAccept: */*", &["accept: */*"]),
            ("X_Forwarded_For: 1.1.1.1\nA: b", &["a: b"]),
            ("Content-Length: 005", &["content-length: 5"]),
            ("Content-Length: 0", &["content-length: 0"]),
        ] {
            assert_eq!(passed(received), expected, "{received}");
        }
    }

    #[test]
    fn connection_cannot_take_out_what_others_rely_on() {
        for name in [
            "Host",
            "Content-Length",
            "Cookie",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "Forwarded",
            "Authorization",
            "Via",
        ] {
            let received = format!(
                "Connection: {name}\nHost: a\nContent-Length: 3\nCookie: a=b\nX-Forwarded-For: 1.2.3.4\nX-Forwarded-Proto: https\nForwarded: for=1.2.3.4\nAuthorization: x\nVia: 1.1 a"
            );
            let lines = sent(&received, &policy(), true);
            let count = lines.len();
            assert_eq!(count, 9, "{name}: {lines:?}");
        }
    }

    #[test]
    fn who_asked() {
        for (received, trusted, expected) in [
            ("", false, "x-forwarded-for: 10.0.0.9"),
            (
                "X-Forwarded-For: 1.1.1.1",
                false,
                "x-forwarded-for: 1.1.1.1, 10.0.0.9",
            ),
            (
                "X-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 2.2.2.2",
                true,
                "x-forwarded-for: 1.1.1.1, 2.2.2.2, 10.0.0.9",
            ),
            ("X-Forwarded-Proto: https", true, "x-forwarded-proto: https"),
            ("X-Forwarded-Proto: https", false, "x-forwarded-proto: http"),
            (
                "X-Forwarded-Host: evil",
                false,
                "x-forwarded-host: example.org",
            ),
            ("X-Forwarded-Host: front", true, "x-forwarded-host: front"),
            ("X-Real-IP: 1.1.1.1", true, "x-real-ip: 1.1.1.1"),
        ] {
            let lines = sent(received, &policy(), trusted);
            assert!(lines.iter().any(|l| l == expected), "{received}: {lines:?}");
        }
        let spoofed = "X-Real-IP: 1.1.1.1\nX-Forwarded-Port: 443\nForwarded: for=1.1.1.1";
        assert_eq!(passed(spoofed), Vec::<String>::new());
        let silent = Policy {
            x_forwarded: false,
            ..policy()
        };
        assert_eq!(
            sent("X-Forwarded-For: 1.1.1.1", &silent, false),
            ["host: dynamic", "x-forwarded-for: 1.1.1.1"]
        );
    }

    #[test]
    fn forwarded_and_via() {
        let policy = Policy {
            x_forwarded: false,
            forwarded: true,
            via: Some(HeaderValue::from_static("1.1 lnmt")),
            ..policy()
        };
        let lines = sent("Forwarded: for=1.1.1.1\nVia: 1.0 front", &policy, true);
        assert_eq!(
            lines,
            [
                "forwarded: for=1.1.1.1, for=10.0.0.9;proto=http;host=\"example.org\"",
                "host: dynamic",
                "via: 1.0 front",
                "via: 1.1 lnmt",
            ]
        );
    }

    #[test]
    fn websockets_are_told_and_asked_for() {
        for (received, websocket) in [
            ("Connection: Upgrade\nUpgrade: websocket", true),
            ("Connection: keep-alive, upgrade\nUpgrade: WebSocket", true),
            ("Upgrade: websocket", false),
            ("Connection: upgrade\nUpgrade: h2c", false),
            (
                "Connection: upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: x",
                false,
            ),
        ] {
            let mut headers = map(received);
            let told = request(
                &mut headers,
                &policy(),
                &connection(false),
                None,
                HeaderValue::from_static("d"),
            );
            assert_eq!(
                told,
                HopByHop {
                    websocket,
                    trailers: false
                },
                "{received}"
            );
            assert!(!headers.contains_key("upgrade") && !headers.contains_key("http2-settings"));
        }
        let mut headers = HeaderMap::new();
        ask_websocket(&mut headers);
        assert_eq!(
            text(&headers),
            ["connection: upgrade", "upgrade: websocket"]
        );
        let mut headers = map("Connection: te\nTE: gzip, trailers;q=0.5");
        let told = request(
            &mut headers,
            &policy(),
            &connection(false),
            None,
            HeaderValue::from_static("d"),
        );
        assert!(told.trailers);
    }

    #[test]
    fn responses() {
        let mut headers = map(
            "Server: Apache\nDate: x\nConnection: close, X-Own\nX-Own: 1\nX-Accel-Redirect: /a\nX-Accel-Buffering: no\nX-Pad: a\nKeep-Alive: a\nSet-Cookie: a=1\nSet-Cookie: b=2\nTransfer-Encoding: chunked\nTrailer: X-Sum\nX_Y: kept",
        );
        response(&mut headers, &policy());
        mark(
            &mut headers,
            &policy(),
            &connection(false),
            Some((&HeaderValue::from_static("TomcatA"), Reason::Cookie)),
        );
        assert_eq!(
            text(&headers),
            [
                "server: lnmt",
                "set-cookie: a=1",
                "set-cookie: b=2",
                "trailer: X-Sum",
                "x-proxy: Proxy-192.168.23.1:80",
                "x-route: cookie",
                "x-upstream: TomcatA",
                "x_y: kept",
            ]
        );
    }

    #[test]
    fn addresses_as_text() {
        let six = "[2001:db8::1]:5000".parse().expect("an address");
        let mapped = "[::ffff:10.0.0.1]:80".parse().expect("an address");
        let fields = ConnectionFields::new(six, mapped, true, false);
        assert_eq!(fields.x_proxy, "Proxy-10.0.0.1:80");
        assert_eq!(fields.peer, "2001:db8::1");
        assert_eq!(&*fields.forwarded, "for=\"[2001:db8::1]\";proto=https");
        assert!(fields.is_secure(&HeaderMap::new()));
        let https = map("X-Forwarded-Proto: HTTPS");
        assert!(connection(true).is_secure(&https) && !connection(false).is_secure(&https));
    }

    proptest! {
        /// Whatever `Connection` names, nothing of the connection gets through, and nothing else is lost.
        #[test]
        fn hop_by_hop(named in prop::collection::vec("[a-z-]{1,12}", 0..6), other in "[a-z]{1,8}") {
            let mut headers = HeaderMap::new();
            for name in &named {
                headers.insert(HeaderName::from_bytes(name.as_bytes()).expect("a token"), HeaderValue::from_static("1"));
            }
            let kept = format!("q-{other}");
            headers.insert(HeaderName::from_bytes(kept.as_bytes()).expect("a token"), HeaderValue::from_static("1"));
            headers.insert("connection", HeaderValue::from_str(&named.join(", ")).expect("a value"));
            request(&mut headers, &policy(), &connection(false), None, HeaderValue::from_static("dynamic"));
            prop_assert!(!headers.contains_key("connection"));
            for name in named.iter().filter(|name| !super::hop_by_hop::is_protected(name.as_bytes())) {
                prop_assert!(!headers.contains_key(name), "{}", name);
            }
            prop_assert!(named.contains(&kept) || headers.contains_key(&kept));
        }
    }
}
