//! What happened, and how things are, in figures.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::{Core, Peer};
use crate::manager::ManagerStatus;
use crate::manager::table::SHARDS;
use crate::tribes::channel::ChannelStatus;

/// Figures of replication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// Whose rules hold: `native`, or `tomcat` while a member is a Tomcat. Then its copies follow Tomcat's rules: nothing is
    /// merged or repaired there.
    pub rules: &'static str,
    /// Whether the sessions of the others were received, or nobody has any.
    pub joined: bool,
    /// The other members.
    pub members: Vec<PeerStatus>,
    /// Sessions that this member served last.
    pub primaries: u64,
    /// Sessions that another member served last.
    pub copies: u64,
    /// Changes that came late and lost against later ones of the same attribute.
    pub conflicts_merged: u64,
    /// Changes and ends that came for sessions that are gone.
    pub refused: u64,
    /// Messages that could not be read, or came for sessions that nobody knows.
    pub dropped_messages: u64,
    /// Attributes that could not be written for Tomcats.
    pub unwritable_attributes: u64,
    /// Sessions received in state transfers and repairs.
    pub transferred_in: u64,
    /// Sessions sent in state transfers and repairs.
    pub transferred_out: u64,
    /// Answers to members that were not made, because too many others were on their way.
    pub unanswered: u64,
    /// The channel, which all contexts share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelStatus>,
}

/// A member in [`ClusterStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its id, as hexadecimal digits.
    pub id: String,
    /// native or tomcat.
    pub kind: &'static str,
    /// Whether it may lack something that this member told.
    pub behind: bool,
}

impl Core {
    /// Figures.
    pub fn cluster_status(&self) -> ClusterStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (primaries, copies) = self.count_primaries();
        let members = self.peers().iter().map(PeerStatus::of).collect();
        ClusterStatus {
            rules: if self.has_tomcats() || self.maps() {
                "tomcat"
            } else {
                "native"
            },
            joined: self.is_joined(),
            members,
            primaries,
            copies,
            conflicts_merged: read(&self.counts.conflicts),
            refused: read(&self.counts.refused),
            dropped_messages: read(&self.counts.dropped),
            unwritable_attributes: read(&self.counts.unwritable),
            transferred_in: read(&self.counts.transferred_in),
            transferred_out: read(&self.counts.transferred_out),
            unanswered: 0,
            channel: None,
        }
    }

    /// Figures that every manager has.
    pub fn status(&self) -> ManagerStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ManagerStatus {
            manager: if self.is_backup() {
                "backup"
            } else {
                "cluster"
            },
            active: read(&self.store.active),
            max_active: self.config.max_active as u64,
            created: read(&self.counts.created),
            expired: read(&self.counts.expired),
            invalidated: read(&self.counts.invalidated),
            rejected: read(&self.counts.rejected),
            renamed: read(&self.counts.renamed),
            nodes: Vec::new(),
            store: None,
            cluster: None,
        }
    }

    fn count_primaries(&self) -> (u64, u64) {
        let me = self.store.me();
        let mut primaries = 0;
        for shard in 0..SHARDS {
            let shard = self.store.table.number(shard);
            primaries += shard.iter().filter(|r| r.primary == me).count() as u64;
        }
        let active = self.store.active.load(Ordering::Relaxed);
        (primaries, active.saturating_sub(primaries))
    }
}

impl PeerStatus {
    fn of(peer: &Peer) -> Self {
        Self {
            id: format!("{:032x}", u128::from_be_bytes(peer.id)),
            kind: if peer.is_native { "native" } else { "tomcat" },
            behind: peer.is_behind(),
        }
    }
}
