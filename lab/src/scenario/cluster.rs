//! C9 to C14 and the rows of the modes whose servers send their sessions to one another.

pub mod auto;
pub mod frozen;
pub mod grows;
pub mod heartbeats;
pub mod packet;
pub mod partition;

use std::collections::BTreeSet;

use super::survives::{Fault, Survives};
use super::{About, Finding, Play, Playing, Scenario, Verdict, many, of, sequence};
use crate::check::{alternation, random_part};
use crate::history::{History, Request};
use crate::mode::Mode;

/// The modes that replicate.
const MODES: [Mode; 2] = [Mode::Cluster, Mode::Backup];

/// The claims, in their order.
pub fn claims() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(Flips),
        Box::new(heartbeats::Heartbeats),
        Box::new(packet::InThePacket { secret: false }),
        Box::new(packet::InThePacket { secret: true }),
        Box::new(auto::Auto),
        Box::new(Survives {
            mode: Mode::Cluster,
            fault: Fault::Server,
        }),
        Box::new(grows::Grows {
            mode: Mode::Cluster,
        }),
        Box::new(grows::Grows { mode: Mode::Backup }),
    ]
}

/// The rows of the expectation table, in their order.
pub fn rows() -> Vec<Box<dyn Scenario>> {
    let mut all: Vec<Box<dyn Scenario>> = vec![Box::new(Survives {
        mode: Mode::Backup,
        fault: Fault::Server,
    })];
    for mode in MODES {
        all.push(Box::new(Survives {
            mode,
            fault: Fault::EveryServer,
        }));
        all.push(Box::new(super::grow::AddNode { mode }));
        all.push(Box::new(super::restart::RestartProxy { mode }));
        all.push(Box::new(partition::Partition { mode }));
        all.push(Box::new(frozen::Frozen { mode }));
    }
    all
}

/// C9: the server changes, the session stays, the route in its ID is that of whoever answered.
#[derive(Debug)]
pub struct Flips;

impl Scenario for Flips {
    fn about(&self) -> About {
        About {
            name: "cluster-flips".to_owned(),
            claim: "C9",
            mode: Mode::Cluster,
            statement: "requests alternate between A and B, the session ID stays, and its suffix .WEB1 or .WEB2 shows the route",
            expected: "A B A B …, one session, .WEB1 and .WEB2 in turn",
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
        let ids: Vec<&str> = history.requests().filter_map(Request::session_id).collect();
        if turns.answers < 2 || ids.len() < 2 {
            return Finding::unknown("too few answers with a session");
        }
        let sessions: BTreeSet<&str> = ids.iter().copied().map(random_part).collect();
        let routes: BTreeSet<(&str, &str)> = history
            .requests()
            .filter_map(|request| {
                let (_, route) = request.session_id()?.split_once('.')?;
                Some((request.node()?, route))
            })
            .collect();
        let flips = ids.windows(2).filter(|pair| pair[0] != pair[1]).count();
        // One route for each server, and for each route one server.
        let own = routes.len() == 2
            && routes
                .iter()
                .map(|(_, route)| route)
                .collect::<BTreeSet<_>>()
                .len()
                == 2;
        let verdict = match (turns.strict(), sessions.len(), own) {
            (true, 1, true) => Verdict::Confirmed,
            (_, 1, _) => Verdict::Qualified,
            _ => Verdict::Refuted,
        };
        Finding::new(
            verdict,
            format!(
                "{} …, {}",
                sequence(history.requests().filter_map(Request::node).take(6)),
                many(sessions.len(), "session")
            ),
            format!(
                "the server changed at {}, and with it the route at {}; what stands before it {}",
                of(turns.changes, turns.answers - 1, "step"),
                of(flips, ids.len() - 1, "step"),
                if sessions.len() == 1 {
                    "stayed"
                } else {
                    "changed"
                },
            ),
        )
    }
}

#[cfg(test)]
mod tests;
