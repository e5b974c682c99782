//! The rows "rolling restart of all app nodes" and "restart the proxy".

use super::crowd::Crowd;
use super::{About, Finding, Play, Playing, Scenario, Verdict, of};
use crate::check::{Fates, fates, moved};
use crate::history::History;
use crate::mode::Mode;

/// Browsers with a session each.
const BROWSERS: usize = 20;

/// The mark at which the restart begins.
const RESTART: &str = "restart";

fn doubt(fates: &Fates) -> Option<Finding> {
    if fates.total() == 0 {
        return Some(Finding::unknown("no browser had a session"));
    }
    let unknown = fates.unknown.len();
    (unknown > 0).then(|| {
        let missing = of(unknown, fates.total(), "browser");
        Finding::unknown(format!("{missing} got no answer after the restart"))
    })
}

fn observed(fates: &Fates) -> String {
    format!(
        "{} lost, {} kept",
        of(fates.lost.len(), fates.total(), "session"),
        fates.kept.len()
    )
}

/// One application server after the other is stopped gracefully and started again.
#[derive(Debug)]
pub struct RollingRestart {
    /// The mode.
    pub mode: Mode,
}

impl Scenario for RollingRestart {
    fn about(&self) -> About {
        About {
            name: format!("rolling-restart-{}", self.mode),
            claim: "rolling restart",
            mode: self.mode,
            statement: "the sessions are lost",
            expected: "every session lost",
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let mut crowd = Crowd::of_strangers(play, BROWSERS);
            crowd.shop().await;
            play.recorder().mark(RESTART);
            for server in play.appservers()? {
                play.restart(&server).await?;
            }
            crowd.come_back().await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let fates = fates(history, RESTART);
        if let Some(doubt) = doubt(&fates) {
            return doubt;
        }
        let verdict = match (fates.lost.len(), fates.kept.len()) {
            (_, 0) => Verdict::Confirmed,
            (0, _) => Verdict::Refuted,
            _ => Verdict::Qualified,
        };
        let why = match verdict {
            Verdict::Confirmed => "each server was stopped once, and with its memory its sessions were gone: a graceful stop finishes requests, it saves no sessions".to_owned(),
            _ => format!("{} survived the restart of their servers", of(fates.kept.len(), fates.total(), "session")),
        };
        Finding::new(verdict, observed(&fates), why)
    }
}

/// The proxy is stopped gracefully and started again.
#[derive(Debug)]
pub struct RestartProxy {
    /// The mode.
    pub mode: Mode,
}

impl Scenario for RestartProxy {
    fn about(&self) -> About {
        About {
            name: format!("restart-proxy-{}", self.mode),
            claim: "restart the proxy",
            mode: self.mode,
            statement: "the sessions are kept",
            expected: match self.mode {
                Mode::Msm | Mode::Cluster | Mode::Backup => "every session kept",
                _ => "nobody moves, every session kept",
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
            play.recorder().mark(RESTART);
            let proxy = play
                .stage()?
                .topology()
                .proxy()
                .map(|node| node.name.clone());
            play.restart(proxy.as_deref().unwrap_or("proxy")).await?;
            crowd.come_back().await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let fates = fates(history, RESTART);
        if let Some(doubt) = doubt(&fates) {
            return doubt;
        }
        let moved = moved(history, RESTART).len();
        let verdict = match (fates.lost.len(), fates.kept.len()) {
            (0, _) => Verdict::Confirmed,
            (_, 0) => Verdict::Refuted,
            _ => Verdict::Qualified,
        };
        let moved = of(moved, fates.total(), "browser");
        let binding = match self.mode {
            Mode::SessionSticky => Some("its cookie"),
            Mode::MsmSticky => Some("its session ID"),
            Mode::IpHash => Some("its address"),
            Mode::Msm | Mode::RoundRobin | Mode::Cluster | Mode::Backup => None,
        };
        let why = match (verdict, binding) {
            (Verdict::Confirmed, Some(binding)) => format!(
                "{moved} moved: what binds a browser is {binding}, and the proxy need not remember it"
            ),
            (Verdict::Confirmed, None) => {
                format!("{moved} moved, and it does not matter: every server serves every session")
            }
            (_, binding) => {
                format!(
                    "{moved} moved although {} is the same",
                    binding.unwrap_or("the session")
                )
            }
        };
        Finding::new(verdict, observed(&fates), why)
    }
}
