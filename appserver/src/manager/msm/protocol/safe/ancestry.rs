//! Which records a session record was made from. Times of storing do not tell it: of three records that were stored beside each
//! other the newest may be made from the oldest and not from the one in between. Pure.
//!
//! Each record has a writer, that is one server from its start to its end, and a number that is larger than that of every record
//! this writer stored before. A writer's record is made from all its earlier ones that were acknowledged; of one that was not, it may
//! claim so all the same, since nobody relies on that. So for each writer the largest number says all, and the records that
//! one was made from are a list of numbers, one per writer:
//!
//! | bytes | the header's extension, big-endian |
//! |---|---|
//! | 1 | 1 |
//! | 4 + 8 | the writer and number of this record |
//! | 4 + 8 + 8, repeated | another writer, its largest number, and when that record was stored |
//!
//! What was stored half a minute before a record counts as one that it was made from, so that the list stays short; that
//! time is where msm has the last access, which members read from the validity record. A record without an extension is a
//! member's with msm's behaviour. It is made from all that was stored up to its last access.

use std::sync::atomic::{AtomicU64, Ordering};

use super::copy::version;
use crate::manager::msm::record::Record;
use crate::session::Timestamp;

/// The first byte of an extension.
const FORM: u8 = 1;

/// Milliseconds after which nobody is about to find out about records that were stored beside each other.
const SETTLED_MILLIS: u64 = 30_000;

/// Records that were made from more writers' count the oldest of them as settled.
const WRITERS_MAX: usize = 32;

/// One server from its start to its end, among all that store sessions.
#[derive(Debug)]
pub(super) struct Writer {
    name: u32,
    number: AtomicU64,
}

impl Writer {
    /// One with this name, which nobody else has.
    pub(super) fn new(name: u32) -> Self {
        let number = AtomicU64::new(0);
        Self { name, number }
    }

    /// The stamp of a record that is stored now.
    fn stamp(&self, at: Timestamp) -> Stamp {
        Stamp {
            writer: self.name,
            number: self.number.fetch_add(1, Ordering::Relaxed) + 1,
            at: at.0,
        }
    }
}

/// What names a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    writer: u32,
    number: u64,
    at: u64,
}

impl Stamp {
    fn of(record: &Record<'_>) -> Self {
        let at = record.last_backup.0;
        let member = Self {
            writer: 0,
            number: at,
            at,
        };
        let stamp = extension(record).map(|(own, _)| Self { at, ..own });
        stamp.unwrap_or(member)
    }
}

/// A record's own writer and number, and the list of others.
fn extension<'a>(record: &Record<'a>) -> Option<(Stamp, &'a [[u8; 20]])> {
    let (form, rest) = record.extension.split_first()?;
    let (own, others) = rest.split_first_chunk::<12>()?;
    let (others, odd) = others.as_chunks::<20>();
    let is_ours = *form == FORM && odd.is_empty();
    let [w0, w1, w2, w3, number @ ..] = *own;
    let own = Stamp {
        writer: u32::from_be_bytes([w0, w1, w2, w3]),
        number: u64::from_be_bytes(number),
        at: record.last_backup.0,
    };
    is_ours.then_some((own, others))
}

fn entry(bytes: &[u8; 20]) -> Stamp {
    let number = |from: usize| {
        let bytes = bytes[from..from + 8].iter();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    Stamp {
        writer: (number(0) >> 32) as u32,
        number: number(4),
        at: number(12),
    }
}

/// What a record is made from, itself among it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ancestors {
    /// All that was stored up to then.
    settled: u64,
    latest: Vec<Stamp>,
}

impl Ancestors {
    /// Those of a record, with the record; none for an empty one, which is a session that was never stored.
    pub(super) fn of(record: &[u8]) -> Self {
        let mut ancestors = Self::default();
        ancestors.add(record);
        ancestors
    }

    /// Adds a record and its own.
    pub(super) fn add(&mut self, record: &[u8]) {
        let Ok(record) = Record::decode(record) else {
            return;
        };
        self.settled = self.settled.max(record.last_accessed.0);
        self.put(Stamp::of(&record));
        if let Some((_, others)) = extension(&record) {
            others.iter().map(entry).for_each(|stamp| self.put(stamp));
        }
    }

