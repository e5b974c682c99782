//! The admin port in the modes msm and msm_sticky: which nodes answer, and the switch `enabled`.

mod support;

use appserver::config::Mode;
use appserver::manager::msm::settings::{MemcachedProtocol, Secret};
use serde_json::json;
use support::store::{Kind, LOGIN, Store};
use support::{Browser, Node, Reply};

fn server(mode: Mode, stores: &[&Store], protocol: MemcachedProtocol) -> Node {
    let nodes: Vec<String> = stores
        .iter()
        .zip(1..)
        .map(|(store, number)| format!("n{number}:{}", store.address))
        .collect();
    Node::with(|config| {
        config.mode = mode;
        config.msm.memcached_nodes = nodes.join(",").parse().expect("nodes");
        config.msm.memcached_protocol = protocol;
        if protocol == MemcachedProtocol::Binary {
            config.msm.username = LOGIN.0.into();
            config.msm.password = Secret(LOGIN.1.into());
        }
        // A busy machine is not a dead node.
        config.msm.session_backup_timeout = 10_000;
        config.msm.operation_timeout = 10_000;
    })
}

fn ask(node: &Node, path: &str) -> Reply {
    support::send(node.admin, "GET", path, &[], "")
}

fn switch(node: &Node, body: &str) -> Reply {
    support::send(node.admin, "PUT", "/msm/enabled", &[], body)
}

fn value(browser: &mut Browser, name: &str) -> String {
    browser.get(&format!("/jsp/get.jsp?name={name}")).body
}

fn set(browser: &mut Browser, value: &str) {
    let reply = browser.get(&format!("/jsp/set.jsp?name=k&value={value}"));
    assert_eq!(reply.status, 200);
}

#[test]
fn a_sticky_server_does_without_its_nodes_while_they_are_switched_off() {
    let stores = [Store::sessiond(), Store::sessiond()];
    let stores = [&stores[0], &stores[1]];
    let server_of = |_| server(Mode::MsmSticky, &stores, MemcachedProtocol::Text);
    let [a, b] = [0, 1].map(server_of);
    assert_eq!(ask(&a, "/msm/enabled").body, "true");
    let mut browser = a.browser();
    set(&mut browser, "stored");

    let off = switch(&a, "false");
    assert_eq!((off.status, &off.body[..]), (200, "false"));
    assert_eq!(ask(&a, "/msm/enabled").body, "false");
    set(&mut browser, "here-only");
    let mut other = a.browser();
    set(&mut other, "v");
    assert!(!other.id().contains('-'), "{} names no node", other.id());
    assert_eq!(value(&mut other, "k"), "v");
    let on_b = |browser: &Browser| Browser {
        address: b.address,
        ..browser.clone()
    };
    assert_eq!(value(&mut on_b(&browser), "k"), "stored");
    assert_eq!(ask(&b, "/msm/enabled").body, "true", "its own switch");

    let on = switch(&a, "true\n");
    assert_eq!((on.status, &on.body[..]), (200, "true"));
    a.clock.advance(2000);
    // The next request stores what was not stored, and gives the other session a node.
    assert_eq!(value(&mut browser, "k"), "here-only");
    assert_eq!(value(&mut other, "k"), "v");
    assert!(other.id().contains("-n"), "{}", other.id());
    let c = server(Mode::MsmSticky, &stores, MemcachedProtocol::Text);
    for (browser, expected) in [(&browser, "here-only"), (&other, "v")] {
        let mut there = Browser {
            address: c.address,
            ..browser.clone()
        };
        assert_eq!(value(&mut there, "k"), expected);
    }

    for wrong in ["", "yes", "true false", &"true".repeat(100)] {
        let status = switch(&a, wrong).status;
        assert!([400, 413].contains(&status), "{wrong}: {status}");
    }
    assert_eq!(ask(&a, "/msm/enabled").body, "true");
}

#[test]
fn without_sticky_sessions_there_is_nothing_to_switch_off() {
    let store = Store::sessiond();
    let node = server(Mode::Msm, &[&store], MemcachedProtocol::Text);
    let refused = switch(&node, "false");
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("sticky = true"), "{}", refused.body);
    assert_eq!(ask(&node, "/msm/enabled").body, "true");
    let standard = Node::start();
    assert_eq!(ask(&standard, "/msm/enabled").status, 404);
}

#[test]
fn which_nodes_answer() {
    let stores = [Store::sessiond(), Store::sessiond()];
    let node = server(
        Mode::Msm,
        &[&stores[0], &stores[1]],
        MemcachedProtocol::Text,
    );
    let all_well = json!([{"node": "n1", "answers": true}, {"node": "n2", "answers": true}]);
    assert_eq!(ask(&node, "/msm/nodes").json(), all_well);
    let [first, mut second] = stores;
    second.kill();
    let answer = ask(&node, "/msm/nodes").json();
    assert_eq!(answer[0], all_well[0]);
    assert_eq!(answer[1]["answers"], false);
    assert!(answer[1]["error"].is_string(), "{answer}");
    drop(first);
}

#[test]
fn sessions_in_guarded_nodes() {
    for kind in [Kind::Sessiond, Kind::Memcached] {
        let Some(store) = Store::guarded(kind) else {
            continue;
        };
        let server_of = |_| server(Mode::Msm, &[&store], MemcachedProtocol::Binary);
        let [a, b] = [0, 1].map(server_of);
        let mut browser = a.browser();
        set(&mut browser, "v");
        let mut there = Browser {
            address: b.address,
            ..browser.clone()
        };
        assert_eq!(value(&mut there, "k"), "v", "{kind:?}");
        let well = json!([{"node": "n1", "answers": true}]);
        assert_eq!(ask(&b, "/msm/nodes").json(), well);
        browser.get("/jsp/api/logout");
        assert_eq!(value(&mut there, "k"), "no session");
    }
}
