//! The row "frozen member": it holds its connections and answers nobody.

use std::time::Duration;

use super::Play;
use crate::app::{App, Apps};
use crate::history::{Ask, History, Request};
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict, of};
use crate::topology::Kind;

/// Browsers with a session each.
const BROWSERS: usize = 10;

/// The same where each is held up for seconds.
const BROWSERS_OF_TOMCAT: usize = 3;

/// A request that takes longer was made to wait.
const STALL_US: u64 = 1_000_000;

/// Longer than a real member waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// The mark at which the member is frozen.
const FROZEN: &str = "frozen";

/// SIGSTOP to one member.
#[derive(Debug)]
pub struct Frozen {
    /// The mode.
    pub mode: Mode,
}

impl Scenario for Frozen {
    fn about(&self) -> About {
        About {
            name: format!("frozen-{}", self.mode),
            claim: "frozen app node",
            mode: self.mode,
            statement: "a member that hangs stalls nobody on the others",
            expected: "one bounded wait at most, then everybody is answered at once",
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn about_with(&self, apps: Apps) -> About {
        self.about().lost_by_tomcat(
            apps.a == App::Tomcat,
            "each request waits five seconds for the member that hangs (A9)",
        )
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let servers = play.appservers()?;
            let (Some(alive), Some(hanging)) = (servers.first(), servers.get(1)) else {
                return Ok(());
            };
            // A real Tomcat lets each of them wait.
            let count = match play.kind_of(alive)? {
                Kind::Tomcat => BROWSERS_OF_TOMCAT,
                _ => BROWSERS,
            };
            let mut browsers = Vec::new();
            for number in 0..count {
                let from = play.address();
                let mut browser = play.browser_at(format!("browser-{number}"), from, alive)?;
                browser.be_patient(PATIENCE);
                browser.ask(Ask::Count).await;
                browsers.push(browser);
            }
            let paused = play.stage()?.child(hanging)?.pause().await;
            paused.map_err(|e| {
                program::Failure::environment(format!("cannot freeze {hanging}"), e)
            })?;
            play.recorder().mark(FROZEN);
            for browser in &mut browsers {
                browser.ask(Ask::Count).await;
            }
            let resumed = play.stage()?.child(hanging)?.resume().await;
            resumed.map_err(|e| program::Failure::environment(format!("cannot thaw {hanging}"), e))
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (_, after) = history.split(FROZEN);
        let asked: Vec<&Request> = after.requests().collect();
        if asked.is_empty() || asked.iter().all(|request| request.answer().is_none()) {
            return Finding::unknown("nobody was answered while the member was frozen");
        }
        let slow = asked
            .iter()
            .filter(|r| r.latency_us > STALL_US || r.answer().is_none())
            .count();
        let worst = asked.iter().map(|r| r.latency_us).max().unwrap_or_default();
        let verdict = if slow <= 1 {
            Verdict::Confirmed
        } else {
            Verdict::Refuted
        };
        Finding::new(
            verdict,
            format!(
                "{} waited longer than a second",
                of(slow, asked.len(), "request")
            ),
            format!(
                "the longest of {} changes took {} ms while the other member hung (A9)",
                asked.len(),
                worst / 1000
            ),
        )
    }
}
