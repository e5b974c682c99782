//! Connections from members: frames in, answers out. A message is applied by the task that read it, so that those of one connection keep
//! their order.

use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::shared::{Notice, Shared};
use super::{Applied, Incoming};
use crate::tribes::encrypt::Seen;
use crate::tribes::frame::{self, Frame, Parsed};
use crate::tribes::member::{ALIVE_AT, Member};

/// At most so many connections; more are closed at once. Tomcats open up to 25 each.
const CONNECTIONS_MAX: usize = 1024;

/// All connections together keep at most so many times the largest frame.
const BUFFERED_FRAMES: usize = 4;

/// A connection gets so much junk between frames before it is closed.
const JUNK_MAX: usize = 64 << 10;

/// A frame that began has so long to end.
const FRAME_TIME: Duration = Duration::from_secs(30);

/// So long a message waits for its sender to become a member, whose heartbeat may come later than its message.
const STRANGER_WAIT: Duration = Duration::from_secs(1);

/// What an idle connection keeps at most, and how much larger its buffer is made at once.
const CHUNK: usize = 64 << 10;

/// The least room for a read.
const ROOM_MIN: usize = 4096;

/// Accepts until the channel stops.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let serve = Arc::clone(&shared);
    shared.tasks.spawn(async move {
        let stop = serve.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => connected(&serve, stream),
                Err(error) => {
                    // No more file descriptors, mostly: waiting may help.
                    tracing::warn!(%error, "cannot accept a member's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

fn connected(shared: &Arc<Shared>, stream: TcpStream) {
    let before = shared.counters.connections.fetch_add(1, Ordering::Relaxed);
    let mut connection = Connection {
        shared: Arc::clone(shared),
        stream,
        counted: 0,
        junk: 0,
        answers: Vec::new(),
        work: Vec::new(),
        sender: None,
    };
    if before >= CONNECTIONS_MAX {
        if shared.counters.warned.may(shared.now()) {
            let peer = connection.stream.peer_addr().ok();
            tracing::warn!(
                ?peer,
                limit = CONNECTIONS_MAX,
                "too many connections to the receiver: one is closed"
            );
        }
        return;
    }
    shared.tasks.spawn(async move {
        let stop = connection.shared.stop.clone();
        let ended = tokio::select! {
            ended = connection.serve() => ended,
            () = stop.cancelled() => return,
        };
        if let Err(error) = ended {
            connection.report(&error);
        }
    });
}

/// One connection.
struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    /// Of the input's capacity, what is in the total of all connections.
    counted: usize,
    junk: usize,
    answers: Vec<u8>,
    /// Where messages are decrypted.
    work: Vec<u8>,
    /// The last sender, with its package.
    sender: Option<(Vec<u8>, Arc<Member>)>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let counters = &self.shared.counters;
        counters.buffered.fetch_sub(self.counted, Ordering::Relaxed);
        counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The stream makes no sense.
fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        super::connect::prepare(&self.stream, &self.shared.limits)?;
        let mut input = Vec::new();
        loop {
            let used = self.frames(&input).await?;
            input.drain(..used);
            if !self.answers.is_empty() {
                let limit = self.shared.limits.timeout;
                timeout(limit, self.stream.write_all(&self.answers)).await??;
                self.answers.clear();
            }
            self.make_room(&mut input)?;
            let begun = !input.is_empty();
            let reading = self.stream.read_buf(&mut input);
            let read = match begun {
                true => timeout(FRAME_TIME, reading).await??,
                false => reading.await?,
            };
            if read == 0 {
                return Ok(());
            }
            let counters = &self.shared.counters;
            counters
                .received_bytes
                .fetch_add(read as u64, Ordering::Relaxed);
        }
    }

    /// Deals with the frames that are complete; says how many bytes they were.
    async fn frames(&mut self, input: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            at += match frame::parse(&input[at..], self.shared.limits.frame).map_err(invalid)? {
                Parsed::Message(frame, used) => {
                    self.junk = 0;
                    self.message(&frame).await?;
                    used
                }
                Parsed::Answer(_, used) | Parsed::Junk(used) => {
                    self.junk += used;
                    if self.junk > JUNK_MAX {
                        return Err(invalid("nothing but junk comes"));
                    }
                    used
                }
                Parsed::Incomplete(_) => return Ok(at),
            };
        }
    }

    /// Room for the next read, within what all connections may keep.
    fn make_room(&mut self, input: &mut Vec<u8>) -> io::Result<()> {
        if input.is_empty() {
            input.shrink_to(CHUNK);
            self.work.clear();
            self.work.shrink_to(CHUNK);
        }
        if input.capacity() - input.len() < ROOM_MIN {
            input.reserve(input.len().clamp(ROOM_MIN, CHUNK));
        }
        let keeps = input.capacity();
        let buffered = &self.shared.counters.buffered;
        buffered.fetch_add(keeps, Ordering::Relaxed);
        let total = buffered.fetch_sub(self.counted, Ordering::Relaxed) - self.counted;
        self.counted = keeps;
        if total > BUFFERED_FRAMES * self.shared.limits.frame && keeps > CHUNK {
            return Err(invalid("the receiver's buffers are full"));
        }
        Ok(())
    }

    async fn message(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let sender = self.sender(frame)?;
        if frame.is_probe() {
            self.shared
                .notify(Notice::Heard(Box::new(Member::clone(&sender))));
            self.answer(frame, true);
            return Ok(());
        }
        let mut work = std::mem::take(&mut self.work);
        let done = self.deal(frame, &sender, &mut work).await;
        self.work = work;
        match done {
            // That it was read is said before it is applied, which took no time.
            Some(Applied::Done) => self.answer(frame, true),
            Some(Applied::Failed) => self.answer(frame, !frame.options.ack_after_applied()),
            None => self.answer(frame, false),
        }
        Ok(())
    }

    /// Decrypts the message and hands it on, if it comes from a member.
    async fn deal(
        &self,
        frame: &Frame<'_>,
        sender: &Member,
        work: &mut Vec<u8>,
    ) -> Option<Applied> {
        let counters = &self.shared.counters;
        let bytes = match &self.shared.security {
            None => frame.message,
            Some(security) => {
                let now = self.shared.clock.now().0;
                let opened = security.cipher.decrypt(frame.message, work).ok();
                let seen = opened.map(|opened| match (&security.replay, opened.time) {
                    (Some(window), Some(sent)) => window
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take(security.cipher.iv(frame.message), sent, now),
                    _ => Seen::Never,
                });
                match (opened, seen) {
                    (Some(opened), Some(Seen::Never)) => opened.message,
                    (_, seen) => {
                        counters.encryption.fetch_add(1, Ordering::Relaxed);
                        if seen == Some(Seen::Before) {
                            // Mostly the sender's own second try: it was dealt with then.
                            return Some(Applied::Done);
                        }
                        self.warn(
                            sender,
                            "it is not encrypted with this node's key, or its time is not now",
                        );
                        return None;
                    }
                }
            }
        };
        if !self.is_member(sender).await && self.shared.security.is_none() {
            counters.not_member.fetch_add(1, Ordering::Relaxed);
            self.warn(sender, "its sender is no member");
            return None;
        }
        counters.received.fetch_add(1, Ordering::Relaxed);
        let message = Incoming {
            id: frame.id,
            timestamp: frame.timestamp,
            options: frame.options,
            bytes,
        };
        Some(self.shared.listener.message(sender, message))
    }

    /// Whether the sender is a member, or becomes one in a moment.
    async fn is_member(&self, sender: &Member) -> bool {
        let is_member = || self.shared.view.load().link(sender.id).is_some();
        if is_member() {
            return true;
        }
        let mut changed = self.shared.changed.subscribe();
        let end = Instant::now() + STRANGER_WAIT;
        while !is_member() {
            match timeout_at(end, changed.changed()).await {
                Ok(Ok(())) => {}
                _ => return false,
            }
        }
        true
    }

    fn answer(&mut self, frame: &Frame<'_>, success: bool) {
        if frame.options.wants_ack() {
            let answer = match success {
                true => &frame::ACK,
                false => &frame::FAILED_ACK,
            };
            self.answers.extend_from_slice(answer);
        }
    }

    /// Who sent it. Its package is looked at when it differs from the last one in more than the alive time.
    fn sender(&mut self, frame: &Frame<'_>) -> io::Result<Arc<Member>> {
        let parts = |package: &[u8]| -> Option<[Range<usize>; 2]> {
            let rest = ALIVE_AT + 8..package.len();
            (rest.start <= rest.end).then_some([0..ALIVE_AT, rest])
        };
        if let Some((package, member)) = &self.sender
            && package.len() == frame.sender.len()
            && let Some(parts) = parts(package)
            && parts
                .into_iter()
                .all(|part| package[part.clone()] == frame.sender[part])
        {
            return Ok(Arc::clone(member));
        }
        let member = Arc::new(frame.sender().map_err(invalid)?);
        self.sender = Some((frame.sender.to_vec(), Arc::clone(&member)));
        Ok(member)
    }

    fn warn(&self, sender: &Member, why: &str) {
        if self.shared.counters.warned.may(self.shared.now()) {
            let peer = self.stream.peer_addr().ok();
            let member = sender.address();
            tracing::warn!(?peer, %member, why, "a message is dropped");
        }
    }

    /// Says how the connection ended.
    fn report(&self, error: &io::Error) {
        let counters = &self.shared.counters;
        let peer = self.stream.peer_addr().ok();
        if error.kind() == io::ErrorKind::InvalidData {
            counters.invalid.fetch_add(1, Ordering::Relaxed);
            if counters.warned.may(self.shared.now()) {
                tracing::warn!(?peer, %error, "a connection to the receiver is closed");
            }
        } else {
            tracing::debug!(?peer, %error, "a member's connection ended");
        }
    }
}
