//! What a request makes of its changes and those that others stored since it read: merges both, waits until the others are done, or is
//! refused.

use std::borrow::Cow;

use super::ancestry::{Ancestors, are_unrelated, is_made_from};
use super::copy::{Copy, are_beside, version};
use super::merge::{Ours, Theirs, merge, overlap};
use super::save::attributes_of;
use super::{Safe, Trouble};
use crate::manager::msm::protocol::World;
use crate::manager::msm::protocol::held::Held;
use crate::manager::msm::settings::LockingMode;

/// What a request is about to store.
#[derive(Debug)]
pub(super) struct Body<'a> {
    /// Encoded.
    pub(super) attributes: Cow<'a, [u8]>,
    /// What it is made from.
    pub(super) ancestors: Ancestors,
    /// Others' changes are among it.
    pub(super) is_merged: bool,
}

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
        let others = records.filter(|record| !written.iter().any(|ours| ours == record));
        let others: Vec<&[u8]> = others.collect();
        let now = self.now();
        let both_changed = |one: &[u8], other: &[u8]| {
            let own = Ours {
                attributes: attributes_of(one),
                changed: &[],
            };
            let theirs = Theirs {
                from: attributes_of(base),
                to: attributes_of(other),
            };
            overlap(attributes_of(base), &[theirs], own)
        };
        let is_torn =
            |one: &[u8], other: &[u8]| are_beside(one, other, now) && both_changed(one, other);
        others.iter().any(|other| are_beside(other, base, now))
            || held.seen.is_fenced && matches!(others[..], [one, other, ..] if is_torn(one, other))
    }

    /// What is to be stored: our attributes, with what others stored since `base` was read; with `all` also what they stored beside it.
    pub(super) fn body<'a>(
        &self,
        held: &mut Held,
        base: &[u8],
        written: &[Vec<u8>],
        ours: Ours<'a>,
        all: bool,
    ) -> Result<Body<'a>, Trouble> {
        let mut ancestors = Ancestors::of(base);
        let alone = |ancestors| Body {
            attributes: ours.attributes.into(),
            ancestors,
            is_merged: false,
        };
        if self.nodes.settings.locking_mode == LockingMode::None {
            return Ok(alone(ancestors));
        }
        let records = held.seen.copies.iter().filter_map(Copy::record);
        // What was not made from ours is of somebody who is about to find out, and tries again. What we wrote ourselves comes
        // first: it has only what others had before.
        let is_ours = |record: &[u8]| written.iter().any(|written| written == record);
        let mut theirs: Vec<(bool, u64, &[u8])> = records
            .filter(|record| {
                *record != base && is_made_from(record, base) || all && are_unrelated(record, base)
            })
            .map(|record| (!is_ours(record), version(record), record))
            .collect();
        theirs.sort_unstable();
        theirs.dedup();
        // One that another was made from is in it.
        let all = theirs.clone();
        theirs.retain(|(.., record)| {
            let mut newer = all.iter().filter(|(.., other)| other != record);
            !newer.any(|(.., other)| is_made_from(other, record))
        });
        if theirs.is_empty() && !held.seen.foreign {
            return Ok(alone(ancestors));
        }
        theirs.iter().for_each(|(.., record)| ancestors.add(record));
        let is_merged = !theirs.is_empty();
        if is_merged {
            Self::count(&self.counters.merges);
        }
        let copies = &held.seen.copies;
        let others = theirs.iter().filter(|(others, ..)| *others);
        let others = others.map(|(.., record)| changes(copies, base, record));
        let others: Vec<Theirs<'_>> = others.collect();
        let theirs = theirs.iter();
        let theirs = theirs.map(|(.., record)| changes(copies, base, record));
        let theirs: Vec<Theirs<'_>> = theirs.collect();
        if held.seen.is_fenced && overlap(attributes_of(base), &others, ours) {
            return Err(Trouble::Overtaken);
        }
        let merged = merge(attributes_of(base), &theirs, ours);
        held.seen.foreign = true;
        let attributes = merged.map_err(|error| Trouble::Form(error.to_string()))?;
        Ok(Body {
            attributes: attributes.into(),
            ancestors,
            is_merged,
        })
    }
}

/// What others changed since `base`, or, in a record beside it, since the last one of these copies that both were made from. If
/// that is not known, all that it has was set.
fn changes<'a>(copies: &'a [Copy], base: &'a [u8], record: &'a [u8]) -> Theirs<'a> {
    let is_common = |from: &&[u8]| is_made_from(record, from) && is_made_from(base, from);
    let records = copies.iter().filter_map(Copy::record);
    let common = records.chain([base]).filter(is_common);
    let from = common.max_by_key(|record| version(record));
    Theirs {
        from: attributes_of(from.unwrap_or_default()),
        to: attributes_of(record),
    }
}
