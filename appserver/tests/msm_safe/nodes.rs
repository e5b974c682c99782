//! Nodes that are dead, empty, slow, hang or refuse.

use super::*;

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
