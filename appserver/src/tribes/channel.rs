//! Messages to and from the members. What replicates knows this file only.
//!
//! ```text
//!   send, post ──► link.rs: a queue and a connection for each member ───────────► its receiver
//!   who waits ◄─── mailbox.rs: on another thread than the links' ◄─────────────── (answers)
//!   Listener ◄──── receiver.rs: connections that members opened ◄──────────────── its links
//!      ▲
//!      └────────── group.rs: the membership's task ◄──► multicast.rs, beacon.rs (TCP heartbeats), probe.rs
//! ```

mod beacon;
mod bind;
mod connect;
mod discovery;
mod group;
mod link;
mod mailbox;
mod multicast;
mod probe;
mod receiver;
mod shared;
mod status;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::DropGuard;

use self::group::{Group, NOTICES_MAX};
use self::link::Link;
use self::mailbox::Waiter;
use self::shared::{Limits, Parts, Security, Shared, random16};
use super::encrypt::{Cipher, ReplayWindow};
use super::member::{Member, MemberId};
use super::options::SendOptions;
use super::settings::{ClusterSettings, MembershipType, encryption_key_bytes};
use crate::clock::Clock;

pub use bind::{Bound, bind};
pub use status::{ChannelStatus, MemberStatus};

/// Who gets the messages and hears of the members.
///
/// All calls come from the channel's own tasks and must not block or wait: what they do is computing. Messages of one sender come
/// in the order in which it sent them, one after the other, when the sender is one of ours; a Tomcat has several connections, and
/// messages from it may come at the same time and in another order. A member's first message may come just before
/// [`Listener::added`].
pub trait Listener: Send + Sync + 'static {
    /// A message arrived. An answer that the sender waits for after processing (options 2 and 4) leaves when this returns.
    fn message(&self, from: &Member, message: Incoming<'_>) -> Applied;

    /// A member is there, and was reached. It is in [`Channel::members`] already.
    fn added(&self, member: &Member);

    /// A member left, or could no longer be reached. It is no longer in [`Channel::members`].
    fn removed(&self, member: &Member);

    /// A member connects but does not answer any more, as if frozen; nobody waits for it from now on. What is sent to it stays in
    /// its queue while there is room.
    fn stalled(&self, _member: &Member) {}

    /// A stalled member answers again, or one that answers lost something. `lost` messages for which nobody waited did not arrive:
    /// its queue was full, their connection broke, or it refused them, as it does with encrypted messages that are too old. Of several
    /// that were on a broken connection without an answer being asked for, one is counted.
    fn recovered(&self, _member: &Member, _lost: u64) {}
}

/// A message as it arrived, decrypted.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The random id that its sender gave it.
    pub id: [u8; 16],
    /// The sender's clock when it was sent, in milliseconds since 1970.
    pub timestamp: u64,
    /// How it was sent; [`SendOptions::is_bytes`] tells raw bytes from a Java object.
    pub options: SendOptions,
    /// What was sent.
    pub bytes: &'a [u8],
}

/// What became of a message. It decides which answer the sender gets if it asked for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was dealt with, which includes that it was of no use (Tomcat answers unknown sessions with success).
    Done,
    /// It could not be dealt with; the sender is told so.
    Failed,
}

/// What became of a message that was sent to one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The member answered: read, or with [`SendOptions::SYNC_ACK`] applied.
    Acked,
    /// It is in the connection; no answer was asked for.
    Written,
    /// It waits in the member's queue: options 8, or a member that is stalled.
    Queued,
    /// It will not arrive.
    Failed(Why),
    /// No answer within the limit. It may still arrive.
    TimedOut,
}

impl Delivery {
    /// Whether nothing went wrong so far.
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Acked | Self::Written | Self::Queued)
    }
}

/// Why a message does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No such member (any more).
    #[error("it is no member")]
    NotMember,
    /// The member's queue is full.
    #[error("its queue is full")]
    Full,
    /// The message is larger than a frame may be.
    #[error("the message is too large")]
    TooLarge,
    /// The connection broke, and so did the next one.
    #[error("the connection broke")]
    Broken,
    /// The member answered that it could not deal with it.
    #[error("the member could not deal with it")]
    Refused,
    /// This channel stops.
    #[error("this node stops")]
    Stopping,
}

/// The queue of the member has no room, or there is no such member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message was not queued: {0}")]
pub struct NotQueued(pub Why);

/// This node's end of the group. Cloning is cheap and gives the same channel; when the last clone goes, the channel stops.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Channel")
            .field(&self.0.shared.local)
            .finish()
    }
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// No port of the range is free, or the address is not of this machine.
    #[error("cannot listen for members on {address}: {source}; {advice}")]
    Bind {
        /// What was tried last.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// No source of members works.
    #[error("cannot find members: {0}")]
    Membership(String),
    /// The settings were not checked.
    #[error("cluster.{0}")]
    Settings(String),
}

