//! A cluster of machines with addresses of their own, which find each other by multicast and whose cables are cut and mended. Each
//! machine is a network namespace; the servers are processes with the default settings.

#[path = "support/network.rs"]
mod network;
mod support;
#[path = "support/tomcat.rs"]
mod tomcat;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use network::Network;
use serde_json::Value as Json;
use support::{Browser, Reply, until};
use tomcat::{Place, Tomcat};

/// So long after a cable was mended all members have all changes.
const HEALED: Duration = Duration::from_secs(15);

/// All have the same.
const KEY: &str = "000102030405060708090a0b0c0d0e0f";

/// A server on a machine, killed when dropped.
struct Server<'a> {
    network: &'a Network,
    machine: &'static str,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl<'a> Server<'a> {
    /// Starts it there, and waits until it serves.
    fn start(network: &'a Network, machine: &'static str, arguments: &[&str]) -> Self {
        let at = |port: u16| SocketAddr::from((network.address(machine), port)).to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_appserver"));
        command
            .args(["--node-id", machine, "--contexts", "/jsp"])
            .args(["--listen", &at(8081), "--admin", &at(8091)])
            .args(arguments)
            .env("LNMT_ENCRYPTION_KEY", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = network.on(machine, || command.spawn().expect("it runs"));
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *written.lock().expect("nobody fails with it") += &format!("{line}\n");
            }
        });
        let server = Self {
            network,
            machine,
            child,
            log,
        };
        until("it serves", || server.log().contains("listening"));
        server
    }

    fn log(&self) -> String {
        self.log.lock().expect("nobody fails with it").clone()
    }

    /// What it answers to this browser, which sits at the same machine: a cut cable is not between them.
    fn get(&self, browser: &mut Browser, path: &str) -> Reply {
        browser.address = (self.network.address(self.machine), 8081).into();
        let path = format!("/jsp/api/{path}");
        self.network.on(self.machine, || browser.get(&path))
    }

    fn set(&self, browser: &mut Browser, name: &str, value: &str) {
        let reply = self.get(browser, &format!("set?name={name}&value={value}"));
        assert_eq!(reply.status, 200, "{reply:?}\n{}", self.log());
    }

    fn value(&self, browser: &Browser, name: &str) -> Json {
        let reply = self.get(&mut browser.clone(), &format!("get?name={name}"));
        assert_eq!(reply.status, 200, "{reply:?}\n{}", self.log());
        reply.json()["value"].clone()
    }

    fn browser(&self) -> Browser {
        Browser {
            address: (self.network.address(self.machine), 8081).into(),
            cookie: None,
        }
    }

    fn cluster(&self) -> Json {
        let admin = (self.network.address(self.machine), 8091).into();
        let send = || support::send(admin, "GET", "/status", &[], "");
        let status = self.network.on(self.machine, send).json();
        status["contexts"][0]["sessions"]["cluster"].clone()
    }

    fn knows(&self, members: usize) {
        until("its members", || {
            let cluster = self.cluster();
            cluster["members"]
                .as_array()
                .is_some_and(|all| all.len() == members)
        });
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // As `kill -9`; it may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.machine, self.log());
        }
    }
}

/// A session that was changed on both machines, so that both have it in the mode backup too.
fn known_to(one: &Server<'_>, other: &Server<'_>) -> Browser {
    let mut browser = one.browser();
    one.set(&mut browser, "start", "1");
    other.set(&mut browser, "start", "2");
    browser
}

