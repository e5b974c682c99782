//! One try to get a response from one peer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Response};
use hyper::body::Incoming;
use rustix::io::Errno;

use super::{Forward, Tried};
use crate::balance::Choice;
use crate::body::{BodySource, Lease};
use crate::exchange::{Exchange, Fault};
use crate::pool::{PeerConnection, PeerPool};
use crate::retry::Event;
use crate::worker::millis;

/// A try that gave no response.
pub(super) struct Failure {
    event: Event,
    /// Something of the request has gone out.
    pub(super) sent: bool,
    pub(super) error: String,
}

impl Failure {
    fn new(event: Event, sent: bool, error: impl std::fmt::Display) -> Self {
        Self {
            event,
            sent,
            error: error.to_string(),
        }
    }
}

impl Forward<'_> {
    /// Sends the request to the chosen peer and waits for the head of the response.
    pub(super) async fn attempt(
        &self,
        choice: Choice,
        parts: &mut Option<Parts>,
        source: Option<&Rc<BodySource>>,
        fresh: bool,
    ) -> Tried {
        let exchange = self.exchange;
        let mut lease = Lease::new(Rc::clone(&exchange.view), self.pass.upstream, choice.peer);
        if choice.reason.is_bound() {
            lease.counters().bound(exchange.worker.index);
        }
        let outcome = self.exchange(&mut lease, parts, source, fresh).await;
        exchange.deadline.clear();
        let event = match &outcome {
            Ok(response) => Event::Status(response.status().as_u16()),
            Err(failure) => {
                lease.discard();
                failure.event
            }
        };
        Tried {
            outcome,
            lease,
            choice,
            event,
        }
    }

    async fn exchange(
        &self,
        lease: &mut Lease,
        parts: &mut Option<Parts>,
        source: Option<&Rc<BodySource>>,
        fresh: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let (exchange, pass) = (self.exchange, self.pass);
        let pooled = if fresh { None } else { lease.pool().take() };
        let connection = match pooled {
            Some(connection) => connection,
            // Rare, and large as a future: kept out of the way of the others.
            None => Box::pin(connect(exchange, lease.pool(), pass.connect_timeout)).await?,
        };
        let reused = connection.is_reused();
        let connection = lease.hold(connection);
        let before = connection.moved();
        let mut seen = None;
        let Some(request) = self.request(parts, source) else {
            let why = "the request cannot be read again";
            return Err(Failure::new(Event::ConnectFailed, false, why));
        };
        let mut response = pin!(connection.send(request));
        let outcome = poll_fn(|_| {
            connection.drive(exchange.reactor());
            let cx = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(response) = response.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            let moved = connection.moved();
            let waiting = source.is_some_and(|source| source.is_waiting());
            // Under HTTP/1.1 the client's own connection is what tells a client that is too slow.
            if seen != Some(moved) || (waiting && exchange.wire.is_some()) {
                seen = Some(moved);
                let timeout = match source {
                    Some(_) if waiting => exchange.site().client.body_timeout,
                    Some(source) if !source.is_ended() => pass.send_timeout,
                    _ => pass.read_timeout,
                };
                exchange.deadline.set_after(millis(timeout));
            } else if exchange.deadline.has_passed() {
                if waiting {
                    exchange.fault.set(Some(Fault::TooSlow));
                }
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await;
        let error = match outcome {
            Some(Ok(response)) if is_well_framed(response.headers()) => return Ok(response),
            Some(Ok(_)) => {
                let why = "the response has an ambiguous length";
                return Err(Failure::new(Event::InvalidHead, true, why));
            }
            Some(Err(error)) => error.into_error(),
            None => return Err(Failure::new(Event::ReadTimeout, true, "timed out")),
        };
        let moved = connection.moved();
        let event = if error.is_parse() || error.is_parse_too_large() {
            Event::InvalidHead
        } else {
            Event::Broken {
                reused,
                response_begun: moved.received > before.received,
            }
        };
        Err(Failure::new(event, moved.sent > before.sent, error))
    }
}

/// Whether a response says in one way where it ends: not by a length beside a coding, nor by a coding that we do not know
/// (RFC 9112 sections 6.1 and 6.3; nginx answers 502 to both).
fn is_well_framed(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => {
            coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && !fields.contains_key(CONTENT_LENGTH)
        }
        (Some(_), Some(_)) => false,
    }
}

/// A connection to a peer, in time.
async fn connect(
    exchange: &Exchange,
    pool: &PeerPool,
    timeout: Duration,
) -> Result<PeerConnection, Failure> {
    let mut connecting = pin!(pool.connect());
    exchange.deadline.set_after(millis(timeout));
    let connected = poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(connected) => Poll::Ready(Some(connected)),
        Poll::Pending if exchange.deadline.has_passed() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    exchange.deadline.clear();
    match connected {
        Some(Ok(connection)) => Ok(connection),
        Some(Err(error)) => {
            let event = if is_ours(&error) {
                Event::OutOfResources
            } else {
                Event::ConnectFailed
            };
            Err(Failure::new(event, false, error))
        }
        None => Err(Failure::new(
            Event::ConnectTimeout,
            false,
            "connecting timed out",
        )),
    }
}

/// Whether a connection could not be made for a reason on this side.
fn is_ours(error: &std::io::Error) -> bool {
    let number = Errno::from_io_error(error);
    matches!(
        number,
        Some(
            Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::NOSPC
                | Errno::ADDRNOTAVAIL
        )
    )
}

#[cfg(test)]
mod tests {
    use super::{Errno, is_ours};

    #[test]
    fn what_this_machine_lacks_is_not_the_peers_fault() {
        for number in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
        ] {
            assert!(is_ours(&number.into()), "{number}");
        }
        for number in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::CONNRESET] {
            assert!(!is_ours(&number.into()), "{number}");
        }
    }
}
