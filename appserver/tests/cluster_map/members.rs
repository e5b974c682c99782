//! Members that start, ask, answer and stop.

use super::*;

#[test]
fn questions_are_answered() {
    let core = core(&[TOMCAT, OTHER, NATIVE]);
    backed_up(&core, &[("k", "v")], 0);
    let (mine, _) = made(&core, 0);
    let elsewhere = KEY.replace('A', "B");
    hear(
        &core,
        TOMCAT,
        about(MapKind::Proxy, &elsewhere, NATIVE, OTHER),
        0,
    );
    let untold = core.create(at(0)).expect("no limit");

    let question = |kind| MapMessage::new(kind, &map(), Some(member(OTHER)));
    for kind in [MapKind::Init, MapKind::Start] {
        let (answer, sent) = ask(&core, OTHER, question(kind), 1);
        assert_eq!(
            answer.expect("an answer").primary,
            Some(member(ME)),
            "{kind:?}"
        );
        assert!(sent.is_empty());
    }
    let (pong, _) = ask(&core, OTHER, question(MapKind::Ping), 1);
    assert_eq!(pong.expect("an answer").state(), Ok(MapState::Initialized));
    let (state, _) = ask(
        &core,
        OTHER,
        MapMessage::new(MapKind::State, &map(), None),
        1,
    );
    let (entries, unread) = state.expect("an answer").entries().expect("readable");
    assert_eq!(unread, 0);
    let mut roles: Vec<_> = entries
        .iter()
        .map(|e| {
            let backup = e.nodes.as_ref().and_then(|nodes| nodes.first());
            assert_eq!(e.kind, MapKind::Proxy);
            (
                e.key.clone().expect("a key"),
                e.primary.as_ref().map(|m| m.id.0),
                backup.map(|m| m.id.0),
            )
        })
        .collect();
    roles.sort();
    let of_mine = roles
        .iter()
        .position(|(key, ..)| *key == key_of(&mine))
        .expect("told");
    assert_eq!(roles.remove(of_mine).1, Some(ME));
    assert_eq!(
        roles,
        [
            (KEY.to_owned(), Some(TOMCAT), Some(ME)),
            (elsewhere.clone(), Some(NATIVE), Some(OTHER)),
        ]
    );

    let retrieve = |key: &str| MapMessage::of_key(MapKind::Retrieve, &map(), key);
    let (answer, _) = ask(&core, OTHER, retrieve(KEY), 1);
    let session = answer.expect("an answer").session().expect("readable");
    assert_eq!(
        session.expect("a session").attributes,
        [("k".to_owned(), Value::from("v"))]
    );
    for nothing in [elsewhere, "no id".to_owned(), key_of(&untold)] {
        assert_eq!(
            ask(&core, OTHER, retrieve(&nothing), 1).0,
            None,
            "{nothing}"
        );
    }
}

