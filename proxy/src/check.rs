//! Active checks: each peer is asked beside the traffic, and taken out or brought back by what it answers (Tengine
//! `check`). One task per peer, in the process's own runtime; the workers see only the outcome, in the peer's health.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::site::Site;
use crate::upstream::health::Turn;
use crate::upstream::{ActiveCheck, CheckKind, Peer};

/// An answer's status line must fit into this; the rest is not read.
const STATUS_LINE_MAX: usize = 512;

/// The first check comes after a random part of the interval, so that peers are not checked in step, but within this.
const FIRST_CHECK_WITHIN: Duration = Duration::from_secs(1);

/// The running checks of a site; they end when this is dropped.
#[derive(Default)]
pub(crate) struct Checks(#[expect(dead_code, reason = "held for its drop")] JoinSet<()>);

impl Checks {
    /// Checks every peer of every upstream that has checks on.
    pub(crate) fn start(site: &Arc<Site>) -> Self {
        let mut tasks = JoinSet::new();
        for (group, upstream) in site.upstreams.iter().enumerate() {
            if upstream.check.is_some() {
                for peer in 0..upstream.peers.len() {
                    tasks.spawn(watch(Arc::clone(site), group, peer));
                }
            }
        }
        Self(tasks)
    }
}

async fn watch(site: Arc<Site>, group: usize, peer: usize) {
    let upstream = &site.upstreams[group];
    let peer = &upstream.peers[peer];
    let Some(check) = &upstream.check else {
        return;
    };
    let first = check
        .interval
        .min(FIRST_CHECK_WITHIN)
        .mul_f64(random_part());
    tokio::time::sleep(first).await;
    let mut turns = tokio::time::interval(check.interval.max(Duration::from_millis(1)));
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let outcome = tokio::time::timeout(check.timeout, ask(check, peer)).await;
        let outcome = outcome.unwrap_or_else(|_| Err("no answer in time".into()));
        let turn = match &outcome {
            Ok(()) => peer.health.check_passed(check.rise, Instant::now()),
            Err(why) => {
                tracing::debug!(upstream = %upstream.name, peer = %peer.name, why, "check failed");
                peer.health.check_failed(check.fall)
            }
        };
        log_turn(&upstream.name, peer, turn);
    }
}

/// From 0 to 1; 1 where there is no randomness.
fn random_part() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

async fn ask(check: &ActiveCheck, peer: &Peer) -> Result<(), String> {
    let port = if check.port == 0 {
        peer.address.port()
    } else {
        check.port
    };
    let address = SocketAddr::new(peer.address.ip(), port);
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|e| e.to_string())?;
    let CheckKind::Http { path } = &check.kind else {
        return Ok(());
    };
    let host = peer.host.to_str().unwrap_or("localhost");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lnmt-proxy-check\r\nConnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    let mut limited = stream.take(STATUS_LINE_MAX as u64);
    while !answer.contains(&b'\n') {
        if limited
            .read_buf(&mut answer)
            .await
            .map_err(|e| e.to_string())?
            == 0
        {
            break;
        }
    }
    is_alive(&answer)
}

/// Alive are 2xx and 3xx.
fn is_alive(answer: &[u8]) -> Result<(), String> {
    let line = answer
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1));
    match status.and_then(|status| status.parse::<u16>().ok()) {
        Some(200..400) => Ok(()),
        Some(status) => Err(format!("status {status}")),
        None => Err(format!("not HTTP: {line:?}")),
    }
}

/// Tells the operator that a peer went away or came back.
pub(crate) fn log_turn(upstream: &str, peer: &Peer, turn: Turn) {
    match turn {
        Turn::None => {}
        Turn::Up => tracing::info!(upstream, peer = %peer.name, node = %peer.node, "peer is up"),
        Turn::Down => {
            tracing::warn!(upstream, peer = %peer.name, node = %peer.node, "peer is down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_alive;

    #[test]
    fn alive_are_2xx_and_3xx() {
        for alive in [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 302 Found\r\nLocation: /\r\n",
            "HTTP/1.1 204\r\n",
        ] {
            assert_eq!(is_alive(alive.as_bytes()), Ok(()), "{alive}");
        }
        for dead in [
            "HTTP/1.1 404 Not Found\r\n",
            "HTTP/1.1 503 x\r\n",
            "",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 abc\r\n",
        ] {
            assert!(is_alive(dead.as_bytes()).is_err(), "{dead}");
        }
    }
}
