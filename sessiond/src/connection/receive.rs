//! One read: into a value that is being received, or into the worker's buffer behind what is not complete.

use std::io;

use super::block::Block;
use super::desk::READ_SIZE;
use super::input::Input;
use super::{Connection, Desk, waits};

/// What there is to execute after a read.
pub(super) enum Received {
    /// This; `full` when the room was not enough for what has arrived.
    Input { input: Input, full: bool },
    /// A value arrived whole.
    Block(Box<Block>),
    /// Nothing yet.
    Nothing,
    /// The client has closed its side.
    End,
    /// There is no memory for more of the request.
    NoRoom,
}

/// What became of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Something came.
    Some,
    /// Nothing yet.
    Nothing,
    /// The client has closed its side.
    End,
}

impl Connection {
    /// Reads once. A value that is being received comes first; the rest goes behind what is not complete.
    pub(super) fn receive(&mut self, desk: &mut Desk<'_>) -> io::Result<Received> {
        if let Some(mut block) = self.block.take() {
            let read = self.read(&mut block.data, desk)?;
            if read == Read::End {
                return Ok(Received::End);
            }
            if block.data.len() >= block.length {
                return Ok(Received::Block(block));
            }
            self.block = Some(block);
            return Ok(Received::Nothing);
        }
        let kept = std::mem::take(&mut self.input);
        let mut buffer = if kept.rest().len() <= READ_SIZE / 2 {
            let mut buffer = desk.read_buffer();
            buffer.extend_from_slice(kept.rest());
            buffer
        } else {
            // A line of thousands of keys, or a value that is not large enough for a block.
            let wanted = kept.rest().len().saturating_add(READ_SIZE);
            if !desk.buffers.has_room_for(wanted) {
                return Ok(Received::NoRoom);
            }
            let mut buffer = kept.into_bytes();
            if buffer.capacity() < wanted {
                buffer.reserve(READ_SIZE);
            }
            buffer
        };
        let read = self.read(&mut buffer, desk)?;
        let full = read == Read::Some && buffer.len() == buffer.capacity();
        let input = Input::of(buffer);
        Ok(match read {
            Read::End => Received::End,
            Read::Some | Read::Nothing => Received::Input { input, full },
        })
    }

    /// Reads what has arrived into the room that `into` has.
    pub(super) fn read(&mut self, into: &mut Vec<u8>, desk: &Desk<'_>) -> io::Result<Read> {
        match self.stream.receive(into) {
            Ok(0) => Ok(Read::End),
            Ok(read) => {
                desk.executor.counters.bytes_read.add(read);
                self.last_used = desk.now();
                Ok(Read::Some)
            }
            Err(error) if waits(&error) => Ok(Read::Nothing),
            Err(error) => Err(error),
        }
    }
}
