//! The pages: the article's, byte for byte as Tomcat serves it, and those for people.

mod support;

use std::io::Write;
use std::net::Shutdown;

use appserver::config::Config;
use support::{Node, Reply};

/// What Tomcat 10.1 sent for `GET /jsp/index.jsp` on 192.168.23.90:28180, with another id.
const CAPTURED: &str = "\n\n<html>\n<head><title>TomcatA</title></head>\n<body>\n<h1><font color=\"#FF0000\">TomcatA.magedu.com</h1>\n<table align=\"centre\" border=\"1\">\n<tr>\n<td>Session ID</td>\n<td>{id}</td>\n</tr>\n<tr>\n<td>Created on</td>\n<td>1795389871564</td>\n</tr>\n</table>\nURL: http://192.168.23.90:28180/jsp/index.jsp\nURI: /jsp/index.jsp\n</body>\n</html>\n";

const HOST: (&str, &str) = ("Host", "192.168.23.90:28180");

fn route(config: &mut Config) {
    config.jvm_route = "WEB1".into();
}

#[test]
fn the_page_is_the_captured_one() {
    let node = Node::with(route);
    let reply = node.send("GET", "/jsp/index.jsp", &[HOST], "");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.field("content-type"), Some("text/html;charset=UTF-8"));
    assert_eq!(reply.field("content-length"), Some("359"));
    let cookie = reply.field("set-cookie").expect("a new session");
    let id = cookie.strip_prefix("JSESSIONID=").expect("its cookie");
    let id = id
        .strip_suffix("; Path=/jsp; HttpOnly")
        .expect("Tomcat's attributes");
    let (random, suffix) = id.split_at(32);
    assert!(
        random
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)),
        "{id}"
    );
    assert_eq!(suffix, ".WEB1");
    assert_eq!(reply.body, CAPTURED.replace("{id}", id));
}

#[test]
fn the_second_node_shows_its_own_name_and_colour() {
    let node = Node::with(|config| config.node_id = "TomcatB".into());
    let body = node.get("/jsp/").body;
    assert!(body.contains("<title>TomcatB</title>"), "{body}");
    assert!(
        body.contains("<font color=\"#0000FF\">TomcatB.magedu.com</h1>"),
        "{body}"
    );
    let node = Node::with(|config| config.colour = "#123456".parse().expect("a colour"));
    assert!(node.get("/jsp/").body.contains("<font color=\"#123456\">"));
}

#[test]
fn url_and_uri_are_as_sent() {
    let node = Node::start();
    for (path, uri) in [
        ("/jsp/", "/jsp/"),
        ("/jsp/?a=b", "/jsp/"),
        ("/test/index.jsp", "/test/index.jsp"),
        ("/jsp/;jsessionid=0?a", "/jsp/;jsessionid=0"),
        ("http://other:81/jsp/", "/jsp/"),
    ] {
        let body = node.get(path).body;
        let host = if path.starts_with("http") {
            "other:81"
        } else {
            "lab:8080"
        };
        let expected = format!("</table>\nURL: http://{host}{uri}\nURI: {uri}\n</body>");
        assert!(body.contains(&expected), "{path}: {body}");
    }
}

#[test]
fn the_folder_gets_its_slash() {
    let node = Node::start();
    for path in ["/jsp", "/test"] {
        let reply = node.get(path);
        assert_eq!(reply.status, 302);
        assert_eq!(reply.field("location"), Some(format!("{path}/").as_str()));
        assert_eq!(reply.field("set-cookie"), None);
    }
}

#[test]
fn a_request_without_a_proper_host_is_refused() {
    let node = Node::start();
    for host in ["", "<script>", "a b"] {
        assert_eq!(
            node.send("GET", "/jsp/", &[("Host", host)], "").status,
            400,
            "{host}"
        );
    }
}

