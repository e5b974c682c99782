//! C11: what can be read in the packets between the members.

use super::Play;
use crate::check::random_part;
use crate::history::{Ask, History, Request};
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict};
use crate::topology::Topology;

/// A value that stands in no program.
const SECRET: &str = "shoe-size-forty-three";

/// The bytes that the digits stand for; members of ours write them so to each other.
fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map_while(byte).collect()
}

/// With the members' shared secret or without.
#[derive(Debug)]
pub struct InThePacket {
    /// Whether the members share a secret.
    pub secret: bool,
}

impl Scenario for InThePacket {
    fn about(&self) -> About {
        About {
            name: if self.secret {
                "packet-secret"
            } else {
                "packet"
            }
            .to_owned(),
            claim: "C11",
            mode: Mode::Cluster,
            statement: "session data goes by TCP to the other member, and the session ID can be read in the packet",
            expected: if self.secret {
                "nothing can be read: the members share a secret"
            } else {
                "the ID and every value can be read"
            },
            verdict: if self.secret {
                Verdict::Refuted
            } else {
                Verdict::Confirmed
            },
            needs_stage: true,
            breaks_nodes: false,
        }
    }

    fn arrange(&self, topology: &mut Topology) {
        topology.tapped = true;
        if !self.secret {
            topology.cluster.key = None;
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("browser", from);
            let set = Ask::Set {
                name: "shoes".to_owned(),
                value: SECRET.to_owned(),
            };
            let made = browser.ask(set).await;
            // On the other server: what it has came through the tap.
            browser
                .ask(Ask::Get {
                    name: "shoes".to_owned(),
                })
                .await;
            let id = made.session_id().map(random_part).unwrap_or("-").to_owned();
            let overheard = play.stage()?.overheard().clone();
            let recorder = play.recorder();
            recorder.figure("bytes", overheard.len() as f64);
            let said = overheard.has(id.as_bytes()) || overheard.has(&bytes_of(&id));
            recorder.figure("id", f64::from(u8::from(said)));
            recorder.figure(
                "value",
                f64::from(u8::from(overheard.has(SECRET.as_bytes()))),
            );
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (Some(bytes), Some(id), Some(value)) = (
            history.figure("bytes"),
            history.figure("id"),
            history.figure("value"),
        ) else {
            return Finding::unknown("nothing was overheard");
        };
        let sessions: std::collections::BTreeSet<&str> = history
            .requests()
            .filter_map(Request::session_id)
            .map(random_part)
            .collect();
        if bytes == 0.0 || sessions.len() != 1 {
            return Finding::unknown("the other server was not told of the session");
        }
        let word = |seen: f64| {
            if seen > 0.0 {
                "readable"
            } else {
                "not readable"
            }
        };
        let observed = format!("ID {}, value {}", word(id), word(value));
        let why = format!("the members said {bytes:.0} bytes to each other by TCP");
        match (id > 0.0, value > 0.0) {
            (true, true) => Finding::new(
                Verdict::Confirmed,
                observed,
                why + ", with the ID and the attribute's value in plain text",
            ),
            (false, false) => Finding::new(
                Verdict::Refuted,
                observed,
                why + ", and the other server had the session; without the secret there is nothing to be read in them",
            ),
            _ => Finding::new(Verdict::Qualified, observed, why),
        }
    }
}
