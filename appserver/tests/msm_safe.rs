//! Where msm loses a session, a change or a log out, and the safe behaviour does not: each case with both, on nodes that are
//! tables.

#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use appserver::manager::msm::attributes;
use appserver::manager::msm::pattern::{Pattern, RequestLine};
use appserver::manager::msm::prefix::KeyPrefix;
use appserver::manager::msm::protocol::safe::{Change, Trouble};
use appserver::manager::msm::protocol::{
    Ending, Held, NonSticky, Outcome, Safe, Sticky, World as _,
};
use appserver::manager::msm::settings::{Behaviour, LockOnTimeout, LockingMode, MsmSettings};
use appserver::manager::{Manager, ManagerError};
use appserver::session::AskedId;
use appserver::session::attributes::Attributes;
use appserver::{MsmConfig, MsmManager};
use world::{Mood, Shared, breath, counted, run};

const PAGE: RequestLine<'static> = RequestLine {
    method: "GET",
    path: "/jsp/page",
    query: None,
    context: "/jsp",
};

const IMAGE: RequestLine<'static> = RequestLine {
    path: "/jsp/x.png",
    ..PAGE
};

/// A server of either behaviour; what they cannot do in the same words is told apart here only.
enum Server {
    Msm(Box<NonSticky<Shared>>),
    Safe(Box<Safe<Shared>>),
}

fn settings(nodes: usize, set: impl FnOnce(&mut MsmSettings)) -> MsmSettings {
    let nodes: Vec<String> = (1..=nodes).map(|n| format!("n{n}:host{n}:11211")).collect();
    let mut settings = MsmSettings {
        memcached_nodes: nodes.join(",").parse().expect("nodes"),
        locking_mode: LockingMode::Merge,
        ..MsmSettings::default()
    };
    set(&mut settings);
    settings
}

fn safe(world: &Shared, set: impl FnOnce(&mut MsmSettings)) -> Box<Safe<Shared>> {
    let settings = settings(world.tables().nodes.len(), set);
    settings
        .check("localhost", &["/jsp".into()], "")
        .expect("valid");
    let exchange = Safe::new(settings, KeyPrefix::default(), "", world.clone());
    exchange.expect("valid").into()
}

fn msm(world: &Shared) -> Box<NonSticky<Shared>> {
    let settings = settings(world.tables().nodes.len(), |settings| {
        settings.behaviour = Behaviour::Msm;
        settings.locking_mode = LockingMode::None;
    });
    let exchange = NonSticky::new(settings, KeyPrefix::default(), "", world.clone());
    exchange.expect("valid").into()
}

/// A server of each behaviour, each with nodes of its own.
fn both(nodes: usize) -> [(Shared, Server); 2] {
    let worlds = [Shared::new(nodes), Shared::new(nodes)];
    let [one, two] = &worlds;
    let servers = [Server::Msm(msm(one)), Server::Safe(safe(two, |_| {}))];
    let [one, two] = worlds;
    let [msm, safe] = servers;
    [(one, msm), (two, safe)]
}

impl Server {
    /// Another server of the same nodes and behaviour.
    fn twin(&self, world: &Shared) -> Self {
        match self {
            Self::Msm(_) => Self::Msm(msm(world)),
            Self::Safe(_) => Self::Safe(safe(world, |_| {})),
        }
    }

    fn is_safe(&self) -> bool {
        matches!(self, Self::Safe(_))
    }

    async fn create(&self) -> Held {
        match self {
            Self::Msm(server) => server.create(1800).await,
            Self::Safe(server) => server.create(1800),
        }
    }

    async fn find(&self, id: &str) -> Result<Option<Held>, Trouble> {
        let asked = AskedId::parse(id.as_bytes()).expect("an id");
        match self {
            Self::Msm(server) => Ok(server.find(&asked, &PAGE).await),
            Self::Safe(server) => server.find(&asked, &PAGE).await,
        }
    }

    /// The request is over, and set these.
    async fn end(&self, held: &mut Held, set: &[(&str, &str)]) -> Result<(), Trouble> {
        match self {
            Self::Msm(server) => {
                used(held, server.world());
                let changed = with(held, set);
                let ending = Ending {
                    attributes: changed.as_deref(),
                };
                if let Some(copies) = server.end(held, ending, &PAGE).await {
                    server.copy(held, copies).await;
                }
                Ok(())
            }
            Self::Safe(server) => end(server, held, set, &PAGE).await.map(drop),
        }
    }

    async fn remove(&self, held: &mut Held) -> Result<(), Trouble> {
        match self {
            Self::Msm(server) => {
                server.remove(held).await;
                Ok(())
            }
            Self::Safe(server) => server.remove(held).await,
        }
    }

    /// A session whose `k` is `value`, on both nodes, its own n1.
    async fn made(&self, value: &str) -> String {
        loop {
            let mut held = self.create().await;
            if held.id.suffix.node() == Some("n1") {
                self.end(&mut held, &[("k", value)])
                    .await
                    .expect("all nodes are well");
                return held.id.to_string();
            }
        }
    }

