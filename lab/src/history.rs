//! What was asked when and by whom, who answered and what came back, and what happened to the nodes meanwhile.
//!
//! Every outcome is one of three: `ok` (an answer that says what was done), `fail` (certainly not done) or `unknown`
//! (a timeout, a broken connection, a 5xx: perhaps done). Nothing may be called lost that was never acknowledged.

#[cfg(test)]
pub(crate) mod script;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::tap::commands::Command;

/// A history keeps so many entries; later ones are counted but not kept, and make every verdict unknown.
pub const ENTRIES_MAX: usize = 500_000;

/// What a browser asks for, relative to the context (`http://host:port/jsp/`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    /// `GET api/session`: makes a session if there is none.
    Session,
    /// `GET api/get`: makes no session.
    Get {
        /// Which attribute.
        name: String,
    },
    /// `POST api/set`.
    Set {
        /// Which attribute.
        name: String,
        /// Its new value.
        value: String,
    },
    /// `POST api/append`.
    Append {
        /// Which list.
        name: String,
        /// What goes to its end.
        value: String,
    },
    /// `POST api/count`: one more.
    Count,
    /// `POST api/login`: a new session ID, the attributes stay.
    Login {
        /// Who.
        user: String,
    },
    /// `POST api/logout`: the session ends.
    Logout,
    /// `POST api/slow`: loads the session, waits, and only then sets the attribute.
    Slow {
        /// How long it waits, in milliseconds.
        ms: u64,
        /// Which attribute.
        name: String,
        /// Its new value.
        value: String,
    },
    /// `GET` of a page for people, by its absolute path.
    Page {
        /// Such as `/test/`.
        path: String,
    },
}

/// An attribute's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// No such attribute.
    #[default]
    Nothing,
    /// A counter.
    Number(u64),
    /// One text.
    Text(String),
    /// A list.
    List(Vec<String>),
}

/// A session as an answer tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSeen {
    /// Its ID, with the route where there is one.
    pub id: String,
    /// Whether this very request made it.
    pub is_new: bool,
    /// Seconds without a request after which it may end; 0 or less: never.
    pub max_inactive: i64,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The node that answered.
    pub node: Option<String>,
    /// The session that the answer belongs to.
    pub session: Option<SessionSeen>,
    /// The attribute that was asked for.
    #[serde(default)]
    pub value: Value,
    /// The session ID in `Set-Cookie`, when there was one.
    pub set_cookie: Option<String>,
    /// The `Path` of that cookie.
    pub cookie_path: Option<String>,
    /// `X-Route`: why the proxy chose its peer.
    pub route: Option<String>,
    /// `X-Upstream`: which peer the proxy chose.
    pub upstream: Option<String>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered and done.
    Ok(Answer),
    /// Certainly not done; why.
    Fail(String),
    /// Perhaps done; why nobody knows.
    Unknown(String),
}

/// One request of one browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When it was due, in microseconds since the history began.
    pub at_us: u64,
    /// From then to the last byte of the answer, in microseconds.
    pub latency_us: u64,
    /// The browser's name.
    pub who: String,
    /// The browser's address, where it has one of its own.
    pub from: Option<IpAddr>,
    /// What it asked.
    pub what: Ask,
    /// The session ID that its cookie carried.
    pub sent_session: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Request {
    /// The answer, when the outcome is ok.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Ok(answer) => Some(answer),
            Outcome::Fail(_) | Outcome::Unknown(_) => None,
        }
    }

    /// The node that answered.
    pub fn node(&self) -> Option<&str> {
        self.answer()?.node.as_deref()
    }

    /// The ID of the session that answered.
    pub fn session_id(&self) -> Option<&str> {
        Some(self.answer()?.session.as_ref()?.id.as_str())
    }
}

/// What happened to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It answers, for the first time or again.
    Up,
    /// It was killed or stopped, or died.
    Down,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A request and how it ended.
    Request(Box<Request>),
    /// A node came or went.
    Node {
        /// Microseconds since the history began.
        at_us: u64,
        /// Which node.
        node: String,
        /// What happened.
        change: Change,
    },
    /// A tap between an application server and a store node heard a command and its answer.
    Wire {
        /// When it was answered, in microseconds since the history began.
        at_us: u64,
        /// The application server.
        server: String,
        /// The store node.
        node: String,
        /// What was heard.
        command: Command,
    },
    /// Something was measured.
    Figure {
        /// Microseconds since the history began.
        at_us: u64,
        /// What.
        name: String,
        /// How much; the unit is the name's.
        value: f64,
    },
    /// The play reached a point that its judge asks about (`killed TomcatA`).
    Mark {
        /// Microseconds since the history began.
        at_us: u64,
        /// The point's name.
        name: String,
    },
}

/// Entries in the order in which they ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Entries that were not kept ([`ENTRIES_MAX`]).
    pub dropped: usize,
}

