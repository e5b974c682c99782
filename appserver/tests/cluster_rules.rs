//! What one member does when requests end, messages arrive and time passes: its rules, one by one, without a network. For each way in
//! which Tomcat loses something (measured with the real one) there is a test in which nothing is lost here.

use appserver::manager::Source;
use appserver::manager::cluster::core::{Core, CoreConfig, NewKey, Outbox, Spread};
use appserver::manager::cluster::message::{Action, Delta, Event, SessionMessage, WholeReader};
use appserver::manager::cluster::peers::Peer;
use appserver::session::{AskedId, Foreign, Session, SessionId, Timestamp, Value};

const START: u64 = 1_795_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp(START + millis)
}

fn config() -> CoreConfig {
    CoreConfig::new("/jsp", Spread::All)
}

/// Members whose messages arrive when the test lets them.
struct Pair {
    cores: Vec<Core>,
    ids: Vec<[u8; 16]>,
}

impl Pair {
    fn of(count: u8, config: &CoreConfig) -> Self {
        let ids: Vec<[u8; 16]> = (1..=count).map(|n| [n; 16]).collect();
        let make = |id: &[u8; 16]| Core::new(config.clone(), *id, NewKey::default());
        let pair = Self {
            cores: ids.iter().map(make).collect(),
            ids,
        };
        for (i, core) in pair.cores.iter().enumerate() {
            for (j, id) in pair.ids.iter().enumerate() {
                if i != j {
                    core.member_added(Peer::new(*id, true, 0), at(0));
                }
            }
        }
        pair
    }

    fn new() -> Self {
        Self::of(2, &config())
    }

    /// Everything that these messages lead to, until all is quiet.
    fn deliver(&self, from: usize, out: Outbox, now: Timestamp) {
        let mut todo = vec![(from, out)];
        while let Some((from, out)) = todo.pop() {
            let sent = |to: usize, message: &[u8], todo: &mut Vec<(usize, Outbox)>| {
                let mut answer = Outbox::default();
                let read = self.cores[to].receive(&self.ids[from], message, now, &mut answer);
                read.expect("a member's message");
                todo.push((to, answer));
            };
            for message in &out.natives {
                (0..self.cores.len())
                    .filter(|to| *to != from)
                    .for_each(|to| sent(to, message, &mut todo));
            }
            for (but, message) in &out.others {
                (0..self.cores.len())
                    .filter(|to| *to != from && self.ids[*to] != *but)
                    .for_each(|to| sent(to, message, &mut todo));
            }
            let place = |id: &[u8; 16]| {
                self.ids
                    .iter()
                    .position(|other| other == id)
                    .expect("a member")
            };
            for (to, message) in out.one.iter().chain(&out.copies) {
                sent(place(to), message, &mut todo);
            }
            for owed in &out.owed {
                sent(place(&owed.to), &owed.message, &mut todo);
                self.cores[from].repaid(owed.key, owed.version);
            }
            for (to, mut stream) in out.streams {
                while let Some(message) = self.cores[from].pull(&mut stream, now) {
                    sent(place(&to), &message, &mut todo);
                }
                self.cores[from].stream_ended(&to, stream.is_comparison(), true, now);
            }
        }
    }

    /// One message arrives, and what it leads to does not.
    fn hear(&self, to: usize, from: usize, message: &[u8]) -> Outbox {
        let mut out = Outbox::default();
        let read = self.cores[to].receive(&self.ids[from], message, at(5), &mut out);
        read.expect("a member's message");
        out
    }

    fn tick(&self, now: Timestamp) {
        for member in 0..self.cores.len() {
            let mut out = Outbox::default();
            self.cores[member].tick(now, &mut out);
            self.deliver(member, out, now);
        }
    }

    /// A session with an attribute, known everywhere.
    fn session(&self, member: usize, now: Timestamp) -> Session {
        let session = self.cores[member].create(now).expect("no limit");
        session.set("start", 1).expect("alive");
        self.commit(member, &session, now);
        session
    }

    fn commit(&self, member: usize, session: &Session, now: Timestamp) {
        let out = self.committed(member, session, now);
        self.deliver(member, out, now);
    }

