//! The JSON contract of the README, call by call, over a socket.

mod support;

use serde_json::{Value as Json, json};
use support::{Browser, Node, START};

#[test]
fn every_call_answers_as_the_contract_says() {
    let node = Node::with(|config| config.jvm_route = "WEB1".into());
    let mut browser = node.browser();

    let none = browser.get("/jsp/api/get?name=k");
    assert_eq!(
        none.json(),
        json!({"node": "TomcatA", "session": null, "name": "k", "value": null})
    );
    assert_eq!(none.field("content-type"), Some("application/json"));
    assert_eq!(none.field("cache-control"), Some("no-store"));
    assert_eq!(browser.cookie, None);

    let session = browser.get("/jsp/api/session").json();
    let id = browser.id().to_owned();
    assert!(id.ends_with(".WEB1"));
    assert_eq!(
        session,
        json!({
            "node": "TomcatA",
            "session": {"id": id, "is_new": true, "created": START, "last_accessed": START, "max_inactive": 1800},
            "attributes": {},
        })
    );

    node.clock.advance(7);
    let known = json!({"id": id, "is_new": false, "created": START, "last_accessed": START, "max_inactive": 1800});
    let set = browser.get("/jsp/api/set?name=k&value=v%20w").json();
    assert_eq!(
        set,
        json!({"node": "TomcatA", "session": known, "name": "k", "value": "v w"})
    );
    let get = browser.get("/jsp/api/get?name=k").json();
    assert_eq!(get["value"], "v w");
    assert_eq!(
        get["session"]["last_accessed"],
        START + 7,
        "the end of the previous request"
    );

    assert_eq!(
        browser.post("/jsp/api/append?name=list&value=a", "").json()["value"],
        json!(["a"])
    );
    assert_eq!(
        browser.post("/jsp/api/append?name=list&value=b", "").json()["value"],
        json!(["a", "b"])
    );
    assert_eq!(
        browser.get("/jsp/api/get?name=list").json()["value"],
        json!(["a", "b"])
    );
    assert_eq!(browser.post("/jsp/api/count", "").json()["value"], 1);
    let count = browser.get("/jsp/api/count").json();
    assert_eq!(
        (&count["name"], &count["value"]),
        (&"count".into(), &2.into())
    );

    let login = browser.post("/jsp/api/login?user=bob", "").json();
    assert_ne!(browser.id(), id);
    assert_eq!(login["session"]["id"], browser.id());
    assert_eq!(login["value"], "bob");
    let attributes = browser.get("/jsp/api/session").json()["attributes"].clone();
    assert_eq!(
        attributes,
        json!({"k": "v w", "list": ["a", "b"], "count": 2, "user": "bob"})
    );

    let mut before = browser.clone();
    let logout = browser.post("/jsp/api/logout", "").json();
    assert_eq!(logout, json!({"node": "TomcatA", "session": null}));
    assert_eq!(
        before.get("/jsp/api/get?name=k").json()["session"],
        Json::Null
    );
}

#[test]
fn a_form_serves_as_well_as_a_query() {
    let node = Node::start();
    let mut browser = node.browser();
    let set = browser.post("/jsp/api/set", "name=k&value=a%2Bb+c").json();
    assert_eq!(set["value"], "a+b c");
    let first = browser
        .post("/jsp/api/set?name=query", "name=form&value=v")
        .json();
    assert_eq!(first["name"], "query", "the query counts first");
}

#[test]
fn a_first_login_needs_no_second_id() {
    let node = Node::start();
    let mut browser = node.browser();
    let login = browser.get("/jsp/api/login?user=bob").json();
    assert_eq!(login["session"]["is_new"], true);
    assert_eq!(login["session"]["id"], browser.id());
    assert_eq!(node.status()["contexts"][0]["sessions"]["renamed"], 0);
}

