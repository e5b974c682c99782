//! Who is a member. Told what was heard and how probes ended, it says whom to probe and who came and went.
//!
//! ```text
//!            heard                probe succeeds
//!   unknown ───────► candidate ──────────────────► alive ◄──────── heard
//!                     │    ▲                        │  │                │
//!                     └────┘ probe fails:           │  └► suspected ────┘
//!                     again when heard              │       │ silent for dropTime: probed now, and every
//!                                                   │       │ 5 s while the probes succeed
//!                                         says that │       │ probe fails
//!                                          it stops ▼       ▼
//!                                                  gone
//! ```
//!
//! A failed send makes a member suspected at once. Identity is the id. Of two with one address only one can be alive, and a probe reaches
//! that one whoever is meant; so a candidate takes the place of a member at its address when it was heard twice and the other not in
//! between. One late datagram of a dead predecessor does not do.

use std::net::SocketAddr;

use super::member::{Member, MemberId};

/// At most so many members; more are not added.
pub const MEMBERS_MAX: usize = 128;

/// At most so many that were heard and are not members yet; more are not listened to.
const CANDIDATES_MAX: usize = 128;

/// So many ids of members that stopped are remembered, because their last datagrams may come late.
const GONE_MAX: usize = 128;

/// How often a suspected member is probed again, and a candidate at the most; Tomcat's housekeeping. In milliseconds.
const PROBE_AGAIN: u64 = 5000;

/// When a candidate whose probe failed is probed again for the first time; then after twice as long, each time.
const CANDIDATE_AGAIN: u64 = 500;

/// What the machine wants done or known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Connect to it and tell [`Membership::probed`] whether that worked.
    Probe(Member),
    /// It is a member now.
    Added(Member),
    /// It is one no longer.
    Removed(Member, Reason),
    /// It was silent, or a send failed, and yet it can be connected to.
    StillAlive(Member),
    /// It says that it listens at this node's own address, or at none: it cannot be reached there, and is no member. Said once.
    WrongAddress(Member),
}

/// Why a member is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It said so.
    Left,
    /// It was silent, or a send failed, and it could not be connected to.
    Unreachable,
    /// Another one listens at its address.
    Replaced,
}

/// A member's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Heard.
    Alive,
    /// Silent, or a send to it failed.
    Suspected,
}

/// The state machine. Times are in milliseconds of any clock that only goes forward.
#[derive(Debug)]
pub struct Membership {
    local: MemberId,
    address: SocketAddr,
    drop_time: u64,
    members: Vec<Entry>,
    candidates: Vec<Candidate>,
    /// Those that stopped, and those that have a wrong address; the oldest first.
    gone: Vec<MemberId>,
    wrong: Vec<MemberId>,
}

#[derive(Debug)]
struct Entry {
    member: Member,
    heard: u64,
    suspected: Option<Cause>,
    probe: Probe,
}

#[derive(Debug)]
struct Candidate {
    member: Member,
    heard: u64,
    failures: u32,
    probe: Probe,
}

/// What makes a member suspected, and so what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Until it is heard.
    Silent,
    /// Until a probe succeeds: datagrams may come through where connections do not.
    SendFailed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Under way since then.
    UnderWay,
    /// Not before then.
    NotBefore(u64),
}

