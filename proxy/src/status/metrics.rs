//! Metrics as OpenMetrics text. Counters live in the workers' own cells and are added up when somebody scrapes, so that
//! a request pays nothing for them.

use std::fmt::Write;

use super::{PeerStatus, Status};
use crate::upstream::{Check, RunState};

/// `Content-Type` of [`text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names of the classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All metrics.
pub fn text(status: &Status) -> String {
    let mut page = Page(String::with_capacity(4096));
    let client = &status.client;
    for (name, help, value) in [
        (
            "connections_accepted",
            "Client connections accepted",
            client.accepts,
        ),
        (
            "connections_handled",
            "Client connections served",
            client.handled,
        ),
        (
            "requests",
            "Requests answered or being answered",
            client.requests,
        ),
        (
            "sent_bytes",
            "Bytes of response bodies sent to clients",
            client.sent,
        ),
        (
            "refused_reloads",
            "Reloads refused because of a wrong configuration",
            status.process.refused_reloads,
        ),
    ] {
        page.family(name, "counter", help);
        page.sample(&format!("{name}_total"), "", value);
    }
    page.family(
        "request_duration_seconds",
        "summary",
        "Time from the first byte of a request to the last byte of its response",
    );
    page.sample(
        "request_duration_seconds_count",
        "",
        client.statuses.iter().sum::<u64>(),
    );
    page.sample(
        "request_duration_seconds_sum",
        "",
        client.request_millis as f64 / 1000.0,
    );
    page.family(
        "responses",
        "counter",
        "Responses to clients by class of status",
    );
    for (class, count) in CLASSES.iter().zip(client.statuses) {
        page.sample("responses_total", &format!("class=\"{class}\""), count);
    }
    page.family(
        "connections",
        "gauge",
        "Open client connections by what they do",
    );
    for (state, count) in [
        ("reading", client.reading),
        ("writing", client.writing),
        ("waiting", client.waiting),
    ] {
        page.sample("connections", &format!("state=\"{state}\""), count);
    }
    for (name, help, value) in [
        (
            "uptime_seconds",
            "Time since the process began",
            status.process.uptime_seconds,
        ),
        (
            "generation",
            "Configurations put into force",
            status.process.generation,
        ),
        ("workers", "Worker threads", status.process.workers as u64),
    ] {
        page.family(name, "gauge", help);
        page.sample(name, "", value);
    }
    page.peers(status);
    page.0.push_str("# EOF\n");
    page.0
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into memory does not fail.
        let _infallible = write!(
            self.0,
            "# TYPE lnmt_proxy_{name} {kind}\n# HELP lnmt_proxy_{name} {help}.\n"
        );
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Into<Number>) {
        let Number(value) = value.into();
        let _infallible = if labels.is_empty() {
            writeln!(self.0, "lnmt_proxy_{name} {value}")
        } else {
            writeln!(self.0, "lnmt_proxy_{name}{{{labels}}} {value}")
        };
    }

    fn peers(&mut self, status: &Status) {
        type Value = fn(&PeerStatus) -> u64;
        let families: [(&str, &str, &str, Value); 11] = [
            (
                "peer_requests",
                "counter",
                "Requests sent to the peer, retries included",
                |p| p.totals.requests,
            ),
            ("peer_failures", "counter", "Attempts that failed", |p| {
                p.totals.failures
            }),
            (
                "peer_bound_requests",
                "counter",
                "Requests that came because they were bound to the peer",
                |p| p.totals.bound,
            ),
            (
                "peer_new_bindings",
                "counter",
                "Sessions newly bound to the peer",
                |p| p.totals.new,
            ),
            (
                "peer_sent_bytes",
                "counter",
                "Bytes of requests to the peer",
                |p| p.totals.sent,
            ),
            (
                "peer_received_bytes",
                "counter",
                "Bytes of responses from the peer",
                |p| p.totals.received,
            ),
            (
                "peer_active_requests",
                "gauge",
                "Requests at the peer now",
                |p| p.totals.active,
            ),
            (
                "peer_usable",
                "gauge",
                "Whether the peer would get a new session",
                |p| u64::from(p.usable),
            ),
            (
                "peer_draining",
                "gauge",
                "Whether the peer keeps its sessions only",
                |p| u64::from(p.state == RunState::Draining),
            ),
            (
                "peer_check_up",
                "gauge",
                "Whether the active checks have nothing against the peer",
                |p| u64::from(p.check != Check::Down),
            ),
            ("peer_weight", "gauge", "Share of the peer", |p| {
                u64::from(p.weight)
            }),
        ];
        for (name, kind, help, value) in families {
            self.family(name, kind, help);
            let sample = match kind {
                "counter" => format!("{name}_total"),
                _ => name.to_owned(),
            };
            for (labels, peer) in labelled(status) {
                self.sample(&sample, &labels, value(peer));
            }
        }
        self.family(
            "peer_responses",
            "counter",
            "Responses of the peer by class of status",
        );
        for (labels, peer) in labelled(status) {
            for (class, count) in CLASSES.iter().zip(peer.totals.statuses) {
                self.sample(
                    "peer_responses_total",
                    &format!("{labels},class=\"{class}\""),
                    count,
                );
            }
        }
        if labelled(status).any(|(_, peer)| peer.sessions.is_some()) {
            self.family("peer_sessions", "gauge", "Sessions remembered for the peer");
            for (labels, peer) in labelled(status) {
                if let Some(sessions) = peer.sessions {
                    self.sample("peer_sessions", &labels, sessions as u64);
                }
            }
        }
    }
}

/// The peers, each with its labels. Names come from the configuration, where quotes and backslashes are no part of them.
fn labelled(status: &Status) -> impl Iterator<Item = (String, &PeerStatus)> {
    status.upstreams.iter().flat_map(|upstream| {
        upstream.peers.iter().map(|peer| {
            let (upstream, name, node) = (&upstream.name, &peer.name, &peer.node);
            let labels = format!("upstream=\"{upstream}\",peer=\"{name}\",node=\"{node}\"");
            (labels, peer)
        })
    })
}

/// A value as text.
struct Number(String);

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self(number.to_string())
    }
}
