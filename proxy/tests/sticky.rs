//! `session_sticky`: which peer a cookie leads to, and what the client and the peer get to see.

mod support;

use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use proxy::balance::{Attempt, Method, NoPeer};
use proxy::binding::{Binding, Reply};
use proxy::site::Site;
use proxy::upstream::RunState;
use support::{Client, site, try_site};

/// Two peers, TomcatA and TomcatB, bound by a cookie with these settings.
fn sticky(settings: &str) -> Site {
    site(&text(settings))
}

fn text(settings: &str) -> String {
    format!(
        "upstream = [\"127.0.0.1:19001 id=TomcatA\", \"127.0.0.1:19002 id=TomcatB\"]\nbalance = \"session_sticky\"\n[sticky]\n{settings}\n"
    )
}

/// A visit: what was chosen, what the peer saw as cookies, what the client got as cookies.
#[derive(Debug, PartialEq)]
struct Visit {
    route: String,
    seen: Vec<String>,
    set: Vec<String>,
    bound: bool,
}

struct Browser {
    client: Client,
    secure: bool,
}

impl Browser {
    fn new(site: &Site) -> Self {
        Self {
            client: Client::new(site),
            secure: false,
        }
    }

    /// Sends these cookies; the application answers with those.
    fn visit(&mut self, cookies: &[&str], application: &[&str]) -> Visit {
        self.client.headers = fields(COOKIE, cookies);
        let mut attempt = Attempt::default();
        let choice = self.client.choose(&mut attempt);
        let upstream = self.client.balancer.upstream().clone();
        let Method::Bound(binding) = &upstream.method else {
            panic!("not a method that binds");
        };
        let mut request = self.client.headers.clone();
        binding.edit_request(&mut request);
        let mut response = fields(SET_COOKIE, application);
        let reply = Reply {
            secure: self.secure,
            unix: self.client.unix,
            now: self.client.now,
        };
        let bound = choice.is_ok() && binding.edit_response(&attempt, reply, &mut response);
        Visit {
            route: match choice {
                Ok(choice) => format!("{} {}", choice.peer, choice.reason.as_str()),
                Err(NoPeer::BoundPeerDown) => "strict".into(),
                Err(NoPeer::NoneLive) => "none".into(),
            },
            seen: lines(&request, COOKIE),
            set: lines(&response, SET_COOKIE),
            bound,
        }
    }

    /// The pair `name=value` that a first visit sets.
    fn first(&mut self) -> String {
        let visit = self.visit(&[], &[]);
        assert_eq!((visit.set.len(), visit.bound), (1, true), "{visit:?}");
        pair(&visit.set[0]).to_owned()
    }

    fn route(&mut self, cookie: &str) -> String {
        self.visit(&[cookie], &[]).route
    }
}

fn fields(name: http::HeaderName, lines: &[&str]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        fields.append(&name, HeaderValue::from_str(line).expect("a value"));
    }
    fields
}

fn lines(fields: &HeaderMap, name: http::HeaderName) -> Vec<String> {
    let all = fields.get_all(name);
    all.iter()
        .map(|line| line.to_str().expect("text").to_owned())
        .collect()
}

fn pair(set_cookie: &str) -> &str {
    set_cookie.split(';').next().expect("a pair")
}

const MD5_A: &str = "9f23fdfb4b98c8f845ae04e3662871ac";
const MD5_B: &str = "50f4ff1c54620e48bc864a4bdfd90a7d";

#[test]
fn a_visitor_stays_and_gets_the_cookie_once() {
    let site = sticky("");
    let mut browser = Browser::new(&site);
    let cookie = browser.first();
    assert!(cookie.starts_with("route=TomcatA."), "{cookie}");
    assert!(!cookie.contains("127.0.0.1"), "no address leaves the house");
    for _ in 0..3 {
        let visit = browser.visit(&[&cookie], &[]);
        assert_eq!((visit.route.as_str(), visit.bound), ("0 cookie", false));
        assert_eq!(visit.set, Vec::<String>::new());
        assert_eq!(visit.seen, [cookie.as_str()], "option=direct");
    }
    assert_eq!(
        browser.visit(&[], &[]).route,
        "1 new",
        "round robin goes on"
    );
}

