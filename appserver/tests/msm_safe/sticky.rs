//! The sticky variant.

use super::*;

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