impl ChannelError {
    fn bind(address: IpAddr, port: u16, source: std::io::Error) -> Self {
        let advice = match source.kind() {
            std::io::ErrorKind::AddrInUse => {
                "set another receiver.port, or let more ports be tried with receiver.autoBind"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "set receiver.address to an address of this machine, or to auto"
            }
            _ => "set another receiver.address or receiver.port",
        };
        Self::Bind {
            address: SocketAddr::new(address, port),
            source,
            advice,
        }
    }
}

/// So long messages in the queues have to be delivered when the channel stops.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// The longest end of all tasks.
const STOP_MAX: Duration = Duration::from_secs(3);

impl Channel {
    /// Joins: listens, tells the others, and returns when they had time to be heard: two heartbeats' time. Tomcat waits that long
    /// twice, before its first heartbeat and after it; one wait does, since this node listens before it is announced, and hearing
    /// and being heard do not depend on one another.
    ///
    /// Its tasks run on the tokio runtime that this is called in; messages can be sent from any other.
    pub async fn start(
        settings: &ClusterSettings,
        bound: Bound,
        clock: Clock,
        listener: Arc<dyn Listener>,
    ) -> Result<Self, ChannelError> {
        let checked = |error: String| ChannelError::Settings(error);
        settings.check().map_err(|e| checked(e.to_string()))?;
        for note in settings.notes() {
            tracing::warn!("{note}");
        }
        let membership = &settings.membership;
        let socket = match membership.kind {
            MembershipType::Multicast => Some(multicast::open(membership).map_err(|error| {
                ChannelError::Membership(format!(
                    "multicast to {}:{} is not possible ({error}); set membership.bind to the address of the interface that leads to the \
                     others, or use membership.type = static or dns",
                    membership.address, membership.port
                ))
            })?),
            MembershipType::Auto => multicast::open(membership).ok(),
            MembershipType::Static | MembershipType::Dns => None,
        };
        let (notices, noticed) = mpsc::channel(NOTICES_MAX);
        let id = MemberId::from_random(random16());
        let shared = Arc::new(Shared::new(Parts {
            local: Member::native(id, bound.announced, &membership.domain),
            clock,
            listener,
            limits: limits(settings),
            security: security(settings).map_err(checked)?,
            notices,
        }));
        receiver::accept(Arc::clone(&shared), bound.listener)
            .await
            .map_err(|source| {
                let announced = bound.announced;
                ChannelError::bind(announced.ip(), announced.port(), source)
            })?;
        let multicasts = socket.is_some();
        let group = Group::new(Arc::clone(&shared), membership, noticed, socket);
        shared.tasks.spawn(group.run());
        let stop = shared.stop.clone().drop_guard();
        discovery::find_members(&shared, settings, multicasts).await;
        sleep(2 * shared.limits.frequency).await;
        Ok(Self(Arc::new(Inner {
            shared,
            _stop: stop,
        })))
    }

    /// This node, as the others see it.
    pub fn local(&self) -> Member {
        self.0.shared.local()
    }

    /// The members that are there without this node, the one that is alive longest first. Their alive times are those of when the list
    /// last changed.
    pub fn members(&self) -> Arc<[Member]> {
        Arc::clone(&self.0.shared.view.load().members)
    }

    /// Sends to one member and waits as the options say, at most for `limit`.
    pub async fn send(
        &self,
        to: MemberId,
        bytes: &[u8],
        options: SendOptions,
        limit: Duration,
    ) -> Delivery {
        let begun = {
            let now = Instant::now();
            let view = self.0.shared.view.load();
            match (view.link(to), self.0.shared.frame(bytes, options, now)) {
                (None, _) => Begun::Done(Delivery::Failed(Why::NotMember)),
                (_, Err(why)) => Begun::Done(Delivery::Failed(why)),
                (Some(link), Ok(frame)) => self.begin(link, frame, options, now + limit),
            }
        };
        begun.end().await
    }

    /// Sends to several members at once, the same bytes, and waits for all of them as the options say, at most for `limit`.
    /// The answers are in the order of `to`.
    pub async fn send_all(
        &self,
        to: &[MemberId],
        bytes: &[u8],
        options: SendOptions,
        limit: Duration,
    ) -> Vec<Delivery> {
        if to.is_empty() {
            return Vec::new();
        }
        let begun: Vec<Begun> = {
            let now = Instant::now();
            let view = self.0.shared.view.load();
            let frame = self.0.shared.frame(bytes, options, now);
            let begin = |id: &MemberId| match (view.link(*id), &frame) {
                (None, _) => Begun::Done(Delivery::Failed(Why::NotMember)),
                (_, Err(why)) => Begun::Done(Delivery::Failed(*why)),
                (Some(link), Ok(frame)) => self.begin(link, frame.clone(), options, now + limit),
            };
            to.iter().map(begin).collect()
        };
        let mut deliveries = Vec::with_capacity(begun.len());
        for begun in begun {
            deliveries.push(begun.end().await);
        }
        deliveries
    }

