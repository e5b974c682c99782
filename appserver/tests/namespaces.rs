//! A cluster of machines with addresses of their own, which find each other by multicast and whose cables are cut and mended. Each
//! machine is a network namespace; the servers are processes with the default settings.

#[path = "support/network.rs"]
mod network;
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use network::Network;
use serde_json::{Value as Json, json};
use support::{Browser, Reply, until};

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

/// Waits until each of these servers answers so.
fn all_agree(servers: &[&Server<'_>], expected: &[(&Browser, &str, Json)], since: Instant) {
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
        let starting: Vec<_> = machines
            .iter()
            .map(|machine| scope.spawn(move || start(*machine)))
            .collect();
        let started = starting.into_iter().map(|server| server.join());
        started.map(|server| server.expect("it started")).collect()
    });
    let others = machines.len() - 1;
    for server in &servers {
        server.knows(others);
        let announced = SocketAddr::from((network.address(server.machine), 4000));
        let cluster = server.cluster();
        assert_eq!(
            cluster["channel"]["local"]["address"],
            announced.to_string(),
            "{cluster}"
        );
        assert_eq!(cluster["channel"]["encrypted"], true, "{cluster}");
    }
    let (a, b) = (&servers[0], &servers[1]);

    // Sessions are shared, both ways.
    let mut first = known_to(a, b);
    assert_eq!(a.value(&first, "start"), "2");
    let mut second = known_to(b, a);
    for (step, server) in servers.iter().cycle().take(12).enumerate() {
        let reply = server.get(&mut first, "count");
        assert_eq!(reply.json()["value"], step + 1, "{reply:?}");
    }
    // Changed on both sides later; the copies of the mode backup are on these two.
    let mut merged = known_to(a, b);
    let mut ended_at_a = known_to(a, b);
    let mut ended_at_b = known_to(b, a);

    network.cut("b");
    // Not noticed yet, and served all the same.
    a.set(&mut merged, "early_a", "1");
    b.set(&mut merged.clone(), "early_b", "1");
    b.knows(0);
    a.knows(others - 1);
    let (mut born_at_a, mut born_at_b) = (a.browser(), b.browser());
    a.set(&mut born_at_a, "from", "a");
    b.set(&mut born_at_b, "from", "b");
    a.set(&mut merged, "left", "1");
    a.set(&mut merged, "both", "first");
    b.set(&mut merged.clone(), "right", "1");
    b.set(&mut merged.clone(), "both", "last");
    b.set(&mut ended_at_a.clone(), "late", "1");
    let at_b = ended_at_a.clone();
    a.get(&mut ended_at_a, "logout");
    b.set(&mut at_b.clone(), "later", "1");
    a.set(&mut ended_at_b.clone(), "late", "1");
    let at_a = ended_at_b.clone();
    b.get(&mut ended_at_b, "logout");
    a.set(&mut at_a.clone(), "later", "1");
    assert_eq!(a.value(&merged, "right"), Json::Null, "the cable is cut");
    assert_eq!(b.value(&merged, "left"), Json::Null, "the cable is cut");

    network.mend("b");
    let since = Instant::now();
    servers.iter().for_each(|server| server.knows(others));
    let expected = [
        (&merged, "early_a", json!("1")),
        (&merged, "early_b", json!("1")),
        (&merged, "left", json!("1")),
        (&merged, "right", json!("1")),
        (&merged, "both", json!("last")),
        (&born_at_a, "from", json!("a")),
        (&born_at_b, "from", json!("b")),
        (&at_b, "start", Json::Null),
        (&at_b, "later", Json::Null),
        (&at_a, "start", Json::Null),
        (&at_a, "later", Json::Null),
        (&first, "count", json!(12)),
    ];
    let all: Vec<&Server<'_>> = servers.iter().collect();
    all_agree(&all, &expected, since);

    // The first is killed in the middle of its work, and what it answered is not lost.
    servers[0].set(&mut second, "last", "word");
    drop(servers.remove(0));
    let since = Instant::now();
    let survivors: Vec<&Server<'_>> = servers.iter().collect();
    let last = [(&second, "last", json!("word"))];
    all_agree(&survivors, &last, since);
    all_agree(&survivors, &expected, since);
    servers.iter().for_each(|server| server.knows(others - 1));

    // It comes back, at its address, and has everything; so it may be the only one.
    let again = start(machines[0]);
    again.knows(others);
    all_agree(&[&again], &last, Instant::now());
    all_agree(&[&again], &expected, Instant::now());
}

#[test]
fn a_cluster_heals_after_a_cut() {
    story("cluster", &["a", "b"]);
}

#[test]
fn one_primary_and_one_backup_heal_after_a_cut() {
    story("backup", &["a", "b", "c"]);
}
