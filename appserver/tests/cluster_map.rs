//! What one member does in the map of Tomcats with `BackupManager`: its rules, one by one, without a network. The members that it
//! talks to are played here, with the messages that Tomcat's are made of.

use appserver::manager::cluster::core::{Core, CoreConfig, NewKey, Outbox, Spread};
use appserver::manager::cluster::message::{
    Action, Delta, MapKind, MapMessage, MapState, RpcBody, RpcMessage, Said, Whole, map_name,
};
use appserver::manager::cluster::peers::Peer;
use appserver::session::{AskedId, Session, Suffix, Timestamp, Value};
use appserver::tribes::member::{Member, MemberId};

const START: u64 = 1_795_000_000_000;

/// This member, two Tomcats, and another one of ours.
const ME: [u8; 16] = [1; 16];
const TOMCAT: [u8; 16] = [7; 16];
const OTHER: [u8; 16] = [8; 16];
const NATIVE: [u8; 16] = [3; 16];

const KEY: &str = "A8644DF6E84CA5048F441BF20DCF0DF1";

fn at(millis: u64) -> Timestamp {
    Timestamp(START + millis)
}

fn config() -> CoreConfig {
    CoreConfig::new("/jsp", Spread::Backup)
}

fn member(id: [u8; 16]) -> Member {
    let address = ([127, 0, 0, id[0]], 4000).into();
    let native = Member::native(MemberId(id), address, "");
    let payload = if id[0] < 7 {
        native.payload.clone()
    } else {
        Box::default()
    };
    Member { payload, ..native }
}

/// A member that knows these others, and that they have the map if they are Tomcats.
fn core(others: &[[u8; 16]]) -> Core {
    with(config(), others)
}

fn with(config: CoreConfig, others: &[[u8; 16]]) -> Core {
    let core = Core::new(config, ME, NewKey::default());
    core.known_as(member(ME));
    for id in others {
        core.member_added(Peer::of(&member(*id)), at(0));
        if *id == TOMCAT || *id == OTHER {
            ask(
                &core,
                *id,
                MapMessage::new(MapKind::Start, &map(), Some(member(*id))),
                0,
            );
        }
    }
    core
}

fn map() -> String {
    map_name("/jsp")
}

/// Sends the sessions that need a backup, as the manager does before anything else.
fn publish(core: &Core, out: &mut Outbox, now: u64) {
    let keys = std::mem::take(&mut out.publish);
    let sends = keys
        .into_iter()
        .flat_map(|key| core.publish_orphan(key, at(now)));
    let sends: Vec<_> = sends.collect();
    out.map.splice(0..0, sends);
    let used = std::mem::take(&mut out.used);
    let used = used.into_iter().filter_map(|key| core.use_of(key, at(now)));
    out.map.extend(used);
}

/// Some time goes by.
fn tick(core: &Core, now: u64) -> Outbox {
    let mut out = Outbox::default();
    core.tick(at(now), &mut out);
    publish(core, &mut out, now);
    out
}

/// What left: to whom, and what.
type Sent = Vec<(Vec<[u8; 16]>, Said)>;

fn sent(out: &Outbox) -> Sent {
    assert!(out.natives.is_empty() && out.others.is_empty() && out.copies.is_empty());
    assert!(out.owed.is_empty() && out.one.is_empty() && out.tomcats.is_empty());
    let read = |bytes: &[u8]| Said::decode(bytes).expect("a map's").expect("ours");
    out.map
        .iter()
        .map(|send| (send.to.clone(), read(&send.message)))
        .collect()
}

/// The same of what was not asked or answered.
fn told(out: &Outbox) -> Vec<(Vec<[u8; 16]>, MapMessage)> {
    let messages = sent(out).into_iter().map(|(to, said)| match said {
        Said::Map(message) => (to, message),
        Said::Rpc(rpc) => panic!("{rpc:?}"),
    });
    messages.collect()
}

fn kinds(out: &Outbox) -> Vec<(MapKind, Vec<[u8; 16]>)> {
    told(out)
        .into_iter()
        .map(|(to, message)| (message.kind, to))
        .collect()
}

fn hear(core: &Core, from: [u8; 16], message: MapMessage, now: u64) -> Outbox {
    let mut out = Outbox::default();
    assert!(core.receive_map(&from, Said::Map(message), at(now), &mut out));
    publish(core, &mut out, now);
    out
}

