//! The other members as session replication sees them: who they are, and which of them may have missed something. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::stamp::number;
use crate::session::Timestamp;
use crate::tribes::member::Member;

/// A member's id: random, made anew at every start.
pub type UniqueId = [u8; 16];

/// A member that starts asks for all sessions itself; only later is it compared with, to make sure.
const SYNC_FRESH: u64 = 10_000;
/// Members compare even if nothing was missed, to make sure.
const SYNC_EVERY: u64 = 300_000;
/// A Tomcat's application may start so long after it became a member; later than that it has no map.
const MAP_LATE: u64 = 60_000;
/// A Tomcat that did not answer in this time does not. It pings the map's members about as often: it is found then.
const GREETING_LIMIT: u64 = 5_000;
/// After a failure a member is left alone for so long.
const SYNC_RETRY: u64 = 1_000;
/// Of so many members that left is known that they were here.
const LEFT_MAX: usize = 256;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: UniqueId,
    /// Whether it understands [`super::native`]; a Tomcat does not.
    pub is_native: bool,
    /// How long it has been running, in milliseconds, when it was heard of.
    pub alive: u64,
    /// What it says about itself, for messages that name members.
    member: Option<Member>,
    /// A Tomcat that has the map of this context (`BackupManager`).
    has_map: bool,
    /// Whether a Tomcat was told that this member has it.
    greeting: Greeting,
    /// From when it is strange that a Tomcat has not.
    map_due: Option<Timestamp>,
    /// When to compare sessions with it.
    sync_at: Option<Timestamp>,
    /// Sessions are being compared with it.
    syncing: bool,
    /// It missed something since.
    missed: bool,
}

/// This member tells each Tomcat that it has the map, and asks whether that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Due,
    /// Not answered yet.
    Asked(Timestamp),
    Over,
}

impl Peer {
    /// A member that was just heard of.
    pub fn new(id: UniqueId, is_native: bool, alive: u64) -> Self {
        Self {
            id,
            is_native,
            alive,
            member: None,
            has_map: false,
            greeting: if is_native {
                Greeting::Over
            } else {
                Greeting::Due
            },
            map_due: None,
            sync_at: None,
            syncing: false,
            missed: false,
        }
    }

    /// The same of a member of the channel.
    pub fn of(member: &Member) -> Self {
        Self {
            member: Some(member.clone()),
            ..Self::new(member.id.0, member.is_native(), member.alive)
        }
    }

    /// What it says about itself, if it is known.
    pub fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    /// Whether it may be a session's primary or backup: our own members, and Tomcats that have the map.
    pub fn is_in_map(&self) -> bool {
        self.is_native || self.has_map
    }

    /// Its number in stamps.
    pub fn number(&self) -> u32 {
        number(&self.id)
    }

    /// Whether it may lack something that this member told.
    pub fn is_behind(&self) -> bool {
        self.missed || self.syncing
    }
}

/// All other members.
#[derive(Debug, Default)]
pub struct Peers {
    here: Vec<Peer>,
    /// Of these the native ones, for every message that all of them get.
    natives: Arc<[UniqueId]>,
    /// A comparison tells only what the member that begins it has: both sides begin one.
    both_begin: bool,
    left: VecDeque<UniqueId>,
}

impl Peers {
    /// Nobody yet. With `both_begin`, each of two members tells the other what it has.
    pub fn new(both_begin: bool) -> Self {
        Self {
            both_begin,
            ..Self::default()
        }
    }

    /// A member came. `me` is this one. One that was here before comes back from a partition: both sides compare at once.
    pub fn add(&mut self, mut peer: Peer, me: &UniqueId, now: Timestamp) {
        self.here.retain(|known| known.id != peer.id);
        if self.left.contains(&peer.id) {
            self.left.retain(|id| *id != peer.id);
            peer.missed = true;
            peer.sync_at = Some(now);
        } else if self.both_begin || *me < peer.id {
            peer.sync_at = Some(after(now, SYNC_FRESH));
        }
        if !peer.is_native {
            peer.sync_at = None;
            peer.map_due = Some(after(now, MAP_LATE));
        }
        self.here.push(peer);
        self.list_natives();
    }