    fn put(&mut self, stamp: Stamp) {
        let mut latest = self.latest.iter_mut();
        match latest.find(|known| known.writer == stamp.writer) {
            Some(known) if known.number < stamp.number => *known = stamp,
            Some(_) => {}
            None => self.latest.push(stamp),
        }
    }

    /// How the next record that is made from these says so: all that was stored up to this time, and the header's extension.
    pub(super) fn of_next(mut self, writer: &Writer, at: Timestamp) -> (Timestamp, Vec<u8>) {
        let own = writer.stamp(at);
        self.latest.retain(|stamp| stamp.writer != own.writer);
        self.settled = match self.settled {
            0 => at.0,
            settled => settled.max(at.0.saturating_sub(SETTLED_MILLIS)),
        };
        if self.latest.len() > WRITERS_MAX {
            self.latest.sort_unstable_by_key(|stamp| stamp.at);
            let oldest = self.latest[self.latest.len() - WRITERS_MAX - 1].at;
            self.settled = self.settled.max(oldest);
        }
        let settled = self.settled;
        self.latest.retain(|stamp| stamp.at > settled);
        let mut bytes = Vec::with_capacity(13 + 20 * self.latest.len());
        bytes.push(FORM);
        bytes.extend(own.writer.to_be_bytes());
        bytes.extend(own.number.to_be_bytes());
        for stamp in self.latest {
            bytes.extend(stamp.writer.to_be_bytes());
            bytes.extend(stamp.number.to_be_bytes());
            bytes.extend(stamp.at.to_be_bytes());
        }
        (Timestamp(settled), bytes)
    }
}

/// Whether a record is, or was made from, this older one; from an empty one all are.
pub(super) fn is_made_from(record: &[u8], older: &[u8]) -> bool {
    if record == older || older.is_empty() {
        return true;
    }
    let (Ok(record), Ok(older)) = (Record::decode(record), Record::decode(older)) else {
        return false;
    };
    let older = Stamp::of(&older);
    let has = |stamp: Stamp| stamp.writer == older.writer && stamp.number >= older.number;
    older.at <= record.last_accessed.0
        || has(Stamp::of(&record))
        || extension(&record).is_some_and(|(_, others)| others.iter().map(entry).any(has))
}

/// Whether of these two none was made from the other.
pub(super) fn are_unrelated(one: &[u8], other: &[u8]) -> bool {
    !is_made_from(one, other) && !is_made_from(other, one)
}