/// The answer to a question, and what else left.
fn ask(core: &Core, from: [u8; 16], question: MapMessage, now: u64) -> (Option<MapMessage>, Sent) {
    let mut out = Outbox::default();
    let rpc = RpcMessage {
        id: vec![9; 16],
        channel: map(),
        body: RpcBody::Ask(Box::new(question)),
    };
    assert!(core.receive_map(&from, Said::Rpc(rpc), at(now), &mut out));
    publish(core, &mut out, now);
    let mut sent = sent(&out);
    let (to, answer) = sent.pop().expect("an answer");
    assert_eq!(to, [from]);
    match answer {
        Said::Rpc(RpcMessage {
            id,
            channel,
            body: RpcBody::Reply(answer),
        }) => {
            assert_eq!((id, channel), (vec![9; 16], map()));
            (answer.map(|answer| *answer), sent)
        }
        other => panic!("{other:?}"),
    }
}

/// Answers the only question that left.
fn answer(core: &Core, out: &Outbox, body: impl FnOnce(MapMessage) -> RpcBody, now: u64) -> Outbox {
    let mut questions = sent(out).into_iter().filter_map(|(to, said)| match said {
        Said::Rpc(rpc) => Some((to, rpc)),
        Said::Map(_) => None,
    });
    let (to, rpc) = questions.next().expect("a question");
    assert!(questions.next().is_none());
    let RpcBody::Ask(question) = rpc.body.clone() else {
        panic!("{rpc:?}");
    };
    let mut out = Outbox::default();
    let said = Said::Rpc(rpc.answered(body(*question)));
    core.receive_map(&to[0], said, at(now), &mut out);
    out
}

fn reply(answer: MapMessage) -> RpcBody {
    RpcBody::Reply(Some(Box::new(answer)))
}

fn about(kind: MapKind, key: &str, primary: [u8; 16], backup: [u8; 16]) -> MapMessage {
    MapMessage::about(kind, &map(), key, member(primary), vec![member(backup)])
}

fn whole(id: &str, attributes: &[(&str, &str)], now: u64) -> Whole {
    let attributes = attributes
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).into()));
    Whole {
        created: START,
        last_accessed: at(now).0,
        this_accessed: at(now).0,
        max_inactive: 1800,
        is_new: false,
        is_valid: true,
        id: id.to_owned(),
        attributes: attributes.collect(),
    }
}

/// A session that a Tomcat made, and of which this member is the backup.
fn backed_up(core: &Core, attributes: &[(&str, &str)], now: u64) -> Outbox {
    let message = about(MapKind::Backup, KEY, TOMCAT, ME);
    hear(
        core,
        TOMCAT,
        message.with_session(&whole(KEY, attributes, now)).0,
        now,
    )
}

fn diff(key: &str, primary: [u8; 16], backup: [u8; 16], actions: Vec<Action>) -> MapMessage {
    let delta = Delta {
        session_id: key.to_owned(),
        record_all: false,
        actions,
    };
    let diff = Some(delta.encode().0);
    MapMessage {
        diff,
        ..about(MapKind::Backup, key, primary, backup)
    }
}

fn set(name: &str, value: &str) -> Action {
    Action::Set(name.into(), value.into())
}

fn find(core: &Core, key: &str, now: u64, out: &mut Outbox) -> Option<Session> {
    let asked = AskedId::parse(key.as_bytes()).expect("an id");
    core.find(&asked, at(now), out).map(|(session, _)| session)
}

fn key_of(session: &Session) -> String {
    session.id().to_string()
}

/// A request that makes a session with an attribute.
fn made(core: &Core, now: u64) -> (Session, Outbox) {
    let mut out = Outbox::default();
    let session = core.create(at(now)).expect("no limit");
    session.set("k", "v").expect("alive");
    core.commit(&session, true, at(now), &mut out);
    (session, out)
}

