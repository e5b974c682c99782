//! What hyper's server side reads from and writes to: a client's connection, one message at a time.
//!
//! ```text
//!   socket ──► input: received, not yet given away ──► granted: bytes of the present message ──► hyper
//!                                                      (head and body framing by crate::head and crate::chunked)
//! ```
//!
//! hyper never sees a byte behind the message it works on. So a second reading of where a message ends cannot differ from
//! ours in any way that matters, a pipelined request waits where it cannot be mistaken for a body, and between two
//! messages hyper holds nothing: the connection under it can be exchanged, which is how a few engines serve thousands of
//! idle connections.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::Conn;
use crate::chunked::{Scanned, Scanner};
use crate::head::Framing;
use crate::worker::reactor::{NEVER, Reactor};

/// The part of a message that has not come from the socket yet.
#[derive(Debug)]
pub(crate) enum Rest {
    /// Nothing: the message is complete.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// Up to the end of the last chunk and the trailers.
    Chunked(Scanner),
}

/// Which side has kept us waiting for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stalled {
    /// The client does not send its body (`client_body_timeout`).
    Body,
    /// The client does not take the response (`send_timeout`).
    Send,
}

struct State {
    conn: Option<Conn>,
    input: Vec<u8>,
    /// Where the part of `input` begins that hyper has not got.
    start: usize,
    /// How much of it belongs to the present message.
    granted: usize,
    /// Where the head of the present message stands in `input`.
    head: Range<usize>,
    rest: Rest,
    body_timeout: u64,
    send_timeout: u64,
    /// When waiting for body bytes, or for room to send, becomes too long.
    body_deadline: u64,
    send_deadline: u64,
    /// hyper has got the whole response body.
    body_done: bool,
    /// And everything has been written.
    flushed: bool,
    /// And hyper has asked for the next head.
    wants_next: bool,
    /// The client has broken the framing of its body.
    malformed: bool,
    /// The body is given up.
    failed: bool,
}

/// hyper's transport, and its other end.
#[derive(Clone)]
pub(crate) struct Wire {
    state: Rc<RefCell<State>>,
    reactor: Rc<Reactor>,
}

impl Wire {
    pub(crate) fn new(reactor: Rc<Reactor>) -> Self {
        let state = State {
            conn: None,
            input: Vec::new(),
            start: 0,
            granted: 0,
            head: 0..0,
            rest: Rest::Nothing,
            body_timeout: NEVER,
            send_timeout: NEVER,
            body_deadline: NEVER,
            send_deadline: NEVER,
            body_done: false,
            flushed: false,
            wants_next: false,
            malformed: false,
            failed: false,
        };
        Self {
            state: Rc::new(RefCell::new(state)),
            reactor,
        }
    }

    /// Puts a connection under hyper, with what was read from it before.
    pub(crate) fn attach(&self, mut conn: Conn) {
        let state = &mut *self.state.borrow_mut();
        state.start = 0;
        if conn.early.is_empty() {
            state.input.clear();
        } else {
            state.input = std::mem::take(&mut conn.early);
        }
        // From here on the engine is told what happens to the client, also while it waits for a peer.
        conn.stream.socket().own();
        state.conn = Some(conn);
    }

    /// Takes the connection away again, with what was read and not given to hyper.
    pub(crate) fn detach(&self) -> Option<Conn> {
        let state = &mut *self.state.borrow_mut();
        let mut conn = state.conn.take()?;
        if state.start < state.input.len() {
            conn.early = state.input.split_off(state.start);
        }
        state.input.clear();
        // A large head must not be paid for by every later connection of this engine.
        state.input.shrink_to(INPUT_KEPT);
        state.start = 0;
        Some(conn)
    }

    /// Looks at the connection under hyper.
    pub(crate) fn with_conn<T>(&self, f: impl FnOnce(&mut Conn) -> T) -> Option<T> {
        self.state.borrow_mut().conn.as_mut().map(f)
    }

