//! Log outs, new IDs and invented ones.

use super::*;

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
