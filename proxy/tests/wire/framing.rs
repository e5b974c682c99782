//! Nothing that could be read in two ways gets past the proxy.

use super::stage::{Peer, Proxy, ok};

/// Each is refused with this status, and the connection closed, before a byte reaches the peer.
#[test]
fn ambiguous_messages_are_refused() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(&[&peer], "");
    for (fields, status) in [
        (
            "Host: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        ("Host: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n", 400),
        ("Host: t\r\nContent-Length: 3, 3\r\n", 400),
        ("Host: t\r\nContent-Length: +3\r\n", 400),
        ("Host: t\r\nTransfer-Encoding: chunked, chunked\r\n", 501),
        ("Host: t\r\nTransfer-Encoding: gzip\r\n", 501),
        ("Host: t\r\nTransfer-Encoding : chunked\r\n", 400),
        ("Host: t\r\nX: a\r\n b\r\n", 400),
        ("Host: t\nX: a\r\n", 400),
        ("X: a\r\n", 400),
        ("Host: a\r\nHost: b\r\n", 400),
    ] {
        let mut client = proxy.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\n{fields}\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.status, status, "{fields:?}");
        assert_eq!(
            response.field("connection").as_deref(),
            Some("close"),
            "{fields:?}"
        );
        client.expect_end();
    }
    assert!(peer.seen().is_empty(), "{:?}", peer.seen());
}

#[test]
fn broken_chunks_never_complete_a_request() {
    let peer = Peer::answering(|request| ok(if request.complete { "whole" } else { "cut" }));
    let proxy = Proxy::before(&[&peer], "");
    for chunks in [
        "x\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n",
        "ffffffffffffffffff\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        assert_eq!(client.response().status, 400, "{chunks:?}");
        client.expect_end();
    }
    assert!(
        peer.seen().iter().all(|request| !request.complete),
        "{:?}",
        peer.seen()
    );
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_is_between_them() {
    let peer = Peer::answering(|request| {
        ok(&format!(
            "{} {}",
            request.line(),
            String::from_utf8_lossy(&request.body)
        ))
    });
    let proxy = Proxy::before(&[&peer], "");
    let all = "GET /1 HTTP/1.1\r\nHost: t\r\n\r\n\
               POST /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody\
               POST /3 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
               GET /4 HTTP/1.1\r\nHost: t\r\n\r\n";
    let expected = [
        "GET /1 HTTP/1.1 ",
        "POST /2 HTTP/1.1 body",
        "POST /3 HTTP/1.1 hi",
        "GET /4 HTTP/1.1 ",
    ];
    // At once, and cut at every byte.
    for cut in std::iter::once(0).chain(1..all.len()) {
        let mut client = proxy.connect();
        client.send(&all[..cut]);
        if cut > 0 && cut % 7 == 0 {
            std::thread::yield_now();
        }
        client.send(&all[cut..]);
        for text in expected {
            assert_eq!(client.response().text(), text, "cut at {cut}");
        }
    }
}

#[test]
fn what_follows_a_refused_body_is_not_a_request() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(&[&peer], "client_max_body_size = \"3\"\n");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 50\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().status, 413);
    client.expect_end();
    assert!(peer.seen().is_empty());
}

#[test]
fn garbage_from_a_peer_is_502() {
    for garbage in [
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "",
    ] {
        let peer = Peer::scripted(move |_, client| {
            client.head();
            client.send(garbage);
        });
        let proxy = Proxy::before(&[&peer], "");
        assert_eq!(proxy.get("/").status, 502, "{garbage:?}");
    }
}

#[test]
fn ambiguous_responses_are_502_and_their_connection_is_not_used_again() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
    ] {
        let peer = Peer::answering(move |_| {
            format!("HTTP/1.1 200 OK\r\n{fields}\r\n5\r\nhello\r\n0\r\n\r\n").into_bytes()
        });
        let proxy = Proxy::before(&[&peer], "");
        for request in 1..=2 {
            assert_eq!(proxy.get("/").status, 502, "{fields:?}");
            assert_eq!(peer.connections(), request, "{fields:?}");
        }
    }
}
