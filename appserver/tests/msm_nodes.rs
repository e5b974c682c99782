//! The modes msm and msm_sticky with real nodes: two servers, two stores, over HTTP; on our store and on the real memcached.

mod support;

use appserver::config::Mode;
use appserver::manager::msm::pattern::Pattern;
use appserver::manager::msm::settings::Behaviour;
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
    behaving(Behaviour::Safe, mode, route, stores, later)
}

fn behaving(
    behaviour: Behaviour,
    mode: Mode,
    route: &str,
    stores: &[Store; 2],
    later: bool,
) -> Node {
    let [n1, n2] = stores.each_ref().map(|store| store.address);
    let nodes = format!("n1:{n1},n2:{n2}").parse().expect("nodes");
    Node::with(|config| {
        config.mode = mode;
        config.jvm_route = route.into();
        config.msm.memcached_nodes = nodes;
        config.msm.session_backup_async = later;
        config.msm.behaviour = behaviour;
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
    for behaviour in [Behaviour::Msm, Behaviour::Safe] {
        each_store(|kind| a_dead_node_loses_no_session(behaviour, kind));
    }
}

fn a_dead_node_loses_no_session(behaviour: Behaviour, kind: Kind) {
    {
        for (kill_primary, a_first) in [(true, true), (true, false), (false, true), (false, false)]
        {
            let Some(mut stores) = stores(kind) else {
                return;
            };
            let [a, b] =
                ["WEB1", "WEB2"].map(|route| behaving(behaviour, Mode::Msm, route, &stores, false));
            let mut browser = a.browser();
            set(&mut browser, "k", "kept");
            assert_eq!(value(&mut at(&b, &browser), "k"), "kept");
            let primary = place(&browser);
            let dead = if kill_primary { primary } else { 1 - primary };
            stores[dead].kill();
            if behaviour == Behaviour::Msm {
                for node in [&a, &b] {
                    node.clock.advance(OPINION_MILLIS);
                }
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
                let moved = behaviour == Behaviour::Msm && kill_primary;
                assert_eq!(place(&there), if moved { 1 - dead } else { primary });
                set(&mut there, "k", "changed");
                browser = there;
            }
        }
    }
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
        // The first store that fails tells, or the background does.
        set(&mut on_b, "k", "third");
        assert_eq!(value(&mut on_b, "k"), "third");
        assert_eq!(place(&on_b), 1 - primary);
        let c = server(Mode::MsmSticky, "WEB3", &stores, false);
        assert_eq!(value(&mut at(&c, &on_b), "k"), "third");
    });
}

#[test]
fn without_any_node_msm_keeps_nothing_and_safe_says_so() {
    for behaviour in [Behaviour::Msm, Behaviour::Safe] {
        let mut stores = stores(Kind::Sessiond).expect("ours");
        let a = behaving(behaviour, Mode::Msm, "", &stores, false);
        let mut browser = a.browser();
        set(&mut browser, "k", "v");
        let id = browser.id().to_owned();
        for store in &mut stores {
            store.kill();
        }
        a.clock.advance(OPINION_MILLIS);
        let page = "/jsp/set.jsp?name=k&value=w";
        if behaviour == Behaviour::Msm {
            assert_eq!(value(&mut browser, "k"), "no session");
            set(&mut browser, "k", "v");
            assert!(!browser.id().contains('-'), "{}", browser.id());
        } else {
            for page in ["/jsp/get.jsp?name=k", page] {
                let refused = browser.get(page);
                assert_eq!(refused.status, 503);
                assert!(refused.body.contains("no node"), "{}", refused.body);
            }
            assert_eq!(browser.id(), id, "the cookie stays");
            let mut new = a.browser();
            assert_eq!(new.get(page).status, 503);
            assert_eq!(new.cookie, None);
        }
        assert_eq!(in_memory(&a), 0);
    }
}

#[test]
fn ignored_requests_read_and_hand_out_no_cookie() {
    let stores = stores(Kind::Sessiond).expect("ours");
    let a = Node::with(|config| {
        let [n1, n2] = stores.each_ref().map(|store| store.address);
        config.mode = Mode::Msm;
        config.msm.memcached_nodes = format!("n1:{n1},n2:{n2}").parse().expect("nodes");
        config.msm.request_uri_ignore_pattern = Pattern::new("/(set|get).jsp").expect("valid");
    });
    let mut browser = a.browser();
    browser.get("/jsp/");
    let known = browser.clone();
    assert_eq!(value(&mut browser, "Blog"), "MeXP");
    set(&mut browser, "Blog", "changed");
    assert_eq!(value(&mut browser, "Blog"), "MeXP", "nothing is stored");
    assert_eq!(browser.cookie, known.cookie);
    let mut stranger = a.browser();
    set(&mut stranger, "k", "v");
    assert_eq!(
        stranger.cookie, None,
        "it would name a session that is nowhere"
    );
    assert_eq!(in_memory(&a), 0);
}

/// How many sets and adds a store was sent.
fn stored(store: &Store) -> u64 {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = std::net::TcpStream::connect(store.address).expect("it listens");
    stream.write_all(b"stats\r\n").expect("it reads");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let line = lines.find_map(|line| line.strip_prefix("STAT cmd_set ").map(str::to_owned));
    line.and_then(|count| count.parse().ok()).expect("a count")
}

#[test]
fn a_request_that_asks_for_no_session_prolongs_it_in_msm_and_costs_nothing_in_safe() {
    for (behaviour, asked) in [(Behaviour::Msm, 4), (Behaviour::Safe, 0)] {
        let stores = stores(Kind::Sessiond).expect("ours");
        let a = behaving(behaviour, Mode::Msm, "", &stores, false);
        let mut browser = a.browser();
        set(&mut browser, "k", "v");
        let before: u64 = stores.iter().map(stored).sum();
        assert_eq!(browser.get("/jsp/no-such-page").status, 404);
        let after: u64 = stores.iter().map(stored).sum();
        assert_eq!(after - before, asked, "{behaviour:?}");
    }
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
        "lnmt_appserver_store_down{store=\"n1\"} 0",
        "lnmt_appserver_store_merges_total{context=\"/jsp\"} 0",
        "lnmt_appserver_dirty_sessions{context=\"/jsp\"} 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}:\n{metrics}");
    }
}
