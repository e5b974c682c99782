//! What the operator sees of a channel.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::shared::Shared;
use crate::tribes::member::Member;

/// Figures of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelStatus {
    /// This node.
    pub local: MemberStatus,
    /// How members are found: multicast, static or dns.
    pub discovery: String,
    /// Whether messages are encrypted with a shared key.
    pub encrypted: bool,
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
    /// Messages dropped because they could not be decrypted, or came before.
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

pub(super) fn of(shared: &Shared) -> ChannelStatus {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let view = shared.view.load();
    let members = view.members.iter().zip(&view.links).zip(&view.suspected);
    let members = members.map(|((member, link), suspected)| {
        let state = match (link.is_stalled(), suspected) {
            (true, _) => "stalled",
            (_, true) => "suspected",
            _ => "alive",
        };
        let figures = &link.figures;
        MemberStatus {
            state,
            queued: read(&figures.queued),
            sent: read(&figures.sent),
            sent_bytes: read(&figures.sent_bytes),
            acked: read(&figures.acked),
            failed: read(&figures.failed),
            timed_out: read(&figures.timed_out),
            dropped: read(&figures.dropped),
            ..named(member)
        }
    });
    let counters = &shared.counters;
    ChannelStatus {
        local: named(&shared.local()),
        discovery: shared.discovery.load().to_string(),
        encrypted: shared.security.is_some(),
        members: members.collect(),
        received: read(&counters.received),
        received_bytes: read(&counters.received_bytes),
        dropped_not_member: read(&counters.not_member),
        dropped_invalid: read(&counters.invalid),
        dropped_encryption: read(&counters.encryption),
        datagrams_ignored: read(&counters.datagrams),
    }
}

fn named(member: &Member) -> MemberStatus {
    MemberStatus {
        id: member.id.to_string(),
        address: member.address(),
        domain: String::from_utf8_lossy(&member.domain).into_owned(),
        kind: match member.is_native() {
            true => "native",
            false => "tomcat",
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
