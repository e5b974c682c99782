//! The modes msm and msm_sticky with real nodes: two servers, two stores, over HTTP; on our store and on the real memcached.

mod support;

use appserver::config::Mode;
use support::store::{Kind, Store};
use support::{Browser, Node};

/// Longer than an opinion about a node holds.
const OPINION_MILLIS: u64 = 1500;

/// Two stores, called n1 and n2.
fn stores(kind: Kind) -> Option<[Store; 2]> {
    Some([Store::start(kind)?, Store::start(kind)?])
}

/// A server with these stores.
fn server(mode: Mode, route: &str, stores: &[Store; 2], later: bool) -> Node {
    let [n1, n2] = stores.each_ref().map(|store| store.address);
    let nodes = format!("n1:{n1},n2:{n2}").parse().expect("nodes");
    Node::with(|config| {
        config.mode = mode;
        config.jvm_route = route.into();
        config.msm.memcached_nodes = nodes;
        config.msm.session_backup_async = later;
        // A busy machine is not a dead node.
        config.msm.session_backup_timeout = 10_000;
        config.msm.operation_timeout = 10_000;
    })
}

fn servers(mode: Mode, stores: &[Store; 2]) -> [Node; 2] {
    ["WEB1", "WEB2"].map(|route| server(mode, route, stores, false))
}

/// The same browser at another server.
fn at(node: &Node, browser: &Browser) -> Browser {
    Browser {
        cookie: browser.cookie.clone(),
        ..node.browser()
    }
}

fn value(browser: &mut Browser, name: &str) -> String {
    browser.get(&format!("/jsp/get.jsp?name={name}")).body
}

fn set(browser: &mut Browser, name: &str, value: &str) {
    let reply = browser.get(&format!("/jsp/set.jsp?name={name}&value={value}"));
    assert_eq!(reply.status, 200);
}

/// Which of n1 and n2 the id names.
fn place(browser: &Browser) -> usize {
    let id = browser.id();
    let node = id.split_once('-').expect(id).1;
    match node.split('.').next() {
        Some("n1") => 0,
        Some("n2") => 1,
        _ => panic!("{id}"),
    }
}

fn in_memory(node: &Node) -> u64 {
    let active = &node.status()["contexts"][0]["sessions"]["active"];
    active.as_u64().expect("a number")
}

fn each_store(test: impl Fn(Kind)) {
    test(Kind::Sessiond);
    test(Kind::Memcached);
}

#[test]
fn every_server_serves_every_session_and_keeps_none() {
    each_store(|kind| {
        let Some(stores) = stores(kind) else { return };
        let [a, b] = servers(Mode::Msm, &stores);
        let mut on_a = a.browser();
        let page = on_a.get("/jsp/");
        assert!(page.body.contains(on_a.id()), "the page shows the id");
        assert!(on_a.id().ends_with(".WEB1"));
        place(&on_a);
        let mut on_b = at(&b, &on_a);
        assert_eq!(value(&mut on_b, "Blog"), "MeXP");
        assert_eq!(on_b.id(), on_a.id());
        for round in 0..5 {
            let (first, second) = (format!("a{round}"), format!("b{round}"));
            set(&mut on_a, "k", &first);
            assert_eq!(value(&mut on_b, "k"), first);
            set(&mut on_b, "k", &second);
            assert_eq!(value(&mut on_a, "k"), second);
        }
        for expected in (1..20).step_by(2) {
            let count = |browser: &mut Browser| browser.get("/jsp/api/count").json();
            assert_eq!(count(&mut on_a)["value"], expected);
            let answer = count(&mut on_b);
            assert_eq!(answer["value"], expected + 1);
            assert_eq!(answer["session"]["id"], on_a.id());
        }
        assert_eq!((in_memory(&a), in_memory(&b)), (0, 0));

        let old = on_a.clone();
        on_a.get("/jsp/api/login?user=somebody");
        assert_ne!(on_a.id(), old.id());
        assert_eq!(value(&mut at(&b, &on_a), "user"), "somebody");
        assert_eq!(value(&mut at(&b, &old), "user"), "no session");
        at(&b, &on_a).get("/jsp/api/logout");
        assert_eq!(value(&mut on_a, "user"), "no session");
        let figures = &b.status()["contexts"][0]["sessions"];
        assert_eq!(figures["manager"], "msm");
        assert_eq!(figures["nodes"][0]["node"], "n1");
        assert!(figures["nodes"][0]["commands"].as_u64() > Some(10));
    });
}