    fn begin(
        &self,
        link: &Arc<Link>,
        frame: bytes::Bytes,
        options: SendOptions,
        end: Instant,
    ) -> Begun {
        let (done, waits) = match options.is_async() || link.is_stalled() {
            true => (None, None),
            false => {
                let (done, waits) = Waiter::new(self.0.shared.runtime);
                (Some((done, end)), Some(waits))
            }
        };
        match (link.submit(frame, options, done), waits) {
            (Err(why), _) => Begun::Done(Delivery::Failed(why)),
            (Ok(()), None) => Begun::Done(Delivery::Queued),
            (Ok(()), Some(waits)) => Begun::Waits(waits),
        }
    }

    /// Queues for one member; waits for nothing.
    pub fn post(&self, to: MemberId, bytes: &[u8], options: SendOptions) -> Result<(), NotQueued> {
        let view = self.0.shared.view.load();
        let link = view.link(to).ok_or(NotQueued(Why::NotMember))?;
        let frame = self.0.shared.frame(bytes, options, Instant::now());
        let frame = frame.map_err(NotQueued)?;
        link.submit(frame, options, None).map_err(NotQueued)
    }

    /// Queues for several members; waits for nothing. Says how many queues took it.
    pub fn post_all(&self, to: &[MemberId], bytes: &[u8], options: SendOptions) -> usize {
        let view = self.0.shared.view.load();
        let Ok(frame) = self.0.shared.frame(bytes, options, Instant::now()) else {
            return 0;
        };
        let links = to.iter().filter_map(|id| view.link(*id));
        links
            .filter(|link| link.submit(frame.clone(), options, None).is_ok())
            .count()
    }

    /// Takes no more messages, gives those in the queues a moment to be delivered, says goodbye to the others, and closes.
    pub async fn stop(&self) {
        let shared = &self.0.shared;
        shared.closing.store(true, Ordering::Relaxed);
        let queued = || {
            let view = shared.view.load();
            let queued = |link: &Arc<Link>| link.figures.queued.load(Ordering::Relaxed);
            view.links.iter().map(queued).sum::<u64>()
        };
        let end = Instant::now() + LAST_MESSAGES;
        while queued() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        shared.stop.cancel();
        shared.tasks.close();
        if timeout(STOP_MAX, shared.tasks.wait()).await.is_err() {
            tracing::warn!("the channel did not stop in time");
        }
    }

    /// Figures for the operator.
    pub fn status(&self) -> ChannelStatus {
        status::of(&self.0.shared)
    }
}

/// A message on its way to a member.
enum Begun {
    Done(Delivery),
    Waits(oneshot::Receiver<Delivery>),
}

impl Begun {
    /// The link keeps the time.
    async fn end(self) -> Delivery {
        match self {
            Self::Done(delivery) => delivery,
            // If nothing is told, the link's task ended with the runtime that it ran on.
            Self::Waits(waits) => waits.await.unwrap_or(Delivery::Failed(Why::Stopping)),
        }
    }
}

fn limits(settings: &ClusterSettings) -> Limits {
    let detector = settings.failure_detector();
    let dispatch = settings.message_dispatch();
    let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
    let (receiver, sender) = (&settings.receiver, &settings.sender);
    Limits {
        timeout: Duration::from_millis(sender.timeout),
        retries: sender.max_retry_attempts,
        frame: size(receiver.max_frame_size),
        queue: usize::try_from(dispatch.max_queue_size).unwrap_or(usize::MAX),
        failed_ack: sender.throw_on_failed_ack,
        connect_timeout: Duration::from_millis(detector.connect_timeout),
        send_test: detector.perform_send_test,
        read_test: detector
            .perform_read_test
            .then(|| Duration::from_millis(detector.read_test_timeout)),
        frequency: Duration::from_millis(settings.membership.frequency),
        rx_buf: size(receiver.rx_buf_size),
        tx_buf: size(receiver.tx_buf_size),
    }
}

fn security(settings: &ClusterSettings) -> Result<Option<Security>, String> {
    let Some(encrypt) = settings.encryption() else {
        return Ok(None);
    };
    let key = encryption_key_bytes(&encrypt.encryption_key).map_err(|e| e.to_string())?;
    let algorithm = encrypt.algorithm().ok_or("encryptionAlgorithm")?;
    let window = encrypt.replay_window_time;
    let count = usize::try_from(encrypt.replay_window_message_count).unwrap_or(usize::MAX);
    Ok(Some(Security {
        cipher: Cipher::new(algorithm, &key, window > 0).map_err(|e| e.to_string())?,
        replay: (window > 0).then(|| Mutex::new(ReplayWindow::new(window, count))),
    }))
}
