//! One backup per session.

use super::*;

fn three() -> Pair {
    Pair::of(
        3,
        &CoreConfig {
            spread: Spread::Backup,
            ..config()
        },
    )
}

/// How many members have a copy.
fn copies(pair: &Pair) -> usize {
    pair.cores.iter().map(|core| core.sessions().len()).sum()
}

/// Gets it from those that keep it, as the manager does, and finds it.
fn fetched(pair: &Pair, member: usize, session: &Session, now: Timestamp) -> Option<Session> {
    let found = pair.find(member, session, now);
    if found.is_some() {
        return found.map(|(session, _)| session);
    }
    let key = session.id().key;
    for holder in pair.cores[member].holders(key) {
        let mut out = Outbox::default();
        out.one.push((holder, pair.cores[member].need(key, now)));
        pair.deliver(member, out, now);
    }
    pair.find(member, session, now).map(|(session, _)| session)
}

#[test]
fn a_session_is_on_two_members_and_the_third_knows_which() {
    let pair = three();
    let session = pair.session(0, at(0));
    assert_eq!(copies(&pair), 2);
    let third = (1..3)
        .find(|member| pair.cores[*member].sessions().is_empty())
        .expect("one has none");
    assert!(pair.find(third, &session, at(1)).is_none());
    let here = fetched(&pair, third, &session, at(1)).expect("fetched");
    assert_eq!(here.get("start"), Some(1.into()));
    assert_eq!(
        copies(&pair),
        2,
        "the former primary is the backup, the former backup is free"
    );
    here.set("more", 2).expect("alive");
    pair.commit(third, &here, at(2));
    assert_eq!(pair.value(0, &session, "more", at(3)), Some(2.into()));
    assert_eq!(copies(&pair), 2);
}

#[test]
fn backups_take_turns() {
    let pair = three();
    for _ in 0..10 {
        pair.session(0, at(0));
    }
    let held: Vec<usize> = pair
        .cores
        .iter()
        .map(|core| core.sessions().len())
        .collect();
    assert_eq!(held, [10, 5, 5]);
}

/// A request that runs while another member becomes the primary loses nothing.
#[test]
fn a_former_primarys_changes_reach_the_new_one() {
    let pair = three();
    let session = pair.session(0, at(0));
    let slow = pair.find(0, &session, at(1)).expect("here").0;
    drop(session);
    let there = (1..3)
        .find(|member| pair.cores[*member].sessions().is_empty())
        .expect("one has none");
    let quick = fetched(&pair, there, &slow, at(2)).expect("fetched");
    quick.set("quick", 1).expect("alive");
    slow.set("slow", 1).expect("alive");
    pair.commit(there, &quick, at(3));
    pair.commit(0, &slow, at(4));
    for name in ["quick", "slow"] {
        assert_eq!(
            pair.value(there, &quick, name, at(5)),
            Some(1.into()),
            "{name}"
        );
    }
}

#[test]
fn a_member_that_dies_leaves_no_session_with_one_copy() {
    let pair = three();
    let sessions: Vec<Session> = (0..20).map(|_| pair.session(0, at(0))).collect();
    for member in 1..3 {
        pair.cores[member].member_removed(&pair.ids[0], at(10), &mut Outbox::default());
    }
    for member in 1..3 {
        let mut out = Outbox::default();
        pair.cores[member].tick(at(20), &mut out);
        // The dead one hears nothing.
        out.natives.clear();
        out.others.clear();
        pair.deliver(member, out, at(20));
    }
    for member in 1..3 {
        assert_eq!(pair.cores[member].sessions().len(), sessions.len());
    }
}

