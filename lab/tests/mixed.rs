//! A real Tomcat and one of ours in one cluster: each goes on with the other's sessions. Two real ones play the same, so
//! that nothing is asked of ours that the real one does not do.

mod support;

use std::net::SocketAddr;

use lab::app::{App, Apps};
use lab::mode::Mode;
use lab::topology::Topology;
use serde_json::{Value, json};
use support::pair::{BOTH_REAL, Pair, User};
use support::tomcat::is_here;

const MIXED: Apps = Apps {
    a: App::Appserver,
    b: App::Tomcat,
};

/// `DeltaManager` and `BackupManager`.
const MODES: [Mode; 2] = [Mode::Cluster, Mode::Backup];

/// A real one that has died does not answer, and who starts meanwhile waits for its sessions: not for long.
fn quick_to_give_up(topology: &mut Topology) {
    topology.cluster.wait_for_sessions(6);
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

async fn go_on_with_each_others_sessions(mode: Mode, apps: Apps) {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pair = Pair::in_mode(mode, apps, folder.path(), quick_to_give_up).await;
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
fn come_back(mode: Mode, users: &mut [User], server: SocketAddr, visit: u64) {
    for (number, user) in users.iter_mut().enumerate() {
        assert_eq!(
            user.get(server, "name"),
            json!(format!("user-{number}")),
            "{mode}, visit {visit}"
        );
        assert_eq!(user.count(server), json!(visit));
    }
}

/// Either is killed and joins again late: the other has everything meanwhile, and tells it what happened.
async fn survive_each_other(mode: Mode, apps: Apps) {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut pair = Pair::in_mode(mode, apps, folder.path(), quick_to_give_up).await;
    let servers = pair.servers;
    let mut users = shoppers(servers);
    let mut visit = 1;
    for dies in [1, 0] {
        let lives = 1 - dies;
        pair.kill(dies).await;
        visit += 1;
        come_back(mode, &mut users, servers[lives], visit);
        let mut ended = User::default();
        ended.set(servers[lives], "cart", "full");
        let gone = ended.clone();
        ended.call(servers[lives], "logout");
        pair.start_again(dies).await;
        visit += 1;
        // It answers only when it has been told.
        come_back(mode, &mut users, servers[dies], visit);
        assert!(!gone.is_known(servers[dies]));
        pair.wait_until_joined();
        visit += 1;
        come_back(mode, &mut users, servers[lives], visit);
    }
    pair.stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_real_ones_go_on_with_each_others_sessions() {
    for mode in MODES {
        go_on_with_each_others_sessions(mode, BOTH_REAL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_real_ones_survive_each_other() {
    for mode in MODES {
        survive_each_other(mode, BOTH_REAL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_and_a_real_one_go_on_with_each_others_sessions() {
    for mode in MODES {
        go_on_with_each_others_sessions(mode, MIXED).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_and_a_real_one_survive_each_other() {
    for mode in MODES {
        survive_each_other(mode, MIXED).await;
    }
}
