//! A request's body on its way to a peer: limited, timed by whoever waits for it, and kept for a second try while it is small.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::exchange::{Exchange, Fault};

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