impl Membership {
    /// This node, and the silence after which a member is suspected, in milliseconds.
    pub fn new(local: MemberId, address: SocketAddr, drop_time: u64) -> Self {
        Self {
            local,
            address,
            drop_time,
            members: Vec::new(),
            candidates: Vec::new(),
            gone: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// The members, the one that is alive longest first.
    pub fn members(&self) -> impl Iterator<Item = (&Member, State)> {
        self.members.iter().map(|entry| {
            let state = match entry.suspected {
                Some(_) => State::Suspected,
                None => State::Alive,
            };
            (&entry.member, state)
        })
    }

    /// Whether it was heard and is being probed, so that it may soon be a member.
    pub fn is_candidate(&self, id: MemberId) -> bool {
        self.candidates.iter().any(|c| c.member.id == id)
    }

    /// A heartbeat, or another sign of life that has the sender's package.
    pub fn heard(&mut self, member: Member, now: u64, events: &mut Vec<Event>) {
        if member.id == self.local || self.gone.contains(&member.id) {
            return;
        }
        if member.is_leaving() {
            self.candidates.retain(|c| c.member.id != member.id);
            remember(&mut self.gone, member.id);
            if let Some(at) = self.position(member.id) {
                let entry = self.members.remove(at);
                events.push(Event::Removed(entry.member, Reason::Left));
            }
            return;
        }
        if let Some(at) = self.position(member.id) {
            let entry = &mut self.members[at];
            entry.heard = now;
            if entry.suspected == Some(Cause::Silent) {
                entry.suspected = None;
            }
            // What it says about its address cannot change while it lives.
            entry.member.alive = entry.member.alive.max(member.alive);
            return;
        }
        let nowhere = member.host.is_unspecified() || member.port == 0;
        if nowhere || member.address() == self.address {
            if !self.wrong.contains(&member.id) {
                remember(&mut self.wrong, member.id);
                events.push(Event::WrongAddress(member));
            }
            return;
        }
        self.candidate(member, now, events);
    }

    fn candidate(&mut self, member: Member, now: u64, events: &mut Vec<Event>) {
        let known = self
            .candidates
            .iter()
            .position(|c| c.member.id == member.id);
        let at = known.unwrap_or(self.candidates.len());
        if known.is_none() {
            if at >= CANDIDATES_MAX {
                return;
            }
            self.candidates.push(Candidate {
                member: member.clone(),
                heard: now,
                failures: 0,
                probe: Probe::NotBefore(now),
            });
        }
        let rival = self.rival(&self.candidates[at].member);
        let candidate = &mut self.candidates[at];
        let before = candidate.heard;
        candidate.heard = now;
        candidate.member.alive = member.alive;
        let first = known.is_none();
        if rival.is_some_and(|heard| first || heard >= before) {
            return;
        }
        if matches!(candidate.probe, Probe::NotBefore(time) if time <= now) {
            candidate.probe = Probe::UnderWay;
            events.push(Event::Probe(candidate.member.clone()));
        }
    }

    /// When another member with its address was heard.
    fn rival(&self, candidate: &Member) -> Option<u64> {
        let address = candidate.address();
        let rival = self.members.iter().find(|e| e.member.address() == address);
        rival.map(|entry| entry.heard)
    }

    /// A probe ended: the connection was accepted, or it was not.
    pub fn probed(&mut self, id: MemberId, reached: bool, now: u64, events: &mut Vec<Event>) {
        if let Some(at) = self.candidates.iter().position(|c| c.member.id == id) {
            let candidate = &self.candidates[at];
            let rival = self.rival(&candidate.member);
            let room = rival.is_some() || self.members.len() < MEMBERS_MAX;
            if reached && rival.is_some_and(|heard| heard >= candidate.heard) {
                self.candidates[at].probe = Probe::NotBefore(now);
            } else if reached && room {
                let candidate = self.candidates.swap_remove(at);
                self.add(candidate.member, now, events);
            } else {
                let candidate = &mut self.candidates[at];
                let pause = CANDIDATE_AGAIN << candidate.failures.min(4);
                candidate.failures += 1;
                candidate.probe = Probe::NotBefore(now + pause.min(PROBE_AGAIN));
            }
        } else if let Some(at) = self.position(id) {
            let entry = &mut self.members[at];
            if reached {
                entry.probe = Probe::NotBefore(now + PROBE_AGAIN);
                if entry.suspected == Some(Cause::SendFailed) {
                    entry.suspected = None;
                }
                events.push(Event::StillAlive(entry.member.clone()));
            } else if entry.suspected.is_some() {
                let entry = self.members.remove(at);
                events.push(Event::Removed(entry.member, Reason::Unreachable));
            } else {
                // It was heard while the probe was under way.
                entry.probe = Probe::NotBefore(now);
            }
        }
    }

    fn add(&mut self, member: Member, now: u64, events: &mut Vec<Event>) {
        let address = member.address();
        if let Some(at) = self
            .members
            .iter()
            .position(|e| e.member.address() == address)
        {
            let entry = self.members.remove(at);
            events.push(Event::Removed(entry.member, Reason::Replaced));
        }
        let entry = Entry {
            member: member.clone(),
            heard: now,
            suspected: None,
            probe: Probe::NotBefore(now),
        };
        // Longest alive first; the id decides between equals, so that all nodes have one order.
        let key = |member: &Member| (std::cmp::Reverse(member.alive), member.id);
        let age = |entry: &Entry| {
            let since = now.saturating_sub(entry.heard);
            entry.member.alive.saturating_add(since)
        };
        let mine = key(&member);
        let at = self
            .members
            .iter()
            .position(|e| (std::cmp::Reverse(age(e)), e.member.id) > mine)
            .unwrap_or(self.members.len());
        self.members.insert(at, entry);
        events.push(Event::Added(member));
    }

    /// A message could not be sent to it.
    pub fn send_failed(&mut self, id: MemberId, events: &mut Vec<Event>) {
        if let Some(at) = self.position(id) {
            let entry = &mut self.members[at];
            entry.suspected = Some(Cause::SendFailed);
            if entry.probe != Probe::UnderWay {
                entry.probe = Probe::UnderWay;
                events.push(Event::Probe(entry.member.clone()));
            }
        }
    }

    /// Time passes. To be called several times within the drop time.
    pub fn tick(&mut self, now: u64, events: &mut Vec<Event>) {
        let drop_time = self.drop_time;
        for entry in &mut self.members {
            if now.saturating_sub(entry.heard) > drop_time {
                entry.suspected = entry.suspected.or(Some(Cause::Silent));
            }
            if entry.suspected.is_some()
                && matches!(entry.probe, Probe::NotBefore(time) if time <= now)
            {
                entry.probe = Probe::UnderWay;
                events.push(Event::Probe(entry.member.clone()));
            }
        }
        self.candidates
            .retain(|c| c.probe == Probe::UnderWay || now.saturating_sub(c.heard) <= drop_time);
    }

    fn position(&self, id: MemberId) -> Option<usize> {
        self.members.iter().position(|e| e.member.id == id)
    }
}

fn remember(ids: &mut Vec<MemberId>, id: MemberId) {
    if ids.len() >= GONE_MAX {
        ids.remove(0);
    }
    ids.push(id);
}