#[test]
fn a_new_session_goes_whole_to_one_and_the_others_hear_where_it_is() {
    let core = core(&[TOMCAT, OTHER, NATIVE]);
    let mut backups = Vec::new();
    for _ in 0..3 {
        let (session, out) = made(&core, 1);
        let told = told(&out);
        let [(backup, whole), (proxies, proxy)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((whole.kind, proxy.kind), (MapKind::Backup, MapKind::Proxy));
        let sent = whole.session().expect("readable").expect("a session");
        assert_eq!(sent.id, key_of(&session));
        assert_eq!(sent.attributes, [("k".to_owned(), "v".into())]);
        for message in [whole, proxy] {
            assert_eq!(message.primary, Some(member(ME)));
            assert_eq!(message.nodes.as_deref(), Some(&[member(backup[0])][..]));
        }
        assert_eq!((backup.len(), proxies.len()), (1, 2));
        assert!(!proxies.contains(&backup[0]));
        backups.push(backup[0]);

        // Only what changed, and only to the backup.
        let mut out = Outbox::default();
        let session = find(&core, &key_of(&session), 2, &mut out).expect("here");
        session.set("k", "w").expect("alive");
        core.commit(&session, true, at(2), &mut out);
        let told = self::told(&out);
        assert_eq!((told.len(), &told[0].0), (1, backup));
        let (delta, _) = Delta::decode(told[0].1.diff.as_deref().expect("a difference"));
        assert_eq!(delta.actions, [Action::IsNew(false), set("k", "w")]);
    }
    backups.sort_unstable();
    assert_eq!(backups, [NATIVE, TOMCAT, OTHER], "they take turns");
}

#[test]
fn use_is_told_a_few_times_per_interval() {
    let core = core(&[TOMCAT]);
    let (session, _) = made(&core, 0);
    for (millis, count) in [(2_000, 0), (602_000, 1), (603_000, 0)] {
        let mut out = Outbox::default();
        let session = find(&core, &key_of(&session), millis, &mut out).expect("here");
        core.commit(&session, true, at(millis), &mut out);
        core.tick(at(millis), &mut out);
        publish(&core, &mut out, millis);
        let access = (MapKind::Access, vec![TOMCAT]);
        assert_eq!(kinds(&out), vec![access; count], "{millis}");
    }
}

#[test]
fn a_backup_that_serves_is_the_primary() {
    let core = core(&[TOMCAT, OTHER]);
    assert!(told(&backed_up(&core, &[("k", "v"), ("gone", "x")], 0)).is_empty());
    hear(
        &core,
        TOMCAT,
        diff(
            KEY,
            TOMCAT,
            ME,
            vec![set("k", "w"), Action::Removed("gone".into())],
        ),
        1,
    );
    let mut out = Outbox::default();
    let session = find(&core, KEY, 2, &mut out).expect("here");
    assert_eq!(session.get("k"), Some("w".into()));
    assert_eq!(session.get("gone"), None);
    // The former primary has it mostly: it is the backup.
    let told = told(&out);
    assert_eq!(
        kinds(&out),
        [
            (MapKind::Backup, vec![TOMCAT]),
            (MapKind::Proxy, vec![OTHER])
        ]
    );
    assert_eq!(
        told[0]
            .1
            .session()
            .expect("readable")
            .expect("a session")
            .attributes
            .len(),
        1
    );
    let mut out = Outbox::default();
    find(&core, KEY, 3, &mut out).expect("here");
    assert!(out.is_empty(), "it stays");

    // And is it no more when another one says so.
    hear(&core, OTHER, about(MapKind::Proxy, KEY, OTHER, TOMCAT), 4);
    drop(session);
    core.tick(at(5), &mut Outbox::default());
    assert!(find(&core, KEY, 6, &mut Outbox::default()).is_none());
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    assert_eq!(
        core.holders(asked.key),
        [OTHER, TOMCAT],
        "the primary first"
    );
}

#[test]
fn a_proxy_fetches_the_session() {
    let core = core(&[TOMCAT, OTHER, NATIVE]);
    hear(&core, TOMCAT, about(MapKind::Proxy, KEY, TOMCAT, OTHER), 0);
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    assert!(find(&core, KEY, 1, &mut Outbox::default()).is_none());
    let holders = core.holders(asked.key);
    assert_eq!(holders, [TOMCAT, OTHER]);
    let (name, question) = core.ask_for_session(&asked, &OTHER, at(1)).expect("asked");
    assert!(core.is_open(&name));
    let Some(Ok(Said::Rpc(rpc))) = Said::decode(&question) else {
        panic!("no question");
    };
    let RpcBody::Ask(retrieve) = rpc.body.clone() else {
        panic!("{rpc:?}");
    };
    assert_eq!(
        (retrieve.kind, retrieve.key.as_deref()),
        (MapKind::Retrieve, Some(KEY))
    );
    let (answer, failed) = retrieve.with_session(&whole(KEY, &[("k", "v")], 1));
    assert!(failed.is_empty());
    let said = Said::Rpc(rpc.answered(reply(answer)));
    let mut out = Outbox::default();
    core.receive_map(&TOMCAT, said.clone(), at(2), &mut out);
    assert!(core.is_open(&name), "somebody else was asked");
    core.receive_map(&OTHER, said.clone(), at(2), &mut out);
    assert!(!core.is_open(&name) && core.holders(asked.key).is_empty());
    let session = find(&core, KEY, 3, &mut out).expect("fetched");
    assert_eq!(session.get("k"), Some("v".into()));
    assert_eq!(
        kinds(&out),
        [
            (MapKind::Notify, vec![OTHER]),
            (MapKind::Proxy, vec![TOMCAT, NATIVE]),
        ]
    );
    assert!(
        told(&out)
            .iter()
            .all(|(_, m)| m.primary == Some(member(ME)) && m.nodes == Some(vec![member(OTHER)]))
    );
    // An answer that nobody asked for any more changes nothing.
    session.set("k", "w").expect("alive");
    core.receive_map(&OTHER, said, at(4), &mut Outbox::default());
    assert_eq!(session.get("k"), Some("w".into()));
}

#[test]
fn a_difference_for_a_session_that_is_not_here_makes_it_ask() {
    let core = core(&[TOMCAT]);
    let out = hear(&core, TOMCAT, diff(KEY, TOMCAT, ME, vec![set("k", "w")]), 0);
    assert_eq!(sent(&out)[0].0, [TOMCAT]);
    assert!(find(&core, KEY, 1, &mut Outbox::default()).is_none());
    // One that ended meanwhile.
    let late = KEY.replace('A', "B");
    let lost = hear(
        &core,
        TOMCAT,
        diff(&late, TOMCAT, ME, vec![set("k", "w")]),
        0,
    );
    let asked = AskedId::parse(late.as_bytes()).expect("an id");
    assert_eq!(core.holders(asked.key), [TOMCAT]);
    answer(&core, &lost, |_| RpcBody::Reply(None), 1);
    assert!(core.holders(asked.key).is_empty());
    let session = whole(KEY, &[("k", "w"), ("other", "x")], 0);
    answer(
        &core,
        &out,
        |question| reply(question.with_session(&session).0),
        1,
    );
    let session = find(&core, KEY, 2, &mut Outbox::default()).expect("here");
    assert_eq!(session.get("other"), Some("x".into()));
}

#[test]
fn what_was_changed_while_another_became_the_primary_goes_there() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let key = key_of(&session);
    let backup = told(&out)[0].0[0];
    let session = find(&core, &key, 1, &mut Outbox::default()).expect("here");
    session.set("late", "x").expect("alive");
    let other = if backup == TOMCAT { OTHER } else { TOMCAT };
    hear(&core, other, about(MapKind::Proxy, &key, other, backup), 2);
    let mut out = Outbox::default();
    core.commit(&session, true, at(3), &mut out);
    let told = told(&out);
    assert_eq!((told.len(), &told[0].0[..]), (1, &[other][..]));
    let message = &told[0].1;
    assert_eq!(message.primary, Some(member(other)));
    assert_eq!(message.nodes, Some(vec![member(backup)]));
    let (delta, _) = Delta::decode(message.diff.as_deref().expect("a difference"));
    assert_eq!(delta.actions, [Action::IsNew(false), set("late", "x")]);

    // The other way round: the backup gets what came late.
    let core = self::core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let key = key_of(&session);
    let backup = self::told(&out)[0].0[0];
    let out = hear(
        &core,
        OTHER,
        diff(&key, ME, backup, vec![set("late", "x")]),
        1,
    );
    let told = self::told(&out);
    assert_eq!(
        (told[0].1.kind, told[1].1.kind),
        (MapKind::Backup, MapKind::Proxy)
    );
    let sent = told[0].1.session().expect("readable").expect("a session");
    assert!(sent.attributes.contains(&("late".to_owned(), "x".into())));
    assert_eq!(session.get("late"), Some("x".into()));
}

