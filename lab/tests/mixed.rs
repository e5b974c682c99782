//! A real Tomcat and one of ours in one cluster: each goes on with the other's sessions. Two real ones play the same, so
//! that nothing is asked of ours that the real one does not do.

mod support;

use std::net::SocketAddr;
use std::path::Path;

use lab::app::{App, Apps};
use lab::mode::Mode;
use lab::stage::{self, Stage};
use lab::topology::Topology;
use serde_json::{Value, json};
use support::tomcat::{ask, is_here, set_cookie};
use support::{LAB, wait_for};

const MIXED: Apps = Apps {
    a: App::Appserver,
    b: App::Tomcat,
};

const BOTH_REAL: Apps = Apps {
    a: App::Tomcat,
    b: App::Tomcat,
};

/// Two servers in a cluster and a proxy.
struct Pair {
    stage: Stage,
    _events: tokio::sync::mpsc::Receiver<stage::Event>,
    servers: [SocketAddr; 2],
    names: [String; 2],
}

impl Pair {
    /// Starts it and waits until a session of one is known to the other, both ways.
    async fn start(apps: Apps, folder: &Path) -> Self {
        let setting = stage::Setting {
            lab: LAB.into(),
            folder: folder.to_owned(),
            recorder: None,
        };
        let both_real = !apps.has_ours();
        let arrange = |topology: &mut Topology| {
            if both_real {
                // A real one that has died does not answer, and who starts meanwhile waits so long for its sessions.
                let wait = ("cluster.manager", "stateTransferTimeout", "2".to_owned());
                topology.cluster.more.push(wait);
            }
        };
        let started = Stage::on_free_ports(Mode::Cluster, None, apps, setting, arrange).await;
        let (stage, events) = started.unwrap_or_else(|e| panic!("{e}"));
        let nodes: Vec<_> = stage.topology().appservers().cloned().collect();
        let pair = Self {
            servers: [nodes[0].place.listen, nodes[1].place.listen],
            names: [nodes[0].name.clone(), nodes[1].name.clone()],
            stage,
            _events: events,
        };
        pair.wait_until_joined();
        pair
    }

    fn wait_until_joined(&self) {
        for (here, there) in [(0, 1), (1, 0)] {
            wait_for("the servers know each other", || {
                let mut user = User::default();
                user.set(self.servers[here], "probe", "yes");
                user.get(self.servers[there], "probe") == json!("yes")
            });
        }
    }

    async fn kill(&self, server: usize) {
        let killed = self.stage.kill(&self.names[server]).await;
        killed.unwrap_or_else(|e| panic!("{e}"));
    }

