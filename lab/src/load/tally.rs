//! Counts and percentiles of a load, per second and in all. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use program::Failure;
use serde::Serialize;

use crate::check::anomaly::{Counts, Watch};
use crate::check::parallel;
use crate::history::{Change, Entry, Outcome, Request};

/// Latencies above this count as this.
const LATENCY_MAX_US: u64 = 120_000_000;

/// Latencies are kept to three digits.
const DIGITS: u8 = 3;

/// Latencies in microseconds, from when a request was due to the last byte of its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50_us: u64,
    /// Nine of ten are faster.
    pub p90_us: u64,
    /// 99 of 100 are faster.
    pub p99_us: u64,
    /// 999 of 1000 are faster.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
        }
    }

    /// `p50 0.41 ms  p90 …`.
    pub fn line(&self) -> String {
        let parts = [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p99", self.p99_us),
            ("p99.9", self.p999_us),
            ("max", self.max_us),
        ];
        let parts = parts.map(|(name, us)| format!("{name} {:.2}", us as f64 / 1000.0));
        format!("{} ms", parts.join("  "))
    }
}

/// What ended within a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Span {
    /// The span's end, in seconds since the load began.
    pub until_seconds: f64,
    /// Answered and done.
    pub ok: u64,
    /// Certainly not done.
    pub failed: u64,
    /// Perhaps done: timeouts, broken connections, 5xx.
    pub unknown: u64,
    /// Due, but not sent, because too many of the user's earlier requests were still waiting.
    pub not_sent: u64,
    /// Requests that ended, per second.
    pub rate: f64,
    /// Latencies of all that ended.
    pub latency: Latency,
}

impl Span {
    /// One line for the screen.
    pub fn line(&self, anomalies: &Counts) -> String {
        let errors = self.failed + self.unknown + self.not_sent;
        format!(
            "{:6.1} s  {:8.1}/s  {}  errors {errors}{}",
            self.until_seconds,
            self.rate,
            self.latency.line(),
            in_short(anomalies)
        )
    }
}

/// `  anomalies A1 3, A4 1`, or that there are none.
fn in_short(anomalies: &Counts) -> String {
    let seen = anomalies
        .rows()
        .into_iter()
        .filter(|(_, _, count)| *count > 0);
    let seen: Vec<String> = seen
        .map(|(code, _, count)| format!("{code} {count}"))
        .collect();
    if seen.is_empty() {
        return "  no anomalies".to_owned();
    }
    format!("  anomalies {}", seen.join(", "))
}

/// Counts as requests end.
#[derive(Debug)]
pub struct Tally {
    watch: Watch,
    /// Counts instead where requests of one user overlap.
    overlapping: Option<parallel::Watch>,
    all: Bucket,
    second: Bucket,
    seconds: Vec<Span>,
    nodes: BTreeMap<String, u64>,
    reasons: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Bucket {
    span: Span,
    latencies: Histogram<u64>,
    began: Duration,
}

/// So many different reasons for errors are kept; an address in each would fill the memory.
const REASONS_MAX: usize = 20;

impl Bucket {
    fn new(began: Duration) -> Result<Self, Failure> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS)
            .map_err(|e| Failure::Failed(format!("cannot make a histogram: {e}")))?;
        Ok(Self {
            span: Span::default(),
            latencies,
            began,
        })
    }

    fn add(&mut self, request: &Request) {
        self.latencies.saturating_record(request.latency_us.max(1));
        match request.outcome {
            Outcome::Ok(_) => self.span.ok += 1,
            Outcome::Fail(_) => self.span.failed += 1,
            Outcome::Unknown(_) => self.span.unknown += 1,
        }
    }

    fn close(&self, now: Duration) -> Span {
        let ended = self.span.ok + self.span.failed + self.span.unknown;
        let seconds = now.saturating_sub(self.began).as_secs_f64();
        Span {
            until_seconds: now.as_secs_f64(),
            rate: if seconds > 0.0 {
                ended as f64 / seconds
            } else {
                0.0
            },
            latency: Latency::of(&self.latencies),
            ..self.span
        }
    }
}

impl Tally {
    /// `binds`: whether the proxy promises to bring a browser back; `nodes`: those that are known to be there; `overlap`:
    /// whether requests of one user overlap.
    pub fn new(binds: bool, nodes: &[String], overlap: bool) -> Result<Self, Failure> {
        let mut watch = Watch::new(binds);
        for node in nodes {
            watch.see(&Entry::Node {
                at_us: 0,
                node: node.clone(),
                change: Change::Up,
            });
        }
        Ok(Self {
            watch,
            overlapping: overlap.then(parallel::Watch::default),
            all: Bucket::new(Duration::ZERO)?,
            second: Bucket::new(Duration::ZERO)?,
            seconds: Vec::new(),
            nodes: BTreeMap::new(),
            reasons: BTreeMap::new(),
        })
    }

    /// A request has ended.
    pub fn add(&mut self, request: Request) {
        self.all.add(&request);
        self.second.add(&request);
        if let Some(node) = request.node() {
            *self.nodes.entry(node.to_owned()).or_default() += 1;
        }
        match &request.outcome {
            Outcome::Ok(_) => {}
            Outcome::Fail(why) | Outcome::Unknown(why) => self.reason(why),
        }
        if let Some(overlapping) = &mut self.overlapping {
            overlapping.see(&request);
        }
        self.watch.see(&Entry::Request(Box::new(request)));
    }

