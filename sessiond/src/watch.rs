//! `watch`: lines about what happens, for the connections that asked for them.
//!
//! While nobody watches, an event costs one load. A watcher that reads too slowly loses lines, and is told how many;
//! nobody waits for it.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::protocol::text::admin::Subjects;
use crate::worker::{Admitted, Mailbox};

/// Lines that wait for one watcher take so many bytes at most.
pub(crate) const BUFFER_MAX: usize = 256 << 10;

/// So many may watch.
const WATCHERS_MAX: usize = 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// What somebody wants to see, as [`Subjects::bits`].
    wanted: AtomicU8,
    watchers: Mutex<Watchers>,
    written: AtomicU64,
    skipped: AtomicU64,
    sent: AtomicU64,
}

#[derive(Debug, Default)]
struct Watchers {
    list: Vec<Weak<Watcher>>,
    /// The number of the last line (memcached's `gid`).
    last_line: u64,
}

/// A connection that watches; it does so until this is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    subjects: Subjects,
    lines: Mutex<Lines>,
    /// Rung when there are lines to send.
    bell: Arc<Mailbox<Admitted>>,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
    /// Lines that found no room since the last one that did.
    skipped: u64,
}

/// How much was watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Lines written.
    pub(crate) written: u64,
    /// Lines that a watcher lost.
    pub(crate) skipped: u64,
    /// Lines sent to a watcher.
    pub(crate) sent: u64,
    /// Who watches now.
    pub(crate) watchers: u64,
}

impl Watch {
    /// Whether somebody wants to see something of this.
    pub(crate) fn wants(&self, subjects: Subjects) -> bool {
        Subjects::from_bits(self.wanted.load(Ordering::Relaxed)).include(subjects)
    }

    /// A watcher more; `None` when there are too many.
    pub(crate) fn join(
        &self,
        subjects: Subjects,
        bell: &Arc<Mailbox<Admitted>>,
    ) -> Option<Arc<Watcher>> {
        let mut watchers = self.watchers();
        self.forget_gone(&mut watchers);
        if watchers.list.len() >= WATCHERS_MAX {
            return None;
        }
        let watcher = Arc::new(Watcher {
            subjects,
            lines: Mutex::default(),
            bell: Arc::clone(bell),
        });
        watchers.list.push(Arc::downgrade(&watcher));
        self.forget_gone(&mut watchers);
        Some(watcher)
    }

    /// Tells all who want to see it. To be asked first: [`Watch::wants`].
    pub(crate) fn tell(&self, subject: Subjects, since_1970: Duration, event: fmt::Arguments<'_>) {
        let mut watchers = self.watchers();
        watchers.last_line += 1;
        self.written.fetch_add(1, Ordering::Relaxed);
        let line = format!(
            "ts={}.{:06} gid={} {event}\n",
            since_1970.as_secs(),
            since_1970.subsec_micros(),
            watchers.last_line
        );
        let mut gone = false;
        for watcher in &watchers.list {
            match watcher.upgrade() {
                Some(watcher) if watcher.subjects.include(subject) => {
                    let fits = watcher.push(line.as_bytes());
                    self.skipped.fetch_add((!fits).into(), Ordering::Relaxed);
                }
                Some(_) => {}
                None => gone = true,
            }
        }
        if gone {
            self.forget_gone(&mut watchers);
        }
    }

    /// What waits for a watcher.
    pub(crate) fn take(&self, watcher: &Watcher) -> Vec<u8> {
        let lines = std::mem::take(&mut *watcher.lines());
        self.sent.fetch_add(lines.count, Ordering::Relaxed);
        let mut bytes = lines.bytes;
        if lines.skipped > 0 {
            say_skipped(lines.skipped, &mut bytes);
        }
        bytes
    }

    /// How much was watched.
    pub(crate) fn counts(&self) -> Counts {
        let mut watchers = self.watchers();
        self.forget_gone(&mut watchers);
        Counts {
            written: self.written.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            watchers: watchers.list.len() as u64,
        }
    }

