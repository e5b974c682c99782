//! How a member becomes the primary of a session: a *claim* has a stamp, is told to all, and carries the session to the backup. The later
//! of two claims holds on every member.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::outbox::MapSend;
use super::{Core, Outbox};
use crate::manager::cluster::native::{Item, Place, Writer};
use crate::manager::cluster::replica::{Replica, Which};
use crate::manager::table::Entry;
use crate::session::Timestamp;

/// Claims that are told together.
pub(super) struct Claims {
    places: Writer,
    copies: BTreeMap<u32, Writer>,
    /// In place of both where Tomcat's rules hold.
    pub(super) map: Vec<MapSend>,
}

impl Core {
    pub(super) fn claims(&self, now: Timestamp) -> Claims {
        Claims {
            places: self.writer(now),
            copies: BTreeMap::new(),
            map: Vec::new(),
        }
    }

    /// This member is the session's primary from now on. A member of `prefer` becomes the backup if it can, else the next in turn.
    pub(super) fn claim(
        &self,
        replica: &mut Replica,
        prefer: &[u32],
        now: Timestamp,
        claims: &mut Claims,
    ) {
        let place = self.place_here(replica, prefer, now);
        self.copy_to_backup(replica, place, now, claims);
    }

    /// The same for a session that comes from `holders`: one of them that becomes the backup has it, mostly as it is here, and
    /// otherwise they tell each other what they lack.
    pub(super) fn claim_from(
        &self,
        replica: &mut Replica,
        holders: [u32; 2],
        now: Timestamp,
        claims: &mut Claims,
    ) {
        let place = self.place_here(replica, &holders, now);
        if holders.contains(&place.backup) {
            let (key, version) = (replica.kept().id().key, replica.version());
            claims.places.item(&Item::Claim(key, place, version));
        } else {
            self.copy_to_backup(replica, place, now, claims);
        }
    }

    pub(super) fn place_here(
        &self,
        replica: &mut Replica,
        prefer: &[u32],
        now: Timestamp,
    ) -> Place {
        let place = Place {
            stamp: self.store.clock.tick(now),
            primary: self.store.me(),
            backup: self.choose_backup(prefer),
        };
        replica.set_place(place);
        place
    }

    fn copy_to_backup(&self, replica: &Replica, place: Place, now: Timestamp, claims: &mut Claims) {
        let key = replica.kept().id().key;
        claims.places.item(&Item::Place(key, place));
        if place.backup != 0 {
            let copy = claims.copies.entry(place.backup);
            let copy = copy.or_insert_with(|| self.writer(now));
            copy.item(&Item::Place(key, place));
            replica.tell(Which::All, copy);
        }
    }

    pub(super) fn send_claims(&self, mut claims: Claims, out: &mut Outbox) {
        out.map.append(&mut claims.map);
        let mut backups = claims.copies.keys();
        let only = backups.next().filter(|_| backups.next().is_none());
        match only.and_then(|number| self.id_of(*number)) {
            // Its copies come with their places.
            Some(backup) if !claims.places.is_empty() => {
                out.others.push((backup, claims.places.finish()));
            }
            Some(_) => {}
            None if self.has_natives() => out.tell_all(claims.places),
            None => {}
        }
        for (number, copy) in claims.copies {
            if let Some(id) = self.id_of(number) {
                out.copy(id, copy);
            }
        }
    }

    fn choose_backup(&self, prefer: &[u32]) -> u32 {
        let me = self.store.me();
        let peers = self.peers();
        let is_here = |number: u32| {
            let peer = peers.of_number(number).filter(|peer| peer.is_in_map());
            number != me && peer.is_some()
        };
        if let Some(preferred) = prefer.iter().find(|number| is_here(**number)) {
            return *preferred;
        }
        let all: Vec<u32> = peers
            .iter()
            .filter(|peer| peer.is_in_map())
            .map(super::Peer::number)
            .collect();
        if all.is_empty() {
            return 0;
        }
        all[self.turn.fetch_add(1, Ordering::Relaxed) % all.len()]
    }
}