    /// The attribute of the session, as a request sees it that changes nothing.
    async fn value(&self, id: &str, name: &str) -> Result<Option<String>, Trouble> {
        let Some(mut held) = self.find(id).await? else {
            return Ok(None);
        };
        let value = value_in(&held, name);
        self.end(&mut held, &[]).await?;
        Ok(value)
    }
}

/// The encoded attributes after setting these; `None` without any.
fn with(held: &Held, set: &[(&str, &str)]) -> Option<Vec<u8>> {
    let mut all = Attributes::new();
    if !held.attributes().is_empty() {
        all = attributes::decode(held.attributes()).expect("stored by us");
    }
    for (name, value) in set {
        all.set_str(name, value).expect("small");
    }
    let encoded = attributes::encode(&all, |_| true).expect("plain");
    (!set.is_empty() || held.is_new).then_some(encoded)
}

async fn end(
    server: &Safe<Shared>,
    held: &mut Held,
    set: &[(&str, &str)],
    request: &RequestLine<'_>,
) -> Result<Outcome, Trouble> {
    used(held, server.world());
    let changed = with(held, set);
    let names: Vec<String> = set.iter().map(|(name, _)| (*name).to_owned()).collect();
    let change = Change {
        attributes: changed.as_deref(),
        names: &names,
        last: true,
    };
    server.end(held, change, request).await
}

/// A request of the session ends.
fn used(held: &mut Held, world: &Shared) {
    held.validity.last_accessed = world.now();
    held.validity.this_accessed = world.now();
}

fn value_in(held: &Held, name: &str) -> Option<String> {
    let all = attributes::decode(held.attributes()).expect("stored by us");
    all.get(name).map(|value| value.to_string())
}

fn text(value: &str) -> Result<Option<String>, Trouble> {
    Ok(Some(value.to_owned()))
}

#[test]
fn no_answer_and_an_empty_node_are_no_news() {
    type Fault = fn(&Shared);
    let faults: [(&str, Fault); 3] = [
        ("refuses", |world| world.mood(0, Mood::Refuses)),
        ("hangs", |world| world.mood(0, Mood::Hangs)),
        ("is empty", |world| world.empty(0)),
    ];
    for (name, fault) in faults {
        for (world, server) in both(2) {
            run(async {
                let id = server.made("a").await;
                fault(&world);
                let expected = match server.is_safe() {
                    true => text("a"),
                    // A hanging node's opinion is out of date by the time that it did not answer.
                    false => Ok(None),
                };
                assert_eq!(server.value(&id, "k").await, expected, "{name}");
                if !server.is_safe() {
                    return;
                }
                // The node has the session again as soon as it answers and the session is asked for.
                world.mood(0, Mood::Well);
                world.wait(6000);
                assert_eq!(server.value(&id, "k").await, text("a"), "{name}");
                assert_eq!(server.value(&id, "k").await, text("a"), "{name}");
                world.mood(1, Mood::Refuses);
                assert_eq!(server.value(&id, "k").await, text("a"), "{name}");
            });
        }
    }
}

#[test]
fn a_node_that_was_away_does_not_win_with_what_it_had() {
    let (world, server) = both(2).into_iter().next_back().expect("safe");
    run(async {
        let id = server.made("old").await;
        let mut held = server.find(&id).await.expect("all well").expect("made");
        world.mood(0, Mood::Hangs);
        let changed = server.end(&mut held, &[("k", "new")]).await;
        assert_eq!(changed, Ok(()), "one node took it");
        assert_eq!(server.value(&id, "k").await, text("new"));
        world.mood(0, Mood::Well);
        // Also for a server that saw nothing of it, and with the same id.
        let other = server.twin(&world);
        assert_eq!(other.value(&id, "k").await, text("new"));
        world.mood(1, Mood::Refuses);
        assert_eq!(server.twin(&world).value(&id, "k").await, text("new"));
    });
}

#[test]
fn a_late_request_with_the_id_of_a_dead_node_finds_what_is_newest() {
    for (world, server) in both(2) {
        run(async {
            let id = server.made("a").await;
            world.mood(0, Mood::Refuses);
            world.wait(1000);
            let held = server.find(&id).await;
            let mut held = match held {
                Ok(Some(held)) => held,
                other => panic!("{other:?}"),
            };
            server
                .end(&mut held, &[("k", "b")])
                .await
                .expect("n2 is well");
            let now = held.id.to_string();
            assert_eq!(now == id, server.is_safe(), "msm gives it a new id");
            let late = server.find(&id).await.expect("n2 is well").expect("there");
            let expected = if server.is_safe() { "b" } else { "a" };
            assert_eq!(value_in(&late, "k").as_deref(), Some(expected));
        });
    }
}

#[test]
fn a_slow_answer_is_an_answer() {
    for (world, server) in both(2) {
        run(async {
            let id = server.made("a").await;
            let mut held = server.find(&id).await.expect("well").expect("made");
            world.mood(0, Mood::Slow(500));
            server.end(&mut held, &[("k", "b")]).await.expect("slow");
            world.mood(0, Mood::Well);
            let expected = if server.is_safe() { "b" } else { "a" };
            assert_eq!(server.value(&id, "k").await, text(expected));
            if let Server::Safe(server) = &server {
                assert!(
                    server
                        .states()
                        .iter()
                        .all(|state| state.down_since().is_none())
                );
            }
        });
    }
}

