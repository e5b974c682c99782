//! Who is asked: sessiond in this process, or the real memcached.

use std::net::SocketAddr;

use sessiond::Config;
use tempfile::TempDir;

use super::support::guarded::{self, NAME, PASSWORD};
use super::support::{Memcached, Node};

/// A server that suites are played against; stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    /// Name and password, where it wants them.
    pub(crate) login: Option<(String, String)>,
    /// Its files.
    _folder: Option<TempDir>,
    running: Running,
}

/// Kept for being dropped at the end.
enum Running {
    Sessiond { _node: Node },
    Memcached { _memcached: Memcached },
}

/// Ours or the real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Sessiond,
    Memcached,
}

impl Server {
    /// One that serves everybody; `None`, with a message, where it is not installed.
    pub(crate) fn open(which: Which) -> Option<Self> {
        match which {
            Which::Sessiond => Some(Self::sessiond(Node::start(Config::default()))),
            Which::Memcached => Some(Self::memcached(Memcached::start()?)),
        }
    }

    /// One that wants a name and a password (SASL PLAIN, so binary only); `None`, with a message, where that cannot be.
    pub(crate) fn guarded(which: Which) -> Option<Self> {
        let (mut server, folder) = match which {
            Which::Sessiond => {
                let (node, folder) = guarded::sessiond_with_sasl();
                (Self::sessiond(node), folder)
            }
            Which::Memcached => {
                let (memcached, folder) = guarded::memcached_with_sasl()?;
                (Self::memcached(memcached), folder)
            }
        };
        server.login = Some((NAME.to_owned(), PASSWORD.to_owned()));
        server._folder = Some(folder);
        Some(server)
    }

    fn sessiond(node: Node) -> Self {
        Self {
            address: node.address,
            login: None,
            _folder: None,
            running: Running::Sessiond { _node: node },
        }
    }

    fn memcached(memcached: Memcached) -> Self {
        Self {
            address: memcached.address,
            login: None,
            _folder: None,
            running: Running::Memcached {
                _memcached: memcached,
            },
        }
    }

    /// `HOST:PORT`, as clients want it.
    pub(crate) fn place(&self) -> String {
        self.address.to_string()
    }

    /// Whether it is ours.
    pub(crate) fn is_sessiond(&self) -> bool {
        matches!(self.running, Running::Sessiond { .. })
    }

    /// The address and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
