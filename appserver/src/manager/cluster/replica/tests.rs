//! Merging is commutative, associative and idempotent, in whole and in parts.

use proptest::prelude::*;

use super::{REMOVED_MAX, Replica, Which};
use crate::manager::cluster::native::{Item, Reader, Writer};
use crate::manager::cluster::stamp::{Stamp, StampClock};
use crate::manager::table::Entry;
use crate::session::{Kept, Key, Session, SessionId, Suffix, Timestamp, Value};

const NOW: Timestamp = Timestamp(1_000_000);

fn fresh() -> Replica {
    let id = SessionId {
        key: Key::from_bytes([1; 16]),
        suffix: Suffix::NONE,
    };
    Replica::new(Kept::new(id, Timestamp(1_000), 1800), 0)
}

fn told(replica: &Replica, which: Which<'_>) -> Vec<u8> {
    let mut writer = Writer::new("/jsp", NOW);
    replica.tell(which, &mut writer);
    writer.finish()
}

fn take(replica: &mut Replica, message: &[u8]) {
    let mut reader = Reader::new(message, NOW).expect("written here");
    while let Some(item) = reader.item().expect("written here") {
        if let Item::Record(record) = item {
            replica.merge(&record, None);
        }
    }
}

/// All that can be seen of a copy.
fn state(replica: &Replica) -> (Vec<(String, Value)>, i32, Timestamp, u32, u64) {
    let session = Session::holding(replica.kept().clone());
    let mut attributes = session.read(|attributes| {
        let all = attributes.iter();
        all.map(|(name, value)| (name.to_owned(), value))
            .collect::<Vec<_>>()
    });
    attributes.sort_by(|a, b| a.0.cmp(&b.0));
    let interval = session.facts().max_inactive;
    (
        attributes,
        interval,
        replica.touched(),
        replica.primary,
        replica.version(),
    )
}

/// One change on one of three members.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, String, i32),
    Remove(usize, String),
    Interval(usize, i32),
    Use(usize, u64),
    /// It had another key before.
    Origin(usize, u8),
    /// The first hears of the second.
    Hear(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let member = 0..3_usize;
    prop_oneof![
        (member.clone(), "[a-c]", any::<i32>()).prop_map(|(m, n, v)| Change::Set(m, n, v)),
        (member.clone(), "[a-c]").prop_map(|(m, n)| Change::Remove(m, n)),
        (member.clone(), any::<i32>()).prop_map(|(m, i)| Change::Interval(m, i)),
        (member.clone(), 0..5_u64).prop_map(|(m, t)| Change::Use(m, t)),
        (member.clone(), any::<u8>()).prop_map(|(m, k)| Change::Origin(m, k)),
        (member.clone(), member).prop_map(|(a, b)| Change::Hear(a, b)),
    ]
}

fn run(changes: &[Change]) -> (Vec<Replica>, Vec<Vec<u8>>) {
    let mut members: Vec<(Replica, StampClock)> =
        (1..=3).map(|n| (fresh(), StampClock::new(n))).collect();
    let mut parts = Vec::new();
    for change in changes {
        match change {
            Change::Set(member, name, value) => {
                let (replica, clock) = &mut members[*member];
                let session = Session::holding(replica.kept().clone());
                session.set(name, *value).expect("fits");
                replica.stamp(std::slice::from_ref(name), false, clock.tick(NOW));
                parts.push(told(replica, Which::Named(std::slice::from_ref(name))));
            }
            Change::Remove(member, name) => {
                let (replica, clock) = &mut members[*member];
                let session = Session::holding(replica.kept().clone());
                if session.remove(name).expect("alive") {
                    replica.stamp(std::slice::from_ref(name), false, clock.tick(NOW));
                    parts.push(told(replica, Which::Named(std::slice::from_ref(name))));
                }
            }
            Change::Interval(member, seconds) => {
                let (replica, clock) = &mut members[*member];
                let session = Session::holding(replica.kept().clone());
                session.set_max_inactive(*seconds).expect("alive");
                replica.stamp(&[], true, clock.tick(NOW));
                parts.push(told(replica, Which::Named(&[])));
            }
            Change::Use(member, at) => {
                let (replica, clock) = &mut members[*member];
                let at = Timestamp(2_000 + at);
                if at > replica.touched() {
                    replica.kept().begin(at);
                    replica.primary = clock.member();
                }
            }
            Change::Origin(member, key) => {
                let (replica, _) = &mut members[*member];
                replica.set_origin(Key::from_bytes([*key; 16]));
                parts.push(told(replica, Which::All));
            }
            Change::Hear(to, from) => {
                let message = told(&members[*from].0, Which::All);
                take(&mut members[*to].0, &message);
            }
        }
    }
    (
        members.into_iter().map(|(replica, _)| replica).collect(),
        parts,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn copies_merge_in_any_order(changes in prop::collection::vec(change(), 0..30), order in Just(vec![0, 1, 2, 0, 1]).prop_shuffle()) {
        let (copies, _) = run(&changes);
        let mut in_turn = fresh();
        (0..3).for_each(|i| take(&mut in_turn, &told(&copies[i], Which::All)));
        let mut shuffled = fresh();
        take(&mut shuffled, &told(&copies[2], Which::All));
        order.iter().for_each(|i| take(&mut shuffled, &told(&copies[*i], Which::All)));
        prop_assert_eq!(state(&shuffled), state(&in_turn));
        let mut pair = fresh();
        take(&mut pair, &told(&copies[1], Which::All));
        take(&mut pair, &told(&copies[2], Which::All));
        let mut grouped = fresh();
        take(&mut grouped, &told(&copies[0], Which::All));
        take(&mut grouped, &told(&pair, Which::All));
        prop_assert_eq!(state(&grouped), state(&in_turn));
    }

    /// Every member that got all changes, one by one and shuffled, is where the merge of the copies is.
    #[test]
    fn parts_arrive_in_any_order(changes in prop::collection::vec(change(), 0..30), seed: u64) {
        let changes: Vec<_> = changes.into_iter().filter(|c| !matches!(c, Change::Use(..))).collect();
        let (copies, parts) = run(&changes);
        let mut merged = fresh();
        copies.iter().for_each(|copy| take(&mut merged, &told(copy, Which::All)));
        let mut shuffled = parts.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let mut heard = fresh();
        shuffled.iter().chain(&parts).for_each(|part| take(&mut heard, part));
        let (merged, heard) = (state(&merged), state(&heard));
        prop_assert_eq!((heard.0, heard.1, heard.4), (merged.0, merged.1, merged.4));
    }
}

#[test]
fn stamps_of_removed_attributes_are_bounded() {
    let mut replica = fresh();
    let session = Session::holding(replica.kept().clone());
    let clock = StampClock::new(1);
    for number in 0..3 * REMOVED_MAX {
        let name = format!("name {number}");
        session.set(&name, number as i32).expect("fits");
        replica.stamp(std::slice::from_ref(&name), false, clock.tick(NOW));
        session.remove(&name).expect("alive");
        replica.stamp(&[name], false, clock.tick(NOW));
    }
    assert_eq!(replica.registers.len(), REMOVED_MAX);
    assert_eq!(replica.stamp_of("name 0"), Stamp::ZERO);
}

/// What a copy costs beside the session itself: this is the promise about memory.
#[test]
fn a_copy_is_four_words_and_a_register() {
    assert_eq!(size_of::<Replica>(), 4 * size_of::<u64>() + 8);
    assert_eq!(size_of::<super::Register>(), 20);
}
