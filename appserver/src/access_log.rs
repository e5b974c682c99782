//! The access log: one line per request on standard output. A thread of its own writes, so that a slow reader of the log
//! slows no request; when it is behind by a full queue, lines are dropped and counted.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use http::request::Parts;
use http::{HeaderName, header};
use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::config::AccessLog;
use crate::session::Timestamp;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// Where lines go; cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLogger {
    format: AccessLog,
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

/// What a line tells of a request, kept while it runs.
#[derive(Debug, Clone)]
pub struct Entry {
    address: IpAddr,
    time: Timestamp,
    request: String,
    referer: String,
    agent: String,
}

impl AccessLogger {
    /// Starts the writer on standard output. `None` when there is no log.
    pub fn start(format: AccessLog, dropped: Arc<AtomicU64>) -> Option<Self> {
        let (logger, lines) = Self::to_queue(format, dropped)?;
        let writer = std::thread::Builder::new().name("access-log".into());
        if let Err(error) = writer.spawn(move || write_lines(&lines)) {
            tracing::error!(%error, "no thread for the access log: nothing is logged");
            return None;
        }
        Some(logger)
    }

    fn to_queue(format: AccessLog, dropped: Arc<AtomicU64>) -> Option<(Self, Receiver<String>)> {
        if format == AccessLog::Off {
            return None;
        }
        let (sender, lines) = sync_channel(QUEUE);
        let logger = Self {
            format,
            lines: sender,
            dropped,
        };
        Some((logger, lines))
    }

    /// What will be logged of a request that came now.
    pub fn entry(&self, parts: &Parts, path: &str, address: IpAddr, time: Timestamp) -> Entry {
        let query = parts
            .uri
            .query()
            .map(|q| format!("?{q}"))
            .unwrap_or_default();
        let field = |name: HeaderName| {
            let value = parts
                .headers
                .get(name)
                .map(|v| String::from_utf8_lossy(v.as_bytes()));
            value.unwrap_or_default().into_owned()
        };
        Entry {
            address,
            time,
            request: format!("{} {path}{query} {:?}", parts.method, parts.version),
            referer: field(header::REFERER),
            agent: field(header::USER_AGENT),
        }
    }

    /// Logs the request with its answer.
    pub fn log(&self, entry: &Entry, status: u16, bytes: Option<u64>, now: Timestamp) {
        let line = match self.format {
            AccessLog::Json => json(entry, status, bytes, now),
            AccessLog::Combined | AccessLog::Off => combined(entry, status, bytes),
        };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes lines until the last logger is gone; what is there goes out in one write.
fn write_lines(lines: &Receiver<String>) {
    let mut out = std::io::stdout();
    while let Ok(mut text) = lines.recv() {
        while let Ok(more) = lines.try_recv() {
            text += &more;
        }
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            tracing::debug!(%error, "nobody takes the access log");
        }
    }
}

fn combined(entry: &Entry, status: u16, bytes: Option<u64>) -> String {
    let bytes = bytes
        .filter(|b| *b > 0)
        .map_or("-".into(), |b| b.to_string());
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".into()
        } else {
            escape(text)
        }
    };
    format!(
        "{} - - [{}] \"{}\" {status} {bytes} \"{}\" \"{}\"\n",
        entry.address,
        instant(entry.time)
            .to_zoned(TimeZone::UTC)
            .strftime("%d/%b/%Y:%H:%M:%S %z"),
        escape(&entry.request),
        or_dash(&entry.referer),
        or_dash(&entry.agent),
    )
}

fn json(entry: &Entry, status: u16, bytes: Option<u64>, now: Timestamp) -> String {
    let line = json!({
        "time": instant(entry.time).to_string(),
        "remote_addr": entry.address,
        "request": entry.request,
        "status": status,
        "bytes": bytes,
        "millis": now.since(entry.time),
        "referer": entry.referer,
        "user_agent": entry.agent,
    });
    format!("{line}\n")
}

fn instant(time: Timestamp) -> Instant {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    Instant::from_millisecond(millis).unwrap_or(Instant::MAX)
}

/// As nginx: quotes, backslashes and what is not printable ASCII become `\xXX`, so that no client can forge a line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..=0x1F | 0x7F.. => out += &format!("\\x{byte:02X}"),
            plain => out.push(plain.into()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{AccessLogger, QUEUE};
    use crate::config::AccessLog;
    use crate::session::Timestamp;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn line(format: AccessLog) -> String {
        let (logger, lines) = AccessLogger::to_queue(format, Arc::default()).expect("on");
        let (parts, ()) = http::Request::get("/jsp/?a=%22")
            .header("user-agent", "evil\" \\x")
            .body(())
            .expect("valid")
            .into_parts();
        let address = "192.0.2.1".parse().expect("address");
        let entry = logger.entry(&parts, "/jsp/", address, Timestamp(1_795_389_871_564));
        logger.log(&entry, 200, Some(359), Timestamp(1_795_389_871_570));
        lines.recv().expect("a line")
    }

    #[test]
    fn combined_lines_cannot_be_forged() {
        assert_eq!(
            line(AccessLog::Combined),
            "192.0.2.1 - - [22/Nov/2026:23:24:31 +0000] \"GET /jsp/?a=%22 HTTP/1.1\" 200 359 \"-\" \"evil\\x22 \\x5Cx\"\n"
        );
    }

    #[test]
    fn json_lines_are_json() {
        let line: serde_json::Value = serde_json::from_str(&line(AccessLog::Json)).expect("JSON");
        assert_eq!(line["status"], 200);
        assert_eq!(line["millis"], 6);
        assert_eq!(line["user_agent"], "evil\" \\x");
        assert_eq!(line["time"], "2026-11-22T23:24:31.564Z");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let dropped = Arc::new(AtomicU64::new(0));
        let (logger, _lines) =
            AccessLogger::to_queue(AccessLog::Combined, Arc::clone(&dropped)).expect("on");
        let (parts, ()) = http::Request::new(()).into_parts();
        let address = "::1".parse().expect("address");
        let entry = logger.entry(&parts, "/", address, Timestamp(0));
        for _ in 0..QUEUE + 3 {
            logger.log(&entry, 200, None, Timestamp(0));
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }
}
