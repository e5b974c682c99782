//! memcached's text protocol as a bystander hears it: bytes of both directions in, one [`Command`] per answered command out.
//! No sockets, no clock; whatever comes, it keeps no more than one long line and some thousand commands.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest line that is listened to; memcached takes keys of 250 bytes and few of them in a line.
const LINE_MAX: usize = 8192;

/// So many commands may wait for their answers; with more the bystander has lost the thread and goes deaf.
const WAITING_MAX: usize = 4096;

/// The first byte of every packet of the binary protocol, which is not listened to.
const BINARY: u8 = 0x80;

/// A command with its answer, written as `set KEY(flags,exptime,bytes)=STORED` or `get KEY=hit(flags,bytes)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// `get`, `set`, `add`, …
    pub verb: String,
    /// Its key; empty where it has none.
    pub key: String,
    /// Its numbers: flags, expiry in seconds and size of a stored value, or the expiry of a touch; empty for others.
    pub numbers: String,
    /// `miss`, `hit(flags,bytes)`, `STORED`, `NOT_STORED`, …, or `(no reply)`.
    pub result: String,
}

impl Command {
    /// Whether the answer was one of success: a hit, something stored, deleted or touched.
    pub fn succeeded(&self) -> bool {
        self.result.starts_with("hit")
            || ["STORED", "DELETED", "TOUCHED"].contains(&self.result.as_str())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verb)?;
        if !self.key.is_empty() {
            write!(f, " {}", self.key)?;
        }
        if !self.numbers.is_empty() {
            write!(f, "({})", self.numbers)?;
        }
        write!(f, "={}", self.result)
    }
}

/// Listens to one connection.
#[derive(Debug, Default)]
pub struct Bystander {
    asked: Lines,
    answered: Lines,
    waiting: VecDeque<Waiting>,
    deaf: bool,
}

/// A command whose answer has not come.
#[derive(Debug)]
enum Waiting {
    /// Answered by `VALUE` lines and `END`.
    Get {
        verb: String,
        keys: Vec<String>,
        hits: Vec<Option<String>>,
    },
    /// Answered by lines until `END`.
    Many { verb: String },
    /// Answered by one line, a meta command perhaps with a value.
    One(Command),
}

impl Bystander {
    /// Bytes on their way to the node; what is complete with them has no answer to wait for.
    pub fn to_node(&mut self, bytes: &[u8]) -> Vec<Command> {
        if self.deaf {
            return Vec::new();
        }
        let mut complete = Vec::new();
        let waiting = &mut self.waiting;
        let heard = self
            .asked
            .feed(bytes, |line| asked(line, waiting, &mut complete));
        self.deaf = !heard || self.waiting.len() > WAITING_MAX;
        complete
    }

    /// Bytes on their way back: the commands that are answered by them.
    pub fn from_node(&mut self, bytes: &[u8]) -> Vec<Command> {
        if self.deaf {
            return Vec::new();
        }
        let mut complete = Vec::new();
        let waiting = &mut self.waiting;
        let heard = self
            .answered
            .feed(bytes, |line| answered(line, waiting, &mut complete));
        self.deaf = !heard;
        complete
    }

    /// The connection is over: what was asked last was never answered.
    pub fn end(&mut self) -> Vec<Command> {
        let without = |command: Waiting| match command {
            Waiting::Get { verb, keys, .. } => {
                let one = |key| Command {
                    verb: verb.clone(),
                    key,
                    numbers: String::new(),
                    result: NO_REPLY.into(),
                };
                keys.into_iter().map(one).collect()
            }
            Waiting::Many { verb } => vec![plain(&verb, NO_REPLY)],
            Waiting::One(command) => vec![Command {
                result: NO_REPLY.into(),
                ..command
            }],
        };
        self.waiting.drain(..).flat_map(without).collect()
    }
}

const NO_REPLY: &str = "(no reply)";

fn plain(verb: &str, result: &str) -> Command {
    Command {
        verb: verb.into(),
        key: String::new(),
        numbers: String::new(),
        result: result.into(),
    }
}