#[test]
fn the_welcome_page_names_the_node_and_its_applications() {
    let node = Node::with(|config| config.contexts = vec!["/jsp".into(), "/jsp/deep/er".into()]);
    let reply = node.get("/");
    assert_eq!(reply.status, 200);
    for text in [
        "TomcatA answers",
        "href=\"/jsp/\"",
        "href=\"/jsp/deep/er/cart\"",
        "round_robin",
    ] {
        assert!(reply.body.contains(text), "{text} is not in {}", reply.body);
    }
    assert_eq!(reply.field("set-cookie"), None, "it needs no session");
    assert_eq!(node.get("/jsp/deep/er/").status, 200);
    for path in ["/test/", "/jsp/deep/", "/jsp/deep/erx/", "/jsp/nothing"] {
        let reply = node.get(path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(
            reply.body.contains("There is no such page"),
            "{path}: {}",
            reply.body
        );
        assert_eq!(reply.field("set-cookie"), None, "{path}");
    }
}

#[test]
fn goods_stay_while_the_session_does_and_their_loss_is_explained() {
    let node = Node::start();
    let mut browser = node.browser();
    let first = browser.get("/jsp/cart");
    assert!(
        first.body.contains("came without a session"),
        "{}",
        first.body
    );
    for good in ["Tea", "Ink"] {
        let added = browser.post("/jsp/cart", &format!("good={good}"));
        assert_eq!(
            (added.status, added.field("location")),
            (303, Some("/jsp/cart"))
        );
    }
    let cart = browser.get("/jsp/cart");
    assert!(cart.body.contains("In the cart: 2"), "{}", cart.body);
    assert!(
        cart.body.contains("<li>Tea</li>\n<li>Ink</li>"),
        "{}",
        cart.body
    );
    assert!(cart.body.contains("knew your session"), "{}", cart.body);
    assert_eq!(cart.field("cache-control"), Some("no-store"));

    let other = Node::with(|config| config.node_id = "TomcatB".into());
    let mut moved = other.browser();
    moved.cookie.clone_from(&browser.cookie);
    let lost = moved.get("/jsp/cart");
    assert!(
        lost.body.contains("a session that TomcatB does not know"),
        "{}",
        lost.body
    );
    assert!(lost.body.contains("The cart is empty"), "{}", lost.body);

    browser.post("/jsp/cart/empty", "");
    assert!(browser.get("/jsp/cart").body.contains("The cart is empty"));
    assert_eq!(browser.post("/jsp/cart", "good=Gold").status, 400);
    for _ in 0..100 {
        assert_eq!(browser.post("/jsp/cart", "good=Rice").status, 303);
    }
    let full = browser.post("/jsp/cart", "good=Rice");
    assert_eq!(full.status, 400);
    assert!(full.body.contains("The cart is full"), "{}", full.body);
}

#[test]
fn logging_in_changes_the_id_and_logging_out_ends_the_session() {
    let node = Node::start();
    let mut browser = node.browser();
    browser.post("/jsp/cart", "good=Tea");
    let mut before = browser.clone();
    let login = browser.post("/jsp/login", "user=%3Cb%3EB%C3%B6b");
    assert_eq!(
        (login.status, login.field("location")),
        (303, Some("/jsp/login"))
    );
    assert_ne!(browser.id(), before.id());
    let page = browser.get("/jsp/login");
    assert!(
        page.body.contains("Böb") && !page.body.contains("<b>B"),
        "{}",
        page.body
    );
    assert!(
        browser.get("/jsp/cart").body.contains("<li>Tea</li>"),
        "the cart is kept"
    );
    let planted = before.get("/jsp/login");
    assert!(
        planted.body.contains("You are not logged in"),
        "{}",
        planted.body
    );

    let mut after_login = browser.clone();
    let logout = browser.post("/jsp/logout", "");
    assert_eq!(
        (logout.status, logout.field("location")),
        (303, Some("/jsp/login"))
    );
    let gone = after_login.get("/jsp/login");
    assert!(gone.body.contains("does not know"), "{}", gone.body);
    assert_eq!(browser.post("/jsp/login", "user=").status, 400);
}

#[test]
fn the_counter_counts() {
    let node = Node::start();
    let mut browser = node.browser();
    for _ in 0..3 {
        assert_eq!(browser.post("/jsp/counter", "").status, 303);
    }
    let page = browser.get("/jsp/counter").body;
    assert!(
        page.contains("Counted so far: <strong>3</strong>"),
        "{page}"
    );
    browser.get("/jsp/api/set?name=count&value=text");
    assert_eq!(browser.post("/jsp/counter", "").status, 400);
}

#[test]
fn the_jsps_for_measurements_set_and_get() {
    let node = Node::start();
    let mut browser = node.browser();
    assert_eq!(browser.get("/jsp/get.jsp?name=k").body, "no session");
    assert_eq!(browser.cookie, None, "reading makes no session");
    let page = browser.get("/jsp/set.jsp?name=k&value=a%26b+c");
    assert!(page.body.contains("<td>Session ID</td>"), "{}", page.body);
    for path in ["/jsp/get.jsp?name=k", "/jsp/get?name=k"] {
        let reply = browser.get(path);
        assert_eq!(reply.body, "a&b c");
        assert_eq!(
            reply.field("content-type"),
            Some("text/plain;charset=UTF-8")
        );
    }
    assert_eq!(browser.get("/jsp/get.jsp?name=other").body, "null");
    browser.get("/jsp/api/append?name=list&value=x");
    browser.get("/jsp/api/append?name=list&value=y");
    assert_eq!(browser.get("/jsp/get.jsp?name=list").body, "[x, y]");
    browser.get("/jsp/set?name=k");
    assert_eq!(
        browser.get("/jsp/get.jsp?name=k").body,
        "null",
        "null removes"
    );
    assert_eq!(browser.get("/jsp/set.jsp").status, 400);
    for query in ["value=x", "&&", "nam=k&value=x"] {
        let reply = browser.get(&format!("/jsp/set?{query}"));
        assert_eq!(reply.status, 400, "{query}");
    }
    browser.get("/jsp/set.jsp?&n%61me=%6b&value=first&name=other&value=second&=");
    assert_eq!(
        browser.get("/jsp/get.jsp?name=k").body,
        "first",
        "the first of a name counts, whatever is encoded"
    );
    browser.post("/jsp/set.jsp", "name=k&value=of+a+form");
    assert_eq!(browser.get("/jsp/get.jsp?name=k").body, "of a form");
    assert_eq!(browser.get("/jsp/get.jsp").status, 400);
}

/// The pages that are asked for most do not go through the router; whoever asks another way gets the same.
#[test]
fn the_page_is_the_same_by_every_method() {
    let node = Node::start();
    let mut browser = node.browser();
    browser.get("/jsp/");
    let cookie = format!("JSESSIONID={}", browser.id());
    let ask = |method, path, form: &str| {
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        node.send(method, path, &[("Cookie", cookie.as_str()), kind], form)
    };
    let names = |reply: &Reply| {
        let mut names: Vec<_> = reply.fields.iter().map(|(n, _)| n.to_lowercase()).collect();
        names.sort();
        names
    };
    let page = ask("GET", "/jsp/index.jsp", "");
    let head = ask("HEAD", "/jsp/index.jsp", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(names(&head), names(&page));
    let got = ask("GET", "/jsp/set?name=k&value=v", "");
    let posted = ask("POST", "/jsp/set", "name=k&value=v");
    assert_eq!((got.status, got.field("set-cookie")), (200, None));
    assert_eq!((posted.status, &posted.body), (200, &got.body));
    assert_eq!(names(&posted), names(&got));
    assert_eq!(ask("DELETE", "/jsp/set", "").status, 405);
}

/// A client that stops sending may still want its answer.
#[test]
fn half_a_connection_is_enough_for_the_answer() {
    let node = Node::start();
    let mut stream = node.connect();
    let request = b"GET /jsp/api/slow?ms=200&name=k&value=v HTTP/1.1\r\nHost: lab\r\n\r\n";
    stream.write_all(request).expect("sent");
    stream.shutdown(Shutdown::Write).expect("possible");
    let reply = support::read_reply(&mut stream);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["value"], "v");
}
