//! Members of a cluster over a network that loses, delays, reorders and repeats messages and falls into parts, with members that crash
//! and come back empty, and with a clock of its own. Every schedule is made by one number; a failing one is printed.
//! `CLUSTER_SEED=N` runs it alone, `SCHEDULES=N` runs so many, and with `CLUSTER_TRACE=1` all that happens is printed.
//!
//! ```text
//!   world     clients at some member, cuts, crashes        request ──► Core ──► Outbox
//!   network   what becomes of a message, and when          Outbox ──► letters ──► Core
//!   checks    what must hold when the network is whole again
//! ```
//!
//! What must hold: all members have the same sessions; what was acknowledged is there as long as one of those that had it lives; a
//! session that was ended stays ended.

mod checks;
mod network;
#[path = "../support/seeds.rs"]
mod seeds;
mod trace;
mod world;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use appserver::manager::cluster::core::{Core, CoreConfig, NewKey, Outbox, Spread};
use appserver::session::{AskedId, Key, Timestamp};

use world::World;

const SCHEDULES: u64 = 10_000;

/// When a schedule begins, in milliseconds since 1970.
const START: u64 = 1_795_000_000_000;

fn config(spread: Spread) -> CoreConfig {
    CoreConfig::new("/jsp", spread)
}

#[test]
fn members_agree_when_the_network_is_whole_again() {
    seeds::play("CLUSTER_SEED", SCHEDULES, |seed| {
        let mut world = World::new(seed, true, Spread::All);
        world.live(true);
        world.heal();
        world.check().unwrap_or_else(|what| panic!("{what}"));
    });
}

/// The same with one backup per session, without crashes: two at once may take both copies.
#[test]
fn two_members_keep_each_session_when_the_network_is_whole_again() {
    seeds::play("CLUSTER_SEED", SCHEDULES, |seed| {
        let mut world = World::new(seed, true, Spread::Backup);
        world.live(false);
        world.heal();
        world.check_backup().unwrap_or_else(|what| panic!("{what}"));
    });
}

/// As long as one member crashes at a time, and the next one when all sessions have a backup again, what the backup acknowledged
/// is not lost. One crash takes most schedules through all that it can meet; some go on after it.
#[test]
fn a_crash_loses_nothing_that_the_backup_acknowledged() {
    seeds::play("CLUSTER_SEED", SCHEDULES, |seed| {
        let mut world = World::new(seed, true, Spread::Backup);
        let crashes = if seed % 20 == 0 { 3 } else { 1 };
        for crash in 0..crashes {
            world.live(false);
            world.heal();
            world.crash_one();
            world.heal();
            let kept = world.check_backup();
            kept.unwrap_or_else(|what| panic!("after crash {crash}: {what}"));
        }
    });
}

/// A client has either the old id or the new one; whichever node it comes to and whatever has arrived there, the node knows one.
#[test]
fn at_no_moment_are_both_ids_unknown() {
    for seed in 0..300 {
        let mut world = World::new(seed, false, Spread::All);
        let node = world.rng.usize(..world.nodes.len());
        let session = world.nodes[node]
            .core
            .create(world.now())
            .expect("no limit");
        world.clients.push(Some(session.id().key));
        world.write(node, 0, &session);
        world.run(world.now + 1_000);
        for _ in 0..5 {
            let node = world.rng.usize(..world.nodes.len());
            let old = world.clients[0].expect("a key");
            let session = world.found(node, old).expect("known everywhere");
            let mut out = Outbox::default();
            let now = world.now();
            world.nodes[node]
                .core
                .change_id(&session, now, &mut out)
                .expect("alive");
            world.promise(node, None, out);
            let new = session.id().key;
            for _ in 0..80 {
                for node in 0..world.nodes.len() {
                    let known = [old, new].map(|key| world.found(node, key).is_some());
                    assert_ne!(known, [false, false], "with seed {seed}");
                }
                world.run(world.now + 1);
            }
            for node in 0..world.nodes.len() {
                let known = [old, new].map(|key| world.found(node, key).is_some());
                assert_eq!(known, [false, true], "with seed {seed}");
            }
            world.clients[0] = Some(new);
        }
    }
}

/// The same on one node while requests run side by side: whoever asks in the middle of a change finds one of the two.
#[test]
fn in_the_middle_of_a_change_one_of_both_ids_is_known() {
    const CHANGES: u64 = 2_000;
    const ASKS: usize = 20;
    let key = |number: u64| Key::from_bytes(u128::from(number).to_be_bytes());
    let numbers = AtomicU64::new(0);
    let new_key = NewKey(Box::new(move || {
        key(numbers.fetch_add(1, Ordering::Relaxed))
    }));
    let core = Core::new(config(Spread::All), [1; 16], new_key);
    let now = Timestamp(START);
    let session = core.create(now).expect("no limit");
    core.commit(&session, true, now, &mut Outbox::default());
    let is_known = |number| {
        let asked = AskedId {
            key: key(number),
            node: None,
            route: None,
        };
        core.find(&asked, now, &mut Outbox::default()).is_some()
    };
    let (together, mut lost) = (Barrier::new(2), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..CHANGES {
                together.wait();
                let changed = core.change_id(&session, now, &mut Outbox::default());
                changed.expect("alive");
                together.wait();
            }
        });
        for old in 0..CHANGES {
            together.wait();
            let asks = (0..ASKS).filter(|_| !is_known(old) && !is_known(old + 1));
            lost += asks.count();
            together.wait();
        }
    });
    assert_eq!(lost, 0, "asks that found neither");
}
