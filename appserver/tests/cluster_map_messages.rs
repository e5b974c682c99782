//! What Tomcats with `BackupManager` say, from captures of the real thing: read, and written byte for byte.

use std::path::Path;

use appserver::manager::cluster::message::{
    Action, Delta, MapKind, MapMessage, MapState, RpcBody, RpcMessage, Said, Whole, map_name,
};
use appserver::session::{Foreign, Value};
use appserver::tribes::member::{Member, MemberId};
use proptest::prelude::*;

const A: &str = "A8644DF6E84CA5048F441BF20DCF0DF1";

fn captures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/map");
    let files = std::fs::read_dir(folder).expect("a folder");
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("a file");
        let digits: String = text.lines().filter(|l| !l.starts_with('#')).collect();
        let byte = |i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hexadecimal digits");
        (0..digits.len()).step_by(2).map(byte).collect()
    };
    let name = |path: &Path| {
        path.file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let paths = files.map(|file| file.expect("a file").path());
    paths.map(|path| (name(&path), read(&path))).collect()
}

fn capture(name: &str) -> Vec<u8> {
    let found = captures().into_iter().find(|(n, _)| n == name);
    found.expect(name).1
}

fn read(name: &str) -> Said {
    let said = Said::decode(&capture(name)).expect("it is about a map");
    said.expect(name)
}

fn message(name: &str) -> MapMessage {
    match read(name) {
        Said::Map(message) => message,
        Said::Rpc(rpc) => match rpc.body {
            RpcBody::Ask(message) | RpcBody::Reply(Some(message)) => *message,
            RpcBody::Reply(None) | RpcBody::Nobody => panic!("{name} says nothing"),
        },
    }
}

fn written(said: &Said) -> Vec<u8> {
    match said {
        Said::Map(message) => message.encode(),
        Said::Rpc(message) => message.encode(),
    }
}

#[test]
fn what_tomcat_wrote_is_written_back_the_same() {
    let captures = captures();
    assert!(captures.len() > 20, "{}", captures.len());
    for (name, bytes) in captures {
        let said = Said::decode(&bytes).expect("it is about a map");
        let said = said.expect(&name);
        assert!(said.is_for("/jsp") && !said.is_for("/other"), "{name}");
        assert_eq!(written(&said), bytes, "{name}");
    }
}

#[test]
fn messages_say_what_happened() {
    let members = |message: &MapMessage| {
        let ports = |members: &[Member]| members.iter().map(|m| m.port).collect::<Vec<_>>();
        let primary = message.primary.as_ref().map(|primary| primary.port);
        (primary, message.nodes.as_deref().map(ports))
    };
    for (name, kind, key, primary, nodes) in [
        ("init", MapKind::Init, false, Some(26002), None),
        ("init-answer", MapKind::Init, false, Some(26001), None),
        ("state", MapKind::State, false, None, None),
        ("start", MapKind::Start, false, Some(26002), None),
        ("ping", MapKind::Ping, false, Some(26001), None),
        (
            "backup-new",
            MapKind::Backup,
            true,
            Some(26001),
            Some(vec![26002]),
        ),
        (
            "diff-string",
            MapKind::Backup,
            true,
            Some(26001),
            Some(vec![26002]),
        ),
        (
            "backup-taken-over",
            MapKind::Backup,
            true,
            Some(26002),
            Some(vec![26001]),
        ),
        ("retrieve", MapKind::Retrieve, true, None, None),
        (
            "notify",
            MapKind::Notify,
            true,
            Some(26003),
            Some(vec![26002]),
        ),
        (
            "proxy",
            MapKind::Proxy,
            true,
            Some(26003),
            Some(vec![26002]),
        ),
        ("stop", MapKind::Stop, false, Some(26002), None),
    ] {
        let message = message(name);
        assert_eq!((message.kind, message.key.is_some()), (kind, key), "{name}");
        assert_eq!(members(&message), (primary, nodes), "{name}");
    }
    assert_eq!(message("diff-string").key.as_deref(), Some(A));
    assert_eq!(message("remove").kind, MapKind::Remove);
    let answers = |name| {
        matches!(
            read(name),
            Said::Rpc(RpcMessage {
                body: RpcBody::Reply(_),
                ..
            })
        )
    };
    assert!(answers("init-answer") && answers("retrieve-answer") && !answers("init"));
    let Said::Rpc(nobody) = read("nobody") else {
        panic!("no answer");
    };
    assert_eq!((nobody.body, nobody.id.len()), (RpcBody::Nobody, 16));
}