    fn committed(&self, member: usize, session: &Session, now: Timestamp) -> Outbox {
        let mut out = Outbox::default();
        self.cores[member].commit(session, true, now, &mut out);
        out
    }

    fn find(&self, member: usize, session: &Session, now: Timestamp) -> Option<(Session, Source)> {
        self.find_id(member, session.id(), now)
    }

    fn find_id(&self, member: usize, id: SessionId, now: Timestamp) -> Option<(Session, Source)> {
        let mut out = Outbox::default();
        let found = self.cores[member].find(&asked(id), now, &mut out);
        self.deliver(member, out, now);
        found
    }

    fn value(&self, member: usize, session: &Session, name: &str, now: Timestamp) -> Option<Value> {
        self.find(member, session, now)?.0.get(name)
    }
}

fn asked(id: SessionId) -> AskedId<'static> {
    AskedId {
        key: id.key,
        node: None,
        route: None,
    }
}

/// Tomcat loses the first change of 22 to 42 % of new sessions with option 8, because it overtakes the creation. Here they are one message.
#[test]
fn a_first_change_travels_with_its_creation() {
    let pair = Pair::new();
    let session = pair.cores[0].create(at(0)).expect("no limit");
    session.set("Blog", "MeXP").expect("alive");
    let out = pair.committed(0, &session, at(0));
    assert_eq!(out.natives.len(), 1);
    pair.deliver(0, out, at(0));
    let (copy, source) = pair.find(1, &session, at(1)).expect("known");
    assert_eq!(
        (copy.get("Blog"), source),
        (Some("MeXP".into()), Source::Replica)
    );
}

/// Changes that overtake each other leave the last, where Tomcat keeps what came last.
#[test]
fn the_order_of_arrival_does_not_matter() {
    let pair = Pair::new();
    let session = pair.session(0, at(0));
    session.set("k", 1).expect("alive");
    let first = pair.committed(0, &session, at(1));
    session.set("k", 2).expect("alive");
    let second = pair.committed(0, &session, at(2));
    pair.deliver(0, second, at(3));
    pair.deliver(0, first, at(3));
    assert_eq!(pair.value(1, &session, "k", at(4)), Some(2.into()));
}

/// A5, A6: after a cut link heals the members compare; Tomcats keep what they have, for ever.
#[test]
fn a_healed_partition_is_merged() {
    let pair = Pair::new();
    let old = pair.session(0, at(0));
    for (member, other) in [(0, 1), (1, 0)] {
        pair.cores[member].member_removed(&pair.ids[other], at(10), &mut Outbox::default());
    }
    let mine = pair.find(0, &old, at(20)).expect("known").0;
    mine.set("left", 1).expect("alive");
    mine.set("both", 1).expect("alive");
    pair.committed(0, &mine, at(20));
    let theirs = pair.find(1, &old, at(30)).expect("known").0;
    theirs.set("right", 1).expect("alive");
    theirs.set("both", 2).expect("alive");
    pair.committed(1, &theirs, at(30));
    let born = pair.cores[1].create(at(40)).expect("no limit");
    pair.committed(1, &born, at(40));
    for (member, other) in [(0, 1), (1, 0)] {
        pair.cores[member].member_added(Peer::new(pair.ids[other], true, 9), at(50));
    }
    pair.tick(at(60));
    for member in 0..2 {
        for (name, value) in [("start", 1), ("left", 1), ("right", 1), ("both", 2)] {
            assert_eq!(
                pair.value(member, &old, name, at(70)),
                Some(value.into()),
                "{member} {name}"
            );
        }
        assert!(pair.find(member, &born, at(70)).is_some());
    }
}

/// A3: a change that comes after the log out brings nothing back, and its sender learns of it.
#[test]
fn a_log_out_beats_a_late_change() {
    let pair = Pair::new();
    let session = pair.session(0, at(0));
    let slow = pair.find(1, &session, at(1)).expect("known").0;
    let mut out = Outbox::default();
    pair.cores[0].remove(&session, at(2), &mut out);
    let ended = out;
    slow.set("late", 1).expect("not ended there yet");
    let late = pair.committed(1, &slow, at(3));
    pair.deliver(1, late, at(4));
    assert!(slow.is_ended(), "the answer to the late change says so");
    pair.deliver(0, ended, at(5));
    for member in 0..2 {
        assert!(pair.find(member, &session, at(6)).is_none());
    }
}

