//! The rows "two concurrent writes, one session" and "logout while a slow request runs".

use std::time::Duration;

use program::Failure;

use super::{About, Finding, Play, Playing, Scenario, Verdict, of};
use crate::app::Apps;
use crate::check::random_part;
use crate::client::Browser;
use crate::history::{Ask, History, Outcome, Request, Value};
use crate::mode::Mode;
use crate::scenario::msm::choose_behaviour;
use crate::topology::Topology;

/// Browsers with a session each. Odd, so that where servers take turns the slow requests and the others do not fall on them alike:
/// in whatever order they come, the two of one browser at least are on different servers.
const BROWSERS: usize = 7;

/// How long the slow request has the session.
const SLOW_MS: u64 = 400;

/// When the other request comes: the slow one has loaded the session, and is far from its end.
const MEANWHILE: Duration = Duration::from_millis(150);

/// The mark after which everybody looks.
const AFTER: &str = "after";

/// Who may write a session at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// As the mode does when nobody says anything.
    Default,
    /// `lockingMode = all`.
    Lock,
    /// `lockingMode = merge`.
    Merge,
    /// As memcached-session-manager does without locks.
    Stock,
}

impl Care {
    fn arrange(self, topology: &mut Topology) {
        choose_behaviour(topology, self == Self::Stock);
        let locking = match self {
            Self::Default => return,
            Self::Lock => "\"all\"",
            Self::Merge => "\"merge\"",
            Self::Stock => "\"none\"",
        };
        topology.msm.insert("lockingMode", locking.to_owned());
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Lock => "-all",
            Self::Merge => "-merge",
            Self::Stock => "-stock",
        }
    }
}

fn set(name: &str) -> Ask {
    Ask::Set {
        name: name.to_owned(),
        value: "new".to_owned(),
    }
}

fn slow(name: &str) -> Ask {
    Ask::Slow {
        ms: SLOW_MS,
        name: name.to_owned(),
        value: "new".to_owned(),
    }
}

fn get(name: &str) -> Ask {
    Ask::Get {
        name: name.to_owned(),
    }
}

/// The tabs of one browser: where the session begins, where a slow request runs, and where the other comes meanwhile.
struct Tabs {
    /// Through the proxy, to look at everything afterwards.
    all: Browser,
    first: Browser,
    slow: Browser,
    second: Browser,
}

impl Tabs {
    /// Where servers send their sessions to one another, the slow request is on another server than the two before and after it, on
    /// each of them in turn; elsewhere the proxy says where requests go.
    fn open(play: &mut Play, mode: Mode, number: usize) -> Result<Self, Failure> {
        let (name, other) = (format!("browser-{number}"), format!("tab-{number}"));
        let from = play.address();
        let all = play.browser(&name, from);
        let mut sites = [all.site().clone(), all.site().clone()];
        if mode.replicates() {
            let servers = play.appservers()?;
            for (at, site) in sites.iter_mut().enumerate() {
                let server = servers.iter().cycle().nth(number + at);
                *site = play.site_of(server.map_or("", String::as_str))?;
            }
        }
        let [home, away] = sites;
        Ok(Self {
            first: all.tab_at(&name, &home),
            slow: all.tab_at(&name, &away),
            second: all.tab_at(other, &home),
            all,
        })
    }
}

