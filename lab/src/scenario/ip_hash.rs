//! C3, C4, C5: binding by client address, and what it does to two browsers of one host and to the balance.

use std::collections::BTreeSet;

use super::crowd::Crowd;
use super::{About, Finding, Play, Playing, Scenario, Verdict, address, many, routes, shares};
use crate::check::{load, nodes, session_ids, skew};
use crate::history::{Ask, Entry, History};
use crate::mode::Mode;

/// How often each browser reloads.
const RELOADS: usize = 10;

/// Browsers of each crowd in C5.
const CROWD: usize = 60;

/// C3: one browser reloads.
#[derive(Debug)]
pub struct KeepsSession;

impl Scenario for KeepsSession {
    fn about(&self) -> About {
        About {
            name: "ip_hash-keeps".to_owned(),
            claim: "C3",
            mode: Mode::IpHash,
            statement: "one browser keeps its session over refreshes",
            expected: "one server, one ID",
            verdict: Verdict::Confirmed,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("browser", from);
            for _ in 0..RELOADS {
                browser.ask(Ask::Session).await;
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let nodes = nodes(history.requests()).len();
        let ids = session_ids(history.requests()).len();
        let requests = history.requests().count();
        let kept = nodes == 1 && ids == 1;
        Finding::new(
            if kept {
                Verdict::Confirmed
            } else {
                Verdict::Refuted
            },
            format!(
                "{}, {} in {requests} requests",
                many(nodes, "server"),
                many(ids, "ID")
            ),
            if kept {
                format!(
                    "all {requests} requests were answered by one server with one session ID; the reason for the choice was {}",
                    routes(history.requests())
                )
            } else {
                format!(
                    "{requests} requests of one browser were answered by {} with {}",
                    many(nodes, "server"),
                    many(ids, "session ID")
                )
            },
        )
    }
}

/// C4: two browsers on one host, and a second window of the first.
#[derive(Debug)]
pub struct TwoBrowsers;

impl Scenario for TwoBrowsers {
    fn about(&self) -> About {
        About {
            name: "ip_hash-two-browsers".to_owned(),
            claim: "C4",
            mode: Mode::IpHash,
            statement: "two browsers on one host reach the same server (the article says: have the same session)",
            expected: "the same server, two sessions; the same session only for windows that share cookies",
            verdict: Verdict::Qualified,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let host = play.address();
            let mut first = play.browser("first", host);
            let mut second = play.browser("second", host);
            for _ in 0..RELOADS {
                first.ask(Ask::Session).await;
                second.ask(Ask::Session).await;
            }
            let mut window = first.window("window");
            window.ask(Ask::Session).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let servers = nodes(history.requests());
        let [first, second, window] =
            ["first", "second", "window"].map(|who| session_ids(history.of(who)));
        if first.is_empty() || second.is_empty() {
            return Finding::unknown("one of the browsers never got a session");
        }
        let same_server = servers.len() == 1;
        let same_session = first == second;
        let shared = window == first;
        let observed = format!(
            "{}, {} sessions",
            if same_server {
                "the same server"
            } else {
                "two servers"
            },
            first.union(&second).collect::<BTreeSet<_>>().len()
        );
        let why = if same_server {
            format!(
                "all {} requests reached one server, for the browsers have one address; {}; a second window of the first browser, which shares its cookies, {} its session",
                history.requests().count(),
                if same_session {
                    "they have one session ID"
                } else {
                    "their sessions are two, for each has its own cookies"
                },
                if shared { "has" } else { "has not" }
            )
        } else {
            format!(
                "two browsers of one address reached {}",
                many(servers.len(), "server")
            )
        };
        let verdict = match (same_server, same_session) {
            (true, true) => Verdict::Confirmed,
            (true, false) => Verdict::Qualified,
            (false, _) => Verdict::Refuted,
        };
        Finding::new(verdict, observed, why)
    }
}

/// C5: a crowd in one network, and for comparison one of strangers.
#[derive(Debug)]
pub struct Imbalance;

/// The mark between the two crowds.
const STRANGERS: &str = "strangers come";

impl Scenario for Imbalance {
    fn about(&self) -> About {
        About {
            name: "ip_hash-imbalance".to_owned(),
            claim: "C5",
            mode: Mode::IpHash,
            statement: "balance suffers: clients behind one address or network all land on one server",
            expected: "one /24 network: one server; many networks: both",
            verdict: Verdict::Confirmed,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let [a, b] = [play.random().u8(1..=254), play.random().u8(..)];
            let host = |number: usize| u8::try_from(number + 1).unwrap_or(u8::MAX);
            let mut neighbours = Crowd::at(play, "neighbour", CROWD, move |_, number| {
                address(a, b, host(number))
            });
            neighbours.ask(&Ask::Session).await;
            play.recorder().mark(STRANGERS);
            let mut strangers = Crowd::of_strangers(play, CROWD);
            strangers.ask(&Ask::Session).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (neighbours, strangers) = history.split(STRANGERS);
        let [one, many] = [&neighbours, &strangers].map(|part| load(part.requests()));
        // Nodes that the stage has, or, without one, those that ever answered.
        let known = history
            .entries
            .iter()
            .filter(|e| matches!(e, Entry::Node { .. }))
            .count();
        let servers = nodes(history.requests()).len().max(known);
        if servers < 2 {
            return Finding::unknown(
                "only one server was ever seen, so there is no balance to judge",
            );
        }
        let figure = |load: &std::collections::BTreeMap<&str, usize>| {
            skew(load.values().copied(), servers).unwrap_or_default()
        };
        let observed = format!("one network: {}; many: {}", shares(&one), shares(&many));
        let why = format!(
            "{} browsers of one /24, which share the three octets that are hashed, put {:.2} times the fair share on the busiest server, as many strangers {:.2} times",
            neighbours.requests().count(),
            figure(&one),
            figure(&many)
        );
        let verdict = match (one.len(), many.len()) {
            (1, 2..) => Verdict::Confirmed,
            (1, _) => Verdict::Qualified,
            _ => Verdict::Refuted,
        };
        Finding::new(verdict, observed, why)
    }
}
