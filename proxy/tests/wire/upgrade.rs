//! WebSockets.

use std::time::{Duration, Instant};

use super::stage::{Client, Peer, Proxy};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn echoing() -> Peer {
    Peer::scripted(|_, client: &mut Client| {
        let head = client.head().expect("a request");
        assert!(
            head.to_ascii_lowercase().contains("upgrade: websocket"),
            "{head}"
        );
        client.send(format!("{AGREE}early-down"));
        loop {
            let bytes = std::mem::take(&mut client.unread);
            if !bytes.is_empty() {
                client.send(&bytes);
            } else if !client.more() {
                return;
            }
        }
    })
}

#[test]
fn bytes_pass_both_ways_early_ones_first_and_ends_are_passed_on() {
    let peer = echoing();
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send(format!("{ASK}early-up"));
    let head = client.head().expect("a response");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(
        lower.contains("upgrade: websocket") && lower.contains("connection: upgrade"),
        "{head}"
    );
    assert!(
        lower.contains("sec-websocket-accept") && lower.contains("x-proxy:"),
        "{head}"
    );
    client.expect(b"early-downearly-up");
    let large = vec![7; 300_000];
    let mut writer = client.stream.try_clone().expect("a socket");
    let sent = large.clone();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sent));
    client.expect(&large);
    writing.join().expect("no panic").expect("written");
    client.end();
    client.expect_end();
}

#[test]
fn a_silent_tunnel_ends_after_proxy_read_timeout() {
    let peer = echoing();
    let proxy = Proxy::before(&[&peer], "proxy_read_timeout = \"300ms\"\n");
    let mut client = proxy.connect();
    client.send(ASK);
    client.head().expect("a response");
    client.expect(b"early-down");
    let began = Instant::now();
    client.expect_end();
    assert!(
        began.elapsed() >= Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let peer = Peer::answering(|_| {
        b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno".to_vec()
    });
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send(ASK);
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (426, "no"));
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().status, 426);
}

#[test]
fn other_protocols_are_not_asked_for() {
    let peer = Peer::saying("plain");
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\r\n");
    assert_eq!(client.response().text(), "plain");
    let request = &peer.seen()[0];
    assert_eq!(
        (request.field("upgrade"), request.field("http2-settings")),
        (None, None)
    );
}
