//! C6, C7: binding by a cookie of the proxy.

use super::crowd::Crowd;
use super::{About, Finding, Play, Playing, Scenario, Verdict, many, of, shares};
use crate::check::{alternation, nodes, session_ids};
use crate::history::{Ask, Entry, History, Request};
use crate::mode::Mode;

/// How often the browser of C6 asks.
const REQUESTS: usize = 10;

/// Browsers of C7. When each choice were a coin's, all would land on one server once in eight million runs.
const BROWSERS: usize = 24;

/// How often each of them asks.
const RELOADS: usize = 3;

/// C6: a browser that still has an ID of an earlier experiment.
#[derive(Debug)]
pub struct ForeignId;

impl Scenario for ForeignId {
    fn about(&self) -> About {
        About {
            name: "sticky-foreign-id".to_owned(),
            claim: "C6",
            mode: Mode::SessionSticky,
            statement: "a request with the ID of an earlier experiment gets a new ID, and from then on the same server and the same ID",
            expected: "one new ID, then one server and one ID",
            verdict: Verdict::Confirmed,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("browser", from);
            let id = format!("{:032X}.WEB1", play.random().u128(..));
            browser.keep_session(&id);
            for _ in 0..REQUESTS {
                browser.ask(Ask::Session).await;
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let Some(first) = history.requests().next() else {
            return Finding::unknown("nothing was asked");
        };
        let (Some(old), Some(new)) = (first.sent_session.as_deref(), first.session_id()) else {
            return Finding::unknown("the first request had no ID or got no session");
        };
        let adopted = old == new;
        let ids = session_ids(history.requests()).len();
        let turns = alternation(history.requests());
        let stays = ids == 1 && turns.none();
        let route = |request: Option<&Request>| {
            let route = request.and_then(|r| r.answer()?.route.clone());
            route.unwrap_or_else(|| "not told".to_owned())
        };
        let observed = format!(
            "{}, then {} and {} in {}",
            if adopted {
                "the old ID was adopted"
            } else {
                "a new ID"
            },
            many(nodes(history.requests()).len(), "server"),
            many(ids, "ID"),
            of(turns.answers, history.requests().count(), "answer"),
        );
        let why = format!(
            "the old ID, which no server knows, was {}; the reason for the choice was `{}` at first and `{}` at last",
            if adopted { "adopted" } else { "replaced" },
            route(Some(first)),
            route(history.requests().last())
        );
        let verdict = if stays && !adopted {
            Verdict::Confirmed
        } else {
            Verdict::Refuted
        };
        Finding::new(verdict, observed, why)
    }
}

/// C7: many browsers on one host.
#[derive(Debug)]
pub struct Finer;

impl Scenario for Finer {
    fn about(&self) -> About {
        About {
            name: "sticky-finer".to_owned(),
            claim: "C7",
            mode: Mode::SessionSticky,
            statement: "spreads finer than ip_hash: two browsers on one host can land on different servers",
            expected: "browsers of one address on both servers, each faithful to its own",
            verdict: Verdict::Confirmed,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let host = play.address();
            let mut crowd = Crowd::at(play, "browser", BROWSERS, move |_, _| host);
            for _ in 0..RELOADS {
                crowd.ask(&Ask::Session).await;
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let browsers = history.browsers();
        let faithful = browsers.iter().filter(|who| {
            nodes(history.of(who)).len() == 1 && session_ids(history.of(who)).len() == 1
        });
        let faithful = faithful.count();
        let mut spread = std::collections::BTreeMap::new();
        for who in &browsers {
            if let Some(node) = history.of(who).find_map(Request::node) {
                *spread.entry(node).or_default() += 1;
            }
        }
        let stage = history
            .entries
            .iter()
            .any(|entry| matches!(entry, Entry::Node { .. }));
        if spread.len() < 2 && !stage {
            return Finding::unknown("only one server was ever seen; there may be no other");
        }
        let why = format!(
            "{} of one address, which ip_hash sends to one server (C5), reached {}, and {} kept server and session",
            many(browsers.len(), "browser"),
            many(spread.len(), "server"),
            of(faithful, browsers.len(), "browser"),
        );
        let verdict = match (spread.len(), faithful == browsers.len()) {
            (2.., true) => Verdict::Confirmed,
            (2.., false) => Verdict::Qualified,
            _ => Verdict::Refuted,
        };
        Finding::new(verdict, shares(&spread), why)
    }
}
