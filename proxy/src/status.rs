//! What an operator can see: [`Status`] as JSON, nginx's `stub_status`, Tengine's `check_status` (in [`checks`]), and metrics (in
//! [`metrics`]). It is put together from counters when somebody asks.

pub mod checks;
pub mod metrics;

use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use crate::balance::Method;
use crate::binding::Binding;
use crate::site::Site;
use crate::upstream::{Check, CheckKind, Peer, RunState, Totals, Upstream};

/// Everything about the running proxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Name of this node.
    pub node_id: String,
    /// The lab's mode.
    pub mode: String,
    /// About the process.
    #[serde(flatten)]
    pub process: Process,
    /// About the clients.
    pub client: ClientTotals,
    /// About the upstreams.
    pub upstreams: Vec<UpstreamStatus>,
}

/// About the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Seconds since it began.
    pub uptime_seconds: u64,
    /// Worker threads.
    pub workers: usize,
    /// Configurations that were put into force, the first included (Tengine's generation).
    pub generation: u64,
    /// Reloads that were refused because the configuration was wrong.
    pub refused_reloads: u64,
}

/// The counters of all workers added up, under nginx's names where `stub_status` has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ClientTotals {
    /// Connections accepted.
    pub accepts: u64,
    /// Connections served; fewer than accepted only where a limit was hit.
    pub handled: u64,
    /// Open connections, idle ones included.
    pub active: u64,
    /// Connections whose request head is being read.
    pub reading: u64,
    /// Connections whose request is being answered.
    pub writing: u64,
    /// Idle connections.
    pub waiting: u64,
    /// Requests answered or being answered.
    pub requests: u64,
    /// Sum of the times of all requests, in milliseconds.
    pub request_millis: u64,
    /// Bytes of response bodies sent to clients.
    pub sent: u64,
    /// Responses by class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub statuses: [u64; 5],
}

/// About one upstream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// How peers are chosen.
    pub balance: &'static str,
    /// Its peers, backups last.
    pub peers: Vec<PeerStatus>,
}

/// About one peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerStatus {
    /// As in the configuration.
    pub name: String,
    /// What the lab calls it.
    pub node: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Its share now.
    pub weight: u32,
    /// Only when no primary is usable.
    pub backup: bool,
    /// What the operator wants of it.
    pub state: RunState,
    /// Whether it would get a new session now.
    pub usable: bool,
    /// Failures that count at the moment.
    pub fails: u32,
    /// What the active checks say.
    pub check: Check,
    /// Kind of the checks: `http`, `tcp`; empty: none.
    pub check_type: &'static str,
    /// Port of the checks; 0: its own.
    pub check_port: u16,
    /// Passes in a row.
    pub rise: u32,
    /// Failures in a row.
    pub fall: u32,
    /// Sessions that are remembered for it, with `balance = "learn"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<usize>,
    /// What was counted.
    #[serde(flatten)]
    pub totals: Totals,
}

impl Status {
    /// The status of a site that is being served.
    pub fn new(site: &Site, process: Process, client: ClientTotals, now: Instant) -> Self {
        Self {
            node_id: site.node_id.clone().into(),
            mode: site.mode.clone().into(),
            process,
            client,
            upstreams: site
                .upstreams
                .iter()
                .map(|upstream| UpstreamStatus::new(upstream, now))
                .collect(),
        }
    }

    /// Whether requests can be served: every upstream has a usable peer.
    pub fn is_ready(&self) -> bool {
        let live = |upstream: &UpstreamStatus| upstream.peers.iter().any(|peer| peer.usable);
        self.upstreams.iter().all(live)
    }
}

impl UpstreamStatus {
    fn new(upstream: &Upstream, now: Instant) -> Self {
        let sessions = match &upstream.method {
            Method::Bound(Binding::Learn(learn)) => Some(learn.sessions()),
            _ => None,
        };
        let (check_type, check_port) = match &upstream.check {
            None => ("", 0),
            Some(check) => match check.kind {
                CheckKind::Tcp => ("tcp", check.port),
                CheckKind::Http { .. } => ("http", check.port),
            },
        };
        let peers = upstream.peers.iter().enumerate().map(|(place, peer)| {
            let (rise, fall) = peer.health.check_counts();
            PeerStatus {
                usable: upstream.usable(place, now).is_ok(),
                check_type,
                check_port,
                rise,
                fall,
                sessions: sessions.as_ref().and_then(|s| s.get(place).copied()),
                ..PeerStatus::new(peer)
            }
        });
        Self {
            name: upstream.name.clone().into(),
            balance: upstream.method.name(),
            peers: peers.collect(),
        }
    }
}

impl PeerStatus {
    fn new(peer: &Peer) -> Self {
        Self {
            name: peer.name.clone().into(),
            node: peer.node.clone().into(),
            address: peer.address,
            weight: peer.health.weight(),
            backup: peer.backup,
            state: peer.health.run_state(),
            usable: false,
            fails: peer.health.fails(),
            check: peer.health.check(),
            check_type: "",
            check_port: 0,
            rise: 0,
            fall: 0,
            sessions: None,
            totals: peer.counters.totals(),
        }
    }
}

impl ClientTotals {
    /// nginx's `stub_status`, blanks at line ends included.
    pub fn stub_status(&self) -> String {
        let Self {
            accepts,
            handled,
            active,
            reading,
            writing,
            waiting,
            requests,
            ..
        } = self;
        format!(
            "Active connections: {active} \nserver accepts handled requests\n {accepts} {handled} {requests} \nReading: {reading} Writing: {writing} Waiting: {waiting} \n"
        )
    }
}
