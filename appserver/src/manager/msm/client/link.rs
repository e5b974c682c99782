//! One connection to one node: commands go out one behind the other and answers come back in the same order. Opens it, tells
//! the node who comes, and opens it again when it breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::binary::{self, Login};
use super::codec::{Asked, Codec};
use super::{Peer, QUEUE_MAX};
use crate::manager::msm::protocol::{Answer, Command};

/// The longest wait for a connection, its login included.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The first pause before a broken connection is tried again; each is twice the one before (spymemcached's).
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// The longest pause: msm's `msm.maxReconnectDelay`.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A connection whose oldest command has waited so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// So many commands may be under way; more wait in the queue. The last batch may go beyond it.
const UNDER_WAY_MAX: usize = 1024;

/// Bytes that are written at once when many commands wait; a single larger one is written whole.
const WRITE_MAX: usize = 64 << 10;

/// Commands on their way, and who waits. Whoever is dropped without an answer gets none.
pub(super) enum Call {
    One(Command, oneshot::Sender<Answer>),
    Batch(Vec<Command>, oneshot::Sender<Vec<Answer>>),
}

/// A command that was written.
struct UnderWay {
    asked: Asked,
    since: Instant,
    waiter: Waiter,
}

/// Who gets the answer of a command.
enum Waiter {
    One(oneshot::Sender<Answer>),
    /// Who waits for a batch, with those after it.
    Later,
    /// Who waits for a batch, of which this is the last.
    Batch(oneshot::Sender<Vec<Answer>>),
}

/// A queue for a connection that is opened now.
pub(super) fn open(peer: &Arc<Peer>) -> mpsc::Sender<Call> {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(keep(Arc::clone(peer), queue));
    sender
}