    fn list_natives(&mut self) {
        let natives = self.here.iter().filter(|peer| peer.is_native);
        self.natives = natives.map(|peer| peer.id).collect();
    }

    /// A member left. Its last message may have reached some of the others only, so those that are left compare.
    pub fn remove(&mut self, id: &UniqueId, me: &UniqueId, now: Timestamp) {
        self.here.retain(|known| known.id != *id);
        self.list_natives();
        let both = self.both_begin;
        let begins = |p: &&mut Peer| p.is_native && (both || *me < p.id);
        for peer in self.here.iter_mut().filter(begins) {
            let soon = after(now, SYNC_RETRY);
            peer.sync_at = Some(peer.sync_at.map_or(soon, |at| at.min(soon)));
        }
        if self.left.len() == LEFT_MAX {
            self.left.pop_front();
        }
        self.left.push_back(*id);
    }

    /// A Tomcat has the map; whether that is new.
    pub fn joins_map(&mut self, id: &UniqueId) -> bool {
        let tomcat = self.here.iter_mut().find(|p| p.id == *id && !p.is_native);
        tomcat.is_some_and(|tomcat| {
            tomcat.greeting = Greeting::Over;
            !std::mem::replace(&mut tomcat.has_map, true)
        })
    }

    /// It has not any more.
    pub fn leaves_map(&mut self, id: &UniqueId) {
        if let Some(peer) = self.here.iter_mut().find(|peer| peer.id == *id) {
            peer.has_map = false;
        }
    }

    /// Whether a Tomcat has the map.
    pub fn have_map(&self) -> bool {
        self.here.iter().any(|peer| peer.has_map)
    }

    /// The Tomcats that were not told yet that this member has the map; they are told now.
    pub fn take_ungreeted(&mut self, now: Timestamp) -> Vec<UniqueId> {
        let due = |peer: &&mut Peer| peer.greeting == Greeting::Due;
        let greet = |peer: &mut Peer| {
            peer.greeting = Greeting::Asked(now);
            peer.id
        };
        self.here.iter_mut().filter(due).map(greet).collect()
    }

    /// A Tomcat will not answer: it was not reached, or its application has not started.
    pub fn greeting_ended(&mut self, id: &UniqueId) {
        let asked = |p: &&mut Peer| p.id == *id && matches!(p.greeting, Greeting::Asked(_));
        if let Some(tomcat) = self.here.iter_mut().find(asked) {
            tomcat.greeting = Greeting::Over;
        }
    }

    /// Whether a Tomcat may still answer that it has the map.
    pub fn is_greeting(&self, now: Timestamp) -> bool {
        self.here.iter().any(|peer| match peer.greeting {
            Greeting::Asked(at) => now.since(at) < GREETING_LIMIT,
            Greeting::Due | Greeting::Over => false,
        })
    }

    /// How many Tomcats have been here for long and have no map; each is counted once.
    pub fn take_mapless(&mut self, now: Timestamp) -> usize {
        let mut mapless = 0;
        for peer in &mut self.here {
            if peer.map_due.take_if(|due| *due <= now).is_some() && !peer.has_map {
                mapless += 1;
            }
        }
        mapless
    }