    /// So many more requests were due and not sent.
    pub fn not_sent(&mut self, count: u64) {
        self.all.span.not_sent += count;
        self.second.span.not_sent += count;
    }

    fn reason(&mut self, why: &str) {
        // The address that a browser comes from makes no other reason.
        let short = why.split(" from ").next().unwrap_or(why);
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(short) {
            *self.reasons.entry(short.to_owned()).or_default() += 1;
        }
    }

    /// A second is over: its figures as one line.
    pub fn second(&mut self, now: Duration) -> Result<String, Failure> {
        let span = self.second.close(now);
        self.second = Bucket::new(now)?;
        self.seconds.push(span);
        let anomalies = match &self.overlapping {
            Some(overlapping) => overlapping.so_far(),
            None => self.watch.so_far(),
        };
        Ok(span.line(&anomalies))
    }

    /// The load is over.
    pub fn finish(self, now: Duration) -> Total {
        let (skew_requests, skew_sessions) = self.watch.skews();
        let in_turn = self.watch.finish();
        let anomalies = match &self.overlapping {
            Some(overlapping) => Counts {
                a10: in_turn.a10,
                a11: in_turn.a11,
                ..overlapping.so_far()
            },
            None => in_turn,
        };
        Total {
            all: self.all.close(now),
            anomalies,
            nodes: self.nodes,
            skew_requests,
            skew_sessions,
            errors: self.reasons,
            seconds: self.seconds,
        }
    }
}

/// Everything that was counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    /// The whole load.
    pub all: Span,
    /// Anomalies by code.
    pub anomalies: Counts,
    /// Answers by node.
    pub nodes: BTreeMap<String, u64>,
    /// The busiest node's share of requests over the fair share.
    pub skew_requests: Option<f64>,
    /// The same for new sessions.
    pub skew_sessions: Option<f64>,
    /// Why requests were not answered.
    pub errors: BTreeMap<String, u64>,
    /// Each second.
    pub seconds: Vec<Span>,
}

impl Total {
    /// A table for the terminal.
    pub fn table(&self) -> String {
        let all = &self.all;
        let mut text = String::new();
        let mut row = |name: &str, value: String| text.push_str(&format!("{name:<18} {value}\n"));
        row(
            "requests",
            format!(
                "{} ok, {} failed, {} unknown, {} not sent",
                all.ok, all.failed, all.unknown, all.not_sent
            ),
        );
        row(
            "rate",
            format!("{:.1}/s over {:.1} s", all.rate, all.until_seconds),
        );
        row(
            "latency",
            format!("{} (from when a request was due)", all.latency.line()),
        );
        for (node, count) in &self.nodes {
            row(node, format!("{count} answers"));
        }
        let skew = |skew: Option<f64>| skew.map_or("-".to_owned(), |skew| format!("{skew:.2}"));
        row(
            "busiest node",
            format!(
                "{} of its fair share of requests, {} of new sessions",
                skew(self.skew_requests),
                skew(self.skew_sessions)
            ),
        );
        for (code, name, count) in self.anomalies.rows() {
            row(&format!("{code} {name}"), count.to_string());
        }
        for (why, count) in &self.errors {
            row("error", format!("{count} × {why}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Tally;
    use crate::history::{Answer, Ask, Outcome, Request};

    fn request(latency_us: u64, outcome: Outcome) -> Request {
        Request {
            at_us: 0,
            latency_us,
            who: "u1".into(),
            from: None,
            what: Ask::Session,
            sent_session: None,
            outcome,
        }
    }

    #[test]
    fn seconds_and_the_whole_are_counted_apart() {
        let mut tally =
            Tally::new(false, &["TomcatA".into(), "TomcatB".into()], false).expect("a tally");
        let answer = || Answer {
            status: 200,
            node: Some("TomcatA".into()),
            ..Answer::default()
        };
        for latency in 1..=1000 {
            tally.add(request(latency, Outcome::Ok(answer())));
        }
        let line = tally.second(Duration::from_secs(1)).expect("a line");
        assert!(
            line.contains("1000.0/s") && line.contains("p50 0.50") && line.contains("max 1.00 ms"),
            "{line}"
        );
        tally.add(request(
            5_000_000,
            Outcome::Unknown("no answer within 5000 ms".into()),
        ));
        tally.add(request(
            10,
            Outcome::Fail("cannot connect to x from 127.0.0.2: refused".into()),
        ));
        tally.not_sent(3);
        let line = tally.second(Duration::from_secs(2)).expect("a line");
        assert!(line.contains("errors 5"), "{line}");
        let total = tally.finish(Duration::from_secs(2));
        assert_eq!(
            (
                total.all.ok,
                total.all.failed,
                total.all.unknown,
                total.all.not_sent
            ),
            (1000, 1, 1, 3)
        );
        assert!((5_000_000..5_010_000).contains(&total.all.latency.max_us));
        assert_eq!(total.seconds.len(), 2);
        assert_eq!(total.anomalies.a11, 1, "TomcatB never answered");
        assert_eq!(total.errors.get("cannot connect to x"), Some(&1));
        assert!(total.table().contains("A11 skew"), "{}", total.table());
    }
}
