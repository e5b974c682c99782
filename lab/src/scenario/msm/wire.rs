//! C17 and C18: what the first request of a browser and the second, on the other server, send to the store nodes.

use super::Play;
use crate::check::random_part;
use crate::history::{Ask, History, Request};
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict};
use crate::tap::commands::Command;
use crate::tap::names::Names;
use crate::topology::Topology;

/// The mark after the first request and everything that it sent.
const SECOND: &str = "second request";

/// The page that the article looks at.
const PAGE: &str = "/jsp/";

/// Which of the two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It makes the session.
    First,
    /// It comes to the other server and changes nothing.
    Second,
}

/// The commands of one request.
#[derive(Debug)]
pub struct Commands {
    /// Which request.
    pub step: Step,
    /// Whether servers do as memcached-session-manager does, command for command.
    pub stock: bool,
}

/// One command without its session: the node's part in it, `get ping`, `set`, `set validity`, `set bak`.
fn kind(command: &Command) -> String {
    let key = command.key.as_str();
    let part = ["bak:validity", "bak", "validity", "lock", "ping"];
    let part = part.into_iter().find(|part| {
        key.strip_prefix(part)
            .is_some_and(|rest| rest.starts_with([':', '-']))
    });
    let verb = &command.verb;
    part.map_or(verb.clone(), |part| format!("{verb} {part}"))
}

/// The node that an ID names.
fn node_of(id: &str) -> Option<&str> {
    let (_, rest) = id.split_once('-')?;
    Some(rest.split_once('.').map_or(rest, |(node, _)| node))
}

impl Scenario for Commands {
    fn about(&self) -> About {
        let (name, claim) = match self.step {
            Step::First => ("first-request", "C17"),
            Step::Second => ("second-request", "C18"),
        };
        let (statement, expected) = match (self.step, self.stock) {
            (Step::First, true) => (
                "the first request sends ping, session and validity to the node of the ID, then ping and the bak: copies to the other",
                "get ping, set, set validity on one node; get ping, set bak:, set bak:validity on the other",
            ),
            (Step::First, false) => (
                "session and validity are on the node of the ID, bak: copies of both on the other, when the response leaves",
                "the same four records, in as few waits as can be",
            ),
            (Step::Second, true) => (
                "the second request reads session and validity, refreshes validity, and stores nothing else again",
                "get ping, get, get validity, set validity, add refused; get ping, add bak: refused, set bak:validity",
            ),
            (Step::Second, false) => (
                "an unchanged session is not stored again on the second server, and both copies are kept alive",
                "reads on the node of the ID; no record stored again; something for the life of both copies",
            ),
        };
        About {
            name: format!("{name}{}", if self.stock { "-stock" } else { "" }),
            claim,
            mode: Mode::Msm,
            statement,
            expected,
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: false,
        }
    }

    fn arrange(&self, topology: &mut Topology) {
        topology.tapped = true;
        super::choose_behaviour(topology, self.stock);
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("browser", from);
            let page = || Ask::Page {
                path: PAGE.to_owned(),
            };
            browser.ask(page()).await;
            play.settle().await;
            if self.step == Step::Second {
                // The opinion on a node's health is one second old then, so that it is formed again as in the article.
                tokio::time::sleep(super::NOTICED).await;
                play.settle().await;
            }
            play.recorder().mark(SECOND);
            browser.ask(page()).await;
            play.settle().await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (before, after) = history.split(SECOND);
        let part = match self.step {
            Step::First => &before,
            Step::Second => &after,
        };
        let request = part.requests().next();
        let Some((server, id)) = request.and_then(|r| Some((r.node()?, r.session_id()?))) else {
            return Finding::unknown("the request has no answer with a session");
        };
        let servers: Vec<&str> = history.requests().filter_map(Request::node).collect();
        if servers.first() == servers.last() {
            return Finding::unknown("both requests reached one server");
        }
        let (Some(primary), digits) = (node_of(id), random_part(id)) else {
            return Finding::new(Verdict::Refuted, id, "the ID names no store node");
        };
        // Those of the request's session, and pings; what the server does for its own sake is none of the request.
        let mine =
            |command: &Command| command.key.contains(digits) || kind(command).ends_with(" ping");
        let heard: Vec<(&str, &Command)> = part
            .wire()
            .filter(|(who, _, c)| *who == server && mine(c))
            .map(|(_, node, c)| (node, c))
            .collect();
        if heard.is_empty() {
            return Finding::new(
                Verdict::Refuted,
                "nothing",
                "no command of the request was heard on any link",
            );
        }
        let on = |there: bool| -> Vec<(String, &Command)> {
            heard
                .iter()
                .filter(|(node, _)| (*node == primary) == there)
                .map(|(_, c)| (kind(c), *c))
                .collect()
        };
        self.compare(primary, &on(true), &on(false), told(&heard))
    }
}

