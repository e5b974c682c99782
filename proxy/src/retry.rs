//! Whether a request that failed on one peer goes on to the next (nginx `proxy_next_upstream`).
//!
//! What nginx does, and one thing better: a pooled connection that the peer had already closed says nothing about the peer.
//! nginx counts it as a failure, so that two of them in a row can pause every peer; here the request goes to the same peer
//! again over a fresh connection, and nothing is counted.

use std::time::Duration;

use http::Method;

/// The conditions and bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextUpstream {
    error: bool,
    timeout: bool,
    invalid_header: bool,
    non_idempotent: bool,
    statuses: Vec<u16>,
    /// Most tries of one request; 0: each peer once.
    pub tries: u32,
    /// No further try after so long since the first; zero: no limit.
    pub time: Duration,
}

/// What went wrong with one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// No connection: refused, reset, unreachable. Nothing was sent.
    ConnectFailed,
    /// No connection, because this machine has no descriptors, ports or memory left. It says nothing about the peer, and
    /// another peer would not help; 500 as in nginx.
    OutOfResources,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Sending it twice does no harm; see [`is_idempotent`].
    pub idempotent: bool,
    /// Some of it, or of its body, has gone out on this try.
    pub sent: bool,
    /// Its body can be sent again: there is none, or all of it is kept, or none was taken yet.
    pub replayable: bool,
    /// Tries so far, this one included; a try that ended in [`Decision::SameFresh`] does not count.
    pub tries: u32,
    /// A fresh connection to the same peer was already tried because of a stale pool.
    pub refreshed: bool,
    /// Since the first try began.
    pub elapsed: Duration,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Choose another peer. When there is none, the answer is [`Event::status`].
    Next,
    /// The pool was stale: the same peer over a fresh connection.
    SameFresh,
    /// Answer the client with this status, or pass the response on when the event was [`Event::Status`].
    GiveUp(u16),
}

impl Event {
    /// The status for the client when this was the last try.
    pub fn status(self) -> u16 {
        match self {
            Self::ConnectFailed | Self::Broken { .. } | Self::InvalidHead => 502,
            Self::ConnectTimeout | Self::ReadTimeout => 504,
            Self::OutOfResources => 500,
            Self::Status(status) => status,
        }
    }

    /// Whether it tells that the pool was stale rather than the peer broken.
    pub fn is_stale_pool(self) -> bool {
        matches!(
            self,
            Self::Broken {
                reused: true,
                response_begun: false
            }
        )
    }
}

/// Whether sending a request of this method twice does no harm (RFC 9110 section 9.2.2). nginx excludes POST, PATCH and
/// LOCK and takes all others for harmless; we do not know that of methods we do not know.
pub fn is_idempotent(method: &Method) -> bool {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::TRACE => true,
        _ => matches!(method.as_str(), "PROPFIND" | "SEARCH" | "REPORT" | "QUERY"),
    }
}