/// What every server answers to this browser.
type Expected = (Browser, &'static str, Json);

fn expect(browser: &Browser, name: &'static str, value: impl Into<Json>) -> Expected {
    (browser.clone(), name, value.into())
}

/// Waits until each of these servers answers so.
fn all_agree(servers: &[Server<'_>], expected: &[Expected]) {
    let since = Instant::now();
    for server in servers {
        for (browser, name, value) in expected {
            loop {
                let found = server.value(browser, name);
                if found == *value {
                    break;
                }
                assert!(
                    since.elapsed() < HEALED,
                    "{name} on {}: {found} and not {value}",
                    server.machine
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The life of a cluster in which machine `b` is cut off for longer than `dropTime`, then one is killed, and comes back.
fn story(mode: &'static str, machines: &[&'static str]) {
    let Some(network) = Network::new(machines) else {
        return;
    };
    let start = |machine| Server::start(&network, machine, &["--mode", mode]);
    let mut servers: Vec<Server<'_>> = std::thread::scope(|scope| {
        let starting = machines
            .iter()
            .map(|machine| scope.spawn(move || start(*machine)));
        let starting: Vec<_> = starting.collect();
        let started = starting.into_iter().map(|server| server.join());
        started.map(|server| server.expect("it started")).collect()
    });
    let others = machines.len() - 1;
    for server in &servers {
        server.knows(others);
        let announced = SocketAddr::from((network.address(server.machine), 4000)).to_string();
        let channel = &server.cluster()["channel"];
        assert_eq!(channel["local"]["address"], announced, "{channel}");
        assert_eq!(channel["encrypted"], true, "{channel}");
    }

    // Sessions are shared, both ways.
    let mut shared = known_to(&servers[0], &servers[1]);
    assert_eq!(servers[0].value(&shared, "start"), "2");
    for (step, server) in servers.iter().cycle().take(12).enumerate() {
        let reply = server.get(&mut shared, "count");
        assert_eq!(reply.json()["value"], step + 1, "{reply:?}");
    }

    let mut expected = vec![expect(&shared, "count", 12)];
    expected.extend(cut_and_mend(&network, &servers));
    all_agree(&servers, &expected);

    // One is killed, and what it answered last is not lost.
    servers[0].set(&mut shared, "last", "word");
    drop(servers.remove(0));
    expected.push(expect(&shared, "last", "word"));
    all_agree(&servers, &expected);

    // It comes back, at its address, and has everything: the others can go.
    servers.iter().for_each(|server| server.knows(others - 1));
    let again = start(machines[0]);
    again.knows(others);
    servers.push(again);
    all_agree(&servers[others..], &expected);
    servers.drain(..others);
    servers[0].knows(0);
    all_agree(&servers, &expected);
}

/// What is done on both sides of the cut, and what all have after it is mended.
fn cut_and_mend(network: &Network, servers: &[Server<'_>]) -> Vec<Expected> {
    let (a, b, others) = (&servers[0], &servers[1], servers.len() - 1);
    // In the mode backup the two copies of a session are on the two servers that served it last.
    let merged = known_to(a, b);
    let (ended_at_a, ended_at_b) = (known_to(a, b), known_to(b, a));
    let renamed = known_to(a, b);
    let elsewhere = known_to(a, &servers[others]);
    let set = |server: &Server<'_>, browser: &Browser, name, value| {
        let mut browser = browser.clone();
        server.set(&mut browser, name, value);
        browser
    };

    network.cut("b");
    // Nobody noticed it yet, and all are served.
    set(a, &merged, "early_a", "1");
    set(b, &merged, "early_b", "1");
    b.knows(0);
    a.knows(others - 1);
    let born_at_a = set(a, &a.browser(), "from", "a");
    let born_at_b = set(b, &b.browser(), "from", "b");
    set(a, &merged, "left", "1");
    set(a, &merged, "both", "first");
    set(b, &merged, "right", "1");
    set(b, &merged, "both", "last");
    for (ended, here, there) in [(&ended_at_a, a, b), (&ended_at_b, b, a)] {
        set(there, ended, "late", "1");
        assert_eq!(here.get(&mut ended.clone(), "logout").status, 200);
        set(there, ended, "later", "1");
    }
    let mut named = renamed.clone();
    a.get(&mut named, "login?user=somebody");
    set(b, &renamed, "cart", "book");
    assert_eq!(a.value(&merged, "right"), Json::Null, "the cable is cut");
    assert_eq!(b.value(&merged, "left"), Json::Null, "the cable is cut");

    network.mend("b");
    servers.iter().for_each(|server| server.knows(others));
    vec![
        expect(&merged, "early_a", "1"),
        expect(&merged, "early_b", "1"),
        expect(&merged, "left", "1"),
        expect(&merged, "right", "1"),
        expect(&merged, "both", "last"),
        expect(&born_at_a, "from", "a"),
        expect(&born_at_b, "from", "b"),
        expect(&ended_at_a, "start", Json::Null),
        expect(&ended_at_a, "later", Json::Null),
        expect(&ended_at_b, "start", Json::Null),
        expect(&ended_at_b, "later", Json::Null),
        expect(&named, "user", "somebody"),
        expect(&named, "cart", "book"),
        expect(&renamed, "cart", Json::Null),
        expect(&elsewhere, "start", "2"),
    ]
}

#[test]
fn a_cluster_heals_after_a_cut() {
    story("cluster", &["a", "b"]);
}

#[test]
fn one_of_three_is_cut_off_and_heals() {
    story("cluster", &["a", "b", "c"]);
}

#[test]
fn one_primary_and_one_backup_heal_after_a_cut() {
    story("backup", &["a", "b", "c"]);
}

/// Which way of finding members was taken and why, and which address the others are told, is in the log.
#[test]
fn the_log_says_how_members_are_found() {
    let Some(network) = Network::new(&["a", "b", "c", "d", "e"]) else {
        return;
    };
    for machine in ["b", "c", "d", "e"] {
        network.without_multicast_route(machine);
    }
    let address = |machine: &str| network.address(machine).to_string();
    let auto = |machine, more: &[&str]| {
        let arguments = [&["--mode", "cluster", "--membership-type", "auto"], more].concat();
        Server::start(&network, machine, &arguments)
    };
    let by = |server: &Server<'_>, announced: String, source: &str, why: &str| {
        let lines = [
            format!("announced={announced}:4000 setting=auto"),
            format!("members are found by source=\"{source}\" why=\"{why}\""),
        ];
        for line in lines {
            until(&line, || server.log().contains(&line));
        }
    };

    // By multicast; where no route leads to the group, the interface is named.
    let a = Server::start(&network, "a", &["--mode", "cluster"]);
    by(&a, address("a"), "multicast", "it is set");
    let b = auto("b", &["--membership-bind", &address("b")]);
    by(&b, address("b"), "multicast", "others were heard");
    a.knows(1);

    // By a list.
    let why = "multicast is not possible here, no name has addresses, and there is a list";
    let c = auto("c", &["--membership-members", &address("d")]);
    let d = auto("d", &["--membership-members", &address("c")]);
    by(&c, address("c"), "static", why);
    by(&d, address("d"), "static", why);
    c.knows(1);
    d.knows(1);
    let mut browser = c.browser();
    c.set(&mut browser, "k", "v");
    assert_eq!(d.value(&browser, "k"), "v");

    // Not at all.
    let e = auto("e", &[]);
    let nothing = "multicast is not possible here, and neither a name nor a list is set";
    by(&e, "127.0.0.1".to_owned(), "multicast", nothing);
    assert!(e.log().contains("set receiver.address"), "{}", e.log());
}

/// A Tomcat on a machine of its own, with the same key.
fn shared_with_a_tomcat(mode: &'static str, manager: &'static str) {
    let Some(network) = Network::new(&["a", "b", "t"]) else {
        return;
    };
    let start = |machine| Server::start(&network, machine, &["--mode", mode]);
    let a = start("a");
    let mut early = a.browser();
    a.set(&mut early, "early", "bird");
    let interceptor = format!(
        "<Interceptor className=\"org.apache.catalina.tribes.group.interceptors.EncryptInterceptor\" \
         encryptionAlgorithm=\"AES/GCM/NoPadding\" encryptionKey=\"{KEY}\"/>"
    );
    let place = Place {
        http: (network.address("t"), 8080).into(),
        group: 45_564,
        heartbeat: 500,
        drop_time: 3000,
        manager,
        route: "",
        interceptor: &interceptor,
    };
    let Some(tomcat) = Tomcat::start(&place, |java| network.on("t", || java.spawn())) else {
        return;
    };
    let page = |browser: &mut Browser, query: &str| network.on("t", || tomcat.page(browser, query));
    a.knows(1);
    assert_eq!(page(&mut early, "do=get&name=early"), "String bird");

    let b = start("b");
    b.knows(2);
    let mut browser = b.browser();
    assert_eq!(
        page(&mut browser, "do=set&name=k&value=there"),
        "String there"
    );
    for server in [&a, &b] {
        assert_eq!(server.value(&browser, "k"), "there");
    }
    b.set(&mut browser, "k", "here");
    assert_eq!(page(&mut browser, "do=get&name=k"), "String here");
    a.get(&mut early, "logout");
    assert_eq!(page(&mut early, "do=get&name=early"), "no session");
    page(&mut browser, "do=set&name=last&value=word");
    drop(tomcat);
    for server in [&a, &b] {
        assert_eq!(server.value(&browser, "last"), "word");
    }
}

#[test]
fn a_tomcat_on_another_machine_shares_sessions() {
    shared_with_a_tomcat("cluster", "DeltaManager");
}

#[test]
fn a_tomcat_with_one_backup_per_session_shares_them_too() {
    shared_with_a_tomcat("backup", "BackupManager");
}
