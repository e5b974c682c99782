//! Whether a request that failed on one peer goes on to the next (nginx `proxy_next_upstream`).

use std::time::Duration;

/// The conditions and bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextUpstream {}

/// What went wrong with one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// No connection: refused, reset, unreachable. Nothing was sent.
    ConnectFailed,
    /// No connection in `proxy_connect_timeout`.
    ConnectTimeout,
    /// The connection broke before the head of the response was complete.
    Broken {
        /// It had served a request before and came from the pool.
        reused: bool,
        /// Some bytes of the response had come.
        response_begun: bool,
    },
    /// No response in `proxy_read_timeout`, or the request could not be written in `proxy_send_timeout`.
    ReadTimeout,
    /// The head of the response is not HTTP.
    InvalidHead,
    /// A whole response head with this status.
    Status(u16),
}

/// The request as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Sending it twice does no harm (RFC 9110 section 9.2.2, as nginx draws the line).
    pub idempotent: bool,
    /// Some of it, or of its body, has gone out on this try.
    pub sent: bool,
    /// Its body can be sent again: there is none, or all of it is kept, or none was taken yet.
    pub replayable: bool,
    /// Tries so far, this one included.
    pub tries: u32,
    /// A fresh connection to the same peer was already tried because of a stale pool.
    pub refreshed: bool,
    /// Since the first try began.
    pub elapsed: Duration,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Choose another peer.
    Next,
    /// The pool was stale: the same peer over a fresh connection. Nothing is counted.
    SameFresh,
    /// Answer the client with this status, or pass the response on when the event was [`Event::Status`].
    GiveUp(u16),
}

impl NextUpstream {
    /// What to do after `event`, and whether it counts as a failure of the peer.
    pub fn decide(&self, event: Event, request: Request) -> (Decision, bool) {
        unimplemented!()
    }
}