#[test]
fn messages_are_made_as_tomcat_makes_them() {
    let map = map_name("/jsp");
    let known = |name| {
        let known = message(name);
        let nodes = known.nodes.clone().unwrap_or_default();
        (known.primary.expect("a primary"), nodes)
    };
    let about = |kind, name| {
        let (primary, nodes) = known(name);
        MapMessage::about(kind, &map, A, primary, nodes)
    };
    assert_eq!(about(MapKind::Notify, "notify").encode(), capture("notify"));
    assert_eq!(about(MapKind::Proxy, "proxy").encode(), capture("proxy"));
    let key = message("remove").key.expect("a key");
    let remove = MapMessage::of_key(MapKind::Remove, &map, &key);
    assert_eq!(remove.encode(), capture("remove"));
    let (primary, _) = known("stop");
    let stop = MapMessage::new(MapKind::Stop, &map, Some(primary));
    assert_eq!(stop.encode(), capture("stop"));

    // A session with nothing in it yet.
    let new = message("backup-new");
    let session = new.session().expect("readable").expect("a session");
    let created = 1_795_794_578_513;
    assert_eq!(
        session,
        Whole {
            created,
            last_accessed: created,
            this_accessed: created,
            max_inactive: 1800,
            is_new: true,
            is_valid: true,
            id: A.into(),
            attributes: Vec::new(),
        }
    );
    let (again, failed) = about(MapKind::Backup, "backup-new").with_session(&session);
    assert_eq!(
        (again.encode(), failed),
        (capture("backup-new"), Vec::new())
    );
    // With an attribute, and of one that was used.
    let (old, _) = message("backup-taken-over").with_session(
        &message("backup-taken-over")
            .session()
            .expect("readable")
            .expect("a session"),
    );
    assert_eq!(old.encode(), capture("backup-taken-over"));
    let retrieved = message("retrieve-answer").session().expect("readable");
    let retrieved = retrieved.expect("a session");
    assert_eq!(retrieved.attributes, [("n".to_owned(), Value::Integer(7))]);
    assert!(!retrieved.is_new && retrieved.last_accessed > retrieved.created);

    let Said::Rpc(ask) = read("ping") else {
        panic!("no question");
    };
    let Said::Rpc(reply) = read("ping-answer") else {
        panic!("no answer");
    };
    assert_eq!(ask.id, reply.id);
    let RpcBody::Ask(ping) = ask.body.clone() else {
        panic!("no question");
    };
    let primary = message("ping-answer").primary;
    let ping = MapMessage { primary, ..*ping };
    assert_eq!(message("ping-answer").state(), Ok(MapState::Initialized));
    let body = RpcBody::Reply(Some(Box::new(ping.with_state(MapState::Initialized))));
    assert_eq!(ask.answered(body).encode(), capture("ping-answer"));

    let (entries, unread) = message("state-answer").entries().expect("readable");
    assert_eq!((entries.len(), unread), (3, 0));
    assert!(
        entries
            .iter()
            .all(|e| e.kind == MapKind::Proxy && e.key.is_some() && e.nodes.is_some())
    );
    let again = MapMessage {
        value: None,
        ..message("state-answer")
    }
    .with_entries(&entries);
    assert_eq!(again.entries(), Ok((entries, 0)));
}

