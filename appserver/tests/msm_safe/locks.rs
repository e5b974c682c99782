//! Locks.

use super::*;

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
