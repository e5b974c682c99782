//! What our servers ask their nodes for, against what a real msm asked its own (`msm/traces.txt`): the same requests give the
//! same commands with the same answers, keys, exptimes and sizes, and the application sees the same attributes.

#[path = "support/replay.rs"]
mod replay;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use appserver::manager::msm::attributes;
use appserver::manager::msm::pattern::RequestLine;
use appserver::manager::msm::protocol::{
    Answer, Command, Ending, Held, NonSticky, Outcome, Verb, World,
};
use appserver::session::attributes::Attributes;
use appserver::session::{AskedId, Timestamp};
use replay::{Server, Stage, nodes_of, replay, scenarios};
use serde_json::{Value as Json, json};

/// A few memcacheds and a clock.
#[derive(Debug, Default)]
struct Nodes {
    now: u64,
    items: Vec<HashMap<String, (u64, Vec<u8>)>>,
    down: Vec<bool>,
    /// Nodes that take commands and do not answer in time.
    silent: Vec<bool>,
    /// Per node what it was sent and what it answered.
    log: Vec<Vec<String>>,
    pings: usize,
    /// The next number of [`World::random`].
    next_random: usize,
}

impl Nodes {
    fn answer(&mut self, node: usize, command: &Command) -> Answer {
        if self.down[node] {
            return Answer::Failed;
        }
        let (verb, key) = (&command.verb, &command.key.to_string());
        let now = self.now;
        let items = &mut self.items[node];
        items.retain(|_, (expiry, _)| *expiry > now);
        let until = |exptime: i64| match exptime {
            0 => u64::MAX,
            ..0 => 0,
            relative => now + relative as u64 * 1000,
        };
        let present = items.contains_key(key);
        let found = items.get(key).map(|(_, value)| value.clone());
        let removed = *verb == Verb::Delete && items.remove(key).is_some();
        let mut put = |exptime: i64, value: &Vec<u8>| {
            items.insert(key.clone(), (until(exptime), value.clone()));
            Answer::Done
        };
        let size = |value: &Vec<u8>| value.len();
        let (told, answer) = match verb {
            Verb::Get => match found {
                Some(value) => (
                    format!("get {key}=hit(0,{})", size(&value)),
                    Answer::Hit(value),
                ),
                None => (format!("get {key}=miss"), Answer::Miss),
            },
            Verb::Set(exptime, value) => (
                format!("set {key}(0,{exptime},{})=STORED", size(value)),
                put(*exptime, value),
            ),
            Verb::Add(exptime, value) if present => (
                format!("add {key}(0,{exptime},{})=NOT_STORED", size(value)),
                Answer::NotStored,
            ),
            Verb::Add(exptime, value) => (
                format!("add {key}(0,{exptime},{})=STORED", size(value)),
                put(*exptime, value),
            ),
            Verb::Gets | Verb::Replace(..) | Verb::Cas(..) | Verb::Touch(_) => {
                unreachable!("msm sends none of these")
            }
            Verb::Delete if removed => (format!("delete {key}=DELETED"), Answer::Done),
            Verb::Delete => (format!("delete {key}=NOT_FOUND"), Answer::Miss),
        };
        if key.contains("ping-") {
            self.pings += 1;
        } else {
            self.log[node].push(told);
        }
        if self.silent[node] {
            Answer::Failed
        } else {
            answer
        }
    }
}

#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Nodes>>);

impl Shared {
    fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Nodes {
            now: 1_795_389_394_716,
            items: vec![HashMap::new(); count],
            down: vec![false; count],
            silent: vec![false; count],
            log: vec![Vec::new(); count],
            ..Nodes::default()
        })))
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.0.lock().expect("not poisoned")
    }

    /// What each node was sent since the last call.
    fn take_log(&self) -> Vec<Vec<String>> {
        let mut nodes = self.nodes();
        let empty = vec![Vec::new(); nodes.log.len()];
        std::mem::replace(&mut nodes.log, empty)
    }

    fn wait(&self, millis: u64) {
        self.nodes().now += millis;
    }
}

impl World for Shared {
    async fn call(&self, node: usize, command: Command, limit: u32) -> Answer {
        let answer = self.nodes().answer(node, &command);
        if self.nodes().silent[node] {
            self.wait(limit.into());
        }
        answer
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.nodes().now)
    }

    async fn pause(&self, millis: u64) {
        self.wait(millis);
    }

    fn random(&self, below: usize) -> usize {
        self.nodes().next_random.min(below - 1)
    }
}

