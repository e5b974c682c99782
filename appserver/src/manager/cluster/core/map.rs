//! This member in the map of Tomcats with `BackupManager` (`LazyReplicatedMap`): one primary and one backup per session, and every
//! other member knows which. With such a Tomcat in the group all members, our own too, talk like this and follow its rules.
//!
//! ```text
//!   request, new     primary ── BACKUP, whole ──► backup       primary ── PROXY ──► the others
//!   request, later   primary ── BACKUP, difference ──► backup
//!   served by the backup     it is the primary now: BACKUP, whole ──► another one, PROXY ──► the others
//!   served by another        RETRIEVE ──► primary, else backup; then it is the primary: NOTIFY ──► backup, PROXY ──► the others
//!   log out, new id, idle    REMOVE ──► all; a new id is a new session
//!   a member leaves          its sessions' backups are primaries; whose backup it was, they take another
//! ```
//!
//! A member is in the map when it said START, or answered it; Tomcats send PING every 5 s besides. Nothing has a stamp there: what
//! arrives last holds. What a message says gets stamps here that follow those of what it replaces, so that our own rules can go on
//! from there when the last Tomcat has left.
//!
//! | | a Tomcat | this member |
//! |---|---|---|
//! | a difference for a session that is not here | makes an entry without a session | asks its sender for the session |
//! | what was changed here while another became the primary | is forgotten | goes to the new primary as a difference |
//! | a proxy serves a request | asks the backup, and has lost the session if that one does not answer | asks the primary, then the backup; then the request fails |
//! | BACKUP of a session that ended here | brings it back | answers REMOVE |
//! | two new messages for a new session (whole, then difference) | always | one, at the end of the request |

mod answers;
mod entries;
pub(super) mod questions;
mod tell;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock};

use super::{Core, Outbox};
use crate::manager::cluster::message::{MapKind, MapMessage, RpcBody, Said, map_name};
use crate::manager::cluster::peers::UniqueId;
use crate::session::Timestamp;
use crate::tribes::member::Member;

use questions::Questions;

/// What a member has to know to be in the map.
#[derive(Debug)]
pub(super) struct Map {
    /// The map's name in messages.
    name: String,
    /// This member as the others know it.
    me: OnceLock<Member>,
    questions: Mutex<Questions>,
}

impl Map {
    pub(super) fn new(context: &str) -> Self {
        Self {
            name: map_name(context),
            me: OnceLock::new(),
            questions: Mutex::default(),
        }
    }
}

impl Core {
    /// This member as the others know it: without it there is no way into the map of Tomcats.
    pub fn known_as(&self, member: Member) {
        // It is told once, when the member begins.
        let _ = self.map.me.set(member);
    }

    /// Whether a Tomcat with `BackupManager` is in the group, so that its rules hold.
    pub fn maps(&self) -> bool {
        self.is_backup() && self.has_maps.load(Ordering::Relaxed)
    }

    /// A message about the map arrived; whether this member has such a map.
    pub fn receive_map(
        &self,
        from: &UniqueId,
        said: Said,
        now: Timestamp,
        out: &mut Outbox,
    ) -> bool {
        if !self.is_backup() {
            return false;
        }
        match said {
            Said::Map(message) => self.hear(from, &message, now, out),
            Said::Rpc(rpc) => match &rpc.body {
                RpcBody::Ask(question) => {
                    let answer = self.answer_to(from, question, now, out);
                    let answer = rpc.answered(RpcBody::Reply(answer.map(Box::new)));
                    out.answer_in_map(*from, answer.encode());
                }
                RpcBody::Reply(answer) => {
                    self.answered(from, &rpc.id, answer.as_deref(), now, out);
                }
                RpcBody::Nobody => self.nobody_answered(from, &rpc.id, now, out),
            },
        }
        true
    }

    fn hear(&self, from: &UniqueId, message: &MapMessage, now: Timestamp, out: &mut Outbox) {
        match message.kind {
            MapKind::Backup | MapKind::Copy => self.take_backup(from, message, now, out),
            MapKind::Proxy | MapKind::Notify | MapKind::Access => {
                self.take_roles(from, message, now, out);
            }
            MapKind::Remove => self.take_remove(message),
            MapKind::Start => self.map_added(from, now, out),
            MapKind::Stop => self.map_removed(from),
            // Questions, which come with a name.
            MapKind::Init
            | MapKind::State
            | MapKind::StateCopy
            | MapKind::Retrieve
            | MapKind::Ping => {}
        }
    }

    /// A Tomcat has the map: it may become a backup, and sessions that have none get one.
    pub(super) fn map_added(&self, id: &UniqueId, now: Timestamp, out: &mut Outbox) {
        let is_first = !self.maps();
        {
            let mut peers = self.peers_mut();
            if !peers.joins_map(id) {
                return;
            }
            self.count_kinds(&peers);
        }
        if is_first {
            let context = &self.config.context;
            tracing::info!(
                context,
                "a Tomcat with BackupManager is here: its rules hold"
            );
        }
        self.orphans.store(true, Ordering::Relaxed);
        self.rebalance(now, out);
    }

    /// A Tomcat does not have the map any more: its sessions' backups take over at the next tick.
    fn map_removed(&self, id: &UniqueId) {
        let mut peers = self.peers_mut();
        peers.leaves_map(id);
        self.count_kinds(&peers);
        self.orphans.store(true, Ordering::Relaxed);
    }

    /// The members of the map with what the others call them, as far as they are known.
    fn map_members(&self) -> Vec<Member> {
        let peers = self.peers();
        let here = peers.iter().filter(|peer| peer.is_in_map());
        here.filter_map(|peer| peer.member().cloned()).collect()
    }

    /// The member with this number, this one too.
    fn member_of(&self, number: u32) -> Option<Member> {
        if number == self.store.me() {
            return self.map.me.get().cloned();
        }
        let peers = self.peers();
        let peer = peers.of_number(number).filter(|peer| peer.is_in_map());
        peer.and_then(|peer| peer.member().cloned())
    }
}