#[test]
fn a_session_that_ended_does_not_come_back() {
    let core = core(&[TOMCAT, OTHER]);
    backed_up(&core, &[("k", "v")], 0);
    let mut out = Outbox::default();
    let session = find(&core, KEY, 1, &mut out).expect("here");
    let mut out = Outbox::default();
    core.remove(&session, at(2), &mut out);
    assert_eq!(kinds(&out), [(MapKind::Remove, vec![TOMCAT, OTHER])]);
    assert_eq!(told(&out)[0].1.key.as_deref(), Some(KEY));
    // One that took it over meanwhile hears of it.
    let out = backed_up(&core, &[("k", "v")], 3);
    assert_eq!(kinds(&out), [(MapKind::Remove, vec![TOMCAT])]);
    let out = hear(&core, OTHER, diff(KEY, OTHER, ME, vec![set("k", "w")]), 3);
    assert_eq!(kinds(&out), [(MapKind::Remove, vec![OTHER])]);
    hear(&core, OTHER, about(MapKind::Proxy, KEY, OTHER, TOMCAT), 3);
    assert!(find(&core, KEY, 4, &mut Outbox::default()).is_none());
    assert_eq!(core.cluster_status().refused, 2);
}

#[test]
fn a_remove_ends_it_for_the_requests_that_have_it() {
    let core = core(&[TOMCAT]);
    let (session, _) = made(&core, 0);
    let session = find(&core, &key_of(&session), 1, &mut Outbox::default()).expect("here");
    let remove = |key: &str| MapMessage::of_key(MapKind::Remove, &map(), key);
    hear(&core, TOMCAT, remove(&format!("{}.T", key_of(&session))), 2);
    assert!(!session.is_ended(), "another route is another session");
    hear(&core, TOMCAT, remove(&key_of(&session)), 2);
    assert!(session.is_ended() && session.set("k", 1).is_err());
    let mut out = Outbox::default();
    core.commit(&session, true, at(3), &mut out);
    assert!(out.is_empty());
    assert_eq!(core.status().active, 0);
}

