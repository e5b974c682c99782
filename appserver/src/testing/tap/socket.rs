//! The relay: a port of its own before a node, on threads of its own, and what was recorded there.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Exchange, Recorder};

/// The longest wait for a connection to the node.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// At most so many commands are kept; later ones are only counted.
const KEPT_MAX: usize = 1 << 20;

/// At most so many connections; further ones are closed.
const CONNECTIONS_MAX: usize = 1024;

/// A command and its answer, and when it was answered or given up.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What was said.
    pub exchange: Exchange,
    /// When its answer passed.
    pub at: Instant,
}

/// A recording relay before a node; closed when dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Nowhere while it is cut.
    node: Mutex<Option<SocketAddr>>,
    log: Mutex<Vec<Recorded>>,
    left_out: AtomicUsize,
    /// Connections that were accepted and have not ended.
    accepted: AtomicUsize,
    /// Of these, those that are joined with the node.
    open: AtomicUsize,
    closed: AtomicBool,
}

impl Tap {
    /// A relay to `node` on a free loopback port.
    pub fn start(node: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            node: Mutex::new(Some(node)),
            log: Mutex::new(Vec::new()),
            left_out: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        });
        let its = Arc::clone(&shared);
        let thread = std::thread::spawn(move || its.accept(&listener));
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where servers find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go to this node: one that was started in place of another.
    pub fn point_to(&self, node: SocketAddr) {
        *lock(&self.shared.node) = Some(node);
    }

    /// New connections are closed, until [`Tap::point_to`] says where they go. For a node that is to end: its port may soon be
    /// another's.
    pub fn cut(&self) {
        *lock(&self.shared.node) = None;
    }

    /// Connections that are joined with the node now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// What was recorded since the last call, in the order of the answers.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *lock(&self.shared.log))
    }

    /// How many commands were left out because nobody took those before them.
    pub fn left_out(&self) -> usize {
        self.shared.left_out.load(Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Wakes the thread up. Connections end with their client or node.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take()
            && woken
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else {
                // Out of file descriptors, say: the next one may do.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            if self.accepted.load(Ordering::SeqCst) < CONNECTIONS_MAX {
                self.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&self);
                std::thread::spawn(move || {
                    shared.relay(&stream);
                    shared.accepted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    }

    /// Joins a client with the node until one of them hangs up. A client of a dead node sees its connection closed.
    fn relay(&self, client: &TcpStream) {
        let Some(node) = *lock(&self.node) else {
            return;
        };
        let Ok(node) = TcpStream::connect_timeout(&node, CONNECT_MAX) else {
            return;
        };
        let _ = (client.set_nodelay(true), node.set_nodelay(true));
        self.open.fetch_add(1, Ordering::SeqCst);
        let recorder = Mutex::new(Recorder::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Told first, so that no answer is earlier than its question.
                pass(client, &node, |bytes| lock(&recorder).asked(bytes));
            });
            pass(&node, client, |bytes| {
                // Kept first, so that whoever has the answer finds it here.
                let complete = lock(&recorder).answered(bytes);
                self.keep(complete);
            });
        });
        self.keep(lock(&recorder).ended());
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn keep(&self, complete: Vec<Exchange>) {
        let at = Instant::now();
        let mut log = lock(&self.log);
        for exchange in complete {
            if log.len() < KEPT_MAX {
                log.push(Recorded { exchange, at });
            } else {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Passes bytes on, after telling of them, until the end; then nobody can send on either connection any more.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut tell: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(count) if count > 0 => {
                tell(&buffer[..count]);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
