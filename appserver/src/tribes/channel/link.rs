//! The way to one member: a bounded queue, one connection, answers in the order of the messages.
//!
//! ```text
//!   submit ──► queue ──► waiting ──► (written) ──► unanswered ──► done
//!                           ▲                          │
//!                           └────── sent again ◄───────┘ the connection broke
//! ```
//!
//! Who waits for a message has no timer of its own: the link knows until when it waits, and has one for all of them.
//!
//! One of ours gets many frames in one write and answers them in order. A Tomcat may apply two frames of one connection in any
//! order, so it gets the next one when it has answered the one before.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connect::connect;
use super::mailbox::{Post, Waiter};
use super::shared::{Notice, Shared};
use super::{Delivery, Why};
use crate::tribes::frame::{self, Answer, Parsed};
use crate::tribes::member::Member;
use crate::tribes::options::SendOptions;

/// At most so many messages wait for a member.
const QUEUE_MAX: u64 = 65_536;

/// So many frames, at most, in one write.
const BATCH: usize = 64;

/// The pause before a connection is tried again: first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The data of an answer.
const ANSWER_DATA: usize = 3;

/// One member's queue and figures.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) member: Member,
    queue: mpsc::UnboundedSender<Job>,
    bytes_max: usize,
    bytes: AtomicUsize,
    stalled: AtomicBool,
    /// Messages that were thrown away, refused, or perhaps not read, and of which nobody was told yet.
    lost: AtomicU64,
    pub(super) figures: Figures,
    /// The member is none any more.
    pub(super) gone: CancellationToken,
}

/// What became of the messages to a member.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) queued: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) acked: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) dropped: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A frame on its way.
#[derive(Debug)]
struct Job {
    frame: Bytes,
    wants_ack: bool,
    attempts: u32,
    /// Who waits, and until when.
    done: Option<(Waiter, Instant)>,
    link: Arc<Link>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.link
            .bytes
            .fetch_sub(self.frame.len(), Ordering::Relaxed);
        self.link.figures.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Job {
    fn finish(mut self, delivery: Delivery, post: &mut Post) {
        self.tell(delivery, post);
    }

    fn tell(&mut self, delivery: Delivery, post: &mut Post) {
        if let Some((waiter, _)) = self.done.take() {
            post.put(waiter, delivery);
        }
    }
}

impl Link {
    /// A link whose task runs until the member is gone or the channel stops.
    pub(super) fn open(member: Member, shared: &Arc<Shared>) -> Arc<Self> {
        // What bounds it is the number of messages that are not done.
        let (queue, jobs) = mpsc::unbounded_channel();
        let link = Arc::new(Self {
            member,
            queue,
            bytes_max: shared.limits.queue,
            bytes: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            figures: Figures::default(),
            gone: CancellationToken::new(),
        });
        let line = Line {
            shared: Arc::clone(shared),
            link: Arc::clone(&link),
            jobs,
            waiting: VecDeque::new(),
            written: 0,
            unanswered: VecDeque::new(),
            unsure: false,
            progress: Instant::now(),
            first_end: None,
            alarm: Box::pin(sleep_until(Instant::now())),
        };
        shared.tasks.spawn(line.run());
        link
    }

    /// Whether nobody waits for it.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Puts a frame into the queue. `done` is who waits for it, and until when.
    pub(super) fn submit(
        self: &Arc<Self>,
        frame: Bytes,
        options: SendOptions,
        done: Option<(Waiter, Instant)>,
    ) -> Result<(), Why> {
        let len = frame.len();
        let before = self.bytes.fetch_add(len, Ordering::Relaxed);
        let queued = self.figures.queued.fetch_add(1, Ordering::Relaxed);
        let job = Job {
            frame,
            wants_ack: options.wants_ack(),
            attempts: 0,
            done,
            link: Arc::clone(self),
        };
        // An empty queue takes any frame.
        let full = before > 0 && before + len > self.bytes_max || queued >= QUEUE_MAX;
        let refused = match full {
            true => Some(Why::Full),
            false => self.queue.send(job).err().map(|_| Why::NotMember),
        };
        match refused {
            Some(why) => {
                count(&self.figures.dropped);
                count(&self.lost);
                Err(why)
            }
            None => Ok(()),
        }
    }
}

/// The task's side of a link.
struct Line {
    shared: Arc<Shared>,
    link: Arc<Link>,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Taken from the queue and not written yet, except for the first bytes of the first.
    waiting: VecDeque<Job>,
    written: usize,
    /// Written; their answers come in this order.
    unanswered: VecDeque<Job>,
    /// Something was written on this connection for which no answer comes.
    unsure: bool,
    /// When the member last answered or took what is first in the line, or when there began to be a line.
    progress: Instant,
    /// Nobody waits for a shorter time than until then; `None`: nobody waits.
    first_end: Option<Instant>,
    /// Rings at that time, at the time at which the member is stalled, or earlier.
    alarm: Pin<Box<Sleep>>,
}

/// Why the task goes on or ends.
enum Turn<T> {
    Done(T),
    Gone,
}

impl Line {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let connecting = connect(Arc::clone(&self.shared), self.link.member.address());
            match self.beside(connecting).await {
                Turn::Gone => break,
                Turn::Done(Ok(stream)) => {
                    pause = PAUSE_MIN;
                    // Perhaps nothing more is sent soon, so that nothing else would tell.
                    if !self.link.is_stalled() {
                        self.tell_lost();
                    }
                    match self.talk(stream).await {
                        Turn::Gone => break,
                        Turn::Done(error) => {
                            let member = self.link.member.address();
                            tracing::debug!(%member, %error, "connection to a member lost");
                        }
                    }
                    self.send_again();
                }
                Turn::Done(Err(error)) => {
                    let member = self.link.member.address();
                    tracing::debug!(%member, %error, "member not reached");
                }
            }
            self.shared.notify(Notice::SendFailed(self.link.member.id));
            if let Turn::Gone = self.beside(tokio::time::sleep(pause)).await {
                break;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            self.waiting.push_back(job);
        }
        let why = match self.shared.stop.is_cancelled() {
            true => Why::Stopping,
            false => Why::NotMember,
        };
        let mut post = Post::default();
        for job in self.unanswered.drain(..).chain(self.waiting.drain(..)) {
            count(&self.link.figures.failed);
            job.finish(Delivery::Failed(why), &mut post);
        }
    }

