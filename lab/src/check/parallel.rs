//! Anomalies of browsers whose requests overlap, and whose tabs share one session. Pure.
//!
//! The requests of one browser, `u1`, come from its tabs `u1/0`, `u1/1`, …. What is certain is told by times: a request that
//! began after another had been acknowledged must see what that one did.

use std::collections::{BTreeMap, BTreeSet};

use super::anomaly::Counts;
use super::random_part;
use crate::history::{Answer, Ask, History, Request, Value};

/// What separates the browser's name from its tab's.
pub const TAB: char = '/';

/// The browser that a tab belongs to.
fn browser(who: &str) -> &str {
    who.split_once(TAB).map_or(who, |(browser, _)| browser)
}

/// What one browser's requests have shown, each with the time of the acknowledgement.
#[derive(Debug, Default)]
struct Seen {
    /// Sessions that answered an accepted request.
    held: BTreeMap<String, u64>,
    /// Sessions that were ended.
    ended: BTreeMap<String, u64>,
    /// Acknowledged items: (session, list, item).
    items: BTreeMap<(String, String, String), u64>,
    /// Items that were missing, so that each counts once.
    missing: BTreeSet<(String, String, String)>,
    /// Sessions that were lost, so that each counts once.
    lost: BTreeSet<String>,
}

/// Counts lost sessions (A1), lost updates (A2) and zombies (A3) as requests end. Logins are not understood: they change IDs.
#[derive(Debug, Default)]
pub struct Watch {
    browsers: BTreeMap<String, Seen>,
    counts: Counts,
}

impl Watch {
    /// Takes the next request.
    pub fn see(&mut self, request: &Request) {
        if let Some(answer) = request.answer() {
            let seen = self
                .browsers
                .entry(browser(&request.who).to_owned())
                .or_default();
            seen.answered(request, answer, &mut self.counts);
        }
    }

    /// The counts so far.
    pub fn so_far(&self) -> Counts {
        self.counts
    }
}

/// The anomalies of a whole history.
pub fn anomalies(history: &History) -> Counts {
    let mut watch = Watch::default();
    history.requests().for_each(|request| watch.see(request));
    watch.so_far()
}

impl Seen {
    fn answered(&mut self, request: &Request, answer: &Answer, counts: &mut Counts) {
        let (began, ended_at) = (request.at_us, request.at_us + request.latency_us);
        let sent = request.sent_session.as_deref().map(random_part);
        if request.what == Ask::Logout {
            if let Some(sent) = sent {
                self.ended.entry(sent.to_owned()).or_insert(ended_at);
            }
            return;
        }
        let now = answer
            .session
            .as_ref()
            .map(|session| random_part(&session.id));
        if let Some(sent) = sent {
            let was =
                |times: &BTreeMap<String, u64>| times.get(sent).is_some_and(|at| *at <= began);
            let over = self.ended.contains_key(sent);
            if now == Some(sent) {
                counts.a3 += u64::from(was(&self.ended));
            } else if was(&self.held) && !over && self.lost.insert(sent.to_owned()) {
                counts.a1 += 1;
            }
        }
        let Some(now) = now else {
            return;
        };
        self.held.entry(now.to_owned()).or_insert(ended_at);
        let (name, read) = match (&request.what, &answer.value) {
            (Ask::Append { name, .. } | Ask::Get { name }, Value::List(read)) => {
                (name, read.as_slice())
            }
            (Ask::Get { name }, _) => (name, [].as_slice()),
            _ => return,
        };
        for ((session, list, item), at) in &self.items {
            let due = session == now && list == name && *at <= began;
            let key = (session.clone(), list.clone(), item.clone());
            if due && !read.contains(item) && self.missing.insert(key) {
                counts.a2 += 1;
            }
        }
        if let Ask::Append { name, value } = &request.what {
            let key = (now.to_owned(), name.clone(), value.clone());
            self.items.entry(key).or_insert(ended_at);
        }
    }
}

