//! One datagram as a connection sees it: it receives the request and then the end, and what it sends is gathered.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tokio::net::UdpSocket;

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    socket: Arc<UdpSocket>,
    request: Vec<u8>,
    received: usize,
    reply: Reply,
    /// More of a reply than this is not kept.
    most: usize,
}

/// What was sent, up to a bound.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    /// It was longer than it may be; `bytes` is its beginning.
    pub(super) is_cut: bool,
}

impl Exchange {
    /// A request that came through `socket`, and whose reply is kept up to `most` bytes.
    pub(super) fn new(socket: Arc<UdpSocket>, request: &[u8], most: usize) -> Self {
        Self {
            socket,
            request: request.to_vec(),
            received: 0,
            reply: Reply::default(),
            most,
        }
    }

    /// As [`crate::stream::Stream::receive`].
    pub(crate) fn receive(&mut self, into: &mut Vec<u8>) -> usize {
        let rest = self.request.get(self.received..).unwrap_or_default();
        let room = into.capacity().saturating_sub(into.len());
        let part = rest.get(..room).unwrap_or(rest);
        into.extend_from_slice(part);
        self.received = self.received.saturating_add(part.len());
        part.len()
    }

    /// As [`crate::stream::Stream::send`].
    pub(crate) fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken: usize = 0;
        for piece in pieces {
            let room = self.most.saturating_sub(self.reply.bytes.len());
            let part = piece.get(..room).unwrap_or(piece);
            self.reply.bytes.extend_from_slice(part);
            self.reply.is_cut |= part.len() < piece.len();
            taken = taken.saturating_add(piece.len());
        }
        Ok(taken)
    }

    /// What was sent since this was last asked for.
    pub(super) fn take_reply(&mut self) -> Reply {
        std::mem::take(&mut self.reply)
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
