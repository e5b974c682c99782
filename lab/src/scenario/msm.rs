//! C16, C19 and the rows of the modes whose sessions outlive their server, because store nodes have them.

pub mod failover;
pub mod faults;
pub mod memory;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod wire;

use std::time::Duration;

use program::Failure;

use super::crowd::Crowd;
use super::{About, Finding, Play, Playing, Scenario, Verdict, many, of, sequence};
use crate::check::{alternation, fates, session_ids};
use crate::history::{Ask, History, Request};
use crate::mode::Mode;
use crate::topology::{Kind, Topology};

/// How often the browser of C16 asks.
const REQUESTS: usize = 12;

/// Browsers with a session each.
const BROWSERS: usize = 20;

/// The mark at which something breaks.
const BROKEN: &str = "broken";

/// An application server believes for one second that a store node is as it was; whoever asks for a session in that
/// second may lose it, as with memcached-session-manager.
pub(super) const NOTICED: Duration = Duration::from_millis(1500);

/// The claims, in their order.
pub fn claims() -> Vec<Box<dyn Scenario>> {
    use settings::{Behaves, Setting};
    use wire::{Commands, Step};
    let mut all: Vec<Box<dyn Scenario>> = vec![Box::new(SharedId)];
    for step in [Step::First, Step::Second] {
        for stock in [false, true] {
            all.push(Box::new(Commands { step, stock }));
        }
    }
    for mode in MODES {
        for fault in [Fault::Server, Fault::Store] {
            all.push(Box::new(Survives { mode, fault }));
        }
    }
    for mode in [Mode::Msm, Mode::RoundRobin, Mode::MsmSticky] {
        all.push(Box::new(memory::Memory { mode }));
    }
    all.push(Box::new(failover::FailoverNode));
    for (setting, stock) in [
        (Setting::LockingMode, false),
        (Setting::LockingMode, true),
        (Setting::IgnoredUris, false),
        (Setting::IgnoredUris, true),
        // Our servers wait for the copy whatever else they do, so this has no twin.
        (Setting::SyncBackup, false),
    ] {
        all.push(Box::new(Behaves { setting, stock }));
    }
    all
}

/// The rows of the expectation table, in their order.
pub fn rows() -> Vec<Box<dyn Scenario>> {
    use super::{grow::AddNode, restart::RestartProxy};
    use faults::{StoreTrouble, Trouble};
    let mut all: Vec<Box<dyn Scenario>> = Vec::new();
    for mode in MODES {
        all.push(Box::new(Survives {
            mode,
            fault: Fault::EveryServer,
        }));
        all.push(Box::new(AddNode { mode }));
        all.push(Box::new(RestartProxy { mode }));
    }
    for (trouble, mode, stock) in [
        (Trouble::Visited, Mode::Msm, false),
        (Trouble::Visited, Mode::Msm, true),
        (Trouble::Visited, Mode::MsmSticky, false),
        (Trouble::Idle, Mode::Msm, false),
        (Trouble::Idle, Mode::MsmSticky, false),
        (Trouble::OneLink, Mode::Msm, false),
        (Trouble::OneLink, Mode::MsmSticky, false),
    ] {
        all.push(Box::new(StoreTrouble {
            mode,
            trouble,
            stock,
        }));
    }
    all
}

/// The modes with store nodes.
const MODES: [Mode; 2] = [Mode::Msm, Mode::MsmSticky];

/// With `stock` the servers of the stage do as memcached-session-manager does, command for command; otherwise as they do
/// when nobody says anything.
pub(super) fn choose_behaviour(topology: &mut Topology, stock: bool) {
    if stock {
        topology.msm.insert("behaviour", "\"msm\"".to_owned());
    }
}

/// C16: every server serves a session, whose ID names its store node.
#[derive(Debug)]
pub struct SharedId;

impl Scenario for SharedId {
    fn about(&self) -> About {
        About {
            name: "msm-shared-id".to_owned(),
            claim: "C16",
            mode: Mode::Msm,
            statement: "the session ID carries the store node, and each server serves it: the server changes and the ID stays",
            expected: "A B A B …, one ID that ends with -n1 or -n2 and a route",
            verdict: Verdict::Confirmed,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("browser", from);
            for _ in 0..REQUESTS {
                browser.ask(Ask::Session).await;
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let turns = alternation(history.requests());
        let ids = session_ids(history.requests());
        let Some(id) = ids.first().filter(|_| turns.answers > 1) else {
            return Finding::unknown("too few answers with a session");
        };
        let node = id.split_once('-').map(|(_, node)| node);
        let verdict = match (turns.strict(), ids.len(), node) {
            (true, 1, Some(_)) => Verdict::Confirmed,
            (false, 1, Some(_)) => Verdict::Qualified,
            _ => Verdict::Refuted,
        };
        let observed = format!(
            "{} …, {}",
            sequence(history.requests().filter_map(Request::node).take(6)),
            many(ids.len(), "ID"),
        );
        let why = format!(
            "the server changed at {}, and the ID {}",
            of(turns.changes, turns.answers - 1, "step"),
            match node {
                Some(node) if ids.len() == 1 => format!("stayed, with `{node}` after its hyphen"),
                Some(_) => "changed".to_owned(),
                None => "names no node".to_owned(),
            }
        );
        Finding::new(verdict, observed, why)
    }
}

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
            Fault::Server => ("kill-node", "C19", "when a server dies no session is lost"),
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
            (Fault::Store, _) => {
                "the other store node has a copy of each, and its name is in the new ID"
            }
            (_, Mode::MsmSticky) => {
                "the store nodes have a copy of each, which another server took over"
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
                let unlucky = one_of(play, Kind::Appserver)?;
                play.kill(&unlucky).await
            }
            Fault::EveryServer => {
                for server in play.appservers()? {
                    play.restart(&server).await?;
                }
                Ok(())
            }
            Fault::Store => {
                let kinds = [Kind::Sessiond, Kind::Memcached];
                let topology = play.stage()?.topology();
                let mut there = topology.nodes.iter().map(|node| node.kind);
                let kind = there.find(|kind| kinds.contains(kind));
                let unlucky = one_of(play, kind.unwrap_or(Kind::Sessiond))?;
                play.kill(&unlucky).await?;
                tokio::time::sleep(NOTICED).await;
                Ok(())
            }
        }
    }
}

/// One of the nodes of this kind, by chance.
fn one_of(play: &mut Play, kind: Kind) -> Result<String, Failure> {
    let topology = play.stage()?.topology();
    let nodes = topology.nodes.iter().filter(|node| node.kind == kind);
    let names: Vec<String> = nodes.map(|node| node.name.clone()).collect();
    if names.is_empty() {
        return Err(Failure::Failed(
            "the stage has no node of the kind that shall break".to_owned(),
        ));
    }
    let chosen = play.random().usize(..names.len());
    Ok(names[chosen].clone())
}
