//! C12: receivers that announce 127.0.0.1, as `address="auto"` may make them do.

use super::Play;
use crate::check::{random_part, session_ids};
use crate::history::History;
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict, many};
use crate::topology::Topology;

/// So long a member waits at its start for the sessions of the others.
const WAIT_SECONDS: u8 = 1;

/// The mark at which the addresses are named.
const NAMED: &str = "named";

/// Each member is told that the other is where it is itself.
#[derive(Debug)]
pub struct Auto;

impl Scenario for Auto {
    fn about(&self) -> About {
        About {
            name: "receiver-auto".to_owned(),
            claim: "C12",
            mode: Mode::Cluster,
            statement: "when receivers announce 127.0.0.1 nothing replicates and the ID keeps changing; naming the address cures it",
            expected: "a new session with each change of the server, then one session",
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn arrange(&self, topology: &mut Topology) {
        topology.tapped = true;
        topology.cluster.astray = true;
        // A real member waits for its own answer at the start, a minute for each application.
        topology.cluster.wait_for_sessions(WAIT_SECONDS);
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            play.reload("before").await;
            play.stage()?.lead_astray(false)?;
            for server in play.appservers()? {
                play.restart(&server).await?;
            }
            play.recorder().mark(NAMED);
            play.reload("after").await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (before, after) = history.split(NAMED);
        let count = |part: &History| {
            let ids = session_ids(part.requests());
            ids.into_iter()
                .map(random_part)
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        };
        let answers = |part: &History| part.requests().filter(|r| r.session_id().is_some()).count();
        if answers(&before) < 3 || answers(&after) < 3 {
            return Finding::unknown("too few answers with a session");
        }
        let (lost, kept) = (count(&before), count(&after));
        let verdict = match (lost > answers(&before) / 2, kept) {
            (true, 1) => Verdict::Confirmed,
            (false, 1) => Verdict::Refuted,
            _ => Verdict::Qualified,
        };
        Finding::new(
            verdict,
            format!(
                "{} in {} answers, then {}",
                many(lost, "session"),
                answers(&before),
                many(kept, "session")
            ),
            "each member believed that the other was at its own address, reached itself there, and sent its sessions to itself; with the other's own address they were one cluster",
        )
    }
}
