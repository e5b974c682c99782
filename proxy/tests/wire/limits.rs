//! Limits on size and time.

use std::time::{Duration, Instant};

use super::stage::{Peer, Proxy, until};

#[test]
fn sizes_of_heads() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(
        &[&peer],
        "client_header_line = \"1k\"\nclient_header_size = \"2k\"\nmax_headers = 10\n",
    );
    let long = "a".repeat(1100);
    let fields: String = (0..11).map(|i| format!("X-{i}: 1\r\n")).collect();
    let sum: String = (0..4)
        .map(|i| format!("X-{i}: {}\r\n", "b".repeat(600)))
        .collect();
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: t\r\n\r\n"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: t\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: t\r\n{sum}\r\n"), 431),
        ("GET / HTTP/3.0\r\nHost: t\r\n\r\n".into(), 505),
        (
            "POST / HTTP/1.1\r\nHost: t\r\nExpect: 200-ok\r\n\r\n".into(),
            417,
        ),
    ] {
        let mut client = proxy.connect();
        client.send(&request);
        assert_eq!(client.response().status, status, "{request:.60}");
        client.expect_end();
    }
    assert!(peer.seen().is_empty());
}

#[test]
fn slow_heads_and_slow_bodies_are_408() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(
        &[&peer],
        "client_header_timeout = \"300ms\"\nclient_body_timeout = \"300ms\"\n",
    );
    let mut head = proxy.connect();
    head.send("GET / HT");
    assert_eq!(head.response().status, 408);
    head.expect_end();
    let mut body = proxy.connect();
    body.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(body.response().status, 408);
    body.expect_end();
    // A silent connection is closed without an answer.
    proxy.connect().expect_end();
}

#[test]
fn idle_connections_are_closed_after_keepalive_timeout() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(
        &[&peer],
        "keepalive_timeout = \"400ms\"\nkeepalive_requests = 2\n",
    );
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().field("connection"), None);
    let began = Instant::now();
    client.expect_end();
    assert!(
        began.elapsed() >= Duration::from_millis(350),
        "{:?}",
        began.elapsed()
    );
    let mut twice = proxy.connect();
    twice.send("GET / HTTP/1.1\r\nHost: t\r\n\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(twice.response().field("connection"), None);
    assert_eq!(
        twice.response().field("connection").as_deref(),
        Some("close")
    );
    twice.expect_end();
}

#[test]
fn a_silent_peer_is_504_and_a_refusing_one_502() {
    let silent = Peer::scripted(|_, client| drop(client.rest()));
    let proxy = Proxy::before(&[&silent], "proxy_read_timeout = \"300ms\"\n");
    let began = Instant::now();
    let response = proxy.get("/");
    assert_eq!(response.status, 504);
    assert!(
        began.elapsed() >= Duration::from_millis(280),
        "{:?}",
        began.elapsed()
    );
    let stalls = Peer::scripted(|_, client| {
        client.head();
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        client.rest();
    });
    let proxy = Proxy::before(&[&stalls], "proxy_read_timeout = \"300ms\"\n");
    let cut = proxy.get("/");
    assert_eq!((cut.status, cut.complete), (200, false));
    let proxy = Proxy::before(&[&Peer::dead()], "");
    assert_eq!(proxy.get("/").status, 502);
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(&[&peer], "worker_connections = 2\n");
    let mut first = proxy.connect();
    let second = proxy.connect();
    first.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(first.response().status, 200);
    until("both are counted", || {
        proxy
            .ask_admin("GET", "/stub_status")
            .text()
            .starts_with("Active connections: 2 ")
    });
    proxy.connect().expect_end();
    drop(second);
    until("there is room again", || {
        let mut third = proxy.connect();
        use std::io::Write;
        let sent = third.stream.write_all(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        sent.is_ok() && third.head().is_some()
    });
}
