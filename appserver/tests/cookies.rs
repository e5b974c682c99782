//! Which session a request gets, and which cookie the client.

mod support;

use appserver::session::cookie::{CookieConfig, SameSite, Secure};
use appserver::session::{AskedId, Key, SessionId, Suffix};
use support::{Node, START};

fn asks(node: &Node, path: &str, cookies: &[&str]) -> (Option<String>, String) {
    let fields: Vec<_> = cookies.iter().map(|c| ("Cookie", *c)).collect();
    let reply = node.send("GET", path, &fields, "");
    assert_eq!(reply.status, 200, "{cookies:?}: {reply:?}");
    let id = reply.json()["session"]["id"]
        .as_str()
        .expect("a session")
        .to_owned();
    (reply.field("set-cookie").map(str::to_owned), id)
}

#[test]
fn the_first_cookie_that_names_a_valid_session_wins() {
    let node = Node::start();
    let one = asks(&node, "/jsp/api/session", &[]).1;
    let two = asks(&node, "/jsp/api/session", &[]).1;
    let none = "00000000000000000000000000000000";
    for (cookies, expected) in [
        (vec![format!("JSESSIONID={one}")], &one),
        (
            vec![format!(
                "JSESSIONID={none}; JSESSIONID={two}; JSESSIONID={one}"
            )],
            &two,
        ),
        (
            vec![format!("a=b;JSESSIONID=x;  JSESSIONID={one} ;c")],
            &one,
        ),
        (
            vec![
                format!("JSESSIONID={none}"),
                format!("a=b; JSESSIONID={two}"),
            ],
            &two,
        ),
        (vec![format!("JSESSIONID=\"{one}\"")], &one),
        (vec![format!("XJSESSIONID={two}; JSESSIONID={one}")], &one),
    ] {
        let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
        let (set, id) = asks(&node, "/jsp/api/session", &cookies);
        assert_eq!((set, &id), (None, expected), "{cookies:?}");
    }
}

#[test]
fn whatever_is_no_session_here_gives_a_new_one_under_a_new_id() {
    let node = Node::start();
    let other = Node::start();
    let foreign = asks(&other, "/jsp/api/session", &[]).1;
    let longest = "A".repeat(5000);
    let well_formed = "0123456789ABCDEF0123456789ABCDEF";
    for value in [
        well_formed,
        "0123456789ABCDEF0123456789ABCDEF.WEB1",
        "0123456789ABCDEF0123456789ABCDEF-n1.WEB1",
        "0123456789abcdef0123456789abcdef",
        "",
        "=",
        "\"",
        "../../etc/passwd",
        "%00%01",
        &longest,
        &foreign,
    ] {
        let (set, id) = asks(&node, "/jsp/api/session", &[&format!("JSESSIONID={value}")]);
        let set = set.expect(value);
        assert_eq!(set, format!("JSESSIONID={id}; Path=/jsp; HttpOnly"));
        assert!(!value.contains(&id), "{value} was adopted");
        assert!(AskedId::parse(id.as_bytes()).is_some(), "{id}");
    }
    assert_eq!(node.status()["contexts"][0]["sessions"]["created"], 11);
}

#[test]
fn only_so_many_cookies_are_looked_at() {
    let node = Node::start();
    let id = asks(&node, "/jsp/api/session", &[]).1;
    let none = "JSESSIONID=00000000000000000000000000000000; ";
    for (before, known) in [(7, true), (8, false)] {
        let cookie = format!("{}JSESSIONID={id}", none.repeat(before));
        assert_eq!(
            asks(&node, "/jsp/api/session", &[&cookie]).1 == id,
            known,
            "{before}"
        );
    }
}

#[test]
fn a_path_parameter_names_a_session_too() {
    let node = Node::start();
    let id = asks(&node, "/jsp/api/session", &[]).1;
    for path in [
        format!("/jsp/api/session;jsessionid={id}"),
        format!("/jsp;jsessionid={id}/api/session"),
        format!("/jsp/api/session;a=b;jsessionid={id}?x=y"),
    ] {
        assert_eq!(asks(&node, &path, &[]), (None, id.clone()), "{path}");
    }
    let path = "/jsp/api/session;jsessionid=0123456789ABCDEF0123456789ABCDEF";
    assert!(asks(&node, path, &[]).0.is_some(), "never adopted");
    let other = asks(&node, "/jsp/api/session", &[]).1;
    let path = format!("/jsp/api/session;jsessionid={id}");
    let cookie = format!("JSESSIONID={other}");
    assert_eq!(
        asks(&node, &path, &[&cookie]).1,
        other,
        "the cookie counts first"
    );
}

