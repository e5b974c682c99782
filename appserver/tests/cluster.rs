//! Nodes of one cluster over loopback, seen by browsers that come to any of them.

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use appserver::tribes::options::SendOptions;
use appserver::tribes::settings::ReceiverAddress;
use appserver::{Clock, Config, Mode};
use rustix::process::{Pid, Signal, kill_process};
use support::{Browser, Node, until};

/// A port for a group of its own.
fn group_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = (std::process::id() % 500) as u16 * 20;
    52_000 + process + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Members of the group with this port hear each other on the loopback interface.
fn member(group: u16) -> impl FnOnce(&mut Config) {
    move |config| {
        config.mode = Mode::Cluster;
        config.contexts = vec!["/jsp".into()];
        let cluster = &mut config.cluster;
        cluster.membership.bind = "127.0.0.1".into();
        cluster.membership.port = group;
        cluster.membership.frequency = 50;
        cluster.membership.drop_time = 1000;
        cluster.receiver.address = ReceiverAddress::Address([127, 0, 0, 1].into());
        cluster.receiver.port = 0;
    }
}

fn with(group: u16, change: impl FnOnce(&mut Config)) -> Node {
    Node::with(|config| {
        member(group)(config);
        change(config);
    })
}

/// Nodes that know each other.
fn nodes(count: usize) -> Vec<Node> {
    let group = group_port();
    let nodes: Vec<Node> = (0..count).map(|_| Node::with(member(group))).collect();
    nodes.iter().for_each(|node| knows(node, count - 1));
    nodes
}

fn knows(node: &Node, members: usize) {
    until("all members are known", || {
        let status = node.status();
        let all = &status["contexts"][0]["sessions"]["cluster"]["members"];
        all.as_array().is_some_and(|all| all.len() == members)
    });
}

/// The same browser at another node.
fn at(browser: &Browser, node: &Node) -> Browser {
    Browser {
        address: node.address,
        ..browser.clone()
    }
}

fn value(browser: &mut Browser, name: &str) -> serde_json::Value {
    let reply = browser.get(&format!("/jsp/api/get?name={name}"));
    reply.json()["value"].clone()
}

fn set(browser: &mut Browser, name: &str, value: &str) {
    let reply = browser.get(&format!("/jsp/api/set?name={name}&value={value}"));
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[test]
fn a_session_made_on_one_node_is_served_by_the_others() {
    let nodes = nodes(3);
    let mut a = nodes[0].browser();
    set(&mut a, "Blog", "MeXP");
    let cookie = a.cookie.clone();
    let mut b = at(&a, &nodes[1]);
    let reply = b.get("/jsp/api/get?name=Blog");
    assert_eq!(reply.json()["value"], "MeXP");
    assert_eq!(reply.field("x-session-source"), Some("replica"));
    assert_eq!(b.cookie, cookie, "without a route the id stays");
    set(&mut b, "Blog", "changed");
    set(&mut b, "more", "1");
    for node in &nodes {
        let mut browser = at(&a, node);
        assert_eq!(value(&mut browser, "Blog"), "changed");
        assert_eq!(value(&mut browser, "more"), "1");
    }
}

/// Whatever order the requests take, no step is lost: with option 6 the others have it before the browser has the answer.
#[test]
fn a_counter_that_alternates_between_nodes_loses_no_step() {
    let nodes = nodes(2);
    let mut browser = nodes[0].browser();
    for step in 1..=100 {
        browser.address = nodes[step % 2].address;
        assert_eq!(browser.get("/jsp/api/count").json()["value"], step);
    }
}

/// A single worker shares its thread with the channel, several get their answers from it through mailboxes: all wait for the copy.
#[test]
fn servers_with_one_worker_and_with_several_share_sessions() {
    let group = group_port();
    let nodes = [1, 4].map(|workers| with(group, |config| config.workers = workers));
    nodes.iter().for_each(|node| knows(node, 1));
    let count = |node: &Node, other: &Node| {
        let mut browser = node.browser();
        let addresses = [node.address, other.address];
        std::thread::spawn(move || {
            for step in 1..=25 {
                browser.address = addresses[step % 2];
                assert_eq!(browser.get("/jsp/api/count").json()["value"], step);
            }
        })
    };
    let browsers: Vec<_> = (0..16)
        .map(|i| count(&nodes[i % 2], &nodes[1 - i % 2]))
        .collect();
    for browser in browsers {
        browser.join().expect("no step is lost");
    }
    nodes.iter().for_each(Node::stop);
    nodes.into_iter().for_each(Node::join);
}

#[test]
fn requests_are_told_whether_their_session_was_served_here_if_that_is_asked_for() {
    let group = group_port();
    let tells = with(group, |config| {
        config.cluster.valve.primary_indicator = true;
    });
    let silent = with(group, |_| {});
    knows(&tells, 1);
    knows(&silent, 1);
    let mut browser = silent.browser();
    let primary = |browser: &mut Browser, node: &Node| {
        browser.address = node.address;
        browser.get("/jsp/api/session").json()["primary"].clone()
    };
    assert_eq!(primary(&mut browser, &silent), serde_json::Value::Null);
    assert_eq!(primary(&mut browser, &tells), false);
    until("this server served it", || {
        primary(&mut browser, &tells) == true
    });
}

/// Two servers that change different attributes at the same time lose neither.
#[test]
fn parallel_changes_on_two_nodes_are_merged() {
    let nodes = nodes(2);
    let mut browser = nodes[0].browser();
    set(&mut browser, "start", "1");
    let browsers: Vec<Browser> = nodes.iter().map(|node| at(&browser, node)).collect();
    let write = |mut browser: Browser, name: &'static str| {
        std::thread::spawn(move || {
            (0..50).for_each(|i| set(&mut browser, &format!("{name}{i}"), "x"));
        })
    };
    let (one, two) = (
        write(browsers[0].clone(), "a"),
        write(browsers[1].clone(), "b"),
    );
    one.join().expect("all answered");
    two.join().expect("all answered");
    for mut browser in browsers {
        let all = browser.get("/jsp/api/session").json();
        let attributes = all["attributes"].as_object().expect("attributes");
        assert_eq!(attributes.len(), 101);
    }
}