/// It ends the session under every ID that it got elsewhere meanwhile, although nobody is left who knows how it came to them.
#[test]
fn a_log_out_ends_the_session_under_whatever_id() {
    let pair = Pair::of(4, &config());
    let [begins, logs_in, heir, logs_out] = [0, 1, 2, 3];
    let session = pair.session(begins, at(0));
    let told = |core: &Core, ends: fn(&Core, &Session, &mut Outbox), session: &Session| {
        let mut out = Outbox::default();
        ends(core, session, &mut out);
        out.natives.pop().expect("all are told")
    };
    let log_in = |core: &Core, session: &Session, out: &mut Outbox| {
        core.change_id(session, at(2), out).expect("alive");
    };
    let log_out = |core: &Core, session: &Session, out: &mut Outbox| {
        core.remove(session, at(2), out);
    };
    let there = pair.find(logs_out, &session, at(1)).expect("known").0;
    let log_out = told(&pair.cores[logs_out], log_out, &there);
    // Two log ins, which the third member hears of in the end only, and not how.
    let first = told(&pair.cores[begins], log_in, &session);
    pair.hear(logs_in, begins, &first);
    let there = pair.find_id(logs_in, session.id(), at(3)).expect("known").0;
    told(&pair.cores[logs_in], log_in, &there);
    let id = there.id();
    let given = |from: usize, to: usize| {
        let need = pair.cores[to].need(id.key, at(4));
        let mut stream = pair.hear(from, to, &need).streams.pop().expect("an answer");
        let given = pair.cores[from].pull(&mut stream.1, at(4));
        given.expect("a session")
    };
    pair.hear(heir, logs_in, &given(logs_in, heir));
    assert!(
        pair.cores[heir]
            .find(&asked(id), at(5), &mut Outbox::default())
            .is_some()
    );

    // Whoever knows of the log out does not take it, and says so.
    let refused = pair.hear(logs_out, heir, &given(heir, logs_out));
    assert!(
        pair.cores[logs_out]
            .find(&asked(id), at(6), &mut Outbox::default())
            .is_none()
    );
    let (to, answer) = refused.one.into_iter().next().expect("an answer");
    assert_eq!(to, pair.ids[heir]);
    pair.hear(logs_in, logs_out, &answer);
    assert!(there.is_ended());

    // Whoever hears of it only later finds the session when it looks for what is idle.
    pair.hear(heir, logs_out, &log_out);
    let mut out = Outbox::default();
    pair.cores[heir].sweep(at(7), &mut out);
    assert!(
        pair.cores[heir]
            .find(&asked(id), at(8), &mut Outbox::default())
            .is_none()
    );
    assert_eq!(out.natives.len(), 1, "the others are told");
}

/// A8: Tomcat serves a copy until twice the interval, and revives a session that its primary has refused.
#[test]
fn a_copy_that_was_idle_for_its_interval_is_refused() {
    let pair = Pair::of(
        2,
        &CoreConfig {
            max_inactive: 10,
            ..config()
        },
    );
    let session = pair.session(0, at(0));
    assert!(pair.find(1, &session, at(10_000)).is_none());
    let mut out = Outbox::default();
    assert_eq!(
        pair.cores[1].sweep(at(10_000), &mut out),
        0,
        "another's to end"
    );
    assert_eq!(pair.cores[0].sweep(at(10_000), &mut out), 1);
    pair.deliver(0, out, at(10_000));
    assert!(pair.cores[1].sessions().is_empty());
}

