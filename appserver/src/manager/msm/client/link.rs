//! One connection to one node: commands go out one behind the other and answers come back in the same order. Opens it, tells
//! the node who comes, and opens it again when it breaks.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::binary::{self, Login};
use super::codec::{Asked, Codec};
use super::queue::{Queue, Taker, queue};
use super::round::Waiter;
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

/// So much room there is for answers before each read.
const READ_MIN: usize = 16 << 10;

/// Commands on their way, and how long somebody waits. Whoever is dropped without an answer gets none.
pub(super) struct Call {
    pub(super) commands: Vec<Command>,
    pub(super) waiter: Waiter,
    /// Nobody waits for the answers any longer than this.
    pub(super) end: Instant,
}

impl Call {
    /// Whether nobody waits for it any more.
    fn is_over(&self, now: Instant) -> bool {
        self.end <= now || self.waiter.is_gone()
    }
}

/// A command that was written.
struct UnderWay {
    asked: Asked,
    since: Instant,
    whose: Whose,
}

/// Who gets the answer of a command.
enum Whose {
    /// Who waits for a call, with those after it.
    Later,
    /// Who waits for a call, of which this is the last, until then.
    Last(Waiter, Instant),
    /// Nobody any more; of a call this is the last.
    Gone,
}

/// One timer for everything that waits on a connection. A timer per command would cost a system call each.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Alarm {
    fn new() -> Self {
        Self {
            sleep: Box::pin(sleep_until(Instant::now())),
            at: None,
        }
    }

    /// Rings at this time, or before.
    fn set(&mut self, when: Instant) {
        if self.at.is_none_or(|at| when < at) {
            self.sleep.as_mut().reset(when);
            self.at = Some(when);
        }
    }

    /// Ends when it rings; never, when it is not set.
    async fn rings(&mut self) {
        if self.at.is_none() {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.at = None;
    }
}

/// Calls that are not written yet, in their order.
struct Waiting {
    queue: Taker,
    calls: VecDeque<Call>,
    alarm: Alarm,
    /// Nobody can put anything into the queue any more.
    ended: bool,
}

impl Waiting {
    /// What [`Taker::take`] brought behind so many calls. Those for which there is no room are dropped.
    fn took(&mut self, before: usize, more: bool) {
        self.ended = !more;
        self.calls.truncate(QUEUE_MAX);
        for call in self.calls.range(before.min(QUEUE_MAX)..) {
            self.alarm.set(call.end);
        }
    }

    /// Drops the calls that nobody waits for any more.
    fn expire(&mut self, now: Instant) {
        self.calls.retain(|call| !call.is_over(now));
        if let Some(next) = self.calls.iter().map(|call| call.end).min() {
            self.alarm.set(next);
        }
    }
}

/// A queue for a connection that is opened now.
pub(super) fn open(peer: &Arc<Peer>) -> Queue {
    let (queue, taker) = queue();
    tokio::spawn(keep(Arc::clone(peer), taker));
    queue
}