#[test]
fn nothing_is_acknowledged_that_no_node_took() {
    for mood in [Mood::Refuses, Mood::Hangs] {
        for (world, server) in both(2) {
            run(async {
                let id = server.made("a").await;
                let mut held = server.find(&id).await.expect("well").expect("made");
                world.mood(0, mood);
                world.mood(1, mood);
                let ended = server.end(&mut held, &[("k", "b")]).await;
                let known = server.find(&id).await;
                let mut new = server.create().await;
                let created = server.end(&mut new, &[]).await;
                if server.is_safe() {
                    assert_eq!(ended, Err(Trouble::Unavailable));
                    assert_eq!(known, Err(Trouble::Unavailable), "not: there is none");
                    assert_eq!(created, Err(Trouble::Unavailable));
                } else {
                    assert_eq!((ended, created), (Ok(()), Ok(())));
                }
            });
        }
    }
}

#[test]
fn a_session_larger_than_the_item_limit_keeps_what_it_was() {
    for (world, server) in both(2) {
        run(async {
            let id = server.made("a").await;
            for node in &mut world.tables().nodes {
                node.largest = 1000;
            }
            let mut held = server.find(&id).await.expect("well").expect("made");
            let ended = server.end(&mut held, &[("big", &"x".repeat(2000))]).await;
            match &server {
                Server::Msm(_) => {
                    assert_eq!(ended, Ok(()));
                    assert_eq!(server.value(&id, "k").await, Ok(None), "and it is gone");
                }
                Server::Safe(exchange) => {
                    assert!(matches!(ended, Err(Trouble::TooLarge(2001..))), "{ended:?}");
                    assert_eq!(server.value(&id, "k").await, text("a"));
                    assert_eq!(exchange.status().too_large, 1);
                }
            }
        });
    }
}

#[test]
fn requests_on_two_servers_keep_each_others_changes() {
    for (world, one) in both(2) {
        run(async {
            let two = one.twin(&world);
            let id = one.made("a").await;
            let mut first = one.find(&id).await.expect("well").expect("made");
            let mut second = two.find(&id).await.expect("well").expect("made");
            one.end(&mut first, &[("x", "1")]).await.expect("well");
            two.end(&mut second, &[("y", "2")]).await.expect("well");
            for name in ["x", "y"] {
                let expected = match (one.is_safe(), name) {
                    (true, "x") => text("1"),
                    (false, "x") => Ok(None),
                    _ => text("2"),
                };
                assert_eq!(one.value(&id, name).await, expected, "{name}");
            }
            let both = one.find(&id).await.expect("well").expect("there");
            if let Server::Safe(two) = &two {
                assert_eq!((two.status().conflicts, two.status().merges), (1, 1));
                // Both nodes have the merged session.
                world.mood(0, Mood::Refuses);
                let copy = one.find(&id).await.expect("n2 is well").expect("there");
                assert_eq!(copy.attributes(), both.attributes());
            }
        });
    }
}

#[test]
fn with_locking_mode_none_the_last_to_end_wins_and_a_removed_attribute_stays_removed_with_merge() {
    for (mode, x) in [(LockingMode::None, None), (LockingMode::Merge, Some("1"))] {
        let world = Shared::new(2);
        let [one, two] = [0, 1].map(|_| {
            Server::Safe(safe(&world, |settings| {
                settings.locking_mode = mode.clone();
            }))
        });
        run(async {
            let id = one.made("a").await;
            let mut first = one.find(&id).await.expect("well").expect("made");
            let mut second = two.find(&id).await.expect("well").expect("made");
            one.end(&mut first, &[("x", "1")]).await.expect("well");
            two.end(&mut second, &[("k", "b")]).await.expect("well");
            assert_eq!(
                one.value(&id, "x").await,
                Ok(x.map(str::to_owned)),
                "{mode}"
            );
            assert_eq!(one.value(&id, "k").await, text("b"), "{mode}");
        });
    }
}

/// Several requests at the same time, polled in an order that the seed decides.
fn together<T>(seed: u64, each: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut each: Vec<_> = each
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while each.iter().any(|(_, output)| output.is_none()) {
        for (future, output) in &mut each {
            if output.is_none()
                && random.bool()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(&mut context)
            {
                *output = Some(ready);
            }
        }
    }
    each.into_iter().filter_map(|(_, output)| output).collect()
}

#[test]
fn many_servers_at_once_lose_nothing_whoever_gets_through_first() {
    for seed in 0..300 {
        let world = Shared::new(2);
        let servers: Vec<Server> = (0..5).map(|_| Server::Safe(safe(&world, |_| {}))).collect();
        let id = run(servers[0].made("a"));
        let each = servers.iter().zip(0..).map(|(server, number)| {
            let id = &id;
            async move {
                let mut held = server.find(id).await.expect("well").expect("made");
                server.end(&mut held, &[(&format!("x{number}"), "1")]).await
            }
        });
        let ended = together(seed, each.collect());
        assert!(ended.iter().all(Result::is_ok), "{seed}: {ended:?}");
        for number in 0..5 {
            let value = run(servers[0].value(&id, &format!("x{number}")));
            assert_eq!(value, text("1"), "{seed} {number}");
        }
    }
}

