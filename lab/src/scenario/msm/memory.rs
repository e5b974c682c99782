//! C20: what many idle sessions cost the application servers.

use std::time::Duration;

use program::Failure;

use super::Play;
use crate::history::{Ask, History, Outcome};
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict};
use crate::wait;

/// Sessions that begin and are then left alone.
const SESSIONS: usize = 3000;

/// Bytes of the one attribute of each.
const LOAD: usize = 4096;

/// Sessions that begin before the first measurement, so that buffers and threads are there.
const WARMING: usize = 200;

/// A server that keeps less than this share of the load keeps no sessions; more than `MOST`, it keeps them.
const LITTLE: f64 = 0.25;

/// See `LITTLE`.
const MOST: f64 = 0.75;

/// Many idle sessions in one mode.
#[derive(Debug)]
pub struct Memory {
    /// The mode.
    pub mode: Mode,
}

impl Memory {
    /// Whether the servers keep sessions between requests in this mode.
    fn keeps(&self) -> bool {
        self.mode != Mode::Msm
    }
}

/// Resident bytes, and sessions in memory, of all application servers together.
async fn measure(play: &mut Play) -> Result<(f64, f64), Failure> {
    let stage = play.stage()?;
    let (mut bytes, mut sessions) = (0.0, 0.0);
    for node in stage.topology().appservers() {
        let status = wait::json(node.place.admin, "/status")
            .await
            .map_err(Failure::Failed)?;
        bytes += status["resident_bytes"].as_f64().unwrap_or_default();
        let contexts = status["contexts"].as_array().into_iter().flatten();
        sessions += contexts
            .filter_map(|context| context["sessions"]["active"].as_f64())
            .sum::<f64>();
    }
    Ok((bytes, sessions))
}

impl Scenario for Memory {
    fn about(&self) -> About {
        About {
            name: format!("memory-{}", self.mode),
            claim: "C20",
            mode: self.mode,
            statement: match self.mode {
                Mode::Msm => "an idle session takes no memory of an application server",
                _ => "to compare: each session is in the memory of its server",
            },
            expected: match self.mode {
                Mode::Msm => "no session in the servers, no memory for them",
                _ => "every session in a server, with all its bytes",
            },
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("visitor", from);
            browser.be_patient(Duration::from_secs(10));
            let begin = || Ask::Set {
                name: "load".to_owned(),
                value: "x".repeat(LOAD),
            };
            let mut begun = 0;
            let mut before = (0.0, 0.0);
            for number in 0..WARMING + SESSIONS {
                if number == WARMING {
                    before = measure(play).await?;
                }
                // A stranger each time. Not in the history, which is no place for so many long texts.
                browser.forget();
                let request = browser.ask_due(begin(), std::time::Instant::now()).await;
                begun +=
                    usize::from(number >= WARMING && matches!(request.outcome, Outcome::Ok(_)));
            }
            let after = measure(play).await?;
            let recorder = play.recorder();
            recorder.figure("sessions begun", begun as f64);
            recorder.figure("bytes", after.0 - before.0);
            recorder.figure("sessions in servers", after.1 - before.1);
            browser.ask(Ask::Session).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let figures =
            ["sessions begun", "bytes", "sessions in servers"].map(|name| history.figure(name));
        let [Some(begun), Some(bytes), Some(kept)] = figures else {
            return Finding::unknown("nothing was measured");
        };
        if begun < SESSIONS as f64 * 0.9 {
            return Finding::unknown(format!("only {begun:.0} of {SESSIONS} sessions began"));
        }
        let each = bytes / begun;
        let share = each / LOAD as f64;
        let held = kept / begun;
        let (little, much) = (share < LITTLE && kept == 0.0, share > MOST && held > 0.99);
        let verdict = match (little, much) {
            (true, _) if !self.keeps() => Verdict::Confirmed,
            (_, true) if self.keeps() => Verdict::Confirmed,
            _ => Verdict::Refuted,
        };
        Finding::new(
            verdict,
            format!("{:.0} % of the sessions in the servers", 100.0 * held),
            format!(
                "{begun:.0} idle sessions with {LOAD} bytes each made the servers {:.1} MB larger together, {each:.0} bytes for each session",
                bytes / 1e6
            ),
        )
    }
}
