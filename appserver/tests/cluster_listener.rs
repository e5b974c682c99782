//! Who listens to attributes hears of changes here, and with `notifyListenersOnReplication` of those that were made elsewhere.

use std::sync::{Arc, Mutex};

use appserver::manager::cluster::core::{
    AttributeListener, Core, CoreConfig, NewKey, Origin, Outbox, Spread,
};
use appserver::manager::cluster::message::{Action, Delta, Event, SessionMessage};
use appserver::manager::cluster::peers::Peer;
use appserver::session::{SessionId, Timestamp, Value};

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const IDS: [[u8; 16]; 2] = [[1; 16], [2; 16]];

type Heard = (String, Option<Value>, Origin);

#[derive(Debug, Default)]
struct Ear(Mutex<Vec<Heard>>);

impl Ear {
    fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl AttributeListener for Ear {
    fn changed(&self, _session: &SessionId, name: &str, value: Option<&Value>, origin: Origin) {
        let heard = (name.to_owned(), value.cloned(), origin);
        self.0.lock().expect("no panic").push(heard);
    }
}

/// One of the two members, with a listener.
fn member(number: usize, is_native: bool, notify: bool) -> (Core, Arc<Ear>) {
    let config = CoreConfig {
        binds_route: false,
        notify_listeners_on_replication: notify,
        ..CoreConfig::new("/jsp", Spread::All)
    };
    let core = Core::new(config, IDS[number], NewKey::default());
    core.member_added(Peer::new(IDS[1 - number], is_native, 0), NOW);
    let ear = Arc::new(Ear::default());
    assert!(core.listen(ear.clone()));
    (core, ear)
}

fn heard(name: &str, value: Option<i32>, origin: Origin) -> Heard {
    (name.to_owned(), value.map(Value::from), origin)
}

/// What both hear of an attribute that is set on one of them with the session, changed, and removed.
fn changes(notify: bool) -> (Vec<Heard>, Vec<Heard>) {
    let ((here, own), (there, other)) = (member(0, true, notify), member(1, true, notify));
    let session = here.create(NOW).expect("no limit");
    let told = |session: &appserver::Session| {
        let mut out = Outbox::default();
        here.commit(session, true, NOW, &mut out);
        for message in &out.natives {
            // A message that comes twice changes nothing.
            for _ in 0..2 {
                let read = there.receive(&IDS[0], message, NOW, &mut Outbox::default());
                read.expect("a member's message");
            }
        }
    };
    session.set("count", 1).expect("alive");
    told(&session);
    session.set("count", 2).expect("alive");
    told(&session);
    session.remove("count").expect("alive");
    told(&session);
    (own.heard(), other.heard())
}

#[test]
fn listeners_hear_of_changes_wherever_they_were_made() {
    let (own, other) = changes(true);
    let all = |origin| [Some(1), Some(2), None].map(|value| heard("count", value, origin));
    assert_eq!(own, all(Origin::Here));
    // The session came with the first.
    assert_eq!(other, all(Origin::Replicated)[1..]);
}

#[test]
fn listeners_hear_of_their_own_changes_only_if_so_configured() {
    let (own, other) = changes(false);
    assert_eq!(own.len(), 3);
    assert_eq!(other, []);
}

#[test]
fn listeners_hear_of_a_tomcats_changes() {
    let (core, ear) = member(0, false, true);
    let session = core.create(NOW).expect("no limit");
    core.commit(&session, true, NOW, &mut Outbox::default());
    let session_id = session.id().to_string();
    let delta = Delta {
        session_id: session_id.clone(),
        record_all: false,
        actions: vec![Action::Set("count".into(), 7.into())],
    };
    let message = SessionMessage {
        event: Event::Delta,
        timestamp: Some(NOW.0),
        context: "/jsp".into(),
        body: Some(delta.encode().0),
        session_id,
        unique_id: String::new(),
    };
    core.receive_tomcat(&IDS[1], message, NOW, &mut Outbox::default());
    assert_eq!(ear.heard(), [heard("count", Some(7), Origin::Replicated)]);
}
