//! Every process is killed once while many browsers work with several requests at once: what was acknowledged must be there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use program::Failure;
use tokio::task::JoinSet;

use super::{About, Finding, Play, Playing, Scenario, Verdict};
use crate::app::Apps;
use crate::check::anomaly::Counts;
use crate::check::parallel::{self, TAB};
use crate::client::Browser;
use crate::history::{Ask, Change, Entry, History, Outcome};
use crate::mode::Mode;
use crate::topology::{Kind, Topology};
use crate::wait;

/// Browsers with a session each.
const BROWSERS: usize = 8;

/// Requests of one browser at once.
const TABS: usize = 3;

/// A browser ends its session after so many rounds and begins anew, so that none grows without end.
const ROUNDS_PER_SESSION: u64 = 12;

/// Between two rounds of a browser.
const BREATH: Duration = Duration::from_millis(20);

/// A browser must get through a round within this, whatever has died.
const ROUND_AT_MOST: Duration = Duration::from_secs(20);

/// How often a browser looks for an answer before it gives a list up as unknown.
const TRIES: usize = 5;

/// Each process in turn, under load.
#[derive(Debug)]
pub struct Chaos {
    /// The mode.
    pub mode: Mode,
    /// `lockingMode`; `None`: as it is when nobody says anything.
    pub locking: Option<&'static str>,
    /// Whether servers do as memcached-session-manager does, command for command.
    pub stock: bool,
}

impl Chaos {
    /// Whether the tabs of a browser append to one list; otherwise each has its own.
    fn one_list(&self) -> bool {
        // A merge is of attributes, and so is what members of a cluster tell each other: two changes of one attribute at the same time are one too many for it.
        self.locking != Some("merge") && !self.mode.replicates()
    }
}

/// What browsers and the killer tell each other.
#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// Rounds that each browser has finished.
    rounds: Vec<AtomicU64>,
}

impl Shared {
    /// Waits until every browser has finished so many more rounds.
    async fn everybody(&self, more: u64) -> Result<(), Failure> {
        let now = || -> Vec<u64> {
            self.rounds
                .iter()
                .map(|r| r.load(Ordering::Relaxed))
                .collect()
        };
        let before = now();
        let done = wait::until(Duration::from_millis(10), ROUND_AT_MOST * 2, async || {
            if now()
                .iter()
                .zip(&before)
                .all(|(now, before)| *now >= before + more)
            {
                wait::Now::Yes
            } else {
                wait::Now::NotYet("a browser gets no round done".to_owned())
            }
        });
        done.await.map_err(Failure::Failed)
    }
}