/// Its last claim arrives when the others have already looked for what it left behind.
#[test]
fn a_late_word_of_a_member_that_died_leaves_no_session_with_one_copy() {
    let pair = three();
    let session = pair.session(0, at(0));
    let third = (1..3)
        .find(|member| pair.cores[*member].sessions().is_empty())
        .expect("one has none");
    let (asked, mut out) = (session.id().to_string(), Outbox::default());
    let need = pair.cores[third].need(session.id().key, at(1));
    out.one.push((pair.ids[0], need));
    pair.deliver(third, out, at(1));
    drop(session);
    let asked = AskedId::parse(asked.as_bytes()).expect("an id");
    let mut late = Outbox::default();
    assert!(pair.cores[third].find(&asked, at(2), &mut late).is_some());
    let left = [0, 3 - third];
    let tick = |now| {
        for member in left {
            let mut out = Outbox::default();
            pair.cores[member].tick(now, &mut out);
            pair.deliver(member, out, now);
        }
    };
    for member in left {
        pair.cores[member].member_removed(&pair.ids[third], at(3), &mut Outbox::default());
    }
    tick(at(4));
    pair.deliver(third, late, at(5));
    tick(at(6));
    assert_eq!(
        left.map(|member| pair.cores[member].sessions().len()),
        [1, 1]
    );
}

/// A primary that has not heard of the next one sends a change to its former backup, which has a copy left over, and dies.
#[test]
fn a_change_that_meets_a_copy_without_a_role_goes_to_the_primary() {
    let pair = three();
    let session = pair.session(0, at(0));
    let key = session.id().key;
    let backup = (1..3).find(|member| pair.cores[*member].sessions().len() == 1);
    let backup = backup.expect("one has it");
    let next = 3 - backup;
    let hear = |from: usize, messages: &mut dyn Iterator<Item = &Vec<u8>>, now| {
        for message in messages {
            let mut out = Outbox::default();
            let read = pair.cores[backup].receive(&pair.ids[from], message, now, &mut out);
            assert_eq!(read, Ok(true));
            pair.deliver(backup, out, now);
        }
    };
    let mut fetch = Outbox::default();
    let need = pair.cores[next].need(key, at(1));
    fetch.one.push((pair.ids[0], need));
    pair.deliver(next, fetch, at(1));
    let asked = session.id().to_string();
    let asked = AskedId::parse(asked.as_bytes()).expect("an id");
    let mut claim = Outbox::default();
    assert!(pair.cores[next].find(&asked, at(2), &mut claim).is_some());
    hear(next, &mut claim.natives.iter(), at(3));
    // It asked before, and what it owes the next one for that is on its way.
    let need = pair.cores[backup].need(key, at(1));
    let mut given = Outbox::default();
    let asked = pair.cores[0].receive(&pair.ids[backup], &need, at(4), &mut given);
    assert_eq!(asked, Ok(true));
    for (_, mut stream) in given.streams {
        while let Some(message) = pair.cores[0].pull(&mut stream, at(4)) {
            let (from, mut out) = (&pair.ids[0], Outbox::default());
            let read = pair.cores[backup].receive(from, &message, at(4), &mut out);
            assert_eq!(read, Ok(true));
        }
    }
    session.set("late", 1).expect("alive");
    let change = pair.committed(0, &session, at(5));
    hear(
        0,
        &mut change.copies.iter().map(|(_, message)| message),
        at(6),
    );
    let new = pair.cores[next].sessions();
    assert_eq!(new[0].get("late"), Some(Value::Integer(1)));
}

#[test]
fn a_log_out_ends_both_copies_and_a_new_id_moves_them() {
    let pair = three();
    let session = pair.session(0, at(0));
    let old = session.id();
    let mut out = Outbox::default();
    pair.cores[0]
        .change_id(&session, at(1), &mut out)
        .expect("alive");
    pair.deliver(0, out, at(1));
    assert_eq!(copies(&pair), 2);
    for member in 0..3 {
        assert!(pair.find_id(member, old, at(2)).is_none());
        assert!(fetched(&pair, member, &session, at(2)).is_some());
    }
    let mut out = Outbox::default();
    let last = fetched(&pair, 1, &session, at(3)).expect("alive");
    pair.cores[1].remove(&last, at(3), &mut out);
    pair.deliver(1, out, at(3));
    assert_eq!(copies(&pair), 0);
    for member in 0..3 {
        assert!(fetched(&pair, member, &session, at(4)).is_none());
    }
}