/// A line to the node; says how many bytes of a value follow it.
fn asked(line: &str, waiting: &mut VecDeque<Waiting>, complete: &mut Vec<Command>) -> usize {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let Some((&verb, rest)) = words.split_first() else {
        return 0;
    };
    let word = |at: usize| rest.get(at).copied().unwrap_or_default();
    let size = |at: usize| {
        word(at)
            .parse::<usize>()
            .map_or(0, |bytes| bytes.saturating_add(2))
    };
    let (numbers, value) = match verb {
        "get" | "gets" | "gat" | "gats" => {
            let keys = if verb.starts_with("gat") {
                rest.get(1..).unwrap_or_default()
            } else {
                rest
            };
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            let hits = vec![None; keys.len()];
            waiting.push_back(Waiting::Get {
                verb: verb.into(),
                keys,
                hits,
            });
            return 0;
        }
        "stats" => {
            waiting.push_back(Waiting::Many { verb: verb.into() });
            return 0;
        }
        "quit" => return 0,
        "set" | "add" | "replace" | "append" | "prepend" | "cas" => {
            (format!("{},{},{}", word(1), word(2), word(3)), size(3))
        }
        "ms" => (word(1).to_owned(), size(1)),
        "touch" | "incr" | "decr" => (word(1).to_owned(), 0),
        _ => (String::new(), 0),
    };
    let is_meta = ["mg", "ms", "md", "ma"].contains(&verb);
    let quiet = rest.last() == Some(&"noreply") || is_meta && rest.contains(&"q");
    let command = Command {
        verb: verb.into(),
        key: word(0).into(),
        numbers,
        result: String::new(),
    };
    if quiet {
        complete.push(Command {
            result: "(noreply)".into(),
            ..command
        });
    } else {
        waiting.push_back(Waiting::One(command));
    }
    value
}

/// A line from the node; says how many bytes of a value follow it.
fn answered(line: &str, waiting: &mut VecDeque<Waiting>, complete: &mut Vec<Command>) -> usize {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let size = |at: usize| {
        words
            .get(at)
            .and_then(|w| w.parse::<usize>().ok())
            .map_or(0, |bytes| bytes.saturating_add(2))
    };
    match waiting.front_mut() {
        None => return 0,
        Some(Waiting::Get { keys, hits, .. }) if words.first() == Some(&"VALUE") => {
            let key = words.get(1).copied().unwrap_or_default();
            let flags = words.get(2).copied().unwrap_or_default();
            let bytes = words.get(3).copied().unwrap_or_default();
            if let Some(at) = keys.iter().position(|k| k == key) {
                hits[at] = Some(format!("hit({flags},{bytes})"));
            }
            return size(3);
        }
        Some(Waiting::Many { .. }) if words.first() == Some(&"STAT") => return 0,
        Some(_) => {}
    }
    match waiting.pop_front() {
        Some(Waiting::Get { verb, keys, hits }) => {
            let ended = line == "END";
            complete.extend(keys.into_iter().zip(hits).map(|(key, hit)| Command {
                verb: verb.clone(),
                key,
                numbers: String::new(),
                result: hit.unwrap_or_else(|| {
                    if ended {
                        "miss".into()
                    } else {
                        line.to_owned()
                    }
                }),
            }));
            0
        }
        Some(Waiting::Many { verb }) => {
            complete.push(plain(&verb, line));
            0
        }
        Some(Waiting::One(command)) => {
            complete.push(Command {
                result: line.to_owned(),
                ..command
            });
            if words.first() == Some(&"VA") {
                size(1)
            } else {
                0
            }
        }
        None => 0,
    }
}

/// Splits one direction into lines and steps over values.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    /// Bytes of a value, with its line end, that are still to come.
    value: usize,
}