impl Scenario for Chaos {
    fn about(&self) -> About {
        About {
            name: match (self.stock, self.locking) {
                (true, _) => format!("chaos-{}-stock", self.mode),
                (_, Some(locking)) => format!("chaos-{}-{locking}", self.mode),
                (_, None) => format!("chaos-{}", self.mode),
            },
            claim: "each process killed in turn under parallel requests",
            mode: self.mode,
            statement: "nothing that was acknowledged is lost",
            expected: match (self.stock, self.locking) {
                (true, _) => {
                    "sessions lost that are asked for on a node that just died or came back empty"
                }
                (_, None) => "no lost session, no lost update, no zombie",
                (_, Some("merge")) => {
                    "no lost session, no lost update, no zombie, with `lockingMode = merge`"
                }
                (_, Some(_)) => {
                    "no lost session, no lost update, no zombie, with `lockingMode = all`"
                }
            },
            verdict: if self.stock {
                Verdict::Refuted
            } else {
                Verdict::Confirmed
            },
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn is_for(&self, apps: Apps) -> bool {
        apps.can_be_in(self.mode).is_ok() && (self.mode.is_built() || !apps.has_ours())
    }

    fn about_with(&self, apps: Apps) -> About {
        self.about().lost_by_tomcat(
            apps.has_tomcat(),
            "updates and sessions lost: what overlaps on two servers, one of them a Tomcat, is not merged (A1, A2)",
        )
    }

    fn arrange(&self, topology: &mut Topology) {
        super::msm::choose_behaviour(topology, self.stock);
        if let Some(locking) = self.locking {
            topology.msm.insert("lockingMode", format!("\"{locking}\""));
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let shared = Arc::new(Shared {
                stop: AtomicBool::new(false),
                rounds: (0..BROWSERS).map(|_| AtomicU64::new(0)).collect(),
            });
            let mut browsers = JoinSet::new();
            for number in 0..BROWSERS {
                let from = play.address();
                let browser = play.browser(format!("u{number}{TAB}0"), from);
                browsers.spawn(work(browser, number, self.one_list(), Arc::clone(&shared)));
            }
            let killed = kill_each(play, &shared).await;
            shared.stop.store(true, Ordering::Relaxed);
            browsers.join_all().await;
            killed
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let counts = parallel::anomalies(history);
        let (items, browsers) = parallel::acknowledged(history);
        if items == 0 {
            return Finding::unknown("nothing was acknowledged");
        }
        let deaths = history
            .entries
            .iter()
            .filter(|e| {
                matches!(
                    e,
                    Entry::Node {
                        change: Change::Down,
                        ..
                    }
                )
            })
            .count();
        let unknown = history
            .requests()
            .filter(|r| matches!(r.outcome, Outcome::Unknown(_)))
            .count();
        let observed = format!("A1 {}, A2 {}, A3 {}", counts.a1, counts.a2, counts.a3);
        let why = format!(
            "{browsers} browsers with {TABS} requests at once had {items} items acknowledged, while each of the processes was killed and came back ({deaths} of them servers); {unknown} requests ended without a certain answer"
        );
        let lost = counts.a1 + counts.a2 + counts.a3;
        Finding::new(
            if lost == 0 {
                Verdict::Confirmed
            } else {
                Verdict::Refuted
            },
            observed,
            why,
        )
    }

    fn anomalies(&self, history: &History) -> Counts {
        parallel::anomalies(history)
    }
}

/// SIGKILL to each node but the proxy in turn; it comes back, and the sessions have their copies again, before the next one dies.
async fn kill_each(play: &mut Play, shared: &Shared) -> Result<(), Failure> {
    let mut nodes = play.appservers()?;
    nodes.extend(play.stores()?);
    shared.everybody(2).await?;
    for node in nodes {
        play.kill(&node).await?;
        shared.everybody(2).await?;
        play.start_again(&node).await?;
        believed_in(play).await?;
        // Stock servers say nothing of what they believe, and believe it for a second.
        tokio::time::sleep(super::msm::NOTICED).await;
        shared.everybody(2).await?;
    }
    Ok(())
}

/// Waits until no server holds a store node for dead or knows a session whose copies differ: until then sessions have one copy, and
/// the next death may cost them, as is said of a second one before the copies were made again.
async fn believed_in(play: &mut Play) -> Result<(), Failure> {
    /// A server that could not connect tries again after up to 30 seconds.
    const AT_MOST: Duration = Duration::from_secs(40);
    let servers: Vec<SocketAddr> = {
        let topology = play.stage()?.topology();
        // A real Tomcat tells nobody what it believes.
        let ours = topology
            .appservers()
            .filter(|node| node.kind == Kind::Appserver);
        ours.map(|node| node.place.admin).collect()
    };
    let all = wait::until(Duration::from_millis(50), AT_MOST, async || {
        for admin in &servers {
            match wait::json(*admin, "/status").await {
                Ok(status) if status.to_string().contains("\"down_since\"") => {
                    return wait::Now::NotYet(format!(
                        "the server with the admin port {admin} holds a node for dead"
                    ));
                }
                Ok(status) if has_dirty(&status) => {
                    return wait::Now::NotYet(format!(
                        "the server with the admin port {admin} has sessions whose copies differ"
                    ));
                }
                Ok(_) => {}
                Err(why) => return wait::Now::NotYet(why),
            }
        }
        wait::Now::Yes
    });
    all.await.map_err(Failure::Failed)
}

/// Whether a status, of any context, counts sessions whose copies differ.
fn has_dirty(status: &serde_json::Value) -> bool {
    match status {
        serde_json::Value::Object(fields) => {
            fields.iter().any(|(name, value)| match name.as_str() {
                "dirty" => value.as_u64().is_some_and(|count| count > 0),
                _ => has_dirty(value),
            })
        }
        serde_json::Value::Array(all) => all.iter().any(has_dirty),
        _ => false,
    }
}

/// Rounds of overlapping appends, then a look at everything; from time to time the session is ended.
async fn work(mut browser: Browser, number: usize, one_list: bool, shared: Arc<Shared>) {
    let mut tabs: Vec<Browser> = (1..TABS)
        .map(|tab| browser.tab(format!("u{number}{TAB}{tab}")))
        .collect();
    let list = |tab: usize| {
        if one_list {
            "cart".to_owned()
        } else {
            format!("cart-{tab}")
        }
    };
    let mut round = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        if round % ROUNDS_PER_SESSION == 0 {
            browser.ask(Ask::Session).await;
        }
        let mut appending = JoinSet::new();
        for (tab, mut browser) in tabs.drain(..).enumerate() {
            let (name, value) = (list(tab + 1), format!("{number}-{round}-{}", tab + 1));
            appending.spawn(async move {
                browser.ask(Ask::Append { name, value }).await;
                browser
            });
        }
        browser
            .ask(Ask::Append {
                name: list(0),
                value: format!("{number}-{round}-0"),
            })
            .await;
        tabs = appending.join_all().await;
        tabs.sort_by(|a, b| a.name().cmp(b.name()));
        for tab in 0..if one_list { 1 } else { TABS } {
            for _ in 0..TRIES {
                if matches!(
                    browser.ask(Ask::Get { name: list(tab) }).await.outcome,
                    Outcome::Ok(_)
                ) {
                    break;
                }
            }
        }
        round += 1;
        if round % ROUNDS_PER_SESSION == 0 {
            end_session(&mut browser).await;
        }
        shared.rounds[number].fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(BREATH).await;
    }
}

/// Ends the session and shows its ID once more.
async fn end_session(browser: &mut Browser) {
    let id = browser.session();
    let ended = browser.ask(Ask::Logout).await;
    if let (Some(id), Outcome::Ok(_)) = (id, ended.outcome) {
        browser.keep_session(&id);
        browser
            .ask(Ask::Get {
                name: "cart".to_owned(),
            })
            .await;
    }
    browser.forget();
}

/// Chaos in every mode that promises to lose nothing, and beside it as the real one does it.
pub fn rows() -> Vec<Box<dyn Scenario>> {
    let wanted = [
        (Mode::Msm, Some("all"), false),
        (Mode::Msm, Some("merge"), false),
        (Mode::Msm, Some("all"), true),
        (Mode::MsmSticky, None, false),
        (Mode::Cluster, None, false),
        (Mode::Backup, None, false),
    ];
    let chaos = |(mode, locking, stock)| {
        Box::new(Chaos {
            mode,
            locking,
            stock,
        }) as Box<dyn Scenario>
    };
    wanted.into_iter().map(chaos).collect()
}

#[cfg(test)]
mod tests {
    use crate::scenario::Verdict::{Confirmed, Refuted, Unknown};
    use crate::scenario::tests::judged;

    #[test]
    fn one_acknowledged_item_that_is_gone_refutes() {
        let before = "u0/0 append:a@A 1 a\n@ A down\nkeep u0/1 1\nu0/1 append:b@?\n";
        let case = |after: &str| before.to_owned() + after;
        judged(
            "chaos-msm-all",
            &[
                (Confirmed, &case("u0/1 get@B 1 a")),
                (Confirmed, &case("u0/1 get@B 1 a,b")),
                (Refuted, &case("u0/1 get@B 1 b")),
                (Refuted, &case("u0/1 get@B 2")),
                (
                    Refuted,
                    &case("u0/1 logout@B -\nkeep u0/1 1\nu0/1 get@B 1 a"),
                ),
                (Unknown, "u0/0 append:a@?"),
            ],
        );
    }
}