    async fn start_again(&mut self, server: usize) {
        let started = self.stage.start_again(&self.names[server]).await;
        started.unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Somebody with a session cookie.
#[derive(Default, Clone)]
struct User {
    id: String,
}

impl User {
    /// Asks for a page of the contract and takes the cookie that comes.
    fn call(&mut self, server: SocketAddr, call: &str) -> Value {
        let (status, head, body) = ask(server, "GET", &format!("/jsp/api/{call}"), &self.id);
        assert_eq!(status, 200, "{call}: {body}");
        if let Some(id) = set_cookie(&head) {
            self.id = id;
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        if let Some(id) = answer["session"]["id"].as_str() {
            assert_eq!(id, self.id, "{call}: {body}");
        }
        answer
    }

    fn get(&mut self, server: SocketAddr, name: &str) -> Value {
        self.call(server, &format!("get?name={name}"))["value"].take()
    }

    fn set(&mut self, server: SocketAddr, name: &str, value: &str) {
        let answer = self.call(server, &format!("set?name={name}&value={value}"));
        assert_eq!(answer["value"], json!(value));
    }

    fn append(&mut self, server: SocketAddr, value: &str) -> Value {
        self.call(server, &format!("append?name=list&value={value}"))["value"].take()
    }

    fn count(&mut self, server: SocketAddr) -> Value {
        self.call(server, "count")["value"].take()
    }

    /// `setAttribute(name, null)`.
    fn remove(&mut self, server: SocketAddr, name: &str) {
        let (status, head, body) = ask(server, "GET", &format!("/jsp/set?name={name}"), &self.id);
        assert_eq!(status, 200, "{body}");
        if let Some(id) = set_cookie(&head) {
            self.id = id;
        }
    }

    fn random(&self) -> &str {
        &self.id[..32]
    }

    /// Whether the server has a session of this ID, asked without taking a cookie.
    fn is_known(&self, server: SocketAddr) -> bool {
        self.clone().call(server, "get?name=any")["session"].is_object()
    }
}

/// Attributes set, changed and removed on either side are so on the other, with their types.
fn attributes(here: SocketAddr, there: SocketAddr) {
    let mut user = User::default();
    user.set(here, "text", "one");
    assert_eq!(user.append(here, "apple"), json!(["apple"]));
    assert_eq!(user.count(here), json!(1));
    let random = user.random().to_owned();
    assert_eq!(user.get(there, "text"), json!("one"));
    assert_eq!(user.get(there, "Blog"), Value::Null);
    // Each refuses to count what is no Long and to append to what is no list.
    assert_eq!(user.count(there), json!(2));
    assert_eq!(user.append(there, "pear"), json!(["apple", "pear"]));
    user.set(there, "text", "two");
    user.call(there, "set?name=more&value=%C3%A4%F0%9F%98%80");
    assert_eq!(user.get(here, "text"), json!("two"));
    assert_eq!(user.get(here, "more"), json!("ä😀"));
    assert_eq!(user.count(here), json!(3));
    assert_eq!(user.append(here, "fig"), json!(["apple", "pear", "fig"]));
    user.remove(there, "text");
    user.remove(here, "more");
    for server in [here, there] {
        let all = user.call(server, "session");
        let expected = json!({"Blog": "MeXP", "count": 3, "list": ["apple", "pear", "fig"]});
        assert_eq!(all["attributes"], expected);
        assert_eq!(all["session"]["is_new"], json!(false));
        assert_eq!(all["session"]["max_inactive"], json!(1800));
    }
    assert_eq!(user.random(), random, "it is one session");
}

/// A log in on one side changes the ID on both.
fn log_in(here: SocketAddr, there: SocketAddr) {
    let mut user = User::default();
    user.set(here, "cart", "full");
    assert!(user.is_known(there));
    let mut user = User::default();
    user.set(here, "cart", "full");
    let before = user.clone();
    assert_eq!(user.call(here, "login?user=alice")["value"], json!("alice"));
    assert_ne!(user.random(), before.random());
    for server in [here, there] {
        assert!(!before.is_known(server), "the old ID is unknown");
    }
    assert_eq!(user.get(there, "user"), json!("alice"));
    assert_eq!(user.get(there, "cart"), json!("full"));
    assert_eq!(user.get(here, "user"), json!("alice"));
}

/// A log out on one side ends the session on both.
fn log_out(here: SocketAddr, there: SocketAddr) {
    let mut user = User::default();
    user.set(here, "cart", "full");
    assert_eq!(user.get(there, "cart"), json!("full"));
    let answer = user.call(here, "logout");
    assert_eq!(answer["session"], Value::Null);
    for server in [there, here] {
        assert!(!user.is_known(server));
    }
}

/// Requests that alternate see every step, through the proxy as a browser would.
fn round_robin(pair: &Pair) {
    let proxy = pair.stage.topology().proxy().expect("there").place.listen;
    let mut user = User::default();
    let mut nodes = Vec::new();
    for step in 1..=20 {
        let answer = user.call(proxy, "count");
        assert_eq!(answer["value"], json!(step), "{answer}");
        nodes.push(answer["node"].to_string());
    }
    assert!(nodes.windows(2).all(|two| two[0] != two[1]), "{nodes:?}");
}

async fn go_on_with_each_others_sessions(apps: Apps) {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pair = Pair::start(apps, folder.path()).await;
    let [a, b] = pair.servers;
    for (here, there) in [(a, b), (b, a)] {
        attributes(here, there);
        log_in(here, there);
        log_out(here, there);
    }
    round_robin(&pair);
    pair.stage.stop().await;
}

/// Users with sessions of either side, and what they know.
fn shoppers(servers: [SocketAddr; 2]) -> Vec<User> {
    let shop = |number: usize| {
        let mut user = User::default();
        user.set(servers[number % 2], "name", &format!("user-{number}"));
        user.count(servers[(number / 2) % 2]);
        user
    };
    (0..8).map(shop).collect()
}

/// Each has everything, on this server, and counts once more there.
fn come_back(users: &mut [User], server: SocketAddr, visit: u64) {
    for (number, user) in users.iter_mut().enumerate() {
        assert_eq!(
            user.get(server, "name"),
            json!(format!("user-{number}")),
            "visit {visit}"
        );
        assert_eq!(user.count(server), json!(visit));
    }
}

/// Either is killed and joins again late: the other has everything meanwhile, and tells it what happened.
async fn survive_each_other(apps: Apps) {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut pair = Pair::start(apps, folder.path()).await;
    let servers = pair.servers;
    let mut users = shoppers(servers);
    let mut visit = 1;
    for dies in [1, 0] {
        let lives = 1 - dies;
        pair.kill(dies).await;
        visit += 1;
        come_back(&mut users, servers[lives], visit);
        let mut ended = User::default();
        ended.set(servers[lives], "cart", "full");
        let gone = ended.clone();
        ended.call(servers[lives], "logout");
        pair.start_again(dies).await;
        visit += 1;
        // It answers only when it has been told.
        come_back(&mut users, servers[dies], visit);
        assert!(!gone.is_known(servers[dies]));
        pair.wait_until_joined();
        visit += 1;
        come_back(&mut users, servers[lives], visit);
    }
    pair.stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_real_ones_go_on_with_each_others_sessions() {
    go_on_with_each_others_sessions(BOTH_REAL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_real_ones_survive_each_other() {
    survive_each_other(BOTH_REAL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_and_a_real_one_go_on_with_each_others_sessions() {
    go_on_with_each_others_sessions(MIXED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_and_a_real_one_survive_each_other() {
    survive_each_other(MIXED).await;
}
