//! Counts the anomalies that a client can observe, one request after the other, with bounded memory.
//!
//! | code | name | counted when |
//! |---|---|---|
//! | A1 | lost session | an accepted ID is answered by a fresh session or none, though it was neither ended nor idle too long |
//! | A2 | lost update | an acknowledged write is missing and never appears again while its session lives |
//! | A3 | zombie session | after an acknowledged logout the old ID is accepted again |
//! | A4 | stale read | an answer is older than what this client has already read or written |
//! | A7 | ID churn | the ID changes without a login or logout though the data survived |
//! | A10 | affinity break | in a binding mode another node answers though the home node is healthy |
//! | A11 | skew | a node's share of requests or sessions is above its fair share by more than chance explains |
//!
//! Precondition: the requests of one browser do not overlap, so that "before" is plain. A request without a certain
//! outcome changes what may be expected, and is never itself an anomaly.

mod held;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::AddAssign;

use serde::Serialize;

use self::held::Held;
use super::skew;
use crate::history::{Answer, Ask, Change, Entry, Outcome, Request};

/// A node may have this much more than its fair share before it is called skew.
pub const SKEW_ALLOWED: f64 = 1.25;

/// Skew is only called so when chance would give it in fewer than about one of 15,000 runs (four standard deviations).
const SKEW_DEVIATIONS: f64 = 4.0;

/// So many ended sessions per browser are remembered to recognise zombies.
const ENDED_REMEMBERED: usize = 4;

/// How often each anomaly was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub struct Counts {
    /// Lost sessions.
    pub a1: u64,
    /// Lost updates.
    pub a2: u64,
    /// Zombie sessions.
    pub a3: u64,
    /// Stale reads.
    pub a4: u64,
    /// ID churn.
    pub a7: u64,
    /// Affinity breaks.
    pub a10: u64,
    /// Skewed loads: of requests, of sessions.
    pub a11: u64,
}

impl Counts {
    /// Each code with its name and count.
    pub fn rows(&self) -> [(&'static str, &'static str, u64); 7] {
        [
            ("A1", "lost session", self.a1),
            ("A2", "lost update", self.a2),
            ("A3", "zombie session", self.a3),
            ("A4", "stale read", self.a4),
            ("A7", "ID churn", self.a7),
            ("A10", "affinity break", self.a10),
            ("A11", "skew", self.a11),
        ]
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.rows().iter().map(|(_, _, count)| count).sum()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.a1 += other.a1;
        self.a2 += other.a2;
        self.a3 += other.a3;
        self.a4 += other.a4;
        self.a7 += other.a7;
        self.a10 += other.a10;
        self.a11 += other.a11;
    }
}

/// Watches a history as it happens.
#[derive(Debug, Default)]
pub struct Watch {
    /// Whether the proxy promises to bring a browser back to its node.
    binds: bool,
    counts: Counts,
    browsers: HashMap<String, Browser>,
    nodes: BTreeSet<String>,
    /// How often each node has gone down: a home that went down and came back has broken its promise for a reason.
    falls: BTreeMap<String, u64>,
    down: BTreeSet<String>,
    requests: BTreeMap<String, usize>,
    sessions: BTreeMap<String, usize>,
}

/// What one browser may expect.
#[derive(Debug, Default)]
struct Browser {
    held: Option<Held>,
    home: Option<Home>,
    ended: VecDeque<String>,
}

#[derive(Debug)]
struct Home {
    node: String,
    falls: u64,
}

impl Watch {
    /// `binds`: whether the proxy promises to bring a browser back to its node.
    pub fn new(binds: bool) -> Self {
        Self {
            binds,
            ..Self::default()
        }
    }

    /// Takes the next entry, in the order in which they ended.
    pub fn see(&mut self, entry: &Entry) {
        match entry {
            Entry::Request(request) => self.request(request),
            Entry::Node { node, change, .. } => self.node(node, *change),
            Entry::Mark { .. } | Entry::Wire { .. } | Entry::Figure { .. } => {}
        }
    }

    /// The counts so far. Lost updates and skew can only be called so in the end ([`Watch::finish`]).
    pub fn so_far(&self) -> Counts {
        self.counts
    }

    /// Nothing more will come.
    pub fn finish(mut self) -> Counts {
        for browser in self.browsers.into_values() {
            self.counts.a2 += browser.held.map_or(0, |held| held.missing());
        }
        let nodes = self.nodes.len();
        for load in [&self.requests, &self.sessions] {
            self.counts.a11 += u64::from(is_skewed(load, nodes));
        }
        self.counts
    }

    /// The busiest node's share of requests and of sessions over the fair share; `None` without any.
    pub fn skews(&self) -> (Option<f64>, Option<f64>) {
        let of = |load: &BTreeMap<String, usize>| skew(load.values().copied(), self.nodes.len());
        (of(&self.requests), of(&self.sessions))
    }