#[test]
fn attributes() {
    for (settings, secure, attributes) in [
        ("", false, "; Path=/; HttpOnly; SameSite=Lax"),
        ("", true, "; Path=/; HttpOnly; SameSite=Lax; Secure"),
        ("secure = \"off\"", true, "; Path=/; HttpOnly; SameSite=Lax"),
        (
            "secure = \"on\"",
            false,
            "; Path=/; HttpOnly; SameSite=Lax; Secure",
        ),
        (
            "samesite = \"none\"",
            true,
            "; Path=/; HttpOnly; SameSite=None; Secure",
        ),
        ("samesite = \"none\"", false, "; Path=/; HttpOnly"),
        ("samesite = \"off\"\nhttponly = false", false, "; Path=/"),
        (
            "domain = \"example.org\"\npath = \"/jsp/\"\nmaxage = \"1h\"\nsamesite = \"strict\"",
            false,
            "; Domain=example.org; Path=/jsp/; Max-Age=3600; HttpOnly; SameSite=Strict",
        ),
        (
            "maxage = 60\nmaxidle = 60",
            false,
            "; Path=/; HttpOnly; SameSite=Lax",
        ),
    ] {
        let mut browser = Browser::new(&sticky(settings));
        browser.secure = secure;
        let set = &browser.visit(&[], &[]).set[0];
        let (_, seen) = set.split_once(';').expect("attributes");
        assert_eq!(format!(";{seen}"), attributes, "{settings}");
    }
}

#[test]
fn values_of_tengine() {
    for (hash, first, second) in [("md5", MD5_A, MD5_B), ("plain", "TomcatA", "TomcatB")] {
        let mut browser = Browser::new(&sticky(&format!("hash = \"{hash}\"")));
        assert_eq!(browser.first(), format!("route={first}"));
        assert_eq!(browser.route(&format!("route={second}")), "1 cookie");
    }
    let plain = "upstream = [\"127.0.0.1:19001\"]\nbalance = \"session_sticky\"\n[sticky]\nhash = \"plain\"";
    assert_eq!(Browser::new(&site(plain)).first(), "route=127.0.0.1:19001");
    let article = "upstream = [\"192.168.23.90:8080\", \"192.168.23.91:8080\"]\nbalance = \"session_sticky\"\n[sticky]\nhash = \"md5\"";
    let mut browser = Browser::new(&site(article));
    assert_eq!(browser.first(), "route=8a18e03a736dc4a7e2e9efec84721dc6");
    assert_eq!(browser.first(), "route=0deca564d802e853a67e4a42b8768cd3");
}

#[test]
fn a_site_changes_over_from_tengine_without_unbinding_anybody() {
    let mut browser = Browser::new(&sticky("accept = [\"md5\", \"plain\"]"));
    for (old, route) in [(MD5_B, "1 cookie"), ("TomcatA", "0 cookie")] {
        let visit = browser.visit(&[&format!("route={old}")], &[]);
        assert_eq!((visit.route.as_str(), visit.bound), (route, false));
        assert_eq!(visit.set.len(), 1, "the cookie is replaced by a signed one");
        assert_eq!(browser.route(pair(&visit.set[0])), route);
    }
    let mut strict = Browser::new(&sticky(""));
    assert_eq!(
        strict.route(&format!("route={MD5_B}")),
        "0 fallback:unknown"
    );
}

#[test]
fn what_is_no_valid_cookie_is_none() {
    let site = sticky("");
    let good = Browser::new(&site).first();
    let value = good.strip_prefix("route=").expect("a value");
    let (node, mac) = value.split_once('.').expect("two parts");
    for (cookies, route) in [
        (vec![format!("route={value}")], "0 cookie"),
        (vec![format!("route=\"{value}\"")], "0 cookie"),
        (vec![format!("a=b; route={value}; c=d")], "0 cookie"),
        (vec![format!("route=gone.{mac}; route={value}")], "0 cookie"),
        (vec!["a=b".into(), format!("route={value}")], "0 cookie"),
        (vec!["route=".into()], "0 new"),
        (vec![format!("xroute={value}")], "0 new"),
        (vec![format!("routex={value}")], "0 new"),
        (vec![format!("Route={value}")], "0 new"),
        (vec![format!("route=TomcatB.{mac}")], "0 fallback:unknown"),
        (vec![format!("route={node}")], "0 fallback:unknown"),
        (
            vec![format!("route={}", value.to_lowercase())],
            "0 fallback:unknown",
        ),
        (vec![format!("route={value}x")], "0 fallback:unknown"),
        (vec!["route=../../etc".into()], "0 fallback:unknown"),
        (
            vec![format!("route={node}.1.2.{mac}")],
            "0 fallback:unknown",
        ),
    ] {
        let mut browser = Browser::new(&site);
        let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
        let visit = browser.visit(&cookies, &[]);
        assert_eq!(visit.route, route, "{cookies:?}");
        assert_eq!(visit.set.is_empty(), route == "0 cookie", "{cookies:?}");
    }
}