/// Use on any member counts for all, at no message per request.
#[test]
fn use_is_told_now_and_then() {
    let pair = Pair::of(
        2,
        &CoreConfig {
            max_inactive: 10,
            ..config()
        },
    );
    let session = pair.session(0, at(0));
    for millis in [4_000, 8_000, 9_000] {
        let (found, _) = pair.find(1, &session, at(millis)).expect("used");
        assert!(
            pair.committed(1, &found, at(millis)).is_empty(),
            "it only read"
        );
        pair.tick(at(millis + 500));
    }
    let mut out = Outbox::default();
    assert_eq!(pair.cores[0].sweep(at(18_000), &mut out), 0);
    assert!(pair.find(0, &session, at(18_000)).is_some());
}

/// An orphaned session lives for one interval and not for two.
#[test]
fn the_sessions_of_a_dead_primary_are_ended_by_another() {
    let pair = Pair::of(
        3,
        &CoreConfig {
            max_inactive: 10,
            ..config()
        },
    );
    let session = pair.session(0, at(0));
    for member in [1, 2] {
        pair.cores[member].member_removed(&pair.ids[0], at(100), &mut Outbox::default());
    }
    let mut out = Outbox::default();
    assert_eq!(
        pair.cores[2].sweep(at(10_000), &mut out),
        0,
        "one of the two does it"
    );
    assert_eq!(pair.cores[1].sweep(at(10_000), &mut out), 1);
    pair.deliver(1, out, at(10_000));
    assert!(pair.cores[2].sessions().is_empty());
    assert!(pair.find(2, &session, at(10_001)).is_none());
}

/// Two members give a session new ids at the same time: one id wins on both, and whoever was told the other still finds the session.
#[test]
fn two_new_ids_at_once_are_one_session() {
    let pair = Pair::new();
    let session = pair.session(0, at(0));
    let old = session.id();
    let copy = pair.find(1, &session, at(1)).expect("known").0;
    let (mut one, mut two) = (Outbox::default(), Outbox::default());
    pair.cores[0]
        .change_id(&session, at(2), &mut one)
        .expect("alive");
    pair.cores[1]
        .change_id(&copy, at(3), &mut two)
        .expect("alive");
    let told = [session.id(), copy.id()];
    pair.deliver(0, one, at(4));
    pair.deliver(1, two, at(4));
    for member in 0..2 {
        assert!(
            pair.find_id(member, old, at(5)).is_none(),
            "the planted id finds nothing"
        );
        let found = told.map(|id| pair.find_id(member, id, at(5)).expect("told").0.id());
        assert_eq!(found, [copy.id(); 2], "the later wins");
    }
}

/// A member that starts gets all sessions, and what changes meanwhile is merged, not dropped by comparing clocks.
#[test]
fn a_member_that_starts_gets_all_sessions() {
    let pair = Pair::new();
    let sessions: Vec<Session> = (0..300).map(|_| pair.session(0, at(0))).collect();
    let late = Core::new(config(), [9; 16], NewKey::default());
    late.member_added(Peer::new(pair.ids[0], true, 5_000), at(1));
    let mut out = Outbox::default();
    late.start(at(1), &mut out);
    assert!(!late.is_joined());
    let (to, ask) = out.one.pop().expect("a question");
    assert_eq!(to, pair.ids[0]);
    let mut answer = Outbox::default();
    pair.cores[0]
        .receive(&[9; 16], &ask, at(2), &mut answer)
        .expect("valid");
    // A change overtakes its session.
    sessions[0].set("start", 2).expect("alive");
    let change = pair.committed(0, &sessions[0], at(3));
    late.receive(
        &pair.ids[0],
        &change.natives[0],
        at(3),
        &mut Outbox::default(),
    )
    .expect("valid");
    let (_, mut stream) = answer.streams.pop().expect("sessions");
    while let Some(message) = pair.cores[0].pull(&mut stream, at(4)) {
        late.receive(&pair.ids[0], &message, at(4), &mut Outbox::default())
            .expect("valid");
    }
    assert!(late.is_joined());
    assert_eq!(late.sessions().len(), 300);
    let changed = late
        .sessions()
        .into_iter()
        .find(|s| s.id() == sessions[0].id());
    assert_eq!(changed.and_then(|s| s.get("start")), Some(2.into()));
}

