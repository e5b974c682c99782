//! What a worker lends to the connection whose turn it is. Idle connections need none of it, so it is there once.

use std::sync::Arc;

use crate::buffers::Buffers;
use crate::command::Executor;
use crate::protocol::output::Output;
use crate::protocol::text::Limits;
use crate::store::UnixTime;
use crate::worker::{Admitted, Mailbox};

/// Read at once. As memcached's: larger ones leave the processor's nearest cache before they are parsed.
pub(super) const READ_SIZE: usize = 16 * 1024;

/// See the module.
pub(crate) struct Desk<'a> {
    /// Executes requests.
    pub(crate) executor: Executor<'a>,
    /// What parsers accept.
    pub(crate) limits: Limits,
    /// Requests of one connection before others are served (memcached's `-R`).
    pub(crate) turn: usize,
    /// Wakes this worker; `None` where nobody can be woken, and so nobody watches.
    pub(crate) bell: Option<&'a Arc<Mailbox<Admitted>>>,
    /// The account of buffers.
    pub(crate) buffers: &'a Arc<Buffers>,
    /// The node stops: what was received is answered, then connections are closed.
    pub(crate) stopping: bool,
    /// What the connection whose turn it is sends; empty between turns.
    pub(super) output: Output,
    read_buffer: Vec<u8>,
}

impl<'a> Desk<'a> {
    /// A desk for one worker.
    pub(crate) fn new(
        executor: Executor<'a>,
        limits: Limits,
        turn: usize,
        buffers: &'a Arc<Buffers>,
        bell: Option<&'a Arc<Mailbox<Admitted>>>,
    ) -> Self {
        Self {
            executor,
            limits,
            turn,
            bell,
            buffers,
            stopping: false,
            output: Output::default(),
            read_buffer: Vec::new(),
        }
    }

    /// The second it is.
    pub(crate) fn now(&self) -> UnixTime {
        self.executor.figures.clock.now()
    }

    /// A buffer to read into.
    pub(super) fn read_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        buffer.reserve(READ_SIZE);
        buffer
    }

    /// Takes a buffer back that is not needed any more.
    pub(super) fn take_back(&mut self, mut buffer: Vec<u8>) {
        if self.read_buffer.capacity() == 0 && buffer.capacity() <= 2 * READ_SIZE {
            buffer.clear();
            self.read_buffer = buffer;
        }
    }
}
