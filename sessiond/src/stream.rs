//! A client's socket: what a connection asks of it, whatever kind it is. Never waits.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use crate::tls::{Certificates, Session};
use crate::udp::Exchange;

/// A connected socket that does not block.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP or a Unix socket, as it is.
    Plain(OwnedFd),
    /// TLS on it.
    Tls(Box<Session>),
    /// A datagram, which is all there is.
    Datagram(Box<Exchange>),
}

impl Stream {
    /// TLS on a socket that nothing was read from yet.
    pub(crate) fn tls(socket: OwnedFd, certificates: &Certificates) -> io::Result<Self> {
        let session = Session::new(socket, certificates.current())?;
        Ok(Self::Tls(Box::new(session)))
    }

    /// Reads what has arrived behind what `into` holds, as far as its capacity goes, which must be left; 0 when the client
    /// has closed its side, `WouldBlock` when nothing has arrived.
    pub(crate) fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => {
                let (read, _) = recv(socket, spare_capacity(into), RecvFlags::empty())?;
                Ok(read)
            }
            Self::Tls(session) => session.receive(into),
            Self::Datagram(exchange) => Ok(exchange.receive(into)),
        }
    }

    /// Whether there is something to receive that the readiness of the socket does not announce.
    pub(crate) fn has_more(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Datagram(_) => false,
            Self::Tls(session) => session.has_more(),
        }
    }

    /// Sends what [`Stream::send`] took and the socket did not; false when it does not take all of it now.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) | Self::Datagram(_) => Ok(true),
            Self::Tls(session) => session.flush(),
        }
    }

    /// Sends as much of `pieces` as fits now; `WouldBlock` when nothing does.
    pub(crate) fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => Ok(match pieces {
                [piece] => send(socket, piece, SendFlags::NOSIGNAL)?,
                _ => {
                    let mut nothing = SendAncillaryBuffer::default();
                    sendmsg(socket, pieces, &mut nothing, SendFlags::NOSIGNAL)?
                }
            }),
            Self::Tls(session) => session.send(pieces),
            Self::Datagram(exchange) => exchange.send(pieces),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
            Self::Tls(session) => session.as_fd(),
            Self::Datagram(exchange) => exchange.as_fd(),
        }
    }
}