#[test]
fn contexts_have_their_own_cookies_and_sessions() {
    let node = Node::start();
    let jsp = node.get("/jsp/");
    let test = node.get("/test/");
    assert!(
        jsp.field("set-cookie")
            .is_some_and(|c| c.ends_with("; Path=/jsp; HttpOnly"))
    );
    let test = test.field("set-cookie").expect("its own");
    assert!(test.ends_with("; Path=/test; HttpOnly"), "{test}");
    let cookie = test.split(';').next().expect("name=value");
    let elsewhere = node.send("GET", "/jsp/", &[("Cookie", cookie)], "");
    assert!(
        elsewhere.field("set-cookie").is_some(),
        "another application's session"
    );
    let home = node.send("GET", "/test/", &[("Cookie", cookie)], "");
    assert_eq!(home.field("set-cookie"), None);
    assert_eq!(home.field("x-session-source"), Some("local"));
    assert_eq!(jsp.field("x-session-source"), Some("new"));
}

#[test]
fn a_session_is_found_without_its_route_and_the_client_told() {
    let node = Node::with(|config| config.jvm_route = "WEB1".into());
    let id = asks(&node, "/jsp/api/session", &[]).1;
    let random = id.strip_suffix(".WEB1").expect("its route");
    for sent in [
        random.to_owned(),
        format!("{random}.WEB2"),
        format!("{random}-n1.WEB1"),
    ] {
        let (set, found) = asks(&node, "/jsp/api/session", &[&format!("JSESSIONID={sent}")]);
        assert_eq!(found, id, "{sent}");
        assert_eq!(
            set,
            Some(format!("JSESSIONID={id}; Path=/jsp; HttpOnly")),
            "{sent}"
        );
    }
}

