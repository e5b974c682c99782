//! A client's connection, from accept to close.
//!
//! ```text
//!   accept ─► (PROXY protocol) ─► (TLS) ─► parked ◄──────────────────────────┐  a socket, an address, a deadline:
//!                                            │ readable                      │  no buffer, no task, no HTTP state
//!                                            ▼                               │
//!                                          engine: head checked, one request │
//!                                            │ through hyper to forward.rs ──┘
//!                                            └─► closed, after a lingering end where bytes were left unread
//! ```
//!
//! [`Conn`] is what an idle connection costs; [`engine`] lends it a hyper connection for the time of a request.

pub(crate) mod engine;
pub(crate) mod refusal;
pub(crate) mod stream;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::rc::Rc;

use crate::worker::Listening;
use stream::Stream;

/// A client's connection between two requests.
pub(crate) struct Conn {
    pub(crate) stream: Stream,
    /// Where it came in.
    pub(crate) listening: Rc<Listening>,
    /// The other side's address.
    pub(crate) peer: SocketAddr,
    /// What the PROXY protocol announced.
    pub(crate) announced: Option<Box<crate::proxy_protocol::Addresses>>,
    /// What it is about.
    pub(crate) phase: Phase,
    /// Requests served so far.
    pub(crate) requests: u64,
    /// When the present phase must be over; milliseconds of the worker's clock.
    pub(crate) deadline: u64,
    /// When the first byte of a head that is not complete yet came; 0 when none has.
    pub(crate) head_since: u64,
    /// Received and not used yet.
    pub(crate) early: Vec<u8>,
}

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The PROXY protocol's header is expected.
    ProxyHeader,
    /// A TLS handshake is expected.
    Handshake,
    /// A request is expected.
    Request,
    /// Our end has been sent; what still comes is thrown away until the other end comes too.
    Lingering,
}

impl Conn {
    /// The address this side has; the listener's where that is not a wildcard.
    pub(crate) fn local(&self) -> SocketAddr {
        let bound = self.listening.address;
        if bound.ip().is_unspecified() {
            self.stream.socket().local_address().unwrap_or(bound)
        } else {
            bound
        }
    }
}