impl History {
    /// All requests.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Request(request) => Some(request.as_ref()),
            _ => None,
        })
    }

    /// What taps heard, as (server, node, command).
    pub fn wire(&self) -> impl Iterator<Item = (&str, &str, &Command)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Wire {
                server,
                node,
                command,
                ..
            } => Some((server.as_str(), node.as_str(), command)),
            _ => None,
        })
    }

    /// The last figure of this name.
    pub fn figure(&self, wanted: &str) -> Option<f64> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Figure { name, value, .. } if name == wanted => Some(*value),
            _ => None,
        })
    }

    /// The requests of one browser.
    pub fn of<'a>(&'a self, who: &'a str) -> impl Iterator<Item = &'a Request> {
        self.requests().filter(move |request| request.who == who)
    }

    /// Every browser that asked, in the order of their names.
    pub fn browsers(&self) -> BTreeSet<&str> {
        self.requests()
            .map(|request| request.who.as_str())
            .collect()
    }

    /// What was recorded before and after a mark; everything is before a mark that was never set.
    pub fn split(&self, mark: &str) -> (Self, Self) {
        let at = self
            .entries
            .iter()
            .position(|entry| matches!(entry, Entry::Mark { name, .. } if name == mark));
        let (before, after) = self.entries.split_at(at.unwrap_or(self.entries.len()));
        let part = |entries: &[Entry]| Self {
            entries: entries.to_vec(),
            dropped: self.dropped,
        };
        (part(before), part(after))
    }
}

/// Takes entries from many browsers at once; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    history: History,
    file: Option<BufWriter<File>>,
}

impl Recorder {
    /// A new history; with a path, each entry is also appended there as one line of JSON as it comes.
    pub fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(BufWriter::new);
        let book = Book {
            history: History::default(),
            file,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                began: Instant::now(),
                book: Mutex::new(book),
            }),
        })
    }

    /// Microseconds from the beginning of the history to `when`.
    pub fn micros(&self, when: Instant) -> u64 {
        micros(when.saturating_duration_since(self.shared.began))
    }

    /// A request has ended.
    pub fn request(&self, request: Request) {
        self.add(Entry::Request(Box::new(request)));
    }

    /// A node came or went.
    pub fn node(&self, node: &str, change: Change) {
        self.add(Entry::Node {
            at_us: self.micros(Instant::now()),
            node: node.to_owned(),
            change,
        });
    }

    /// A tap heard a command and its answer.
    pub fn wire(&self, server: &str, node: &str, command: Command) {
        self.add(Entry::Wire {
            at_us: self.micros(Instant::now()),
            server: server.to_owned(),
            node: node.to_owned(),
            command,
        });
    }

    /// Something was measured.
    pub fn figure(&self, name: &str, value: f64) {
        self.add(Entry::Figure {
            at_us: self.micros(Instant::now()),
            name: name.to_owned(),
            value,
        });
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.book().history.entries.len()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The play reached a point that its judge asks about.
    pub fn mark(&self, name: &str) {
        self.add(Entry::Mark {
            at_us: self.micros(Instant::now()),
            name: name.to_owned(),
        });
    }

    /// The history so far.
    pub fn history(&self) -> History {
        let mut book = self.book();
        if let Some(file) = &mut book.file {
            // The history in memory is the one that is judged; the file is for people.
            let _ = file.flush();
        }
        book.history.clone()
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.shared
            .book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, entry: Entry) {
        let mut book = self.book();
        if book.history.entries.len() >= ENTRIES_MAX {
            book.history.dropped += 1;
            return;
        }
        if let Some(file) = &mut book.file
            && let Ok(line) = serde_json::to_string(&entry)
        {
            let _ = writeln!(file, "{line}");
        }
        book.history.entries.push(entry);
    }
}

/// A duration in whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Answer, Ask, Change, Entry, History, Outcome, Recorder, Request, Value};

    #[test]
    fn a_line_of_the_file_is_read_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::new(Some(&path)).expect("a file");
        recorder.node("TomcatA", Change::Up);
        recorder.request(Request {
            at_us: 1,
            latency_us: 2,
            who: "b1".into(),
            from: "127.0.1.1".parse().ok(),
            what: Ask::Append {
                name: "list".into(),
                value: "t1".into(),
            },
            sent_session: None,
            outcome: Outcome::Ok(Answer {
                status: 200,
                value: Value::List(vec!["t1".into()]),
                ..Answer::default()
            }),
        });
        recorder.mark("killed");
        let history = recorder.history();
        let text = std::fs::read_to_string(&path).expect("written");
        let read: Vec<Entry> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an entry"))
            .collect();
        assert_eq!(read, history.entries);
        let (before, after) = history.split("killed");
        assert_eq!(
            (before.requests().count(), after.requests().count()),
            (1, 0)
        );
        assert_eq!(history.split("never").1, History::default());
    }

    #[test]
    fn values_of_every_kind_are_told_apart() {
        for (text, value) in [
            ("null", Value::Nothing),
            ("3", Value::Number(3)),
            ("\"MeXP\"", Value::Text("MeXP".into())),
            ("[\"a\",\"b\"]", Value::List(vec!["a".into(), "b".into()])),
        ] {
            assert_eq!(
                serde_json::from_str::<Value>(text).expect("a value"),
                value,
                "{text}"
            );
        }
    }
}
