//! Experiments: each plays browsers on a stage of its own, and judges what the history says about one claim.
//!
//! A scenario is two functions. `play` does things and decides nothing; `judge` sees only the history, so that a judgement
//! can be tested with a written one and repeated from the file of a run.

pub mod alias;
pub mod chaos;
pub mod cluster;
pub mod concurrent;
pub mod crowd;
pub mod grow;
pub mod ip_hash;
pub mod kill;
pub mod msm;
pub mod no_fault;
pub mod restart;
pub mod round_robin;
pub mod session_sticky;
pub mod set_cookie;
pub mod survives;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::time::Duration;

use program::Failure;
use serde::{Deserialize, Serialize};

use crate::app::Apps;
use crate::check::anomaly::{Counts, Watch};
use crate::client::{Browser, Site};
use crate::history::{Ask, Change, History, Recorder, Request};
use crate::mode::Mode;
use crate::stage::Stage;
use crate::tap::Link;
use crate::topology::{Kind, Topology};

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is as claimed.
    Confirmed,
    /// It is not; `why` says what was seen instead.
    Refuted,
    /// It is true only under a condition; `why` says which.
    Qualified,
    /// Not enough was seen to say.
    Unknown,
}

impl Verdict {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Qualified => "qualified",
            Self::Unknown => "unknown",
        }
    }
}

/// What a scenario is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// Its name on the command line, such as `alternates` or `kill-node-ip_hash`.
    #[serde(rename = "scenario")]
    pub name: String,
    /// The claim of the article (`C1`), or the fault of the expectation table (`kill app node`).
    pub claim: &'static str,
    /// The mode that it plays in.
    pub mode: Mode,
    /// The claim in a sentence.
    pub statement: &'static str,
    /// What the real systems do, and so what we expect to see.
    pub expected: &'static str,
    /// The verdict that follows when they do.
    #[serde(rename = "expected_verdict")]
    pub verdict: Verdict,
    /// Whether it starts, kills or configures nodes, or visits pages beside the context, and so needs a stage of the lab.
    pub needs_stage: bool,
    /// Whether requests may remain without an answer, because nodes die while it plays.
    pub breaks_nodes: bool,
}

impl About {
    /// The same where `loses`: a real Tomcat takes part in it, and its rules cannot keep what is claimed.
    pub fn lost_by_tomcat(self, loses: bool, expected: &'static str) -> Self {
        if !loses {
            return self;
        }
        Self {
            expected,
            verdict: Verdict::Refuted,
            ..self
        }
    }
}

/// What was seen and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was seen, in few words.
    pub observed: String,
    /// What became of the claim.
    pub verdict: Verdict,
    /// One sentence why, with the figures.
    pub why: String,
}

impl Finding {
    /// A finding from its parts.
    pub fn new(verdict: Verdict, observed: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            verdict,
            why: why.into(),
        }
    }

    /// Not enough was seen.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::new(Verdict::Unknown, "not enough", why)
    }
}

/// The end of a play: an error is the stage's, never a finding.
pub type Playing<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// One experiment.
pub trait Scenario {
    /// What it is about, with our servers.
    fn about(&self) -> About;

    /// What it is about with these: where real members take part, what they lose and ours keep is what is expected.
    fn about_with(&self, _apps: Apps) -> About {
        self.about()
    }

    /// Whether it is played with these application servers unless somebody names it.
    fn is_for(&self, apps: Apps) -> bool {
        let mode = self.about().mode;
        apps.can_be_in(mode).is_ok() && (mode.is_built() || !apps.has_ours())
    }

    /// Changes the topology of its stage before anything starts: a behaviour to compare with, taps, other settings.
    fn arrange(&self, _topology: &mut Topology) {}

    /// Does things. Must not fail because of what browsers see: that is recorded and judged.
    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a>;

    /// What a client could observe, beside the verdict. Scenarios whose requests of one browser overlap count for themselves.
    fn anomalies(&self, history: &History) -> Counts {
        let mut watch = Watch::new(self.about().mode.binds());
        history.entries.iter().for_each(|entry| watch.see(entry));
        watch.finish()
    }

    /// Judges a history. It may assume that requests were answered unless [`About::breaks_nodes`].
    fn judge(&self, history: &History) -> Finding;
}