fn locking(world: &Shared, what: LockOnTimeout) -> Box<Safe<Shared>> {
    safe(world, |settings| {
        settings.locking_mode = LockingMode::All;
        settings.lock_timeout = 2000;
        settings.lock_on_timeout = what;
    })
}

#[test]
fn a_lock_has_an_owner_and_waiting_for_it_has_an_end() {
    for (what, waits, got) in [
        (LockOnTimeout::Fail, 2000..3000, Err(Trouble::Locked)),
        (LockOnTimeout::Proceed, 2000..3000, Ok(())),
        (LockOnTimeout::Wait, 60_000..61_000, Err(Trouble::Locked)),
    ] {
        let world = Shared::new(2);
        let server = Server::Safe(locking(&world, what));
        run(async {
            let id = server.made("a").await;
            let key = format!("lock:{id}");
            // msm's own word is somebody else's lock.
            world.put(0, &key, b"locked");
            let start = world.tables().now;
            let found = server.find(&id).await;
            let waited = world.tables().now - start;
            assert!(waits.contains(&waited), "{what:?} {waited}");
            assert_eq!(
                found.as_ref().map(drop).map_err(Clone::clone),
                got,
                "{what:?}"
            );
            if let Ok(Some(mut held)) = found {
                server.end(&mut held, &[]).await.expect("well");
            }
            assert_eq!(world.value(0, &key).as_deref(), Some(&b"locked"[..]));
            let Server::Safe(server) = &server else {
                return;
            };
            assert_eq!(
                (server.status().lock_waits, server.status().lock_timeouts),
                (1, 1)
            );
        });
    }
}

#[test]
fn a_lock_is_renewed_while_its_request_runs_and_frees_itself_when_its_owner_died() {
    let world = Shared::new(2);
    let server = Server::Safe(locking(&world, LockOnTimeout::Fail));
    let Server::Safe(exchange) = &server else {
        return;
    };
    run(async {
        let id = server.made("a").await;
        let key = format!("lock:{id}");
        let mut held = server.find(&id).await.expect("well").expect("made");
        let token = world.value(0, &key).expect("locked");
        assert_ne!(token, b"locked");
        let lock = held.lock().expect("locked").clone();
        for _ in 0..4 {
            world.wait(4000);
            assert!(exchange.renew(&id, &lock).await);
        }
        let other = Server::Safe(locking(&world, LockOnTimeout::Fail));
        assert_eq!(other.find(&id).await, Err(Trouble::Locked));
        server.end(&mut held, &[]).await.expect("well");
        assert_eq!(world.value(0, &key), None, "freed at the end");

        // Its owner dies: the lock goes by itself, and the late owner frees nobody else's.
        let mut dead = server.find(&id).await.expect("well").expect("made");
        let lock = dead.lock().expect("locked").clone();
        world.wait(5000);
        let mut alive = other.find(&id).await.expect("well").expect("made");
        let token = world.value(0, &key).expect("locked");
        assert!(!exchange.renew(&id, &lock).await);
        server.end(&mut dead, &[("x", "1")]).await.expect("well");
        assert_eq!(world.value(0, &key), Some(token));
        // And what it changed is kept, for the one with the lock merges it.
        other.end(&mut alive, &[("y", "2")]).await.expect("well");
        assert_eq!(other.value(&id, "x").await, text("1"));
        assert_eq!(other.value(&id, "y").await, text("2"));
    });
}

#[test]
fn a_lock_that_dies_with_its_node_lets_nobody_overwrite_what_others_stored() {
    let world = Shared::new(2);
    let server = Server::Safe(locking(&world, LockOnTimeout::Fail));
    let other = Server::Safe(locking(&world, LockOnTimeout::Fail));
    run(async {
        let id = server.made("a").await;
        let mut one = server.find(&id).await.expect("well").expect("made");
        world.tables().nodes[0].mood = Mood::Refuses;
        let mut two = other.find(&id).await.expect("n2").expect("made");
        other.end(&mut two, &[("k", "b")]).await.expect("n2");
        // Both had the lock. What the first did is not acknowledged, since it would undo what was.
        let ended = server.end(&mut one, &[("k", "c")]).await;
        assert_eq!(ended, Err(Trouble::Overtaken));
        assert_eq!(other.value(&id, "k").await, text("b"));
    });
}

#[test]
fn the_background_overwrites_no_copy_that_was_written_beside_the_newest() {
    let world = Shared::new(2);
    let server = Server::Safe(safe(&world, |_| {}));
    let other = server.twin(&world);
    let Server::Safe(exchange) = &server else {
        return;
    };
    run(async {
        let id = server.made("a").await;
        let (before, copy) = (world.value(0, &id), format!("bak:{id}"));
        let unwritten = before.expect("stored");
        // n1 came back empty; one server knows, and stores on n2 alone what another is about to store on n1.
        world.tables().nodes[0].mood = Mood::Refuses;
        world.wait(10);
        let mut held = server.find(&id).await.expect("n2").expect("made");
        server.end(&mut held, &[("x", "1")]).await.expect("n2");
        let acknowledged = world.value(1, &copy).expect("stored");
        world.put(1, &copy, &unwritten);
        world.tables().nodes[0] = Default::default();
        world.wait(10);
        let mut late = other.find(&id).await.expect("n2").expect("made");
        world.put(1, &copy, &acknowledged);
        world.tables().nodes[1].mood = Mood::Hangs;
        other.end(&mut late, &[("y", "2")]).await.expect("n1");
        world.tables().nodes[1].mood = Mood::Well;
        // Both are there, neither made from the other: nothing that runs beside requests may decide.
        world.wait(1000);
        exchange.check().await;
        exchange.repair().await;
        assert_eq!(world.value(1, &copy), Some(acknowledged));
        assert_eq!(exchange.status().dirty, 1, "it looks again");
    });
}

