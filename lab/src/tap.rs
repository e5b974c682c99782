//! A TCP relay between two nodes: it can be listened to, cut and healed.
//!
//! ```text
//!   TomcatA ──► tap ──► n1        each link has a tap of its own, so that one server
//!   TomcatB ──► tap ──► n1        can lose a node that the others still reach
//! ```

pub mod commands;
pub mod names;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A tap carries so many connections at once; more are refused.
const CONNECTIONS_MAX: usize = 1024;

/// Until a port is tried again that could not be listened on.
const AGAIN: Duration = Duration::from_millis(10);

/// Bytes on their way in one direction of one connection.
const BUFFER: usize = 16 * 1024;

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Bytes pass.
    Whole,
    /// Connections are closed and new ones refused: a dead process behind a living network.
    Refused,
    /// Connections stay, nothing passes, and nobody can be reached: a network that is cut.
    Silent,
    /// Bytes pass, each piece so much later.
    Slow(Duration),
}

impl Link {
    /// Whether bytes pass.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Whole | Self::Slow(_))
    }
}

/// Hears the bytes of one connection, before they go on.
pub trait Hear: Send {
    /// Bytes from who connected.
    fn asked(&mut self, bytes: &[u8]);
    /// Bytes back.
    fn answered(&mut self, bytes: &[u8]);
    /// The connection is over.
    fn end(&mut self) {}
}

/// Makes the listener of each new connection.
pub type Ears = Arc<dyn Fn() -> Box<dyn Hear> + Send + Sync>;

/// A relay to one address. Dropping it ends it with all its connections.
pub struct Tap {
    address: SocketAddr,
    link: watch::Sender<Link>,
    accepting: JoinHandle<()>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("address", &self.address)
            .field("link", &*self.link.borrow())
            .finish()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // The connections belong to this task.
        self.accepting.abort();
    }
}

impl Tap {
    /// A relay on a free port of 127.0.0.1 to `target`.
    pub async fn open(target: SocketAddr, ears: Ears) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (link, state) = watch::channel(Link::Whole);
        let accepting = tokio::spawn(accept(listener, target, ears, state));
        Ok(Self {
            address,
            link,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the state of the link.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    ears: Ears,
    mut link: watch::Receiver<Link>,
) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        // Nobody listens on a link that is cut, so that the system itself refuses.
        let open = link.borrow_and_update().is_open();
        listener = match (listener, open) {
            (Some(listener), true) => Some(listener),
            (None, true) => TcpListener::bind(address).await.ok(),
            (_, false) => None,
        };
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None if open => {
                    // The port is in other hands for a moment.
                    tokio::time::sleep(AGAIN).await;
                    None
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => match accepted {
                Some((client, _)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(relay(client, target, Arc::clone(&ears), link.clone()));
                }
                // Too many connections, or open files: the next one may do.
                _ => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
            changed = link.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// One connection until either side ends it or the link refuses.
async fn relay(client: TcpStream, target: SocketAddr, ears: Ears, link: watch::Receiver<Link>) {
    let mut refused = link.clone();
    let carried = async {
        let Ok(server) = TcpStream::connect(target).await else {
            return;
        };
        // What is heard must not come later than without a tap.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let heard = Mutex::new(ears());
        let hear = |bytes: &[u8], to_server: bool| {
            let mut ear = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if to_server {
                ear.asked(bytes);
            } else {
                ear.answered(bytes);
            }
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            _ = pump(from_client, to_server, link.clone(), |bytes| hear(bytes, true)) => {}
            _ = pump(from_server, to_client, link, |bytes| hear(bytes, false)) => {}
        }
        heard
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .end();
    };
    tokio::select! {
        () = carried => {}
        _ = refused.wait_for(|link| *link == Link::Refused) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: watch::Receiver<Link>,
    mut hear: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let Ok(state) = link
            .wait_for(|link| link.is_open())
            .await
            .map(|state| *state)
        else {
            return Ok(());
        };
        if let Link::Slow(delay) = state {
            tokio::time::sleep(delay).await;
            // What was on its way when the link was cut has not arrived.
            if link.wait_for(|link| link.is_open()).await.is_err() {
                return Ok(());
            }
        }
        hear(&buffer[..read]);
        to.write_all(&buffer[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{Hear, Link, Tap};

    #[derive(Default)]
    struct Ear(Arc<Mutex<Vec<u8>>>);

    impl Hear for Ear {
        fn asked(&mut self, bytes: &[u8]) {
            self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        }
        fn answered(&mut self, _: &[u8]) {}
    }

    async fn echo() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_link_is_heard_cut_and_healed() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let tap = Tap::open(
            echo().await,
            Arc::new(move || Box::new(Ear(Arc::clone(&ear)))),
        )
        .await
        .expect("a tap");
        let mut stream = TcpStream::connect(tap.address()).await.expect("connected");
        assert_eq!(ask(&mut stream, b"one").await.expect("whole"), b"one");
        assert_eq!(*heard.lock().expect("unpoisoned"), b"one");

        tap.set(Link::Silent);
        stream.write_all(b"two").await.expect("the system takes it");
        let mut answer = [0; 3];
        let nothing =
            tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut answer));
        assert!(nothing.await.is_err(), "nothing passes");
        tap.set(Link::Whole);
        stream.read_exact(&mut answer).await.expect("healed");
        assert_eq!(&answer, b"two", "nothing was lost on the way");

        tap.set(Link::Refused);
        assert!(
            matches!(stream.read(&mut answer).await, Ok(0) | Err(_)),
            "closed"
        );
        // It stops being listened on a moment later.
        while TcpStream::connect(tap.address()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tap.set(Link::Whole);
        let mut again = loop {
            // It is listened on again a moment later.
            match TcpStream::connect(tap.address()).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(
            ask(&mut again, b"four").await.expect("whole again"),
            b"four"
        );
    }
}
