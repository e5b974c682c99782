//! Tomcat's session messages, from captures of the real thing: read, and written byte for byte.

use std::path::Path;

use appserver::manager::cluster::message::{
    Action, Delta, Event, SessionMessage, Whole, WholeReader, write_state,
};
use appserver::session::{Foreign, Value};
use proptest::prelude::*;

const A: &str = "D29D4B1F34E3CC966CA85DE46D639249";

fn capture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cluster/{name}.hex"));
    let text = std::fs::read_to_string(path).expect(name);
    let digits: String = text.lines().filter(|l| !l.starts_with('#')).collect();
    let byte = |i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn read(name: &str) -> SessionMessage {
    SessionMessage::decode(&capture(name)).expect(name)
}

#[test]
fn plain_messages_are_those_of_tomcat() {
    let new = "5F752AD48B211800EA3D7E4FE5D04FC9.WEB1";
    let (route1, route2) = (format!("{A}.WEB1"), format!("{A}.WEB2"));
    let renamed = SessionMessage::change_session_id("/jsp", &route1, &route2, 1_795_389_876_459);
    for (name, mut written, unique) in [
        (
            "session-created",
            SessionMessage::created("/jsp", new, 1_795_389_870_330),
            None,
        ),
        (
            "session-expired",
            SessionMessage::expired("/jsp", &route2, 1_795_389_877_980),
            None,
        ),
        (
            "session-accessed",
            SessionMessage::accessed(
                "/jsp",
                "178936E416BBA6705BA56CC35811CD5E.WEB2",
                1_795_388_421_588,
            ),
            None,
        ),
        (
            "get-all-sessions",
            SessionMessage::get_all_sessions("/jsp", 1_795_389_864_310),
            None,
        ),
        (
            "transfer-complete",
            SessionMessage::transfer_complete("/jsp", 1_795_389_864_333),
            None,
        ),
        (
            "no-context-manager",
            SessionMessage::no_context_manager("/absent"),
            None,
        ),
        // Tomcat reads its clock twice.
        (
            "change-session-id",
            renamed,
            Some(format!("{route1}-1795389876453")),
        ),
    ] {
        written.unique_id = unique.unwrap_or(written.unique_id);
        assert_eq!(written.encode(), capture(name), "{name}");
        assert_eq!(read(name), written, "{name}");
    }
    assert_eq!(read("change-session-id").new_id(), Ok(route2));
}

fn set(name: &str, value: impl Into<Value>) -> Action {
    Action::Set(name.into(), value.into())
}

#[test]
fn deltas_are_those_of_tomcat() {
    let old = Action::IsNew(false);
    for (name, actions) in [
        (
            "delta-new-session",
            vec![
                Action::IsNew(true),
                Action::MaxInactive(1800),
                set("Blog", "MeXP"),
            ],
        ),
        ("delta-nothing-changed", vec![old.clone()]),
        ("delta-string", vec![old.clone(), set("Blog", "MeXP")]),
        ("delta-string-utf8", vec![old.clone(), set("word", "héllo")]),
        ("delta-integer", vec![old.clone(), set("count", 7)]),
        (
            "delta-long",
            vec![old.clone(), set("big", 123_456_789_012_i64)],
        ),
        ("delta-boolean", vec![old.clone(), set("flag", true)]),
        (
            "delta-attribute-removed",
            vec![old.clone(), Action::Removed("count".into())],
        ),
        ("delta-max-inactive", vec![old, Action::MaxInactive(600)]),
    ] {
        let message = read(name);
        assert_eq!(
            (message.event, message.context.as_str()),
            (Event::Delta, "/jsp")
        );
        let (delta, error) = Delta::decode(message.body.as_deref().unwrap_or_default());
        assert_eq!((&delta.actions, error), (&actions, None), "{name}");
        let written = Delta {
            session_id: message.session_id.clone(),
            record_all: false,
            actions,
        };
        assert_eq!(
            written.encode(),
            (message.body.clone().unwrap_or_default(), Vec::new()),
            "{name}"
        );
        assert_eq!(message.encode(), capture(name), "{name}");
    }
}

