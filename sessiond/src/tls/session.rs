//! One client's TLS on a socket that does not block.

use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::{ServerConfig, ServerConnection};

/// Plaintext that waits to be encrypted and sent: more is not taken, so that a client that does not read holds no more.
const UNSENT_MAX: usize = 64 * 1024;

/// A socket with TLS on it. The handshake happens while it is read.
#[derive(Debug)]
pub(crate) struct Session {
    socket: Socket,
    tls: ServerConnection,
    /// Whether decrypted bytes may be waiting that no readiness of the socket will announce.
    has_more: bool,
}

impl Session {
    /// TLS on a socket that nothing was read from yet.
    pub(crate) fn new(socket: OwnedFd, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(UNSENT_MAX));
        Ok(Self {
            socket: Socket(socket),
            tls,
            has_more: false,
        })
    }

    /// As [`crate::stream::Stream::receive`].
    pub(crate) fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.take_plaintext(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The socket was closed without a word of TLS: an end all the same.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                taken => return taken,
            }
            let received = self.tls.read_tls(&mut self.socket);
            // What the handshake has to say goes out even when there is nothing to read.
            self.flush()?;
            if received? == 0 {
                return Ok(0);
            }
            if let Err(error) = self.tls.process_new_packets() {
                // The client is told why, if it still listens.
                let _ = self.flush();
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
            self.flush()?;
        }
    }

    /// Whether there is something to receive though the socket may have nothing.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Takes as much of `pieces` as may wait, and sends what the socket takes; see [`Session::flush`] for the rest.
    pub(crate) fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.flush()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.tls.writer().write_vectored(pieces)?;
        self.flush()?;
        Ok(taken)
    }

    /// Sends what waits; false when the socket does not take all of it now.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Moves decrypted bytes into the room that `into` has.
    fn take_plaintext(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        let mut reader = self.tls.reader();
        self.has_more = loop {
            let room = into.capacity() - into.len();
            let chunk = match reader.fill_buf() {
                // The end; what was taken before it comes first.
                Ok([]) => break into.len() > before,
                Ok(_) if room == 0 => break true,
                Ok(chunk) => chunk,
                Err(_) if into.len() > before => break false,
                Err(error) => {
                    self.has_more = false;
                    return Err(error);
                }
            };
            let part = chunk.get(..room).unwrap_or(chunk);
            into.extend_from_slice(part);
            let part = part.len();
            reader.consume(part);
        };
        Ok(into.len() - before)
    }
}

impl Drop for Session {
    /// Says goodbye, so that the client can tell an end from a cut; without waiting.
    fn drop(&mut self) {
        self.tls.send_close_notify();
        let _ = self.flush();
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.0.as_fd()
    }
}

/// The socket as rustls reads and writes it.
#[derive(Debug)]
struct Socket(OwnedFd);

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (read, _) = recv(&self.0, into, RecvFlags::empty())?;
        Ok(read)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