    /// Waits for something else, while messages are taken in and the oldest does not wait for ever.
    async fn beside<T>(&mut self, other: impl Future<Output = T>) -> Turn<T> {
        tokio::pin!(other);
        let gone = self.link.gone.clone();
        loop {
            let armed = self.arm();
            tokio::select! {
                done = &mut other => return Turn::Done(done),
                () = gone.cancelled() => return Turn::Gone,
                job = self.jobs.recv() => match job {
                    Some(job) => self.take(job),
                    None => return Turn::Gone,
                },
                () = &mut self.alarm, if armed => self.look_at_clock(),
            }
        }
    }

    fn take(&mut self, mut job: Job) {
        if self.waiting.is_empty() && self.unanswered.is_empty() {
            self.progress = Instant::now();
        }
        // It was on its way here while the member stalled.
        if self.link.is_stalled() {
            job.tell(Delivery::Queued, &mut Post::default());
        }
        if let Some((_, end)) = job.done {
            self.first_end = Some(self.first_end.map_or(end, |first| first.min(end)));
        }
        self.waiting.push_back(job);
    }

    /// When the member is stalled, if that is to come at all.
    fn stall_at(&self) -> Option<Instant> {
        let line = !self.waiting.is_empty() || !self.unanswered.is_empty();
        let armed = line && !self.link.is_stalled();
        armed.then(|| self.progress + self.shared.limits.timeout)
    }

    /// Sees to it that the alarm does not ring too late; whether there is anything to wait for. It is not put off with every
    /// answer, but when it rings too early.
    fn arm(&mut self) -> bool {
        let Some(next) = self.stall_at().into_iter().chain(self.first_end).min() else {
            return false;
        };
        if self.alarm.is_elapsed() || next < self.alarm.deadline() {
            self.alarm.as_mut().reset(next);
        }
        true
    }

    /// The alarm rang: tells those whose time is over, and whether the member is stalled.
    fn look_at_clock(&mut self) {
        let now = Instant::now();
        if self.stall_at().is_some_and(|at| at <= now) {
            self.stall();
        }
        if self.first_end.is_none_or(|end| end > now) {
            return;
        }
        let mut first = None;
        let mut post = Post::default();
        for job in self.unanswered.iter_mut().chain(&mut self.waiting) {
            match job.done {
                Some((_, end)) if end <= now => {
                    count(&self.link.figures.timed_out);
                    job.tell(Delivery::TimedOut, &mut post);
                }
                Some((_, end)) => first = Some(first.map_or(end, |first: Instant| first.min(end))),
                None => {}
            }
        }
        self.first_end = first;
    }

    /// Nothing went on for too long: from now on nobody waits.
    fn stall(&mut self) {
        self.link.stalled.store(true, Ordering::Relaxed);
        let mut post = Post::default();
        for job in self.unanswered.iter_mut().chain(&mut self.waiting) {
            if job.done.is_some() {
                count(&self.link.figures.timed_out);
                job.tell(Delivery::TimedOut, &mut post);
            }
        }
        self.shared.notify(Notice::Stalled(self.link.member.id));
    }

    /// The member took or answered what was first in the line.
    fn alive(&mut self) {
        self.progress = Instant::now();
        self.tell_lost();
    }