#[test]
fn a_new_id_is_a_new_session() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let (old, backup) = (key_of(&session), told(&out)[0].0[0]);
    let session = find(&core, &old, 1, &mut Outbox::default()).expect("here");
    let mut out = Outbox::default();
    core.change_id(&session, at(1), &mut out).expect("alive");
    let told = told(&out);
    let kinds: Vec<_> = told.iter().map(|(_, m)| m.kind).collect();
    assert_eq!(kinds, [MapKind::Remove, MapKind::Backup, MapKind::Proxy]);
    assert_eq!(told[0].1.key.as_deref(), Some(&*old));
    assert_eq!(told[1].1.key.as_deref(), Some(&*key_of(&session)));
    assert_eq!((told[0].0.len(), told[1].0[0]), (2, backup));

    // The route is a part of the id.
    let suffix = Suffix::new(None, Some("A")).expect("a route");
    let routed = with(CoreConfig { suffix, ..config() }, &[TOMCAT]);
    let key = format!("{KEY}.T");
    let message = about(MapKind::Backup, &key, TOMCAT, ME);
    hear(
        &routed,
        TOMCAT,
        message.with_session(&whole(&key, &[], 0)).0,
        0,
    );
    let mut out = Outbox::default();
    let session = find(&routed, &key, 1, &mut out).expect("here");
    assert_eq!(session.id().to_string(), format!("{KEY}.A"));
    let keys: Vec<_> = self::told(&out)
        .into_iter()
        .map(|(_, m)| (m.kind, m.key.expect("a key")))
        .collect();
    let expected = [
        (MapKind::Remove, key),
        (MapKind::Backup, format!("{KEY}.A")),
    ];
    assert_eq!(keys, expected);
}

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
fn sessions_get_a_backup_when_there_is_one() {
    let core = core(&[]);
    let (session, out) = made(&core, 0);
    assert!(out.map.is_empty());
    core.member_added(Peer::of(&member(TOMCAT)), at(1));
    let start = MapMessage::new(MapKind::Start, &map(), Some(member(TOMCAT)));
    let (_, sent) = ask(&core, TOMCAT, start.clone(), 1);
    let [(to, Said::Map(backup))] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!((&to[..], backup.kind), (&[TOMCAT][..], MapKind::Backup));
    assert_eq!(backup.key.as_deref(), Some(&*key_of(&session)));
    assert_eq!(core.cluster_status().rules, "tomcat");
    // Once.
    assert!(ask(&core, TOMCAT, start, 2).1.is_empty());

    // A backup that stops, or dies, is replaced; a primary too, by its backup.
    core.member_added(Peer::of(&member(OTHER)), at(3));
    let start = MapMessage::new(MapKind::Start, &map(), Some(member(OTHER)));
    assert!(ask(&core, OTHER, start, 3).1.is_empty(), "it has one");
    backed_up(&core, &[("k", "v")], 4);
    hear(
        &core,
        TOMCAT,
        MapMessage::new(MapKind::Stop, &map(), Some(member(TOMCAT))),
        5,
    );
    let out = tick(&core, 6);
    let mut keys: Vec<_> = told(&out)
        .into_iter()
        .map(|(to, m)| {
            assert_eq!((&to[..], m.kind), (&[OTHER][..], MapKind::Backup));
            m.key.expect("a key")
        })
        .collect();
    keys.sort();
    let mut all = vec![KEY.to_owned(), key_of(&session)];
    all.sort();
    assert_eq!(keys, all);

    // The last Tomcat is gone: our own rules hold, and nothing is lost.
    core.member_removed(&TOMCAT, at(7), &mut Outbox::default());
    core.member_removed(&OTHER, at(7), &mut Outbox::default());
    assert_eq!(core.cluster_status().rules, "native");
    for key in [KEY, &key_of(&session)] {
        assert!(find(&core, key, 8, &mut Outbox::default()).is_some());
    }
}