impl Stage for Shared {
    type World = Self;

    fn world(&mut self, _: &str) -> Self {
        self.clone()
    }

    fn choose(&mut self, node: usize) {
        self.nodes().next_random = node;
    }

    fn wait(&mut self, millis: u64) {
        Self::wait(self, millis);
    }

    async fn kill(&mut self, node: usize) {
        let mut nodes = self.nodes();
        nodes.down[node] = true;
        nodes.items[node].clear();
    }

    async fn start(&mut self, node: usize) {
        self.nodes().down[node] = false;
    }

    fn take_log(&mut self) -> Vec<Vec<String>> {
        Self::take_log(self)
    }
}

#[tokio::test]
async fn every_recorded_request_sends_what_msm_sent() {
    let scenarios = scenarios();
    assert!(scenarios.len() > 20);
    let mut requests = 0;
    for (name, config, steps) in &scenarios {
        let mut stage = Shared::new(nodes_of(name));
        requests += replay(&mut stage, name, config, steps).await;
    }
    assert!(requests > 140, "{requests}");
}

/// A non-sticky server with two nodes, n1 the next that is chosen, and msm's settings but for these.
fn non_sticky(more: &Json) -> (Shared, NonSticky<Shared>) {
    let count = if more.get("memcachedNodes").is_some() {
        3
    } else {
        2
    };
    let world = Shared::new(count);
    match Server::new("tomcat-a", more, &world, "") {
        Server::NonSticky { exchange, .. } => (world, *exchange),
        Server::Sticky { .. } => panic!("sticky"),
    }
}

const READ: RequestLine<'static> = RequestLine {
    method: "GET",
    path: "/jsp/get",
    query: None,
    context: "/jsp",
};

fn one(value: &str) -> Vec<u8> {
    let mut all = Attributes::new();
    all.set_str("k", value).expect("short");
    attributes::encode(&all, |_| true).expect("plain")
}

/// Stores a session with `k` = `value`, on both nodes; its id.
async fn stored(exchange: &NonSticky<Shared>, value: &str) -> String {
    let held = exchange.create(1800).await;
    let id = held.id.to_string();
    end(exchange, held, Some(value)).await;
    exchange.world().take_log();
    id
}

/// Ends a request that set `k` or touched nothing; whether the copies were made.
async fn end(exchange: &NonSticky<Shared>, mut held: Held, value: Option<&str>) -> bool {
    let attributes = value.map(one);
    let ending = Ending {
        attributes: attributes.as_deref(),
    };
    let copies = exchange.end(&mut held, ending, &READ).await;
    let copied = copies.is_some();
    if let Some(copies) = copies {
        exchange.copy(&mut held, copies).await;
    }
    copied
}

async fn find(exchange: &NonSticky<Shared>, id: &str) -> Option<Held> {
    let asked = AskedId::parse(id.as_bytes()).expect("an id");
    exchange.find(&asked, &READ).await
}

fn is(held: &Held, value: &str) -> bool {
    held.attributes() == one(value)
}

#[tokio::test]
async fn a_node_is_asked_whether_it_is_up_once_a_second_and_only_when_needed() {
    let (world, exchange) = non_sticky(&json!({"sticky": false}));
    let id = stored(&exchange, "a").await;
    assert_eq!(world.nodes().pings, 2);
    for (wait, pings) in [(500, 2), (499, 2), (1, 4), (999, 4), (1, 6)] {
        world.wait(wait);
        let held = find(&exchange, &id).await.expect("stored");
        end(&exchange, held, None).await;
        assert_eq!(world.nodes().pings, pings);
    }
    world.wait(5000);
    assert!(find(&exchange, &id).await.is_some());
    assert_eq!(world.nodes().pings, 7, "nobody asked for the copy");
}

#[tokio::test]
async fn a_session_is_lost_when_its_node_dies_under_a_fresh_opinion() {
    let (world, exchange) = non_sticky(&json!({"sticky": false}));
    let id = stored(&exchange, "a").await;
    world.nodes().down[0] = true;
    assert_eq!(find(&exchange, &id).await, None, "though the copy is there");
    let held = exchange.create(1800).await;
    assert_eq!(held.id.suffix.node(), Some("n1"), "the dead one");
    assert!(!end(&exchange, held, Some("b")).await);
    assert!(world.take_log().concat().is_empty());
    // That store failed, so the node counts as down from now on.
    let held = find(&exchange, &id).await.expect("the copy");
    assert_eq!(held.id.to_string(), format!("{}-n2", &id[..32]));
    assert!(is(&held, "a"));
}

