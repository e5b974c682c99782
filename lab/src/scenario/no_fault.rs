//! The row "no fault, 2 requests" of the expectation table.

use super::crowd::Crowd;
use super::{About, Finding, Play, Playing, Scenario, Verdict, of};
use crate::check::{nodes, session_ids};
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
                Mode::IpHash | Mode::SessionSticky => "the same ID",
            },
            expected: match self.mode {
                Mode::RoundRobin => "two servers, two IDs for each browser",
                Mode::IpHash | Mode::SessionSticky => "one server, one ID for each browser",
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
        let with = |count: usize| {
            let as_many = browsers.iter().filter(|who| {
                nodes(history.of(who)).len() == count && session_ids(history.of(who)).len() == count
            });
            as_many.count()
        };
        let (same, other) = (with(1), with(2));
        let expected = if self.mode.binds() { same } else { other };
        let verdict = if expected == browsers.len() {
            Verdict::Confirmed
        } else {
            Verdict::Refuted
        };
        Finding::new(
            verdict,
            format!(
                "{} kept server and ID, {other} changed both",
                of(same, browsers.len(), "browser")
            ),
            format!(
                "{} behaved as this mode should",
                of(expected, browsers.len(), "browser")
            ),
        )
    }
}