/// Items that were acknowledged, and browsers that had them.
pub fn acknowledged(history: &History) -> (usize, usize) {
    let items = history
        .requests()
        .filter(|r| matches!(r.what, Ask::Append { .. }) && r.answer().is_some());
    let browsers: BTreeSet<&str> = history.requests().map(|r| browser(&r.who)).collect();
    (items.count(), browsers.len())
}

#[cfg(test)]
mod tests {
    use super::anomalies;
    use crate::history::{Answer, Ask, Entry, History, Outcome, Request, SessionSeen, Value};

    /// Requests as `began-ended who ask sent -> id items`.
    fn history(text: &str) -> History {
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (began, ended) = words[0].split_once('-').expect("times");
            let [began, ended] = [began, ended].map(|at| at.parse::<u64>().expect("a time"));
            let what = match words[2].split_once(':') {
                Some(("append", value)) => Ask::Append {
                    name: "cart".into(),
                    value: value.into(),
                },
                _ if words[2] == "logout" => Ask::Logout,
                _ => Ask::Get {
                    name: "cart".into(),
                },
            };
            let some = |word: &str| (word != "-").then(|| word.to_owned());
            let outcome = match words[5] {
                "?" => Outcome::Unknown("timeout".into()),
                id => Outcome::Ok(Answer {
                    session: some(id).map(|id| SessionSeen {
                        id,
                        is_new: false,
                        max_inactive: 1800,
                    }),
                    value: words.get(6).map_or(Value::Nothing, |items| {
                        Value::List(items.split(',').map(str::to_owned).collect())
                    }),
                    ..Answer::default()
                }),
            };
            Entry::Request(Box::new(Request {
                at_us: began,
                latency_us: ended - began,
                who: words[1].into(),
                from: None,
                what,
                sent_session: some(words[3]),
                outcome,
            }))
        };
        History {
            entries: text
                .lines()
                .map(str::trim)
                .filter(|l| !l.is_empty())
                .map(line)
                .collect(),
            dropped: 0,
        }
    }

    #[track_caller]
    fn counted(text: &str, a1: u64, a2: u64, a3: u64) {
        let counts = anomalies(&history(text));
        assert_eq!((counts.a1, counts.a2, counts.a3), (a1, a2, a3), "{text}");
    }

    #[test]
    fn what_overlaps_may_be_missed_and_what_does_not_may_not() {
        counted("1-2 u/0 append:a S -> S a\n2-3 u/1 get S -> S a", 0, 0, 0);
        counted("1-2 u/0 append:a S -> S a\n2-3 u/1 get S -> S b", 0, 1, 0);
        counted(
            "1-4 u/0 append:a S -> S a\n2-3 u/1 append:b S -> S b\n5-6 u/1 get S -> S a,b",
            0,
            0,
            0,
        );
        counted(
            "2-3 u/1 append:b S -> S b\n1-4 u/0 append:a S -> S a\n5-6 u/1 get S -> S a",
            0,
            1,
            0,
        );
        counted(
            "2-3 u/1 append:b S -> S b\n1-4 u/0 append:a S -> S a",
            0,
            0,
            0,
        );
        counted("1-2 u/0 append:a S -> ?\n3-4 u/1 get S -> S", 0, 0, 0);
        counted(
            "1-2 u/0 append:a S -> S a\n3-4 u/1 get S -> S\n5-6 u/1 get S -> S",
            0,
            1,
            0,
        );
    }

    #[test]
    fn sessions_are_lost_or_come_back_from_the_dead() {
        counted(
            "1-2 u/0 get - -> S\n3-4 u/1 get S -> T\n5-6 u/1 get S -> -",
            1,
            0,
            0,
        );
        counted(
            "1-2 u/0 get - -> S\n3-4 u/1 logout S -> -\n5-6 u/1 get S -> T",
            0,
            0,
            0,
        );
        counted(
            "1-2 u/0 get - -> S\n3-4 u/1 logout S -> -\n5-6 u/1 get S -> S",
            0,
            0,
            1,
        );
        // It began before the end was acknowledged.
        counted(
            "1-2 u/0 get - -> S\n3-5 u/1 logout S -> -\n4-6 u/0 get S -> S",
            0,
            0,
            0,
        );
    }
}
