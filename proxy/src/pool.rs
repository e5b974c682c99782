//! Connections to one peer: idle ones are kept, the one used last is used first (nginx upstream `keepalive`).
//!
//! A connection is hyper's HTTP/1.1 client, polled by whoever uses it and by nobody else: there is no task of its own, no
//! hop between tasks and no second registration. While idle it is watched by the reactor only; when its socket becomes
//! readable (the peer has closed it, or talks out of turn) it is not used again.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::body::RequestBody;
use crate::worker::reactor::{Owner, Reactor};
use crate::worker::socket::Socket;

/// The largest piece of a response that is read at once, and the longest response head.
const READ_BUFFER: usize = 64 * 1024;

/// How often a connection that has more to do is polled again before others get their turn.
const POLLS_IN_A_ROW: usize = 4;

/// The idle connections of one worker to one peer.
pub(crate) struct PeerPool {
    address: SocketAddr,
    reactor: Rc<Reactor>,
    idle: RefCell<Vec<Idle>>,
    limit: Cell<usize>,
    timeout: Cell<u64>,
    requests: Cell<u64>,
}

struct Idle {
    connection: PeerConnection,
    since: u64,
}

/// One connection to a peer.
pub(crate) struct PeerConnection(Box<Inner>);

struct Inner {
    sender: SendRequest<RequestBody>,
    http: Connection<SharedSocket, RequestBody>,
    socket: SharedSocket,
    requests: u64,
    /// hyper has ended the connection.
    over: bool,
}

impl PeerPool {
    pub(crate) fn new(address: SocketAddr, reactor: Rc<Reactor>) -> Self {
        Self {
            address,
            reactor,
            idle: RefCell::default(),
            limit: Cell::new(0),
            timeout: Cell::new(0),
            requests: Cell::new(0),
        }
    }

    /// At most `limit` idle connections, each idle for at most `timeout` ms and used for at most `requests` requests.
    pub(crate) fn set_limits(&self, limit: usize, timeout: u64, requests: u64) {
        self.limit.set(limit);
        self.timeout.set(timeout);
        self.requests.set(requests);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection that was used last, if it can still be used.
    pub(crate) fn take(&self) -> Option<PeerConnection> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            if !idle.connection.is_stale() {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection for the next request, where it can be used again.
    pub(crate) fn put(&self, connection: PeerConnection) {
        let inner = &connection.0;
        if self.limit.get() == 0
            || inner.requests >= self.requests.get()
            || inner.over
            || !inner.sender.is_ready()
            || connection.is_stale()
        {
            return;
        }
        inner.socket.0.borrow().set_owner(Owner::Nobody);
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.limit.get() {
            idle.remove(0);
        }
        idle.push(Idle {
            connection,
            since: self.reactor.now(),
        });
    }

    /// A new connection, ready for a request. Stays pending until the socket says that it stands.
    pub(crate) async fn connect(&self) -> io::Result<PeerConnection> {
        let socket = Socket::connect(self.address, Rc::clone(&self.reactor))?;
        std::future::poll_fn(|_| socket.poll_connected()).await?;
        let socket = SharedSocket(Rc::new(RefCell::new(socket)));
        // hyper's own limit of 100 fields stays: it is what it has room for without allocating.
        let (sender, http) = Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(socket.clone())
            .await
            .map_err(io::Error::other)?;
        Ok(PeerConnection(Box::new(Inner {
            sender,
            http,
            socket,
            requests: 0,
            over: false,
        })))
    }

    /// Closes what was idle for too long, and what its peer has closed.
    pub(crate) fn sweep(&self, now: u64) {
        let oldest = now.saturating_sub(self.timeout.get());
        self.idle
            .borrow_mut()
            .retain(|idle| idle.since > oldest && !idle.connection.is_stale());
    }
}

impl PeerConnection {
    /// Its socket is readable although nothing was asked: it has been closed, or cannot be trusted.
    fn is_stale(&self) -> bool {
        self.0.socket.0.borrow().readable()
    }

    /// It has served a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.0.requests > 0
    }

    /// Bytes written to and read from the peer so far.
    pub(crate) fn moved(&self) -> Moved {
        self.0.socket.0.borrow().moved()
    }

    /// Hands a request to hyper; [`PeerConnection::drive`] sends it.
    pub(crate) fn send(
        &mut self,
        request: http::Request<RequestBody>,
    ) -> impl Future<Output = Sent> + use<> {
        self.0.requests += 1;
        self.0.sender.try_send_request(request)
    }

    /// Lets hyper read and write what it can. Whoever polls this afterwards polls what hyper may have produced, so
    /// nothing needs to be woken; hyper's wish to be polled again is granted here.
    pub(crate) fn drive(&mut self, reactor: &Reactor) {
        let inner = &mut *self.0;
        for _ in 0..POLLS_IN_A_ROW {
            if inner.over {
                return;
            }
            reactor.again().clear();
            let cx = &mut Context::from_waker(reactor.again().waker());
            if inner.http.poll_without_shutdown(cx).is_ready() {
                // Why it ended is told to whoever waits for the response or its body.
                inner.over = true;
            }
            if !reactor.again().is_wanted() {
                return;
            }
        }
        reactor.schedule(reactor.current());
    }

    /// hyper has ended the connection; after an accepted upgrade it is to be taken apart.
    pub(crate) fn is_over(&self) -> bool {
        self.0.over
    }

    /// Takes the connection out of HTTP: its socket, and what was read behind the last head.
    pub(crate) fn into_raw(self) -> Option<(Socket, bytes::Bytes)> {
        let inner = *self.0;
        let parts = inner.http.into_parts();
        drop(parts.io);
        drop(inner.sender);
        let socket = Rc::try_unwrap(inner.socket.0).ok()?.into_inner();
        Some((socket, parts.read_buf))
    }
}

/// What becomes of a request that was handed to hyper.
pub(crate) type Sent = Result<
    http::Response<hyper::body::Incoming>,
    hyper::client::conn::TrySendError<http::Request<RequestBody>>,
>;

/// Bytes that went through a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// A socket that hyper uses and we look at.
#[derive(Clone)]
pub(crate) struct SharedSocket(Rc<RefCell<Socket>>);

impl Read for SharedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Read::poll_read(Pin::new(&mut *self.0.borrow_mut()), cx, buf)
    }
}

impl Write for SharedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Write::poll_write(Pin::new(&mut *self.0.borrow_mut()), cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Write::poll_write_vectored(Pin::new(&mut *self.0.borrow_mut()), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_shutdown(Pin::new(&mut *self.0.borrow_mut()), cx)
    }
}