impl Lines {
    /// `each` says how many bytes of a value follow its line. `false` when this is no text of memcached's.
    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str) -> usize) -> bool {
        while !bytes.is_empty() {
            if self.value > 0 {
                let step = self.value.min(bytes.len());
                self.value -= step;
                bytes = &bytes[step..];
                continue;
            }
            if self.line.is_empty() && bytes[0] == BINARY {
                return false;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
            bytes = rest;
            if self.line.len() + part.len() > LINE_MAX {
                return false;
            }
            self.line.extend_from_slice(part);
            if end.is_some() {
                let text = String::from_utf8_lossy(&self.line);
                self.value = each(text.trim_end_matches(['\r', '\n']));
                self.line.clear();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{Bystander, LINE_MAX};

    const ASKED: &[u8] = b"get ping-n2\r\nset A-n2 2048 3600 5\r\nab\r\nc\r\nget validity:A-n2 A-n2\r\nadd A-n2 0 5 1\r\n1\r\n\
        delete lock:A-n2\r\ntouch A-n2 60\r\ncas A-n2 0 60 1 77\r\nx\r\nset q 0 0 1 noreply\r\nz\r\nversion\r\n";
    const ANSWERED: &[u8] = b"END\r\nSTORED\r\nVALUE A-n2 2048 7\r\nEND\r\nxx\r\nEND\r\nNOT_STORED\r\nDELETED\r\nTOUCHED\r\nEXISTS\r\nVERSION 1\r\n";
    const HEARD: [&str; 10] = [
        "set q(0,0,1)=(noreply)",
        "get ping-n2=miss",
        "set A-n2(2048,3600,5)=STORED",
        "get validity:A-n2=miss",
        "get A-n2=hit(2048,7)",
        "add A-n2(0,5,1)=NOT_STORED",
        "delete lock:A-n2=DELETED",
        "touch A-n2(60)=TOUCHED",
        "cas A-n2(0,60,1)=EXISTS",
        "version=VERSION 1",
    ];

    #[test]
    fn what_was_never_answered_is_told_at_the_end() {
        let mut bystander = Bystander::default();
        bystander.to_node(b"get a b\r\nset c 0 0 1\r\nx\r\n");
        assert!(bystander.from_node(b"VALUE a 0 1\r\n").is_empty());
        let left: Vec<String> = bystander.end().iter().map(ToString::to_string).collect();
        assert_eq!(
            left,
            [
                "get a=(no reply)",
                "get b=(no reply)",
                "set c(0,0,1)=(no reply)"
            ]
        );
    }

    #[test]
    fn errors_and_packets_are_not_taken_for_hits() {
        let mut bystander = Bystander::default();
        bystander.to_node(b"get a\r\n");
        let heard = bystander.from_node(b"SERVER_ERROR out of memory\r\n");
        assert_eq!(heard[0].to_string(), "get a=SERVER_ERROR out of memory");
        assert!(!heard[0].succeeded());
        let mut binary = Bystander::default();
        assert!(binary.to_node(b"\x80\x00\x00\x01get a\r\n").is_empty());
        assert!(binary.from_node(b"END\r\n").is_empty());
        let mut endless = Bystander::default();
        endless.to_node(&vec![b'x'; LINE_MAX + 1]);
        endless.to_node(b"\r\nget a\r\n");
        assert!(endless.from_node(b"END\r\n").is_empty());
    }

    proptest! {
        /// However the bytes are cut into pieces, the same commands are heard.
        #[test]
        fn pieces_change_nothing(sizes in proptest::collection::vec(1usize..40, 1..40)) {
            let mut bystander = Bystander::default();
            let mut heard = Vec::new();
            for (bytes, to_node) in [(ASKED, true), (ANSWERED, false)] {
                let mut rest = bytes;
                for size in sizes.iter().copied().cycle() {
                    if rest.is_empty() {
                        break;
                    }
                    let (piece, after) = rest.split_at(size.min(rest.len()));
                    heard.extend(if to_node { bystander.to_node(piece) } else { bystander.from_node(piece) });
                    rest = after;
                }
            }
            let heard: Vec<String> = heard.iter().map(ToString::to_string).collect();
            prop_assert_eq!(heard, HEARD);
        }

        /// Whatever comes from either side: no panic, and no growth.
        #[test]
        fn anything_is_survived(pieces in proptest::collection::vec((any::<bool>(), "(get|set|VALUE|END|ms|VA|[a-z0-9 \r\n]){0,20}"), 0..60)) {
            let mut bystander = Bystander::default();
            for (to_node, piece) in &pieces {
                let _ = if *to_node { bystander.to_node(piece.as_bytes()) } else { bystander.from_node(piece.as_bytes()) };
            }
            prop_assert!(bystander.asked.line.len() <= LINE_MAX);
        }
    }
}
