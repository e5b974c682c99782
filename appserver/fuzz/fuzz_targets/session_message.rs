//! Whatever a Tomcat says can be read or refused; what is read is written back the same.

#![no_main]

use appserver::manager::cluster::message::{Delta, SessionMessage, WholeReader, write_state};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    bodies(bytes);
    let Ok(message) = SessionMessage::decode(bytes) else {
        return;
    };
    let _ = message.new_id();
    bodies(message.body.as_deref().unwrap_or_default());
    assert_eq!(SessionMessage::decode(&message.encode()), Ok(message));
});

fn bodies(bytes: &[u8]) {
    if let (delta, None) = Delta::decode(bytes) {
        let (written, failed) = delta.encode();
        if failed.is_empty() {
            let (again, error) = Delta::decode(&written);
            // As text, since a NaN equals nothing.
            assert_eq!((format!("{again:?}"), error), (format!("{delta:?}"), None));
        }
    }
    let Ok(mut reader) = WholeReader::new(bytes) else {
        return;
    };
    let mut sessions = Vec::new();
    while let Ok(Some(session)) = reader.session() {
        sessions.push(session);
    }
    let (written, failed) = write_state(&sessions);
    if failed.is_empty() {
        let mut reader = WholeReader::new(&written).expect("written here");
        let again: Vec<_> = std::iter::from_fn(|| reader.session().expect("written here")).collect();
        assert_eq!(format!("{again:?}"), format!("{sessions:?}"));
    }
}