    /// Tells that the member answers again, or that it lost something.
    fn tell_lost(&self) {
        let link = &self.link;
        let lost = link.lost.load(Ordering::Relaxed);
        if (link.is_stalled() || lost > 0)
            && self.shared.notify(Notice::Recovered(link.member.id, lost))
        {
            link.stalled.store(false, Ordering::Relaxed);
            link.lost.fetch_sub(lost, Ordering::Relaxed);
        }
    }

    /// After a connection broke: what was not answered is written again, unless that was done before.
    fn send_again(&mut self) {
        if std::mem::take(&mut self.unsure) {
            count(&self.link.lost);
        }
        let begun = usize::from(self.written > 0).min(self.waiting.len());
        self.written = 0;
        let rest = self.waiting.split_off(begun);
        let again = self.unanswered.drain(..).chain(self.waiting.drain(..));
        let mut waiting = VecDeque::new();
        let mut post = Post::default();
        for mut job in again {
            if job.attempts < self.shared.limits.retries {
                job.attempts += 1;
                waiting.push_back(job);
            } else {
                count(&self.link.figures.failed);
                count(&self.link.lost);
                job.finish(Delivery::Failed(Why::Broken), &mut post);
            }
        }
        waiting.extend(rest);
        self.waiting = waiting;
    }

    /// Frames out and answers in, until the connection breaks or the member is gone.
    async fn talk(&mut self, stream: TcpStream) -> Turn<io::Error> {
        let gone = self.link.gone.clone().cancelled_owned();
        tokio::pin!(gone);
        let mut input = Vec::with_capacity(1024);
        let mut blocked = false;
        loop {
            while !blocked && self.may_write() {
                match self.write(&stream) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => blocked = true,
                    Err(error) => return Turn::Done(error),
                }
            }
            let armed = self.arm();
            tokio::select! {
                ready = stream.readable() => {
                    if let Err(error) = ready.and_then(|()| self.read(&stream, &mut input)) {
                        return Turn::Done(error);
                    }
                }
                ready = stream.writable(), if blocked => match ready {
                    Ok(()) => blocked = false,
                    Err(error) => return Turn::Done(error),
                },
                job = self.jobs.recv() => {
                    let Some(job) = job else { return Turn::Gone };
                    self.take(job);
                    while let Ok(job) = self.jobs.try_recv() {
                        self.take(job);
                    }
                }
                () = &mut gone => return Turn::Gone,
                () = &mut self.alarm, if armed => self.look_at_clock(),
            }
        }
    }

    fn may_write(&self) -> bool {
        !self.waiting.is_empty() && (self.link.member.is_native() || self.unanswered.is_empty())
    }

    fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        let native = self.link.member.is_native();
        let mut slices = [IoSlice::new(&[]); BATCH];
        let mut used = 0;
        for (slice, job) in slices.iter_mut().zip(&self.waiting) {
            let from = if used == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&job.frame[from..]);
            used += 1;
            if !native && job.wants_ack {
                break;
            }
        }
        let mut wrote = stream.try_write_vectored(&slices[..used])?;
        if wrote == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        if self.unanswered.is_empty() {
            self.progress = Instant::now();
        }
        let figures = &self.link.figures;
        figures
            .sent_bytes
            .fetch_add(wrote as u64, Ordering::Relaxed);
        let mut post = Post::default();
        while let Some(job) = self.waiting.front() {
            let left = job.frame.len() - self.written;
            if wrote < left {
                self.written += wrote;
                break;
            }
            wrote -= left;
            self.written = 0;
            count(&figures.sent);
            let job = self.waiting.pop_front().expect("it was looked at");
            if job.wants_ack {
                self.unanswered.push_back(job);
            } else {
                self.unsure = true;
                job.finish(Delivery::Written, &mut post);
            }
        }
        if self.unanswered.is_empty() {
            self.alive();
        }
        Ok(())
    }

    fn read(&mut self, stream: &TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
        match stream.try_read_buf(input) {
            Ok(0) => {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the member closed it",
                ));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut at = 0;
        let mut post = Post::default();
        loop {
            match frame::parse(&input[at..], ANSWER_DATA) {
                Ok(Parsed::Answer(answer, used)) => {
                    at += used;
                    self.answered(answer, &mut post)?;
                }
                Ok(Parsed::Incomplete(_)) => break,
                _ => {
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        "no answer of a member",
                    ));
                }
            }
        }
        if at > 0 {
            input.drain(..at);
            self.alive();
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer, post: &mut Post) -> io::Result<()> {
        let Some(job) = self.unanswered.pop_front() else {
            let why = "the member answered what was not asked";
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        };
        if answer != Answer::Ack && job.done.is_none() {
            // Nobody waits for it (any more), so nobody hears of it otherwise.
            count(&self.link.lost);
        }
        if answer == Answer::Ack || !self.shared.limits.failed_ack {
            count(&self.link.figures.acked);
            job.finish(Delivery::Acked, post);
        } else {
            count(&self.link.figures.failed);
            job.finish(Delivery::Failed(Why::Refused), post);
        }
        Ok(())
    }
}
