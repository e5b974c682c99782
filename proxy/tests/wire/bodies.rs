//! Bodies: streamed, limited, continued, trailed, cut.

use std::time::{Duration, Instant};

use super::stage::{Peer, Proxy, TRAILERS, ok, until};

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    const SIZE: usize = 3 << 20;
    let peer = Peer::answering(|request| {
        let mut bytes = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            request.body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&request.body);
        bytes
    });
    let proxy = Proxy::before(&[&peer], "client_max_body_size = \"8m\"\n");
    let body: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let mut client = proxy.connect();
    let (mut writer, sent) = (client.stream.try_clone().expect("a socket"), body.clone());
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        let head = format!("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: {SIZE}\r\n\r\n");
        writer.write_all(head.as_bytes()).expect("it reads");
        writer.write_all(&sent).expect("it reads");
    });
    let response = client.response();
    writing.join().expect("written");
    assert_eq!((response.status, response.complete), (200, true));
    assert!(response.body == body, "the body came back changed");
}

#[test]
fn chunked_requests_are_framed_anew_and_their_trailers_dropped() {
    let peer = Peer::saying("ok");
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n4;ext=1\r\nWiki\r\n5\r\npedia\r\n0\r\nX-T: 1\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = &peer.seen()[0];
    assert_eq!(request.body, b"Wikipedia");
    assert_eq!(request.field("trailer"), None);
    // And the connection goes on behind it.
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn trailers_of_responses_reach_clients_that_take_them() {
    let peer = Peer::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n".to_vec()
    });
    let proxy = Proxy::before(&[&peer], "");
    for (te, trailers) in [("TE: trailers\r\nConnection: TE\r\n", "x-sum: 6"), ("", "")] {
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: t\r\n{te}\r\n"));
        assert_eq!(client.response().text(), "abc");
        TRAILERS.with(|seen| assert_eq!(seen.borrow().to_ascii_lowercase(), trailers, "{te}"));
    }
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let peer = Peer::saying("ok");
    let proxy = Proxy::before(&[&peer], "client_max_body_size = \"10\"\n");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n12345678901");
    assert_eq!(client.response().status, 413);
    client.expect_end();
    let mut chunked = proxy.connect();
    chunked.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n0\r\n\r\n");
    assert_eq!(chunked.response().status, 413);
    let mut exact = proxy.connect();
    exact.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n1234567890");
    assert_eq!(exact.response().status, 200);
}

#[test]
fn expectations_are_met_when_the_body_is_wanted() {
    let peer = Peer::saying("ok");
    let proxy = Proxy::before(&[&peer], "client_max_body_size = \"10\"\n");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    client.expect(b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(client.response().status, 200);
    assert_eq!(peer.seen()[0].body, b"abc");
    assert_eq!(peer.seen()[0].field("expect"), None);
    let mut large = proxy.connect();
    large.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n");
    assert_eq!(large.response().status, 413);
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let peer = Peer::scripted(|_, client| {
        client.head();
        client.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        client.rest();
    });
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nabc");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

#[test]
fn a_response_that_breaks_off_is_cut_and_not_passed_off_as_whole() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let peer = Peer::scripted(move |_, client| {
            client.head();
            client.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhell"));
        });
        let proxy = Proxy::before(&[&peer], "");
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status, response.complete), (200, false), "{head}");
    }
}

#[test]
fn a_response_without_a_length_ends_with_the_connection_of_the_peer() {
    let peer = Peer::scripted(|_, client| {
        client.head();
        client.send("HTTP/1.0 200 OK\r\n\r\nall of it");
    });
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().text(), "all of it");
}

#[test]
fn a_slow_client_holds_the_peer_back() {
    let peer = Peer::scripted(|_, client| {
        client.head();
        client.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            256 << 20
        ));
        let block = vec![0; 1 << 20];
        client
            .stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("a socket");
        let mut sent = 0;
        while sent < 256 && std::io::Write::write_all(&mut client.stream, &block).is_ok() {
            sent += 1;
        }
        SENT.store(sent, std::sync::atomic::Ordering::SeqCst);
        DONE.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    static SENT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    client.head().expect("a head");
    until("the peer is blocked", || {
        DONE.load(std::sync::atomic::Ordering::SeqCst)
    });
    let sent = SENT.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        sent < 64,
        "{sent} MiB were taken from the peer although nobody read them"
    );
}

#[test]
fn a_client_that_leaves_ends_the_request_at_the_peer() {
    let (left, seen) = std::sync::mpsc::channel();
    let left = std::sync::Mutex::new(left);
    let peer = Peer::scripted(move |_, client| {
        client.head();
        let began = Instant::now();
        client.rest();
        let _ = left.lock().expect("a sender").send(began.elapsed());
    });
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let proxy = Proxy::before(&[&peer], &format!("access_log = {log:?}\n"));
    let mut client = proxy.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n");
    until("the request is there", || peer.connections() == 1);
    drop(client);
    let waited = seen
        .recv_timeout(super::stage::PATIENCE)
        .expect("the peer sees the end");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    until("it is logged", || {
        std::fs::read_to_string(&log)
            .is_ok_and(|text| text.contains("\"GET /slow HTTP/1.1\" 499 0"))
    });
}

#[test]
fn the_access_log_says_what_was_sent() {
    let peer = Peer::answering(|_| ok("hello"));
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let proxy = Proxy::before(&[&peer], &format!("access_log = {log:?}\n"));
    let mut client = proxy.connect();
    client.send(
        "GET /q\"uote HTTP/1.1\r\nHost: t\r\nUser-Agent: test\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n",
    );
    client.response();
    client
        .send("GET / HTTP/1.1\r\nHost: t\r\nUser-Agent: test\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
    assert_eq!(client.response().status, 200);
    until("it is logged", || {
        std::fs::read_to_string(&log).is_ok_and(|text| {
            text.starts_with("127.0.0.1 - - [")
                && text.contains("\"GET / HTTP/1.1\" 200 5 \"-\" \"test\" \"10.0.0.1\"")
        })
    });
}