#[test]
fn counting_under_a_lock_counts_everything() {
    let world = Shared::new(2);
    // Every pause moves the one clock.
    let patient = |settings: &mut MsmSettings| {
        settings.locking_mode = LockingMode::All;
        settings.lock_timeout = 60_000;
        settings.lock_expiration = 600;
    };
    let servers: Vec<Server> = (0..4)
        .map(|_| Server::Safe(safe(&world, patient)))
        .collect();
    let id = run(servers[0].made("a"));
    let each = servers.iter().map(|server| {
        let id = &id;
        async move {
            for _ in 0..5 {
                let mut held = server.find(id).await.expect("in time").expect("made");
                let count = value_in(&held, "n").map_or(0, |n| n.parse::<u32>().expect("a number"));
                breath().await;
                server
                    .end(&mut held, &[("n", &(count + 1).to_string())])
                    .await
                    .expect("well");
            }
        }
    });
    together(1, each.collect());
    assert_eq!(run(servers[0].value(&id, "n")), text("20"));
}

#[test]
fn a_log_out_is_final() {
    type Fault = fn(&Shared);
    let faults: [(&str, Fault, Fault); 4] = [
        ("all well", |_| {}, |_| {}),
        (
            "n1 away",
            |w| w.mood(0, Mood::Refuses),
            |w| w.mood(0, Mood::Well),
        ),
        (
            "n2 away",
            |w| w.mood(1, Mood::Hangs),
            |w| w.mood(1, Mood::Well),
        ),
        ("n1 empty", |w| w.empty(0), |_| {}),
    ];
    for (name, fault, recovery) in faults {
        for (world, one) in both(2) {
            run(async {
                let two = one.twin(&world);
                let id = one.made("a").await;
                let mut slow = two.find(&id).await.expect("well").expect("made");
                let leaving = one.find(&id).await.expect("well");
                fault(&world);
                let mut leaving = leaving.expect("made");
                one.remove(&mut leaving).await.expect("one node at least");
                recovery(&world);
                world.wait(6000);
                let late = two.end(&mut slow, &[("k", "b")]).await;
                if !one.is_safe() {
                    let zombie = two.value(&id, "k").await;
                    assert_eq!(zombie, text("b"), "{name}");
                    return;
                }
                assert_eq!(late, Err(Trouble::Ended), "{name}");
                for server in [&one, &two] {
                    world.wait(1000);
                    assert_eq!(server.value(&id, "k").await, Ok(None), "{name}");
                }
                // In the background the other node learns of it.
                for server in [&one, &two] {
                    let Server::Safe(server) = server else { return };
                    server.check().await;
                    server.repair().await;
                }
                for node in [0, 1] {
                    world.mood(1 - node, Mood::Refuses);
                    world.mood(node, Mood::Well);
                    let other = one.twin(&world);
                    let found = other.find(&id).await;
                    assert!(!matches!(found, Ok(Some(_))), "{name} {node}");
                }
            });
        }
    }
}

#[test]
fn both_kinds_of_member_share_sessions_and_log_outs() {
    let world = Shared::new(2);
    let [ours, theirs] = [Server::Safe(safe(&world, |_| {})), Server::Msm(msm(&world))];
    run(async {
        for (one, two) in [(&ours, &theirs), (&theirs, &ours)] {
            let id = one.made("a").await;
            assert_eq!(two.value(&id, "k").await, text("a"));
            let mut held = two.find(&id).await.expect("well").expect("made");
            two.end(&mut held, &[("k", "b")]).await.expect("well");
            assert_eq!(one.value(&id, "k").await, text("b"));
            let mut held = one.find(&id).await.expect("well").expect("made");
            one.remove(&mut held).await.expect("well");
            assert_eq!(two.value(&id, "k").await, Ok(None));
            world.wait(1000);
            world.take_log();
            assert_eq!(two.value(&id, "k").await, Ok(None));
            let deleted = world.take_log().iter().any(|told| told.contains("delete"));
            assert!(!deleted, "the mark stays");
        }
        // A session that a msm moved because its node was down is found where it moved to.
        let id = theirs.made("a").await;
        world.mood(0, Mood::Refuses);
        world.wait(1000);
        let mut held = theirs.find(&id).await.expect("msm").expect("the copy");
        theirs.end(&mut held, &[("k", "moved")]).await.expect("msm");
        let found = ours.find(&id).await;
        let found = match found {
            // The first to ask learns that n1 is down.
            Err(Trouble::Unavailable) | Ok(None) => ours.find(&id).await,
            found => found,
        };
        let found = found.expect("n2 is well").expect("there");
        assert_eq!(value_in(&found, "k").as_deref(), Some("moved"));
    });
}