#[test]
fn differences_are_those_of_delta_manager() {
    let old = Action::IsNew(false);
    let set = |value: &str| Action::Set("Blog".into(), value.into());
    for (name, actions) in [
        (
            "diff-new",
            vec![Action::IsNew(true), Action::MaxInactive(1800), set("MeXP")],
        ),
        ("diff-string", vec![old.clone(), set("MeXQ")]),
        (
            "diff-removed",
            vec![old.clone(), Action::Removed("Blog".into())],
        ),
        ("diff-nothing-changed", vec![old.clone()]),
        ("diff-max-inactive", vec![old, Action::MaxInactive(2)]),
    ] {
        let message = message(name);
        let (delta, error) = Delta::decode(message.diff.as_deref().expect(name));
        assert_eq!((&delta.actions, error), (&actions, None), "{name}");
        assert_eq!(delta.encode().0, message.diff.expect(name), "{name}");
        assert!(message.value.is_none(), "{name}");
    }
}

#[test]
fn a_session_keeps_its_values() {
    let mut session = message("backup-new")
        .session()
        .expect("readable")
        .expect("a session");
    let foreign = Foreign {
        class: "a.Gone".into(),
        stream: b"\xAC\xED\0\x05".to_vec(),
    };
    session.attributes = vec![
        ("text".into(), "héllo".into()),
        ("number".into(), 7.into()),
        (
            "list".into(),
            Value::List(vec![1_i64.into(), true.into(), "x".into()]),
        ),
        ("lost".into(), Value::Foreign(foreign)),
    ];
    let (message, failed) = message("backup-new").with_session(&session);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, "lost");
    session.attributes.pop();
    let again = MapMessage::decode(&message.encode()).expect("written here");
    assert_eq!(again.session(), Ok(Some(session)));
}

#[test]
fn other_classes_are_none_of_its_business() {
    assert!(Said::decode(b"").is_none());
    assert!(Said::decode(b"\xAC\xED\0\x05sr\0\x01a").is_none());
    let error = |bytes: &[u8]| {
        Said::decode(bytes)
            .expect("its class")
            .expect_err("damaged")
    };
    // Cut anywhere after the class's name it is an error, and never a panic.
    for (name, bytes) in captures() {
        for len in 80..bytes.len() {
            assert!(!error(&bytes[..len]).to_string().is_empty(), "{name} {len}");
        }
    }
    let mut bytes = capture("stop");
    let at = bytes
        .windows(6)
        .position(|w| w == b"xp\0\0\0\0")
        .expect("the fields");
    bytes[at + 6] = 99;
    assert!(error(&bytes).to_string().contains("no kind 99"));
    let mut bytes = capture("init");
    let at = bytes
        .windows(4)
        .position(|w| w == b"w!\0\0")
        .expect("the question");
    bytes[at + 3] = 0x7F;
    assert!(
        error(&bytes)
            .to_string()
            .contains("more than 4096 bytes in a question's name")
    );
}

#[test]
fn a_map_of_any_name_and_members_of_any_kind_are_written_and_read() {
    let address = "[fe80::1]:4000".parse().expect("an address");
    let member = Member::native(MemberId([7; 16]), address, "domain");
    let nodes = vec![member.clone(), member.clone()];
    let message = MapMessage::about(MapKind::Access, "/\u{e9}-map", A, member, nodes);
    assert_eq!(MapMessage::decode(&message.encode()), Ok(message));
}

proptest! {
    #[test]
    fn damaged_messages_are_read_or_refused(which in 0usize..32, at in any::<prop::sample::Index>(), byte: u8) {
        let captures = captures();
        let (_, mut bytes) = captures[which % captures.len()].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(Ok(said)) = Said::decode(&bytes) {
            let again = Said::decode(&written(&said)).expect("written here");
            prop_assert_eq!(again.expect("written here"), said);
        }
    }
}
