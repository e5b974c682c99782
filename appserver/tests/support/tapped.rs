//! Two or three nodes behind recording relays, and what passed there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use appserver::testing::tap::Tap;

use super::support::store::{Kind, Store};
use super::support::until;

/// Nodes and the relays before them.
pub(crate) struct Tapped {
    kind: Kind,
    stores: Vec<Store>,
    taps: Vec<Tap>,
}

impl Tapped {
    /// Nodes of this program; `None`, with a message, where it is not installed.
    pub(crate) fn start(kind: Kind, count: usize) -> Option<Self> {
        let stores: Vec<Store> = (0..count)
            .map(|_| Store::start(kind))
            .collect::<Option<_>>()?;
        let tap = |store: &Store| Tap::start(store.address).expect("a free port");
        let taps = stores.iter().map(tap).collect();
        Some(Self { kind, stores, taps })
    }

    /// `memcachedNodes` for servers that are to be recorded.
    pub(crate) fn nodes(&self) -> String {
        let node = |(tap, number): (&Tap, usize)| format!("n{number}:{}", tap.address());
        let nodes: Vec<String> = self.taps.iter().zip(1..).map(node).collect();
        nodes.join(",")
    }

    /// Past the relay.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.stores[node].address
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.taps[node].cut();
        self.stores[node].kill();
        until("nobody is joined with a dead node", || {
            self.taps[node].open() == 0
        });
    }

    /// The node is there again, empty; waits until so many servers have come back to it.
    pub(crate) async fn restart(&mut self, node: usize, servers: usize) {
        self.stores[node] = Store::start(self.kind).expect("as before");
        self.taps[node].point_to(self.stores[node].address);
        let start = Instant::now();
        while self.taps[node].open() < servers {
            assert!(start.elapsed() < Duration::from_secs(60), "not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What each node was sent since the last call, without questions whether it is up.
    pub(crate) fn take(&self) -> Vec<Vec<String>> {
        let lines = |tap: &Tap| {
            assert_eq!(tap.left_out(), 0);
            let recorded = tap.take().into_iter();
            let asked = recorded.filter(|recorded| {
                let exchange = &recorded.exchange;
                exchange.verb != "mn" && !exchange.key.contains("ping-")
            });
            asked
                .map(|recorded| recorded.exchange.to_string())
                .collect()
        };
        self.taps.iter().map(lines).collect()
    }
}
