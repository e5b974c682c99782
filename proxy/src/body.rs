//! Bodies on their way: counted, limited, timed, and kept for a second try while they are small.

mod lease;
mod request;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::exchange::Exchange;

pub(crate) use lease::Lease;
pub(crate) use request::{BodySource, RequestBody};

/// A response's body. When it is dropped the client's wire knows that hyper needs no more of it.
pub(crate) struct ResponseBody {
    content: Content,
    exchange: Rc<Exchange>,
}

enum Content {
    Empty,
    Ready(Bytes),
    Peer(Box<PeerBody>),
}

/// A body that comes from a peer.
pub(crate) struct PeerBody {
    pub(crate) incoming: Incoming,
    /// The beginning of it, which was there with the head.
    pub(crate) first: Option<Bytes>,
    pub(crate) lease: Lease,
    pub(crate) read_timeout: u64,
    /// The client said that it can take trailers.
    pub(crate) trailers: bool,
    /// Why the body ends early; told one poll later.
    pub(crate) failed: Option<PeerFailed>,
}

impl ResponseBody {
    pub(crate) fn empty(exchange: &Rc<Exchange>) -> Self {
        Self {
            content: Content::Empty,
            exchange: Rc::clone(exchange),
        }
    }

    pub(crate) fn ready(bytes: Bytes, exchange: &Rc<Exchange>) -> Self {
        Self {
            content: if bytes.is_empty() {
                Content::Empty
            } else {
                Content::Ready(bytes)
            },
            exchange: Rc::clone(exchange),
        }
    }

    /// The rest of a peer's response. What has come already is taken at once, so that a small response gives its
    /// connection back before it is sent on.
    pub(crate) fn from_peer(mut body: PeerBody, exchange: &Rc<Exchange>) -> Self {
        if body.incoming.is_end_stream() {
            body.lease.give_back();
            return Self::empty(exchange);
        }
        if body.incoming.size_hint().exact().is_some()
            && let Poll::Ready(Some(Ok(frame))) = poll_quietly(&mut body.incoming)
            && let Ok(data) = frame.into_data()
        {
            if body.incoming.is_end_stream() {
                body.lease.give_back();
                return Self::ready(data, exchange);
            }
            body.first = Some(data);
        }
        Self {
            content: Content::Peer(Box::new(body)),
            exchange: Rc::clone(exchange),
        }
    }
}

/// Polls a body whose producer is polled right before or after, so that nobody needs to be woken.
fn poll_quietly(incoming: &mut Incoming) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    Pin::new(incoming).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// The peer's response ended early: the client's connection is cut, because its status has been sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerFailed {
    /// The peer closed the connection, or broke the framing.
    #[error("the response of the peer broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// Nothing came for `proxy_read_timeout`.
    #[error("the response of the peer stalled")]
    Stalled,
}

impl PeerBody {
    fn poll(&mut self, exchange: &Exchange) -> Poll<Option<Result<Frame<Bytes>, PeerFailed>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(failed) = self.failed.take() {
            return Poll::Ready(Some(Err(failed)));
        }
        let mut frame = poll_quietly(&mut self.incoming);
        if frame.is_pending() {
            if let Some(connection) = self.lease.connection() {
                connection.drive(exchange.reactor());
            }
            frame = poll_quietly(&mut self.incoming);
        }
        let Poll::Ready(frame) = frame else {
            if !exchange.deadline.is_set() {
                exchange.deadline.set_after(self.read_timeout);
            } else if exchange.deadline.has_passed() {
                return self.fail(PeerFailed::Stalled, exchange);
            }
            return Poll::Pending;
        };
        exchange.deadline.clear();
        let frame = match frame {
            Some(Err(error)) => return self.fail(error.into(), exchange),
            Some(Ok(frame)) => frame,
            None => {
                self.lease.give_back();
                return Poll::Ready(None);
            }
        };
        if self.incoming.is_end_stream() {
            self.lease.give_back();
        }
        if frame.is_trailers() {
            self.lease.give_back();
            if !self.trailers {
                return Poll::Ready(None);
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// An error makes hyper drop what it has not written yet, so it hears of it only after it had the chance to write.
    fn fail(
        &mut self,
        error: PeerFailed,
        exchange: &Exchange,
    ) -> Poll<Option<Result<Frame<Bytes>, PeerFailed>>> {
        self.lease.discard();
        self.failed = Some(error);
        exchange.reactor().schedule(exchange.reactor().current());
        Poll::Pending
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = PeerFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PeerFailed>>> {
        let this = &mut *self;
        let frame = match &mut this.content {
            Content::Empty => return Poll::Ready(None),
            Content::Ready(bytes) => {
                let bytes = std::mem::take(bytes);
                this.content = Content::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Peer(body) => body.poll(&this.exchange),
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    let sent = &this.exchange.sent;
                    sent.set(sent.get() + data.len() as u64);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::warn!(peer = ?this.exchange.record.borrow().node, %error, "response cut");
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Ready(_) => false,
            Content::Peer(body) => body.first.is_none() && body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Ready(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Peer(body) => {
                let first = body.first.as_ref().map_or(0, Bytes::len) as u64;
                match body.incoming.size_hint().exact() {
                    Some(size) => SizeHint::with_exact(size + first),
                    None => SizeHint::default(),
                }
            }
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        match &self.exchange.wire {
            Some(wire) => wire.body_is_done(),
            // Under HTTP/2 the end of the body is the end of the exchange.
            None => self.exchange.finish(),
        }
    }
}
