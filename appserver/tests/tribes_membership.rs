//! The state machine of the membership: rule by rule, then seeded simulations of nodes on a network that loses, delays and cuts.

#[path = "support/cluster.rs"]
mod cluster;

use std::net::SocketAddr;

use appserver::tribes::member::{LEAVING, Member, MemberId};
use appserver::tribes::membership::{Event, MEMBERS_MAX, Membership, Reason, State};

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

/// A member with this number as its id and port.
fn member(number: u8) -> Member {
    Member::native(MemberId([number; 16]), address(u16::from(number)), "")
}

fn alive(number: u8, alive: u64) -> Member {
    Member {
        alive,
        ..member(number)
    }
}

fn leaving(number: u8) -> Member {
    Member {
        command: LEAVING.into(),
        ..member(number)
    }
}

/// The node 200, and what is expected of it.
struct Node(Membership);

impl Node {
    fn new() -> Self {
        Self(Membership::new(MemberId([200; 16]), address(200), 3000))
    }

    fn events(&mut self, act: impl FnOnce(&mut Membership, &mut Vec<Event>)) -> Vec<Event> {
        let mut events = Vec::new();
        act(&mut self.0, &mut events);
        events
    }

    fn heard(&mut self, member: Member, now: u64) -> Vec<Event> {
        self.events(|m, events| m.heard(member, now, events))
    }

    fn probed(&mut self, number: u8, reached: bool, now: u64) -> Vec<Event> {
        self.events(|m, events| m.probed(MemberId([number; 16]), reached, now, events))
    }

    fn tick(&mut self, now: u64) -> Vec<Event> {
        self.events(|m, events| m.tick(now, events))
    }

    fn send_failed(&mut self, number: u8) -> Vec<Event> {
        self.events(|m, events| m.send_failed(MemberId([number; 16]), events))
    }

    /// Heard, probed, added.
    fn add(&mut self, member: Member, now: u64) {
        let number = member.id.0[0];
        assert_eq!(
            self.heard(member.clone(), now),
            [Event::Probe(member.clone())]
        );
        assert!(
            self.probed(number, true, now)
                .contains(&Event::Added(member))
        );
    }

    fn members(&self) -> Vec<(u8, State)> {
        self.0
            .members()
            .map(|(m, state)| (m.id.0[0], state))
            .collect()
    }
}

#[test]
fn a_member_is_probed_before_it_is_added() {
    let mut node = Node::new();
    assert_eq!(node.heard(member(1), 0), [Event::Probe(member(1))]);
    assert!(node.0.is_candidate(MemberId([1; 16])));
    assert_eq!(node.heard(member(1), 100), []);
    assert_eq!(node.members(), []);
    assert_eq!(node.probed(1, true, 200), [Event::Added(member(1))]);
    assert_eq!(node.members(), [(1, State::Alive)]);
    assert_eq!(node.heard(member(1), 300), []);
    assert_eq!(node.probed(9, true, 300), []);
}

#[test]
fn a_member_that_cannot_be_reached_is_probed_again_when_it_is_heard() {
    let mut node = Node::new();
    assert_eq!(node.heard(member(1), 0).len(), 1);
    assert_eq!(node.probed(1, false, 10), []);
    let probes = (0..40).filter(|n| {
        let now = 10 + n * 500;
        let probes = !node.heard(member(1), now).is_empty();
        if probes {
            node.probed(1, false, now);
        }
        probes
    });
    // After 0.5, 1, 2, 4, 5 s, and so on.
    assert_eq!(probes.collect::<Vec<_>>(), [1, 3, 7, 15, 25, 35]);
    assert_eq!(node.probed(1, true, 20_010), [Event::Added(member(1))]);
}

#[test]
fn a_silent_member_is_probed_and_goes_when_it_is_not_reached() {
    let mut node = Node::new();
    node.add(member(1), 0);
    assert_eq!(node.tick(3000), []);
    assert_eq!(node.tick(3001), [Event::Probe(member(1))]);
    assert_eq!(node.members(), [(1, State::Suspected)]);
    assert_eq!(node.tick(3500), []);
    assert_eq!(node.probed(1, true, 3600), [Event::StillAlive(member(1))]);
    assert_eq!(node.members(), [(1, State::Suspected)]);
    assert_eq!(node.tick(8599), []);
    assert_eq!(node.tick(8600), [Event::Probe(member(1))]);
    assert_eq!(
        node.probed(1, false, 8700),
        [Event::Removed(member(1), Reason::Unreachable)]
    );
    assert_eq!(node.members(), []);
    // Heard again, it is a new acquaintance.
    node.add(member(1), 9000);
}

#[test]
fn a_member_that_is_heard_while_it_is_probed_stays() {
    let mut node = Node::new();
    node.add(member(1), 0);
    assert_eq!(node.tick(3001).len(), 1);
    node.heard(member(1), 3500);
    assert_eq!(node.members(), [(1, State::Alive)]);
    assert_eq!(node.probed(1, false, 4001), []);
    assert_eq!(node.members(), [(1, State::Alive)]);
    assert_eq!(node.tick(6501).len(), 1);
}

