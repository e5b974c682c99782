//! C10: heartbeats by multicast, and how long a silent member is kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use program::Failure;

use super::Play;
use crate::heartbeat;
use crate::history::{Ask, History};
use crate::mode::Mode;
use crate::scenario::{About, Finding, Playing, Scenario, Verdict};
use crate::stage::relay;
use crate::tap::Link;
use crate::topology::Topology;
use crate::wait;

/// How long somebody listens.
const LISTEN: Duration = Duration::from_secs(5);

/// A silent member must be gone within this.
const DROP_AT_MOST: Duration = Duration::from_secs(15);

/// Milliseconds between two heartbeats of a member, as configured, and how much may be missing or too much.
const EVERY_MS: (f64, f64) = (500.0, 100.0);

/// Milliseconds of silence until a member is dropped, from and to: the last heartbeat may be as old as one interval, and the
/// silence is looked at from time to time.
const DROP_MS: (f64, f64) = (2400.0, 4600.0);

/// Listens to the group, then lets a member fall silent.
#[derive(Debug)]
pub struct Heartbeats;

impl Scenario for Heartbeats {
    fn about(&self) -> About {
        About {
            name: "heartbeats".to_owned(),
            claim: "C10",
            mode: Mode::Cluster,
            statement: "heartbeats go by UDP multicast every 500 ms; a silent member is dropped after 3000 ms",
            expected: "two datagrams a second from each member; the silent one gone three seconds later",
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: true,
        }
    }

    fn arrange(&self, topology: &mut Topology) {
        topology.tapped = true;
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            play.browser("browser", from).ask(Ask::Session).await;
            let stage = play.stage()?;
            let groups: Vec<SocketAddr> = stage
                .topology()
                .appservers()
                .map(|node| stage.topology().group_of(node))
                .collect();
            let heard = hear(groups)
                .await
                .map_err(|e| Failure::environment("cannot hear the group of heartbeats", e))?;
            let recorder = play.recorder();
            recorder.figure("members heard", heard.len() as f64);
            for times in heard.values() {
                if let (Some(first), Some(last), 2..) = (times.first(), times.last(), times.len()) {
                    let between = last.duration_since(*first).as_secs_f64() * 1000.0;
                    recorder.figure("ms between heartbeats", between / (times.len() - 1) as f64);
                }
            }
            let servers = play.appservers()?;
            let (Some(survivor), Some(victim)) = (servers.first(), servers.get(1)) else {
                return Ok(());
            };
            // Killed, its connections would tell: silence is a network that is cut.
            let stage = play.stage()?;
            stage.set_link(survivor, victim, Link::Silent)?;
            stage.set_link(victim, survivor, Link::Silent)?;
            let killed = Instant::now();
            let gone = wait::until(
                Duration::from_millis(50),
                DROP_AT_MOST,
                async || match stage.members(survivor).await {
                    Ok(0) => wait::Now::Yes,
                    Ok(_) => wait::Now::NotYet("it is still a member".to_owned()),
                    Err(why) => wait::Now::NotYet(why),
                },
            );
            if gone.await.is_ok() {
                play.recorder()
                    .figure("ms until dropped", killed.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (Some(members), Some(every)) = (
            history.figure("members heard"),
            history.figure("ms between heartbeats"),
        ) else {
            return Finding::unknown("no heartbeat was heard");
        };
        let Some(dropped) = history.figure("ms until dropped") else {
            return Finding::new(
                Verdict::Refuted,
                format!("every {every:.0} ms; not dropped"),
                "the silent member was never dropped",
            );
        };
        let (wanted, about) = EVERY_MS;
        let in_time = (every - wanted).abs() <= about;
        let gone = (DROP_MS.0..=DROP_MS.1).contains(&dropped);
        let verdict = match (in_time && members == 2.0, gone) {
            (true, true) => Verdict::Confirmed,
            (false, false) => Verdict::Refuted,
            _ => Verdict::Qualified,
        };
        Finding::new(
            verdict,
            format!("every {every:.0} ms; dropped after {dropped:.0} ms"),
            format!(
                "{members:.0} members were heard in the group; the one that nobody could hear or reach any more was a member for {dropped:.0} ms"
            ),
        )
    }
}

/// When each member was heard.
async fn hear(groups: Vec<SocketAddr>) -> std::io::Result<BTreeMap<[u8; 16], Vec<Instant>>> {
    let mut listening = tokio::task::JoinSet::new();
    for group in groups {
        listening.spawn(listen(group));
    }
    let mut all = BTreeMap::new();
    for heard in listening.join_all().await {
        // Each member is heard in its own group and, passed on, in the others': as often, so either will do.
        all.extend(heard?);
    }
    Ok(all)
}

/// When each member was heard in a group.
async fn listen(group: SocketAddr) -> std::io::Result<BTreeMap<[u8; 16], Vec<Instant>>> {
    let socket = relay::listen(group)?;
    let mut heard: BTreeMap<[u8; 16], Vec<Instant>> = BTreeMap::new();
    let until = tokio::time::Instant::now() + LISTEN;
    let mut datagram = [0; 2048];
    while let Ok(read) = tokio::time::timeout_at(until, socket.recv(&mut datagram)).await {
        if let Some(heartbeat) = heartbeat::read(&datagram[..read?]) {
            heard.entry(heartbeat.id).or_default().push(Instant::now());
        }
    }
    Ok(heard)
}