/// Every scenario, in the order of the tables: the article's claims, then the expectation table.
pub fn all() -> Vec<Box<dyn Scenario>> {
    let mut all: Vec<Box<dyn Scenario>> = vec![
        Box::new(round_robin::Alternates),
        Box::new(alias::Alias),
        Box::new(ip_hash::KeepsSession),
        Box::new(ip_hash::TwoBrowsers),
        Box::new(ip_hash::Imbalance),
        Box::new(session_sticky::ForeignId),
        Box::new(session_sticky::Finer),
        Box::new(kill::KillNode { mode: Mode::IpHash }),
        Box::new(kill::KillNode {
            mode: Mode::SessionSticky,
        }),
        Box::new(set_cookie::SetCookie),
    ];
    all.extend(cluster::claims());
    all.extend(msm::claims());
    for mode in Mode::ALL {
        all.push(Box::new(no_fault::NoFault { mode }));
    }
    all.push(Box::new(kill::KillNodeRoundRobin));
    for mode in Mode::IN_ONE_SERVER {
        all.push(Box::new(restart::RollingRestart { mode }));
    }
    for mode in [Mode::IpHash, Mode::SessionSticky] {
        all.push(Box::new(grow::AddNode { mode }));
        all.push(Box::new(restart::RestartProxy { mode }));
    }
    all.extend(msm::rows());
    all.extend(cluster::rows());
    all.extend(concurrent::rows());
    all.extend(chaos::rows());
    all
}

/// What a scenario plays with.
#[derive(Debug)]
pub struct Play {
    site: Site,
    recorder: Recorder,
    random: fastrand::Rng,
    stage: Option<Stage>,
}

impl Play {
    /// A play on a site; with a stage where it is the lab's own. The same seed gives the same play.
    pub fn new(site: Site, recorder: Recorder, seed: u64, stage: Option<Stage>) -> Self {
        Self {
            site,
            recorder,
            random: fastrand::Rng::with_seed(seed),
            stage,
        }
    }

    /// A browser without cookies at this address.
    pub fn browser(&self, name: impl Into<String>, from: IpAddr) -> Browser {
        Browser::new(name, Some(from), &self.site, &self.recorder)
    }

    /// A browser that goes to this server without asking the proxy.
    pub fn browser_at(
        &mut self,
        name: impl Into<String>,
        from: IpAddr,
        server: &str,
    ) -> Result<Browser, Failure> {
        let site = self.site_of(server)?;
        Ok(Browser::new(name, Some(from), &site, &self.recorder))
    }

    /// Where this server answers without the proxy.
    pub fn site_of(&mut self, server: &str) -> Result<Site, Failure> {
        let node = self.stage()?.topology().node(server);
        let node = node
            .ok_or_else(|| Failure::Failed(format!("there is no server {server} on this stage")))?;
        Ok(Site::of_stage(node.place.listen))
    }

    /// One browser asks for its session again and again.
    pub async fn reload(&mut self, browser: &str) {
        /// Enough to see a pattern.
        const TIMES: usize = 12;
        let from = self.address();
        let mut browser = self.browser(browser, from);
        for _ in 0..TIMES {
            browser.ask(Ask::Session).await;
        }
    }

    /// A browser whose requests are not part of the history; for waiting until something has happened.
    pub fn scout(&self, from: IpAddr) -> Result<Browser, Failure> {
        let nobody =
            Recorder::new(None).map_err(|e| Failure::environment("cannot begin a history", e))?;
        Ok(Browser::new("scout", Some(from), &self.site, &nobody))
    }

    /// An address in a network of its own, 127.x.y.0/24, from the seed: no two browsers share their first three octets
    /// (but for a chance of one in 64,000 per pair).
    pub fn address(&mut self) -> IpAddr {
        let [a, b] = [self.random.u8(1..=254), self.random.u8(0..=255)];
        address(a, b, self.random.u8(1..=254))
    }

    /// The source of chance.
    pub fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    /// Where the history goes.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The stage; scenarios that say that they need one get one.
    pub fn stage(&mut self) -> Result<&mut Stage, Failure> {
        self.stage
            .as_mut()
            .ok_or_else(|| Failure::Failed("this scenario needs a stage of the lab".to_owned()))
    }

