//! C8 and the row "kill app node": a server gets SIGKILL; which sessions survive it?

use std::collections::BTreeSet;

use super::crowd::Crowd;
use super::{About, Finding, Play, Playing, Scenario, Verdict, of};
use crate::check::{fates, homes};
use crate::history::{Change, Entry, History};
use crate::mode::Mode;

/// Browsers with a session each.
const BROWSERS: usize = 24;

/// The mark at which the server dies.
const KILLED: &str = "killed";

/// Sessions begin, a server is killed, everybody comes back.
async fn play_kill(play: &mut Play) -> Result<(), program::Failure> {
    let mut crowd = Crowd::of_strangers(play, BROWSERS);
    crowd.shop().await;
    let servers = play.appservers()?;
    let unlucky = servers[play.random().usize(..servers.len())].clone();
    play.recorder().mark(KILLED);
    play.kill(&unlucky).await?;
    crowd.come_back().await;
    Ok(())
}

/// What the judges of this file need: how many had their home on the dead server, and what became of whom.
struct Seen {
    dead: String,
    dead_total: usize,
    dead_lost: usize,
    other_total: usize,
    other_kept: usize,
    unknown: usize,
}

fn seen(history: &History) -> Option<Seen> {
    let dead = history.entries.iter().find_map(|entry| match entry {
        Entry::Node {
            node,
            change: Change::Down,
            ..
        } => Some(node.clone()),
        _ => None,
    })?;
    let homes = homes(&history.split(KILLED).0);
    let lived_there: BTreeSet<&str> = homes
        .iter()
        .filter(|(_, home)| **home == dead)
        .map(|(who, _)| who.as_str())
        .collect();
    let fates = fates(history, KILLED);
    let theirs = fates.only(|who| lived_there.contains(who));
    let others = fates.only(|who| !lived_there.contains(who));
    Some(Seen {
        dead,
        dead_total: theirs.total(),
        dead_lost: theirs.lost.len(),
        other_total: others.total(),
        other_kept: others.kept.len(),
        unknown: fates.unknown.len(),
    })
}

impl Seen {
    fn observed(&self) -> String {
        format!(
            "{} on {} lost; of the others {} of {} kept",
            of(self.dead_lost, self.dead_total, "session"),
            self.dead,
            self.other_kept,
            self.other_total,
        )
    }

    /// Why nothing can be said, where nothing can.
    fn doubt(&self) -> Option<Finding> {
        if self.unknown > 0 {
            let missing = of(self.unknown, self.dead_total + self.other_total, "browser");
            return Some(Finding::unknown(format!(
                "{missing} got no answer after the kill"
            )));
        }
        if self.dead_total == 0 {
            return Some(Finding::unknown(format!(
                "no session lived on {}",
                self.dead
            )));
        }
        None
    }

    fn all_of_the_dead_and_no_others(&self) -> bool {
        self.dead_lost == self.dead_total && self.other_kept == self.other_total
    }
}

/// C8, in a mode that binds.
#[derive(Debug)]
pub struct KillNode {
    /// The mode.
    pub mode: Mode,
}

impl Scenario for KillNode {
    fn about(&self) -> About {
        About {
            name: format!("kill-node-{}", self.mode),
            claim: "C8",
            mode: self.mode,
            statement: "when a server dies its sessions are lost",
            expected: "all sessions of the dead server lost, all others kept",
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(play_kill(play))
    }

    fn judge(&self, history: &History) -> Finding {
        let Some(seen) = seen(history) else {
            return Finding::unknown("no server was killed");
        };
        if let Some(doubt) = seen.doubt() {
            return doubt;
        }
        let verdict = if seen.all_of_the_dead_and_no_others() {
            Verdict::Confirmed
        } else if seen.dead_lost > 0 {
            Verdict::Qualified
        } else {
            Verdict::Refuted
        };
        let why = format!(
            "each session lives in the memory of one server only: {} of {} browsers had theirs on {}, which got SIGKILL, and found their carts empty when they came back",
            seen.dead_lost,
            seen.dead_total + seen.other_total,
            seen.dead
        );
        Finding::new(verdict, seen.observed(), why)
    }
}

/// The same without binding: with one server left there is nothing to alternate with.
#[derive(Debug)]
pub struct KillNodeRoundRobin;

impl Scenario for KillNodeRoundRobin {
    fn about(&self) -> About {
        About {
            name: "kill-node-round_robin".to_owned(),
            claim: "kill app node",
            mode: Mode::RoundRobin,
            statement: "the sessions are lost",
            expected: "lost at every hop before; after it the survivor keeps the sessions that it made last",
            verdict: Verdict::Qualified,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(play_kill(play))
    }

    fn judge(&self, history: &History) -> Finding {
        let Some(seen) = seen(history) else {
            return Finding::unknown("no server was killed");
        };
        if let Some(doubt) = seen.doubt() {
            return doubt;
        }
        let verdict = match (seen.dead_lost == seen.dead_total, seen.other_kept) {
            (true, 0) => Verdict::Confirmed,
            (true, _) => Verdict::Qualified,
            (false, _) => Verdict::Refuted,
        };
        let why = format!(
            "who was answered last by {} lost the session with it; the {} whose last ID was the survivor's kept it, for now every request goes there",
            seen.dead, seen.other_kept
        );
        Finding::new(verdict, seen.observed(), why)
    }
}
