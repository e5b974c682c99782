//! Requests and responses as both sides see them.

use super::stage::{Client, Peer, Proxy, ok};

#[test]
fn round_robin_alternates_over_one_connection_and_keeps_connections_to_peers() {
    let (a, b) = (Peer::saying("a"), Peer::saying("b"));
    let proxy = Proxy::before(&[&a, &b], "");
    let mut client = proxy.connect();
    let mut seen = String::new();
    for _ in 0..6 {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        seen += &client.response().text();
    }
    assert_eq!(seen, "ababab");
    assert_eq!((a.connections(), b.connections()), (1, 1));
}

#[test]
fn fields_are_rewritten_in_both_directions() {
    let peer = Peer::answering(|_| {
        b"HTTP/1.1 201 Made\r\nServer: tomcat\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nX-App: yes\r\nContent-Length: 2\r\n\r\nhi".to_vec()
    });
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send("GET /a?b=c HTTP/1.1\r\nHost: shop.test:8080\r\nConnection: x-secret\r\nX-Secret: 1\r\nX-Forwarded-For: 10.9.8.7\r\nX-Real-IP: 6.6.6.6\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (201, "hi"));
    assert_eq!(response.field("x-app").as_deref(), Some("yes"));
    assert_eq!(response.field("x-hop"), None);
    assert_eq!(response.field("server").as_deref(), Some("lnmt-proxy"));
    assert!(response.field("date").is_some());
    let local = proxy.addresses[0];
    assert_eq!(response.field("x-proxy"), Some(format!("Proxy-{local}")));
    assert_eq!(response.field("x-upstream"), Some(peer.address.to_string()));
    assert_eq!(response.field("x-route").as_deref(), Some("rr"));
    let request = &peer.seen()[0];
    assert_eq!(request.line(), "GET /a?b=c HTTP/1.1");
    assert_eq!(request.field("x-secret"), None);
    assert_eq!(request.field("x-real-ip"), None);
    assert_eq!(
        request.field("x-forwarded-for").as_deref(),
        Some("10.9.8.7, 127.0.0.1")
    );
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(
        request.field("x-forwarded-host").as_deref(),
        Some("shop.test:8080")
    );
}

#[test]
fn every_response_names_the_proxy() {
    let dead = Peer::dead();
    let proxy = Proxy::before(&[&dead], "proxy_connect_timeout = \"1s\"\n");
    let mark = Some(format!("Proxy-{}", proxy.addresses[0]));
    let bad_gateway = proxy.get("/");
    assert_eq!(
        (bad_gateway.status, bad_gateway.field("x-proxy")),
        (502, mark.clone())
    );
    assert!(
        bad_gateway.field("etag").is_some(),
        "the 50x page has an ETag"
    );
    let mut client = proxy.connect();
    client.send("nonsense\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status, refused.field("x-proxy")), (400, mark));
    assert_eq!(refused.field("connection").as_deref(), Some("close"));
    client.expect_end();
}

#[test]
fn an_absolute_target_replaces_the_host() {
    let peer = Peer::saying("x");
    let settings = format!(
        "[[server]]\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://{}\"\nproxy_set_header = [\"Host: $http_host\"]\n",
        peer.address
    );
    let proxy = Proxy::start(&settings);
    let mut client = proxy.connect();
    client.send("GET http://real.test/x HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = &peer.seen()[0];
    assert_eq!(request.line(), "GET /x HTTP/1.1");
    assert_eq!(
        request.field("x-forwarded-host").as_deref(),
        Some("real.test")
    );
}

#[test]
fn what_a_browser_fetches_by_itself_takes_no_turn() {
    let peers = ["a", "b"].map(Peer::saying);
    let upstream = format!(
        "no_favicon = true\nupstream = [\"{}\", \"{}\"]\n",
        peers[0].address, peers[1].address
    );
    let proxy = Proxy::start(&upstream);
    let pages: Vec<String> = (0..4)
        .map(|_| {
            assert_eq!(proxy.get("/favicon.ico").status, 204);
            proxy.get("/").text()
        })
        .collect();
    assert!(pages.windows(2).all(|p| p[0] != p[1]), "{pages:?}");
}

#[test]
fn locations_answer_redirect_and_replace_paths() {
    let peer = Peer::saying("x");
    let proxy = Proxy::start(&format!(
        "[[server]]\nadd_header = [\"X-Extra: 1\"]\n\
         [[server.location]]\npath = \"/app/\"\nproxy_pass = \"http://{}/inner/\"\n\
         [[server.location]]\npath = \"= /ping\"\nreturn = \"200 pong\"\n\
         [[server.location]]\npath = \"/old\"\nreturn = \"301 http://new.test/\"\n",
        peer.address
    ));
    assert_eq!(proxy.get("/app/a?b").status, 200);
    assert_eq!(peer.seen()[0].line(), "GET /inner/a?b HTTP/1.1");
    let ping = proxy.get("/ping");
    assert_eq!((ping.status, ping.text().as_str()), (200, "pong"));
    assert_eq!(ping.field("x-extra").as_deref(), Some("1"));
    let old = proxy.get("/old");
    assert_eq!(
        (old.status, old.field("location").as_deref()),
        (301, Some("http://new.test/"))
    );
    let nothing = proxy.get("/nothing");
    assert_eq!((nothing.status, nothing.field("x-extra")), (404, None));
    for (asked, target) in [("/app", "/app/"), ("//x/../app?b=c", "/app/?b=c")] {
        let slash = proxy.get(asked);
        assert_eq!(
            (slash.status, slash.field("location").as_deref()),
            (301, Some(target)),
            "{asked}"
        );
    }
    assert_eq!(peer.seen().len(), 1);
}

#[test]
fn a_field_that_is_always_added_is_on_errors_too() {
    let proxy = Proxy::start(
        "[[server]]\n[[server.location]]\npath = \"/\"\nreturn = \"503\"\nadd_header = [\"X-A: 1\", \"X-B: 2 always\"]\n",
    );
    let response = proxy.get("/");
    assert_eq!(response.field("x-a"), None);
    assert_eq!(response.field("x-b").as_deref(), Some("2"));
}

#[test]
fn http_1_0_and_head_and_bodyless_statuses() {
    let peer = Peer::answering(|request| match request.line().split(' ').nth(1) {
        Some("/204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        Some("/304") => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".to_vec(),
        Some("/chunked") => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
        }
        _ if request.line().starts_with("HEAD") => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()
        }
        _ => ok("hello"),
    });
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    for (method, path, status, body) in [
        ("GET", "/204", 204, ""),
        ("HEAD", "/", 200, ""),
        ("GET", "/304", 304, ""),
        ("GET", "/chunked", 200, "abc"),
        ("GET", "/", 200, "hello"),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: t\r\n\r\n"));
        let response = client.response_to(method);
        assert_eq!(
            (response.status, response.text().as_str()),
            (status, body),
            "{method} {path}"
        );
    }
    let mut old = proxy.connect();
    old.send("GET /chunked HTTP/1.0\r\n\r\n");
    let response = old.response();
    assert_eq!((response.status, response.text().as_str()), (200, "abc"));
    assert_eq!(response.field("transfer-encoding"), None);
}

#[test]
fn a_client_behind_a_trusted_proxy_is_known() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(
        &[&peer],
        "balance = \"ip_hash\"\nset_real_ip_from = [\"127.0.0.0/8\"]\naccess_log = \"off\"\n",
    );
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = &peer.seen()[0];
    assert_eq!(
        request.field("x-forwarded-for").as_deref(),
        Some("192.0.2.7, 127.0.0.1")
    );
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("https"));
}

