//! What an operator can see: the state of the node as JSON, the same as Prometheus metrics.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::manager::{ManagerStatus, NodeStatus, StoreStatus};

/// Figures of one serving thread, on cache lines of their own so that threads do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Requests answered.
    pub requests: AtomicU64,
    /// Of these with a status of 400 to 499.
    pub client_errors: AtomicU64,
    /// Of these with a status of 500 and above.
    pub server_errors: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections open now.
    pub open_connections: AtomicU64,
}

/// Everything that is counted outside the managers.
#[derive(Debug, Default, Clone)]
pub struct Counters(pub Vec<Arc<WorkerCounters>>);

impl Counters {
    /// Counters for so many threads.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Arc::default()).collect())
    }

    fn sum(&self, counter: impl Fn(&WorkerCounters) -> &AtomicU64) -> u64 {
        self.0
            .iter()
            .map(|w| counter(w).load(Ordering::Relaxed))
            .sum()
    }
}

/// The state of a node; the lab reads it from `/status`.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name.
    pub node: String,
    /// Its route.
    pub jvm_route: String,
    /// How sessions are kept.
    pub mode: &'static str,
    /// Whether it takes requests.
    pub ready: bool,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// Requests answered.
    pub requests: u64,
    /// Of these with a status of 400 to 499.
    pub client_errors: u64,
    /// Of these with a status of 500 and above.
    pub server_errors: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open_connections: u64,
    /// Lines of the access log that were dropped because nobody took them.
    pub access_log_dropped: u64,
    /// Resident memory of the process in bytes; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// The applications.
    pub contexts: Vec<ContextStatus>,
}

/// The state of one application's sessions.
#[derive(Debug, Clone, Serialize)]
pub struct ContextStatus {
    /// Its path.
    pub context: String,
    /// Its sessions.
    pub sessions: ManagerStatus,
}

impl Status {
    /// Takes over the sums of `counters`.
    pub fn count(&mut self, counters: &Counters) {
        self.requests = counters.sum(|w| &w.requests);
        self.client_errors = counters.sum(|w| &w.client_errors);
        self.server_errors = counters.sum(|w| &w.server_errors);
        self.connections = counters.sum(|w| &w.connections);
        self.open_connections = counters.sum(|w| &w.open_connections);
    }

