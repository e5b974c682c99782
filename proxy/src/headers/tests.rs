//! What is sent on, what is dropped, what is added.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{
    AddressText, ConnectionFields, HopByHop, Policy, Via, ask_websocket, mark, request, response,
};
use crate::balance::Reason;
use crate::config::XForwarded;

fn policy() -> Policy {
    Policy {
        x_forwarded: XForwarded::ALL,
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
        Some(send),
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
        x_forwarded: XForwarded::NONE,
        ..policy()
    };
    assert_eq!(
        sent("X-Forwarded-For: 1.1.1.1", &silent, false),
        ["host: dynamic", "x-forwarded-for: 1.1.1.1"]
    );
    let only_for = Policy {
        x_forwarded: XForwarded {
            client: true,
            ..XForwarded::NONE
        },
        ..policy()
    };
    assert_eq!(
        sent("X-Forwarded-For: 1.1.1.1", &only_for, false),
        ["host: dynamic", "x-forwarded-for: 1.1.1.1, 10.0.0.9"]
    );
}

#[test]
fn forwarded_and_via() {
    let policy = Policy {
        x_forwarded: XForwarded::NONE,
        forwarded: true,
        via: Some(Via {
            http1: HeaderValue::from_static("1.1 lnmt"),
            http2: HeaderValue::from_static("2.0 lnmt"),
        }),
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
    let http2 = ConnectionFields {
        http2: true,
        ..connection(false)
    };
    let mut headers = HeaderMap::new();
    request(&mut headers, &policy, &http2, None, None);
    assert_eq!(headers["via"], "2.0 lnmt");
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
            Some(HeaderValue::from_static("d")),
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
        Some(HeaderValue::from_static("d")),
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
    assert_eq!(AddressText::new(six.ip()).as_bytes(), b"2001:db8::1");
    assert_eq!(
        fields.forwarded_element(),
        "for=\"[2001:db8::1]\";proto=https"
    );
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
        request(&mut headers, &policy(), &connection(false), None, Some(HeaderValue::from_static("dynamic")));
        prop_assert!(!headers.contains_key("connection"));
        for name in named.iter().filter(|name| !super::hop_by_hop::is_protected(name.as_bytes())) {
            prop_assert!(!headers.contains_key(name), "{}", name);
        }
        prop_assert!(named.contains(&kept) || headers.contains_key(&kept));
    }
}
