//! What one member does in the map of Tomcats with `BackupManager`: its rules, one by one, without a network. The members that it
//! talks to are played here, with the messages that Tomcat's are made of.

mod ends;
mod members;
mod roles;

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