    /// Sets what counts to zero.
    pub(crate) fn reset(&self) {
        for count in [&self.written, &self.skipped, &self.sent] {
            count.store(0, Ordering::Relaxed);
        }
    }

    fn forget_gone(&self, watchers: &mut Watchers) {
        watchers.list.retain(|watcher| watcher.strong_count() > 0);
        let wanted = watchers
            .list
            .iter()
            .filter_map(Weak::upgrade)
            .fold(Subjects::default(), |all, watcher| all | watcher.subjects);
        self.wanted.store(wanted.bits(), Ordering::Relaxed);
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Puts a line behind those that wait; false when there is no room for it.
    fn push(&self, line: &[u8]) -> bool {
        let mut lines = self.lines();
        if lines.bytes.len() + line.len() > BUFFER_MAX {
            lines.skipped += 1;
            return false;
        }
        let was_empty = lines.bytes.is_empty();
        lines.count += 1;
        lines.bytes.extend_from_slice(line);
        drop(lines);
        if was_empty {
            self.bell.ring();
        }
        true
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say_skipped(lines: u64, bytes: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = writeln!(bytes, "skipped={lines}");
}

#[cfg(test)]
mod tests {
    use super::{BUFFER_MAX, WATCHERS_MAX, Watch};
    use crate::protocol::text::admin::Subjects;
    use crate::worker::Mailbox;
    use std::sync::Arc;
    use std::time::Duration;

    const NOW: Duration = Duration::new(1_800_000_000, 42_000);

    #[test]
    fn watchers_see_what_they_want_to_see_and_no_more() {
        let watch = Watch::default();
        let bell = Arc::new(Mailbox::new().expect("a bell"));
        assert!(!watch.wants(Subjects::FETCHERS));
        let one = watch.join(Subjects::FETCHERS, &bell).expect("room");
        let other = watch.join(Subjects::MUTATIONS, &bell).expect("room");
        assert!(watch.wants(Subjects::FETCHERS) && !watch.wants(Subjects::SYSTEM));
        watch.tell(Subjects::FETCHERS, NOW, format_args!("type=item_get"));
        watch.tell(Subjects::MUTATIONS, NOW, format_args!("type=item_store"));
        assert_eq!(
            String::from_utf8(watch.take(&one)).expect("text"),
            "ts=1800000000.000042 gid=1 type=item_get\n"
        );
        assert!(watch.take(&one).is_empty());
        assert!(watch.take(&other).ends_with(b"gid=2 type=item_store\n"));
        drop(one);
        assert_eq!(watch.counts().watchers, 1);
        assert!(!watch.wants(Subjects::FETCHERS));
    }

    #[test]
    fn a_watcher_that_does_not_read_loses_lines_and_is_told() {
        let watch = Watch::default();
        let bell = Arc::new(Mailbox::new().expect("a bell"));
        let watcher = watch.join(Subjects::FETCHERS, &bell).expect("room");
        let event = "x".repeat(1000);
        for _ in 0..BUFFER_MAX / 1000 + 10 {
            watch.tell(Subjects::FETCHERS, NOW, format_args!("{event}"));
        }
        let lines = watch.take(&watcher);
        assert!(lines.len() < BUFFER_MAX + 100);
        let skipped = format!("skipped={}\n", watch.counts().skipped);
        assert!(lines.ends_with(skipped.as_bytes()) && watch.counts().skipped >= 10);
    }

    #[test]
    fn watchers_are_bounded() {
        let watch = Watch::default();
        let bell = Arc::new(Mailbox::new().expect("a bell"));
        let mut watchers: Vec<_> = (0..WATCHERS_MAX)
            .map(|_| watch.join(Subjects::SYSTEM, &bell).expect("room"))
            .collect();
        assert!(watch.join(Subjects::SYSTEM, &bell).is_none());
        watchers.pop();
        assert!(watch.join(Subjects::SYSTEM, &bell).is_some());
    }
}
