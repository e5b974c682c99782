//! Names of peers to addresses, at start, at reload and again while running.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;

/// The longest wait for one name.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses by `host:port`.
pub(crate) type Addresses = HashMap<String, Vec<SocketAddr>>;

/// Resolves every name of the configuration, all at the same time. A name that cannot be resolved has no address for now,
/// which is told.
pub(crate) async fn resolve(config: &Config) -> Addresses {
    let mut asked = tokio::task::JoinSet::new();
    for name in crate::site::names(config) {
        asked.spawn(async move {
            let found = tokio::time::timeout(PATIENCE, look_up(&name)).await;
            (
                name,
                found.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())),
            )
        });
    }
    let mut addresses = Addresses::new();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok((name, Ok(found))) => drop(addresses.insert(name, found)),
            Ok((name, Err(error))) => {
                tracing::warn!(name, %error, "cannot resolve a peer's name; it is tried again");
            }
            Err(error) => tracing::error!(%error, "resolving a name failed"),
        }
    }
    addresses
}

async fn look_up(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    let mut found: Vec<_> = tokio::net::lookup_host(name).await?.collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