    fn node(&mut self, node: &str, change: Change) {
        self.nodes.insert(node.to_owned());
        match change {
            Change::Up => {
                self.down.remove(node);
            }
            Change::Down => {
                self.down.insert(node.to_owned());
                *self.falls.entry(node.to_owned()).or_default() += 1;
            }
        }
    }

    fn request(&mut self, request: &Request) {
        match &request.outcome {
            Outcome::Fail(_) => {}
            Outcome::Unknown(_) => {
                let browser = self.browsers.entry(request.who.clone()).or_default();
                browser.perhaps(&request.what);
            }
            Outcome::Ok(answer) => {
                if let Some(node) = &answer.node {
                    self.answered_by(request, answer, node);
                }
                let browser = self.browsers.entry(request.who.clone()).or_default();
                self.counts += browser.answered(request, answer);
            }
        }
    }

    /// Who answered: load, and whether the promise of affinity held.
    fn answered_by(&mut self, request: &Request, answer: &Answer, node: &str) {
        self.nodes.insert(node.to_owned());
        *self.requests.entry(node.to_owned()).or_default() += 1;
        if answer
            .session
            .as_ref()
            .is_some_and(|session| session.is_new)
        {
            *self.sessions.entry(node.to_owned()).or_default() += 1;
        }
        let browser = self.browsers.entry(request.who.clone()).or_default();
        if let Some(home) = &browser.home
            && self.binds
            && home.node != node
        {
            let falls = self.falls.get(&home.node).copied().unwrap_or_default();
            let healthy = !self.down.contains(&home.node) && falls == home.falls;
            self.counts.a10 += u64::from(healthy);
        }
        browser.home = Some(Home {
            node: node.to_owned(),
            falls: self.falls.get(node).copied().unwrap_or_default(),
        });
    }
}

fn is_skewed(load: &BTreeMap<String, usize>, nodes: usize) -> bool {
    let total: usize = load.values().sum();
    let (Some(skew), true) = (skew(load.values().copied(), nodes), nodes > 1) else {
        return false;
    };
    // A fair choice puts total/nodes on each, with this standard deviation (binomial).
    let fair = total as f64 / nodes as f64;
    let deviation = (fair * (1.0 - 1.0 / nodes as f64)).sqrt();
    skew > SKEW_ALLOWED && (skew - 1.0) * fair > SKEW_DEVIATIONS * deviation
}

impl Browser {
    /// A request that was perhaps carried out: what it may have changed is no longer expected.
    fn perhaps(&mut self, what: &Ask) {
        match what {
            // Whether there still is a session, and under which ID, nobody knows.
            Ask::Login { .. } | Ask::Logout => self.held = None,
            Ask::Set { name, .. } | Ask::Slow { name, .. } => {
                if let Some(held) = &mut self.held {
                    held.forget(name);
                }
            }
            // One more item or one more on the counter contradicts nothing.
            Ask::Append { .. } | Ask::Count | Ask::Session | Ask::Get { .. } | Ask::Page { .. } => {
            }
        }
    }

    fn answered(&mut self, request: &Request, answer: &Answer) -> Counts {
        let mut counts = Counts::default();
        if request.what == Ask::Logout {
            self.end(&mut counts);
            return counts;
        }
        let now = answer.session.as_ref().map(|session| session.id.as_str());
        if let (Some(sent), Some(now)) = (&request.sent_session, now)
            && sent == now
            && self.ended.contains(sent)
        {
            counts.a3 += 1;
        }
        self.compare_session(request, answer, &mut counts);
        if let Some(held) = &mut self.held {
            held.used_us = request.at_us;
            held.compare_value(&request.what, &answer.value, &mut counts);
        }
        counts
    }

    fn end(&mut self, counts: &mut Counts) {
        let Some(held) = self.held.take() else {
            return;
        };
        counts.a2 += held.missing();
        if self.ended.len() >= ENDED_REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(held.id);
    }

    /// Is it the session that the browser holds?
    fn compare_session(&mut self, request: &Request, answer: &Answer, counts: &mut Counts) {
        let Some(held) = &mut self.held else {
            self.held = Held::new(request, answer);
            return;
        };
        // The browser must have shown the ID, or the server cannot have known it.
        let shown = request.sent_session.as_deref() == Some(held.id.as_str());
        let login = matches!(request.what, Ask::Login { .. });
        match &answer.session {
            Some(session) if session.id == held.id => {}
            Some(session) if !session.is_new => {
                counts.a7 += u64::from(!login && shown);
                held.id.clone_from(&session.id);
            }
            _ => {
                let idle = request.at_us.saturating_sub(held.used_us) >= held.idle_us;
                counts.a1 += u64::from(shown && !idle);
                self.held = Held::new(request, answer);
            }
        }
    }
}

#[cfg(test)]
mod tests;