/// Serves the queue until nobody can put anything into it any more.
async fn keep(peer: Arc<Peer>, queue: Taker) {
    let mut pause = PAUSE_MIN;
    let mut waiting = Waiting {
        queue,
        calls: VecDeque::new(),
        alarm: Alarm::new(),
        ended: false,
    };
    loop {
        match timeout(CONNECT_MAX, connect_for(&peer, &mut waiting)).await {
            Ok(Ok(stream)) => {
                pause = PAUSE_MIN;
                tracing::debug!(node = peer.id, "connected");
                peer.connections.fetch_add(1, Ordering::Relaxed);
                let ended = Talk::new(&peer).run(stream, &mut waiting).await;
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
        waiting.calls.clear();
        if !refuse(&mut waiting.queue, pause).await {
            return;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A connection that takes commands; meanwhile those that come wait, each as long as it may.
async fn connect_for(peer: &Peer, waiting: &mut Waiting) -> Result<TcpStream, String> {
    let mut connecting = pin!(connect(peer));
    loop {
        let before = waiting.calls.len();
        tokio::select! {
            connected = &mut connecting => return connected,
            more = waiting.queue.take(&mut waiting.calls), if !waiting.ended => waiting.took(before, more),
            () = waiting.alarm.rings() => waiting.expire(Instant::now()),
        }
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
async fn refuse(queue: &mut Taker, pause: Duration) -> bool {
    let mut over = pin!(sleep_until(Instant::now() + pause));
    let mut refused = VecDeque::new();
    loop {
        tokio::select! {
            () = &mut over => return true,
            more = queue.take(&mut refused) => match more {
                true => refused.clear(),
                false => return false,
            },
        }
    }
}

/// What is under way on a connection.
struct Talk {
    codec: Codec,
    under_way: VecDeque<UnderWay>,
    /// The answers of the oldest call so far.
    answers: Vec<Answer>,
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
            answers: Vec::new(),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
        }
    }

    /// Commands out and answers in, until the connection breaks (an error that says how) or the queue ends. Whoever waits for
    /// an answer then sees that it will not come.
    async fn run(mut self, mut stream: TcpStream, waiting: &mut Waiting) -> Result<(), String> {
        let lost = |error: std::io::Error| error.to_string();
        let (mut reader, mut writer) = stream.split();
        self.send_all(waiting, &writer);
        while !waiting.ended || !self.under_way.is_empty() || !waiting.calls.is_empty() {
            self.input.reserve(READ_MIN);
            let before = waiting.calls.len();
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
                more = waiting.queue.take(&mut waiting.calls), if !waiting.ended => {
                    waiting.took(before, more);
                }
                () = waiting.alarm.rings() => {
                    let now = Instant::now();
                    self.expire(now, &mut waiting.alarm)?;
                    waiting.expire(now);
                }
            }
            self.send_all(waiting, &writer);
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

    /// Writes calls that wait, as long as there is room.
    fn send_all(&mut self, waiting: &mut Waiting, writer: &WriteHalf<'_>) {
        if waiting.calls.is_empty() {
            return;
        }
        let since = Instant::now();
        while self.has_room()
            && let Some(call) = waiting.calls.pop_front()
        {
            // What was never sent cannot be done late.
            if !call.is_over(since) {
                waiting.alarm.set(call.end.min(since + SILENCE_MAX));
                self.send(call, since);
            }
        }
        // Most of the time the socket takes it at once, which saves a turn.
        if let Ok(count) = writer.try_write(&self.output[self.written..]) {
            self.wrote(count);
        }
    }

    fn send(&mut self, call: Call, since: Instant) {
        let Call {
            commands,
            waiter,
            end,
        } = call;
        let mut last = Some(Whose::Last(waiter, end));
        let count = commands.len();
        for (command, place) in commands.into_iter().zip(1..) {
            let asked = self.codec.encode(command, &mut self.output);
            let whose = last.take_if(|_| place == count).unwrap_or(Whose::Later);
            self.under_way.push_back(UnderWay {
                asked,
                since,
                whose,
            });
        }
    }

    /// Tells those whose time is over, which dropping does. Their answers may still come, and are passed over then.
    fn expire(&mut self, now: Instant, alarm: &mut Alarm) -> Result<(), String> {
        let oldest = self.under_way.front().map(|first| first.since);
        if let Some(silent) = oldest.map(|since| since + SILENCE_MAX) {
            if silent <= now {
                return Err(format!("no answer for {} seconds", SILENCE_MAX.as_secs()));
            }
            alarm.set(silent);
        }
        for sent in &mut self.under_way {
            match sent.whose {
                Whose::Last(_, end) if end <= now => sent.whose = Whose::Gone,
                Whose::Last(_, end) => alarm.set(end),
                Whose::Later | Whose::Gone => {}
            }
        }
        Ok(())
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
            let whose = self.under_way.pop_front().map(|first| first.whose);
            self.answers.push(answer);
            match whose {
                Some(Whose::Last(waiter, _)) => {
                    // The next call mostly has as many.
                    let next = Vec::with_capacity(self.answers.len());
                    waiter.tell(std::mem::replace(&mut self.answers, next));
                }
                Some(Whose::Gone) => self.answers.clear(),
                Some(Whose::Later) | None => {}
            }
        }
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input.shrink_to(WRITE_MAX);
        }
        Ok(())
    }
}
