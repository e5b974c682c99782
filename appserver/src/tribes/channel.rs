//! Messages to and from the members. What replicates knows this file only.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::member::{Member, MemberId};
use super::options::SendOptions;
use super::settings::ClusterSettings;
use crate::clock::Clock;

/// Who gets the messages and hears of the members.
///
/// All calls come from the channel's own tasks and must not block or wait: what they do is computing. Messages of one sender come
/// in the order in which it sent them, one after the other, when the sender is one of ours; a Tomcat has several connections, and
/// messages from it may come at the same time and in another order.
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

    /// A stalled member answers again. `lost` messages to it were thrown away meanwhile, because its queue was full.
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

/// This node's end of the group. Cloning is cheap and gives the same channel.
#[derive(Debug, Clone)]
pub struct Channel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    local: Member,
    members: Arc<[Member]>,
}

/// The port that is listened on, and the address that is announced.
#[derive(Debug)]
pub struct Bound {
    /// Non-blocking.
    pub listener: TcpListener,
    /// What the others connect to.
    pub announced: SocketAddr,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// No port of the range is free, or the address is not of this machine.
    #[error("cannot listen on {address}: {source}; {advice}")]
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
}

/// Binds the receiver's port, the first free one of its range, and finds the address to announce.
pub fn bind(settings: &ClusterSettings) -> Result<Bound, ChannelError> {
    let _ = settings;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let failed = |source| ChannelError::Bind {
        address,
        source,
        advice: "choose another receiver.port",
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let announced = listener.local_addr().map_err(failed)?;
    Ok(Bound {
        listener,
        announced,
    })
}

impl Channel {
    /// Joins: listens, waits until the others had time to be heard, sends heartbeats. Returns when messages can be sent.
    ///
    /// Its tasks run on the tokio runtime that this is called in; messages can be sent from any other.
    pub async fn start(
        settings: &ClusterSettings,
        bound: Bound,
        _clock: Clock,
        _listener: Arc<dyn Listener>,
    ) -> Result<Self, ChannelError> {
        let _ = settings;
        let id = MemberId::from_random([0; 16]);
        Ok(Self(Arc::new(Inner {
            local: Member::native(id, bound.announced, ""),
            members: Arc::from([]),
        })))
    }

    /// This node, as the others see it.
    pub fn local(&self) -> Member {
        self.0.local.clone()
    }

    /// The members that are there without this node, the one that is alive longest first.
    pub fn members(&self) -> Arc<[Member]> {
        Arc::clone(&self.0.members)
    }

    /// Sends to one member and waits as the options say, at most for `limit`.
    pub async fn send(
        &self,
        _to: MemberId,
        _bytes: &[u8],
        _options: SendOptions,
        _limit: Duration,
    ) -> Delivery {
        Delivery::Failed(Why::NotMember)
    }

    /// Sends to several members at once, the same bytes, and waits for all of them as the options say, at most for `limit`.
    /// The answers are in the order of `to`.
    pub async fn send_all(
        &self,
        to: &[MemberId],
        _bytes: &[u8],
        _options: SendOptions,
        _limit: Duration,
    ) -> Vec<Delivery> {
        vec![Delivery::Failed(Why::NotMember); to.len()]
    }

    /// Queues for one member; waits for nothing.
    pub fn post(
        &self,
        _to: MemberId,
        _bytes: &[u8],
        _options: SendOptions,
    ) -> Result<(), NotQueued> {
        Err(NotQueued(Why::NotMember))
    }

    /// Says goodbye to the others, gives queued messages a moment to leave, and closes.
    pub async fn stop(&self) {}

    /// Figures for the operator.
    pub fn status(&self) -> ChannelStatus {
        ChannelStatus {
            local: MemberStatus::of(&self.0.local),
            discovery: "",
            members: Vec::new(),
            received: 0,
            received_bytes: 0,
            dropped_not_member: 0,
            dropped_invalid: 0,
            dropped_encryption: 0,
            datagrams_ignored: 0,
        }
    }
}

/// Figures of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelStatus {
    /// This node.
    pub local: MemberStatus,
    /// How members are found: multicast, static or dns.
    pub discovery: &'static str,
    /// The others, the one that is alive longest first.
    pub members: Vec<MemberStatus>,
    /// Messages that came, without those that were dropped.
    pub received: u64,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Messages dropped because their sender is no member.
    pub dropped_not_member: u64,
    /// Frames and streams dropped because they are none.
    pub dropped_invalid: u64,
    /// Messages dropped because they could not be decrypted.
    pub dropped_encryption: u64,
    /// Datagrams that were no heartbeats.
    pub datagrams_ignored: u64,
}

/// Figures of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// Its id, as hexadecimal digits.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its domain; empty: none.
    pub domain: String,
    /// native or tomcat.
    pub kind: &'static str,
    /// alive, suspected or stalled.
    pub state: &'static str,
    /// Milliseconds since it started, as it said last.
    pub alive_ms: u64,
    /// Messages that wait for it.
    pub queued: u64,
    /// Messages to it that left.
    pub sent: u64,
    /// Bytes to it that left.
    pub sent_bytes: u64,
    /// Messages to it that were answered with success.
    pub acked: u64,
    /// Messages to it that failed or were answered with failure.
    pub failed: u64,
    /// Messages to it that were not answered in time.
    pub timed_out: u64,
    /// Messages to it that were thrown away because its queue was full.
    pub dropped: u64,
}

impl MemberStatus {
    fn of(member: &Member) -> Self {
        Self {
            id: member.id.to_string(),
            address: member.address(),
            domain: String::from_utf8_lossy(&member.domain).into_owned(),
            kind: if member.is_native() {
                "native"
            } else {
                "tomcat"
            },
            state: "alive",
            alive_ms: member.alive,
            queued: 0,
            sent: 0,
            sent_bytes: 0,
            acked: 0,
            failed: 0,
            timed_out: 0,
            dropped: 0,
        }
    }
}
