//! One client: read what has arrived, execute what is complete in it, send the responses; in turns, so that others are
//! served meanwhile, and a client that does not read its responses is not read from either.
//!
//! ```text
//!   socket ──► the worker's read buffer ──► parse ──► execute ──► the worker's output ──► socket
//!                │ what is not complete                                │ what the socket does not take
//!                ▼                                                     ▼
//!              input (kept by the connection)                        unsent (kept by the connection)
//!   socket ──► block: a large value, straight into the memory where it stays
//! ```
//!
//! An idle connection keeps no buffers at all. What it does keep is counted (`buffers.rs`) and bounded: one request of
//! the largest size, and responses up to [`UNSENT_MAX`] and one value.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod block;
mod desk;
mod dialect;
mod head;
mod input;
mod receive;
mod rest;
mod watching;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use tracing::debug;

use crate::auth::Standing;
use crate::buffers::{Buffers, Held};
use crate::clients::State;
use crate::command::{Dump, Progress};
use crate::protocol::output::Output;
use crate::protocol::text;
use crate::protocol::{After, Parsed};
use crate::store::{SHARED_MIN, UnixTime};
use crate::stream::Stream;
use crate::watch::Watcher;

use block::Block;
pub(crate) use desk::Desk;
use desk::READ_SIZE;
use dialect::Dialect;
use head::Head;
use input::Input;
use receive::Received;
use rest::Rest;

/// Responses are sent when this much is waiting, before more requests are executed.
const UNSENT_MAX: usize = 512 * 1024;

/// A line of get or gets ends somewhere, though memcached has no limit: this many bytes are thousands of keys.
pub(crate) const RETRIEVAL_LINE_MAX: usize = 1 << 20;

/// Told before the connection is closed, as memcached does, when there is no memory for the rest of a request.
const NO_ROOM_TO_READ: &str = "SERVER_ERROR out of memory reading request";

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client closed its side, or said quit.
    Client,
    /// We did: what the client sent cannot be told apart from data.
    Protocol,
    /// We did: it held memory that was not to be had.
    Memory,
    /// We did: nothing came or went for longer than `idle_timeout`.
    Idle,
    /// We did: the node stops.
    Shutdown,
}

impl Ended {
    /// As memcached's `watch connevents` calls it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Client => "normal",
            Self::Protocol | Self::Memory => "error",
            Self::Idle => "idle_timeout",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a connection waits for when its turn is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Something to read.
    Read,
    /// Room to write.
    Write,
    /// Something to read, or lines for a watcher, which it has just become.
    Watch,
    /// Its next turn: there is more to execute.
    Turn,
    /// Nothing: it is over.
    Close(Ended),
}

/// See the module.
pub(crate) struct Connection {
    stream: Stream,
    dialect: Option<Dialect>,
    /// What the client has shown of itself.
    standing: Standing,
    /// What was received and is not executed.
    input: Input,
    /// Whether something in `input` can be executed.
    runnable: bool,
    /// So many bytes still to come are passed over: a value that is too large.
    skip: usize,
    /// A large value that is being received.
    block: Option<Box<Block>>,
    /// Keys of a retrieval that were not asked for yet.
    rest: Option<Box<Rest>>,
    /// An answer that is a walk through the store.
    dump: Option<Box<Dump>>,
    /// What it carries when its client watches.
    watcher: Option<Arc<Watcher>>,
    /// Responses that the socket did not take.
    unsent: Option<Box<Output>>,
    /// Close it as soon as everything is sent.
    ending: Option<Ended>,
    held: Held,
    last_used: UnixTime,
}

impl Connection {
    /// A connection on which nothing has happened yet.
    pub(crate) fn new(stream: Stream, buffers: &Arc<Buffers>, now: UnixTime) -> Self {
        Self {
            stream,
            dialect: None,
            standing: Standing::default(),
            input: Input::default(),
            runnable: false,
            skip: 0,
            block: None,
            rest: None,
            dump: None,
            watcher: None,
            unsent: None,
            ending: None,
            held: Held::nothing(buffers),
            last_used: now,
        }
    }

    /// Its socket.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The same, to take what was gathered there.
    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Whether the response that was sent last goes on.
    pub(crate) fn owes_more(&self) -> bool {
        self.rest.is_some() || self.dump.is_some()
    }