#[tokio::test]
async fn a_node_that_comes_back_empty_has_no_session() {
    let (world, exchange) = non_sticky(&json!({"sticky": false}));
    let id = stored(&exchange, "a").await;
    world.nodes().items[0].clear();
    assert_eq!(find(&exchange, &id).await, None, "though the copy is there");
}

#[tokio::test]
async fn an_interval_that_was_set_is_forgotten() {
    let (_, exchange) = non_sticky(&json!({"sticky": false}));
    let id = stored(&exchange, "a").await;
    let mut held = find(&exchange, &id).await.expect("stored");
    held.validity.interval = 60;
    assert!(end(&exchange, held, None).await);
    let held = find(&exchange, &id).await.expect("stored");
    assert_eq!(held.validity.interval, 1800);
}

#[tokio::test]
async fn a_silent_node_costs_one_wait_a_second() {
    let (world, exchange) = non_sticky(&json!({"sticky": false}));
    let id = stored(&exchange, "a").await;
    world.nodes().silent[0] = true;
    world.wait(1000);
    let start = world.nodes().now;
    let held = find(&exchange, &id).await.expect("the copy");
    assert!(is(&held, "a"));
    assert_eq!(world.nodes().now - start, 1000, "one health check");
    assert!(find(&exchange, &id).await.is_some());
    assert_eq!(world.nodes().now - start, 1000);
}

#[tokio::test]
async fn a_store_that_takes_too_long_loses_the_change() {
    let (world, exchange) = non_sticky(&json!({"sticky": false}));
    let id = stored(&exchange, "a").await;
    let held = find(&exchange, &id).await.expect("stored");
    world.nodes().silent[0] = true;
    assert!(
        !end(&exchange, held, Some("b")).await,
        "no second copy either"
    );
    world.nodes().silent[0] = false;
    let held = find(&exchange, &id).await.expect("the copy");
    assert_eq!(held.id.suffix.node(), Some("n2"));
    assert!(is(&held, "a"), "the old content");
    // Asynchronous storing looks at no answer, so the copy is made.
    let (world, exchange) = non_sticky(&json!({"sticky": false, "sessionBackupAsync": true}));
    let id = stored(&exchange, "a").await;
    let held = find(&exchange, &id).await.expect("stored");
    world.nodes().silent[0] = true;
    assert!(end(&exchange, held, Some("b")).await);
    let copy = world.take_log()[1].first().cloned();
    assert_eq!(copy, Some(format!("set bak:{id}(0,3600,176)=STORED")));
}

#[tokio::test]
async fn a_lock_is_tried_for_a_second_and_then_ignored() {
    let (world, exchange) = non_sticky(&json!({"sticky": false, "lockingMode": "all"}));
    let id = stored(&exchange, "a").await;
    let first = find(&exchange, &id).await.expect("stored");
    world.take_log();
    let start = world.nodes().now;
    let second = find(&exchange, &id).await.expect("without the lock");
    assert_eq!(world.nodes().now - start, 1130);
    let refused = format!("add lock:{id}(0,5,6)=NOT_STORED");
    let log = world.take_log().swap_remove(0);
    assert_eq!(log.iter().filter(|told| **told == refused).count(), 8);
    // Who has no lock frees none, and who has frees it before the validity record is written.
    end(&exchange, second, None).await;
    assert!(!world.take_log()[0].concat().contains("lock:"));
    end(&exchange, first, None).await;
    let log = world.take_log().swap_remove(0);
    assert_eq!(log[0], format!("delete lock:{id}=DELETED"));
    // An unknown id leaves no lock behind.
    assert_eq!(
        find(&exchange, &format!("{}-n1", "0".repeat(32))).await,
        None
    );
    let log = world.take_log().swap_remove(0);
    assert!(log[2].starts_with("delete lock:"), "{log:?}");
}

