//! Rows of the expectation table about store nodes: one that returns empty, and one that a single server cannot reach.

use super::{NOTICED, Play, choose_behaviour};
use crate::check::fates;
use crate::history::{Ask, Change, History};
use crate::mode::Mode;
use crate::scenario::crowd::Crowd;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict, of};
use crate::tap::Link;
use crate::topology::Topology;

/// Browsers with a session each.
const BROWSERS: usize = 20;

/// The mark after which the sessions are asked for.
const BROKEN: &str = "broken";

/// What a store node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// n1 dies and returns empty, then n2 dies; nobody comes in between.
    Idle,
    /// The same, but everybody comes once in between.
    Visited,
    /// TomcatA cannot reach n1, others can.
    OneLink,
}

/// A store node makes trouble.
#[derive(Debug)]
pub struct StoreTrouble {
    /// The mode.
    pub mode: Mode,
    /// What happens.
    pub trouble: Trouble,
    /// Whether servers do as memcached-session-manager does, command for command.
    pub stock: bool,
}

impl StoreTrouble {
    /// What becomes of the sessions.
    fn verdict(&self) -> Verdict {
        match (self.trouble, self.mode, self.stock) {
            // What is in no server and on no node cannot be kept; a copy is made again when its session is asked for.
            (Trouble::Idle, Mode::Msm, _) => Verdict::Refuted,
            // Those of n1 are asked for there, where they are not; those of n2 get their copies again.
            (Trouble::Visited, Mode::Msm, true) => Verdict::Qualified,
            _ => Verdict::Confirmed,
        }
    }
}

impl Scenario for StoreTrouble {
    fn about(&self) -> About {
        let (name, claim, statement) = match self.trouble {
            Trouble::Idle => (
                "empty-store-idle",
                "n1 dies, returns empty, n2 dies, session idle in between",
                "no session is lost",
            ),
            Trouble::Visited => (
                "empty-store",
                "n1 dies, returns empty, n2 dies, session used in between",
                "no session is lost",
            ),
            Trouble::OneLink => (
                "one-link",
                "one app cannot reach n1, others can",
                "no session and no acknowledged change is lost",
            ),
        };
        let verdict = self.verdict();
        About {
            name: format!(
                "{name}-{}{}",
                self.mode,
                if self.stock { "-stock" } else { "" }
            ),
            claim,
            mode: self.mode,
            statement,
            expected: match (verdict, self.trouble) {
                (Verdict::Refuted, _) => {
                    "every session lost: no server has it, and nobody asked for a new copy"
                }
                (Verdict::Qualified, _) => {
                    "those lost that are asked for on the node that came back empty"
                }
                (_, Trouble::OneLink) => {
                    "every cart complete; the other node is used, and its name may be in the ID"
                }
                (_, Trouble::Idle) => "every session kept, while its server lives",
                _ => "every session kept",
            },
            verdict,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn arrange(&self, topology: &mut Topology) {
        topology.tapped = self.trouble == Trouble::OneLink;
        choose_behaviour(topology, self.stock);
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let mut crowd = Crowd::of_strangers(play, BROWSERS);
            crowd.shop().await;
            if self.trouble == Trouble::OneLink {
                let first: Vec<String> = play.appservers()?.into_iter().take(1).collect();
                play.set_links(&first, "n1", Link::Refused)?;
                tokio::time::sleep(NOTICED).await;
                for item in ["pen", "ink", "cup"] {
                    crowd
                        .ask(&Ask::Append {
                            name: "cart".to_owned(),
                            value: item.to_owned(),
                        })
                        .await;
                }
                play.recorder().mark(BROKEN);
                crowd.come_back().await;
                return Ok(());
            }
            play.kill("n1").await?;
            tokio::time::sleep(NOTICED).await;
            play.stage()?.start_again("n1").await?;
            // Long enough for a server to notice, and to do what it does without being asked.
            tokio::time::sleep(NOTICED).await;
            if self.trouble == Trouble::Visited {
                crowd.come_back().await;
                play.settle().await;
            }
            play.kill("n2").await?;
            tokio::time::sleep(NOTICED).await;
            play.recorder().mark(BROKEN);
            crowd.come_back().await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        // The carts before anything broke: a session that was lost on the way must not count as one that was kept.
        let fates = fates(history, BROKEN);
        if fates.total() == 0 || !fates.unknown.is_empty() {
            return Finding::unknown("not every browser got a session and an answer afterwards");
        }
        let complete = crate::check::complete(history, "cart");
        let (kept, total) = (complete.len(), history.browsers().len());
        let verdict = match (kept, total - kept) {
            (_, 0) => Verdict::Confirmed,
            (0, _) => Verdict::Refuted,
            _ => Verdict::Qualified,
        };
        let observed = format!("{} complete", of(kept, total, "cart"));
        let down = history
            .entries
            .iter()
            .filter(|entry| {
                matches!(
                    entry,
                    crate::history::Entry::Node {
                        change: Change::Down,
                        ..
                    }
                )
            })
            .count();
        let why = match (verdict, self.trouble) {
            (Verdict::Confirmed, Trouble::OneLink) => {
                "both servers had every acknowledged item, by way of the node that both reach"
                    .to_owned()
            }
            (Verdict::Confirmed, Trouble::Idle) => {
                "the servers have the sessions, and the copies were only needed if one had died"
                    .to_owned()
            }
            (Verdict::Confirmed, Trouble::Visited) => {
                "each request made the missing copy again before the other node died".to_owned()
            }
            (Verdict::Qualified, _) => format!(
                "{} lost, with the nodes alive that could have told",
                of(total - kept, total, "cart")
            ),
            _ => format!(
                "nothing made the copies again, and both nodes have died once; {down} servers died"
            ),
        };
        Finding::new(verdict, observed, why)
    }
}
