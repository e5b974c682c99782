//! One line per request: nginx's `main` and `combined`, or JSON.
//!
//! ```text
//! combined  $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"
//! main      combined "$http_x_forwarded_for"
//! json      {"ts":"2026-11-22T22:49:11.120Z","node":"proxy","mode":"ip_hash","client":"10.0.0.1","req":"GET / HTTP/1.1",…}
//! ```
//!
//! A missing value is `-`, in JSON it is left out; a field that is there and empty is `""` as in nginx. What a client sends can neither end a line nor a quote: `"`, `\`, control
//! bytes and bytes from 0x7F up become `\xHH`. Session ids are credentials; of them JSON has the first eight digits of a hash.

mod time;

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// How a line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `combined` and `"$http_x_forwarded_for"`; the lab's own.
    #[default]
    Main,
    /// nginx's default.
    Combined,
    /// One object.
    Json,
}

/// What is known about a finished request. Text is as received; escaping is this module's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry<'a> {
    /// The client, after realip.
    pub client: Option<IpAddr>,
    /// Unix time in milliseconds when the request ended.
    pub unix_millis: u64,
    /// The request line as received, or its beginning; empty when nothing came.
    pub request: &'a [u8],
    /// The method; empty when none was read.
    pub method: &'a [u8],
    /// The path without the query; empty when none was read.
    pub path: &'a [u8],
    /// The status sent, or 499 when the client left.
    pub status: u16,
    /// Bytes of the body sent to the client.
    pub body_bytes: u64,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// `X-Forwarded-For`, before we append to it; several fields are joined with commas.
    pub x_forwarded_for: Option<&'a [u8]>,
    /// User of `Authorization: Basic`.
    pub user: &'a [u8],
    /// From the first byte of the head to the last byte of the response.
    pub duration: Duration,
    /// Node name of the last peer; empty when none was asked.
    pub upstream: &'a str,
    /// How many peers were asked.
    pub attempts: u32,
    /// `X-Route`.
    pub route: &'a str,
    /// `X-Session-Source` of the response.
    pub session_source: &'a [u8],
    /// The session id; only a hash of it is written.
    pub session_id: &'a [u8],
    /// This node's id, for JSON.
    pub node: &'a str,
    /// The mode, for JSON.
    pub mode: &'a str,
}

impl Format {
    /// Appends one line, with its line end, to `out`.
    pub fn write(self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Main => {
                entry.combined(out);
                out.extend_from_slice(b" \"");
                field(entry.x_forwarded_for, out);
                out.extend_from_slice(b"\"\n");
            }
            Self::Combined => {
                entry.combined(out);
                out.push(b'\n');
            }
            Self::Json => entry.json(out),
        }
    }
}

impl Entry<'_> {
    fn combined(&self, out: &mut Vec<u8>) {
        // Writing into memory does not fail.
        let _infallible = match self.client {
            Some(client) => write!(out, "{client} - "),
            None => write!(out, "- - "),
        };
        escaped(self.user, out);
        out.extend_from_slice(b" [");
        time::local(self.unix_millis / 1000, out);
        out.extend_from_slice(b"] \"");
        escaped(self.request, out);
        let _infallible = write!(out, "\" {} {} \"", self.status, self.body_bytes);
        field(self.referer, out);
        out.extend_from_slice(b"\" \"");
        field(self.user_agent, out);
        out.push(b'"');
    }

    fn json(&self, out: &mut Vec<u8>) {
        let hash = Sha256::digest(self.session_id);
        let line = Line {
            ts: time::rfc3339(self.unix_millis),
            node: text(self.node.as_bytes()),
            mode: text(self.mode.as_bytes()),
            client: self.client,
            req: text(self.request),
            method: text(self.method),
            path: text(self.path),
            status: self.status,
            dur_us: u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX),
            bytes: self.body_bytes,
            upstream: text(self.upstream.as_bytes()),
            attempt: self.attempts,
            route: text(self.route.as_bytes()),
            sess: text(self.session_source),
            sid8: (!self.session_id.is_empty())
                .then(|| hash[..4].iter().map(|byte| format!("{byte:02x}")).collect()),
            user: text(self.user),
            referer: self.referer.and_then(text),
            agent: self.user_agent.and_then(text),
            forwarded: self.x_forwarded_for.and_then(text),
        };
        // Text, numbers and addresses always have a form in JSON.
        let _infallible = serde_json::to_writer(&mut *out, &line);
        out.push(b'\n');
    }
}

/// The fields of a JSON line, in their order.
#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    req: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    status: u16,
    dur_us: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Cow<'a, str>>,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sess: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid8: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded: Option<Cow<'a, str>>,
}

fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes))
}

/// The value of a field in quotes, which tell an empty one from none.
fn field(value: Option<&[u8]>, out: &mut Vec<u8>) {
    if value != Some(b"") {
        escaped(value.unwrap_or_default(), out);
    }
}

/// The value as nginx escapes it; `-` for none.
fn escaped(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if value.is_empty() {
        out.push(b'-');
        return;
    }
    let mut rest = value;
    loop {
        let plain = rest.iter().position(|byte| !is_plain(*byte));
        let Some(end) = plain else {
            out.extend_from_slice(rest);
            return;
        };
        let byte = rest[end];
        out.extend_from_slice(&rest[..end]);
        let digit = |nibble: u8| HEX[usize::from(nibble)];
        out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
        rest = &rest[end + 1..];
    }
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x7F).contains(&byte) && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Entry, Format};
    use proptest::prelude::*;

    fn entry() -> Entry<'static> {
        Entry {
            client: Some("192.168.23.1".parse().expect("an address")),
            unix_millis: 1_795_387_751_120,
            request: b"GET /jsp/ HTTP/1.1",
            method: b"GET",
            path: b"/jsp/",
            status: 200,
            body_bytes: 345,
            user_agent: Some(b"curl/8"),
            duration: Duration::from_micros(1234),
            upstream: "TomcatA",
            attempts: 1,
            route: "cookie",
            session_source: b"local",
            session_id: b"0A1B.WEB1",
            node: "proxy",
            mode: "session_sticky",
            ..Entry::default()
        }
    }

    fn line(format: Format, entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        format.write(entry, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn formats_of_nginx() {
        let combined = "192.168.23.1 - - [22/Nov/2026:22:49:11 +0000] \"GET /jsp/ HTTP/1.1\" 200 345 \"-\" \"curl/8\"";
        assert_eq!(line(Format::Combined, &entry()), format!("{combined}\n"));
        assert_eq!(line(Format::Main, &entry()), format!("{combined} \"-\"\n"));
        let nothing = "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 0 0 \"-\" \"-\" \"-\"\n";
        assert_eq!(line(Format::Main, &Entry::default()), nothing);
        let all = Entry {
            user: b"ann",
            referer: Some(b"http://a/"),
            x_forwarded_for: Some(b"1.2.3.4"),
            ..entry()
        };
        let written = line(Format::Main, &all);
        assert!(written.contains(" - ann ["), "{written}");
        assert!(
            written.ends_with("\"http://a/\" \"curl/8\" \"1.2.3.4\"\n"),
            "{written}"
        );
        let empty = Entry {
            user_agent: Some(b""),
            ..entry()
        };
        let written = line(Format::Combined, &empty);
        assert!(written.ends_with(" \"-\" \"\"\n"), "{written}");
    }

    #[test]
    fn escaping_of_nginx() {
        let odd = Entry {
            user_agent: Some("q\"u\\o \u{e9}\t\x7f".as_bytes()),
            ..entry()
        };
        let written = line(Format::Combined, &odd);
        assert!(
            written.contains(r#""q\x22u\x5Co \xC3\xA9\x09\x7F""#),
            "{written}"
        );
    }

    #[test]
    fn json() {
        let written = line(Format::Json, &entry());
        let expected = concat!(
            r#"{"ts":"2026-11-22T22:49:11.120Z","node":"proxy","mode":"session_sticky","client":"192.168.23.1","#,
            r#""req":"GET /jsp/ HTTP/1.1","method":"GET","path":"/jsp/","status":200,"dur_us":1234,"bytes":345,"#,
            r#""upstream":"TomcatA","attempt":1,"route":"cookie","sess":"local","sid8":"SID8","agent":"curl/8"}"#,
        );
        let sid8 = written
            .split(r#""sid8":""#)
            .nth(1)
            .expect("a field")
            .get(..8)
            .expect("digits");
        assert_eq!(written.trim_end(), expected.replace("SID8", sid8));
        assert!(
            !written.contains("0A1B"),
            "the session id itself is not written"
        );
    }

    proptest! {
        /// Whatever a client sends, it is one line with its quotes in pairs, and JSON stays JSON.
        #[test]
        fn one_line(agent in prop::collection::vec(any::<u8>(), 0..40)) {
            let entry = Entry { user_agent: Some(&agent), request: &agent, ..entry() };
            for format in [Format::Main, Format::Combined, Format::Json] {
                let written = line(format, &entry);
                prop_assert_eq!(written.matches('\n').count(), 1);
                if format == Format::Json {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok());
                } else {
                    prop_assert!(written.is_ascii() && written.matches('"').count().is_multiple_of(2));
                }
            }
        }
    }
}