#[test]
fn what_did_not_arrive_is_sent_again() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let key = out.map[0].backs_up.expect("it is a backup");
    assert_eq!(key, session.id().key);
    core.backup_failed(key);
    let out = tick(&core, 500);
    assert_eq!(kinds(&out)[0].0, MapKind::Backup);
    let backup = told(&out)[0].0[0];
    core.lost(&backup, at(600));
    let out = tick(&core, 1_000);
    assert_eq!(
        kinds(&out)[0].0,
        MapKind::Backup,
        "it lost what was queued for it"
    );
    let out = tick(&core, 1_500);
    assert!(out.is_empty());
}

/// A session that is about to get another backup is changed: the change goes with it, once.
#[test]
fn what_changes_meanwhile_is_not_overtaken() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let (key, backup) = (session.id().key, told(&out)[0].0[0]);
    core.member_removed(&backup, at(1), &mut Outbox::default());
    let mut waiting = Outbox::default();
    core.tick(at(2), &mut waiting);
    assert_eq!((&waiting.publish[..], waiting.map.len()), (&[key][..], 0));
    let mut out = Outbox::default();
    let session = find(&core, &key.to_string(), 3, &mut out).expect("here");
    session.set("k", "later").expect("alive");
    core.commit(&session, true, at(3), &mut out);
    let whole = told(&out)[0].1.session().expect("readable");
    assert_eq!(
        whole.expect("whole").attributes,
        [("k".to_owned(), "later".into())]
    );
    assert!(core.publish_orphan(key, at(4)).is_empty(), "it has one now");
}

/// A Tomcat that hears of use from a former primary takes it for the primary.
#[test]
fn use_is_not_told_by_a_former_primary() {
    let core = core(&[TOMCAT]);
    let (session, _) = made(&core, 0);
    let key = session.id().key.to_string();
    let mut out = Outbox::default();
    find(&core, &key, 700_000, &mut out).expect("here");
    core.tick(at(700_000), &mut out);
    assert_eq!(out.used, [session.id().key]);
    hear(
        &core,
        TOMCAT,
        about(MapKind::Notify, &key, TOMCAT, ME),
        700_001,
    );
    publish(&core, &mut out, 700_002);
    assert!(out.is_empty());
}

/// Who is told where all sessions are is not told that it is none of its own.
#[test]
fn a_backup_is_not_told_that_it_is_a_proxy() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let backup = told(&out)[0].0[0];
    let other = if backup == TOMCAT { OTHER } else { TOMCAT };
    let key = session.id().key;
    assert_eq!(core.entry_of(key, &backup), None);
    let entry = MapMessage::decode(&core.entry_of(key, &other).expect("told")).expect("ours");
    assert_eq!(
        (entry.kind, entry.nodes),
        (MapKind::Proxy, Some(vec![member(backup)]))
    );
    // Nor is what is the other's to tell.
    backed_up(&core, &[("k", "v")], 1);
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    assert_eq!(core.entry_of(asked.key, &OTHER), None);
}

#[test]
fn idle_sessions_end_for_all() {
    let core = core(&[TOMCAT]);
    let (session, _) = made(&core, 0);
    backed_up(&core, &[("k", "v")], 0);
    let late = 1_800_000;
    let mut out = Outbox::default();
    core.sweep(at(late), &mut out);
    assert_eq!(
        kinds(&out),
        [(MapKind::Remove, vec![TOMCAT])],
        "the other is the Tomcat's to end"
    );
    assert_eq!(told(&out)[0].1.key.as_deref(), Some(&*key_of(&session)));
    assert!(
        find(&core, KEY, late, &mut Outbox::default()).is_none(),
        "but it is not served"
    );
    assert_eq!(core.status().active, 1);
    core.sweep(at(2 * late), &mut out);
    assert_eq!(core.status().active, 0);
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
