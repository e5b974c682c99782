//! A Tomcat with `DeltaManager` among the members.

use super::*;

const TOMCAT: [u8; 16] = [7; 16];
const ID: &str = "D29D4B1F34E3CC966CA85DE46D639249.WEB1";

fn core() -> Core {
    core_of(config())
}

fn core_of(config: CoreConfig) -> Core {
    let core = Core::new(config, [1; 16], NewKey::default());
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

/// `recordAllActions`: what listens there hears of each change; what is here in the end comes last.
#[test]
fn it_is_told_of_each_change_if_it_is_to_be() {
    let told = |record_all_actions| {
        let config = CoreConfig {
            record_all_actions,
            ..config()
        };
        let core = core_of(config);
        let session = core.create(at(0)).expect("no limit");
        let id = session.id().to_string();
        let mut out = Outbox::default();
        core.commit(&session, true, at(0), &mut out);
        let mine = found(&core, &id, at(1), &mut out).expect("here");
        let other = found(&core, &id, at(1), &mut out).expect("here");
        mine.set("k", 1).expect("alive");
        mine.set("gone", 1).expect("alive");
        mine.remove("gone").expect("alive");
        mine.set("k", 2).expect("alive");
        other.set("k", 3).expect("alive");
        let mut out = Outbox::default();
        core.commit(&mine, true, at(2), &mut out);
        let message = messages(&out).pop().expect("a change");
        let body = message.body.as_deref().expect("a body");
        let (delta, unread) = Delta::decode(body);
        assert_eq!(unread, None);
        assert_eq!(delta.record_all, record_all_actions);
        delta.actions[1..].to_vec()
    };
    let set = |value: i32| Action::Set("k".into(), value.into());
    let (came, went) = (
        Action::Set("gone".into(), 1.into()),
        Action::Removed("gone".into()),
    );
    assert_eq!(told(false), [went.clone(), set(3)]);
    assert_eq!(told(true), [set(1), came, went, set(2), set(3)]);
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
