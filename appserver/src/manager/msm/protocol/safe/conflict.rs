//! What a request makes of its changes and those that others stored since it read: merges both, waits until the others are done, or is
//! refused.

use super::copy::{Copy, are_beside, base_version, version};
use super::merge::{Ours, merge, overlap};
use super::save::attributes_of;
use super::{Safe, Trouble};
use crate::manager::msm::protocol::World;
use crate::manager::msm::protocol::held::Held;
use crate::manager::msm::settings::LockingMode;

impl<W: World> Safe<W> {
    /// Whether of a copy and what we read none was made from the other: their writers are about to find out, and merge both. Whoever
    /// wrote over one meanwhile would lose what it may have acknowledged on the only node that it reached. Two copies that were both
    /// made from what we read can be merged by us, unless nobody may merge them.
    pub(super) fn has_sibling(&self, held: &Held, base: &[u8], written: &[Vec<u8>]) -> bool {
        let settings = &self.nodes.settings;
        if settings.sticky || settings.locking_mode == LockingMode::None {
            return false;
        }
        let records = held.seen.copies.iter().filter_map(Copy::record);
        let others = records.filter(|(record, _)| !written.iter().any(|ours| ours == record));
        let others: Vec<(&[u8], u64)> = others.collect();
        let now = self.now();
        let from = (base, version(base));
        let both_changed = |one: &[u8], other: &[u8]| {
            let own = Ours {
                attributes: attributes_of(one),
                changed: &[],
            };
            overlap(attributes_of(base), &[attributes_of(other)], own)
        };
        let is_torn = |one: (&[u8], u64), other: (&[u8], u64)| {
            are_beside(one, other, now) && both_changed(one.0, other.0)
        };
        others.iter().any(|other| are_beside(*other, from, now))
            || held.seen.is_fenced && matches!(others[..], [one, other, ..] if is_torn(one, other))
    }

    /// The attributes to be stored, ours with what others stored since `base` was read, and the version that they are made from.
    pub(super) fn body(
        &self,
        held: &mut Held,
        base: &[u8],
        written: &[Vec<u8>],
        ours: Ours<'_>,
    ) -> Result<(Vec<u8>, u64), Trouble> {
        let known = version(base);
        if self.nodes.settings.locking_mode == LockingMode::None {
            return Ok((ours.attributes.to_vec(), known));
        }
        let records = held.seen.copies.iter().filter_map(Copy::record);
        // What was made from an older one than ours is of somebody who is about to find out, and tries again. What we wrote
        // ourselves comes first: it has only what others had before.
        let is_ours = |record: &[u8]| written.iter().any(|written| written == record);
        let mut theirs: Vec<(bool, u64, &[u8])> = records
            .filter(|(record, version)| *version > known && base_version(record) >= known)
            .map(|(record, version)| (!is_ours(record), version, record))
            .collect();
        theirs.sort_unstable();
        theirs.dedup();
        if theirs.is_empty() && !held.seen.foreign {
            return Ok((ours.attributes.to_vec(), known));
        }
        let from = theirs.iter().map(|(_, version, _)| *version);
        let from = from.fold(known, u64::max);
        if !theirs.is_empty() {
            Self::count(&self.counters.merges);
        }
        let others = theirs.iter().filter(|(others, ..)| *others);
        let others: Vec<&[u8]> = others.map(|(.., record)| attributes_of(record)).collect();
        let theirs: Vec<&[u8]> = theirs
            .iter()
            .map(|(_, _, record)| attributes_of(record))
            .collect();
        if held.seen.is_fenced && overlap(attributes_of(base), &others, ours) {
            return Err(Trouble::Overtaken);
        }
        let merged = merge(attributes_of(base), &theirs, ours);
        held.seen.foreign = true;
        let merged = merged.map_err(|error| Trouble::Form(error.to_string()))?;
        Ok((merged, from))
    }
}
