//! `stats detail`: how often items were asked for, found, stored and deleted, by the prefix of their keys.
//!
//! Switched off it costs one load; switched on, a lock for each key. Prefixes come from clients, so their number is bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many prefixes are counted; later ones are not.
const PREFIXES_MAX: usize = 1000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Prefixes {
    delimiter: u8,
    enabled: AtomicBool,
    counts: Mutex<BTreeMap<Box<[u8]>, Counts>>,
    overlooked: AtomicU64,
}

/// What happened to the keys of a prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Asked for.
    pub(crate) gets: u64,
    /// Found.
    pub(crate) hits: u64,
    /// To be stored, whatever became of it.
    pub(crate) sets: u64,
    /// To be deleted, likewise.
    pub(crate) deletes: u64,
}

impl Prefixes {
    /// Prefixes that end at this character; the first character of nothing is `:`, with the counting switched off.
    pub(crate) fn new(delimiter: &str) -> Self {
        Self {
            delimiter: delimiter.bytes().next().unwrap_or(b':'),
            enabled: AtomicBool::new(!delimiter.is_empty()),
            counts: Mutex::default(),
            overlooked: AtomicU64::new(0),
        }
    }

    /// The character that ends a prefix.
    pub(crate) fn delimiter(&self) -> char {
        self.delimiter.into()
    }

    /// Whether anything is counted.
    pub(crate) fn are_counted(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Switches the counting on or off; what is counted stays.
    pub(crate) fn count(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Takes note of a key that was asked for.
    pub(crate) fn get(&self, key: &[u8], found: bool) {
        self.note(key, |counts| {
            counts.gets += 1;
            counts.hits += u64::from(found);
        });
    }

    /// Takes note of a key to be stored.
    pub(crate) fn set(&self, key: &[u8]) {
        self.note(key, |counts| counts.sets += 1);
    }

    /// Takes note of a key to be deleted.
    pub(crate) fn delete(&self, key: &[u8]) {
        self.note(key, |counts| counts.deletes += 1);
    }

    /// Every prefix with its counts.
    pub(crate) fn counted(&self) -> Vec<(Box<[u8]>, Counts)> {
        let counts = self.counts();
        counts
            .iter()
            .map(|(prefix, counts)| (prefix.clone(), *counts))
            .collect()
    }

    /// How often a key had a prefix that was one too many.
    pub(crate) fn overlooked(&self) -> u64 {
        self.overlooked.load(Ordering::Relaxed)
    }

    /// Forgets everything.
    pub(crate) fn reset(&self) {
        self.counts().clear();
        self.overlooked.store(0, Ordering::Relaxed);
    }

    fn note(&self, key: &[u8], note: impl FnOnce(&mut Counts)) {
        if self.are_counted()
            && let Some(end) = key.iter().position(|byte| *byte == self.delimiter)
            && let Some(prefix) = key.get(..end)
        {
            self.note_prefix(prefix, note);
        }
    }

    #[cold]
    fn note_prefix(&self, prefix: &[u8], note: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts();
        if let Some(known) = counts.get_mut(prefix) {
            note(known);
        } else if counts.len() < PREFIXES_MAX {
            note(counts.entry(prefix.into()).or_default());
        } else {
            self.overlooked.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Box<[u8]>, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFIXES_MAX, Prefixes};

    #[test]
    fn keys_count_for_what_stands_before_the_first_delimiter() {
        let prefixes = Prefixes::new("=");
        prefixes.get(b"a=b=c", true);
        prefixes.get(b"a=x", false);
        prefixes.set(b"=x");
        prefixes.delete(b"none");
        let counted = prefixes.counted();
        let named: Vec<&[u8]> = counted.iter().map(|(prefix, _)| &**prefix).collect();
        assert_eq!(named, [b"".as_slice(), b"a"]);
        let (_, counts) = counted[1];
        assert_eq!((counts.gets, counts.hits, counts.sets), (2, 1, 0));
    }

    #[test]
    fn prefixes_beyond_the_bound_are_not_kept() {
        let prefixes = Prefixes::new("");
        prefixes.set(b"a:b");
        assert!(prefixes.counted().is_empty(), "it is switched off");
        prefixes.count(true);
        for number in 0..PREFIXES_MAX + 10 {
            prefixes.set(format!("{number}:x").as_bytes());
        }
        assert_eq!(prefixes.counted().len(), PREFIXES_MAX);
        assert_eq!(prefixes.overlooked(), 10);
        prefixes.reset();
        assert!(prefixes.counted().is_empty());
    }
}