/// Nobody waits for a member that asks too: both have nothing and say so.
#[test]
fn members_that_start_together_answer_each_other() {
    let pair = Pair::new();
    for member in 0..2 {
        let mut out = Outbox::default();
        pair.cores[member].start(at(0), &mut out);
        pair.deliver(member, out, at(0));
    }
    assert!(pair.cores.iter().all(Core::is_joined));
}

/// When the source dies the next is asked; when nobody answers, stateTransferTimeout ends the wait.
#[test]
fn a_source_that_dies_is_replaced() {
    let core = Core::new(config(), [9; 16], NewKey::default());
    for (id, alive) in [([1; 16], 10), ([2; 16], 5)] {
        core.member_added(Peer::new(id, true, alive), at(0));
    }
    let mut out = Outbox::default();
    core.start(at(0), &mut out);
    core.member_removed(&[1; 16], at(1), &mut out);
    let asked: Vec<_> = out.one.iter().map(|(id, _)| *id).collect();
    assert_eq!(asked, [[1; 16], [2; 16]]);
    core.tick(at(60_000), &mut out);
    assert!(!core.is_joined());
    core.tick(at(60_001), &mut out);
    assert!(core.is_joined());
}

mod backup {
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
}

mod tomcat {
    use super::*;

    const TOMCAT: [u8; 16] = [7; 16];
    const ID: &str = "D29D4B1F34E3CC966CA85DE46D639249.WEB1";

    fn core() -> Core {
        let core = Core::new(config(), [1; 16], NewKey::default());
        core.member_added(Peer::new(TOMCAT, false, 1), at(0));
        core
    }

    fn hear(core: &Core, message: SessionMessage, now: Timestamp) -> Outbox {
        let mut out = Outbox::default();
        core.receive_tomcat(&TOMCAT, message, now, &mut out);
        out
    }

    fn delta(actions: Vec<Action>) -> Vec<u8> {
        Delta {
            session_id: ID.into(),
            record_all: false,
            actions,
        }
        .encode()
        .0
    }

    fn messages(out: &Outbox) -> Vec<SessionMessage> {
        let read = |bytes: &Vec<u8>| SessionMessage::decode(bytes).expect("ours");
        out.tomcats.iter().map(read).collect()
    }

    fn actions(message: &SessionMessage) -> Vec<Action> {
        Delta::decode(message.body.as_deref().expect("a body"))
            .0
            .actions
    }

    fn found(core: &Core, id: &str, now: Timestamp, out: &mut Outbox) -> Option<Session> {
        let asked = AskedId::parse(id.as_bytes()).expect("an id");
        core.find(&asked, now, out).map(|(session, _)| session)
    }

    #[test]
    fn it_is_told_of_creation_then_changes_use_ids_and_ends() {
        let core = core();
        let session = core.create(at(0)).expect("no limit");
        session.set("k", 7).expect("alive");
        let mut out = Outbox::default();
        core.commit(&session, true, at(0), &mut out);
        let told = messages(&out);
        assert_eq!(
            [told[0].event, told[1].event],
            [Event::Created, Event::Delta]
        );
        let first = [
            Action::IsNew(true),
            Action::MaxInactive(1800),
            Action::Set("k".into(), 7.into()),
        ];
        assert_eq!(actions(&told[1]), first);
        assert!(out.natives.is_empty());

        let id = session.id().to_string();
        let mut out = Outbox::default();
        let session = found(&core, &id, at(1_000), &mut out).expect("here");
        session.remove("k").expect("alive");
        core.commit(&session, true, at(1_000), &mut out);
        let told = messages(&out);
        assert_eq!(
            told.len(),
            1,
            "never a second creation, which would empty it"
        );
        assert_eq!(
            actions(&told[0]),
            [Action::IsNew(false), Action::Removed("k".into())]
        );

        // A third of the interval later its copy needs to hear that it is in use.
        for (millis, events) in [(2_000, 0), (602_000, 1), (603_000, 0)] {
            let mut out = Outbox::default();
            let session = found(&core, &id, at(millis), &mut out).expect("here");
            core.commit(&session, true, at(millis), &mut out);
            let told = messages(&out);
            assert_eq!(told.len(), events, "{millis}");
            assert!(told.iter().all(|m| m.event == Event::Accessed));
        }

        let mut out = Outbox::default();
        core.change_id(&session, at(604_000), &mut out)
            .expect("alive");
        let told = messages(&out);
        assert_eq!(
            (told[0].event, told[0].session_id.as_str()),
            (Event::ChangeSessionId, id.as_str())
        );
        assert_eq!(told[0].new_id(), Ok(session.id().to_string()));

        let mut out = Outbox::default();
        core.remove(&session, at(605_000), &mut out);
        assert_eq!(messages(&out)[0].event, Event::Expired);
    }

