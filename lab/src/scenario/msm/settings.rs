//! C22: which requests lock, which never save, and what the response waits for.

use std::time::Duration;

use super::Play;
use crate::check::random_part;
use crate::history::{Ask, Entry, History, Request};
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict};
use crate::tap::Link;
use crate::tap::commands::Command;
use crate::topology::Topology;

/// How much later each piece comes through the link to the node of the copy.
const SLOW: Duration = Duration::from_millis(60);

/// The mark before what is judged.
const NOW: &str = "now";

/// Which setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `lockingMode = uriPattern:/api/append|/api/set`, as the article writes `/path1|/path2`.
    LockingMode,
    /// `requestUriIgnorePattern`.
    IgnoredUris,
    /// `sessionBackupAsync = false`.
    SyncBackup,
}

/// One setting, as it behaves.
#[derive(Debug)]
pub struct Behaves {
    /// Which.
    pub setting: Setting,
    /// Whether servers do as memcached-session-manager does, command for command.
    pub stock: bool,
}

impl Scenario for Behaves {
    fn about(&self) -> About {
        let (name, statement) = match self.setting {
            Setting::LockingMode => (
                "locking-mode",
                "a request whose path the pattern of lockingMode names has the session to itself",
            ),
            Setting::IgnoredUris => (
                "ignored-uris",
                "a request that requestUriIgnorePattern names reads the session and never saves it",
            ),
            Setting::SyncBackup => (
                "sync-backup",
                "without sessionBackupAsync the response waits until the session is stored",
            ),
        };
        let (expected, verdict) = match (self.setting, self.stock) {
            (Setting::LockingMode, false) => (
                "a lock before the session is read, and freed after it",
                Verdict::Confirmed,
            ),
            (Setting::LockingMode, true) => (
                "no lock: the pattern is compared with `POST /jsp/api/append?…`",
                Verdict::Refuted,
            ),
            (Setting::IgnoredUris, false) => (
                "the session is read, nothing is written, the ID stays",
                Verdict::Confirmed,
            ),
            (Setting::IgnoredUris, true) => (
                "a new session whose cookie replaces the good one, and no help with a query",
                Verdict::Refuted,
            ),
            (Setting::SyncBackup, _) => {
                ("both copies stored before the response", Verdict::Confirmed)
            }
        };
        About {
            name: format!("{name}{}", if self.stock { "-stock" } else { "" }),
            claim: "C22",
            mode: Mode::Msm,
            statement,
            expected,
            verdict,
            needs_stage: true,
            breaks_nodes: false,
        }
    }

    fn arrange(&self, topology: &mut Topology) {
        topology.tapped = true;
        super::choose_behaviour(topology, self.stock);
        let (attribute, value) = match self.setting {
            Setting::LockingMode => ("lockingMode", "'uriPattern:/api/append|/api/set'"),
            Setting::IgnoredUris => ("requestUriIgnorePattern", "'.*/api/(get|session)'"),
            Setting::SyncBackup => ("sessionBackupAsync", "false"),
        };
        topology.msm.insert(attribute, value.to_owned());
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("browser", from);
            let append = |value: &str| Ask::Append {
                name: "cart".to_owned(),
                value: value.to_owned(),
            };
            let first = browser.ask(append("book")).await;
            play.settle().await;
            if self.setting == Setting::SyncBackup {
                let id = first.session_id().unwrap_or_default().to_owned();
                let servers = play.appservers()?;
                for node in play
                    .stores()?
                    .into_iter()
                    .filter(|node| !id.contains(&format!("-{node}")))
                {
                    play.set_links(&servers, &node, Link::Slow(SLOW))?;
                }
            }
            play.recorder().mark(NOW);
            match self.setting {
                Setting::LockingMode | Setting::SyncBackup => {
                    browser.ask(append("lamp")).await;
                }
                Setting::IgnoredUris => {
                    browser
                        .ask(Ask::Get {
                            name: "cart".to_owned(),
                        })
                        .await;
                    browser.ask(Ask::Session).await;
                }
            }
            play.settle().await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (before, now) = history.split(NOW);
        let id = before.requests().filter_map(Request::session_id).last();
        let (Some(id), Some(_)) = (id, now.requests().find_map(Request::answer)) else {
            return Finding::unknown("no session, or no answer afterwards");
        };
        match self.setting {
            Setting::LockingMode => locked(&now, random_part(id)),
            Setting::IgnoredUris => ignored(&now, random_part(id)),
            Setting::SyncBackup => waited(&now, random_part(id)),
        }
    }
}