#[test]
fn idle_and_life_limits() {
    let site = sticky("maxidle = 100\nmaxlife = 1000");
    let mut browser = Browser::new(&site);
    let mut cookie = browser.first();
    browser.client.wait(Duration::from_secs(49));
    assert_eq!(
        browser.visit(&[&cookie], &[]).set,
        Vec::<String>::new(),
        "before half of maxidle"
    );
    browser.client.wait(Duration::from_secs(1));
    let renewed = browser.visit(&[&cookie], &[]);
    assert_eq!((renewed.route.as_str(), renewed.bound), ("0 cookie", false));
    assert_eq!(renewed.set.len(), 1, "at half of maxidle");
    browser.client.wait(Duration::from_secs(51));
    assert_eq!(browser.route(&cookie), "1 new", "the old one is too old");
    let visit = browser.visit(&[pair(&renewed.set[0])], &[]);
    assert_eq!(visit.route, "0 cookie", "the new one is not");
    cookie = pair(&visit.set[0]).to_owned();
    // Renewed for ever, it ends with maxlife all the same.
    for _ in 0..17 {
        browser.client.wait(Duration::from_secs(50));
        let visit = browser.visit(&[&cookie], &[]);
        assert_eq!(visit.route, "0 cookie");
        cookie = pair(&visit.set[0]).to_owned();
    }
    browser.client.wait(Duration::from_secs(51));
    assert_eq!(
        browser.visit(&[&cookie], &[]).route,
        "0 new",
        "1002 seconds after the first visit"
    );
}

#[test]
fn limits_cannot_be_stripped_or_stretched() {
    let undated = Browser::new(&sticky("")).first();
    let mut browser = Browser::new(&sticky("maxidle = 100"));
    assert_eq!(
        browser.route(&undated),
        "0 new",
        "no times, so it counts as malformed"
    );
    let dated = browser.first();
    let parts: Vec<&str> = dated.split('.').collect();
    let [node, last, first, mac] = parts[..] else {
        panic!("{dated}");
    };
    let later = last.parse::<u64>().expect("a time") + 50;
    for forged in [
        format!("{node}.{later}.{first}.{mac}"),
        format!("{node}.{last}.{later}.{mac}"),
        format!("route=TomcatA.{last}.{first}.{mac}"),
        format!("{node}.0{last}.{first}.x"),
    ] {
        let route = browser.route(&forged);
        assert!(route.ends_with("fallback:unknown"), "{forged}: {route}");
    }
    // Clocks differ; a day is too much.
    browser.client.unix -= 86_400;
    assert_eq!(browser.route(&dated), "1 cookie");
    browser.client.unix -= 1;
    assert!(browser.route(&dated).ends_with("new"));
    // Times that are no longer wanted do no harm, and go.
    let visit = Browser::new(&sticky("")).visit(&[&dated], &[]);
    assert_eq!(visit.route, "1 cookie");
    assert_eq!(pair(&visit.set[0]).matches('.').count(), 1);
}

#[test]
fn times_of_tengine() {
    let site = sticky("hash = \"md5\"\nmaxidle = 100");
    let now = support::UNIX;
    for (value, route) in [
        (format!("{MD5_B}|{now}|{now}"), "1 cookie"),
        (format!("{MD5_B}|{}|{now}", now - 101), "0 new"),
        (
            format!("{MD5_B}|{}|{}", now + 86_400, now + 86_400),
            "1 cookie",
        ),
        (format!("{MD5_B}|{}|{now}", now + 86_401), "0 new"),
        (MD5_B.to_owned(), "0 new"),
        (format!("{MD5_B}|x|{now}"), "0 fallback:unknown"),
        (format!("nobody|{now}|{now}"), "0 fallback:unknown"),
    ] {
        let route_seen = Browser::new(&site).route(&format!("route={value}"));
        assert_eq!(route_seen, route, "{value}");
    }
    let first = Browser::new(&site).first();
    assert_eq!(first, format!("route={MD5_A}|{now}|{now}"));
}

