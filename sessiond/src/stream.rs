//! A client's socket: what a connection asks of it, whatever kind it is. Never waits.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

/// A connected socket that does not block.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP or a Unix socket, as it is.
    Plain(OwnedFd),
}

impl Stream {
    /// Reads what has arrived behind what `into` holds, as far as its capacity goes, which must be left; 0 when the client
    /// has closed its side, `WouldBlock` when nothing has arrived.
    pub(crate) fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => {
                let (read, _) = recv(socket, spare_capacity(into), RecvFlags::empty())?;
                Ok(read)
            }
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
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
        }
    }
}
