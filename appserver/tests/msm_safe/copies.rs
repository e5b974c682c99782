//! What is stored where, and when: copies, times, requests that store nothing.

use super::*;

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

/// A whole server of these nodes that stores behind its responses.
fn behind(world: &Shared) -> MsmManager<Shared> {
    let settings = settings(2, |settings| settings.session_backup_async = true);
    let config = MsmConfig::new("/jsp", settings);
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

#[tokio::test]
async fn figures_of_the_nodes_can_be_left_out() {
    for enable_statistics in [true, false] {
        let world = Shared::new(2);
        let settings = settings(2, |settings| settings.enable_statistics = enable_statistics);
        let config = MsmConfig::new("/jsp", settings);
        let server = MsmManager::new(config, world.clone()).expect("valid");
        let session = server.create(world.now()).await.expect("room");
        let stored = server.commit(&session, &PAGE, world.now()).await;
        assert_eq!(stored, Ok(()));
        let status = server.status();
        assert_eq!(status.created, 1);
        assert_eq!(status.store.is_some(), enable_statistics);
    }
}