impl NextUpstream {
    /// From the words of `proxy_next_upstream`. The error names the word that is unknown.
    pub fn new<'a>(
        words: impl IntoIterator<Item = &'a str>,
        tries: u32,
        time: Duration,
    ) -> Result<Self, &'a str> {
        let mut conditions = Self {
            error: false,
            timeout: false,
            invalid_header: false,
            non_idempotent: false,
            statuses: Vec::new(),
            tries,
            time,
        };
        let mut off = false;
        for word in words {
            match word {
                "error" => conditions.error = true,
                "timeout" => conditions.timeout = true,
                "invalid_header" => conditions.invalid_header = true,
                "non_idempotent" => conditions.non_idempotent = true,
                "off" => off = true,
                other => match other.strip_prefix("http_").map(str::parse) {
                    Some(Ok(status @ (500 | 502 | 503 | 504 | 403 | 404 | 429))) => {
                        conditions.statuses.push(status);
                    }
                    _ => return Err(other),
                },
            }
        }
        if off {
            conditions.error = false;
            conditions.timeout = false;
            conditions.invalid_header = false;
            conditions.statuses.clear();
        }
        Ok(conditions)
    }

    /// Whether a response with this status may lead to another try, so that its body must not be sent on before
    /// [`NextUpstream::decide`] has spoken.
    pub fn lists(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }

    /// Whether `event` counts as a failure of the peer.
    pub fn counts(&self, event: Event) -> bool {
        match event {
            Event::Status(status) => self.lists(status) && status != 403 && status != 404,
            Event::OutOfResources => false,
            event => !event.is_stale_pool(),
        }
    }

    /// What to do after `event`.
    pub fn decide(&self, event: Event, request: Request) -> Decision {
        let give_up = Decision::GiveUp(event.status());
        let repeatable =
            request.replayable && (request.idempotent || self.non_idempotent || !request.sent);
        if !repeatable {
            return give_up;
        }
        if event.is_stale_pool() && !request.refreshed {
            return Decision::SameFresh;
        }
        let listed = match event {
            Event::ConnectFailed | Event::Broken { .. } => self.error,
            Event::ConnectTimeout | Event::ReadTimeout => self.timeout,
            Event::InvalidHead => self.invalid_header,
            Event::OutOfResources => false,
            Event::Status(status) => self.lists(status),
        };
        let tries_left = self.tries == 0 || request.tries < self.tries;
        let time_left = self.time.is_zero() || request.elapsed < self.time;
        if listed && tries_left && time_left {
            Decision::Next
        } else {
            give_up
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Decision, Event, NextUpstream, Request, is_idempotent};
    use http::Method;

    const GET: Request = Request {
        idempotent: true,
        sent: true,
        replayable: true,
        tries: 1,
        refreshed: false,
        elapsed: Duration::ZERO,
    };
    const POST: Request = Request {
        idempotent: false,
        ..GET
    };
    const UNSENT_POST: Request = Request {
        sent: false,
        ..POST
    };
    const BROKEN: Event = Event::Broken {
        reused: false,
        response_begun: false,
    };
    const STALE: Event = Event::Broken {
        reused: true,
        response_begun: false,
    };

    fn conditions(words: &str) -> NextUpstream {
        NextUpstream::new(words.split_whitespace(), 0, Duration::ZERO).expect("known words")
    }

    #[test]
    fn the_table_of_nginx() {
        use Decision::{GiveUp, Next, SameFresh};
        let default = "error timeout";
        for (words, event, request, expected, counts) in [
            (default, Event::ConnectFailed, UNSENT_POST, Next, true),
            (default, Event::ConnectTimeout, UNSENT_POST, Next, true),
            (
                default,
                Event::OutOfResources,
                UNSENT_POST,
                GiveUp(500),
                false,
            ),
            (default, BROKEN, GET, Next, true),
            (default, BROKEN, POST, GiveUp(502), true),
            (default, BROKEN, UNSENT_POST, Next, true),
            ("error non_idempotent", BROKEN, POST, Next, true),
            (default, Event::ReadTimeout, GET, Next, true),
            (default, Event::ReadTimeout, POST, GiveUp(504), true),
            ("error", Event::ReadTimeout, GET, GiveUp(504), true),
            ("off", Event::ConnectFailed, GET, GiveUp(502), true),
            ("off error", Event::ConnectFailed, GET, GiveUp(502), true),
            (default, Event::InvalidHead, GET, GiveUp(502), true),
            ("invalid_header", Event::InvalidHead, GET, Next, true),
            (default, Event::Status(503), GET, GiveUp(503), false),
            ("http_503", Event::Status(503), GET, Next, true),
            ("http_503", Event::Status(503), POST, GiveUp(503), true),
            ("http_404", Event::Status(404), GET, Next, false),
            (default, STALE, GET, SameFresh, false),
            ("off", STALE, GET, SameFresh, false),
            (default, STALE, POST, GiveUp(502), false),
            (default, STALE, UNSENT_POST, SameFresh, false),
        ] {
            let conditions = conditions(words);
            let context = format!("{words}: {event:?} {request:?}");
            assert_eq!(conditions.decide(event, request), expected, "{context}");
            assert_eq!(conditions.counts(event), counts, "{context}");
        }
    }

    #[test]
    fn a_stale_pool_is_refreshed_once_and_a_begun_response_is_no_stale_pool() {
        let conditions = conditions("error");
        let again = Request {
            refreshed: true,
            ..GET
        };
        assert_eq!(conditions.decide(STALE, again), Decision::Next);
        let begun = Event::Broken {
            reused: true,
            response_begun: true,
        };
        assert_eq!(conditions.decide(begun, GET), Decision::Next);
        assert!(conditions.counts(begun));
    }

    #[test]
    fn tries_time_and_the_body_bound_it() {
        let mut conditions = conditions("error");
        conditions.tries = 2;
        conditions.time = Duration::from_secs(3);
        let second = Request { tries: 2, ..GET };
        let late = Request {
            elapsed: Duration::from_secs(3),
            ..GET
        };
        let streamed = Request {
            replayable: false,
            ..GET
        };
        assert_eq!(conditions.decide(BROKEN, GET), Decision::Next);
        for request in [second, late, streamed] {
            assert_eq!(
                conditions.decide(BROKEN, request),
                Decision::GiveUp(502),
                "{request:?}"
            );
        }
    }

    #[test]
    fn words_and_methods() {
        let unknown = |word| NextUpstream::new([word], 0, Duration::ZERO).expect_err("unknown");
        for word in ["eror", "http_418", "http_", ""] {
            assert_eq!(unknown(word), word);
        }
        for (method, idempotent) in [
            (Method::GET, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::POST, false),
            (Method::PATCH, false),
        ] {
            assert_eq!(is_idempotent(&method), idempotent, "{method}");
        }
        let unheard_of = Method::from_bytes(b"BREW").expect("a token");
        assert!(!is_idempotent(&unheard_of));
    }
}
