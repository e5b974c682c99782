//! Takes clients from every listener, in turns, so that a busy one does not starve the others.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use program::Failure;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Listener, Listening, unix};

/// The listeners of a node, in an event loop.
#[derive(Debug)]
pub(crate) struct Doors {
    doors: Vec<Door>,
    /// Which one is asked first.
    turn: usize,
}

#[derive(Debug)]
struct Door {
    socket: Socket,
    tls: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "removed when dropped")] unix::OwnFile,
    ),
}

/// A client that has connected.
#[derive(Debug)]
pub(crate) struct Arrived {
    socket: ClientSocket,
    /// Whether it is to speak TLS.
    pub(crate) tls: bool,
}

#[derive(Debug)]
enum ClientSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Doors {
    /// Puts the listeners into the event loop of this runtime.
    pub(crate) fn open(listeners: Vec<Listener>) -> Result<Self, Failure> {
        let open = |Listener { socket, tls }| {
            let socket = match socket {
                Listening::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket)?),
                Listening::Unix(socket) => {
                    let (socket, file) = socket.into_parts();
                    Socket::Unix(UnixListener::from_std(socket)?, file)
                }
            };
            Ok(Door { socket, tls })
        };
        let doors: io::Result<Vec<Door>> = listeners.into_iter().map(open).collect();
        Ok(Self {
            doors: doors.map_err(|e| Failure::environment("cannot use the listening socket", e))?,
            turn: 0,
        })
    }

    /// The next client. Never completes when there is no listener. Cancel safe.
    pub(crate) async fn accept(&mut self) -> io::Result<Arrived> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Arrived>> {
        let count = self.doors.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(door) = self.doors.get(index) else {
                break;
            };
            let accepted = match &door.socket {
                Socket::Tcp(socket) => socket
                    .poll_accept(context)
                    .map_ok(|(stream, _)| ClientSocket::Tcp(stream)),
                Socket::Unix(socket, _) => socket
                    .poll_accept(context)
                    .map_ok(|(stream, _)| ClientSocket::Unix(stream)),
            };
            if let Poll::Ready(accepted) = accepted {
                self.turn = (index + 1) % count;
                let tls = door.tls;
                return Poll::Ready(accepted.map(|socket| Arrived { socket, tls }));
            }
        }
        Poll::Pending
    }
}

impl Arrived {
    /// Tells it something before it is closed: into an empty socket buffer; a client that is gone does not matter.
    pub(crate) fn tell(&self, text: &[u8]) {
        let _ = match &self.socket {
            ClientSocket::Tcp(stream) => stream.try_write(text),
            ClientSocket::Unix(stream) => stream.try_write(text),
        };
    }

    /// The socket without an event loop, so that a worker can put it into its own.
    pub(crate) fn into_socket(self) -> io::Result<OwnedFd> {
        match self.socket {
            ClientSocket::Tcp(stream) => {
                stream.set_nodelay(true)?;
                Ok(stream.into_std()?.into())
            }
            ClientSocket::Unix(stream) => Ok(stream.into_std()?.into()),
        }
    }
}
