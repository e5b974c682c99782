//! Every anomaly with a history that has it and its nearest neighbour that has not; and histories of a correct server,
//! which have none.

use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use proptest::{collection, prop_assert_eq};

use super::{Counts, Watch};
use crate::history::{Answer, Ask, Change, Entry, Outcome, Request, SessionSeen, Value};

/// Entries from lines: `who ask sent -> node id[*] value`; `*` is a new session, `-` none; `-> ?` unknown, `-> !` failed;
/// `@ node up|down`; a leading `+N` lets N seconds pass.
fn entries(text: &str) -> Vec<Entry> {
    let mut at_us = 0;
    let mut entries = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
        at_us += 1;
        if let Some(seconds) = words[0].strip_prefix('+') {
            at_us += seconds.parse::<u64>().expect("seconds") * 1_000_000;
            words.remove(0);
        }
        if words[0] == "@" {
            let change = if words[2] == "up" {
                Change::Up
            } else {
                Change::Down
            };
            entries.push(Entry::Node {
                at_us,
                node: words[1].into(),
                change,
            });
            continue;
        }
        entries.push(Entry::Request(Box::new(Request {
            at_us,
            latency_us: 1,
            who: words[0].into(),
            from: None,
            what: ask(words[1]),
            sent_session: (words[2] != "-").then(|| words[2].into()),
            outcome: outcome(&words[4..]),
        })));
    }
    entries
}

fn ask(word: &str) -> Ask {
    match word.split(':').collect::<Vec<_>>()[..] {
        ["session"] => Ask::Session,
        ["count"] => Ask::Count,
        ["login"] => Ask::Login { user: "u".into() },
        ["logout"] => Ask::Logout,
        ["get", name] => Ask::Get { name: name.into() },
        ["set", value] => Ask::Set {
            name: "text".into(),
            value: value.into(),
        },
        ["append", value] => Ask::Append {
            name: "list".into(),
            value: value.into(),
        },
        _ => panic!("{word} asks nothing"),
    }
}

fn outcome(words: &[&str]) -> Outcome {
    match words {
        ["?"] => Outcome::Unknown("timeout".into()),
        ["!"] => Outcome::Fail("refused".into()),
        [node, id, value @ ..] => Outcome::Ok(Answer {
            status: 200,
            node: Some((*node).into()),
            session: (*id != "-").then(|| SessionSeen {
                id: id.trim_end_matches('*').into(),
                is_new: id.ends_with('*'),
                max_inactive: 1800,
            }),
            value: match value {
                [] => Value::Nothing,
                [text] if text.starts_with('[') => Value::List(
                    text.trim_matches(['[', ']'])
                        .split(',')
                        .filter(|i| !i.is_empty())
                        .map(str::to_owned)
                        .collect(),
                ),
                [text] => text
                    .parse()
                    .map_or(Value::Text((*text).into()), Value::Number),
                _ => panic!("{value:?} is no value"),
            },
            ..Answer::default()
        }),
        _ => panic!("{words:?} is no outcome"),
    }
}

fn counts(binds: bool, text: &str) -> String {
    let mut watch = Watch::new(binds);
    for entry in entries(text) {
        watch.see(&entry);
    }
    shown(watch.finish())
}

fn shown(counts: Counts) -> String {
    let seen = counts.rows().into_iter().filter(|(_, _, count)| *count > 0);
    let seen: Vec<String> = seen
        .map(|(code, _, count)| format!("{code}={count}"))
        .collect();
    seen.join(" ")
}

#[test]
fn lost_sessions() {
    for (text, expected) in [
        ("b count - -> A 1* 1\nb count 1 -> A 1 2", ""),
        ("b count - -> A 1* 1\nb count 1 -> B 2* 1", "A1=1"),
        ("b count - -> A 1* 1\nb get:x 1 -> B -", "A1=1"),
        // Each hop loses the session of the hop before: mode round robin.
        (
            "b session - -> A 1*\nb session 1 -> B 2*\nb session 2 -> A 3*",
            "A1=2",
        ),
        // Nobody promised to keep it so long.
        ("b count - -> A 1* 1\n+1800 b count 1 -> A 2* 1", ""),
        ("b count - -> A 1* 1\n+1799 b count 1 -> A 2* 1", "A1=1"),
        // The browser itself forgot the ID.
        ("b count - -> A 1* 1\nb count - -> A 2* 1", ""),
        (
            "b count - -> A 1* 1\nb logout 1 -> A -\nb count 1 -> A 2* 1",
            "",
        ),
        // Whether the session has ended is unknown.
        (
            "b count - -> A 1* 1\nb logout 1 -> ?\nb count 1 -> A 2* 1",
            "",
        ),
        (
            "b count - -> A 1* 1\nb count 1 -> ?\nb count 1 -> !\nb count 1 -> A 1 3",
            "",
        ),
        // A login that meets a fresh session has lost the old one.
        ("b count - -> A 1* 1\nb login 1 -> B 2*", "A1=1"),
    ] {
        assert_eq!(counts(false, text), expected, "{text}");
    }
}