#[tokio::test]
async fn an_unknown_id_costs_one_get_in_half_a_second() {
    let (world, exchange) = non_sticky(&json!({"sticky": false}));
    let unknown = format!("{}-n1", "0".repeat(32));
    for (wait, gets) in [(0, 1), (499, 0), (1, 1)] {
        world.wait(wait);
        assert_eq!(find(&exchange, &unknown).await, None);
        let log = world.take_log().concat();
        assert_eq!(log.len(), gets, "{log:?}");
    }
    // So does an id that was logged out here.
    let id = stored(&exchange, "a").await;
    let held = find(&exchange, &id).await.expect("stored");
    exchange.remove(&held).await;
    world.take_log();
    assert_eq!(find(&exchange, &id).await, None);
    assert!(world.take_log().concat().is_empty());
}

#[tokio::test]
async fn a_copy_is_looked_for_on_each_other_node_once() {
    let three = json!({"sticky": false, "memcachedNodes": "three"});
    let (world, exchange) = non_sticky(&three);
    let id = stored(&exchange, "a").await;
    world.wait(1000);
    world.nodes().down[0] = true;
    let invented = format!("{}-n1", "0".repeat(32));
    assert_eq!(find(&exchange, &invented).await, None);
    let both = |id: &str| {
        vec![
            format!("get bak:validity:{id}=miss"),
            format!("get bak:{id}=miss"),
        ]
    };
    assert_eq!(world.take_log()[1..], [both(&invented), both(&invented)]);
    // The copy moved on to the third node while the second was down, and is found there.
    let copy = world.nodes().items[1]
        .remove(&format!("bak:{id}"))
        .expect("a copy");
    world.nodes().items[2].insert(format!("bak:{id}"), copy);
    let held = find(&exchange, &id).await.expect("the copy");
    assert_eq!(held.id.suffix.node(), Some("n3"));
    assert!(is(&held, "a"));
}

#[tokio::test]
async fn a_record_that_nobody_can_read_is_deleted() {
    let (world, exchange) = non_sticky(&json!({"sticky": false}));
    let id = stored(&exchange, "a").await;
    for damaged in [&b""[..], b"\x01", b"\0\x03\0\x04"] {
        world.wait(500);
        let item = (u64::MAX, damaged.to_vec());
        world.nodes().items[0].insert(id.clone(), item);
        assert_eq!(find(&exchange, &id).await, None);
        let log = world.take_log().swap_remove(0);
        assert_eq!(log.last(), Some(&format!("delete {id}=DELETED")));
    }
}

#[tokio::test]
async fn what_the_nodes_of_a_sticky_server_missed_is_stored_when_they_are_used_again() {
    let world = Shared::new(2);
    let sticky = json!({"sticky": true});
    let Server::Sticky { exchange, .. } = Server::new("tomcat-a", &sticky, &world, "") else {
        panic!("not sticky");
    };
    exchange.enable(false);
    let mut held = exchange.create(1800).await;
    assert_eq!(held.id.suffix.node(), None);
    let bytes = one("a");
    let ending = Ending {
        attributes: Some(&bytes),
    };
    let outcome = exchange.end(&mut held, ending, &READ).await;
    assert_eq!(outcome, Outcome::Failed);
    assert!(is(&held, "a"));
    assert_eq!(world.nodes().pings, 0);
    exchange.enable(true);
    exchange.begin(&mut held).await;
    assert_eq!(held.id.suffix.node(), Some("n1"));
    let nothing = Ending { attributes: None };
    assert_eq!(
        exchange.end(&mut held, nothing, &READ).await,
        Outcome::Stored
    );
    assert_eq!(
        exchange.end(&mut held, nothing, &READ).await,
        Outcome::Skipped
    );
    let id = held.id.to_string();
    assert_eq!(
        world.take_log()[0],
        [format!("set {id}(0,1794,176)=STORED")]
    );
    let asked = AskedId::parse(id.as_bytes()).expect("an id");
    let other = exchange.take_over(&asked).await.expect("the copy");
    assert!(is(&other, "a"));
}

/// A server moves requests between threads.
#[test]
fn exchanges_can_be_awaited_on_any_thread() {
    fn send<T: Send>(_: T) {}
    let (_, exchange) = non_sticky(&json!({"sticky": false}));
    let asked = AskedId::parse(b"00000000000000000000000000000000-n1").expect("an id");
    send(exchange.find(&asked, &READ));
    send(exchange.create(1800));
    send(exchange.unused(&asked, &READ));
}