#[test]
fn what_cannot_be_done_is_said() {
    let node = Node::start();
    let mut browser = node.browser();
    browser.get("/jsp/api/set?name=text&value=t");
    let long_name = format!("/jsp/api/set?name={}&value=v", "n".repeat(256));
    for (path, words) in [
        ("/jsp/api/get", "`name` is missing"),
        ("/jsp/api/set?name=k", "`value` is missing"),
        ("/jsp/api/append?value=v", "`name` is missing"),
        ("/jsp/api/login", "`user` is missing"),
        ("/jsp/api/slow", "`ms` is missing"),
        ("/jsp/api/slow?ms=-1", "is no wait"),
        ("/jsp/api/slow?ms=60001", "slow_max"),
        ("/jsp/api/slow?ms=1&name=k", "`value` is missing"),
        ("/jsp/api/append?name=text&value=v", "is text, not a list"),
        ("/jsp/api/set?name=&value=v", "an attribute name has"),
        (&long_name, "not 256"),
    ] {
        let reply = browser.get(path);
        assert_eq!(reply.status, 400, "{path}");
        let error = reply.json()["error"].as_str().expect(path).to_owned();
        assert!(error.contains(words), "{path}: {error}");
    }
    browser.get("/jsp/api/set?name=count&value=many");
    assert_eq!(browser.get("/jsp/api/count").status, 400);
    assert_eq!(browser.get("/jsp/api/nothing").status, 404);
    assert_eq!(node.send("DELETE", "/jsp/api/set", &[], "").status, 405);
    let large = format!("name=k&value={}", "x".repeat(70_000));
    assert_eq!(browser.post("/jsp/api/set", &large).status, 400);
    assert_eq!(
        browser.get("/jsp/api/get?name=text").json()["value"],
        "t",
        "nothing was harmed"
    );
}

#[test]
fn a_session_has_a_limit() {
    let node = Node::with(|config| config.max_post_size = program::units::Size(2 << 20));
    let mut browser = node.browser();
    let half = "x".repeat(600 << 10);
    assert_eq!(
        browser
            .post("/jsp/api/set", &format!("name=a&value={half}"))
            .status,
        200
    );
    let refused = browser.post("/jsp/api/set", &format!("name=b&value={half}"));
    assert_eq!(refused.status, 400);
    assert!(
        refused.body.contains("the limit is 1048576"),
        "{}",
        refused.body
    );
}

#[test]
fn parallel_requests_lose_no_update() {
    const CLIENTS: usize = 8;
    const STEPS: usize = 50;
    let node = Node::start();
    let mut browser = node.browser();
    browser.get("/jsp/api/session");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let mut browser = browser.clone();
            std::thread::spawn(move || {
                for step in 0..STEPS {
                    assert_eq!(browser.get("/jsp/api/count").status, 200);
                    let path = format!("/jsp/api/append?name=list&value={client}-{step}");
                    assert_eq!(browser.get(&path).status, 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("all answered");
    }
    let attributes = browser.get("/jsp/api/session").json()["attributes"].clone();
    assert_eq!(attributes["count"], CLIENTS * STEPS);
    assert_eq!(
        attributes["list"].as_array().map(Vec::len),
        Some(CLIENTS * STEPS)
    );
}

#[test]
fn a_slow_request_keeps_what_others_changed_and_cannot_undo_a_logout() {
    let node = Node::start();
    let mut browser = node.browser();
    browser.get("/jsp/api/session");
    let slow = |browser: &Browser| {
        let mut browser = browser.clone();
        std::thread::spawn(move || browser.get("/jsp/api/slow?ms=200&name=mine&value=late"))
    };
    let first = slow(&browser);
    browser.get("/jsp/api/set?name=yours&value=early");
    assert_eq!(first.join().expect("answered").status, 200);
    let attributes = browser.get("/jsp/api/session").json()["attributes"].clone();
    assert_eq!(attributes, json!({"mine": "late", "yours": "early"}));

    // The log out must come while the slow request holds the session; where it was too early, once more.
    for _ in 0..50 {
        let mut browser = node.browser();
        browser.get("/jsp/api/session");
        let open = node.status()["connections"].as_u64();
        let second = slow(&browser);
        support::until("the slow request is there", || {
            node.status()["connections"].as_u64() > open
        });
        let cookie = browser.cookie.clone();
        browser.get("/jsp/api/logout");
        let late = second.join().expect("answered");
        browser.cookie = cookie;
        let session = browser.get("/jsp/api/get?name=mine").json()["session"].clone();
        assert_eq!(session, Json::Null, "it came back");
        if late.status == 409 {
            let error = late.json()["error"].to_string();
            assert!(error.contains("was ended"), "{error}");
            return;
        }
    }
    panic!("the slow request never held the session");
}