/// Whether a record is newer than another: made from it, or stored later beside it.
pub(super) fn is_newer(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return false;
    }
    match (is_made_from(one, other), is_made_from(other, one)) {
        (true, false) => true,
        (false, true) => false,
        _ => version(one) > version(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Ancestors, SETTLED_MILLIS, WRITERS_MAX, Writer, is_made_from, is_newer};
    use crate::manager::msm::record::Record;
    use crate::session::Timestamp;

    const START: u64 = 1_795_389_394_716;

    fn record(from: &[&[u8]], writer: &Writer, at: u64) -> Vec<u8> {
        let mut ancestors = Ancestors::default();
        from.iter().for_each(|record| ancestors.add(record));
        let (settled, extension) = ancestors.of_next(writer, Timestamp(at));
        Record {
            last_accessed: settled,
            extension: &extension,
            ..plain(at)
        }
        .encode()
        .expect("short")
    }

    /// What a member without extensions stores.
    fn plain(at: u64) -> Record<'static> {
        Record {
            created: Timestamp(START),
            last_accessed: Timestamp(START),
            interval: 1800,
            is_new: false,
            is_valid: true,
            this_accessed: Timestamp(at),
            last_backup: Timestamp(at),
            id: "A-n1",
            log_in: Default::default(),
            principal: &[],
            saved_request: &[],
            saved_principal: &[],
            extension: &[],
            attributes: &[],
        }
    }

    proptest! {
        /// Whatever was merged with whatever, at whatever times: the list says what sets of all ancestors would say.
        #[test]
        fn says_what_whole_histories_say(
            steps in prop::collection::vec((0usize..4, 0u64..40, prop::collection::vec(any::<prop::sample::Index>(), 0..3)), 1..40),
        ) {
            let writers: Vec<Writer> = (1..=4).map(Writer::new).collect();
            let mut all = vec![(record(&[], &writers[0], START), BTreeSet::from([0]))];
            let mut latest = [Some(0), None, None, None];
            for (writer, ahead, parents) in steps {
                let mut from: BTreeSet<usize> = parents.iter().map(|index| index.index(all.len())).collect();
                from.extend(latest[writer]);
                if from.is_empty() {
                    from.insert(0);
                }
                let records: Vec<&[u8]> = from.iter().map(|n| all[*n].0.as_slice()).collect();
                let newest = records.iter().map(|record| super::version(record)).max().expect("one");
                let made = record(&records, &writers[writer], newest + 1 + ahead);
                let mut history: BTreeSet<usize> = from.iter().flat_map(|n| all[*n].1.clone()).collect();
                history.insert(all.len());
                latest[writer] = Some(all.len());
                all.push((made, history));
            }
            for (one, history) in &all {
                for (number, (other, _)) in all.iter().enumerate() {
                    prop_assert_eq!(is_made_from(one, other), history.contains(&number));
                }
            }
        }

        /// The bytes come from a node.
        #[test]
        fn any_extension_is_read(extension in prop::collection::vec(any::<u8>(), 0..80)) {
            let strange = Record { extension: &extension, ..plain(START + 7) }.encode().expect("short");
            let ours = record(&[&strange], &Writer::new(9), START + 9);
            prop_assert!(is_made_from(&ours, &strange));
            prop_assert!(!is_made_from(&strange, &ours) || strange == ours);
        }
    }

    #[test]
    fn of_two_that_were_stored_beside_each_other_none_is_made_from_the_other() {
        let writers = [Writer::new(1), Writer::new(2), Writer::new(3)];
        let first = record(&[], &writers[0], START);
        let one = record(&[&first], &writers[0], START + 5);
        let other = record(&[&first], &writers[1], START + 7);
        assert!(!is_made_from(&other, &one) && !is_made_from(&one, &other));
        assert!(is_newer(&other, &one));
        // Made from the first and the last, and stored later than all: not made from the one in between.
        let third = record(&[&first, &other], &writers[2], START + 9);
        assert!(is_made_from(&third, &other));
        assert!(!is_made_from(&third, &one));
        let both = record(&[&third, &one], &writers[1], START + 10);
        assert!(is_made_from(&both, &one) && is_newer(&both, &third));
    }

    #[test]
    fn the_list_is_short() {
        let mut last = record(&[], &Writer::new(1), START);
        for name in 2..200 {
            let next = record(&[&last], &Writer::new(name), START + u64::from(name));
            assert!(is_made_from(&next, &last));
            last = next;
        }
        let extension = |record: &[u8]| Record::decode(record).expect("ours").extension.len();
        assert_eq!(extension(&last), 13 + 20 * WRITERS_MAX);
        let first = record(&[], &Writer::new(7), START);
        let second = record(&[&first], &Writer::new(8), START + 1);
        let later = record(&[&second], &Writer::new(9), START + 2 + SETTLED_MILLIS);
        assert_eq!(extension(&later), 13);
        assert!(is_made_from(&later, &second));
    }

    #[test]
    fn a_member_without_lists_knows_what_was_before_its_last_access() {
        let ours = record(&[], &Writer::new(1), START);
        let member = |last_accessed, at| {
            let last_accessed = Timestamp(last_accessed);
            Record {
                last_accessed,
                ..plain(at)
            }
            .encode()
            .expect("short")
        };
        let theirs = member(START, START + 5);
        assert!(is_made_from(&theirs, &ours) && !is_made_from(&ours, &theirs));
        let beside = record(&[&ours], &Writer::new(1), START + 3);
        assert!(!is_made_from(&theirs, &beside) && !is_made_from(&beside, &theirs));
        let merged = record(&[&beside, &theirs], &Writer::new(2), START + 6);
        assert!(is_made_from(&merged, &theirs) && is_made_from(&merged, &beside));
    }
}
