//! Binding a session to a peer: by a sticky cookie, by the route in a session id, or by learning.
//!
//! [`Presented`] is what a request says about its binding; it is read once, by the first choice of the balancer, and kept in
//! the [`Attempt`] until the response goes out:
//!
//! ```text
//!   request ──read──► Presented ──choose──► peer ──edit_request──► upstream
//!   client ◄──edit_response── response          (cookie set, renewed, marked; session learned)
//! ```

use std::time::Instant;

use http::HeaderMap;

use crate::balance::{Attempt, Facts, Reason};
use crate::learn::{Fingerprint, Learn};
use crate::route::Route;
use crate::sticky::{Seen, Sticky};
use crate::upstream::PeerIndex;

/// How sessions are bound to peers.
#[derive(Debug)]
pub enum Binding {
    /// By a cookie of the proxy's own or a mark in the application's cookie (Tengine `session_sticky`).
    Sticky(Sticky),
    /// By the route at the end of the session id (Tomcat's jvmRoute).
    Route(Route),
    /// By remembering which peer began the session (nginx `sticky learn`).
    Learn(Learn),
}

/// What a request says about its binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// Not looked at yet.
    Unread,
    /// Nothing, or nothing valid: an empty, malformed or expired cookie.
    Nothing,
    /// A peer that does not exist, a forged cookie, or a session that was never learned.
    Unknown(Option<Fingerprint>),
    /// This peer.
    Peer {
        /// Which one.
        peer: PeerIndex,
        /// How the request named it.
        by: By,
    },
}

/// How a request named its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By the sticky cookie.
    Cookie {
        /// The times in the cookie, where it carries times.
        seen: Option<Seen>,
        /// It is valid but in a form that is read and no longer written: send a new one.
        outdated: bool,
    },
    /// By the route in its session id.
    Route,
    /// By a session id that was learned.
    Learn(Fingerprint),
}

impl By {
    /// The reason to give when that peer serves.
    pub fn reason(self) -> Reason {
        match self {
            Self::Cookie { .. } => Reason::Cookie,
            Self::Route => Reason::Route,
            Self::Learn(_) => Reason::Learn,
        }
    }
}

/// What a response is sent under.
#[derive(Debug, Clone, Copy)]
pub struct Reply {
    /// The client's connection is encrypted, or a trusted proxy in front says that its own is.
    pub secure: bool,
    /// Unix time in seconds.
    pub unix: u64,
    /// The same moment on the monotonic clock.
    pub now: Instant,
}

impl Binding {
    /// What the request says.
    pub fn read(&self, facts: &Facts<'_>, now: Instant) -> Presented {
        match self {
            Self::Sticky(sticky) => sticky.read(facts.headers, facts.unix),
            Self::Route(route) => route.read(facts),
            Self::Learn(learn) => learn.read(facts.headers, now),
        }
    }

    /// Whether a bound request must rather fail than go elsewhere (`fallback=off`).
    pub fn is_strict(&self) -> bool {
        match self {
            Self::Sticky(sticky) => sticky.is_strict(),
            Self::Route(_) | Self::Learn(_) => false,
        }
    }

    /// Takes out of the request what the peer must not see: the whole cookie (`option=indirect`) or the mark in front of the
    /// application's value (`mode=prefix`). Call it once, after the first choice and before the request is sent.
    pub fn edit_request(&self, headers: &mut HeaderMap) {
        if let Self::Sticky(sticky) = self {
            sticky.edit_request(headers);
        }
    }

    /// Puts the binding into the response that `attempt`'s last choice gave, when there is something to say: a first visit, a
    /// move to another peer, half of maxidle gone. True when the session is now bound to a peer that it was not bound to.
    /// A response that no peer gave (an error page) needs no call.
    pub fn edit_response(&self, attempt: &Attempt, reply: Reply, headers: &mut HeaderMap) -> bool {
        let Some(choice) = attempt.choice else {
            return false;
        };
        match self {
            Self::Sticky(sticky) => {
                sticky.edit_response(attempt.presented, choice.peer, reply, headers)
            }
            // The application names the route itself.
            Self::Route(_) => false,
            Self::Learn(learn) => learn.learn(attempt.presented, choice.peer, headers, reply.now),
        }
    }
}