#[test]
fn a_new_id_is_stored_before_the_old_one_ends() {
    let (world, server) = both(2).into_iter().next_back().expect("safe");
    let Server::Safe(exchange) = &server else {
        return;
    };
    run(async {
        let id = server.made("a").await;
        let mut slow = server.find(&id).await.expect("well").expect("made");
        let mut held = server.find(&id).await.expect("well").expect("made");
        let here = held.attributes().to_vec();
        exchange.change_id(&mut held, &here).await.expect("well");
        let new = held.id.to_string();
        assert_ne!(new, id);
        // The server dies now, and the session does not.
        let other = server.twin(&world);
        assert_eq!(other.value(&new, "k").await, text("a"));
        assert_eq!(other.value(&id, "k").await, Ok(None));
        server.end(&mut held, &[("user", "u")]).await.expect("well");
        assert_eq!(other.value(&new, "user").await, text("u"));
        let late = server.end(&mut slow, &[("k", "b")]).await;
        assert_eq!(late, Err(Trouble::Ended));
        // Without a node that takes it the id stays as it is.
        let mut held = server.find(&new).await.expect("well").expect("there");
        world.mood(0, Mood::Refuses);
        world.mood(1, Mood::Refuses);
        let refused = exchange.change_id(&mut held, &here).await;
        assert_eq!(refused, Err(Trouble::Unavailable));
        assert_eq!(held.id.to_string(), new);
    });
}

#[test]
fn a_hanging_node_costs_one_wait_and_the_sessions_of_others_none() {
    let world = Shared::new(3);
    let server = Server::Safe(safe(&world, |_| {}));
    let Server::Safe(exchange) = &server else {
        return;
    };
    run(async {
        let id = server.made("a").await;
        let other = loop {
            let mut held = server.create().await;
            if held.id.suffix.node() == Some("n2") {
                server.end(&mut held, &[("k", "o")]).await.expect("well");
                break held.id.to_string();
            }
        };
        world.mood(0, Mood::Hangs);
        let start = world.tables().now;
        let since = || world.tables().now - start;
        assert_eq!(server.value(&other, "k").await, text("o"));
        assert_eq!(since(), 0, "it is on n2 and n3");
        assert_eq!(server.value(&id, "k").await, text("a"));
        assert_eq!(since(), 1000);
        for _ in 0..20 {
            assert_eq!(server.value(&id, "k").await, text("a"));
            let mut held = server.create().await;
            assert_ne!(held.id.suffix.node(), Some("n1"));
            server.end(&mut held, &[]).await.expect("well");
        }
        assert_eq!(since(), 1000, "once");
        assert!(exchange.states()[0].down_since().is_some());
        // The background notices that it is back, and makes the copies again; nobody has to ask for the session.
        assert!(exchange.status().dirty > 0);
        world.empty(0);
        world.wait(1000);
        exchange.check().await;
        assert!(exchange.states()[0].down_since().is_none());
        exchange.repair().await;
        assert_eq!(exchange.status().dirty, 0);
        assert!(world.value(0, &id).is_some());
    });
}

#[test]
fn copies_that_were_missed_are_made_in_the_background() {
    let world = Shared::new(2);
    let server = Server::Safe(safe(&world, |_| {}));
    let Server::Safe(exchange) = &server else {
        return;
    };
    run(async {
        let mut ids = Vec::new();
        for number in 0..10 {
            ids.push(server.made(&number.to_string()).await);
        }
        world.mood(0, Mood::Refuses);
        for id in &ids {
            let held = match server.find(id).await {
                Err(_) => server.find(id).await,
                found => found,
            };
            let mut held = held.expect("n2 is well").expect("made");
            server
                .end(&mut held, &[("k", "new")])
                .await
                .expect("n2 is well");
        }
        assert_eq!(exchange.status().dirty, 10);
        world.take_log();
        exchange.repair().await;
        assert!(world.take_log().is_empty(), "not while the node is down");
        world.empty(0);
        world.wait(1000);
        exchange.check().await;
        exchange.repair().await;
        assert_eq!(
            (exchange.status().dirty, exchange.status().repaired),
            (0, 10)
        );
        world.mood(1, Mood::Refuses);
        for id in &ids {
            let other = server.twin(&world);
            assert_eq!(other.value(id, "k").await, text("new"));
        }
    });
}

#[test]
fn a_session_that_is_only_read_lives_on_both_nodes_and_costs_no_more_than_its_times() {
    let (world, server) = both(2).into_iter().next_back().expect("safe");
    run(async {
        let id = server.made("a").await;
        let mut touched = 0;
        for _ in 0..60 {
            world.wait(170_000);
            world.take_log();
            assert_eq!(server.value(&id, "k").await, text("a"));
            let log = world.take_log();
            touched += log.iter().filter(|told| told.contains(" touch ")).count();
            assert!(!log.iter().any(|told| told.contains("cas")), "{log:?}");
            let all = [
                (0, id.clone()),
                (0, format!("validity:{id}")),
                (1, format!("bak:{id}")),
                (1, format!("bak:validity:{id}")),
            ];
            for (node, key) in all {
                assert!(world.value(node, &key).is_some(), "{key}");
            }
        }
        assert!(
            (40..=64).contains(&touched),
            "both copies once in a fifth: {touched}"
        );
        // msm reads the same times.
        let msm = Server::Msm(msm(&world));
        world.wait(1_799_000);
        assert_eq!(msm.value(&id, "k").await, text("a"));
        world.wait(1_801_000);
        assert_eq!(server.value(&id, "k").await, Ok(None), "idle for too long");
        assert_eq!(world.value(0, &id), None);
    });
}

