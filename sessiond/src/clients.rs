//! Who is connected: counted, and listed for `stats conns`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::UnixTime;

/// Clients that are connected, were, and were refused.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) current: AtomicU64,
    pub(crate) total: AtomicU64,
    pub(crate) refused: AtomicU64,
    last_id: AtomicU64,
    list: Mutex<BTreeMap<u64, Arc<Client>>>,
}

/// A client that is connected.
#[derive(Debug)]
pub(crate) struct Client {
    id: u64,
    /// The descriptor of its socket.
    pub(crate) descriptor: i32,
    /// Where it comes from.
    pub(crate) peer: Peer,
    /// The listener that it came to, as `stats conns` names it.
    pub(crate) listener: Arc<str>,
    state: AtomicU8,
    last_used: AtomicU32,
}

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a Unix socket, whose clients have no names.
    Unix,
}

impl fmt::Display for Peer {
    /// As `stats conns` of memcached names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address @ SocketAddr::V4(_)) => write!(f, "tcp:{address}"),
            Self::Tcp(address @ SocketAddr::V6(_)) => write!(f, "tcp6:{address}"),
            Self::Unix => write!(f, "unix:"),
        }
    }
}

/// What a connection does, in memcached's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// It waits for a request.
    Read = 0,
    /// It waits for its client to read.
    Write = 1,
    /// It carries what a watcher wants to see.
    Watch = 2,
}

impl Clients {
    /// Lists a client.
    pub(crate) fn enter(
        &self,
        descriptor: i32,
        peer: Peer,
        listener: &Arc<str>,
        now: UnixTime,
    ) -> Arc<Client> {
        let client = Arc::new(Client {
            id: self.last_id.fetch_add(1, Ordering::Relaxed),
            descriptor,
            peer,
            listener: Arc::clone(listener),
            state: AtomicU8::new(State::Read as u8),
            last_used: AtomicU32::new(now.0),
        });
        self.list().insert(client.id, Arc::clone(&client));
        client
    }

    /// Takes a client off the list.
    pub(crate) fn leave(&self, client: &Client) {
        self.list().remove(&client.id);
    }

    /// Everybody, in the order in which they came.
    pub(crate) fn listed(&self) -> Vec<Arc<Client>> {
        self.list().values().map(Arc::clone).collect()
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// What it does from now on.
    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// What it does, as memcached calls it.
    pub(crate) fn state(&self) -> &'static str {
        match self.state.load(Ordering::Relaxed) {
            state if state == State::Write as u8 => "conn_mwrite",
            state if state == State::Watch as u8 => "conn_watch",
            _ => "conn_read",
        }
    }

    /// Something came from it or went to it.
    pub(crate) fn used(&self, now: UnixTime) {
        self.last_used.store(now.0, Ordering::Relaxed);
    }

    /// When something last did.
    pub(crate) fn last_used(&self) -> UnixTime {
        UnixTime(self.last_used.load(Ordering::Relaxed))
    }
}
