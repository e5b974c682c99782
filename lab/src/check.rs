//! Questions to a history. Pure: no sockets, no clock, no guesses; what was not acknowledged proves nothing.

pub mod anomaly;
pub mod parallel;

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Ask, History, Outcome, Request, Value};

/// Requests that were answered, of those given.
fn answered<'a>(
    requests: impl IntoIterator<Item = &'a Request>,
) -> impl Iterator<Item = &'a Request> {
    requests
        .into_iter()
        .filter(|request| request.answer().is_some())
}

/// How the answering node changed from one answer to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alternation {
    /// Answers that named their node.
    pub answers: usize,
    /// Answers whose node was not the one before.
    pub changes: usize,
}

impl Alternation {
    /// Every answer came from another node than the one before.
    pub fn strict(self) -> bool {
        self.answers > 1 && self.changes == self.answers - 1
    }

    /// All answers came from one node.
    pub fn none(self) -> bool {
        self.answers > 0 && self.changes == 0
    }
}

/// Did the answering node alternate?
pub fn alternation<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Alternation {
    let nodes: Vec<&str> = answered(requests).filter_map(Request::node).collect();
    Alternation {
        answers: nodes.len(),
        changes: nodes.windows(2).filter(|pair| pair[0] != pair[1]).count(),
    }
}

/// The nodes that answered.
pub fn nodes<'a>(requests: impl IntoIterator<Item = &'a Request>) -> BTreeSet<&'a str> {
    answered(requests).filter_map(Request::node).collect()
}

/// The session IDs that answered, without repetitions.
pub fn session_ids<'a>(requests: impl IntoIterator<Item = &'a Request>) -> BTreeSet<&'a str> {
    answered(requests).filter_map(Request::session_id).collect()
}

/// How many requests each node answered.
pub fn load<'a>(requests: impl IntoIterator<Item = &'a Request>) -> BTreeMap<&'a str, usize> {
    let mut load = BTreeMap::new();
    for node in answered(requests).filter_map(Request::node) {
        *load.entry(node).or_default() += 1;
    }
    load
}

/// The busiest node's share divided by the fair share among `nodes` nodes: 1 is even, `nodes` is everything on one.
/// `None` when there is nothing to share.
pub fn skew(load: impl IntoIterator<Item = usize>, nodes: usize) -> Option<f64> {
    let load: Vec<usize> = load.into_iter().collect();
    let total: usize = load.iter().sum();
    let most = load.iter().max().copied()?;
    (total > 0 && nodes > 0).then(|| most as f64 * nodes as f64 / total as f64)
}

/// Requests without a certain outcome, and the first reason.
pub fn unknowns(history: &History) -> (usize, Option<&str>) {
    let mut reasons = history
        .requests()
        .filter_map(|request| match &request.outcome {
            Outcome::Unknown(why) => Some(why.as_str()),
            Outcome::Ok(_) | Outcome::Fail(_) => None,
        });
    let first = reasons.next();
    (usize::from(first.is_some()) + reasons.count(), first)
}

/// Requests that were certainly not carried out, and the first reason.
pub fn failures(history: &History) -> (usize, Option<&str>) {
    let mut reasons = history
        .requests()
        .filter_map(|request| match &request.outcome {
            Outcome::Fail(why) => Some(why.as_str()),
            Outcome::Ok(_) | Outcome::Unknown(_) => None,
        });
    let first = reasons.next();
    (usize::from(first.is_some()) + reasons.count(), first)
}

/// What became of the sessions that browsers had at a mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fates {
    /// The session that answered before the mark answered after it, with the list that it had.
    pub kept: BTreeSet<String>,
    /// Another session, or none, answered, or the list was another.
    pub lost: BTreeSet<String>,
    /// No answer after the mark, so nobody can say.
    pub unknown: BTreeSet<String>,
}

impl Fates {
    /// How many sessions there were.
    pub fn total(&self) -> usize {
        self.kept.len() + self.lost.len() + self.unknown.len()
    }

    /// The fates of some of the browsers only.
    pub fn only(&self, whose: impl Fn(&str) -> bool) -> Self {
        let part = |browsers: &BTreeSet<String>| {
            browsers.iter().filter(|who| whose(who)).cloned().collect()
        };
        Self {
            kept: part(&self.kept),
            lost: part(&self.lost),
            unknown: part(&self.unknown),
        }
    }
}

/// The last session ID and the last list that each browser had before the mark, compared with its first answer after it.
pub fn fates(history: &History, mark: &str) -> Fates {
    let (before, after) = history.split(mark);
    let mut fates = Fates::default();
    for who in before.browsers() {
        let ids = answered(before.of(who)).filter_map(Request::session_id);
        let Some(id) = ids.last() else {
            continue;
        };
        let goods = answered(before.of(who)).filter_map(list).last();
        let whose = match answered(after.of(who)).next() {
            None => &mut fates.unknown,
            Some(first)
                if first.session_id().map(random_part) == Some(random_part(id))
                    && list(first) == goods =>
            {
                &mut fates.kept
            }
            Some(_) => &mut fates.lost,
        };
        whose.insert(who.to_owned());
    }
    fates
}

/// What names the session in an ID: without the store node and the route behind it, which change when another node takes
/// the session over.
pub(crate) fn random_part(id: &str) -> &str {
    const DIGITS: usize = 32;
    match id.split_at_checked(DIGITS) {
        Some((part, rest))
            if rest.starts_with(['-', '.']) && part.bytes().all(|b| b.is_ascii_hexdigit()) =>
        {
            part
        }
        _ => id,
    }
}

/// The list in an answer.
fn list(request: &Request) -> Option<&[String]> {
    match &request.answer()?.value {
        Value::List(list) => Some(list),
        Value::Nothing | Value::Number(_) | Value::Text(_) => None,
    }
}

/// Browsers whose last answer about this list has every item whose appending was acknowledged.
pub fn complete<'a>(history: &'a History, wanted: &str) -> BTreeSet<&'a str> {
    let has_all = |who: &&str| {
        let appended = answered(history.of(who)).filter_map(|request| match &request.what {
            Ask::Append { name, value } if name == wanted => Some(value),
            _ => None,
        });
        let about = |request: &&Request| matches!(&request.what, Ask::Get { name } | Ask::Append { name, .. } if name == wanted);
        let last = answered(history.of(who)).filter(about).last();
        let goods = last.and_then(list).unwrap_or_default();
        let appended: Vec<&String> = appended.collect();
        !appended.is_empty() && appended.iter().all(|item| goods.contains(item))
    };
    history.browsers().into_iter().filter(has_all).collect()
}

/// The node that answered each browser last.
pub fn homes(history: &History) -> BTreeMap<String, String> {
    let answers = answered(history.requests());
    answers
        .filter_map(|request| Some((request.who.clone(), request.node()?.to_owned())))
        .collect()
}

/// Browsers whose first answer after the mark came from another node than their last before it.
pub fn moved(history: &History, mark: &str) -> BTreeSet<String> {
    let (before, after) = history.split(mark);
    let homes = homes(&before);
    let moved = homes.iter().filter(|(who, home)| {
        let first = answered(after.of(who)).find_map(Request::node);
        first.is_some_and(|node| node != home.as_str())
    });
    moved.map(|(who, _)| who.clone()).collect()
}

#[cfg(test)]
mod tests;