#[test]
fn a_new_interval_is_a_change() {
    for (_world, server) in both(2) {
        run(async {
            let id = server.made("a").await;
            let mut held = server.find(&id).await.expect("well").expect("made");
            held.validity.interval = 60;
            server.end(&mut held, &[]).await.expect("well");
            let held = server.find(&id).await.expect("well").expect("made");
            let expected = if server.is_safe() { 60 } else { 1800 };
            assert_eq!(held.validity.interval, expected);
        });
    }
}

#[test]
fn requests_that_may_not_store_read() {
    let world = Shared::new(2);
    let server = Server::Safe(safe(&world, |settings| {
        settings.request_uri_ignore_pattern = Pattern::new(r".*\.png").expect("valid");
    }));
    let Server::Safe(exchange) = &server else {
        return;
    };
    run(async {
        let id = server.made("a").await;
        let asked = AskedId::parse(id.as_bytes()).expect("an id");
        world.take_log();
        let mut held = exchange
            .find(&asked, &IMAGE)
            .await
            .expect("well")
            .expect("made");
        assert_eq!(value_in(&held, "k").as_deref(), Some("a"));
        let ended = end(exchange, &mut held, &[("k", "b")], &IMAGE).await;
        assert_eq!(ended, Ok(Outcome::Skipped));
        let log = world.take_log();
        assert!(log.iter().all(|told| told.contains(" get")), "{log:?}");
        assert!(exchange.is_read_only(&IMAGE));
        let with_query = RequestLine {
            query: Some("v=1"),
            ..IMAGE
        };
        assert!(
            exchange.is_read_only(&with_query),
            "the path is what counts"
        );
        assert_eq!(server.value(&id, "k").await, text("a"));
    });
}

#[test]
fn a_request_waits_for_its_nodes_twice() {
    let world = Shared::new(2);
    let server = Server::Safe(safe(&world, |_| {}));
    let id = run(server.made("a"));
    let mut new = run(server.create());
    assert_eq!(counted(server.end(&mut new, &[("k", "a")])).1, 1, "made");
    let changed = &[("k", "b")][..];
    // Times of use are stored once in a second.
    for (millis, set, waits_at_end) in [(999, &[][..], 0), (1, &[], 1), (0, changed, 1)] {
        world.wait(millis);
        let (held, waits) = counted(server.find(&id));
        assert_eq!(waits, 1, "found");
        let mut held = held.expect("well").expect("made");
        let (ended, waits) = counted(server.end(&mut held, set));
        assert_eq!((ended, waits), (Ok(()), waits_at_end), "{millis} {set:?}");
    }
    let mut held = run(server.find(&id)).expect("well").expect("made");
    assert_eq!(counted(server.remove(&mut held)).1, 1, "log out");
}

#[test]
fn an_invented_id_costs_a_few_gets_once() {
    for (nodes, node, gets) in [(2, "-n1", 4), (2, "-n9", 0), (2, "", 0), (9, "-n1", 10)] {
        let world = Shared::new(nodes);
        let server = Server::Safe(safe(&world, |_| {}));
        run(async {
            let id = format!("{}{node}", "0".repeat(32));
            assert_eq!(server.find(&id).await, Ok(None));
            let log = world.take_log();
            assert_eq!(log.len(), gets, "{node}: {log:?}");
            assert!(log.iter().all(|told| told.contains(" get")), "{log:?}");
            world.wait(499);
            assert_eq!(server.find(&id).await, Ok(None));
            assert!(world.take_log().is_empty());
        });
    }
}

fn sticky(world: &Shared, behaviour: Behaviour) -> MsmSettings {
    settings(world.tables().nodes.len(), |settings| {
        settings.sticky = true;
        settings.behaviour = behaviour;
    })
}

fn safe_sticky(world: &Shared, route: &str) -> Safe<Shared> {
    let settings = sticky(world, Behaviour::Safe);
    Safe::new(settings, KeyPrefix::default(), route, world.clone()).expect("valid")
}

