//! C21: sticky sessions prefer the node that is no failover node, which takes over when that one dies.

use super::{NOTICED, Play};
use crate::check::fates;
use crate::history::{History, Request};
use crate::mode::Mode;
use crate::scenario::crowd::Crowd;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict, of};
use crate::topology::Topology;

/// Browsers with a session each.
const BROWSERS: usize = 12;

/// The mark at which n1 dies.
const DEAD: &str = "n1 dead";

/// n2 is the failover node.
#[derive(Debug)]
pub struct FailoverNode;

impl Scenario for FailoverNode {
    fn about(&self) -> About {
        About {
            name: "failover-node".to_owned(),
            claim: "C21",
            mode: Mode::MsmSticky,
            statement: "each server keeps its sessions and copies them to n1; n2, named in failoverNodes, takes over when n1 dies",
            expected: "every ID names n1, then n2; one server for each browser, every cart kept",
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn arrange(&self, topology: &mut Topology) {
        topology.msm.insert("failoverNodes", "\"n2\"".to_owned());
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let mut crowd = Crowd::of_strangers(play, BROWSERS);
            crowd.shop().await;
            play.recorder().mark(DEAD);
            play.kill("n1").await?;
            tokio::time::sleep(NOTICED).await;
            crowd.come_back().await;
            crowd.come_back().await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let fates = fates(history, DEAD);
        if fates.total() == 0 || !fates.unknown.is_empty() {
            return Finding::unknown("not every browser got a session and an answer afterwards");
        }
        let (before, after) = history.split(DEAD);
        let last = |history: &History, node: &str| {
            let marked = format!("-{node}");
            let browsers = history.browsers();
            let at = browsers.iter().filter(|who| {
                let id = history.of(who).filter_map(Request::session_id).last();
                id.is_some_and(|id| id.contains(&marked))
            });
            at.count()
        };
        let (first, then) = (last(&before, "n1"), last(&after, "n2"));
        let moved = crate::check::moved(history, DEAD).len();
        let total = fates.total();
        let holds = first == total && then == total && moved == 0 && fates.lost.is_empty();
        Finding::new(
            if holds {
                Verdict::Confirmed
            } else {
                Verdict::Refuted
            },
            format!(
                "{} on n1, then {} on n2",
                of(first, total, "session"),
                of(then, total, "session")
            ),
            format!(
                "{moved} browsers changed the server, {} kept: the servers have the sessions, and the copy is what moves",
                of(fates.kept.len(), total, "session")
            ),
        )
    }
}