/// Each browser asks slowly in one tab, and in the other what `second` says while the first is under way.
async fn overlap(play: &mut Play, mode: Mode, second: &Ask) -> Result<Vec<Browser>, Failure> {
    let mut browsers = Vec::new();
    for number in 0..BROWSERS {
        let mut tabs = Tabs::open(play, mode, number)?;
        tabs.first.ask(Ask::Session).await;
        browsers.push(tabs);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for mut tabs in browsers {
        let second = second.clone();
        tasks.spawn(async move {
            let slow = tabs.slow.ask(slow("slow"));
            let quick = async {
                tokio::time::sleep(MEANWHILE).await;
                tabs.second.ask(second).await
            };
            tokio::join!(slow, quick);
            tabs.all
        });
    }
    let mut browsers: Vec<Browser> = tasks.join_all().await;
    browsers.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(browsers)
}

/// Different attributes of one session are written at the same time.
#[derive(Debug)]
pub struct TwoWrites {
    /// The mode.
    pub mode: Mode,
    /// Who may write when.
    pub care: Care,
}

impl Scenario for TwoWrites {
    fn about(&self) -> About {
        let loses = self.care == Care::Stock && self.mode == Mode::Msm;
        About {
            name: format!("two-writes-{}{}", self.mode, self.care.suffix()),
            claim: "two concurrent writes, one session",
            mode: self.mode,
            statement: "of two attributes that are written at the same time both survive",
            expected: match self.care {
                Care::Default => "both attributes are there",
                Care::Lock => {
                    "both attributes are there: with `lockingMode = all` one waits for the other"
                }
                Care::Merge => {
                    "both attributes are there: `lockingMode = merge` puts them together"
                }
                Care::Stock => {
                    "without locks the slower write stores the whole session as it was, and the faster one is gone"
                }
            },
            verdict: if loses {
                Verdict::Refuted
            } else {
                Verdict::Confirmed
            },
            needs_stage: true,
            breaks_nodes: false,
        }
    }

    fn about_with(&self, apps: Apps) -> About {
        // A browser's other tab has the old ID still.
        self.about().lost_by_tomcat(
            apps.has_tomcat(),
            "the ID was changed by the slow request, so a Tomcat begins a new session for the other one (A1), and what it writes is gone (A2)",
        )
    }

    fn arrange(&self, topology: &mut Topology) {
        self.care.arrange(topology);
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let mut browsers = overlap(play, self.mode, &set("quick")).await?;
            play.settle().await;
            play.recorder().mark(AFTER);
            for browser in &mut browsers {
                browser.ask(get("quick")).await;
                browser.ask(get("slow")).await;
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (before, after) = history.split(AFTER);
        let written = before
            .requests()
            .filter(|r| r.answer().is_some() && r.what != Ask::Session)
            .count();
        let read: Vec<&Request> = after.requests().filter(|r| r.answer().is_some()).collect();
        if written != 2 * BROWSERS || read.len() != 2 * BROWSERS {
            return Finding::unknown("not every write and look was answered");
        }
        let there = |r: &&&Request| {
            r.answer()
                .is_some_and(|a| a.value == Value::Text("new".to_owned()))
        };
        let kept = read.iter().filter(there).count();
        let verdict = match kept {
            kept if kept == read.len() => Verdict::Confirmed,
            _ => Verdict::Refuted,
        };
        let why = match verdict {
            Verdict::Confirmed => "both attributes of every session were there, though the slow request had read the session before the quick one wrote".to_owned(),
            _ => {
                let alone = before.requests().filter(|r| is_alone(r)).count();
                format!(
                    "{} acknowledged writes are gone (A2); {} began a session of its own, for the ID that it was sent with was not known any more (A1)",
                    read.len() - kept,
                    of(alone, written, "write"),
                )
            }
        };
        Finding::new(
            verdict,
            format!("{} kept", of(kept, read.len(), "write")),
            why,
        )
    }
}

/// Whether an answer has another session than was asked for.
fn is_alone(request: &Request) -> bool {
    let [sent, got] = [request.sent_session.as_deref(), request.session_id()];
    sent.is_some() && got.map(random_part) != sent.map(random_part)
}

/// A session is ended while a slow request has it.
#[derive(Debug)]
pub struct LogoutMeanwhile {
    /// The mode.
    pub mode: Mode,
    /// Who may write when.
    pub care: Care,
}

impl Scenario for LogoutMeanwhile {
    fn about(&self) -> About {
        let returns = self.care == Care::Stock && self.mode == Mode::Msm;
        About {
            name: format!("logout-meanwhile-{}{}", self.mode, self.care.suffix()),
            claim: "logout while a slow request runs",
            mode: self.mode,
            statement: "a session that was ended does not come back",
            expected: match self.care {
                Care::Default => "the old ID is never accepted again",
                Care::Lock => "with `lockingMode = all` the old ID is never accepted again",
                Care::Merge => "with `lockingMode = merge` the old ID is never accepted again",
                Care::Stock => {
                    "without locks the slow request stores the session again, and its old ID is accepted"
                }
            },
            verdict: if returns {
                Verdict::Refuted
            } else {
                Verdict::Confirmed
            },
            needs_stage: true,
            // The slow request finds its session ended, and says so.
            breaks_nodes: true,
        }
    }

    fn about_with(&self, apps: Apps) -> About {
        // A browser's other tab has the old ID still.
        self.about().lost_by_tomcat(
            apps.has_tomcat(),
            "the ID was changed by the slow request, so a Tomcat has no session to end, and the session stays (A3)",
        )
    }

    fn arrange(&self, topology: &mut Topology) {
        self.care.arrange(topology);
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let mut browsers = overlap(play, self.mode, &Ask::Logout).await?;
            play.settle().await;
            // What was refused a moment ago may be remembered as absent for half a second.
            tokio::time::sleep(Duration::from_millis(600)).await;
            let ids: Vec<Option<String>> = {
                let history = play.recorder().history();
                let first = |name: &str| {
                    history
                        .of(name)
                        .find_map(Request::session_id)
                        .map(str::to_owned)
                };
                browsers
                    .iter()
                    .map(|browser| first(browser.name()))
                    .collect()
            };
            play.recorder().mark(AFTER);
            for (browser, id) in browsers.iter_mut().zip(ids) {
                // On both servers, with the ID that was ended.
                for _ in 0..2 {
                    if let Some(id) = &id {
                        browser.keep_session(id);
                    }
                    browser.ask(get("slow")).await;
                }
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (before, after) = history.split(AFTER);
        let ended = before
            .requests()
            .filter(|r| r.what == Ask::Logout && r.answer().is_some())
            .count();
        let looks: Vec<&Request> = after.requests().filter(|r| r.answer().is_some()).collect();
        if ended == 0 || looks.len() != 2 * ended {
            return Finding::unknown("not every logout and look was answered");
        }
        let accepted = |r: &&&Request| {
            let now = r.session_id().map(random_part);
            now.is_some() && now == r.sent_session.as_deref().map(random_part)
        };
        let zombies = looks.iter().filter(accepted).count();
        let refused = before
            .requests()
            .filter(|r| matches!(r.what, Ask::Slow { .. }) && !matches!(r.outcome, Outcome::Ok(_)))
            .count();
        let observed = format!(
            "{} with the old ID accepted",
            of(zombies, looks.len(), "look")
        );
        if zombies == 0 {
            return Finding::new(
                Verdict::Confirmed,
                observed,
                format!(
                    "{ended} sessions were ended, and none came back; {} told that the session had ended",
                    of(refused, ended, "slow request")
                ),
            );
        }
        Finding::new(
            Verdict::Refuted,
            observed,
            format!(
                "{} went on with the session that had been ended, and left it behind (A3)",
                of(ended - refused.min(ended), ended, "slow request")
            ),
        )
    }
}

/// Both rows in every mode whose sessions are in more than one place.
pub fn rows() -> Vec<Box<dyn Scenario>> {
    let cares = [
        (Mode::Msm, Care::Lock),
        (Mode::Msm, Care::Merge),
        (Mode::Msm, Care::Stock),
        (Mode::MsmSticky, Care::Default),
        (Mode::Cluster, Care::Default),
        (Mode::Backup, Care::Default),
    ];
    let writes = |(mode, care)| Box::new(TwoWrites { mode, care }) as Box<dyn Scenario>;
    let logouts = |(mode, care)| Box::new(LogoutMeanwhile { mode, care }) as Box<dyn Scenario>;
    let writes = cares.into_iter().map(writes);
    writes.chain(cares.into_iter().map(logouts)).collect()
}

#[cfg(test)]
mod tests;
