//! What the tasks of a channel share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::Link;
use super::{Listener, Why};
use crate::clock::Clock;
use crate::tribes::encrypt::{Cipher, IV_MAX, ReplayWindow};
use crate::tribes::frame::{Head, frame_len};
use crate::tribes::member::{ALIVE_AT, Member, MemberId};
use crate::tribes::options::SendOptions;

/// One channel.
pub(super) struct Shared {
    pub(super) local: Member,
    /// The local member's package with an alive time of 0.
    package: Vec<u8>,
    started: Instant,
    /// The runtime of the channel's tasks.
    pub(super) runtime: tokio::runtime::Id,
    pub(super) clock: Clock,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) limits: Limits,
    pub(super) view: ArcSwap<View>,
    /// Says that the view is another one.
    pub(super) changed: watch::Sender<()>,
    pub(super) notices: mpsc::Sender<Notice>,
    /// Addresses from which members may come that were not heard by multicast.
    pub(super) targets: ArcSwap<Vec<SocketAddr>>,
    /// Which source of members holds.
    pub(super) discovery: ArcSwap<String>,
    pub(super) security: Option<Security>,
    random: Mutex<Random>,
    pub(super) counters: Counters,
    /// No more messages are taken.
    pub(super) closing: AtomicBool,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Bounds, from the settings.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// The longest wait for a connection and for an answer.
    pub(super) timeout: Duration,
    /// How often a message is sent again.
    pub(super) retries: u32,
    /// The largest frame.
    pub(super) frame: usize,
    /// The most bytes that wait for one member.
    pub(super) queue: usize,
    /// Whether an answer that says "failed" is a failure.
    pub(super) failed_ack: bool,
    /// For a probe's connection.
    pub(super) connect_timeout: Duration,
    /// Whether a probe is written.
    pub(super) send_test: bool,
    /// How long its answer is waited for, if at all.
    pub(super) read_test: Option<Duration>,
    /// Between heartbeats.
    pub(super) frequency: Duration,
    /// Bytes of the buffers of sockets; 0: the system's.
    pub(super) rx_buf: usize,
    pub(super) tx_buf: usize,
}

/// The shared key.
pub(super) struct Security {
    pub(super) cipher: Cipher,
    /// `None`: the form without times.
    pub(super) replay: Option<Mutex<ReplayWindow>>,
}

/// The members at one moment.
#[derive(Default)]
pub(super) struct View {
    /// The one that is alive longest first.
    pub(super) members: Arc<[Member]>,
    /// Of each member, in the same order.
    pub(super) links: Vec<Arc<Link>>,
    /// The same.
    pub(super) suspected: Vec<bool>,
}

impl View {
    pub(super) fn link(&self, id: MemberId) -> Option<&Arc<Link>> {
        self.links.iter().find(|link| link.member.id == id)
    }
}

/// What the membership's task is told.
#[derive(Debug)]
pub(super) enum Notice {
    /// A sign of life over TCP.
    Heard(Box<Member>),
    /// How a probe ended.
    Probed(MemberId, bool),
    /// A connection broke or was not made.
    SendFailed(MemberId),
    /// A member connects and does not answer.
    Stalled(MemberId),
    /// It answers again; so many messages to it were thrown away.
    Recovered(MemberId, u64),
}

/// What came.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) not_member: AtomicU64,
    pub(super) invalid: AtomicU64,
    pub(super) encryption: AtomicU64,
    pub(super) datagrams: AtomicU64,
    pub(super) connections: AtomicUsize,
    /// Bytes of the receivers' buffers.
    pub(super) buffered: AtomicUsize,
    pub(super) warned: Warned,
}

/// Keeps what strangers cause from filling the log.
#[derive(Debug, Default)]
pub(super) struct Warned(AtomicU64);

/// At most one such warning in this time, in milliseconds.
const WARN_EVERY: u64 = 5000;