    /// Calls `f` with what was received and not given to hyper.
    pub(crate) fn with_input<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        let state = self.state.borrow();
        f(&state.input[state.start..])
    }

    /// Reads more from the client; 0 is the end.
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        let Some(conn) = &mut state.conn else {
            return Poll::Ready(Ok(0));
        };
        if state.start == state.input.len() {
            state.input.clear();
            state.start = 0;
        }
        self.reactor.with_scratch(|scratch| {
            let read = ready!(conn.stream.poll_read(cx, scratch))?;
            state.input.extend_from_slice(&scratch[..read]);
            Poll::Ready(Ok(read))
        })
    }

    /// Lets hyper have the next message: its head of `head` bytes, and its body as it comes.
    pub(crate) fn begin(
        &self,
        head: usize,
        framing: Framing,
        body_timeout: u64,
        send_timeout: u64,
    ) {
        let state = &mut *self.state.borrow_mut();
        state.granted = head;
        state.head = state.start..state.start + head;
        state.rest = match framing {
            Framing::None | Framing::Length(0) => Rest::Nothing,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(Scanner::default()),
        };
        state.body_timeout = body_timeout;
        state.send_timeout = send_timeout;
        state.body_deadline = NEVER;
        state.send_deadline = NEVER;
        state.body_done = false;
        state.flushed = false;
        state.wants_next = false;
        state.malformed = false;
        state.failed = false;
        state.grant_body(head);
    }

    /// Throws away the first `count` bytes of what was received.
    pub(crate) fn skip(&self, count: usize) {
        self.state.borrow_mut().start += count;
    }

    /// Throws away all that was received.
    pub(crate) fn skip_all(&self) {
        let state = &mut *self.state.borrow_mut();
        state.start = state.input.len();
        state.granted = 0;
        state.rest = Rest::Nothing;
    }

    /// Something was received that belongs to no request yet.
    pub(crate) fn has_unread(&self) -> bool {
        let state = self.state.borrow();
        state.start < state.input.len()
    }

    /// The connection is broken.
    pub(crate) fn has_left(&self) -> bool {
        let state = self.state.borrow();
        state
            .conn
            .as_ref()
            .is_none_or(|conn| conn.stream.socket().broken())
    }

    /// The client has sent its end.
    pub(crate) fn has_ended(&self) -> bool {
        let state = self.state.borrow();
        state
            .conn
            .as_ref()
            .is_none_or(|conn| conn.stream.socket().read_closed())
    }

    /// Ends the request's body with an error, because the client does not send it.
    pub(crate) fn fail_body(&self) {
        let state = &mut *self.state.borrow_mut();
        state.failed = true;
        state.body_deadline = NEVER;
    }

    /// Calls `f` with the head of the present message as received. It is there as long as the message has no body.
    pub(crate) fn with_head<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        let state = self.state.borrow();
        f(state.input.get(state.head.clone()).unwrap_or_default())
    }

    /// hyper has got the last of the response's body, or will not ask for it.
    pub(crate) fn body_is_done(&self) {
        self.state.borrow_mut().body_done = true;
    }

    /// The request has been read and the response written, both to their ends, and hyper is ready for the next. That it
    /// asks for it is what tells: before, it may still have to find out that this was the last.
    pub(crate) fn is_complete(&self) -> bool {
        self.state.borrow().wants_next
    }

    /// The whole request has been received.
    pub(crate) fn is_request_received(&self) -> bool {
        matches!(self.state.borrow().rest, Rest::Nothing)
    }

    /// The body's framing was wrong.
    pub(crate) fn is_malformed(&self) -> bool {
        self.state.borrow().malformed
    }

    /// When the wait for the client becomes too long.
    pub(crate) fn deadline(&self) -> u64 {
        let state = self.state.borrow();
        state.body_deadline.min(state.send_deadline)
    }

    /// What the client has been too slow with.
    pub(crate) fn stalled(&self) -> Option<Stalled> {
        let now = self.reactor.now();
        let state = self.state.borrow();
        if state.send_deadline <= now {
            Some(Stalled::Send)
        } else if state.body_deadline <= now {
            Some(Stalled::Body)
        } else {
            None
        }
    }

    fn poll_send(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        let Some(conn) = &mut state.conn else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let sent = conn.stream.poll_write(cx, bufs);
        match &sent {
            Poll::Ready(_) => state.send_deadline = NEVER,
            Poll::Pending if state.send_deadline == NEVER => {
                state.send_deadline = self.reactor.now().saturating_add(state.send_timeout);
            }
            Poll::Pending => {}
        }
        sent
    }
}

