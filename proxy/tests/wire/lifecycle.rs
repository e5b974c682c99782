//! Reload without a lost request, and a stop that finishes what runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use proxy::server::Command;

use super::stage::{Client, Peer, Proxy, ok, until};

#[test]
fn reloads_under_load_lose_no_request_and_keep_connections() {
    let (a, b, c) = (Peer::saying("a"), Peer::saying("b"), Peer::saying("c"));
    let toml = |peers: &[&Peer]| {
        let servers: Vec<String> = peers.iter().map(|p| format!("\"{}\"", p.address)).collect();
        format!(
            "worker_processes = 2\nkeepalive_requests = 1000000\nupstream = [{}]\n",
            servers.join(", ")
        )
    };
    let proxy = Proxy::start(&toml(&[&a, &b]));
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let address = proxy.addresses[0];
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    if number % 2 == 1 {
                        client = Client::connect(address);
                    }
                    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
                    assert_eq!(client.response().status, 200);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..12 {
        let before = done.load(Ordering::SeqCst);
        until("requests go on", || {
            done.load(Ordering::SeqCst) > before + 20
        });
        let peers: &[&Peer] = if round % 2 == 0 { &[&a, &c] } else { &[&a, &b] };
        proxy.reload(&toml(peers));
        proxy.until_status("it is in force", |status| status["generation"] == round + 2);
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("no request was lost");
    }
    assert!(!c.seen().is_empty());
    assert!(
        a.connections() < 16,
        "the pool of a peer that stays was thrown away: {}",
        a.connections()
    );
}

#[test]
fn a_wrong_configuration_changes_nothing() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(&[&peer], "");
    proxy.reload("upstream = [\"127.0.0.1:1\"]\nclient_header_line = \"1\"\n");
    proxy.until_status("it is refused", |status| status["refused_reloads"] == 1);
    assert_eq!(proxy.get("/").text(), "x");
}

#[test]
fn listeners_come_and_go_with_reloads() {
    let peer = Peer::saying("x");
    let base = format!("upstream = [\"{}\"]\n", peer.address);
    // An address of its own, so that no other test takes the port in between.
    let free =
        std::net::TcpListener::bind("127.77.0.1:0").and_then(|listener| listener.local_addr());
    let free = free.expect("a free port");
    let proxy = Proxy::start(&format!("listen = [\"127.0.0.1:0\"]\n{base}"));
    proxy.reload(&format!("listen = [\"127.0.0.1:0\", \"{free}\"]\n{base}"));
    until("it listens there too", || {
        std::net::TcpStream::connect(free).is_ok()
    });
    let mut client = Client::connect(free);
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("x-proxy"), Some(format!("Proxy-{free}")));
    proxy.reload(&format!("listen = [\"127.0.0.1:0\"]\n{base}"));
    until("it listens there no more", || {
        std::net::TcpStream::connect(free).is_err()
    });
    assert_eq!(
        proxy.get("/").status,
        200,
        "the first address was never let go"
    );
}

#[test]
fn a_stop_finishes_what_runs_and_answers_one_more_request() {
    let release = Arc::new(AtomicBool::new(false));
    let wait = Arc::clone(&release);
    let peer = Peer::answering(move |request| {
        if request.line().starts_with("GET /slow ") {
            until("it may go on", || wait.load(Ordering::SeqCst));
        }
        ok("done")
    });
    let mut proxy = Proxy::before(&[&peer], "shutdown_timeout = \"20s\"\n");
    let address = proxy.addresses[0];
    let mut idle = proxy.connect();
    idle.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(idle.response().status, 200);
    let mut running = proxy.connect();
    running.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it runs", || {
        peer.seen().len() == 1 && peer.connections() == 2 || peer.connections() >= 1
    });
    until("the request is at the peer", || {
        proxy
            .ask_admin("GET", "/stub_status")
            .text()
            .contains("Writing: 1")
    });
    proxy.command(Command::Stop);
    until("nobody listens", || {
        std::net::TcpStream::connect(address).is_err()
    });
    release.store(true, Ordering::SeqCst);
    let response = running.response();
    assert_eq!((response.status, response.text().as_str()), (200, "done"));
    assert_eq!(response.field("connection").as_deref(), Some("close"));
    running.expect_end();
    idle.expect_end();
    proxy.wait();
}

#[test]
fn a_stop_ends_what_does_not_finish_in_time() {
    let peer = Peer::scripted(|_, client| drop(client.rest()));
    let mut proxy = Proxy::before(&[&peer], "shutdown_timeout = \"300ms\"\n");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it runs", || peer.connections() == 1);
    proxy.command(Command::Stop);
    let began = std::time::Instant::now();
    proxy.wait();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    client.expect_end();
}

#[test]
fn a_second_stop_ends_at_once() {
    let peer = Peer::scripted(|_, client| drop(client.rest()));
    let mut proxy = Proxy::before(&[&peer], "shutdown_timeout = \"60s\"\n");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it runs", || peer.connections() == 1);
    proxy.command(Command::Stop);
    proxy.command(Command::Stop);
    let began = std::time::Instant::now();
    proxy.wait();
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    client.expect_end();
}

#[test]
fn logs_are_reopened() {
    let peer = Peer::saying("x");
    let folder = tempfile::tempdir().expect("a folder");
    let (log, moved) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let proxy = Proxy::before(&[&peer], &format!("access_log = {log:?}\n"));
    assert_eq!(proxy.get("/one").status, 200);
    let contains = |path: &std::path::Path, text: &str| {
        std::fs::read_to_string(path).is_ok_and(|all| all.contains(text))
    };
    until("it is logged", || contains(&log, "/one"));
    std::fs::rename(&log, &moved).expect("renamed");
    proxy.command(Command::ReopenLogs);
    until("the new file is there", || log.exists());
    assert_eq!(proxy.get("/two").status, 200);
    until("it is logged there", || contains(&log, "/two"));
    assert!(!contains(&moved, "/two"));
}