/// Serves the queue until nobody can put anything into it any more.
async fn keep(peer: Arc<Peer>, mut queue: mpsc::Receiver<Call>) {
    let mut pause = PAUSE_MIN;
    loop {
        match timeout(CONNECT_MAX, connect(&peer)).await {
            Ok(Ok(stream)) => {
                pause = PAUSE_MIN;
                tracing::debug!(node = peer.id, "connected");
                peer.connections.fetch_add(1, Ordering::Relaxed);
                let ended = Talk::new(&peer).run(stream, &mut queue).await;
                peer.connections.fetch_sub(1, Ordering::Relaxed);
                match ended {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(node = peer.id, error, "connection to a store node lost");
                    }
                }
            }
            Ok(Err(error)) => tracing::warn!(node = peer.id, error, "store node not reached"),
            Err(_) => tracing::warn!(node = peer.id, "store node not reached in time"),
        }
        if !refuse(&mut queue, pause).await {
            return;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A connection that takes commands.
async fn connect(peer: &Peer) -> Result<TcpStream, String> {
    let lost = |error: std::io::Error| error.to_string();
    let address = (peer.host.as_str(), peer.port);
    let mut stream = TcpStream::connect(address).await.map_err(lost)?;
    stream.set_nodelay(true).map_err(lost)?;
    let Some(login) = &peer.login else {
        return Ok(stream);
    };
    let (mut output, mut input) = (Vec::new(), Vec::new());
    let asked = binary::login(&login.username, &login.password.0, 0, &mut output);
    stream.write_all(&output).await.map_err(lost)?;
    loop {
        if stream.read_buf(&mut input).await.map_err(lost)? == 0 {
            return Err("login: the node closed the connection".into());
        }
        let answer = binary::login_answer(&asked, &input).map_err(|e| format!("login: {e}"))?;
        match answer {
            None => {}
            Some((Login::Accepted, used)) if used == input.len() => return Ok(stream),
            Some((Login::Accepted, _)) => return Err("the node said something unasked".into()),
            Some((Login::Refused(why), _)) => return Err(format!("login refused: {why}")),
        }
    }
}

/// Commands fail at once until the pause is over. False: nobody is left to send any.
async fn refuse(queue: &mut mpsc::Receiver<Call>, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    loop {
        tokio::select! {
            () = sleep_until(end) => return true,
            call = queue.recv() => match call {
                Some(call) => drop(call),
                None => return false,
            },
        }
    }
}

/// What is under way on a connection.
struct Talk {
    codec: Codec,
    under_way: VecDeque<UnderWay>,
    /// The answers of the oldest batch so far.
    batch: Vec<Answer>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    written: usize,
}

impl Talk {
    fn new(peer: &Peer) -> Self {
        Self {
            codec: Codec::new(peer.protocol),
            under_way: VecDeque::new(),
            batch: Vec::new(),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
        }
    }

    /// Commands out and answers in, until the connection breaks (an error that says how) or the queue ends. Whoever waits for
    /// an answer then sees that it will not come.
    async fn run(
        mut self,
        mut stream: TcpStream,
        queue: &mut mpsc::Receiver<Call>,
    ) -> Result<(), String> {
        let lost = |error: std::io::Error| error.to_string();
        let (mut reader, mut writer) = stream.split();
        let mut ended = false;
        while !ended || !self.under_way.is_empty() {
            let oldest = self
                .under_way
                .front()
                .map(|first| first.since + SILENCE_MAX);
            tokio::select! {
                read = reader.read_buf(&mut self.input) => {
                    if read.map_err(lost)? == 0 {
                        return Err("the node closed it".into());
                    }
                    self.answer()?;
                }
                wrote = writer.write(&self.output[self.written..]), if self.written < self.output.len() => {
                    self.wrote(wrote.map_err(lost)?);
                }
                call = queue.recv(), if self.has_room() && !ended => {
                    let Some(first) = call else {
                        ended = true;
                        continue;
                    };
                    let mut next = Some(first);
                    while let Some(call) = next {
                        self.send(call);
                        next = if self.has_room() { queue.try_recv().ok() } else { None };
                    }
                    // Most of the time the socket takes it at once, which saves a turn.
                    if let Ok(count) = writer.try_write(&self.output[self.written..]) {
                        self.wrote(count);
                    }
                }
                () = sleep_until(oldest.unwrap_or_else(Instant::now)), if oldest.is_some() => {
                    return Err(format!("no answer for {} seconds", SILENCE_MAX.as_secs()));
                }
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < UNDER_WAY_MAX && self.output.len() - self.written < WRITE_MAX
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.output.len() {
            self.output.clear();
            self.output.shrink_to(WRITE_MAX);
            self.written = 0;
        }
    }

    fn send(&mut self, call: Call) {
        let since = Instant::now();
        let mut put = |command, waiter| {
            let asked = self.codec.encode(command, &mut self.output);
            self.under_way.push_back(UnderWay {
                asked,
                since,
                waiter,
            });
        };
        match call {
            // They waited too long in the queue. What was never sent cannot be done late.
            Call::One(_, waiter) if waiter.is_closed() => {}
            Call::Batch(_, waiter) if waiter.is_closed() => {}
            Call::One(command, waiter) => put(command, Waiter::One(waiter)),
            Call::Batch(mut commands, waiter) => {
                let last = commands.pop();
                for command in commands {
                    put(command, Waiter::Later);
                }
                if let Some(last) = last {
                    put(last, Waiter::Batch(waiter));
                }
            }
        }
    }

    /// Gives out the answers that are complete.
    fn answer(&mut self) -> Result<(), String> {
        let mut used = 0;
        while used < self.input.len() {
            let Some(first) = self.under_way.front() else {
                return Err("the node said something unasked".into());
            };
            let answer = first.asked.decode(&self.input[used..]);
            let Some((answer, len)) = answer.map_err(|e| e.to_string())? else {
                break;
            };
            used += len;
            // Who waited may have given up.
            match self.under_way.pop_front().map(|first| first.waiter) {
                Some(Waiter::One(waiter)) => drop(waiter.send(answer)),
                Some(Waiter::Later) => self.batch.push(answer),
                Some(Waiter::Batch(waiter)) => {
                    self.batch.push(answer);
                    drop(waiter.send(std::mem::take(&mut self.batch)));
                }
                None => {}
            }
        }
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input.shrink_to(WRITE_MAX);
        }
        Ok(())
    }
}
