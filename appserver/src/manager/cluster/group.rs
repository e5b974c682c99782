//! The group of members as the managers of its contexts see it, and what that is made of: a channel, or nobody else.

use std::future::Future;
use std::time::Duration;

use super::peers::{Peer, UniqueId};
use crate::tribes::channel::{Channel, ChannelStatus, Delivery};
use crate::tribes::member::{Member, MemberId};
use crate::tribes::options::SendOptions;

/// Frames that only our own members get: raw bytes, and they answer when it is applied.
pub(super) const NATIVE: SendOptions = SendOptions::BYTE_MESSAGE
    .with(SendOptions::USE_ACK)
    .with(SendOptions::SYNC_ACK);

/// Sends messages to members.
pub trait Group: Send + Sync + 'static {
    /// This member's id.
    fn id(&self) -> UniqueId;

    /// This member as it describes itself to the others; `None`: nobody can name it.
    fn local(&self) -> Option<Member> {
        None
    }

    /// The other members.
    fn members(&self) -> Vec<Peer>;

    /// Sends the same to several members and waits as the options say, at most for `limit`. Comes back with those that may not have
    /// got it.
    fn send(
        &self,
        to: &[UniqueId],
        message: &[u8],
        options: SendOptions,
        limit: Duration,
    ) -> impl Future<Output = Vec<UniqueId>> + Send;

    /// Asks one member and waits at most for `limit`; whether it said that it has taken the question.
    fn ask(
        &self,
        to: &UniqueId,
        question: &[u8],
        limit: Duration,
    ) -> impl Future<Output = bool> + Send;

    /// Figures of the channel.
    fn status(&self) -> Option<ChannelStatus>;
}

impl Group for Channel {
    fn id(&self) -> UniqueId {
        Channel::local(self).id.0
    }

    fn local(&self) -> Option<Member> {
        Some(Channel::local(self))
    }

    fn members(&self) -> Vec<Peer> {
        Channel::members(self).iter().map(peer).collect()
    }

    async fn send(
        &self,
        to: &[UniqueId],
        message: &[u8],
        options: SendOptions,
        limit: Duration,
    ) -> Vec<UniqueId> {
        let failed = |delivery: &Delivery| matches!(delivery, Delivery::Failed(_));
        // Two servers are the usual cluster: no lists for the one other.
        if let [one] = to {
            let delivery = Channel::send(self, MemberId(*one), message, options, limit).await;
            return failed(&delivery).then_some(*one).into_iter().collect();
        }
        let ids: Vec<MemberId> = to.iter().copied().map(MemberId).collect();
        let deliveries = self.send_all(&ids, message, options, limit).await;
        // What waits in the queue of a stalled member is told when it recovers, with how much of it was lost.
        let failed = to.iter().zip(&deliveries).filter(|(_, d)| failed(d));
        failed.map(|(id, _)| *id).collect()
    }

    async fn ask(&self, to: &UniqueId, question: &[u8], limit: Duration) -> bool {
        let to = [MemberId(*to)];
        let deliveries = self.send_all(&to, question, NATIVE, limit).await;
        deliveries.first() == Some(&Delivery::Acked)
    }

    fn status(&self) -> Option<ChannelStatus> {
        Some(Channel::status(self))
    }
}

/// A member of a channel for the core.
pub fn peer(member: &Member) -> Peer {
    Peer::of(member)
}

/// No other members: a cluster of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alone(pub UniqueId);

impl Group for Alone {
    fn id(&self) -> UniqueId {
        self.0
    }

    fn members(&self) -> Vec<Peer> {
        Vec::new()
    }

    async fn send(
        &self,
        to: &[UniqueId],
        _message: &[u8],
        _options: SendOptions,
        _limit: Duration,
    ) -> Vec<UniqueId> {
        to.to_vec()
    }

    async fn ask(&self, _to: &UniqueId, _question: &[u8], _limit: Duration) -> bool {
        false
    }

    fn status(&self) -> Option<ChannelStatus> {
        None
    }
}