#[test]
fn lost_updates_and_stale_reads() {
    for (text, expected) in [
        (
            "b append:x - -> A 1* [x]\nb append:y 1 -> A 1 [x,y]\nb get:list 1 -> A 1 [x,y]",
            "",
        ),
        ("b append:x - -> A 1* [x]\nb append:y 1 -> A 1 [y]", "A2=1"),
        (
            "b append:x - -> A 1* [x]\nb append:y 1 -> A 1 [y]\nb logout 1 -> A -",
            "A2=1",
        ),
        ("b append:x - -> A 1* [x]\nb get:list 1 -> A 1", "A2=1"),
        // The answer itself acknowledges a write that is not in it.
        ("b append:x - -> A 1* []", "A2=1"),
        // It comes back: the answer in between was old.
        (
            "b append:x - -> A 1* [x]\nb get:list 1 -> B 1 []\nb get:list 1 -> A 1 [x]",
            "A4=1",
        ),
        // Not acknowledged, so its absence proves nothing, and neither does its presence.
        (
            "b append:x - -> A 1* [x]\nb append:y 1 -> ?\nb get:list 1 -> A 1 [x]",
            "",
        ),
        (
            "b append:x - -> A 1* [x]\nb append:y 1 -> ?\nb get:list 1 -> A 1 [x,y]",
            "",
        ),
        // What was in a lost session is lost with it and not counted again.
        ("b append:x - -> A 1* [x]\nb append:y 1 -> B 2* [y]", "A1=1"),
        ("b count - -> A 1* 1\nb count 1 -> A 1 1", "A4=1"),
        (
            "b count - -> A 1* 1\nb count 1 -> ?\nb count 1 -> A 1 3",
            "",
        ),
        ("b count - -> A 1* 1\nb get:count 1 -> A 1", "A4=1"),
        (
            "b set:u - -> A 1* u\nb set:v 1 -> A 1 v\nb get:text 1 -> A 1 v",
            "",
        ),
        (
            "b set:u - -> A 1* u\nb set:v 1 -> A 1 v\nb get:text 1 -> B 1 u",
            "A4=1",
        ),
        ("b set:u - -> A 1* u\nb get:text 1 -> B 1", "A2=1"),
        (
            "b set:u - -> A 1* u\nb set:v 1 -> ?\nb get:text 1 -> A 1 u",
            "",
        ),
        // A login keeps the attributes.
        (
            "b append:x - -> A 1* [x]\nb login 1 -> A 2\nb get:list 2 -> A 2 [x]",
            "",
        ),
        (
            "b append:x - -> A 1* [x]\nb login 1 -> A 2\nb get:list 2 -> A 2 []",
            "A2=1",
        ),
    ] {
        assert_eq!(counts(false, text), expected, "{text}");
    }
}

#[test]
fn zombies_and_churn() {
    for (text, expected) in [
        (
            "b count - -> A 1* 1\nb logout 1 -> A -\nb get:x 1 -> A -",
            "",
        ),
        (
            "b count - -> A 1* 1\nb logout 1 -> A -\nb get:x 1 -> B 1",
            "A3=1",
        ),
        // The data survived, the ID did not: a route that follows the node.
        (
            "b count - -> A 1.A* 1\nb count 1.A -> B 1.B 2\nb count 1.B -> A 1.A 3",
            "A7=2",
        ),
        (
            "b count - -> A 1* 1\nb login 1 -> A 2\nb count 2 -> A 2 2",
            "",
        ),
    ] {
        assert_eq!(counts(false, text), expected, "{text}");
    }
}