#[test]
fn whole_sessions_are_those_of_tomcat() {
    for (name, sessions) in [("all-session-data", 2), ("all-session-data-empty", 0)] {
        let message = read(name);
        let body = message.body.clone().unwrap_or_default();
        let mut reader = WholeReader::new(&body).expect("sessions");
        let mut all = Vec::new();
        while let Some(session) = reader.session().expect("a session") {
            all.push(session);
        }
        assert_eq!(all.len(), sessions);
        assert_eq!(write_state(&all), (body, Vec::new()), "{name}");
        let now = message.timestamp.expect("a time");
        let (body, _) = write_state(&all);
        let written = SessionMessage::all_session_data(&message.context, now, body);
        assert_eq!(written.encode(), capture(name), "{name}");
        if let Some(first) = all.first() {
            assert_eq!(first.id, "A4579304D9BDB5F0CFFCED89ED4E1BC6.WEB1");
            assert_eq!(first.max_inactive, 1800);
            assert_eq!(first.attributes.len(), 4);
            assert!(
                first
                    .attributes
                    .contains(&("count".into(), Value::Integer(42)))
            );
        }
    }
}

/// Whoever describes the classes again each time is understood: the general way of reading.
#[test]
fn messages_of_other_programs_are_read() {
    let created = read("peer-created");
    assert_eq!(created.event, Event::Created);
    assert_eq!(created.session_id, "00112233445566778899AABBCCDDEEFF.PEER1");
    let (delta, error) = Delta::decode(&read("peer-delta").body.unwrap_or_default());
    assert_eq!((delta.actions.len(), error), (6, None));
    assert!(delta.actions.contains(&set("big", 1_099_511_627_776_i64)));
}

/// Better than Tomcat, where such a value costs the request's whole delta and ruins the transfer to a joining node.
#[test]
fn an_attribute_that_cannot_be_written_costs_itself_only() {
    let broken = || {
        Value::Foreign(Foreign {
            class: "a.B".into(),
            stream: b"junk".to_vec(),
        })
    };
    let delta = Delta {
        session_id: A.into(),
        record_all: false,
        actions: vec![set("before", 1), set("broken", broken()), set("after", 2)],
    };
    let (body, failed) = delta.encode();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, "broken");
    let (read, error) = Delta::decode(&body);
    assert_eq!(
        (read.actions, error),
        (vec![set("before", 1), set("after", 2)], None)
    );

    let whole = Whole {
        created: 1,
        last_accessed: 2,
        this_accessed: 3,
        max_inactive: 4,
        is_new: false,
        is_valid: true,
        id: A.into(),
        attributes: vec![("broken".into(), broken()), ("kept".into(), "x".into())],
    };
    let (body, failed) = write_state(&[whole.clone(), whole]);
    assert_eq!(failed.len(), 2);
    let mut reader = WholeReader::new(&body).expect("sessions");
    for _ in 0..2 {
        let session = reader.session().expect("readable").expect("two");
        assert_eq!(session.attributes, [("kept".to_owned(), "x".into())]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_harm(which in 0..6_usize, at: usize, with: u8, cut: usize) {
        let names = ["session-created", "delta-new-session", "all-session-data", "change-session-id", "peer-delta", "delta-long"];
        let mut bytes = capture(names[which]);
        let at = at % bytes.len();
        bytes[at] = with;
        let cut = bytes.len() - cut % 3 * (cut % 50);
        if let Ok(message) = SessionMessage::decode(&bytes[..cut]) {
            let body = message.body.clone().unwrap_or_default();
            let _ = (Delta::decode(&body), message.new_id());
            if let Ok(mut reader) = WholeReader::new(&body) {
                while let Ok(Some(_)) = reader.session() {}
            }
            prop_assert_eq!(SessionMessage::decode(&message.encode()), Ok(message));
        }
    }
}
