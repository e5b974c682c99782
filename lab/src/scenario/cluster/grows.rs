//! C14: what a session and a change cost a cluster of N servers.

use std::time::Instant;

use program::Failure;

use super::Play;
use crate::history::{Ask, Change, History, Outcome};
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict};
use crate::stage::figures::Figures;
use crate::topology::Kind;

/// How many servers, at first and at last.
const SERVERS: [usize; 4] = [2, 4, 6, 8];

/// Sessions that begin at each size.
const SESSIONS: usize = 400;

/// Sessions that begin before it is measured, so that a new server has its buffers.
const WARMING: usize = 100;

/// Bytes of the one attribute of each. It travels in the request line, for which a proxy has 8 KiB.
const LOAD: usize = 4096;

/// Changes that are made at each size.
const CHANGES: usize = 100;

/// A cluster that grows.
#[derive(Debug)]
pub struct Grows {
    /// The mode.
    pub mode: Mode,
}

/// Asks every server.
async fn measure(play: &mut Play) -> Result<Figures, Failure> {
    let figures = play.stage()?.figures().await;
    figures.map_err(Failure::Failed)
}

impl Scenario for Grows {
    fn about(&self) -> About {
        About {
            name: format!("grows-{}", self.mode),
            claim: "C14",
            mode: self.mode,
            statement: match self.mode {
                Mode::Backup => {
                    "each session is on two servers, so memory does not grow with the number of servers"
                }
                _ => {
                    "every server holds every session, so memory grows with servers × sessions, and so does the traffic"
                }
            },
            expected: match self.mode {
                Mode::Backup => "two copies of a session, whatever the number of servers",
                _ => "N copies of a session and N−1 messages for a change",
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
            browser.ask(Ask::Session).await;
            for servers in SERVERS {
                while play.appservers()?.len() < servers {
                    // Ours: several more Java machines would say more of Java than of sessions.
                    let server = play.stage()?.add_appserver(Kind::Appserver).await?;
                    play.recorder().node(&server, Change::Up);
                }
                let mut before = Figures::default();
                let mut begun: usize = 0;
                for number in 0..WARMING + SESSIONS {
                    if number == WARMING {
                        before = measure(play).await?;
                        begun = 0;
                    }
                    browser.forget();
                    let begin = Ask::Set {
                        name: "load".to_owned(),
                        value: "x".repeat(LOAD),
                    };
                    let request = browser.ask_due(begin, Instant::now()).await;
                    begun += usize::from(matches!(request.outcome, Outcome::Ok(_)));
                }
                let filled = measure(play).await?;
                let mut changed: usize = 0;
                for _ in 0..CHANGES {
                    let request = browser.ask_due(Ask::Count, Instant::now()).await;
                    changed += usize::from(matches!(request.outcome, Outcome::Ok(_)));
                }
                let after = measure(play).await?;
                // What was not all done is not measured.
                let recorder = play.recorder();
                if begun == SESSIONS {
                    let each = |more: f64| more / SESSIONS as f64;
                    let copies = each(filled.copies - before.copies);
                    recorder.figure(&format!("copies {servers}"), copies);
                    let memory = each(filled.memory - before.memory);
                    recorder.figure(&format!("memory {servers}"), memory);
                }
                if changed == CHANGES {
                    let each = (after.sent - filled.sent) / CHANGES as f64;
                    recorder.figure(&format!("traffic {servers}"), each);
                }
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let line = |what: &str| -> Vec<(f64, f64)> {
            SERVERS
                .into_iter()
                .filter_map(|n| Some((n as f64, history.figure(&format!("{what} {n}"))?)))
                .collect()
        };
        let (copies, memory, traffic) = (line("copies"), line("memory"), line("traffic"));
        let measured = [&copies, &memory, &traffic];
        if measured.iter().any(|line| line.len() < SERVERS.len()) {
            return Finding::unknown("not every session began, or not every change was made");
        }
        // Copies are counted; memory has its own mind, and is told beside them.
        let (slope, traffic_slope) = (fit(&copies), fit(&traffic));
        let first = traffic[0].1.max(1.0);
        // A request on another server than the one before moves the session there, and all are told where it is now.
        let grows = slope > 0.9 && traffic_slope > 0.3 * first;
        let flat = slope < 0.1;
        let holds = if self.mode == Mode::Backup {
            flat
        } else {
            grows
        };
        Finding::new(
            if holds {
                Verdict::Confirmed
            } else {
                Verdict::Refuted
            },
            format!(
                "copies {}, memory {} and traffic {} for N = 2 to 8",
                bars(&copies),
                bars(&memory),
                bars(&traffic)
            ),
            format!(
                "a session was on {:.1} servers at N = 2 and on {:.1} at N = 8; with {LOAD} bytes it took {:.0} bytes of all servers together and {:.0}; a change was {:.0} bytes and {:.0}, {traffic_slope:.0} more for each",
                copies[0].1,
                copies[copies.len() - 1].1,
                memory[0].1,
                memory[memory.len() - 1].1,
                traffic[0].1,
                traffic[traffic.len() - 1].1,
            ),
        )
    }
}

/// The slope of the straight line that fits best (least squares).
fn fit(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| {
        (x + point.0 / count, y + point.1 / count)
    });
    let (up, along) = points.iter().fold((0.0, 0.0), |(up, along), point| {
        (
            up + (point.0 - x) * (point.1 - y),
            along + (point.0 - x) * (point.0 - x),
        )
    });
    if along > 0.0 { up / along } else { 0.0 }
}

/// A bar for each value, from nothing to the largest.
fn bars(points: &[(f64, f64)]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = points.iter().map(|(_, y)| *y).fold(1.0, f64::max);
    let bar = |y: f64| {
        // Between 0 and 7: nothing is below nothing, and nobody above the most.
        let step = (y / most * 7.0).round().clamp(0.0, 7.0);
        BARS.iter()
            .zip(0..)
            .find(|(_, number)| f64::from(*number) >= step)
            .map_or('█', |(bar, _)| *bar)
    };
    points.iter().map(|(_, y)| bar(*y)).collect()
}

#[cfg(test)]
mod tests {
    use super::{bars, fit};

    #[test]
    fn a_line_is_fitted_and_drawn() {
        let points = [(2.0, 20.0), (4.0, 40.0), (8.0, 80.0)];
        assert!((fit(&points) - 10.0).abs() < 1e-9);
        assert_eq!(fit(&[(1.0, 5.0)]), 0.0);
        assert_eq!(bars(&points), "▃▅█");
    }
}