#[test]
fn indirect_hides_the_cookie_and_drops_the_applications_own() {
    let site = sticky("option = \"indirect\"");
    let mut browser = Browser::new(&site);
    let cookie = browser.first();
    let visit = browser.visit(
        &[&format!("a=b; {cookie}; c=d")],
        &["route=own; Path=/", "x=1"],
    );
    assert_eq!(visit.seen, ["a=b; c=d"]);
    assert_eq!(visit.set, ["x=1"]);
    assert_eq!(browser.visit(&[&cookie], &[]).seen, Vec::<String>::new());
    let direct = sticky("");
    let visit = Browser::new(&direct).visit(&[], &["route=own"]);
    assert_eq!(visit.set.len(), 2, "direct: both are sent");
}

#[test]
fn prefix_marks_the_applications_cookie() {
    let site = sticky("mode = \"prefix\"\ncookie = \"JSESSIONID\"");
    let mut browser = Browser::new(&site);
    let visit = browser.visit(&[], &["JSESSIONID=0A1B; Path=/jsp; HttpOnly", "other=1"]);
    assert!(visit.bound);
    let marked = pair(&visit.set[0]).to_owned();
    assert!(
        marked.starts_with("JSESSIONID=TomcatA.") && marked.ends_with("~0A1B"),
        "{marked}"
    );
    assert!(visit.set[0].ends_with("; Path=/jsp; HttpOnly"), "{visit:?}");
    assert_eq!(visit.set[1], "other=1");
    let visit = browser.visit(&[&format!("a=b; {marked}")], &[]);
    assert_eq!(
        (visit.route.as_str(), &*visit.seen),
        ("0 cookie", &["a=b; JSESSIONID=0A1B".to_owned()][..])
    );
    assert_eq!(visit.set, Vec::<String>::new());
    let unmarked = browser.visit(&["JSESSIONID=0A1B"], &[]);
    assert!(unmarked.route.ends_with("new"));
    assert_eq!(unmarked.seen, ["JSESSIONID=0A1B"]);
    assert!(
        !unmarked.bound,
        "without a cookie of the application the visitor stays unbound"
    );
}

#[test]
fn rewrite_replaces_the_applications_value() {
    let site = sticky("mode = \"rewrite\"\nhash = \"plain\"\noption = \"indirect\"");
    let mut browser = Browser::new(&site);
    let visit = browser.visit(&[], &["route=anything; Path=/x", "route=2"]);
    assert_eq!(visit.set, ["route=TomcatA; Path=/x", "route=TomcatA"]);
    assert!(visit.bound);
    let visit = browser.visit(&["route=TomcatB"], &[]);
    assert_eq!(
        (visit.route.as_str(), &*visit.seen),
        ("1 cookie", &["route=TomcatB".to_owned()][..])
    );
    assert_eq!(visit.set, Vec::<String>::new());
}

#[test]
fn the_state_of_the_peer_comes_before_the_cookie() {
    let site = sticky("");
    let mut browser = Browser::new(&site);
    let cookie = browser.first();
    let health = site.upstreams[0].peers[0].health.clone();
    let now = browser.client.now;
    for (state, route, moved) in [
        (RunState::Draining, "0 cookie", false),
        (RunState::Down, "1 fallback:down", true),
        (RunState::Up, "0 cookie", false),
    ] {
        health.set_run_state(state, now);
        let visit = browser.visit(&[&cookie], &[]);
        assert_eq!(
            (visit.route.as_str(), visit.bound),
            (route, moved),
            "{state:?}"
        );
        assert_eq!(
            visit.set.len(),
            usize::from(moved),
            "a new cookie after a move"
        );
        if moved {
            assert_eq!(
                browser.route(pair(&visit.set[0])),
                "1 cookie",
                "once moved, stays moved"
            );
        }
    }
    health.set_run_state(RunState::Draining, now);
    for _ in 0..3 {
        assert_eq!(
            browser.visit(&[], &[]).route,
            "1 new",
            "no new sessions on a draining peer"
        );
    }
    health.failed(1, now);
    assert_eq!(browser.route(&cookie), "1 fallback:draining");
}

