//! Bodies on their way: counted, limited, timed, and kept for a second try while they are small.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::exchange::{Exchange, Fault};
use crate::pool::{Moved, PeerConnection, PeerPool};
use crate::upstream::Counters;
use crate::worker::view::View;

/// A request body up to this size is kept until the response begins, so that the request can be sent to another peer.
pub(crate) const REPLAY_MAX: usize = 64 * 1024;

/// Where the bytes of a request's body come from; outlives the tries to send it.
pub(crate) struct BodySource {
    incoming: RefCell<Incoming>,
    /// What was taken so far, while that is little.
    kept: RefCell<Vec<Bytes>>,
    kept_size: Cell<usize>,
    replayable: Cell<bool>,
    /// What may still come.
    room: Cell<u64>,
    /// Waiting for the client.
    waiting: Cell<bool>,
    ended: Cell<bool>,
    exchange: Rc<Exchange>,
}

/// A request's body, for one try.
pub(crate) struct RequestBody {
    source: Option<Rc<BodySource>>,
    /// How many of the kept pieces this try has taken.
    next: usize,
}

/// The client's body cannot be read to its end; [`Exchange::fault`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the client's body ended early")]
pub(crate) struct BodyFailed;

impl BodySource {
    /// `limit` is the most that may come.
    pub(crate) fn new(incoming: Incoming, limit: Option<u64>, exchange: Rc<Exchange>) -> Self {
        let small = incoming
            .size_hint()
            .upper()
            .is_some_and(|size| size <= REPLAY_MAX as u64);
        Self {
            incoming: RefCell::new(incoming),
            kept: RefCell::default(),
            kept_size: Cell::new(0),
            replayable: Cell::new(small),
            room: Cell::new(limit.unwrap_or(u64::MAX)),
            waiting: Cell::new(false),
            ended: Cell::new(false),
            exchange,
        }
    }

    /// Nothing was taken, or all that was taken is kept.
    pub(crate) fn is_replayable(&self) -> bool {
        self.replayable.get() || self.kept_size.get() == 0
    }

    /// The client is what keeps the request from going on.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// All of it has been taken.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get()
    }

    fn take(&self, data: &Bytes) -> Result<(), Fault> {
        let size = data.len();
        let room = self.room.get().checked_sub(size as u64);
        self.room.set(room.ok_or(Fault::TooLarge)?);
        self.kept_size
            .set(self.kept_size.get().saturating_add(size));
        if self.kept_size.get() > REPLAY_MAX {
            self.replayable.set(false);
            self.kept.borrow_mut().clear();
        }
        if self.replayable.get() {
            self.kept.borrow_mut().push(data.clone());
        }
        Ok(())
    }

    fn poll_next(
        &self,
        cx: &mut Context<'_>,
        next: &mut usize,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        if let Some(data) = self.kept.borrow().get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        let exchange = &self.exchange;
        self.waiting.set(false);
        // Under HTTP/1.1 the client's bytes wake the task that polls this. Under HTTP/2 they come through another task,
        // and the waker at hand only reaches as far as the peer's connection.
        let other = exchange
            .wire
            .is_none()
            .then(|| exchange.worker.tasks.current_waker());
        let cx = &mut Context::from_waker(other.as_ref().unwrap_or(cx.waker()));
        loop {
            let frame = match Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(cx) {
                Poll::Pending => {
                    self.waiting.set(true);
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    self.ended.set(true);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(peer = %exchange.peer, %error, "request body failed");
                    if exchange.fault.get().is_none() {
                        let malformed = exchange
                            .wire
                            .as_ref()
                            .is_some_and(|wire| wire.is_malformed());
                        exchange.fault.set(Some(if malformed {
                            Fault::Malformed
                        } else {
                            Fault::Gone
                        }));
                    }
                    return Poll::Ready(Some(Err(BodyFailed)));
                }
            };
            // Request trailers are dropped: a peer might take them for fields of the head (RFC 9110 section 6.5.1).
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if let Err(fault) = self.take(&data) {
                exchange.fault.set(Some(fault));
                return Poll::Ready(Some(Err(BodyFailed)));
            }
            if self.replayable.get() {
                *next += 1;
            }
            self.ended.set(self.incoming.borrow().is_end_stream());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
}

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self {
            source: None,
            next: 0,
        }
    }

    /// A try that begins with what earlier tries have taken.
    pub(crate) fn from_source(source: &Rc<BodySource>) -> Self {
        Self {
            source: Some(Rc::clone(source)),
            next: 0,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let this = &mut *self;
        match &this.source {
            None => Poll::Ready(None),
            Some(source) => source.poll_next(cx, &mut this.next),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            None => SizeHint::with_exact(0),
            Some(source) if source.kept_size.get() == 0 => source.incoming.borrow().size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

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

/// A peer's connection for the time of a request, and the peer's count of it.
pub(crate) struct Lease {
    connection: Option<PeerConnection>,
    /// The view is shared within the worker only, so that nothing here is counted across processors.
    view: Rc<View>,
    upstream: usize,
    peer: usize,
    before: Moved,
}

impl Lease {
    /// Counts the request at the peer until the lease is dropped.
    pub(crate) fn new(view: Rc<View>, upstream: usize, peer: usize) -> Self {
        let lease = Self {
            connection: None,
            view,
            upstream,
            peer,
            before: Moved::default(),
        };
        lease.counters().begin(lease.view.worker);
        lease
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.view.site.upstreams[self.upstream].peers[self.peer].counters
    }

    pub(crate) fn pool(&self) -> &PeerPool {
        &self.view.groups[self.upstream].pools[self.peer]
    }

    pub(crate) fn hold(&mut self, connection: PeerConnection) -> &mut PeerConnection {
        self.before = connection.moved();
        self.connection.insert(connection)
    }

    pub(crate) fn connection(&mut self) -> Option<&mut PeerConnection> {
        self.connection.as_mut()
    }

    /// The connection is not used again.
    pub(crate) fn discard(&mut self) {
        drop(self.take());
    }

    /// Takes the connection out for good.
    pub(crate) fn take(&mut self) -> Option<PeerConnection> {
        let connection = self.connection.take()?;
        let moved = connection.moved();
        self.counters().bytes(
            self.view.worker,
            moved.sent.saturating_sub(self.before.sent),
            moved.received.saturating_sub(self.before.received),
        );
        Some(connection)
    }

    /// The response is complete: the connection goes back, where it can be used again.
    pub(crate) fn give_back(&mut self) {
        if let Some(connection) = self.take() {
            self.pool().put(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.discard();
        self.counters().end(self.view.worker);
    }
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
