//! One cluster of this and the real Tomcat with `BackupManager`, where Debian's package and a Java are installed: one primary and one
//! backup per session, on whichever of them, and every other member knows where.

mod support;
#[path = "support/tomcat.rs"]
mod tomcat;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value as Json, json};
use support::{Browser, send, until};
use tomcat::{Place, Tomcat};

/// A group that no other test has.
fn group() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % 700) as u16 * 10;
    50_000 + own + NEXT.fetch_add(1, Ordering::Relaxed)
}

fn free() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port")
}

/// A Tomcat on the loopback interface. `None`, with a message: there is none on this machine.
fn tomcat(group: u16, route: &str) -> Option<Tomcat> {
    let place = Place {
        http: free(),
        group,
        heartbeat: 200,
        drop_time: 1500,
        manager: "BackupManager",
        route,
        interceptor: "",
    };
    Tomcat::start(&place, Command::spawn)
}

/// One of ours in a process of its own, killed when dropped.
struct Ours {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Ours {
    fn start(group: u16, arguments: &[&str]) -> Self {
        let (address, admin) = (free(), free());
        let mut child = Command::new(env!("CARGO_BIN_EXE_appserver"))
            .args(["--mode", "backup", "--contexts", "/jsp"])
            .args(["--listen", &address.to_string()])
            .args(["--admin", &admin.to_string()])
            .args(["--membership-bind", "127.0.0.1"])
            .args(["--membership-port", &group.to_string()])
            .args(["--membership-frequency", "200"])
            .args(["--membership-drop-time", "1500"])
            .args(["--receiver-address", "127.0.0.1"])
            .args(["--receiver-port", &free().port().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut begun = String::new();
        while !begun.contains("listening") {
            let line = lines.next().unwrap_or_else(|| panic!("it ended\n{begun}"));
            begun += &format!("{}\n", line.expect("text"));
        }
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("{admin} {line}");
            }
        });
        Self {
            child,
            address,
            admin,
        }
    }

    fn cluster(&self) -> Json {
        let status = send(self.admin, "GET", "/status", &[], "").json();
        status["contexts"][0]["sessions"]["cluster"].clone()
    }

    /// Waits until it has so many other members, and Tomcat's rules hold.
    fn knows(&self, others: usize) {
        until("its members and Tomcat's rules", || {
            let cluster = self.cluster();
            let known = cluster["members"].as_array().map_or(0, Vec::len);
            known == others && cluster["rules"] == "tomcat"
        });
    }

    fn browser(&self) -> Browser {
        Browser {
            address: self.address,
            cookie: None,
        }
    }

    fn api(&self, browser: &mut Browser, path: &str) -> Json {
        browser.address = self.address;
        let reply = browser.get(&format!("/jsp/api/{path}"));
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json()
    }

    fn set(&self, browser: &mut Browser, name: &str, value: &str) {
        self.api(browser, &format!("set?name={name}&value={value}"));
    }