    /// The OpenMetrics text.
    pub fn metrics(&self) -> String {
        let mut out = String::new();
        let mut plain = |name: &str, kind: &str, help: &str, value: u64| {
            family(&mut out, name, kind, help);
            sample(&mut out, name, kind, "", value);
        };
        plain(
            "lnmt_appserver_uptime_seconds",
            "gauge",
            "Seconds since the start",
            self.uptime_seconds,
        );
        plain(
            "lnmt_appserver_ready",
            "gauge",
            "1 while requests are taken",
            self.ready.into(),
        );
        plain(
            "lnmt_appserver_requests",
            "counter",
            "Requests answered",
            self.requests,
        );
        plain(
            "lnmt_appserver_client_errors",
            "counter",
            "Answers with status 4xx",
            self.client_errors,
        );
        plain(
            "lnmt_appserver_server_errors",
            "counter",
            "Answers with status 5xx",
            self.server_errors,
        );
        plain(
            "lnmt_appserver_connections",
            "counter",
            "Connections accepted",
            self.connections,
        );
        plain(
            "lnmt_appserver_open_connections",
            "gauge",
            "Connections open",
            self.open_connections,
        );
        plain(
            "lnmt_appserver_access_log_dropped_lines",
            "counter",
            "Access log lines that nobody took",
            self.access_log_dropped,
        );
        plain(
            "lnmt_appserver_resident_bytes",
            "gauge",
            "Resident memory",
            self.resident_bytes,
        );
        type Figure = fn(&ManagerStatus) -> u64;
        let sessions: [(&str, &str, &str, Figure); 6] = [
            ("active_sessions", "gauge", "Sessions that exist", |s| {
                s.active
            }),
            ("created_sessions", "counter", "Sessions made", |s| {
                s.created
            }),
            (
                "expired_sessions",
                "counter",
                "Sessions ended for being idle",
                |s| s.expired,
            ),
            (
                "invalidated_sessions",
                "counter",
                "Sessions ended by the application",
                |s| s.invalidated,
            ),
            (
                "rejected_sessions",
                "counter",
                "Sessions refused for session.max_active",
                |s| s.rejected,
            ),
            ("renamed_sessions", "counter", "Session ids changed", |s| {
                s.renamed
            }),
        ];
        for (name, kind, help, figure) in sessions {
            let name = format!("lnmt_appserver_{name}");
            family(&mut out, &name, kind, help);
            for context in &self.contexts {
                let label = format!("{{context=\"{}\"}}", context.context);
                sample(&mut out, &name, kind, &label, figure(&context.sessions));
            }
        }
        self.store_metrics(&mut out);
        type NodeFigure = fn(&NodeStatus) -> u64;
        let nodes: [(&str, &str, &str, NodeFigure); 4] = [
            (
                "store_down",
                "gauge",
                "1 while a store node does not answer",
                |n| n.down_since.is_some().into(),
            ),
            (
                "store_connections",
                "gauge",
                "Connections to a store node",
                |n| n.connections,
            ),
            (
                "store_commands",
                "counter",
                "Commands for a store node",
                |n| n.commands,
            ),
            (
                "store_failed_commands",
                "counter",
                "Commands without an answer of the store node",
                |n| n.failed,
            ),
        ];
        // All contexts of a server share the connections to its nodes.
        let seen = self.contexts.first().map(|c| &c.sessions.nodes[..]);
        for (name, kind, help, figure) in nodes {
            let (seen, name) = (seen.unwrap_or_default(), format!("lnmt_appserver_{name}"));
            if !seen.is_empty() {
                family(&mut out, &name, kind, help);
            }
            for node in seen {
                let label = format!("{{store=\"{}\"}}", node.node);
                sample(&mut out, &name, kind, &label, figure(node));
            }
        }
        out += "# EOF\n";
        out
    }

    /// Figures of managers that keep copies in several nodes alike.
    fn store_metrics(&self, out: &mut String) {
        type Figure = fn(&StoreStatus) -> u64;
        let figures: [(&str, &str, &str, Figure); 8] = [
            (
                "dirty_sessions",
                "gauge",
                "Sessions whose copies are known to differ",
                |s| s.dirty,
            ),
            (
                "repaired_copies",
                "counter",
                "Copies that were made again",
                |s| s.repaired,
            ),
            (
                "store_conflicts",
                "counter",
                "Stores that met what another request had stored",
                |s| s.conflicts,
            ),
            (
                "store_merges",
                "counter",
                "Stores that merged the changes of others",
                |s| s.merges,
            ),
            (
                "lock_waits",
                "counter",
                "Requests that waited for a session's lock",
                |s| s.lock_waits,
            ),
            (
                "lock_timeouts",
                "counter",
                "Of these that waited in vain",
                |s| s.lock_timeouts,
            ),
            (
                "too_large_sessions",
                "counter",
                "Stores of sessions larger than a node takes",
                |s| s.too_large,
            ),
            (
                "store_unavailable",
                "counter",
                "Requests refused because no store node answered",
                |s| s.unavailable,
            ),
        ];
        let contexts = || {
            let stores = self.contexts.iter();
            stores.filter_map(|c| Some((&c.context, c.sessions.store.as_ref()?)))
        };
        for (name, kind, help, figure) in figures {
            let name = format!("lnmt_appserver_{name}");
            if contexts().next().is_some() {
                family(out, &name, kind, help);
            }
            for (context, store) in contexts() {
                let label = format!("{{context=\"{context}\"}}");
                sample(out, &name, kind, &label, figure(store));
            }
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# TYPE {name} {kind}\n# HELP {name} {help}.");
}

fn sample(out: &mut String, name: &str, kind: &str, labels: &str, value: u64) {
    let total = if kind == "counter" { "_total" } else { "" };
    let _ = writeln!(out, "{name}{total}{labels} {value}");
}

/// Resident memory of this process, from the second number (pages) of Linux's `/proc/self/statm`.
pub fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|p| p.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}
