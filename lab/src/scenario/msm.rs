//! C16, C19 and the rows of the modes whose sessions outlive their server, because store nodes have them.

pub mod failover;
pub mod faults;
pub mod memory;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod wire;

use std::time::Duration;

use super::survives::{Fault, Survives};
use super::{About, Finding, Play, Playing, Scenario, Verdict, many, of, sequence};
use crate::check::{alternation, session_ids};
use crate::history::{History, Request};
use crate::mode::Mode;
use crate::topology::Topology;

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
            play.reload("browser").await;
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