#[test]
fn failures_full_peers_and_checks_move_a_session() {
    let text = "upstream = [\"127.0.0.1:1 id=A max_conns=1\", \"127.0.0.1:2 id=B\"]\nbalance = \"session_sticky\"\n[check]\ntype = \"tcp\"";
    let site = site(text);
    let mut browser = Browser::new(&site);
    let cookie = browser.first();
    let peer = &site.upstreams[0].peers[0];
    peer.counters.begin(0);
    assert_eq!(browser.route(&cookie), "1 fallback:down", "full");
    peer.counters.end(0);
    for _ in 0..5 {
        assert_eq!(browser.route(&cookie), "0 cookie");
        peer.health.check_failed(5);
    }
    assert_eq!(
        browser.route(&cookie),
        "1 fallback:down",
        "five failed checks"
    );
    for _ in 0..2 {
        peer.health.check_passed(2, browser.client.now);
    }
    assert_eq!(browser.route(&cookie), "0 cookie");
    browser.client.balancer.failed(0, browser.client.now);
    assert_eq!(
        browser.route(&cookie),
        "1 fallback:down",
        "paused after a failure"
    );
    browser.client.wait(Duration::from_millis(10_001));
    assert_eq!(
        browser.route(&cookie),
        "0 cookie",
        "the trial after the pause"
    );
    assert_eq!(
        browser.route(&cookie),
        "1 fallback:down",
        "one trial at a time"
    );
}

#[test]
fn within_one_request_the_dead_peer_is_tried_once() {
    let site = sticky("");
    let mut browser = Browser::new(&site);
    let cookie = browser.first();
    browser.client.field("cookie", &cookie);
    let (tried, choice) = browser.client.request(&[0]);
    assert_eq!(tried, [0, 1]);
    assert_eq!(choice.expect("the other").reason.as_str(), "fallback:down");
    let (tried, _) = browser.client.request(&[0]);
    assert_eq!(tried, [1], "and not again while it is paused");
}

#[test]
fn strict_fails_for_a_known_peer_only() {
    let site = sticky("fallback = false");
    let mut browser = Browser::new(&site);
    let cookie = browser.first();
    assert_eq!(
        browser.route("route=stale"),
        "1 fallback:unknown",
        "a stale cookie is no reason to fail"
    );
    let health = &site.upstreams[0].peers[0].health;
    health.set_run_state(RunState::Down, browser.client.now);
    let visit = browser.visit(&[&cookie], &[]);
    assert_eq!((visit.route.as_str(), visit.set.len()), ("strict", 0));
    assert_eq!(browser.visit(&[], &[]).route, "1 new");
    health.set_run_state(RunState::Up, browser.client.now);
    browser.client.field("cookie", &cookie);
    let (tried, choice) = browser.client.request(&[0]);
    assert_eq!((tried, choice), (vec![0], Err(NoPeer::BoundPeerDown)));
}

#[test]
fn cookies_survive_restart_reload_order_and_addresses() {
    let cookie = Browser::new(&sticky("")).first();
    // A restart makes everything anew; the key is the same.
    let text = "upstream = [\"10.9.9.9:1 id=New\", \"127.0.0.1:19002 id=TomcatB\", \"10.0.0.7:1 id=TomcatA\"]\nbalance = \"session_sticky\"";
    assert_eq!(Browser::new(&site(text)).route(&cookie), "2 cookie");
    let without = "upstream = [\"127.0.0.1:19002 id=TomcatB\"]\nbalance = \"session_sticky\"";
    assert_eq!(
        Browser::new(&site(without)).route(&cookie),
        "0 fallback:unknown"
    );
    let other_key = sticky("key = \"another secret of good length\"");
    assert_eq!(
        Browser::new(&other_key).route(&cookie),
        "0 fallback:unknown"
    );
}

#[test]
fn a_cookie_is_good_for_its_own_upstream_and_name_only() {
    let group = |name: &str, cookie: &str| {
        let text = format!(
            "[[upstream]]\nname = \"{name}\"\nbalance = \"session_sticky\"\nserver = [\"127.0.0.1:1 id=A\"]\n[upstream.sticky]\ncookie = \"{cookie}\"\n[[server]]\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://{name}\""
        );
        site(&text)
    };
    let cookie = Browser::new(&group("one", "route")).first();
    assert_eq!(
        Browser::new(&group("one", "route")).route(&cookie),
        "0 cookie"
    );
    assert_eq!(
        Browser::new(&group("two", "route")).route(&cookie),
        "0 fallback:unknown"
    );
    let renamed = cookie.replace("route=", "other=");
    assert_eq!(
        Browser::new(&group("one", "other")).route(&renamed),
        "0 fallback:unknown"
    );
}

#[test]
fn servers_without_id_get_a_pseudonym() {
    let text =
        "upstream = [\"127.0.0.1:19001\", \"127.0.0.1:19002\"]\nbalance = \"session_sticky\"";
    let cookie = Browser::new(&site(text)).first();
    let (node, _) = cookie.split_once('.').expect("two parts");
    assert_eq!(node.len(), "route=".len() + 8, "{cookie}");
    let turned =
        "upstream = [\"127.0.0.1:19002\", \"127.0.0.1:19001\"]\nbalance = \"session_sticky\"";
    assert_eq!(Browser::new(&site(turned)).route(&cookie), "1 cookie");
}

