//! Large values: read from the socket straight into the memory where they stay.

use bytes::Bytes;
use tracing::debug;

use crate::protocol::Parsed;
use crate::protocol::text;

use super::dialect::Dialect;
use super::head::Head;
use super::{Connection, Desk, UNSENT_MAX};

/// A storage command whose value goes straight to where it stays.
pub(super) struct Block {
    dialect: Dialect,
    /// The command's line, or the packet without its value.
    line: Vec<u8>,
    /// What has arrived of the value and, in text, its CR LF; has room for exactly that.
    pub(super) data: Vec<u8>,
    pub(super) length: usize,
}

impl Connection {
    /// Begins to receive a large value, of which `here` has arrived. Without memory for it, it is passed over, and the
    /// item under its key goes, as in memcached. Says how many bytes the request takes as far as `input` is concerned.
    pub(super) fn begin_block(
        &mut self,
        dialect: Dialect,
        line: &[u8],
        here: &[u8],
        length: usize,
        desk: &mut Desk<'_>,
    ) -> usize {
        if !desk.buffers.has_room_for(length) {
            let executor = desk.executor.without_room();
            let none = text::Limits::NONE;
            if let Parsed::Complete { request, .. } = dialect.parse(line, none) {
                executor.execute(request, &mut self.standing, UNSENT_MAX, &mut desk.output);
            }
            return line.len().saturating_add(length);
        }
        let mut data = Vec::with_capacity(length);
        data.extend_from_slice(here);
        self.block = Some(Box::new(Block {
            dialect,
            line: line.to_vec(),
            data,
            length,
        }));
        line.len().saturating_add(here.len())
    }

    /// Executes a storage command whose value has arrived.
    pub(super) fn execute_block(&mut self, block: Block, desk: &mut Desk<'_>) {
        let data = Bytes::from(block.data);
        match block.dialect.parse_split(&block.line, &data, desk.limits) {
            Parsed::Complete { request, .. } => {
                debug!(request = %Head(block.dialect, &block.line));
                let executor = desk.executor.with_block(&data);
                executor.execute(request, &mut self.standing, UNSENT_MAX, &mut desk.output);
            }
            Parsed::Invalid {
                reply: Some(reply), ..
            } => {
                text::encode_line(reply, &mut desk.output);
            }
            Parsed::Invalid { reply: None, .. }
            | Parsed::Incomplete { .. }
            | Parsed::Partial { .. } => {}
        }
    }
}