/// `n2 get ping-n2=miss, …; n1 …`, in the order of the answers.
fn told(heard: &[(&str, &Command)]) -> String {
    let mut names = Names::default();
    let mut text = String::new();
    let mut last = "";
    for (node, command) in heard {
        let separator = if last.is_empty() {
            ""
        } else if last == *node {
            ", "
        } else {
            "; "
        };
        let node_name = if last == *node {
            String::new()
        } else {
            format!("{node} ")
        };
        text += &format!(
            "{separator}{node_name}{}",
            names.shorten(&command.to_string())
        );
        last = node;
    }
    text
}

impl Commands {
    fn compare(
        &self,
        primary: &str,
        own: &[(String, &Command)],
        other: &[(String, &Command)],
        told: String,
    ) -> Finding {
        let kinds = |commands: &[(String, &Command)]| {
            commands
                .iter()
                .map(|(kind, _)| kind.clone())
                .collect::<Vec<_>>()
        };
        let (own_kinds, other_kinds) = (kinds(own), kinds(other));
        let stored = |commands: &[(String, &Command)], wanted: &str| {
            commands
                .iter()
                .any(|(kind, command)| kind.ends_with(wanted) && command.result == "STORED")
        };
        let again = |commands: &[(String, &Command)]| {
            let record = |kind: &str| {
                ["set", "set bak", "cas", "cas bak", "replace", "replace bak"].contains(&kind)
            };
            commands
                .iter()
                .any(|(kind, command)| record(kind) && command.succeeded())
        };
        let (exact, same) = match self.step {
            Step::First => (
                own_kinds == ["get ping", "set", "set validity"]
                    && other_kinds == ["get ping", "set bak", "set bak:validity"],
                own.iter().any(|(kind, command)| {
                    ["set", "add"].contains(&kind.as_str()) && command.succeeded()
                }) && stored(own, " validity")
                    && stored(other, " bak")
                    && stored(other, " bak:validity"),
            ),
            Step::Second => (
                own_kinds == ["get ping", "get", "get validity", "set validity", "add"]
                    && other_kinds == ["get ping", "add bak", "set bak:validity"],
                !again(own)
                    && !again(other)
                    && own_kinds
                        .iter()
                        .any(|kind| ["get", "gets"].contains(&kind.as_str()))
                    && !other.is_empty(),
            ),
        };
        let verdict = match (exact, same) {
            (true, _) => Verdict::Confirmed,
            (false, true) if self.stock => Verdict::Qualified,
            (false, true) => Verdict::Confirmed,
            (false, false) => Verdict::Refuted,
        };
        let why = match (self.step, verdict) {
            (_, Verdict::Qualified) => {
                "the records are as claimed, the sequence is another".to_owned()
            }
            (Step::First, Verdict::Confirmed) => {
                format!(
                    "{} commands on {primary}, {} on the other; what is read of ping- is never there: a miss is the healthy answer",
                    own.len(),
                    other.len()
                )
            }
            (Step::Second, Verdict::Confirmed) => {
                format!(
                    "{} commands on {primary}, {} on the other; none of them stored the session's record again",
                    own.len(),
                    other.len()
                )
            }
            (Step::First, _) => "a record or a copy is missing".to_owned(),
            (Step::Second, _) => {
                "the unchanged session was stored again, or a copy was forgotten".to_owned()
            }
        };
        Finding::new(verdict, told, why)
    }
}