    /// The names of the application servers on the stage, A first.
    pub fn appservers(&mut self) -> Result<Vec<String>, Failure> {
        let stage = self.stage()?;
        Ok(stage
            .topology()
            .appservers()
            .map(|node| node.name.clone())
            .collect())
    }

    /// What a node of the stage is.
    pub fn kind_of(&mut self, node: &str) -> Result<Kind, Failure> {
        let kind = self.stage()?.topology().node(node).map(|node| node.kind);
        kind.ok_or_else(|| Failure::Failed(format!("there is no node {node} on this stage")))
    }

    /// SIGKILL to a node, recorded.
    pub async fn kill(&mut self, node: &str) -> Result<(), Failure> {
        self.stage()?.kill(node).await?;
        self.record(node, Change::Down)
    }

    /// SIGTERM to a node, then started again, recorded.
    pub async fn restart(&mut self, node: &str) -> Result<(), Failure> {
        self.stage()?.terminate(node).await?;
        self.record(node, Change::Down)?;
        self.stage()?.start_again(node).await?;
        self.record(node, Change::Up)
    }

    /// Starts a node that has ended, recorded.
    pub async fn start_again(&mut self, node: &str) -> Result<(), Failure> {
        self.stage()?.start_again(node).await?;
        self.record(node, Change::Up)
    }

    /// Application servers only: they are the nodes that answer, share the load, and may be somebody's home.
    fn record(&mut self, node: &str, change: Change) -> Result<(), Failure> {
        if self.appservers()?.iter().any(|name| name == node) {
            self.recorder.node(node, change);
        }
        Ok(())
    }

    /// Waits until nothing has been recorded for a while: what a server does after its response is over then.
    pub async fn settle(&self) {
        const QUIET: Duration = Duration::from_millis(150);
        // A stage that is never quiet is judged as it is.
        const TURNS_MAX: usize = 20;
        for _ in 0..TURNS_MAX {
            let before = self.recorder.len();
            tokio::time::sleep(QUIET).await;
            if self.recorder.len() == before {
                return;
            }
        }
    }

    /// Cuts or heals the link from each of these servers to a store node.
    pub fn set_links(&mut self, servers: &[String], node: &str, link: Link) -> Result<(), Failure> {
        let stage = self.stage()?;
        servers
            .iter()
            .try_for_each(|server| stage.set_link(server, node, link))
    }

    /// The names of the store nodes, n1 first.
    pub fn stores(&mut self) -> Result<Vec<String>, Failure> {
        let topology = self.stage()?.topology();
        Ok(topology.stores().map(|node| node.name.clone()).collect())
    }

    /// The play is over; the stage, where there is one, is to be stopped.
    pub fn into_stage(self) -> Option<Stage> {
        self.stage
    }
}

/// The loopback address 127.a.b.c.
pub fn address(a: u8, b: u8, c: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, a, b, c))
}

/// `12 of 24 sessions`.
pub(crate) fn of(part: usize, whole: usize, what: &str) -> String {
    let s = if whole == 1 { "" } else { "s" };
    format!("{part} of {whole} {what}{s}")
}

/// `1 server`, `2 servers`.
pub(crate) fn many(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// `TomcatA 12, TomcatB 12`.
pub(crate) fn shares(load: &std::collections::BTreeMap<&str, usize>) -> String {
    let parts: Vec<String> = load
        .iter()
        .map(|(node, count)| format!("{node} {count}"))
        .collect();
    parts.join(", ")
}

/// Why the proxy chose as it did: each reason once, `ip_hash` or `new, cookie`.
pub(crate) fn routes<'a>(requests: impl Iterator<Item = &'a Request>) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for route in requests.filter_map(|request| request.answer()?.route.as_ref()) {
        let reason = format!("`{route}`");
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if reasons.is_empty() {
        return "not told".to_owned();
    }
    reasons.join(", ")
}

/// The nodes' letters in the order in which they answered: `A B A B`. A node without a letter keeps its name.
pub(crate) fn sequence(nodes: impl Iterator<Item = impl AsRef<str>>) -> String {
    let short = |name: &str| name.strip_prefix("Tomcat").unwrap_or(name).to_owned();
    let letters: Vec<String> = nodes.map(|node| short(node.as_ref())).collect();
    letters.join(" ")
}

#[cfg(test)]
mod tests;
