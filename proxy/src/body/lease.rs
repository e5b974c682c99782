//! The use of a peer's connection by one request.

use std::rc::Rc;

use crate::pool::{Moved, PeerConnection, PeerPool};
use crate::upstream::Counters;
use crate::worker::view::View;

/// A peer's connection for the time of a request, and the peer's count of it.
pub(crate) struct Lease {
    connection: Option<PeerConnection>,
    /// The view is shared within the worker only, so that nothing here is counted across processors.
    view: Rc<View>,
    upstream: usize,
    peer: usize,
    before: Moved,
}

impl Lease {
    /// Counts the request at the peer until the lease is dropped.
    pub(crate) fn new(view: Rc<View>, upstream: usize, peer: usize) -> Self {
        let lease = Self {
            connection: None,
            view,
            upstream,
            peer,
            before: Moved::default(),
        };
        lease.counters().begin(lease.view.worker);
        lease
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.view.site.upstreams[self.upstream].peers[self.peer].counters
    }

    pub(crate) fn pool(&self) -> &PeerPool {
        &self.view.groups[self.upstream].pools[self.peer]
    }

    pub(crate) fn hold(&mut self, connection: PeerConnection) -> &mut PeerConnection {
        self.before = connection.moved();
        self.connection.insert(connection)
    }

    pub(crate) fn connection(&mut self) -> Option<&mut PeerConnection> {
        self.connection.as_mut()
    }

    /// The connection is not used again.
    pub(crate) fn discard(&mut self) {
        drop(self.take());
    }

    /// Takes the connection out for good.
    pub(crate) fn take(&mut self) -> Option<PeerConnection> {
        let connection = self.connection.take()?;
        let moved = connection.moved();
        self.counters().bytes(
            self.view.worker,
            moved.sent.saturating_sub(self.before.sent),
            moved.received.saturating_sub(self.before.received),
        );
        Some(connection)
    }

    /// The response is complete: the connection goes back, where it can be used again.
    pub(crate) fn give_back(&mut self) {
        if let Some(connection) = self.take() {
            self.pool().put(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.discard();
        self.counters().end(self.view.worker);
    }
}