impl Warned {
    /// Whether a warning may be logged now.
    pub(super) fn may(&self, now: u64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        (last == 0 || now >= last + WARN_EVERY)
            && self
                .0
                .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// Random bytes, fetched from the system in pages.
struct Random {
    bytes: Box<[u8; 4096]>,
    used: usize,
}

impl Random {
    fn next(&mut self) -> [u8; 16] {
        if self.used == self.bytes.len() {
            getrandom::fill(&mut self.bytes[..]).expect("the system has random bytes");
            self.used = 0;
        }
        let next = &self.bytes[self.used..self.used + 16];
        self.used += 16;
        next.try_into().expect("16 bytes were taken")
    }
}

/// 16 random bytes.
pub(super) fn random16() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

/// What a channel is made of.
pub(super) struct Parts {
    pub(super) local: Member,
    pub(super) clock: Clock,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) limits: Limits,
    pub(super) security: Option<Security>,
    pub(super) notices: mpsc::Sender<Notice>,
}

impl Shared {
    /// Must be called inside the runtime of the channel's tasks.
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            package: parts.local.package(),
            local: parts.local,
            started: Instant::now(),
            runtime: tokio::runtime::Handle::current().id(),
            clock: parts.clock,
            listener: parts.listener,
            limits: parts.limits,
            view: ArcSwap::default(),
            changed: watch::Sender::new(()),
            notices: parts.notices,
            targets: ArcSwap::default(),
            discovery: ArcSwap::default(),
            security: parts.security,
            random: Mutex::new(Random {
                bytes: Box::new([0; 4096]),
                used: 4096,
            }),
            counters: Counters::default(),
            closing: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Milliseconds since the channel began: the membership's time, and this node's alive time.
    pub(super) fn now(&self) -> u64 {
        self.alive(Instant::now())
    }

    fn alive(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// This node, now.
    pub(super) fn local(&self) -> Member {
        let mut local = self.local.clone();
        local.alive = self.now();
        local
    }

    /// The frame with this message.
    pub(super) fn frame(
        &self,
        message: &[u8],
        options: SendOptions,
        now: Instant,
    ) -> Result<Bytes, Why> {
        if self.closing.load(Ordering::Relaxed) {
            return Err(Why::Stopping);
        }
        let security = self.security.as_ref();
        self.frame_with(&self.package, message, options, security, now)
    }

    /// The frame of a probe. It is also the heartbeat of those that do not use multicast: it carries the sender's package, and Tomcat takes
    /// it for what it is. Never encrypted.
    pub(super) fn probe(&self, options: SendOptions, leaving: bool) -> Bytes {
        let options = options.with(SendOptions::BYTE_MESSAGE);
        let message = &crate::tribes::frame::PROBE;
        let now = Instant::now();
        let frame = if leaving {
            let mut local = self.local.clone();
            local.command = crate::tribes::member::LEAVING.into();
            self.frame_with(&local.package(), message, options, None, now)
        } else {
            self.frame_with(&self.package, message, options, None, now)
        };
        frame.expect("a probe is small")
    }

    fn frame_with(
        &self,
        package: &[u8],
        message: &[u8],
        options: SendOptions,
        security: Option<&Security>,
        now: Instant,
    ) -> Result<Bytes, Why> {
        let (id, iv) = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            let iv = security.map_or([0; IV_MAX], |_| random.next());
            (random.next(), iv)
        };
        let len = security.map_or(message.len(), |s| s.cipher.encrypted_len(message.len()));
        let whole = frame_len(package.len(), len);
        if whole > self.limits.frame {
            return Err(Why::TooLarge);
        }
        let timestamp = self.clock.now().0;
        let mut frame = Vec::with_capacity(whole);
        let head = Head {
            options,
            timestamp,
            id,
            sender: package,
        };
        head.write(&mut frame, |out| match security {
            Some(security) => security.cipher.encrypt(iv, timestamp, message, out),
            None => out.extend_from_slice(message),
        });
        let alive = crate::tribes::frame::SENDER_AT + ALIVE_AT;
        frame[alive..alive + 8].copy_from_slice(&self.alive(now).to_be_bytes());
        Ok(frame.into())
    }

    /// Tells the membership's task; false: it has too much to do, or stopped.
    pub(super) fn notify(&self, notice: Notice) -> bool {
        let told = self.notices.try_send(notice).is_ok();
        if !told {
            tracing::debug!("the membership is busy or stopped; a notice is dropped");
        }
        told
    }
}