#[test]
fn who_starts_tells_the_tomcats_and_asks_where_the_sessions_are() {
    let core = Core::new(config(), ME, NewKey::default());
    core.known_as(member(ME));
    core.member_added(Peer::of(&member(TOMCAT)), at(0));
    assert!(!core.maps(), "it may run another manager");
    let mut out = Outbox::default();
    core.start(at(0), &mut out);
    let questions: Vec<_> = sent(&out)
        .into_iter()
        .map(|(to, said)| match said {
            Said::Rpc(RpcMessage {
                body: RpcBody::Ask(question),
                ..
            }) => (to, question.kind),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        questions,
        [
            (vec![TOMCAT], MapKind::Start),
            (vec![TOMCAT], MapKind::State)
        ]
    );
    let ping = MapMessage::new(MapKind::Ping, &map(), Some(member(TOMCAT)));
    let (pong, _) = ask(&core, TOMCAT, ping, 0);
    assert_eq!(pong.expect("an answer").state(), Ok(MapState::New));
    assert!(core.maps() && !core.is_joined());

    out.map.remove(0);
    let entry = about(MapKind::Proxy, KEY, TOMCAT, OTHER);
    core.member_added(Peer::of(&member(OTHER)), at(0));
    let out = answer(
        &core,
        &out,
        |question| reply(question.with_entries(&[entry])),
        1,
    );
    assert!(out.is_empty() && core.is_joined());
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    assert_eq!(
        core.holders(asked.key),
        [TOMCAT],
        "the backup does not have the map yet"
    );

    // The other Tomcat was there too: it is told, and asked what it knows.
    let out = tick(&core, 500);
    let out = answer(&core, &out, reply, 501);
    assert_eq!(out.streams.len(), 1);
    answer(
        &core,
        &out,
        |question| {
            assert_eq!(question.kind, MapKind::State);
            reply(question.with_entries(&[]))
        },
        502,
    );
    assert_eq!(core.holders(asked.key), [TOMCAT, OTHER]);
}

/// One that starts, and its questions to the Tomcat: START and STATE.
fn starting(others: &[[u8; 16]]) -> (Core, [Outbox; 2]) {
    let core = Core::new(config(), ME, NewKey::default());
    core.known_as(member(ME));
    for id in others {
        core.member_added(Peer::of(&member(*id)), at(0));
    }
    let mut out = Outbox::default();
    core.start(at(0), &mut out);
    let state = Outbox {
        map: out.map.split_off(1),
        ..Outbox::default()
    };
    (core, [out, state])
}

/// A Tomcat answers each question on a thread of its own, and START when it has looked for backups.
#[test]
fn the_answers_of_a_tomcat_come_in_any_order() {
    let (core, [start, state]) = starting(&[TOMCAT]);
    let entry = about(MapKind::Proxy, KEY, TOMCAT, OTHER);
    let entries = |question: MapMessage| reply(question.with_entries(&[entry]));
    answer(&core, &state, entries, 1);
    assert!(core.maps(), "it has sessions, so it has the map");
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    assert_eq!(core.holders(asked.key), [TOMCAT]);
    assert!(core.is_ready(at(1)));
    answer(&core, &start, reply, 2);
    assert!(core.maps() && core.is_ready(at(2)));
}

/// One of ours tells where the sessions are, and whether the Tomcats among those places are there only they say themselves.
#[test]
fn who_starts_waits_for_the_tomcats_to_answer() {
    let waits = || {
        let (core, [mut start, _]) = starting(&[TOMCAT, NATIVE]);
        let other = Core::new(config(), NATIVE, NewKey::default());
        other.member_added(Peer::of(&member(ME)), at(0));
        for (to, question) in std::mem::take(&mut start.one) {
            assert_eq!(to, NATIVE);
            let mut out = Outbox::default();
            other
                .receive(&ME, &question, at(0), &mut out)
                .expect("ours");
            let (_, mut places) = out.streams.pop().expect("an answer");
            while let Some(message) = other.pull(&mut places, at(0)) {
                let mut none = Outbox::default();
                core.receive(&NATIVE, &message, at(0), &mut none)
                    .expect("ours");
            }
        }
        assert!(core.is_joined() && !core.is_ready(at(1)));
        (core, start)
    };
    let (core, start) = waits();
    answer(&core, &start, reply, 2);
    assert!(core.maps() && core.is_ready(at(2)));
    // Its application has not started.
    let (core, start) = waits();
    answer(&core, &start, |_| RpcBody::Nobody, 2);
    assert!(!core.maps() && core.is_ready(at(2)));
    // The question did not reach it.
    let (core, _) = waits();
    core.failed(&TOMCAT, at(2));
    assert!(core.is_ready(at(2)));
    // It hangs.
    let (core, _) = waits();
    assert!(!core.is_ready(at(4_999)) && core.is_ready(at(5_000)));
}

#[test]
fn a_tomcat_that_has_no_map_is_no_member_of_it() {
    let (core, [start, state]) = starting(&[TOMCAT]);
    answer(&core, &state, |_| RpcBody::Nobody, 1);
    answer(&core, &start, |_| RpcBody::Nobody, 1);
    assert!(core.is_ready(at(1)) && !core.maps());
    let (_, out) = made(&core, 2);
    assert!(out.map.is_empty());
    assert_eq!(core.cluster_status().rules, "native");
    // In the mode `cluster` there is no such map at all.
    let delta = Core::new(
        CoreConfig {
            spread: Spread::All,
            ..config()
        },
        ME,
        NewKey::default(),
    );
    let stop = MapMessage::new(MapKind::Stop, &map(), Some(member(TOMCAT)));
    assert!(!delta.receive_map(&TOMCAT, Said::Map(stop), at(0), &mut Outbox::default()));
}

#[test]
fn who_stops_says_so() {
    let core = core(&[TOMCAT, NATIVE]);
    let mut out = Outbox::default();
    core.leave_map(&mut out);
    assert_eq!(kinds(&out), [(MapKind::Stop, vec![TOMCAT, NATIVE])]);
    assert_eq!(told(&out)[0].1.primary, Some(member(ME)));
    let mut out = Outbox::default();
    self::core(&[NATIVE]).leave_map(&mut out);
    assert!(out.is_empty(), "among our own nothing is said");
}

#[test]
fn nonsense_is_dropped_and_counted() {
    let core = core(&[TOMCAT]);
    backed_up(&core, &[("k", "v")], 0);
    let garbage = Some(b"no stream".to_vec());
    let backup = || about(MapKind::Backup, KEY, TOMCAT, ME);
    for message in [
        MapMessage {
            value: garbage.clone(),
            ..backup()
        },
        MapMessage {
            diff: garbage,
            ..backup()
        },
        MapMessage {
            key: Some("no id".into()),
            ..backup()
        },
        MapMessage {
            key: None,
            ..backup()
        },
    ] {
        hear(&core, TOMCAT, message, 1);
    }
    assert!(core.cluster_status().dropped_messages >= 4);
    let session = find(&core, KEY, 2, &mut Outbox::default()).expect("as it was");
    assert_eq!(session.get("k"), Some("v".into()));
    // Open questions are bounded.
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    let open = (0..10_000).filter(|_| core.ask_for_session(&asked, &TOMCAT, at(3)).is_some());
    assert!(open.count() < 5_000);
    core.tick(at(100_000), &mut Outbox::default());
    assert!(
        core.ask_for_session(&asked, &TOMCAT, at(100_000)).is_some(),
        "forgotten after a while"
    );
}
