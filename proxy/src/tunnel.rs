//! An accepted upgrade: bytes both ways until one side ends or nothing moves for `proxy_read_timeout` (RFC 9110 section
//! 7.8). Bytes that came right behind a head go first.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::body::Lease;
use crate::connection::stream::Stream;
use crate::exchange::{Deadline, Exchange};
use crate::worker::millis;
use crate::worker::reactor::Reactor;
use crate::worker::socket::Socket;

/// What may be under way in one direction.
const BUFFER: usize = 16 * 1024;

/// How often hyper may be polled until it lets go of an upgraded connection.
const POLLS_TO_LET_GO: usize = 4;

/// Turns of both directions before other tasks get theirs.
const TURNS: usize = 8;

/// The peer's side of a tunnel.
pub(crate) struct Tunnel {
    socket: Socket,
    early: Vec<u8>,
    timeout: u64,
    /// Counts the tunnel as a request at the peer for as long as it stands.
    _lease: Lease,
}

impl Tunnel {
    /// Takes the peer's connection out of HTTP after its 101.
    pub(crate) fn open(exchange: &Exchange, mut lease: Lease, timeout: Duration) -> Option<Self> {
        let mut connection = lease.take()?;
        for _ in 0..POLLS_TO_LET_GO {
            if connection.is_over() {
                break;
            }
            connection.drive(exchange.reactor());
        }
        let (socket, early) = connection.into_raw()?;
        Some(Self {
            socket,
            early: early.to_vec(),
            timeout: millis(timeout),
            _lease: lease,
        })
    }

    /// Carries bytes until the end; says how many went to the client.
    pub(crate) async fn run(
        mut self,
        client: &mut Stream,
        early: Vec<u8>,
        reactor: &Rc<Reactor>,
        deadline: &Deadline,
    ) -> u64 {
        let mut up = Direction::new(early);
        let mut down = Direction::new(std::mem::take(&mut self.early));
        deadline.set_after(self.timeout);
        std::future::poll_fn(|cx| {
            for _ in 0..TURNS {
                let before = up.moved + down.moved;
                let upward = up.poll(cx, reactor, client, &mut self.socket);
                let downward = down.poll(cx, reactor, &mut self.socket, client);
                let over = match (upward, downward) {
                    (Err(_), _) | (_, Err(_)) => true,
                    (Ok(up), Ok(down)) => up && down,
                };
                if over {
                    return Poll::Ready(());
                }
                if up.moved + down.moved == before {
                    return if deadline.has_passed() {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    };
                }
                deadline.set_after(self.timeout);
            }
            reactor.schedule(reactor.current());
            Poll::Pending
        })
        .await;
        deadline.clear();
        down.moved
    }
}

/// One direction of a tunnel.
struct Direction {
    buffer: Vec<u8>,
    start: usize,
    moved: u64,
    read_ended: bool,
    end_sent: bool,
}

impl Direction {
    fn new(early: Vec<u8>) -> Self {
        Self {
            buffer: early,
            start: 0,
            moved: 0,
            read_ended: false,
            end_sent: false,
        }
    }

    /// Moves what can be moved; true when this direction has come to its end and said so.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reactor: &Reactor,
        from: &mut impl Side,
        to: &mut impl Side,
    ) -> io::Result<bool> {
        if self.start == self.buffer.len() && !self.read_ended {
            self.buffer.clear();
            self.start = 0;
            let read = reactor.with_scratch(|scratch| {
                let read = from.poll_read(cx, &mut scratch[..BUFFER]);
                if let Poll::Ready(Ok(read)) = read {
                    self.buffer.extend_from_slice(&scratch[..read]);
                }
                read
            });
            if let Poll::Ready(read) = read {
                self.read_ended = read? == 0;
            }
        }
        if self.start < self.buffer.len()
            && let Poll::Ready(sent) = to.poll_write(cx, &self.buffer[self.start..])
        {
            let sent = sent?;
            self.start += sent;
            self.moved += sent as u64;
        }
        let written = to.poll_flush(cx)?.is_ready() && self.start == self.buffer.len();
        if written && self.read_ended && !self.end_sent {
            self.end_sent = to.poll_end(cx)?.is_ready();
        }
        Ok(self.end_sent)
    }
}

/// An end of a tunnel.
trait Side {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>>;
    fn poll_end(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>>;
}

impl Side for Socket {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.own();
        self.poll_recv(buf)
    }

    fn poll_write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(&[IoSlice::new(buf)])
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> io::Result<Poll<()>> {
        Ok(Poll::Ready(()))
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> io::Result<Poll<()>> {
        self.end();
        Ok(Poll::Ready(()))
    }
}

impl Side for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.socket().own();
        self.poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        match self.poll_flush(cx) {
            Poll::Ready(result) => result.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        match self.poll_end(cx) {
            Poll::Ready(result) => result.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}
