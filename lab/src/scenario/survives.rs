//! Something breaks in a mode whose sessions outlive their server: C13, C19 and the row "rolling restart".

use program::Failure;

use super::crowd::Crowd;
use super::msm::NOTICED;
use super::{About, Finding, Play, Playing, Scenario, Verdict, of};
use crate::check::fates;
use crate::history::History;
use crate::mode::Mode;

/// Browsers with a session each.
const BROWSERS: usize = 20;

/// The mark at which something breaks.
const BROKEN: &str = "broken";

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An application server gets SIGKILL.
    Server,
    /// Each application server is stopped gracefully and started again.
    EveryServer,
    /// A store node gets SIGKILL.
    Store,
}

/// Sessions begin, something breaks, everybody comes back.
#[derive(Debug)]
pub struct Survives {
    /// The mode.
    pub mode: Mode,
    /// What breaks.
    pub fault: Fault,
}

impl Scenario for Survives {
    fn about(&self) -> About {
        let (name, claim, statement) = match self.fault {
            Fault::Server => (
                "kill-node",
                match self.mode {
                    Mode::Cluster => "C13",
                    Mode::Backup => "kill app node",
                    _ => "C19",
                },
                "when a server dies no session is lost",
            ),
            Fault::EveryServer => ("rolling-restart", "rolling restart", "no session is lost"),
            Fault::Store => (
                "kill-store",
                "C19",
                "when a store node dies no session is lost, unless it is asked for before the death is noticed",
            ),
        };
        About {
            name: format!("{name}-{}", self.mode),
            claim,
            mode: self.mode,
            statement,
            expected: match self.fault {
                Fault::Store => "every session kept, asked for 1.5 seconds later",
                Fault::Server | Fault::EveryServer => "every session kept",
            },
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let mut crowd = Crowd::of_strangers(play, BROWSERS);
            crowd.shop().await;
            play.recorder().mark(BROKEN);
            self.break_it(play).await?;
            crowd.come_back().await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let fates = fates(history, BROKEN);
        if fates.total() == 0 {
            return Finding::unknown("no browser had a session");
        }
        if !fates.unknown.is_empty() {
            let missing = of(fates.unknown.len(), fates.total(), "browser");
            return Finding::unknown(format!("{missing} got no answer afterwards"));
        }
        let verdict = match (fates.lost.len(), fates.kept.len()) {
            (0, _) => Verdict::Confirmed,
            (_, 0) => Verdict::Refuted,
            _ => Verdict::Qualified,
        };
        let observed = format!(
            "{} lost, {} kept",
            of(fates.lost.len(), fates.total(), "session"),
            fates.kept.len()
        );
        let kept = match (self.fault, self.mode) {
            (Fault::Store, Mode::MsmSticky) => {
                "the servers have them, and make the copies elsewhere"
            }
            (Fault::Store, _) => "the other store node has a copy of each, under the same ID",
            (_, Mode::MsmSticky) => {
                "the store nodes have a copy of each, which another server took over"
            }
            (_, Mode::Cluster) => "every server has every session",
            (_, Mode::Backup) => {
                "each session is on two servers, and a new copy is made when one goes"
            }
            _ => "the store nodes have them, and the servers none",
        };
        let why = match verdict {
            Verdict::Confirmed => format!(
                "{} had their carts as they left them: {kept}",
                of(fates.kept.len(), fates.total(), "browser")
            ),
            _ => format!(
                "{} found the cart empty or changed",
                of(fates.lost.len(), fates.total(), "browser")
            ),
        };
        Finding::new(verdict, observed, why)
    }
}

impl Survives {
    async fn break_it(&self, play: &mut Play) -> Result<(), Failure> {
        match self.fault {
            Fault::Server => {
                let unlucky = one_of(play, Play::appservers)?;
                play.kill(&unlucky).await
            }
            Fault::EveryServer => {
                for server in play.appservers()? {
                    play.restart(&server).await?;
                }
                Ok(())
            }
            Fault::Store => {
                let unlucky = one_of(play, Play::stores)?;
                play.kill(&unlucky).await?;
                tokio::time::sleep(NOTICED).await;
                Ok(())
            }
        }
    }
}

/// One of these nodes, by chance.
fn one_of(
    play: &mut Play,
    nodes: fn(&mut Play) -> Result<Vec<String>, Failure>,
) -> Result<String, Failure> {
    let names = nodes(play)?;
    if names.is_empty() {
        return Err(Failure::Failed(
            "the stage has no node of the kind that shall break".to_owned(),
        ));
    }
    let chosen = play.random().usize(..names.len());
    Ok(names[chosen].clone())
}