#[test]
fn a_log_in_changes_the_id_everywhere_and_a_log_out_is_final() {
    let nodes = nodes(2);
    let mut browser = nodes[0].browser();
    set(&mut browser, "cart", "book");
    let planted = at(&browser, &nodes[1]);
    browser.get("/jsp/api/login?user=somebody");
    assert_ne!(browser.cookie, planted.cookie);
    let mut moved = at(&browser, &nodes[1]);
    assert_eq!(value(&mut moved, "cart"), "book");
    assert_eq!(value(&mut moved, "user"), "somebody");
    for node in &nodes {
        assert_eq!(
            value(&mut at(&planted, node), "cart"),
            serde_json::Value::Null
        );
    }
    // A request that runs when the session ends does not bring it back.
    let mut slow = at(&browser, &nodes[0]);
    let slow =
        std::thread::spawn(move || slow.get("/jsp/api/slow?ms=300&name=late&value=1").status);
    until("the slow request runs", || {
        nodes[0].status()["open_connections"].as_u64() >= Some(1)
    });
    moved.get("/jsp/api/logout");
    let _ = slow.join().expect("answered");
    for node in &nodes {
        assert_eq!(
            value(&mut at(&browser, node), "cart"),
            serde_json::Value::Null
        );
    }
}

#[test]
fn a_node_that_joins_late_has_all_sessions_before_it_serves() {
    let group = group_port();
    let first = Node::with(member(group));
    let mut browsers: Vec<Browser> = (0..200).map(|_| first.browser()).collect();
    for (i, browser) in browsers.iter_mut().enumerate() {
        set(browser, "number", &i.to_string());
    }
    let second = Node::with(member(group));
    for (i, browser) in browsers.iter().enumerate() {
        assert_eq!(value(&mut at(browser, &second), "number"), i.to_string());
    }
    // The first goes, in order; nothing is lost.
    first.stop();
    first.join();
    for (i, browser) in browsers.iter().enumerate() {
        assert_eq!(value(&mut at(browser, &second), "number"), i.to_string());
    }
}

#[test]
fn the_route_of_an_id_follows_the_node() {
    let group = group_port();
    let a = with(group, |config| config.jvm_route = "WEB1".into());
    let b = with(group, |config| config.jvm_route = "WEB2".into());
    knows(&a, 1);
    let mut browser = a.browser();
    set(&mut browser, "k", "v");
    assert!(browser.id().ends_with(".WEB1"), "{}", browser.id());
    let old = browser.clone();
    browser.address = b.address;
    assert_eq!(value(&mut browser, "k"), "v");
    assert!(browser.id().ends_with(".WEB2"), "{}", browser.id());
    // A browser that still has the old cookie finds the same session, where Tomcat makes a new one.
    assert_eq!(value(&mut at(&old, &a), "k"), "v");
}