#[test]
fn the_proxy_protocol_says_who_the_client_is() {
    let peer = Peer::saying("x");
    let proxy = Proxy::before(&[&peer], "proxy_protocol = true\n");
    let mut client = proxy.connect();
    client.send("PROXY TCP4 192.0.2.9 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(
        peer.seen()[0].field("x-forwarded-for").as_deref(),
        Some("192.0.2.9")
    );
    let mut v2 = proxy.connect();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 10, 198, 51, 100, 1, 0x12, 0x34, 0, 80]);
    v2.send(&header[..9]);
    v2.send(&header[9..]);
    v2.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(v2.response().status, 200);
    assert_eq!(
        peer.seen()[1].field("x-forwarded-for").as_deref(),
        Some("192.0.2.10")
    );
    let mut without: Client = proxy.connect();
    without.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    without.expect_end();
}

#[test]
fn a_client_that_has_said_all_it_has_to_say_is_still_answered() {
    let peer = Peer::answering(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        ok("late")
    });
    let proxy = Proxy::before(&[&peer], "");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    client.end();
    assert_eq!(client.response().text(), "late");
    client.expect_end();
}

#[test]
fn nginx_variables_in_request_fields() {
    let peer = Peer::saying("x");
    let proxy = Proxy::start(&format!(
        "x_forwarded = false\n[[server]]\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://{}\"\nproxy_set_header = [\"Host: $host\", \"X-Forwarded-For: $proxy_add_x_forwarded_for\", \"X-Real-IP: $remote_addr\", \"X-Forwarded-Proto: $scheme\", \"X-Asked: $http_host$request_uri\"]\n",
        peer.address
    ));
    for (received, sent) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1, 127.0.0.1"),
    ] {
        let mut client = proxy.connect();
        client.send(format!(
            "GET /a?b HTTP/1.1\r\nHost: Shop.test:81\r\n{received}\r\n"
        ));
        assert_eq!(client.response().status, 200);
        let seen = peer.seen();
        let request = seen.last().expect("a request");
        for (name, value) in [
            ("host", "shop.test"),
            ("x-forwarded-for", sent),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-asked", "Shop.test:81/a?b"),
        ] {
            assert_eq!(request.field(name).as_deref(), Some(value), "{name}");
        }
    }
}

