//! Clients without a connection: each datagram is a request of its own, executed by the same code as all others.
//!
//! Nobody can be used as a weapon: whoever sends a datagram may write another's address on it, and the reply goes there.
//! memcached sent replies of a megabyte to requests of 15 bytes, the largest such attacks there have been. So the
//! replies to a datagram are together at most [`AMPLIFICATION_MAX`] times as long as it, the bound that QUIC has for
//! clients that have not shown that they are where they say (RFC 9000, section 8.1); a longer reply becomes a short
//! error. Networks that are trusted (`udp_trusted`, by default this machine) get any reply.
//!
//! Datagrams from ports of well-known services, and from the port we have ourselves, are dropped: their answers to our
//! answers would never end.

mod exchange;
mod frame;

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use program::Failure;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tracing::debug;

use crate::config::Networks;
use crate::connection::{Connection, Desk, Next};
use crate::protocol::binary;
use crate::stream::Stream;
use exchange::Reply;

pub(crate) use exchange::Exchange;

/// The replies to a datagram are at most so many times as long as it.
const AMPLIFICATION_MAX: usize = 3;

/// What a client is told whose reply would be longer.
const TOO_LARGE: &[u8] = b"SERVER_ERROR too large for UDP\r\n";

/// The first byte of a reply in the binary protocol.
const MAGIC: u8 = 0x81;

/// The largest datagram there is.
const DATAGRAM_MAX: usize = 64 * 1024;

/// A reply to a trusted client holds at most so many items of the largest size.
const ITEMS_MAX: usize = 2;

/// Ports below this belong to services, which answer whatever comes.
const FIRST_CLIENT_PORT: u16 = 1024;

/// How long nothing is received after an error.
const PAUSE: Duration = Duration::from_millis(10);

/// The sockets for datagrams.
#[derive(Debug)]
pub(crate) struct Datagrams {
    sockets: Vec<Arc<UdpSocket>>,
    trusted: Networks,
    /// The longest reply that a trusted client gets.
    reply_max: usize,
    /// Which socket is asked first.
    turn: usize,
}

/// A datagram that has come.
struct Received {
    socket: Arc<UdpSocket>,
    length: usize,
    from: SocketAddr,
}

impl Datagrams {
    /// Puts the sockets into the event loop of this runtime.
    pub(crate) fn open(
        sockets: Vec<std::net::UdpSocket>,
        trusted: Networks,
        item_size_max: usize,
    ) -> Result<Self, Failure> {
        let sockets: io::Result<Vec<_>> = sockets
            .into_iter()
            .map(|socket| UdpSocket::from_std(socket).map(Arc::new))
            .collect();
        Ok(Self {
            sockets: sockets.map_err(|e| Failure::environment("cannot use the UDP socket", e))?,
            trusted,
            reply_max: item_size_max
                .saturating_mul(ITEMS_MAX)
                .min(frame::REPLY_MAX),
            turn: 0,
        })
    }

    /// Answers datagrams; never completes. The desk takes one request a turn.
    pub(crate) async fn serve(mut self, mut desk: Desk<'_>) {
        if self.sockets.is_empty() {
            return pending().await;
        }
        desk.turn = 1;
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let received = match self.receive(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    debug!(%error, "cannot receive a datagram");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Received {
                socket,
                length,
                from,
            } = received;
            let datagram = buffer.get(..length).unwrap_or_default();
            for reply in self.answer(&socket, datagram, from, &mut desk) {
                if let Err(error) = socket.send_to(&reply, from).await {
                    debug!(%error, %from, "cannot send a datagram");
                    break;
                }
            }
        }
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        poll_fn(|context| {
            let count = self.sockets.len();
            for step in 0..count {
                let index = (self.turn + step) % count;
                let Some(socket) = self.sockets.get(index) else {
                    break;
                };
                let mut into = ReadBuf::new(buffer);
                if let Poll::Ready(received) = socket.poll_recv_from(context, &mut into) {
                    self.turn = (index + 1) % count;
                    let length = into.filled().len();
                    return Poll::Ready(received.map(|from| Received {
                        socket: Arc::clone(socket),
                        length,
                        from,
                    }));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Executes what a datagram asks; the datagrams of the replies.
    fn answer(
        &self,
        socket: &Arc<UdpSocket>,
        datagram: &[u8],
        from: SocketAddr,
        desk: &mut Desk<'_>,
    ) -> Vec<Vec<u8>> {
        let own = socket.local_addr().map(|own| own.port());
        if from.port() < FIRST_CLIENT_PORT || own.is_ok_and(|own| own == from.port()) {
            return Vec::new();
        }
        let Some((id, request)) = frame::parse(datagram) else {
            return Vec::new();
        };
        let trusted = self.trusted.contain(from.ip());
        let mut left = if trusted {
            usize::MAX
        } else {
            datagram.len().saturating_mul(AMPLIFICATION_MAX)
        };
        let most = if trusted { self.reply_max } else { left };
        let exchange = Exchange::new(Arc::clone(socket), request, most.max(binary::HEADER));
        let mut sent = Vec::new();
        for reply in execute(exchange, request.len(), desk) {
            let whole = !reply.is_cut && frame::length(reply.bytes.len()) <= left;
            let bytes = if whole {
                reply.bytes
            } else {
                too_large(&reply)
            };
            let length = frame::length(bytes.len());
            if length <= left {
                left -= length;
                sent.extend(frame::reply(id, &bytes));
            }
        }
        sent
    }
}

/// Executes the requests of a datagram; a reply for each that has one. What is not complete is dropped.
fn execute(exchange: Exchange, length: usize, desk: &mut Desk<'_>) -> Vec<Reply> {
    let now = desk.now();
    let buffers = Arc::clone(desk.buffers);
    let mut connection = Connection::new(Stream::Datagram(Box::new(exchange)), &buffers, now);
    let mut replies = Vec::new();
    // Every turn takes a byte of the request or a key of a retrieval at least; the end takes one more.
    for _ in 0..length.saturating_add(2) {
        let next = connection.turn(desk);
        let owes_more = connection.owes_more();
        let Stream::Datagram(exchange) = connection.stream_mut() else {
            break;
        };
        if !owes_more {
            let reply = exchange.take_reply();
            if !reply.bytes.is_empty() {
                replies.push(reply);
            }
        }
        if !matches!(next, Ok(Next::Read | Next::Turn)) {
            break;
        }
    }
    replies
}

/// The error in place of a reply, in the protocol of that reply, which its beginning tells.
fn too_large(reply: &Reply) -> Vec<u8> {
    let Some([MAGIC, opcode, header @ ..]) = reply.bytes.first_chunk::<{ binary::HEADER }>() else {
        return TOO_LARGE.to_vec();
    };
    let [_, _, _, _, _, _, _, _, _, _, a, b, c, d, ..] = *header;
    let header = binary::Header {
        opcode: *opcode,
        opaque: [a, b, c, d],
        cas: 0,
    };
    let mut refusal = Vec::new();
    let refused = binary::Response::Failed(binary::Status::TooLarge);
    binary::encode(&header, &refused, &mut refusal);
    refusal
}