#[test]
fn requests_that_match_the_filter_tell_nothing_until_another_does() {
    let group = group_port();
    let filter = |config: &mut Config| config.cluster.valve.filter = ".*/api/set".into();
    let (a, b) = (with(group, filter), with(group, filter));
    knows(&a, 1);
    // On a busy machine the two may lose each other, and compare what they have, just then.
    let untold = (0..3).find_map(|_| {
        let mut browser = a.browser();
        set(&mut browser, "quiet", "1");
        value(&mut at(&browser, &b), "quiet")
            .is_null()
            .then_some(browser)
    });
    let mut browser = untold.expect("a session that was told to nobody");
    assert_eq!(value(&mut browser, "quiet"), "1");
    assert_eq!(value(&mut at(&browser, &b), "quiet"), "1");
}

#[test]
fn with_option_8_nobody_waits_and_the_others_get_it_soon() {
    let group = group_port();
    let option =
        |config: &mut Config| config.cluster.channel_send_options = SendOptions::from_bits(8);
    let (a, b) = (with(group, option), with(group, option));
    knows(&a, 1);
    let mut browser = a.browser();
    set(&mut browser, "k", "v");
    until("it arrives", || value(&mut at(&browser, &b), "k") == "v");
}

#[test]
fn two_nodes_that_start_at_once_do_not_wait_for_each_other() {
    let group = group_port();
    let began = Instant::now();
    let nodes: Vec<Node> = (0..2).map(|_| Node::with(member(group))).collect();
    nodes.iter().for_each(|node| knows(node, 1));
    assert!(began.elapsed().as_secs() < 20, "Tomcat waits a minute here");
}

/// A node as a process, which can be killed.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(group: u16) -> Self {
        Self::with(group, "", |_| {})
    }

    /// With changed settings, and with an interceptor's lines, since a key is never written.
    fn with(group: u16, lines: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        member(group)(&mut config);
        change(&mut config);
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.admin.0 = None;
        let file = std::env::temp_dir().join(format!("appserver-cluster-{group}.toml"));
        let text = toml::to_string(&config).expect("settings");
        let text = text.replacen(
            "[[cluster.interceptors]]",
            &(lines.to_owned() + "\n[[cluster.interceptors]]"),
            1,
        );
        std::fs::write(&file, text).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_appserver"))
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let stderr = child.stderr.take().expect("piped");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let line = lines
            .find(|line| line.contains("listening"))
            .expect("it listens");
        let address = line
            .split(|c: char| c.is_whitespace() || c == '=')
            .find_map(|word| word.trim_matches('"').parse::<SocketAddr>().ok())
            .unwrap_or_else(|| panic!("no address in {line}"));
        std::thread::spawn(move || lines.for_each(drop));
        let _ = std::fs::remove_file(file);
        Self { child, address }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().try_into().expect("a process id");
        kill_process(Pid::from_raw(id).expect("not 0"), signal).expect("it runs");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().expect("it ran");
        self.child.wait().expect("it is gone");
    }
}

#[test]
fn what_was_answered_survives_the_death_of_the_node_that_answered() {
    let group = group_port();
    let survivor = Node::with(member(group));
    let victim = Process::start(group);
    knows(&survivor, 1);
    let mut browser = survivor.browser();
    browser.address = victim.address;
    set(&mut browser, "first", "1");
    for step in 1..=50 {
        assert_eq!(browser.get("/jsp/api/count").json()["value"], step);
    }
    drop(victim);
    browser.address = survivor.address;
    assert_eq!(value(&mut browser, "first"), "1");
    assert_eq!(value(&mut browser, "count"), 50);
    knows(&survivor, 0);
}