    /// When something last came or went.
    pub(crate) fn last_used(&self) -> UnixTime {
        self.last_used
    }

    /// What it does, for those who look.
    pub(crate) fn state(&self) -> State {
        match (&self.watcher, &self.unsent) {
            (Some(_), _) => State::Watch,
            (None, Some(_)) => State::Write,
            (None, None) => State::Read,
        }
    }

    /// Does what can be done without waiting, up to the share of one turn. On an error the connection is lost.
    pub(crate) fn turn(&mut self, desk: &mut Desk<'_>) -> io::Result<Next> {
        let next = self.work(desk);
        match next {
            Ok(Next::Close(_)) | Err(_) => desk.output.clear_all(),
            Ok(_) => self.count_held(),
        }
        let unread = self.unsent.as_ref().map_or(0, |unsent| unsent.own_room());
        if unread > READ_SIZE && !desk.buffers.has_room_for(0) {
            return Ok(Next::Close(Ended::Memory));
        }
        next
    }

    fn work(&mut self, desk: &mut Desk<'_>) -> io::Result<Next> {
        if let Some(unsent) = self.unsent.take() {
            desk.output = *unsent;
            if !self.flush(desk)? {
                return Ok(self.park(desk));
            }
        }
        if let Some(ended) = self.ending {
            return Ok(Next::Close(ended));
        }
        if self.watcher.is_some() {
            return self.watch(desk);
        }
        let mut left = desk.turn;
        desk.executor.descriptor = self.stream.as_fd().as_raw_fd();
        let mut next = if self.runnable {
            let input = std::mem::take(&mut self.input);
            self.execute(input, &mut left, desk)?
        } else {
            self.receive_and_execute(&mut left, desk)?
        };
        if next == Next::Read && desk.stopping {
            next = Next::Close(Ended::Shutdown);
        }
        if let Next::Close(ended) = next {
            self.ending = Some(ended);
        }
        if next == Next::Write || !self.flush(desk)? {
            return Ok(self.park(desk));
        }
        if next == Next::Read && self.stream.has_more() {
            return Ok(Next::Turn);
        }
        Ok(next)
    }

    /// Reads and executes. As long as there is more than was asked for, it goes on before anything is sent: that is one
    /// call for many responses.
    fn receive_and_execute(&mut self, left: &mut usize, desk: &mut Desk<'_>) -> io::Result<Next> {
        loop {
            let (next, more) = match self.receive(desk)? {
                Received::Input { input, full } => (self.execute(input, left, desk)?, full),
                Received::Block(block) => {
                    // Where requests are pipelined, the next has arrived behind the value.
                    let pipelined = desk.output.waiting() > 0;
                    self.execute_block(*block, desk);
                    *left = left.saturating_sub(1);
                    (Next::Read, pipelined)
                }
                Received::Nothing => (Next::Read, false),
                Received::End => (Next::Close(Ended::Client), false),
                Received::NoRoom => {
                    if self.dialect != Some(Dialect::Binary) {
                        text::encode_line(NO_ROOM_TO_READ, &mut desk.output);
                    }
                    (Next::Close(Ended::Memory), false)
                }
            };
            if !more || next != Next::Read || *left == 0 || desk.output.is_full(enough(desk)) {
                return Ok(next);
            }
        }
    }

    /// Executes what is complete in `input`, up to the share of one turn, of which `left` is left.
    fn execute(
        &mut self,
        mut input: Input,
        left: &mut usize,
        desk: &mut Desk<'_>,
    ) -> io::Result<Next> {
        let next = self.execute_from(&mut input, left, desk)?;
        self.runnable = matches!(next, Next::Turn | Next::Write);
        self.input = input.kept(desk);
        Ok(next)
    }

