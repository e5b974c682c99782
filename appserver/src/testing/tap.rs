//! What a server says to a memcached node and hears from it, as one line per command. A relay before the node tells both halves
//! of each connection to a [`Recorder`], which reads them without changing anything:
//!
//! ```text
//!   server ──► Tap (socket.rs) ──► node           get ID-n1=hit(0,182)     flags and bytes of what was found
//!                 │      ▲                        get ID-n1=miss
//!                 ▼      │                        set ID-n1(0,3600,182)=STORED     flags, exptime, bytes
//!              Recorder, one per connection       delete ID-n1=(no reply)
//! ```
//!
//! The recorder has no I/O. It keeps lines and counts, never values, so it costs a few hundred bytes. Of a connection in
//! the binary protocol it tells nothing.

pub mod socket;

use std::collections::VecDeque;
use std::fmt;

pub use socket::{Recorded, Tap};

/// The longest line that is read; the rest of a longer one is passed over.
const LINE_MAX: usize = 2048;

/// So many commands may wait for their answer; a client that asks for more is no longer recorded.
const WAITING_MAX: usize = 4096;

/// How each packet of the binary protocol begins.
const BINARY: u8 = 0x80;

/// A command and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// `get`, `set`, `delete`, …
    pub verb: String,
    /// The key, or the rest of a line that is no command with a key.
    pub key: String,
    /// What stands in brackets: `0,3600,182`; empty for commands without a value.
    pub stored: String,
    /// `hit(0,182)`, `miss`, `STORED`, …, or [`NO_REPLY`].
    pub result: String,
}

/// The result of a command that was never answered.
pub const NO_REPLY: &str = "(no reply)";

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            key,
            stored,
            result,
        } = self;
        write!(f, "{verb} {key}")?;
        if !stored.is_empty() {
            write!(f, "({stored})")?;
        }
        write!(f, "={result}")
    }
}

/// Both halves of one connection, in the text protocol.
#[derive(Debug, Default)]
pub struct Recorder {
    asked: Lines,
    answered: Lines,
    waiting: VecDeque<Exchange>,
    /// Values of the retrieval that is being answered.
    hits: Vec<String>,
    /// Whether anything was asked.
    begun: bool,
    /// Whether nothing is told any more: the protocol is another, or too much was asked at once.
    lost: bool,
}

impl Recorder {
    /// A connection that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// The client sent these bytes. They are to be told before they are passed on, so that no answer comes first.
    pub fn asked(&mut self, bytes: &[u8]) {
        if !self.begun && !bytes.is_empty() {
            self.begun = true;
            self.lost = bytes[0] == BINARY;
        }
        if self.lost {
            return;
        }
        let (waiting, lost) = (&mut self.waiting, &mut self.lost);
        self.asked.read(bytes, |line| {
            let (exchange, data) = command(line);
            match exchange {
                Some(exchange) if waiting.len() < WAITING_MAX => waiting.push_back(exchange),
                Some(_) => *lost = true,
                None => {}
            }
            data
        });
    }

    /// The node sent these bytes: the commands that are answered with them, in their order.
    pub fn answered(&mut self, bytes: &[u8]) -> Vec<Exchange> {
        let mut complete = Vec::new();
        if self.lost {
            return complete;
        }
        let (waiting, hits) = (&mut self.waiting, &mut self.hits);
        self.answered.read(bytes, |line| {
            if let Some(words) = line.strip_prefix("VALUE ") {
                let mut words = words.split(' ').skip(1);
                let (flags, len) = (words.next().unwrap_or("?"), words.next().unwrap_or("0"));
                if hits.len() < WAITING_MAX {
                    hits.push(format!("hit({flags},{len})"));
                }
                return data_of(len);
            }
            if let Some(mut exchange) = waiting.pop_front() {
                exchange.result = match line {
                    "END" if hits.is_empty() => "miss".into(),
                    "END" => hits.join(","),
                    other => other.to_owned(),
                };
                complete.push(exchange);
            }
            hits.clear();
            None
        });
        complete
    }

