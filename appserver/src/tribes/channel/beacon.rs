//! Heartbeats over TCP, for members that do not use multicast: each `frequency` a probe frame, which carries the sender's package, to each
//! address of a list or a name.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connect::connect;
use super::shared::Shared;
use crate::tribes::options::SendOptions;

/// How often names are looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// The longest look-up.
const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// At most so many addresses get heartbeats.
const TARGETS_MAX: usize = 256;

/// All addresses of these names, without this node's own.
pub(super) async fn resolve(shared: &Shared, names: &[(String, u16)]) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for (host, port) in names {
        let looked_up = tokio::net::lookup_host((host.as_str(), *port));
        match timeout(RESOLVE_MAX, looked_up).await {
            Ok(Ok(addresses)) => all.extend(addresses),
            Ok(Err(error)) => tracing::debug!(host, %error, "a member's name does not resolve"),
            Err(_) => tracing::debug!(host, "a member's name does not resolve in time"),
        }
    }
    all.sort_unstable();
    all.dedup();
    all.retain(|address| *address != shared.local.address());
    all.truncate(TARGETS_MAX);
    all
}

/// Sends heartbeats to these names until the channel stops.
pub(super) fn start(shared: &Arc<Shared>, names: Vec<(String, u16)>, first: Vec<SocketAddr>) {
    let shared = Arc::clone(shared);
    let task = Arc::clone(&shared);
    shared.tasks.spawn(async move {
        let mut beacons: HashMap<SocketAddr, DropGuard> = HashMap::new();
        let mut targets = first;
        loop {
            beacons.retain(|address, _| targets.contains(address));
            for address in &targets {
                beacons.entry(*address).or_insert_with(|| {
                    let end = CancellationToken::new();
                    task.tasks
                        .spawn(beacon(Arc::clone(&task), *address, end.clone()));
                    end.drop_guard()
                });
            }
            task.targets.store(Arc::new(targets));
            tokio::select! {
                () = sleep(RESOLVE_EVERY) => {}
                () = task.stop.cancelled() => {
                    // The beacons say goodbye, and end by themselves.
                    for (_, guard) in beacons {
                        drop(guard.disarm());
                    }
                    return;
                }
            }
            targets = resolve(&task, &names).await;
        }
    });
}

/// Heartbeats to one address.
async fn beacon(shared: Arc<Shared>, address: SocketAddr, end: CancellationToken) {
    loop {
        let talking = talk(&shared, address);
        tokio::select! {
            ended = talking => {
                if let Err(error) = &ended {
                    tracing::debug!(%address, %error, "no heartbeats to an address");
                }
            }
            () = end.cancelled() => return,
        }
        if shared.stop.is_cancelled() {
            return;
        }
        tokio::select! {
            () = sleep(shared.limits.frequency) => {}
            () = end.cancelled() => return,
            () = shared.stop.cancelled() => return,
        }
    }
}

/// Until the connection breaks or the channel stops; then it says goodbye.
async fn talk(shared: &Arc<Shared>, address: SocketAddr) -> io::Result<()> {
    let mut stream = tokio::select! {
        stream = connect(Arc::clone(shared), address) => stream?,
        () = shared.stop.cancelled() => return Ok(()),
    };
    let mut ticks = interval(shared.limits.frequency);
    // After a pause of the whole process one heartbeat is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut nothing = [0; 16];
    loop {
        let leaving = tokio::select! {
            _ = ticks.tick() => false,
            () = shared.stop.cancelled() => true,
            read = stream.read(&mut nothing) => {
                let why = match read? {
                    0 => "the member closed it",
                    _ => "the member answered what was not asked",
                };
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
        };
        let frame = shared.probe(SendOptions::default(), leaving);
        timeout(shared.limits.timeout, stream.write_all(&frame)).await??;
        if leaving {
            return stream.shutdown().await;
        }
    }
}
