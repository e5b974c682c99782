//! What must hold of the parsers of what nodes say, whatever arrives. The fuzz targets try it with the inputs that libFuzzer thinks
//! of, `tests/msm_parsers.rs` with seeded ones.

use std::fmt::Debug;

use appserver::manager::msm::client::{binary, wire};
use appserver::manager::msm::protocol::{Command, Verb};
use appserver::testing::tap::Recorder;

/// One command of each kind.
fn commands() -> impl Iterator<Item = Command> {
    let verbs = [
        Verb::Get,
        Verb::Gets,
        Verb::Set(60, vec![1]),
        Verb::Add(60, vec![1]),
        Verb::Replace(60, vec![1]),
        Verb::Cas(60, vec![1], 7),
        Verb::Touch(60),
        Verb::Delete,
    ];
    verbs.into_iter().map(|verb| Command {
        verb,
        key: "k".into(),
    })
}

/// Lines, as the answer to each command.
pub(crate) fn text_answer(bytes: &[u8]) {
    for command in commands() {
        let asked = wire::encode(command, &mut Vec::new());
        complete_or_refused(bytes, |input| wire::decode(&asked, input));
    }
}

/// A packet, as the answer to each command and to a login; and one whose head is made to fit, which reaches deeper.
pub(crate) fn binary_answer(bytes: &[u8]) {
    /// The number of each command.
    const OPAQUE: u32 = 7;
    for command in commands() {
        let mut request = Vec::new();
        let asked = binary::encode(command, OPAQUE, &mut request);
        complete_or_refused(bytes, |input| binary::decode(&asked, input));
        if let Some(fitting) = fitting(bytes, &request) {
            complete_or_refused(&fitting, |input| binary::decode(&asked, input));
        }
    }
    let mut request = Vec::new();
    let asked = binary::login("name", "password", OPAQUE, &mut request);
    complete_or_refused(bytes, |input| binary::login_answer(&asked, input));
    if let Some(fitting) = fitting(bytes, &request) {
        complete_or_refused(&fitting, |input| binary::login_answer(&asked, input));
    }
}

/// The packet as one that answers `request` and has the length that it says.
fn fitting(bytes: &[u8], request: &[u8]) -> Option<Vec<u8>> {
    let mut packet = bytes.to_vec();
    let (head, body) = packet.split_first_chunk_mut::<{ binary::HEADER }>()?;
    (head[0], head[1], head[2]) = (0x81, request[1], 0);
    head[4] %= 8;
    head[8..12].copy_from_slice(&(body.len() as u32).to_be_bytes());
    head[12..16].copy_from_slice(&request[12..16]);
    Some(packet)
}

/// What is complete has a length that was there, is not refused or taken for something else while it arrives, and does not depend
/// on what follows.
fn complete_or_refused<T: PartialEq + Debug + Clone, E: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
) {
    let Ok(Some((answer, used))) = decode(bytes) else {
        return;
    };
    assert!(used > 0 && used <= bytes.len());
    for length in [0, 1, used / 2, used - 1] {
        let part = decode(&bytes[..length]);
        assert!(matches!(part, Ok(None)), "{part:?} of {length} bytes");
    }
    for end in [&b""[..], b"\r\n", b"END\r\n"] {
        let longer = [&bytes[..used], end].concat();
        let again = decode(&longer).expect("it was complete");
        assert_eq!(again.as_ref(), Some(&(answer.clone(), used)));
    }
}

/// Both halves of a connection, whole and byte by byte.
pub(crate) fn tapped(bytes: &[u8]) {
    let (asked, answered) = bytes.split_at(bytes.len() / 2);
    let lines = |part: usize| {
        let mut recorder = Recorder::new();
        asked.chunks(part).for_each(|part| recorder.asked(part));
        let mut all = Vec::new();
        for part in answered.chunks(part) {
            all.extend(recorder.answered(part));
        }
        all.extend(recorder.ended());
        all
    };
    assert_eq!(lines(1), lines(usize::MAX));
}