    /// The connection ended: the commands that will have no answer.
    pub fn ended(&mut self) -> Vec<Exchange> {
        let mut waiting = std::mem::take(&mut self.waiting);
        if self.lost {
            waiting.clear();
        }
        let unanswered = waiting.into_iter().map(|exchange| Exchange {
            result: NO_REPLY.into(),
            ..exchange
        });
        unanswered.collect()
    }
}

/// The command of a line, if it will be answered, and the bytes of its value with the line's end behind it.
fn command(line: &str) -> (Option<Exchange>, Option<usize>) {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default().to_owned();
    let rest: Vec<&str> = words.collect();
    let quiet = rest.last() == Some(&"noreply");
    let stores = ["set", "add", "replace", "append", "prepend", "cas"];
    let (key, stored, data) = match rest[..] {
        [key, flags, exptime, len, ..] if stores.contains(&verb.as_str()) => {
            let stored = format!("{flags},{exptime},{len}");
            (key.to_owned(), stored, data_of(len))
        }
        [key, exptime, ..] if verb == "touch" => (key.to_owned(), exptime.to_owned(), None),
        _ => (rest.join(" "), String::new(), None),
    };
    let exchange = Exchange {
        verb,
        key,
        stored,
        result: String::new(),
    };
    ((!quiet).then_some(exchange), data)
}

fn data_of(len: &str) -> Option<usize> {
    let len: usize = len.parse().ok()?;
    len.checked_add(2)
}

/// Lines, and data between them that is passed over.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    data: usize,
}

impl Lines {
    /// Gives out each line; what it returns is passed over behind it.
    fn read(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str) -> Option<usize>) {
        while !bytes.is_empty() {
            let passed = self.data.min(bytes.len());
            self.data -= passed;
            bytes = &bytes[passed..];
            let end = bytes.iter().position(|b| *b == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let room = LINE_MAX - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let Some(end) = end else {
                return;
            };
            bytes = &bytes[end + 1..];
            let text = String::from_utf8_lossy(&self.line);
            self.data = line(text.trim_end_matches('\r')).unwrap_or(0);
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Recorder;
    use proptest::prelude::*;

    const ASKED: &[u8] = b"get a\r\nset b 0 3600 6\r\nx\r\nyz!\r\nadd b 0 5 1\r\n\x01\r\nset q 0 0 1 noreply\r\n1\r\n\
        gets a b\r\ntouch b 60\r\ndelete b\r\nversion\r\ndelete c\r\n";
    const ANSWERED: &[u8] = b"END\r\nSTORED\r\nNOT_STORED\r\nVALUE a 0 5 7\r\nEND\r\n\r\nVALUE b 2048 6 8\r\nx\r\nyz!\r\n\
        END\r\nTOUCHED\r\nDELETED\r\nVERSION 1\r\n";
    const LINES: [&str; 8] = [
        "get a=miss",
        "set b(0,3600,6)=STORED",
        "add b(0,5,1)=NOT_STORED",
        "gets a b=hit(0,5),hit(2048,6)",
        "touch b(60)=TOUCHED",
        "delete b=DELETED",
        "version =VERSION 1",
        "delete c=(no reply)",
    ];

    /// The lines of this connection, with each half in parts of so many bytes.
    fn lines(asked: &[u8], answered: &[u8], part: usize) -> Vec<String> {
        let mut recorder = Recorder::new();
        for part in asked.chunks(part) {
            recorder.asked(part);
        }
        let mut all = Vec::new();
        for part in answered.chunks(part) {
            all.extend(recorder.answered(part));
        }
        all.extend(recorder.ended());
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_command_is_a_line_wherever_the_bytes_are_split() {
        for part in 1..ASKED.len() {
            assert_eq!(lines(ASKED, ANSWERED, part), LINES);
        }
    }

    #[test]
    fn of_packets_nothing_is_told() {
        let packet = [&[0x80; 24][..], b"\r\nget k\r\n"].concat();
        assert!(lines(&packet, b"END\r\n", 5).is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_passed_over(
            asked in prop::collection::vec(any::<u8>(), 0..200),
            answered in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert_eq!(lines(&asked, &answered, 1), lines(&asked, &answered, 1000));
        }
    }
}