fn locked(now: &History, digits: &str) -> Finding {
    let mine: Vec<&Command> = now
        .wire()
        .map(|(.., c)| c)
        .filter(|c| c.key.contains(digits) && !c.key.starts_with("bak:"))
        .collect();
    let lock = |command: &&&Command| {
        command.key.starts_with("lock:") && command.verb != "get" && command.succeeded()
    };
    let locks = mine.iter().filter(lock).count();
    // Whatever the lock is taken with, it comes before the session is read on the node of the ID. The copy is read at the
    // same time on the other.
    let first = mine
        .first()
        .is_some_and(|command| command.key.starts_with("lock:"));
    let (verdict, why) = match (locks, first) {
        (0, _) => (Verdict::Refuted, "no lock was asked for: the pattern must match all of method, URI and query, and names a path".to_owned()),
        (_, true) => (Verdict::Confirmed, format!("the first of {} commands took the lock", mine.len())),
        (_, false) => (Verdict::Qualified, "the session was read before it was locked".to_owned()),
    };
    Finding::new(verdict, format!("{locks} commands on the lock"), why)
}

fn ignored(now: &History, digits: &str) -> Finding {
    let writes = |command: &&Command| {
        ["set", "add", "replace", "cas"].contains(&command.verb.as_str())
            && !command.key.starts_with("lock:")
            && command.succeeded()
    };
    let written = now.wire().map(|(.., c)| c).filter(writes).count();
    let ids: Vec<&str> = now.requests().filter_map(Request::session_id).collect();
    let strangers = ids.iter().filter(|id| random_part(id) != digits).count();
    let observed = format!("{written} writes, {strangers} new sessions");
    match (written, strangers) {
        (0, 0) if ids.len() == now.requests().count() => Finding::new(
            Verdict::Confirmed,
            observed,
            "both requests had the session, with and without a query, and wrote nothing",
        ),
        (_, 0) => Finding::new(
            Verdict::Refuted,
            observed,
            "the pattern must match the query too, and does not: the request was saved as any other",
        ),
        _ => Finding::new(
            Verdict::Refuted,
            observed,
            "the request without a query was told that there is no session, made one that is never stored, and its cookie replaced the good one; the one with a query was not ignored",
        ),
    }
}

fn waited(now: &History, digits: &str) -> Finding {
    let Some(end) = now.requests().next().map(|r| r.at_us + r.latency_us) else {
        return Finding::unknown("no request");
    };
    let stored = |bak: bool| {
        now.entries.iter().find_map(|entry| match entry {
            Entry::Wire { at_us, command, .. }
                if command.key.contains(digits)
                    && !command.key.contains("validity")
                    && command.key.starts_with("bak:") == bak
                    && command.result == "STORED" =>
            {
                Some(*at_us)
            }
            _ => None,
        })
    };
    let (Some(own), Some(copy)) = (stored(false), stored(true)) else {
        return Finding::new(
            Verdict::Refuted,
            "not both were stored",
            "the change is not on both nodes",
        );
    };
    let late = copy.saturating_sub(end) / 1000;
    let (verdict, why) = match (own <= end, copy <= end) {
        (true, true) => (
            Verdict::Confirmed,
            "both were stored when the response came, though the node of the copy was slow"
                .to_owned(),
        ),
        (true, false) => (
            Verdict::Qualified,
            format!("the node of the ID had it, the copy came {late} ms after the response"),
        ),
        (false, _) => (
            Verdict::Refuted,
            "the response came before the session was stored".to_owned(),
        ),
    };
    let word = |yes| if yes { "before" } else { "after" };
    Finding::new(
        verdict,
        format!(
            "session {} the response, copy {} it",
            word(own <= end),
            word(copy <= end)
        ),
        why,
    )
}
