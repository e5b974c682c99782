//! One member's copy of a session, which can be merged with every other member's copy: in any order, in parts, and twice.
//!
//! | part | how two copies become one |
//! |---|---|
//! | an attribute, also a removed one; the interval; the route | a register: the later stamp wins |
//! | time of use, and who served it last | the later time wins |
//! | creation time; the key that it had first | the earlier, or lower, wins |
//! | the end | wins over everything; it is the table's matter ([`super::native::Gone`]) |
//!
//! A register is 20 bytes in one allocation per session, found by a hash of the attribute's name; the values are in the session itself.

use super::native::{Place, Record, Told, Writer};
use super::stamp::Stamp;
use crate::manager::table::Entry;
use crate::session::{Kept, Key, Suffix, Timestamp};

/// At most so many stamps of removed attributes are kept in a session, the latest: a change that is older than all of these and
/// comes late could bring its attribute back.
pub const REMOVED_MAX: usize = 32;

/// The registers that are no attributes. No name has these hashes.
const INTERVAL: u64 = 0;
const ROUTE: u64 = 1;
const PLACE: u64 = 2;
/// The two halves of the key that it had first, in the place of their times.
const ORIGIN: [u64; 2] = [3, 4];
const FIRST_NAME: u64 = 5;

/// A session with the stamps of its parts.
#[derive(Debug, Clone)]
pub struct Replica {
    kept: Kept,
    /// By name.
    registers: Box<[Register]>,
    /// Number of the member that served it last.
    pub primary: u32,
    /// Number of the member that has the only other copy, where there is one; 0: none.
    pub backup: u32,
    /// When this member last told members without stamps that it is in use, in seconds that wrap.
    pub announced: u16,
    /// What this member has to remember of it.
    pub marks: Marks,
}

/// What a member remembers of its copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Nobody else knows of the session yet.
    pub untold: bool,
    /// It is in the list of sessions whose use will be told.
    pub used: bool,
    /// Some of it is missing, because a change came before the rest: it is shown to nobody until the rest is here.
    pub partial: bool,
    /// The primary may lack what is here: this member was the primary before.
    pub owed: bool,
    /// Its id got another route, which is told with the next message about it.
    pub bound: bool,
}

/// Packed as closely as its numbers' halves allow: of two, which most sessions have, this saves a sixth of the allocation, and as the
/// allocator hands out multiples of 16, a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(4))]
struct Register {
    name: u64,
    time: u64,
    member: u32,
}

impl Register {
    fn new(name: u64, stamp: Stamp) -> Self {
        let Stamp { time, member } = stamp;
        Self { name, time, member }
    }

    fn stamp(self) -> Stamp {
        Stamp {
            time: self.time,
            member: self.member,
        }
    }
}

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Registers that became what was told.
    pub taken: u32,
    /// Registers that were later here: both sides had changed the same.
    pub refused: u32,
    /// Attributes that have no room in the session.
    pub too_large: u32,
    /// The teller of a whole session lacks something that is here.
    pub ahead: bool,
    /// Some of the session is still missing.
    pub partial: bool,
    /// Some was missing, and is here now.
    pub completed: bool,
    /// The latest stamp that was told.
    pub latest: Stamp,
}

/// Which registers a message carries.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All.
    All,
    /// Those of these attributes.
    Named(&'a [String]),
}

impl Entry for Replica {
    fn kept(&self) -> &Kept {
        &self.kept
    }
}

impl Replica {
    /// A copy that knows of no changes.
    pub fn new(kept: Kept, primary: u32) -> Self {
        Self {
            kept,
            registers: Box::new([]),
            primary,
            backup: 0,
            announced: 0,
            marks: Marks::default(),
        }
    }

    /// These parts were changed here.
    pub fn stamp(&mut self, names: &[String], interval: bool, stamp: Stamp) {
        let names = names.iter().map(|name| name_hash(name));
        for name in names.chain(interval.then_some(INTERVAL)) {
            self.put(name, stamp);
        }
        self.prune();
    }

    /// The id's route was changed here.
    pub fn stamp_route(&mut self, stamp: Stamp) {
        self.put(ROUTE, stamp);
    }

    /// The stamp of an attribute.
    pub fn stamp_of(&self, name: &str) -> Stamp {
        self.at(name_hash(name))
    }

    /// The stamp of the interval.
    pub fn stamp_of_interval(&self) -> Stamp {
        self.at(INTERVAL)
    }

    /// The stamp of the route.
    pub fn stamp_of_route(&self) -> Stamp {
        self.at(ROUTE)
    }

    /// The key that it had first, if it has another one now.
    pub fn origin(&self) -> Option<Key> {
        let [Some(high), Some(low)] = ORIGIN.map(|name| self.find(name)) else {
            return None;
        };
        let number = u128::from(high.time) << 64 | u128::from(low.time);
        Some(Key::from_bytes(number.to_be_bytes()))
    }