    fn get(&self, browser: &mut Browser, name: &str) -> Json {
        self.api(browser, &format!("get?name={name}"))["value"].clone()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // As `kill -9`; it may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the Tomcat has dropped so many members. Until then it tells a dead one where a session is, and loses the session by that.
fn has_dropped(tomcat: &Tomcat, members: usize) {
    tomcat.until("it dropped the member", || {
        let log = tomcat.log();
        log.matches("Verification complete. Member disappeared")
            .count()
            >= members
    });
}

fn text(value: &str) -> String {
    format!("String {value}")
}

/// A session is made, changed and ended on either side, and goes on on the other.
#[test]
fn browsers_go_back_and_forth() {
    let group = group();
    let ours = Ours::start(group, &[]);
    let mut early = ours.browser();
    ours.set(&mut early, "early", "bird");
    let Some(tomcat) = tomcat(group, "") else {
        return;
    };
    ours.knows(1);
    // It was here alone.
    assert_eq!(tomcat.page(&mut early, "do=get&name=early"), text("bird"));

    let mut browser = ours.browser();
    ours.set(&mut browser, "word", "here");
    assert_eq!(ours.api(&mut browser, "count")["value"], 1);
    assert_eq!(tomcat.page(&mut browser, "do=get&name=word"), text("here"));
    assert_eq!(tomcat.page(&mut browser, "do=get&name=count"), "Long 1");
    tomcat.page(&mut browser, "do=set&name=word&value=there");
    tomcat.page(&mut browser, "do=int&name=number&value=42");
    tomcat.page(&mut browser, "do=date&name=date&value=0");
    assert_eq!(ours.get(&mut browser, "word"), "there");
    assert_eq!(ours.get(&mut browser, "number"), 42);
    tomcat.page(&mut browser, "do=remove&name=word");
    assert_eq!(ours.get(&mut browser, "word"), Json::Null);
    ours.set(&mut browser, "word", "again");
    assert_eq!(browser.get("/jsp/set?name=word").status, 200, "removed");
    assert_eq!(tomcat.page(&mut browser, "do=get&name=word"), "null");
    for step in 2..=20 {
        assert_eq!(ours.api(&mut browser, "count")["value"], step);
        let count = tomcat.page(&mut browser, "do=get&name=count");
        assert_eq!(count, format!("Long {step}"));
    }
    let date = tomcat.page(&mut browser, "do=get&name=date");
    assert!(
        date.starts_with("Date "),
        "only Java understands it: {date}"
    );

    // Made there.
    let mut other = ours.browser();
    assert_eq!(tomcat.page(&mut other, "do=set&name=k&value=v"), text("v"));
    assert_eq!(ours.get(&mut other, "k"), "v");
    ours.set(&mut other, "k", "w");
    assert_eq!(tomcat.page(&mut other, "do=get&name=k"), text("w"));

    // New ids on either side.
    let mut planted = browser.clone();
    ours.api(&mut browser, "login?user=somebody");
    assert_ne!(browser.cookie, planted.cookie);
    let user = tomcat.page(&mut browser, "do=get&name=user");
    assert_eq!(user, text("somebody"));
    assert_eq!(tomcat.page(&mut planted, "do=get&name=user"), "no session");
    let mut planted = browser.clone();
    tomcat.page(&mut browser, "do=login");
    assert_ne!(browser.cookie, planted.cookie);
    assert_eq!(ours.get(&mut browser, "user"), "somebody");
    assert_eq!(ours.get(&mut planted, "user"), Json::Null);

    // Log out on either side.
    ours.api(&mut browser, "logout");
    assert_eq!(tomcat.page(&mut browser, "do=get&name=user"), "no session");
    tomcat.page(&mut other, "do=logout");
    assert_eq!(ours.get(&mut other, "k"), Json::Null);

    // Idle for too long, by the interval that the other side gave it.
    let mut idle = ours.browser();
    tomcat.page(&mut idle, "do=set&name=k&value=v");
    tomcat.page(&mut idle, "do=max&value=1");
    until("it expired", || {
        let sessions = ours.cluster();
        sessions["primaries"] == 0 && sessions["copies"] == 1
    });
    assert_eq!(ours.get(&mut idle, "k"), Json::Null);
    assert_eq!(ours.get(&mut early, "early"), "bird");
    let status = ours.cluster();
    assert_eq!(status["dropped_messages"], 0, "{status}");
    assert_eq!(status["unwritable_attributes"], 0, "{status}");
}

/// Of three members one has neither the session nor its copy: whoever it is, it fetches the session.
#[test]
fn a_third_member_fetches_what_it_has_not() {
    let group = group();
    let Some(tomcat) = tomcat(group, "") else {
        return;
    };
    // A session of the Tomcat from before anybody else was there.
    let mut alone = Browser {
        address: free(),
        cookie: None,
    };
    tomcat.page(&mut alone, "do=set&name=k&value=alone");
    let (a, b) = (Ours::start(group, &[]), Ours::start(group, &[]));
    a.knows(2);
    b.knows(2);
    let mut browsers = Vec::new();
    for round in 0..6 {
        let mut browser = a.browser();
        let value = round.to_string();
        match round % 3 {
            0 => a.set(&mut browser, "k", &value),
            1 => b.set(&mut browser, "k", &value),
            _ => drop(tomcat.page(&mut browser, &format!("do=set&name=k&value={value}"))),
        }
        browsers.push((browser, value));
    }
    browsers.push((alone, "alone".to_owned()));
    for (browser, value) in &mut browsers {
        // Each in turn becomes the primary: the other two are backup and proxy, in both ways.
        for step in 0..6 {
            assert_eq!(a.get(browser, "k"), json!(value), "{step}");
            let count = a.api(browser, "count")["value"].clone();
            assert_eq!(count, 3 * step + 1);
            assert_eq!(tomcat.page(browser, "do=get&name=k"), text(value), "{step}");
            let count = tomcat.page(browser, "do=get&name=count");
            assert_eq!(count, format!("Long {}", 3 * step + 1));
            assert_eq!(b.get(browser, "k"), json!(value), "{step}");
            assert_eq!(b.api(browser, "count")["value"], 3 * step + 2);
            assert_eq!(
                tomcat.page(browser, "do=get&name=count"),
                format!("Long {}", 3 * step + 2)
            );
            assert_eq!(a.api(browser, "count")["value"], 3 * step + 3);
        }
        tomcat.page(browser, "do=set&name=word&value=x");
        assert_eq!(b.get(browser, "word"), "x");
        a.api(browser, "login?user=somebody");
        assert_eq!(tomcat.page(browser, "do=get&name=user"), text("somebody"));
        tomcat.page(browser, "do=login");
        assert_eq!(b.get(browser, "user"), "somebody");
    }
    // Two copies of each, and nobody has all of them.
    let copies = |ours: &Ours| {
        let cluster = ours.cluster();
        let number = |name: &str| cluster[name].as_u64().expect("a number");
        number("primaries") + number("copies")
    };
    until("who has no part in a session forgets it", || {
        copies(&a) + copies(&b) <= 14
    });
    for (at, (browser, _)) in browsers.iter_mut().enumerate() {
        match at % 3 {
            0 => drop(a.api(browser, "logout")),
            1 => drop(b.api(browser, "logout")),
            _ => drop(tomcat.page(browser, "do=logout")),
        }
        assert_eq!(a.get(browser, "k"), Json::Null);
        assert_eq!(b.get(browser, "k"), Json::Null);
        assert_eq!(tomcat.page(browser, "do=get&name=k"), "no session");
    }
    for ours in [&a, &b] {
        let status = ours.cluster();
        assert_eq!(status["dropped_messages"], 0, "{status}");
    }
}

/// Whoever is killed, its sessions go on with what it answered last; whoever comes late knows where all are.
#[test]
fn they_survive_each_other() {
    let group = group();
    let a = Ours::start(group, &[]);
    let Some(tomcat_1) = tomcat(group, "") else {
        return;
    };
    let b = Ours::start(group, &[]);
    a.knows(2);
    b.knows(2);
    let make = || {
        let mut browsers = Vec::new();
        for _ in 0..4 {
            let mut browser = a.browser();
            a.set(&mut browser, "at", "a");
            browsers.push((browser, "a"));
            let mut browser = a.browser();
            b.set(&mut browser, "at", "b");
            browsers.push((browser, "b"));
            let mut browser = a.browser();
            tomcat_1.page(&mut browser, "do=set&name=at&value=tomcat");
            browsers.push((browser, "tomcat"));
        }
        browsers
    };

    // The Tomcat dies, then one of ours does: what is left goes on alone, by its own rules.
    let mut browsers = make();
    drop(tomcat_1);
    until("Tomcat's rules are over", || {
        [&a, &b]
            .iter()
            .all(|ours| ours.cluster()["rules"] == "native")
    });
    for (browser, at) in &mut browsers {
        assert_eq!(a.get(browser, "at"), *at);
        assert_eq!(b.get(browser, "at"), *at);
        a.set(browser, "then", "a");
    }

    // A new Tomcat comes late.
    let tomcat_2 = tomcat(group, "").expect("it started before");
    a.knows(2);
    b.knows(2);
    for (browser, at) in &mut browsers {
        assert_eq!(tomcat_2.page(browser, "do=get&name=at"), text(at));
        assert_eq!(tomcat_2.page(browser, "do=get&name=then"), text("a"));
        b.set(browser, "then", "b");
    }
    // Ours dies, and the sessions that it served last are with the others.
    drop(b);
    a.knows(1);
    has_dropped(&tomcat_2, 1);
    for (browser, _) in &mut browsers {
        assert_eq!(tomcat_2.page(browser, "do=get&name=then"), text("b"));
    }
    // A new one of ours comes late, and the other of ours goes: two members are left, and have everything.
    let c = Ours::start(group, &[]);
    c.knows(2);
    drop(a);
    c.knows(1);
    has_dropped(&tomcat_2, 2);
    for (browser, at) in &mut browsers {
        assert_eq!(c.get(browser, "at"), *at);
        c.set(browser, "then", "c");
        assert_eq!(tomcat_2.page(browser, "do=get&name=then"), text("c"));
        tomcat_2.page(browser, "do=set&name=then&value=tomcat");
    }
    drop(tomcat_2);
    for (browser, at) in &mut browsers {
        assert_eq!(c.get(browser, "at"), *at);
        assert_eq!(c.get(browser, "then"), "tomcat");
    }
}

/// Each member gives a session its own route when it serves it: for the map that is a new session each time.
#[test]
fn a_session_gets_the_route_of_whoever_serves_it() {
    let group = group();
    let a = Ours::start(group, &["--jvm-route", "A"]);
    let mut early = a.browser();
    a.set(&mut early, "k", "early");
    let Some(tomcat) = tomcat(group, "T") else {
        return;
    };
    let b = Ours::start(group, &["--jvm-route", "B"]);
    a.knows(2);
    b.knows(2);
    let route = |browser: &Browser| {
        let cookie = browser.cookie.clone().expect("a session");
        cookie.rsplit_once('.').expect("a route").1.to_owned()
    };
    let mut browser = a.browser();
    a.set(&mut browser, "k", "v");
    let mut from_tomcat = a.browser();
    tomcat.page(&mut from_tomcat, "do=set&name=k&value=t");
    for (browser, value) in [
        (&mut early, "early"),
        (&mut browser, "v"),
        (&mut from_tomcat, "t"),
    ] {
        for _ in 0..3 {
            assert_eq!(tomcat.page(browser, "do=get&name=k"), text(value));
            assert_eq!(route(browser), "T");
            assert_eq!(a.get(browser, "k"), value);
            assert_eq!(route(browser), "A");
            assert_eq!(b.get(browser, "k"), value);
            assert_eq!(route(browser), "B");
        }
        b.api(browser, "logout");
        assert_eq!(tomcat.page(browser, "do=get&name=k"), "no session");
        assert_eq!(a.get(browser, "k"), Json::Null);
    }
}
