//! Peers that fail, come back, drain, and the pool of connections to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::stage::{Peer, Proxy, ok, until};

#[test]
fn a_dead_peer_is_passed_over_within_the_request() {
    let (dead, live) = (Peer::dead(), Peer::saying("live"));
    let proxy = Proxy::before(&[&dead, &live], "fail_timeout = \"60s\"\n");
    for _ in 0..4 {
        let response = proxy.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "live"));
    }
    proxy.until_status("one failure is counted", |status| {
        let peer = &status["upstreams"][0]["peers"][0];
        peer["usable"] == false && peer["failures"] == 1
    });
}

#[test]
fn a_stale_pooled_connection_is_no_failure() {
    // Each connection serves one request and is closed under the next.
    let peer = Peer::scripted(|_, client| {
        client.head();
        client.send(ok("once"));
        if client.head().is_some() {
            // Reset instead of an answer.
            let _ =
                socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO));
        }
    });
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(client.response().text(), "once");
    }
    assert_eq!(peer.connections(), 3);
    proxy.until_status("nothing is counted", |status| {
        status["upstreams"][0]["peers"][0]["failures"] == 0
    });
    // A POST that may have been worked on is not sent twice.
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.response().status, 502);
}

#[test]
fn a_broken_get_goes_to_the_next_peer_and_a_post_does_not() {
    let broken = || Peer::scripted(|_, client| drop(client.head()));
    let (a, b) = (broken(), Peer::saying("b"));
    let proxy = Proxy::before(&[&a, &b], "max_fails = 0\n");
    let mut statuses = Vec::new();
    for method in ["GET", "GET", "POST", "POST", "PUT", "PUT"] {
        let mut client = proxy.connect();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc"
        ));
        statuses.push(client.response().status);
    }
    assert_eq!(&statuses[..2], [200, 200]);
    assert_eq!(&statuses[4..], [200, 200]);
    let mut posts = statuses[2..4].to_vec();
    posts.sort_unstable();
    assert_eq!(posts, [200, 502]);
    assert!(
        b.seen().iter().all(|request| request.body == b"abc"),
        "bodies are sent again whole"
    );
}

#[test]
fn a_listed_status_goes_on_and_the_last_one_is_passed() {
    let unwell =
        Peer::answering(|_| b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy".to_vec());
    let well = Peer::saying("well");
    let settings = "proxy_next_upstream = [\"error\", \"http_503\"]\nmax_fails = 0\n";
    let proxy = Proxy::before(&[&unwell, &well], settings);
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "well");
    }
    let alone = Proxy::before(&[&unwell], settings);
    let response = alone.get("/");
    assert_eq!((response.status, response.text().as_str()), (503, "busy"));
}

#[test]
fn active_checks_take_peers_out_and_bring_them_back() {
    let well = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&well);
    let a = Peer::answering(move |request| {
        if request.line().starts_with("GET /health ") && !state.load(Ordering::SeqCst) {
            return b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        }
        ok("a")
    });
    let b = Peer::saying("b");
    let proxy = Proxy::before(
        &[&a, &b],
        "[check]\ntype = \"http\"\npath = \"/health\"\ninterval = \"50ms\"\nrise = 1\nfall = 2\ntimeout = \"1s\"\n",
    );
    let check_is = |wanted: &'static str| {
        move |status: &serde_json::Value| status["upstreams"][0]["peers"][0]["check"] == wanted
    };
    proxy.until_status("it is up", check_is("up"));
    well.store(false, Ordering::SeqCst);
    proxy.until_status("it is down", check_is("down"));
    assert!((0..4).all(|_| proxy.get("/").text() == "b"));
    well.store(true, Ordering::SeqCst);
    proxy.until_status("it is up again", check_is("up"));
    until("it serves again", || proxy.get("/").text() == "a");
}

#[test]
fn the_admin_port_drains_and_takes_down() {
    let (a, b) = (Peer::saying("a"), Peer::saying("b"));
    let proxy = Proxy::start(&format!(
        "balance = \"session_sticky\"\nsticky.key = \"0123456789abcdef0123\"\nupstream = [\"{} id=A\", \"{} id=B\"]\n",
        a.address, b.address
    ));
    let first = proxy.get("/");
    assert_eq!(first.text(), "a");
    let cookie = first.field("set-cookie").expect("a sticky cookie");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let bound = || {
        let mut client = proxy.connect();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: t\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        ));
        let response = client.response();
        (
            response.text(),
            response.field("x-route").expect("a reason"),
        )
    };
    assert_eq!(bound(), ("a".into(), "cookie".into()));
    let change = |verb: &str| {
        proxy
            .ask_admin("POST", &format!("/upstreams/dynamic/peers/A/{verb}"))
            .status
    };
    assert_eq!(change("drain"), 200);
    assert_eq!(bound().0, "a", "a bound session stays");
    assert!(
        (0..4).all(|_| proxy.get("/").text() == "b"),
        "new ones go elsewhere"
    );
    assert_eq!(change("down"), 200);
    assert_eq!(bound(), ("b".into(), "fallback:down".into()));
    assert_eq!(change("up"), 200);
    assert_eq!(bound().0, "a");
    assert_eq!(change("weight?value=x"), 400);
    assert_eq!(change("weight?value=3"), 200);
    assert_eq!(change("sideways"), 404);
    assert_eq!(
        proxy
            .ask_admin("POST", "/upstreams/dynamic/peers/C/up")
            .status,
        404
    );
}

#[test]
fn the_admin_port_shows_health_status_and_metrics() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(&[&peer], "");
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.ask_admin("GET", "/livez").status, 200);
    assert_eq!(proxy.ask_admin("GET", "/readyz").status, 200);
    let metrics = proxy.ask_admin("GET", "/metrics").text();
    assert!(metrics.contains("lnmt_proxy_"), "{metrics}");
    until("the connection is counted", || {
        proxy
            .ask_admin("GET", "/stub_status")
            .text()
            .contains("\n 1 1 1 ")
    });
    assert_eq!(
        proxy.ask_admin("GET", "/check_status?format=csv").status,
        200
    );
    assert_eq!(proxy.ask_admin("GET", "/nothing").status, 404);
    assert_eq!(proxy.ask_admin("DELETE", "/status").status, 405);
}
