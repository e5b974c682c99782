//! The row "partition app | app longer than drop time": both sides go on, and then they hear each other again.

use std::time::Duration;

use super::Play;
use crate::app::Apps;
use crate::client::Browser;
use crate::history::{Ask, History, Request, Value};
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict, of};
use crate::tap::Link;
use crate::topology::{Kind, Topology};
use crate::wait;

/// Browsers with a session each.
const BROWSERS: usize = 6;

/// Longer than a silent member is kept.
const APART: Duration = Duration::from_secs(5);

/// After healing the members must have found each other within this, and then ours must have compared within the same time again.
const TOGETHER_AT_MOST: Duration = Duration::from_secs(20);

/// A real Tomcat gets less: it compares nothing, and ours are done in a moment.
const TOGETHER_WITH_TOMCAT: Duration = Duration::from_secs(4);

/// How often somebody looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The mark at which the link is whole again and had time.
const HEALED: &str = "healed";

/// A cut between the members.
#[derive(Debug)]
pub struct Partition {
    /// The mode.
    pub mode: Mode,
}

fn set(name: &str) -> Ask {
    Ask::Set {
        name: name.to_owned(),
        value: "new".to_owned(),
    }
}

fn get(name: &str) -> Ask {
    Ask::Get {
        name: name.to_owned(),
    }
}

fn has(request: &Request) -> bool {
    request
        .answer()
        .is_some_and(|answer| answer.value == Value::Text("new".to_owned()))
}

impl Scenario for Partition {
    fn about(&self) -> About {
        About {
            name: format!("partition-{}", self.mode),
            claim: "partition app | app longer than drop time",
            mode: self.mode,
            statement: "after the cut both servers have what was changed on either side",
            expected: "different attributes of one session, set on each side of the cut, are on both servers in the end",
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn about_with(&self, apps: Apps) -> About {
        self.about().lost_by_tomcat(
            apps.has_tomcat(),
            "each side keeps what was changed on it and never hears of the other's: a Tomcat compares nothing after a cut (A6)",
        )
    }

    fn arrange(&self, topology: &mut Topology) {
        topology.tapped = true;
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let servers = play.appservers()?;
            let [a, b] = servers.as_slice() else {
                return Ok(());
            };
            let mut pairs: Vec<(Browser, Browser)> = Vec::new();
            for number in 0..BROWSERS {
                let from = play.address();
                let mut here = play.browser_at(format!("here-{number}"), from, a)?;
                let mut there = play.browser_at(format!("there-{number}"), from, b)?;
                let made = here.ask(Ask::Session).await;
                there.keep_session(made.session_id().unwrap_or_default());
                // The other server has it, and its ID is followed.
                there.ask(Ask::Session).await;
                pairs.push((here, there));
            }
            set_both(play, a, b, Link::Silent)?;
            tokio::time::sleep(APART).await;
            for (here, there) in &mut pairs {
                // As the other server told it: a Tomcat does not know an ID any more that has its own route and was changed.
                here.keep_session(&there.session().unwrap_or_default());
                here.ask(set("here")).await;
                there.ask(set("there")).await;
            }
            set_both(play, a, b, Link::Whole)?;
            let mut at_most = TOGETHER_AT_MOST;
            for server in [a, b] {
                let stage = play.stage()?;
                let found = wait::until(LOOK_EVERY, TOGETHER_AT_MOST, async || {
                    match stage.members(server).await {
                        Ok(1..) => wait::Now::Yes,
                        Ok(0) => wait::Now::NotYet("it knows nobody".to_owned()),
                        Err(why) => wait::Now::NotYet(why),
                    }
                });
                // Those that do not find each other have not compared either: that is judged.
                let _ = found.await;
                if play.kind_of(server)? == Kind::Tomcat {
                    at_most = TOGETHER_WITH_TOMCAT;
                }
            }
            let mut waited = Duration::ZERO;
            while waited < at_most && !all_have(&mut pairs).await {
                tokio::time::sleep(LOOK_EVERY).await;
                waited += LOOK_EVERY;
            }
            play.recorder().mark(HEALED);
            for (here, there) in &mut pairs {
                for name in ["here", "there"] {
                    here.ask(get(name)).await;
                    there.ask(get(name)).await;
                }
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (before, after) = history.split(HEALED);
        let written = before
            .requests()
            .filter(|r| matches!(r.what, Ask::Set { .. }) && r.answer().is_some())
            .count();
        let looks: Vec<&Request> = after.requests().filter(|r| r.answer().is_some()).collect();
        if written == 0 || looks.len() != 4 * BROWSERS {
            return Finding::unknown("not every look was answered after the cut");
        }
        let whole = looks.iter().filter(|r| has(r)).count();
        let verdict = if whole == looks.len() {
            Verdict::Confirmed
        } else {
            Verdict::Refuted
        };
        let why = match verdict {
            Verdict::Confirmed => format!(
                "{written} changes were acknowledged on one side while the other could not hear of them, and both have them now"
            ),
            _ => format!(
                "{} looks found a change missing that had been acknowledged on the other side: nobody compares after a cut (A6)",
                looks.len() - whole
            ),
        };
        Finding::new(
            verdict,
            format!("{} found the change", of(whole, looks.len(), "look")),
            why,
        )
    }
}

fn set_both(play: &mut Play, a: &str, b: &str, link: Link) -> Result<(), program::Failure> {
    let stage = play.stage()?;
    stage.set_link(a, b, link)?;
    stage.set_link(b, a, link)
}

/// Whether each server has the other's changes.
async fn all_have(pairs: &mut [(Browser, Browser)]) -> bool {
    for (here, there) in pairs {
        if !has(&here.ask(get("there")).await) || !has(&there.ask(get("here")).await) {
            return false;
        }
    }
    true
}
