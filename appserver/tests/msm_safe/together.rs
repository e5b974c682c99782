//! Requests of one session at the same time, without locks.

use super::*;

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