#[test]
fn a_failed_send_is_verified_at_once() {
    let mut node = Node::new();
    node.add(member(1), 0);
    assert_eq!(node.send_failed(1), [Event::Probe(member(1))]);
    assert_eq!(node.send_failed(1), []);
    assert_eq!(node.probed(1, true, 10), [Event::StillAlive(member(1))]);
    assert_eq!(node.members(), [(1, State::Alive)]);
    assert_eq!(node.send_failed(1), [Event::Probe(member(1))]);
    // That datagrams arrive does not help who cannot be connected to.
    node.heard(member(1), 20);
    assert_eq!(
        node.probed(1, false, 30),
        [Event::Removed(member(1), Reason::Unreachable)]
    );
    assert_eq!(node.send_failed(1), []);
}

#[test]
fn who_leaves_goes_without_a_probe_and_its_late_datagrams_are_ignored() {
    let mut node = Node::new();
    node.add(member(1), 0);
    node.heard(member(2), 0);
    assert_eq!(
        node.heard(leaving(1), 10),
        [Event::Removed(member(1), Reason::Left)]
    );
    assert_eq!(node.heard(leaving(2), 10), []);
    assert_eq!(node.heard(leaving(3), 10), []);
    for number in 1..4 {
        assert_eq!(node.heard(member(number), 20), [], "{number}");
    }
    assert_eq!(node.probed(2, true, 30), []);
    assert_eq!(node.members(), []);
}

#[test]
fn a_new_id_at_the_same_address_is_a_successor_once_the_other_is_silent() {
    let mut node = Node::new();
    node.add(member(1), 0);
    let successor = Member {
        id: MemberId([2; 16]),
        ..member(1)
    };
    assert_eq!(node.heard(successor.clone(), 10), []);
    assert_eq!(
        node.heard(successor.clone(), 510),
        [Event::Probe(successor.clone())]
    );
    let expected = [
        Event::Removed(member(1), Reason::Replaced),
        Event::Added(successor.clone()),
    ];
    assert_eq!(node.probed(2, true, 520), expected);
    assert_eq!(node.members(), [(2, State::Alive)]);
    // A late datagram of the dead one, whose address answers.
    assert_eq!(node.heard(member(1), 530), []);
    assert_eq!(node.heard(successor, 1010), []);
    assert_eq!(node.heard(member(1), 1030), []);
    assert_eq!(node.members(), [(2, State::Alive)]);
}

#[test]
fn a_member_that_is_heard_is_not_replaced() {
    let mut node = Node::new();
    node.add(member(1), 0);
    let other = Member {
        id: MemberId([2; 16]),
        ..member(1)
    };
    assert_eq!(node.heard(other.clone(), 10), []);
    assert_eq!(node.heard(other.clone(), 510).len(), 1);
    node.heard(member(1), 515);
    assert_eq!(node.probed(2, true, 520), []);
    for now in 1..10 {
        assert_eq!(node.heard(other.clone(), now * 1000), []);
        assert_eq!(node.heard(member(1), now * 1000 + 1), []);
    }
    assert_eq!(node.members(), [(1, State::Alive)]);
}

#[test]
fn nobody_talks_to_oneself() {
    let mut node = Node::new();
    assert_eq!(node.heard(member(200), 0), []);
    assert_eq!(node.heard(leaving(200), 0), []);
    // The article's trap: another node announces an address that leads here.
    let twin = Member {
        id: MemberId([3; 16]),
        ..member(200)
    };
    assert_eq!(
        node.heard(twin.clone(), 0),
        [Event::WrongAddress(twin.clone())]
    );
    assert_eq!(node.heard(twin, 500), []);
    let nowhere = Member {
        host: [0, 0, 0, 0].into(),
        ..member(4)
    };
    assert_eq!(
        node.heard(nowhere.clone(), 0),
        [Event::WrongAddress(nowhere)]
    );
    assert_eq!(node.members(), []);
}

#[test]
fn the_oldest_comes_first() {
    let mut node = Node::new();
    node.add(alive(1, 5000), 0);
    node.add(alive(2, 9000), 0);
    node.add(alive(3, 100), 0);
    node.add(alive(6, 100), 0);
    node.add(alive(5, 100), 0);
    // Older than 1 by now: 6500 against 6000. Nobody is as old as he says who says the most.
    node.add(alive(4, 6500), 1000);
    node.add(alive(7, u64::MAX), 1000);
    node.add(alive(8, 0), 9000);
    let order: Vec<u8> = node.members().iter().map(|(number, _)| *number).collect();
    assert_eq!(order, [7, 2, 4, 1, 3, 5, 6, 8]);
}

#[test]
fn there_is_a_bound() {
    let mut node = Node::new();
    let strange = |number: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Member::native(MemberId(id), address(1000 + number), "")
    };
    let mut now = 0;
    for number in 0..1000 {
        node.heard(strange(number), now);
        node.events(|m, events| m.probed(strange(number).id, true, now, events));
        now += 1;
    }
    assert_eq!(node.members().len(), MEMBERS_MAX);
    // Those that were never members are forgotten.
    node.tick(now + 10_000);
    assert!(!(0..1000).any(|number| node.0.is_candidate(strange(number).id)));
    let mut node = Node::new();
    let probes: usize = (0..1000)
        .map(|number| node.heard(strange(number), 0).len())
        .sum();
    assert!(probes <= MEMBERS_MAX, "{probes} probes at once");
}

/// Ten thousand short lives of a cluster. `TRIBES_SEED=7` runs only that one.
#[test]
fn all_agree_in_the_end_and_nobody_is_lost_who_can_be_reached() {
    let seeds = match std::env::var("TRIBES_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..10_000,
    };
    for seed in seeds {
        if let Err(why) = cluster::live(seed) {
            panic!("TRIBES_SEED={seed}: {why}");
        }
    }
}