#[test]
fn a_sticky_session_that_is_only_read_keeps_its_copy() {
    let world = Shared::new(2);
    let stock = sticky(&world, Behaviour::Msm);
    let stock = Sticky::new(stock, KeyPrefix::default(), "", world.clone()).expect("valid");
    let server = safe_sticky(&world, "");
    run(async {
        let mut theirs = stock.create(1800).await;
        let attributes = with(&theirs, &[("k", "a")]);
        let ending = Ending {
            attributes: attributes.as_deref(),
        };
        assert_eq!(stock.end(&mut theirs, ending, &PAGE).await, Outcome::Stored);
        let mut ours = server.create(1800);
        let stored = end(&server, &mut ours, &[("k", "a")], &PAGE).await;
        assert_eq!(stored, Ok(Outcome::Stored));
        world.take_log();
        for _ in 0..30 {
            world.wait(100_000);
            let nothing = Ending { attributes: None };
            stock.end(&mut theirs, nothing, &PAGE).await;
            end(&server, &mut ours, &[], &PAGE).await.expect("well");
        }
        let touches = world
            .take_log()
            .iter()
            .filter(|t| t.contains(" touch "))
            .count();
        assert!((6..=9).contains(&touches), "once in a fifth: {touches}");
        let there = |held: &Held| {
            let node = usize::from(held.id.suffix.node() == Some("n2"));
            world.value(node, &held.id.to_string()).is_some()
        };
        assert!(!there(&theirs));
        assert!(there(&ours));
        // And a node that came back empty gets it again.
        let node = usize::from(ours.id.suffix.node() == Some("n2"));
        world.empty(node);
        world.wait(400_000);
        end(&server, &mut ours, &[], &PAGE).await.expect("well");
        assert!(there(&ours));
    });
}

#[test]
fn a_sticky_take_over_stores_before_it_ends_the_old_copy() {
    let world = Shared::new(2);
    let [one, two] = ["WEB1", "WEB2"].map(|route| safe_sticky(&world, route));
    run(async {
        let mut held = one.create(1800);
        end(&one, &mut held, &[("k", "a")], &PAGE)
            .await
            .expect("well");
        let old = held.id.to_string();
        let asked = AskedId::parse(old.as_bytes()).expect("an id");
        world.take_log();
        let taken = two.take_over(&asked).await.expect("well").expect("there");
        let new = taken.id.to_string();
        assert!(new.ends_with(".WEB2"), "{new}");
        let log = world.take_log();
        let at = |what: &str| log.iter().position(|told| told.contains(what));
        let (stored, mark) = (at(&format!("set {new}")), at(&format!("set {old}")));
        assert!(stored.is_some() && stored < mark, "{log:?}");
        // The first server, which still has it, stores nothing over the end of the old id.
        let late = end(&one, &mut held, &[("k", "b")], &PAGE).await;
        assert_eq!(late, Err(Trouble::Ended));
        assert_eq!(two.take_over(&asked).await, Ok(None));
    });
}

#[test]
fn a_sticky_session_is_stored_again_when_a_node_takes_it() {
    let world = Shared::new(2);
    let server = safe_sticky(&world, "");
    run(async {
        let mut held = server.create(1800);
        let node = usize::from(held.id.suffix.node() == Some("n2"));
        world.mood(node, Mood::Refuses);
        let ended = end(&server, &mut held, &[("k", "a")], &PAGE).await;
        assert_eq!(ended, Ok(Outcome::Failed), "the server has it");
        // The next request moves it to the node that is up.
        server.begin(&mut held);
        assert_eq!(held.id.suffix.node(), Some(["n2", "n1"][node]));
        let ended = end(&server, &mut held, &[], &PAGE).await;
        assert_eq!(ended, Ok(Outcome::Stored));
        assert!(world.value(1 - node, &held.id.to_string()).is_some());
    });
}

/// A whole server of these nodes that stores behind its responses.
fn behind(world: &Shared) -> MsmManager<Shared> {
    let settings = settings(2, |settings| settings.session_backup_async = true);
    let config = MsmConfig {
        prefix: KeyPrefix::default(),
        settings,
        context: "/jsp".into(),
        route: String::new(),
        max_inactive: 1800,
        max_active: 0,
        sweep_interval: Duration::from_secs(60),
    };
    MsmManager::new(config, world.clone()).expect("valid")
}

#[tokio::test]
async fn what_no_node_took_behind_a_response_stays_until_one_does() {
    let world = Shared::new(2);
    let [server, other] = [behind(&world), behind(&world)];
    let session = server.create(world.now()).await.expect("room");
    let id = session.id();
    let text = id.text();
    let asked = AskedId::parse(text.as_str().as_bytes()).expect("an id");
    session.set("k", "v").expect("alive");
    for node in [0, 1] {
        world.mood(node, Mood::Refuses);
    }
    let answered = server.commit(&session, &PAGE, world.now()).await;
    assert_eq!(answered, Ok(()), "it is in the server");
    drop(session);
    let unknown = other.find(&asked, &PAGE, world.now()).await;
    assert_eq!(unknown.err(), Some(ManagerError::Unavailable));
    let until = async |what: &str, condition: &dyn Fn() -> bool| {
        for _ in 0..2000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not yet: {what}");
    };
    until("refused", &|| {
        server.status().store.is_some_and(|s| s.unavailable > 0)
    })
    .await;
    assert_eq!(server.in_use(), 1);
    for node in [0, 1] {
        world.mood(node, Mood::Well);
    }
    world.wait(6000);
    until("stored", &|| server.in_use() == 0).await;
    let found = other.find(&asked, &PAGE, world.now()).await;
    let found = found.expect("both are well").expect("there");
    assert_eq!(found.session.get("k"), Some("v".into()));
}
