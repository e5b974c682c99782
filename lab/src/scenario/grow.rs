//! The row "add one app node": a third server joins, the proxy reloads; who has to move?

use std::cell::RefCell;
use std::time::Duration;

use program::Failure;

use super::crowd::Crowd;
use super::{About, Finding, Play, Playing, Scenario, Verdict, of};
use crate::check::{fates, moved};
use crate::history::{Ask, Change, History};
use crate::mode::Mode;
use crate::wait;

/// Browsers with a session each. Two of three move on average; that half or less do, chance gives once in 20,000 runs.
const BROWSERS: usize = 120;

/// The mark at which the third server joins.
const GROWN: &str = "grown";

/// A reload must have taken effect within this.
const RELOAD_AT_MOST: Duration = Duration::from_secs(10);

/// A third application server joins.
#[derive(Debug)]
pub struct AddNode {
    /// The mode.
    pub mode: Mode,
}

/// Waits until new browsers reach the new server, so that what comes later meets the new configuration.
async fn wait_for_visitors(play: &mut Play, server: &str) -> Result<(), Failure> {
    let play = RefCell::new(play);
    let reached = wait::until(Duration::from_millis(10), RELOAD_AT_MOST, async || {
        let scout = {
            let mut play = play.borrow_mut();
            let from = play.address();
            play.scout(from)
        };
        let Ok(mut scout) = scout else {
            return wait::Now::Never("no scout".to_owned());
        };
        let name = "nothing".to_owned();
        match scout.ask(Ask::Get { name }).await.node() {
            Some(node) if node == server => wait::Now::Yes,
            _ => wait::Now::NotYet(format!("no new browser reaches {server}")),
        }
    });
    reached
        .await
        .map_err(|why| Failure::Environment(format!("the proxy's reload has no effect: {why}")))
}

impl Scenario for AddNode {
    fn about(&self) -> About {
        About {
            name: format!("add-node-{}", self.mode),
            claim: "add app node",
            mode: self.mode,
            statement: match self.mode {
                Mode::IpHash => "most clients move (modulo)",
                Mode::SessionSticky | Mode::RoundRobin | Mode::MsmSticky => "nobody moves",
                Mode::Msm | Mode::Cluster | Mode::Backup => "no session is lost",
            },
            expected: match self.mode {
                Mode::IpHash => "about two of three browsers move and lose their sessions",
                Mode::Msm | Mode::Cluster | Mode::Backup => {
                    "every session kept, the new server serves them too"
                }
                Mode::SessionSticky | Mode::RoundRobin | Mode::MsmSticky => {
                    "every session kept; only new browsers reach the new server"
                }
            },
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let mut crowd = Crowd::of_strangers(play, BROWSERS);
            crowd.shop().await;
            play.recorder().mark(GROWN);
            let kind = play.kind_of("TomcatB")?;
            let server = play.stage()?.add_appserver(kind).await?;
            play.recorder().node(&server, Change::Up);
            wait_for_visitors(play, &server).await?;
            crowd.come_back().await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let fates = fates(history, GROWN);
        if fates.total() == 0 || !fates.unknown.is_empty() {
            return Finding::unknown("not every browser got a session and an answer afterwards");
        }
        let (moved, total) = (moved(history, GROWN).len(), fates.total());
        let observed = format!(
            "{} moved, {} lost",
            of(moved, total, "browser"),
            of(fates.lost.len(), total, "session")
        );
        let kept = of(fates.kept.len(), total, "session");
        let (holds, why) = match self.mode {
            Mode::IpHash => (
                2 * moved > total,
                format!(
                    "the server is the hash modulo the number of servers, now 3 instead of 2: {} moved, and {kept} stayed",
                    of(moved, total, "browser")
                ),
            ),
            Mode::Msm => (
                fates.lost.is_empty(),
                format!("the new server has the same store nodes: {kept} stayed"),
            ),
            Mode::Cluster | Mode::Backup => (
                fates.lost.is_empty(),
                format!(
                    "the new server was told of every session before it answered anybody: {kept} stayed"
                ),
            ),
            Mode::MsmSticky => (
                moved == 0 && fates.lost.is_empty(),
                format!(
                    "each ID names a server, and all the old ones are still there: {kept} stayed"
                ),
            ),
            Mode::SessionSticky | Mode::RoundRobin => (
                moved == 0 && fates.lost.is_empty(),
                format!(
                    "each cookie names a server, and all the old ones are still there: {kept} stayed"
                ),
            ),
        };
        let verdict = if holds {
            Verdict::Confirmed
        } else {
            Verdict::Refuted
        };
        Finding::new(verdict, observed, why)
    }
}