/// Room for received bytes that an engine keeps between two connections.
const INPUT_KEPT: usize = 4096;

impl State {
    /// Extends what is granted by body bytes that are in `input` behind the first `known` bytes.
    fn grant_body(&mut self, known: usize) {
        let behind = &self.input[self.start + known..];
        match &mut self.rest {
            Rest::Nothing => {}
            Rest::Length(left) => {
                let more = behind
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= more as u64;
                self.granted += more;
                if *left == 0 {
                    self.rest = Rest::Nothing;
                }
            }
            Rest::Chunked(scanner) => match scanner.scan(behind) {
                Scanned::More => self.granted += behind.len(),
                Scanned::End(used) => {
                    self.granted += used;
                    self.rest = Rest::Nothing;
                }
                Scanned::Invalid(_) => self.malformed = true,
            },
        }
    }
}

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let state = &mut *self.state.borrow_mut();
        if state.failed {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if state.granted > 0 {
            let length = state.granted.min(buf.remaining());
            buf.put_slice(&state.input[state.start..state.start + length]);
            state.start += length;
            state.granted -= length;
            return Poll::Ready(Ok(()));
        }
        if state.malformed {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let limit = match &state.rest {
            Rest::Nothing => {
                state.wants_next = state.flushed;
                return Poll::Pending;
            }
            Rest::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Rest::Chunked(_) => usize::MAX,
        };
        let Some(conn) = &mut state.conn else {
            return Poll::Ready(Ok(()));
        };
        let read = self.reactor.with_scratch(|scratch| {
            let room = limit.min(buf.remaining()).min(scratch.len());
            let Poll::Ready(read) = conn.stream.poll_read(cx, &mut scratch[..room]) else {
                return Poll::Pending;
            };
            let received = &scratch[..read?];
            match &mut state.rest {
                Rest::Nothing => {}
                Rest::Length(left) => {
                    buf.put_slice(received);
                    *left -= received.len() as u64;
                    if *left == 0 {
                        state.rest = Rest::Nothing;
                    }
                }
                Rest::Chunked(scanner) => match scanner.scan(received) {
                    Scanned::More => buf.put_slice(received),
                    Scanned::End(used) => {
                        buf.put_slice(&received[..used]);
                        state.rest = Rest::Nothing;
                        state.input.clear();
                        state.start = 0;
                        state.input.extend_from_slice(&received[used..]);
                    }
                    Scanned::Invalid(_) => {
                        state.malformed = true;
                        return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                    }
                },
            }
            Poll::Ready(Ok(()))
        });
        match &read {
            Poll::Ready(_) => state.body_deadline = NEVER,
            Poll::Pending if state.body_deadline == NEVER => {
                state.body_deadline = self.reactor.now().saturating_add(state.body_timeout);
            }
            Poll::Pending => {}
        }
        read
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper calls this when it has written all it has.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.state.borrow_mut();
        if let Some(conn) = &mut state.conn {
            ready!(conn.stream.poll_flush(cx))?;
        }
        state.flushed |= state.body_done;
        Poll::Ready(Ok(()))
    }

    /// The connection is ours: we close it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