    #[test]
    fn what_it_tells_is_applied() {
        let core = core();
        hear(&core, SessionMessage::created("/jsp", ID, START), at(0));
        let body = delta(vec![
            Action::IsNew(true),
            Action::MaxInactive(60),
            Action::Set("count".into(), 42.into()),
            Action::Set("big".into(), 123_456_789_012_i64.into()),
        ]);
        hear(
            &core,
            SessionMessage::delta("/jsp", ID, START + 1, body),
            at(1),
        );
        let session = found(&core, ID, at(2), &mut Outbox::default()).expect("created");
        assert_eq!(session.get("count"), Some(Value::Integer(42)));
        assert_eq!(session.get("big"), Some(Value::Long(123_456_789_012)));
        assert_eq!(
            (session.facts().max_inactive, session.facts().created),
            (60, at(0))
        );
        assert_eq!(session.id().to_string(), ID);

        // A clock that is behind does not make its later change lose.
        session.set("count", 43).expect("alive");
        core.commit(&session, true, at(5_000), &mut Outbox::default());
        let body = delta(vec![
            Action::Set("count".into(), 44.into()),
            Action::Removed("big".into()),
        ]);
        hear(
            &core,
            SessionMessage::delta("/jsp", ID, START + 2, body),
            at(6_000),
        );
        assert_eq!(
            (session.get("count"), session.get("big")),
            (Some(44.into()), None)
        );

        let moved = ID.replace("WEB1", "WEB2");
        hear(
            &core,
            SessionMessage::change_session_id("/jsp", ID, &moved, START + 7_000),
            at(7_000),
        );
        assert_eq!(session.id().to_string(), moved);
        let other = "00112233445566778899AABBCCDDEEFF.WEB2";
        hear(
            &core,
            SessionMessage::change_session_id("/jsp", &moved, other, START + 7_001),
            at(7_001),
        );
        assert!(found(&core, ID, at(7_002), &mut Outbox::default()).is_none());
        assert!(found(&core, other, at(7_002), &mut Outbox::default()).is_some());
        hear(
            &core,
            SessionMessage::expired("/jsp", other, START + 8_000),
            at(8_000),
        );
        assert!(session.is_ended());
    }

    /// Tomcat drops it, which loses the first change of many sessions.
    #[test]
    fn a_change_that_overtakes_its_creation_waits_for_a_second() {
        let core = core();
        let change = || {
            SessionMessage::delta(
                "/jsp",
                ID,
                START,
                delta(vec![Action::Set("k".into(), 1.into())]),
            )
        };
        hear(&core, change(), at(0));
        core.tick(at(900), &mut Outbox::default());
        hear(&core, SessionMessage::created("/jsp", ID, START), at(950));
        let session = found(&core, ID, at(951), &mut Outbox::default()).expect("created");
        assert_eq!(session.get("k"), Some(1.into()));
        hear(&core, SessionMessage::expired("/jsp", ID, START), at(960));
        hear(&core, change(), at(970));
        core.tick(at(3_000), &mut Outbox::default());
        assert!(found(&core, ID, at(3_001), &mut Outbox::default()).is_none());

        let other = ID.replace('D', "E");
        let late = SessionMessage {
            session_id: other.clone(),
            ..change()
        };
        hear(&core, late, at(4_000));
        core.tick(at(5_000), &mut Outbox::default());
        assert_eq!(core.cluster_status().dropped_messages, 1);
        hear(
            &core,
            SessionMessage::created("/jsp", &other, START),
            at(5_001),
        );
        let session = found(&core, &other, at(5_002), &mut Outbox::default()).expect("created");
        assert_eq!(session.get("k"), None);
    }

