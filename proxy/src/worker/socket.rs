//! A TCP socket under one worker's reactor.
//!
//! Reads that come back short and writes that were refused change the readiness bits, so that in the steady state a
//! message costs one `recv` and one `send` and never a call that only says "not yet". Waiting means: this task owns
//! the socket and is told; the waker of the context is not used.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, sockopt,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outbox::{Link, SMALL};
use super::reactor::{Owner, Reactor};
use crate::pool::Moved;

/// See the module. Closed when dropped, as soon as what it has sent is gone.
pub(crate) struct Socket {
    link: Rc<Link>,
    reactor: Rc<Reactor>,
}

impl Socket {
    /// Takes a connected, non-blocking socket. It belongs to nobody until a task waits for it.
    pub(crate) fn new(fd: OwnedFd, reactor: Rc<Reactor>) -> io::Result<Self> {
        Self::watched(fd, reactor, false)
    }

    fn watched(fd: OwnedFd, reactor: Rc<Reactor>, to_peer: bool) -> io::Result<Self> {
        let slot = reactor.watch(&fd, Owner::Nobody, true)?;
        let link = Rc::new(Link {
            fd,
            slot,
            to_peer,
            moved: Cell::default(),
            queued: Cell::new(false),
            light: Cell::new(true),
            closed: Cell::new(false),
        });
        Ok(Self { link, reactor })
    }

    /// Begins to connect; [`Socket::poll_connected`] says how it went.
    pub(crate) fn connect(address: SocketAddr, reactor: Rc<Reactor>) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let fd = rustix::net::socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match rustix::net::connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Self::watched(fd, reactor, true)
    }

    /// Ready when the connection stands or could not be made.
    pub(crate) fn poll_connected(&self) -> Poll<io::Result<()>> {
        if !self.reactor.writable(self.link.slot) {
            self.reactor.own(self.link.slot);
            return Poll::Pending;
        }
        if self.reactor.broken(self.link.slot) {
            let error = sockopt::socket_error(&self.link.fd)?.err();
            return Poll::Ready(Err(
                error.map_or_else(|| io::ErrorKind::ConnectionRefused.into(), io::Error::from)
            ));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into `buf`; 0 is the end. Pending makes the running task the owner.
    pub(crate) fn poll_recv(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.reactor.readable(self.link.slot) {
            self.reactor.own(self.link.slot);
            return Poll::Pending;
        }
        loop {
            match rustix::net::recv(&self.link.fd, &mut *buf, RecvFlags::empty()) {
                Ok((read, _)) => {
                    if read < buf.len() && read > 0 {
                        self.reactor.drained(self.link.slot);
                    }
                    self.link.light.set(true);
                    let mut moved = self.link.moved.get();
                    moved.received += read as u64;
                    self.link.moved.set(moved);
                    return Poll::Ready(Ok(read));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.reactor.blocked_reading(self.link.slot);
                    self.reactor.own(self.link.slot);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes what fits; a small message only goes as far as the worker's outbox, which is emptied at the end of the turn.
    /// Pending makes the running task the owner.
    pub(crate) fn poll_send(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.link.queued.get() {
            // What was put down comes first.
            self.reactor.post();
        }
        if !self.reactor.writable(self.link.slot) || self.link.queued.get() {
            self.reactor.own(self.link.slot);
            return Poll::Pending;
        }
        let wanted: usize = bufs.iter().map(|b| b.len()).sum();
        if wanted <= SMALL && self.link.light.get() {
            self.reactor.put(&self.link, bufs.iter().map(|buf| &**buf));
            return Poll::Ready(Ok(wanted));
        }
        self.link.light.set(false);
        loop {
            let sent = match bufs {
                [one] => rustix::net::send(&self.link.fd, one, SendFlags::NOSIGNAL),
                many => rustix::io::writev(&self.link.fd, many),
            };
            match sent {
                Ok(sent) => {
                    if sent < wanted {
                        self.reactor.blocked_writing(self.link.slot);
                    }
                    self.link.count_sent(sent);
                    return Poll::Ready(Ok(sent));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.reactor.blocked_writing(self.link.slot);
                    self.reactor.own(self.link.slot);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Sends our end (FIN); reading goes on.
    pub(crate) fn end(&self) {
        if self.link.queued.get() {
            self.reactor.post();
        }
        // It fails when the connection is gone, and then the other side needs no end.
        let _ = rustix::net::shutdown(&self.link.fd, Shutdown::Write);
    }

    /// Bytes that went through so far.
    pub(crate) fn moved(&self) -> Moved {
        self.link.moved.get()
    }

    /// The other side has sent its end, or the connection is broken.
    pub(crate) fn read_closed(&self) -> bool {
        self.reactor.read_closed(self.link.slot)
    }

    /// The connection is broken (reset).
    pub(crate) fn broken(&self) -> bool {
        self.reactor.broken(self.link.slot)
    }

    /// There is something to read: bytes, the end, or an error.
    pub(crate) fn readable(&self) -> bool {
        self.reactor.readable(self.link.slot)
    }

    /// Who is told when the socket becomes ready.
    pub(crate) fn set_owner(&self, owner: Owner) {
        self.reactor.set_owner(self.link.slot, owner);
    }

    /// Makes the running task the owner.
    pub(crate) fn own(&self) {
        self.reactor.own(self.link.slot);
    }

    /// The address this side has.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = rustix::net::getsockname(&self.link.fd)?;
        SocketAddr::try_from(address).map_err(|_| io::ErrorKind::Unsupported.into())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.link.closed.set(true);
        self.reactor.forget(self.link.slot);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.fd.as_fd()
    }
}

/// For hyper's client side. A read goes through the worker's buffer, because only a copy into hyper's memory is free
/// of `unsafe`; it stays in the processor's cache.
impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let reactor = Rc::clone(&self.reactor);
        reactor.with_scratch(|scratch| {
            let room = buf.remaining().min(scratch.len());
            self.poll_recv(&mut scratch[..room])
                .map_ok(|read| buf.put_slice(&scratch[..read]))
        })
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(&[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

/// For TLS.
impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.poll_recv(buf.initialize_unfilled());
        read.map_ok(|read| buf.advance(read))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(&[IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}