#[test]
fn a_dead_node_loses_no_session_whichever_it_is_and_whoever_is_asked_first() {
    each_store(|kind| {
        for (kill_primary, a_first) in [(true, true), (true, false), (false, true), (false, false)]
        {
            let Some(mut stores) = stores(kind) else {
                return;
            };
            let [a, b] = servers(Mode::Msm, &stores);
            let mut browser = a.browser();
            set(&mut browser, "k", "kept");
            assert_eq!(value(&mut at(&b, &browser), "k"), "kept");
            let primary = place(&browser);
            let dead = if kill_primary { primary } else { 1 - primary };
            stores[dead].kill();
            for node in [&a, &b] {
                node.clock.advance(OPINION_MILLIS);
            }
            let order = if a_first { [&a, &b] } else { [&b, &a] };
            for (turn, node) in order.into_iter().enumerate() {
                let mut there = at(node, &browser);
                let seen = value(&mut there, "k");
                assert_eq!(
                    seen,
                    ["kept", "changed"][turn],
                    "{kind:?} {kill_primary} {a_first}"
                );
                assert_eq!(place(&there), 1 - dead);
                set(&mut there, "k", "changed");
                browser = there;
            }
        }
    });
}

#[test]
fn sticky_sessions_survive_their_server_and_their_node() {
    each_store(|kind| {
        let Some(mut stores) = stores(kind) else {
            return;
        };
        let [a, b] = servers(Mode::MsmSticky, &stores);
        let mut browser = a.browser();
        set(&mut browser, "k", "first");
        set(&mut browser, "k", "second");
        assert_eq!(in_memory(&a), 1);
        assert!(browser.id().ends_with(".WEB1"));
        let primary = place(&browser);

        a.stop();
        a.join();
        let mut on_b = at(&b, &browser);
        assert_eq!(value(&mut on_b, "k"), "second");
        assert!(on_b.id().ends_with(".WEB2"), "{}", on_b.id());
        assert_eq!(place(&on_b), primary);

        stores[primary].kill();
        b.clock.advance(OPINION_MILLIS);
        assert_eq!(value(&mut on_b, "k"), "second");
        assert_eq!(place(&on_b), 1 - primary);
        let c = server(Mode::MsmSticky, "WEB3", &stores, false);
        assert_eq!(value(&mut at(&c, &on_b), "k"), "second");
    });
}

#[test]
fn without_any_node_pages_are_served_and_sessions_are_not_kept() {
    let mut stores = stores(Kind::Sessiond).expect("ours");
    let a = server(Mode::Msm, "", &stores, false);
    let mut browser = a.browser();
    set(&mut browser, "k", "v");
    for store in &mut stores {
        store.kill();
    }
    a.clock.advance(OPINION_MILLIS);
    assert_eq!(value(&mut browser, "k"), "no session");
    set(&mut browser, "k", "v");
    assert!(!browser.id().contains('-'), "{}", browser.id());
    assert_eq!(in_memory(&a), 0);
}

#[test]
fn what_is_stored_behind_responses_is_there_when_the_server_has_ended() {
    let stores = stores(Kind::Sessiond).expect("ours");
    let a = server(Mode::Msm, "WEB1", &stores, true);
    let mut browsers: Vec<Browser> = (0..8).map(|_| a.browser()).collect();
    for (i, browser) in browsers.iter_mut().enumerate() {
        for round in 0..5 {
            set(browser, "k", &format!("{i}-{round}"));
        }
    }
    a.stop();
    a.join();
    let b = server(Mode::Msm, "WEB2", &stores, false);
    for (i, browser) in browsers.iter().enumerate() {
        assert_eq!(value(&mut at(&b, browser), "k"), format!("{i}-4"));
    }
}

#[test]
fn metrics_tell_of_the_nodes() {
    let stores = stores(Kind::Sessiond).expect("ours");
    let a = server(Mode::Msm, "", &stores, false);
    a.get("/jsp/");
    let metrics = support::send(a.admin, "GET", "/metrics", &[], "").body;
    for line in [
        "# TYPE lnmt_appserver_store_commands counter",
        "lnmt_appserver_store_failed_commands_total{store=\"n1\"} 0",
        "lnmt_appserver_store_failed_commands_total{store=\"n2\"} 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}:\n{metrics}");
    }
}