    fn execute_from(
        &mut self,
        input: &mut Input,
        left: &mut usize,
        desk: &mut Desk<'_>,
    ) -> io::Result<Next> {
        while *left > 0 {
            *left = left.saturating_sub(1);
            if desk.output.is_full(enough(desk)) && !self.flush(desk)? {
                return Ok(Next::Write);
            }
            if let Some(rest) = self.rest.take() {
                self.go_on(rest, desk);
                continue;
            }
            if let Some(mut dump) = self.dump.take() {
                if desk.executor.go_on(&mut dump, &mut desk.output) {
                    self.dump = Some(dump);
                    // A step is work enough for a turn.
                    return Ok(Next::Turn);
                }
                continue;
            }
            self.skip = input.pass_over(self.skip);
            let data = input.rest();
            let Some(first) = data.first() else {
                return Ok(Next::Read);
            };
            let policy = &desk.executor.figures.policy;
            let dialect = *self
                .dialect
                .get_or_insert_with(|| Dialect::of(*first, policy));
            // A stranger's values are not waited for.
            let limits = match dialect {
                Dialect::Binary if policy.stops(self.standing) => text::Limits::NONE,
                _ => desk.limits,
            };
            let used = match dialect.parse(data, limits) {
                Parsed::Complete { request, used } => {
                    debug!(request = %Head(dialect, data));
                    let enough = enough(desk);
                    let executor = desk.executor;
                    match executor.execute(request, &mut self.standing, enough, &mut desk.output) {
                        Progress::Done => {}
                        Progress::Quit => return Ok(Next::Close(Ended::Client)),
                        Progress::Refused => return Ok(Next::Close(Ended::Protocol)),
                        Progress::More(rest) => self.rest = Some(Box::new(Rest::of(rest))),
                        Progress::Dump(dump) => self.dump = Some(dump),
                        Progress::Watch(subjects) => {
                            if self.begin_to_watch(subjects, desk) {
                                return Ok(Next::Watch);
                            }
                        }
                    }
                    if dialect == Dialect::Login && self.standing.authenticated {
                        self.dialect = Some(Dialect::Text);
                    }
                    used
                }
                Parsed::Incomplete { .. } => return Ok(Next::Read),
                Parsed::Partial { line, block } if block >= SHARED_MIN => {
                    let (line, here) = data.split_at_checked(line).unwrap_or((data, b""));
                    self.begin_block(dialect, line, here, block, desk)
                }
                Parsed::Partial { .. } => return Ok(Next::Read),
                Parsed::Invalid { reply, used, after } => {
                    if let Some(reply) = reply {
                        text::encode_line(reply, &mut desk.output);
                    }
                    if after == After::Close {
                        return Ok(Next::Close(Ended::Protocol));
                    }
                    used
                }
            };
            self.skip = input.pass_over(used);
        }
        desk.executor.counters.conn_yields.bump();
        Ok(Next::Turn)
    }

    /// Sends what waits; false when the socket does not take all of it now.
    fn flush(&mut self, desk: &mut Desk<'_>) -> io::Result<bool> {
        while desk.output.waiting() > 0 {
            let stream = &mut self.stream;
            let sent = desk.output.with_pieces(|pieces| stream.send(pieces));
            match sent {
                Ok(sent) => {
                    desk.executor.counters.bytes_written.add(sent);
                    self.last_used = desk.now();
                    desk.output.advance(sent);
                }
                Err(error) if waits(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.stream.flush()
    }

    /// Keeps what was not sent.
    fn park(&mut self, desk: &mut Desk<'_>) -> Next {
        self.unsent = Some(Box::new(std::mem::take(&mut desk.output)));
        Next::Write
    }

    /// Counts the memory that is kept until the next turn.
    fn count_held(&mut self) {
        let unsent = self.unsent.as_ref();
        let block = self.block.as_ref().map_or(0, |block| block.data.capacity());
        let rest = self.rest.as_ref().map_or(0, |rest| rest.keys.capacity());
        let own = unsent.map_or(0, |output| output.own_room());
        let shared = unsent.map_or(0, |output| output.shared_room());
        let parts = [self.input.room(), block, rest, own, shared];
        self.held
            .set(parts.into_iter().fold(0, usize::saturating_add));
    }
}

/// How much may wait before it is sent. When memory is scarce, each response goes by itself, so that a client that does
/// not read makes us keep one.
fn enough(desk: &Desk<'_>) -> usize {
    if desk.buffers.are_scarce() {
        1
    } else {
        UNSENT_MAX
    }
}

/// Whether it is only that the socket is not ready.
fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