#[test]
fn x_forwarded_says_which_fields_are_written() {
    for (setting, expected) in [
        ("true", ["for", "proto", "host"].as_slice()),
        ("false", &[]),
        ("[\"for\"]", &["for"]),
        ("\"proto,host\"", &["proto", "host"]),
    ] {
        let peer = Peer::saying("x");
        let proxy = Proxy::before(&[&peer], &format!("x_forwarded = {setting}\n"));
        assert_eq!(proxy.get("/").status, 200);
        let request = &peer.seen()[0];
        for name in ["for", "proto", "host"] {
            let there = request.field(&format!("x-forwarded-{name}")).is_some();
            assert_eq!(there, expected.contains(&name), "{setting}: {name}");
        }
    }
}

#[test]
fn many_pipelined_requests_are_all_answered() {
    let proxy =
        Proxy::start("[[server]]\n[[server.location]]\npath = \"/\"\nreturn = \"200 pong\"\n");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n".repeat(200));
    for _ in 0..200 {
        assert_eq!(client.response().text(), "pong");
    }
}

#[test]
fn a_client_that_reads_late_gets_every_pipelined_response() {
    const COUNT: usize = 5000;
    let text = "x".repeat(3000);
    let proxy = Proxy::start(&format!(
        "keepalive_requests = {COUNT}\n[[server]]\n[[server.location]]\npath = \"/\"\nreturn = \"200 {text}\"\n"
    ));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n".repeat(COUNT));
    proxy.until_status("responses pile up", |status| {
        status["client"]["requests"].as_u64() > Some(500)
    });
    for number in 1..=COUNT {
        let response = client.response();
        assert_eq!(response.text(), text, "response {number}");
        let last = number == COUNT;
        assert_eq!(response.field("connection").is_some(), last);
    }
    client.expect_end();
}