    /// A creation that comes again would empty the session on a Tomcat.
    #[test]
    fn a_second_creation_changes_nothing() {
        let core = core();
        hear(&core, SessionMessage::created("/jsp", ID, START), at(0));
        let session = found(&core, ID, at(1), &mut Outbox::default()).expect("created");
        session.set("k", 1).expect("alive");
        hear(&core, SessionMessage::created("/jsp", ID, START + 5), at(5));
        assert_eq!(session.get("k"), Some(1.into()));
    }

    #[test]
    fn it_gets_all_sessions_with_what_is_foreign_as_it_came() {
        let core = core();
        for number in 0..2_500 {
            let session = core.create(at(0)).expect("no limit");
            session.set("number", number).expect("alive");
            if number == 0 {
                let broken = Foreign {
                    class: "a.B".into(),
                    stream: b"junk".to_vec(),
                };
                session
                    .set("broken", Value::Foreign(broken))
                    .expect("alive");
            }
            core.commit(&session, true, at(0), &mut Outbox::default());
        }
        let mut out = hear(
            &core,
            SessionMessage::get_all_sessions("/jsp", START),
            at(1),
        );
        let (to, mut stream) = out.streams.pop().expect("an answer");
        assert_eq!(to, TOMCAT);
        let mut numbers = Vec::new();
        let mut last = None;
        while let Some(bytes) = core.pull(&mut stream, at(2)) {
            let message = SessionMessage::decode(&bytes).expect("ours");
            last = Some(message.event);
            if message.event == Event::AllSessionData {
                let body = message.body.expect("sessions");
                let mut reader = WholeReader::new(&body).expect("sessions");
                while let Some(session) = reader.session().expect("a session") {
                    assert_eq!(
                        session.attributes.len(),
                        1,
                        "what cannot be written costs itself only"
                    );
                    numbers.extend(session.attributes[0].1.as_i64());
                }
            }
        }
        assert_eq!(last, Some(Event::TransferComplete));
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2_500).collect::<Vec<_>>());
        assert!(core.cluster_status().unwritable_attributes > 0);

        let empty = self::core();
        let mut out = hear(
            &empty,
            SessionMessage::get_all_sessions("/jsp", START),
            at(1),
        );
        let (_, mut stream) = out.streams.pop().expect("an answer");
        let events: Vec<Event> = std::iter::from_fn(|| empty.pull(&mut stream, at(2)))
            .map(|bytes| SessionMessage::decode(&bytes).expect("ours").event)
            .collect();
        assert_eq!(events, [Event::AllSessionData, Event::TransferComplete]);
    }

    #[test]
    fn its_sessions_are_asked_for_and_taken() {
        let source = core();
        let session = source.create(at(0)).expect("no limit");
        session.set("k", "v").expect("alive");
        source.commit(&session, true, at(0), &mut Outbox::default());
        let mut out = hear(
            &source,
            SessionMessage::get_all_sessions("/jsp", START),
            at(1),
        );
        let (_, mut stream) = out.streams.pop().expect("an answer");
        let core = core();
        let mut out = Outbox::default();
        core.start(at(0), &mut out);
        let (to, ask) = out.one_tomcat.pop().expect("a question");
        assert_eq!(to, TOMCAT);
        assert_eq!(
            SessionMessage::decode(&ask).expect("ours").event,
            Event::GetAllSessions
        );
        while let Some(bytes) = source.pull(&mut stream, at(2)) {
            assert!(!core.is_joined());
            hear(&core, SessionMessage::decode(&bytes).expect("ours"), at(2));
        }
        assert!(core.is_joined());
        let copy = found(
            &core,
            &session.id().to_string(),
            at(3),
            &mut Outbox::default(),
        );
        assert_eq!(copy.and_then(|s| s.get("k")), Some("v".into()));
    }
}