    /// It had this key before the one that it has now.
    pub fn set_origin(&mut self, key: Key) {
        if self.origin().is_some_and(|known| known <= key) {
            return;
        }
        let number = u128::from_be_bytes(*key.as_bytes());
        for (name, half) in ORIGIN.into_iter().zip([number >> 64, number]) {
            let time = half as u64;
            self.put(name, Stamp { time, member: 0 });
        }
    }

    /// Takes over what is later in `told`. Nothing when the session was ended. The names of the attributes that changed come behind
    /// those in `names`, if somebody wants to know them.
    pub fn merge(&mut self, told: &Record<'_>, mut names: Option<&mut Vec<String>>) -> Merged {
        let mut merged = Merged::default();
        let kept = self.kept.clone();
        kept.replicate(|parts| {
            *parts.created = (*parts.created).min(told.created);
            *parts.last_accessed = (*parts.last_accessed).max(told.last_accessed);
            if (told.touched, told.primary) > (*parts.touched, self.primary) {
                *parts.touched = told.touched;
                self.served_by(told.primary);
            }
            *parts.is_new = false;
            let (interval, stamp) = told.interval;
            if (stamp, interval) > (self.at(INTERVAL), *parts.max_inactive) {
                *parts.max_inactive = interval;
                self.put_if_set(INTERVAL, stamp);
            }
            let (route, stamp) = told.route;
            let here = parts.id.suffix.route().unwrap_or_default();
            if (stamp, route) > (self.at(ROUTE), here) {
                // More routes than a process can know of: the id keeps the one that it has here.
                let route = Some(route).filter(|route| !route.is_empty());
                if let Ok(suffix) = Suffix::new(None, route) {
                    parts.id.suffix = suffix;
                }
                self.put_if_set(ROUTE, stamp);
            }
            merged.latest = told.interval.1.max(told.route.1);
            for told in &told.told {
                let (hash, stamp) = match *told {
                    Told::Set { name, stamp, .. } => (name_hash(name), stamp),
                    Told::Removed { name, stamp } => (name, stamp),
                };
                merged.latest = merged.latest.max(stamp);
                let here = self.at(hash);
                if stamp < here {
                    merged.refused += 1;
                    continue;
                }
                match *told {
                    Told::Set { name, value, .. } => {
                        // The same stamp is the same change, unless a request is changing the value just now.
                        if stamp == here && parts.attributes.get_packed(name) >= Some(value) {
                            continue;
                        }
                        if parts.attributes.set_packed(name, value).is_err() {
                            merged.too_large += 1;
                            continue;
                        }
                        if let Some(names) = &mut names {
                            names.push(name.to_owned());
                        }
                    }
                    Told::Removed { .. } => {
                        if stamp == here {
                            continue;
                        }
                        let name = parts
                            .attributes
                            .iter_packed()
                            .map(|(name, _)| name)
                            .find(|name| name_hash(name) == hash)
                            .map(str::to_owned);
                        if let Some(name) = name {
                            parts.attributes.remove(&name);
                            if let Some(names) = &mut names {
                                names.push(name);
                            }
                        }
                    }
                }
                merged.taken += 1;
                self.put(hash, stamp);
            }
        });
        if let Some(origin) = told.origin {
            self.set_origin(origin);
        }
        self.prune();
        merged.completed = self.marks.partial && told.full;
        self.marks.partial &= !told.full;
        merged.partial = self.marks.partial;
        // What was told is here now, unless it was refused; whatever is here besides is not there.
        let own = |name, told: Stamp| usize::from(told != Stamp::ZERO && self.at(name) == told);
        let told_here = told.told.len()
            + own(INTERVAL, told.interval.1)
            + own(ROUTE, told.route.1)
            + own(PLACE, self.at(PLACE))
            + told
                .origin
                .filter(|told| self.origin() == Some(*told))
                .map_or(0, |_| ORIGIN.len());
        merged.ahead = merged.refused > 0 || self.registers.len() > told_here;
        merged
    }

    /// Which members keep it, as far as this copy knows.
    pub fn place(&self) -> Place {
        Place {
            stamp: self.at(PLACE),
            primary: self.primary,
            backup: self.backup,
        }
    }

    /// These members keep it.
    pub fn set_place(&mut self, place: Place) {
        self.put(PLACE, place.stamp);
        (self.primary, self.backup) = (place.primary, place.backup);
    }

    /// It was used until `touched` on this member.
    pub fn accessed(&mut self, touched: Timestamp, by: u32) {
        let kept = self.kept.clone();
        kept.replicate(|parts| {
            if (touched, by) > (*parts.touched, self.primary) {
                *parts.touched = touched;
                self.served_by(by);
                *parts.last_accessed = (*parts.last_accessed).max(touched);
            }
        });
    }