    /// Something did not arrive there: it is compared with as soon as it can be.
    pub fn failed(&mut self, id: &UniqueId, now: Timestamp) {
        if let Some(peer) = self.native_mut(id) {
            peer.missed = true;
            let soon = after(now, SYNC_RETRY);
            peer.sync_at = Some(peer.sync_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// The members to compare with now; they are being compared with from now on.
    pub fn due(&mut self, now: Timestamp) -> Vec<UniqueId> {
        let due = |peer: &&mut Peer| !peer.syncing && peer.sync_at.is_some_and(|at| at <= now);
        let start = |peer: &mut Peer| {
            (peer.syncing, peer.missed, peer.sync_at) = (true, false, None);
            peer.id
        };
        self.here.iter_mut().filter(due).map(start).collect()
    }

    /// A comparison with it ended.
    pub fn synced(&mut self, id: &UniqueId, me: &UniqueId, complete: bool, now: Timestamp) {
        let both = self.both_begin;
        let Some(peer) = self.native_mut(id) else {
            return;
        };
        peer.syncing = false;
        if !complete {
            peer.missed = true;
            peer.sync_at = Some(after(now, SYNC_RETRY));
        } else if peer.sync_at.is_none() && (both || me < id) {
            peer.sync_at = Some(after(now, SYNC_EVERY));
        }
    }

    fn native_mut(&mut self, id: &UniqueId) -> Option<&mut Peer> {
        let peer = self.here.iter_mut().find(|peer| peer.id == *id);
        peer.filter(|peer| peer.is_native)
    }

    /// The ids of those that understand [`super::native`].
    pub fn natives(&self) -> Arc<[UniqueId]> {
        Arc::clone(&self.natives)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.here.iter()
    }

    /// The one with this number.
    pub fn of_number(&self, number: u32) -> Option<&Peer> {
        self.here.iter().find(|peer| peer.number() == number)
    }

    /// Whom to ask for all sessions: the native member that runs longest, else the Tomcat that does; none of those in `but`.
    pub fn oldest(&self, but: &[UniqueId]) -> Option<&Peer> {
        let here = self.here.iter().filter(|peer| !but.contains(&peer.id));
        here.max_by_key(|peer| (peer.is_native, peer.alive))
    }
}

fn after(now: Timestamp, millis: u64) -> Timestamp {
    Timestamp(now.0.saturating_add(millis))
}

#[cfg(test)]
mod tests {
    use super::{Peer, Peers, SYNC_FRESH, SYNC_RETRY};
    use crate::session::Timestamp;

    const ME: [u8; 16] = [5; 16];

    #[test]
    fn whoever_missed_something_is_compared_with() {
        let mut peers = Peers::default();
        let (low, high, tomcat) = ([1; 16], [9; 16], [7; 16]);
        let at = Timestamp;
        for (id, is_native) in [(low, true), (high, true), (tomcat, false)] {
            peers.add(Peer::new(id, is_native, 0), &ME, at(0));
        }
        assert!(peers.due(at(SYNC_FRESH - 1)).is_empty());
        assert_eq!(
            peers.due(at(SYNC_FRESH)),
            [high],
            "one of the two sides begins"
        );
        peers.failed(&high, at(SYNC_FRESH));
        peers.synced(&high, &ME, true, at(SYNC_FRESH));
        let retry = at(SYNC_FRESH + SYNC_RETRY);
        assert_eq!(peers.due(retry), [high], "it missed something meanwhile");
        peers.synced(&high, &ME, true, retry);
        peers.failed(&tomcat, retry);
        assert!(
            peers.due(at(retry.0 + SYNC_FRESH)).is_empty(),
            "a Tomcat cannot be"
        );

        peers.remove(&low, &ME, at(30_000));
        let left = at(30_000 + SYNC_RETRY);
        assert_eq!(
            peers.due(left),
            [high],
            "it may have missed the last of another's messages"
        );
        peers.synced(&high, &ME, true, left);
        peers.add(Peer::new(low, true, 0), &ME, at(50_000));
        assert_eq!(
            peers.due(at(50_000)),
            [low],
            "it comes back, so both sides begin"
        );
        peers.synced(&low, &ME, false, at(50_000));
        assert_eq!(peers.due(at(50_000 + SYNC_RETRY)), [low]);
    }

    #[test]
    fn the_oldest_is_asked() {
        let mut peers = Peers::default();
        for (id, is_native, alive) in [(1, true, 5), (2, true, 50), (3, false, 500)] {
            peers.add(Peer::new([id; 16], is_native, alive), &ME, Timestamp(0));
        }
        let oldest = |but: &[[u8; 16]]| peers.oldest(but).map(|p| p.id[0]);
        assert_eq!(oldest(&[]), Some(2));
        assert_eq!(oldest(&[[2; 16], [1; 16]]), Some(3));
        assert_eq!(oldest(&[[1; 16], [2; 16], [3; 16]]), None);
    }
}
