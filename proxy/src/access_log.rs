//! One line per request: nginx's `main` and `combined`, or JSON.

use std::net::IpAddr;
use std::time::Duration;

/// How a line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `combined` and `"$http_x_forwarded_for"`; the lab's own.
    #[default]
    Main,
    /// nginx's default.
    Combined,
    /// One object with the fields of [`Entry`].
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
    pub referer: &'a [u8],
    /// `User-Agent`.
    pub user_agent: &'a [u8],
    /// `X-Forwarded-For`, before we append to it.
    pub x_forwarded_for: &'a [u8],
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
        unimplemented!()
    }
}
