//! Takes clients from every listener, in turns, so that a busy one does not starve the others.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use program::Failure;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Listener, Listening, unix};
use crate::clients::Peer;
use crate::status::Heard;

/// The listeners of a node, in an event loop.
#[derive(Debug)]
pub(crate) struct Doors {
    doors: Vec<Door>,
    /// Which one is asked first.
    turn: usize,
}

#[derive(Debug)]
struct Door {
    heard: Heard,
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
    /// Where it comes from.
    pub(crate) peer: Peer,
    /// The name of the listener that it came to.
    pub(crate) listener: Arc<str>,
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
        let open = |listener: Listener| {
            let name = listener.to_string().into();
            let Listener { socket, tls } = listener;
            let socket = match socket {
                Listening::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket)?),
                Listening::Unix(socket) => {
                    let (socket, file) = socket.into_parts();
                    Socket::Unix(UnixListener::from_std(socket)?, file)
                }
            };
            let descriptor = match &socket {
                Socket::Tcp(socket) => socket.as_raw_fd(),
                Socket::Unix(socket, _) => socket.as_raw_fd(),
            };
            let heard = Heard { descriptor, name };
            Ok(Door { heard, socket, tls })
        };
        let doors: io::Result<Vec<Door>> = listeners.into_iter().map(open).collect();
        Ok(Self {
            doors: doors.map_err(|e| Failure::environment("cannot use the listening socket", e))?,
            turn: 0,
        })
    }

    /// What each of them is called.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.doors.iter().map(|door| door.heard.clone()).collect()
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
                    .map_ok(|(stream, address)| (ClientSocket::Tcp(stream), Peer::Tcp(address))),
                Socket::Unix(socket, _) => socket
                    .poll_accept(context)
                    .map_ok(|(stream, _)| (ClientSocket::Unix(stream), Peer::Unix)),
            };
            if let Poll::Ready(accepted) = accepted {
                self.turn = (index + 1) % count;
                return Poll::Ready(accepted.map(|(socket, peer)| Arrived {
                    socket,
                    peer,
                    listener: Arc::clone(&door.heard.name),
                    tls: door.tls,
                }));
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
