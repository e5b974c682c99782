//! Histories written as text, for tests of questions and judges.
//!
//! ```text
//!   keep WHO ID           the browser has this session ID already
//!   WHO NODE ID GOODS     an answer from NODE, of session ID (`-`: none), with the list GOODS (`book,lamp`; may be left out)
//!   WHO PATH@NODE ID      the same for a page; for `append:ITEM`, `get`, `set`, `slow` and `logout` in place of PATH, for that
//!   WHO ?                 perhaps done      WHO !   certainly not done
//!   @ NODE up|down        a node came or went
//!   ~ SERVER NODE COMMAND a tap heard it: `set KEY=STORED`
//!   # VALUE NAME          a figure
//!   == NAME               a mark
//! ```
//!
//! Cookies behave: a browser sends the ID that it got last, and an answer sets a cookie when its ID is another one.

use std::collections::HashMap;

use crate::tap::commands::Command;

use super::{Answer, Ask, Change, Entry, History, Outcome, Request, SessionSeen, Value};

/// The history that the lines tell.
pub(crate) fn history(text: &str) -> History {
    let mut cookies: HashMap<String, String> = HashMap::new();
    let mut history = History::default();
    for (number, line) in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .enumerate()
    {
        let at_us = number as u64;
        let words: Vec<&str> = line.split_whitespace().collect();
        let entry = match words[..] {
            ["keep", who, id] => {
                cookies.insert(who.into(), id.into());
                continue;
            }
            ["==", ..] => Entry::Mark {
                at_us,
                name: line[2..].trim().into(),
            },
            ["~", server, node, verb, command] => {
                let (key, result) = command.split_once('=').expect("an answer");
                let command = Command {
                    verb: verb.into(),
                    key: key.into(),
                    numbers: String::new(),
                    result: result.into(),
                };
                Entry::Wire {
                    at_us,
                    server: server.into(),
                    node: node.into(),
                    command,
                }
            }
            ["#", value, ..] => Entry::Figure {
                at_us,
                name: words[2..].join(" "),
                value: value.parse().expect("a number"),
            },
            ["@", node, change] => Entry::Node {
                at_us,
                node: node.into(),
                change: if change == "up" {
                    Change::Up
                } else {
                    Change::Down
                },
            },
            _ => Entry::Request(Box::new(request(at_us, &words, &mut cookies))),
        };
        history.entries.push(entry);
    }
    history
}

fn ask(word: &str) -> Ask {
    let (name, value) = ("cart".to_owned(), "new".to_owned());
    match word.split_once(':').unwrap_or((word, "")) {
        ("append", item) => Ask::Append {
            name,
            value: item.to_owned(),
        },
        ("get", _) => Ask::Get { name },
        ("set", _) => Ask::Set { name, value },
        ("slow", _) => Ask::Slow { ms: 1, name, value },
        ("logout", _) => Ask::Logout,
        _ => Ask::Page {
            path: word.to_owned(),
        },
    }
}

fn request(at_us: u64, words: &[&str], cookies: &mut HashMap<String, String>) -> Request {
    let who = words[0];
    let sent = cookies.get(who).cloned();
    let (what, node) = match words[1].split_once('@') {
        Some((what, node)) => (ask(what), node),
        None => (Ask::Session, words[1]),
    };
    let outcome = match node {
        "?" => Outcome::Unknown("timeout".into()),
        "!" => Outcome::Fail("refused".into()),
        node => {
            let id = words.get(2).filter(|id| **id != "-");
            let changed = id.is_some_and(|id| sent.as_deref() != Some(*id));
            if let Some(id) = id {
                cookies.insert(who.into(), (*id).into());
            }
            Outcome::Ok(Answer {
                status: 200,
                node: Some(node.into()),
                session: id.map(|id| SessionSeen {
                    id: (*id).into(),
                    is_new: changed,
                    max_inactive: 1800,
                }),
                value: words
                    .get(3)
                    .map_or(Value::Nothing, |goods| match goods.strip_prefix('=') {
                        Some(text) => Value::Text(text.to_owned()),
                        None => Value::List(goods.split(',').map(str::to_owned).collect()),
                    }),
                set_cookie: id.filter(|_| changed).map(|id| (*id).into()),
                ..Answer::default()
            })
        }
    };
    Request {
        at_us,
        latency_us: 1,
        who: who.into(),
        from: None,
        what,
        sent_session: sent,
        outcome,
    }
}
