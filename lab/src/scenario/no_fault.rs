//! The row "no fault, 2 requests" of the expectation table.

use std::collections::BTreeSet;

use super::crowd::Crowd;
use super::{About, Finding, Play, Playing, Scenario, Verdict, of};
use crate::check::{nodes, random_part, session_ids};
use crate::history::{Ask, History};
use crate::mode::Mode;

/// Browsers with two requests each.
const BROWSERS: usize = 20;

/// Two requests per browser, one browser after the other.
#[derive(Debug)]
pub struct NoFault {
    /// The mode.
    pub mode: Mode,
}

impl Scenario for NoFault {
    fn about(&self) -> About {
        About {
            name: format!("no-fault-{}", self.mode),
            claim: "no fault, 2 requests",
            mode: self.mode,
            statement: match self.mode {
                Mode::RoundRobin => "a new ID per hop",
                Mode::IpHash | Mode::SessionSticky | Mode::MsmSticky => "the same ID",
                Mode::Msm => "the same ID, on any server",
                Mode::Cluster | Mode::Backup => "the same session, on any server",
            },
            expected: match self.mode {
                Mode::RoundRobin => "two servers, two IDs for each browser",
                Mode::IpHash | Mode::SessionSticky | Mode::MsmSticky => {
                    "one server, one ID for each browser"
                }
                Mode::Msm => "two servers, one ID for each browser",
                Mode::Cluster | Mode::Backup => {
                    "two servers, one ID up to its route for each browser"
                }
            },
            verdict: Verdict::Confirmed,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            for number in 0..BROWSERS {
                let mut one = Crowd::at(play, &format!("browser-{number}"), 1, |play, _| {
                    play.address()
                });
                one.ask(&Ask::Session).await;
                one.ask(&Ask::Session).await;
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let browsers = history.browsers();
        let with = |servers: usize, ids: usize| {
            let as_many = browsers.iter().filter(|who| {
                let seen = session_ids(history.of(who));
                // The route behind the digits is that of whoever answered.
                let seen: BTreeSet<&str> = match self.mode.replicates() {
                    true => seen.into_iter().map(random_part).collect(),
                    false => seen,
                };
                nodes(history.of(who)).len() == servers && seen.len() == ids
            });
            as_many.count()
        };
        let (same, other, shared) = (with(1, 1), with(2, 2), with(2, 1));
        let expected = match self.mode {
            Mode::RoundRobin => other,
            Mode::IpHash | Mode::SessionSticky | Mode::MsmSticky => same,
            Mode::Msm | Mode::Cluster | Mode::Backup => shared,
        };
        let verdict = if expected == browsers.len() {
            Verdict::Confirmed
        } else {
            Verdict::Refuted
        };
        Finding::new(
            verdict,
            if self.mode == Mode::Msm || self.mode.replicates() {
                let shared = of(shared, browsers.len(), "browser");
                format!("{shared} changed the server and kept the ID")
            } else {
                let same = of(same, browsers.len(), "browser");
                format!("{same} kept server and ID, {other} changed both")
            },
            format!(
                "{} behaved as this mode should",
                of(expected, browsers.len(), "browser")
            ),
        )
    }
}