#[test]
fn an_idle_session_expires_by_the_clock() {
    let node = Node::start();
    let id = asks(&node, "/jsp/api/session", &[]).1;
    let cookie = format!("JSESSIONID={id}");
    for _ in 0..2 {
        node.clock.advance(30 * 60_000 - 1);
        assert_eq!(asks(&node, "/jsp/api/session", &[&cookie]).1, id);
    }
    node.clock.advance(30 * 60_000);
    let (set, new) = asks(&node, "/jsp/api/session", &[&cookie]);
    assert!(set.is_some() && new != id, "it expired");
    let sessions = &node.status()["contexts"][0]["sessions"];
    assert_eq!(
        (&sessions["expired"], &sessions["active"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn a_sweep_ends_what_nobody_asks_for() {
    let node = Node::with(|config| {
        config.session.sweep_interval = program::units::Duration::millis(5);
    });
    asks(&node, "/jsp/api/session", &[]);
    asks(&node, "/test/api/session", &[]);
    node.clock.advance(30 * 60_000);
    support::until("both are swept", || {
        let status = node.status();
        (0..2).all(|i| status["contexts"][i]["sessions"]["active"] == 0)
    });
}

#[test]
fn too_many_sessions_are_refused_in_words() {
    let node = Node::with(|config| config.session.max_active = 1);
    let first = asks(&node, "/jsp/api/session", &[]).1;
    let refused = node.get("/jsp/");
    assert_eq!(refused.status, 503);
    assert!(
        refused.body.contains("session.max_active"),
        "{}",
        refused.body
    );
    let refused = node.get("/jsp/api/session");
    assert_eq!(refused.status, 503);
    assert!(refused.json()["error"].is_string());
    assert_eq!(
        asks(&node, "/jsp/api/session", &[&format!("JSESSIONID={first}")]).1,
        first
    );
    assert_eq!(
        node.get("/test/").status,
        200,
        "the limit is each application's own"
    );
    assert_eq!(node.get("/jsp/get.jsp?name=k").body, "no session");
}

#[test]
fn the_cookie_is_secure_when_the_request_was() {
    let trusting = Node::with(|config| {
        config.internal_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    });
    let https = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    let reply = trusting.send("GET", "/jsp/", &https, "");
    let cookie = reply.field("set-cookie").expect("new");
    assert!(
        cookie.ends_with("; Path=/jsp; Secure; HttpOnly"),
        "{cookie}"
    );
    assert!(
        reply.body.contains("URL: https://lab:8080/jsp/"),
        "{}",
        reply.body
    );
    let plain = trusting.get("/jsp/");
    assert!(
        plain
            .field("set-cookie")
            .is_some_and(|c| !c.contains("Secure"))
    );
    let suspicious = Node::start();
    let reply = suspicious.send("GET", "/jsp/", &https, "");
    assert!(
        reply
            .field("set-cookie")
            .is_some_and(|c| !c.contains("Secure"))
    );
    assert!(
        reply.body.contains("URL: http://lab:8080/jsp/"),
        "{}",
        reply.body
    );
}

#[test]
fn every_attribute_of_the_cookie_can_be_set() {
    let node = Node::with(|config| {
        config.cookie = CookieConfig {
            name: "SID".into(),
            domain: "example.org".into(),
            path: "/".into(),
            max_age: 3600,
            http_only: false,
            secure: Secure::Always,
            same_site: SameSite::Strict,
        };
    });
    let mut browser = node.browser();
    let reply = browser.get("/jsp/");
    let expected = "; Max-Age=3600; Domain=example.org; Path=/; Secure; SameSite=Strict";
    let cookie = reply.field("set-cookie").expect("new");
    assert!(
        cookie.starts_with("SID=") && cookie.ends_with(expected),
        "{cookie}"
    );
    assert_eq!(browser.get("/jsp/").field("set-cookie"), None);
    let path = format!("/jsp/;sid={}", browser.id());
    assert_eq!(
        node.get(&path).field("set-cookie"),
        None,
        "its parameter has its name"
    );
}

#[test]
fn settings_that_would_forge_a_cookie_are_refused() {
    let with = |change: fn(&mut CookieConfig)| {
        let mut config = CookieConfig::default();
        change(&mut config);
        config.cookie("/jsp").map(drop)
    };
    assert!(with(|_| {}).is_ok());
    assert!(with(|c| c.name = "a;b".into()).is_err());
    assert!(with(|c| c.name = String::new()).is_err());
    assert!(with(|c| c.domain = "x; Path=/".into()).is_err());
    assert!(with(|c| c.path = "jsp".into()).is_err());
    assert!(with(|c| c.path = "/a\r\nX: y".into()).is_err());
}

/// Any bytes in the Cookie field: no panic, no id that is not literally there, and an id that stands alone is found.
#[test]
fn any_cookie_field_is_read_without_harm() {
    let cookie = CookieConfig::default()
        .cookie("/jsp")
        .expect("the defaults");
    let seed = START;
    let mut random = fastrand::Rng::with_seed(seed);
    let alphabet = b"JSESSIONID=; ,\"\t=.-0AF\xFF\x00n1WEB";
    for round in 0..50_000 {
        let id = SessionId {
            key: Key::from_bytes(random.u128(..).to_le_bytes()),
            suffix: Suffix::NONE,
        };
        let mut field: Vec<u8> = (0..random.usize(..40))
            .map(|_| alphabet[random.usize(..alphabet.len())])
            .collect();
        let mut expected = false;
        if random.bool() {
            field.extend_from_slice(b"; JSESSIONID=");
            field.extend_from_slice(id.to_string().as_bytes());
            expected = random.bool();
            field.extend_from_slice(if expected { b"; a=b" } else { b"x; a=b" });
        }
        let mut asked = false;
        let found: Vec<AskedId<'_>> = cookie
            .ids([field.as_slice()].into_iter(), &mut asked)
            .collect();
        let text = String::from_utf8_lossy(&field);
        for id in &found {
            assert!(
                text.contains(&id.key.to_string()),
                "seed {seed} round {round}: {text}"
            );
        }
        let is_found = found.iter().any(|f| id.is(f));
        assert_eq!(is_found, expected, "seed {seed} round {round}: {text}");
        assert!(asked || found.is_empty());
    }
}