#[test]
fn affinity_breaks_only_where_it_was_promised() {
    let moves = "@ A up\n@ B up\nb get:x - -> A -\nb get:x - -> B -\nb get:x - -> B -";
    assert_eq!(counts(true, moves), "A10=1");
    assert_eq!(counts(false, moves), "");
    for (text, expected) in [
        ("@ A up\nb get:x - -> A -\n@ A down\nb get:x - -> B -", ""),
        // Down and up again between two requests: it was not healthy all the time.
        ("b get:x - -> A -\n@ A down\n@ A up\nb get:x - -> B -", ""),
        // Bound to B meanwhile, and B is healthy.
        (
            "b get:x - -> A -\n@ A down\nb get:x - -> B -\n@ A up\nb get:x - -> A -",
            "A10=1",
        ),
    ] {
        assert_eq!(counts(true, text), expected, "{text}");
    }
}

#[test]
fn skew_needs_more_than_chance() {
    let load =
        |a: usize, b: usize| "b get:x - -> A -\n".repeat(a) + &"c get:x - -> B -\n".repeat(b);
    for (a, b, expected) in [
        (100, 100, ""),
        (110, 90, ""),
        (3, 1, ""),
        (150, 50, "A11=1"),
    ] {
        assert_eq!(counts(false, &load(a, b)), expected, "{a}:{b}");
    }
    let all_on_one = "@ A up\n@ B up\n".to_owned() + &load(100, 0);
    assert_eq!(
        counts(false, &all_on_one),
        "A11=1",
        "a node that nobody reaches counts"
    );
    assert_eq!(
        counts(false, &load(100, 0)),
        "",
        "one node has its fair share"
    );
}

/// What a browser does next.
fn step() -> impl Strategy<Value = (u8, bool)> {
    (
        prop_oneof![Just(0u8), Just(1), Just(2), Just(3), Just(4)],
        proptest::bool::weighted(0.2),
    )
}

/// A server with one memory answers the steps of one browser; an answer may be lost on its way back.
fn correct_server(steps: &[(u8, bool)]) -> String {
    let mut text = String::new();
    let (mut id, mut cookie, mut serial) = (None::<u32>, "-".to_owned(), 0);
    let (mut count, mut list) = (0, Vec::<String>::new());
    for (number, (kind, lost)) in steps.iter().enumerate() {
        let sent = cookie.clone();
        let known = id.is_some_and(|id| sent == id.to_string());
        let is_new = !known && *kind != 4;
        if is_new {
            serial += 1;
            id = Some(serial);
            (count, list) = (0, Vec::new());
        }
        let (ask, value) = match kind {
            0 => {
                count += 1;
                ("count".to_owned(), count.to_string())
            }
            1 | 2 => {
                list.push(format!("t{number}"));
                (format!("append:t{number}"), format!("[{}]", list.join(",")))
            }
            3 => {
                serial += 1;
                id = Some(serial);
                ("login".to_owned(), String::new())
            }
            _ => {
                if known {
                    id = None;
                }
                ("logout".to_owned(), String::new())
            }
        };
        if *lost {
            text += &format!("b {ask} {sent} -> ?\n");
            continue;
        }
        let star = if is_new { "*" } else { "" };
        let shown = id
            .filter(|_| *kind != 4)
            .map_or("-".to_owned(), |id| id.to_string());
        text += &format!("b {ask} {sent} -> A {shown}{star} {value}\n").replace("-* ", "- ");
        if shown != "-" {
            cookie = shown;
        }
    }
    text
}

proptest! {
    /// Whatever a browser does and whichever answers get lost: a correct server shows no anomaly.
    #[test]
    fn a_correct_server_is_never_accused(steps in collection::vec(step(), 0..40)) {
        let text = correct_server(&steps);
        prop_assert_eq!(counts(true, &text), "", "{}", text);
    }

    /// Each acknowledged item that a list no longer has is one lost update, however often it is looked for.
    #[test]
    fn every_missing_item_is_counted_once(items in 1usize..20, gone in 0usize..20, looks in 1usize..4) {
        let all: Vec<String> = (0..items).map(|i| format!("t{i}")).collect();
        let gone = gone.min(items);
        let mut text = String::new();
        for (number, item) in all.iter().enumerate() {
            let (sent, star) = if number == 0 { ("-", "*") } else { ("1", "") };
            text += &format!("b append:{item} {sent} -> A 1{star} [{}]\n", all[..=number].join(","));
        }
        text += &format!("b get:list 1 -> A 1 [{}]\n", all[gone..].join(",")).repeat(looks);
        let expected = if gone == 0 { String::new() } else { format!("A2={gone}") };
        prop_assert_eq!(counts(false, &text), expected);
    }
}