    /// Where members have places, only a place says who is the primary.
    fn served_by(&mut self, member: u32) {
        if self.at(PLACE) == Stamp::ZERO {
            self.primary = member;
        }
    }

    /// Tells the session to other members.
    pub fn tell(&self, which: Which<'_>, writer: &mut Writer) {
        self.kept.replicate(|parts| {
            let record = Record {
                key: parts.id.key,
                full: matches!(which, Which::All),
                created: *parts.created,
                last_accessed: *parts.last_accessed,
                touched: *parts.touched,
                primary: self.primary,
                interval: (*parts.max_inactive, self.at(INTERVAL)),
                route: (parts.id.suffix.route().unwrap_or_default(), self.at(ROUTE)),
                origin: self.origin().filter(|_| matches!(which, Which::All)),
                told: Vec::new(),
            };
            let attributes = &*parts.attributes;
            match which {
                Which::Named(names) => {
                    let told = names.iter().map(|name| {
                        let stamp = self.stamp_of(name);
                        match attributes.get_packed(name) {
                            Some(value) => Told::Set { name, stamp, value },
                            None => Told::Removed {
                                name: name_hash(name),
                                stamp,
                            },
                        }
                    });
                    writer.record(&record, names.len(), told);
                }
                Which::All => {
                    let mut told: Vec<Told<'_>> = attributes
                        .iter_packed()
                        .map(|(name, value)| {
                            let stamp = self.stamp_of(name);
                            Told::Set { name, stamp, value }
                        })
                        .collect();
                    told.extend(
                        self.removed(attributes.iter_packed().map(|(name, _)| name))
                            .map(|register| Told::Removed {
                                name: register.name,
                                stamp: register.stamp(),
                            }),
                    );
                    writer.record(&record, told.len(), told.iter().copied());
                }
            }
        });
    }

    /// The same for two copies that a merge would not change. Time of use does not count.
    pub fn version(&self) -> u64 {
        let key = self.kept.id().key.random_bits();
        let changes = self.registers.iter().filter(|r| r.name != PLACE);
        changes.fold(mix(key), |hash, register| {
            let hash = mix(hash ^ register.name);
            let hash = mix(hash ^ register.time);
            mix(hash ^ u64::from(register.member))
        })
    }

    /// From when idle time counts.
    pub fn touched(&self) -> Timestamp {
        self.kept
            .replicate(|parts| *parts.touched)
            .unwrap_or_default()
    }

    fn at(&self, name: u64) -> Stamp {
        self.find(name).map_or(Stamp::ZERO, |r| r.stamp())
    }

    fn find(&self, name: u64) -> Option<Register> {
        let place = self.registers.binary_search_by_key(&name, |r| r.name);
        place.ok().map(|place| self.registers[place])
    }

    fn put_if_set(&mut self, name: u64, stamp: Stamp) {
        if stamp != Stamp::ZERO {
            self.put(name, stamp);
        }
    }

    fn put(&mut self, name: u64, stamp: Stamp) {
        match self.registers.binary_search_by_key(&name, |r| r.name) {
            Ok(place) => self.registers[place] = Register::new(name, stamp),
            Err(place) => {
                let mut registers = std::mem::take(&mut self.registers).into_vec();
                registers.reserve_exact(1);
                registers.insert(place, Register::new(name, stamp));
                self.registers = registers.into_boxed_slice();
            }
        }
    }

    /// Registers of attributes that are none of these.
    fn removed<'s, 'n>(
        &'s self,
        names: impl Iterator<Item = &'n str>,
    ) -> impl Iterator<Item = &'s Register> {
        let mut present: Vec<u64> = names.map(name_hash).collect();
        present.sort_unstable();
        self.registers
            .iter()
            .filter(move |r| r.name >= FIRST_NAME && present.binary_search(&{ r.name }).is_err())
    }

    fn prune(&mut self) {
        if self.registers.len() <= REMOVED_MAX {
            return;
        }
        let kept = self.kept.clone();
        let removed = kept.replicate(|parts| {
            let names = parts.attributes.iter_packed().map(|(name, _)| name);
            self.removed(names).copied().collect::<Vec<_>>()
        });
        let mut removed = removed.unwrap_or_default();
        if removed.len() > REMOVED_MAX {
            removed.sort_unstable_by_key(|r| (r.stamp(), r.name));
            let old = &removed[..removed.len() - REMOVED_MAX];
            let registers = self.registers.iter().filter(|r| !old.contains(r));
            self.registers = registers.copied().collect();
        }
    }
}

/// The name of a register: the same on every member. FNV-1a, and a finish that mixes all bits.
pub fn name_hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    mix(hash).max(FIRST_NAME)
}

/// Bijective, so that different numbers stay different.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests;