/// A frozen process still has its connections, and its kernel takes what is sent. The first request waits for it as long as the
/// sender may; then nobody does, and when it goes on it has everything.
fn one_wait_for_a_frozen_node(interceptor: &str) {
    const WAIT: Duration = Duration::from_secs(1);
    const REQUESTS: u32 = 20;
    let group = group_port();
    let quick = |config: &mut Config| config.cluster.sender.timeout = WAIT.as_millis() as u64;
    let survivor = Node::at(Clock::system(), |config| {
        member(group)(config);
        quick(config);
        if !interceptor.is_empty() {
            let interceptor = toml::from_str(interceptor).expect("an interceptor");
            config.cluster.interceptors.insert(0, interceptor);
        }
    });
    let lines = match interceptor {
        "" => String::new(),
        lines => format!("[[cluster.interceptors]]\n{lines}"),
    };
    let frozen = Process::with(group, &lines, quick);
    knows(&survivor, 1);
    let mut browser = survivor.browser();
    set(&mut browser, "first", "1");
    frozen.signal(Signal::STOP);
    let began = Instant::now();
    for step in 1..=REQUESTS {
        assert_eq!(browser.get("/jsp/api/count").json()["value"], step);
    }
    let took = began.elapsed();
    assert!(took < WAIT * REQUESTS / 2, "{took:?} for {REQUESTS}");
    let cluster = || survivor.status()["contexts"][0]["sessions"]["cluster"].clone();
    until("nobody waits for it", || {
        cluster()["channel"]["members"][0]["state"] == "stalled"
    });
    frozen.signal(Signal::CONT);
    let mut there = browser.clone();
    there.address = frozen.address;
    until("it has everything", || {
        value(&mut there, "count") == REQUESTS && value(&mut there, "first") == "1"
    });
    until("it is known to have it", || {
        cluster()["members"][0]["behind"] == false
    });
}

#[test]
fn a_frozen_node_costs_one_wait_and_catches_up() {
    one_wait_for_a_frozen_node("");
}

/// Encrypted messages that waited too long are refused, as if somebody had recorded them: then the nodes compare.
#[test]
fn a_frozen_node_that_refuses_what_is_old_catches_up() {
    let key = "a".repeat(32);
    one_wait_for_a_frozen_node(&format!(
        "className = \"EncryptInterceptor\"\nencryptionKey = \"{key}\"\nreplayWindowTime = 500"
    ));
}

fn active(node: &Node) -> u64 {
    let status = node.status();
    status["contexts"][0]["sessions"]["active"]
        .as_u64()
        .expect("a number")
}

/// Each session is on two of three nodes, and every node serves it; a node that dies costs nothing, and each session is on two again.
#[test]
fn with_one_backup_each_session_is_on_two_nodes() {
    const SESSIONS: u64 = 30;
    let group = group_port();
    let node = || with(group, |config| config.mode = Mode::Backup);
    let mut nodes = vec![node(), node(), node()];
    nodes.iter().for_each(|node| knows(node, 2));
    let mut browsers: Vec<Browser> = (0..SESSIONS).map(|_| nodes[0].browser()).collect();
    for (i, browser) in browsers.iter_mut().enumerate() {
        set(browser, "number", &i.to_string());
        set(browser, "more", "1");
    }
    let held: Vec<u64> = nodes.iter().map(active).collect();
    assert_eq!(
        held,
        [SESSIONS, SESSIONS / 2, SESSIONS / 2],
        "the backups take turns"
    );

    // Any node serves any session, changes count, and there are two copies at any time.
    for step in 1..=6 {
        for (i, browser) in browsers.iter_mut().enumerate() {
            browser.address = nodes[(i + step) % 3].address;
            assert_eq!(value(browser, "number"), i.to_string());
            assert_eq!(browser.get("/jsp/api/count").json()["value"], step);
        }
    }
    until("two copies of each", || {
        nodes.iter().map(active).sum::<u64>() == 2 * SESSIONS
    });

    // A log in and a log out, known to a node that has neither copy.
    browsers[0].address = nodes[1].address;
    browsers[0].get("/jsp/api/login?user=somebody");
    for node in &nodes {
        assert_eq!(value(&mut at(&browsers[0], node), "user"), "somebody");
    }
    browsers[0].get("/jsp/api/logout");
    for node in &nodes {
        assert_eq!(
            value(&mut at(&browsers[0], node), "user"),
            serde_json::Value::Null
        );
    }

    let gone = nodes.remove(0);
    gone.stop();
    gone.join();
    nodes.iter().for_each(|node| knows(node, 1));
    for (i, browser) in browsers.iter_mut().enumerate().skip(1) {
        browser.address = nodes[i % 2].address;
        assert_eq!(value(browser, "number"), i.to_string());
        assert_eq!(value(browser, "count"), 6);
    }
    until("two copies of each again", || {
        nodes.iter().all(|node| active(node) == SESSIONS - 1)
    });

    // A new node knows where they are.
    nodes.push(node());
    knows(&nodes[2], 2);
    for (i, browser) in browsers.iter_mut().enumerate().skip(1) {
        browser.address = nodes[2].address;
        assert_eq!(value(browser, "number"), i.to_string());
    }
}