#[test]
fn route_and_learn_bind_too() {
    let route =
        "upstream = [\"127.0.0.1:1 route=WEB1\", \"127.0.0.1:2 id=WEB2\"]\nbalance = \"route\"";
    let mut browser = Browser::new(&site(route));
    assert_eq!(browser.route("JSESSIONID=0A.WEB2"), "1 route");
    assert_eq!(browser.route("JSESSIONID=0A-n1.WEB1"), "0 route");
    assert_eq!(browser.route("JSESSIONID=0A.WEB9"), "0 fallback:unknown");
    assert_eq!(browser.visit(&[], &[]).route, "1 new");
    browser.client.target = "/cart;jsessionid=0A.WEB2?x".into();
    assert_eq!(browser.route("a=b"), "1 route");

    let learn = "upstream = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nbalance = \"learn\"";
    let before = site(learn);
    let mut browser = Browser::new(&before);
    assert!(browser.visit(&[], &["JSESSIONID=S1; Path=/"]).bound);
    assert!(browser.visit(&[], &["JSESSIONID=S2; Path=/"]).bound);
    assert_eq!(browser.route("JSESSIONID=S2"), "1 learn");
    assert_eq!(browser.route("JSESSIONID=S1"), "0 learn");
    assert_eq!(browser.route("JSESSIONID=S9"), "0 fallback:unknown");
    let after = try_site(learn, Some(&before)).expect("a site");
    assert_eq!(
        Browser::new(&after).route("JSESSIONID=S2"),
        "1 learn",
        "a reload forgets nothing"
    );
}

/// What the binding of the first upstream reads from a cookie value.
fn reads_a_peer(site: &Site, value: &str) -> bool {
    let mut browser = Browser::new(site);
    browser
        .route(&format!("route={value}"))
        .ends_with(" cookie")
}

proptest! {
    /// A changed cookie never names a peer, wherever it was changed.
    #[test]
    fn forgery(settings in prop_oneof![Just(""), Just("maxidle = 100")], place in any::<prop::sample::Index>(), byte in "[A-Za-z0-9._-]") {
        let site = sticky(settings);
        let cookie = Browser::new(&site).first();
        let mut value = cookie.strip_prefix("route=").expect("a value").to_owned();
        let at = place.index(value.len());
        prop_assume!(value[at..=at] != byte);
        value.replace_range(at..=at, &byte);
        prop_assert!(!reads_a_peer(&site, &value), "{}", value);
    }

    /// Whatever is in the cookie, there is a choice, and a response that can be sent.
    #[test]
    fn any_cookie(text in "[ -~]{0,60}", mode in prop_oneof![Just("insert"), Just("prefix"), Just("rewrite")], hash in prop_oneof![Just("hmac"), Just("md5"), Just("plain")]) {
        let site = sticky(&format!("mode = \"{mode}\"\nhash = \"{hash}\"\nmaxidle = {}", if mode == "insert" { 100 } else { 0 }));
        let visit = Browser::new(&site).visit(&[&format!("route={text}"), &text], &[&format!("route={text}")]);
        prop_assert!(!visit.route.is_empty());
        prop_assert!(matches!(&site.upstreams[0].method, Method::Bound(Binding::Sticky(_))));
        for set in &visit.set {
            prop_assert!(set.starts_with("route="), "{}", set);
        }
    }

    /// What was written is read back, for every peer, with and without times.
    #[test]
    fn round_trip(ids in prop::collection::btree_set("[A-Za-z0-9_.-]{1,10}", 1..6), hash in prop_oneof![Just("hmac"), Just("md5"), Just("plain")], idle in prop_oneof![Just(0), Just(100)]) {
        let servers: Vec<String> = ids.iter().zip(1..).map(|(id, port)| format!("\"127.0.0.1:{port} id={id}\"")).collect();
        let site = site(&format!("upstream = [{}]\nbalance = \"session_sticky\"\n[sticky]\nhash = \"{hash}\"\nmaxidle = {idle}", servers.join(", ")));
        let mut browser = Browser::new(&site);
        for peer in 0..ids.len() {
            let cookie = browser.first();
            prop_assert_eq!(browser.route(&cookie), format!("{peer} cookie"));
        }
    }
}
