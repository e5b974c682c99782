//! One client: fill the buffer, execute what is complete in it, send the responses; in turns, so that a client that
//! does not read its responses is not read from either. Its memory is bounded: one request of the largest size, and
//! responses up to [`UNSENT_MAX`] and one value.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::command::{Executor, Progress};
use crate::protocol::text::{self, Limits};
use crate::protocol::{After, Parsed};

/// How much is read at once, when nothing says that more is to come.
const READ_SIZE: usize = 16 * 1024;

/// Responses are sent when this much is waiting, before more requests are executed.
const UNSENT_MAX: usize = 256 * 1024;

/// An idle client keeps buffers up to this size; larger ones, left from large values, are given back.
const IDLE_BUFFER_MAX: usize = READ_SIZE;

/// A line of get or gets ends somewhere, though memcached has no limit: this many bytes are thousands of keys.
const RETRIEVAL_LINE_MAX: usize = 1 << 20;

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client closed its side, or said quit.
    Client,
    /// We did: what the client sent cannot be told apart from data.
    Protocol,
    /// We did: the node stops.
    Shutdown,
}

/// Serves one client until it leaves or the node stops; requests read by then are answered.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    executor: Executor<'_>,
    item_size_max: usize,
    shutdown: &CancellationToken,
) -> std::io::Result<Ended> {
    let mut connection = Connection {
        stream,
        executor,
        limits: Limits {
            item_size: item_size_max,
            retrieval_line: RETRIEVAL_LINE_MAX,
        },
        input: BytesMut::new(),
        output: Vec::new(),
        skip: 0,
    };
    let stopped = shutdown.cancelled();
    tokio::pin!(stopped);
    loop {
        let next = connection.execute().await?;
        connection.send().await?;
        let need = match next {
            Next::Read { need } => need,
            Next::Close(ended) => {
                connection.stream.shutdown().await?;
                return Ok(ended);
            }
        };
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(Ended::Shutdown),
            read = connection.receive(need) => if read? == 0 { return Ok(Ended::Client) },
        }
    }
}

struct Connection<'a, S> {
    stream: S,
    executor: Executor<'a>,
    limits: Limits,
    /// What was received and is not executed.
    input: BytesMut,
    /// What is to be sent.
    output: Vec<u8>,
    /// So many bytes still to come are part of a value that is too large.
    skip: usize,
}

/// What to do when everything complete is executed.
enum Next {
    /// Read on, until the buffer holds at least `need` bytes.
    Read { need: usize },
    /// The connection is over.
    Close(Ended),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Executes every request that is complete.
    async fn execute(&mut self) -> std::io::Result<Next> {
        loop {
            self.pass_over();
            if self.input.is_empty() {
                return Ok(Next::Read { need: 1 });
            }
            let used = match text::parse(&self.input, self.limits) {
                Parsed::Incomplete { need } => return Ok(Next::Read { need }),
                Parsed::Invalid { reply, used, after } => {
                    if let Some(reply) = reply {
                        text::encode_line(reply, &mut self.output);
                    }
                    if after == After::Close {
                        return Ok(Next::Close(Ended::Protocol));
                    }
                    used
                }
                Parsed::Complete { mut request, used } => loop {
                    let progress = self.executor.execute(request, UNSENT_MAX, &mut self.output);
                    match progress {
                        Progress::Done => break used,
                        Progress::Quit => return Ok(Next::Close(Ended::Client)),
                        Progress::More(rest) => {
                            send(&mut self.stream, self.executor, &mut self.output).await?;
                            request = rest.into();
                        }
                    }
                },
            };
            self.skip = used;
            if self.output.len() >= UNSENT_MAX {
                self.send().await?;
            }
        }
    }

    /// Passes over what is done with, as far as it has arrived.
    fn pass_over(&mut self) {
        let here = self.skip.min(self.input.len());
        self.input.advance(here);
        self.skip -= here;
    }

    async fn send(&mut self) -> std::io::Result<()> {
        send(&mut self.stream, self.executor, &mut self.output).await
    }

    /// Reads what has arrived, at least a byte; 0 when the client closed its side. Cancel safe.
    async fn receive(&mut self, need: usize) -> std::io::Result<usize> {
        if self.input.is_empty() && self.input.capacity() > IDLE_BUFFER_MAX {
            self.input = BytesMut::new();
        }
        let missing = need.saturating_sub(self.input.len());
        self.input.reserve(missing.max(READ_SIZE));
        let read = self.stream.read_buf(&mut self.input).await?;
        self.executor.counters.bytes_read.add(read);
        Ok(read)
    }
}

/// Sends all of `output` and empties it.
async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    executor: Executor<'_>,
    output: &mut Vec<u8>,
) -> std::io::Result<()> {
    if output.is_empty() {
        return Ok(());
    }
    stream.write_all(output).await?;
    executor.counters.bytes_written.add(output.len());
    if output.capacity() > IDLE_BUFFER_MAX {
        *output = Vec::new();
    }
    output.clear();
    Ok(())
}
