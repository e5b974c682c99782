//! What those who watch are told of commands. Nobody else pays more than one load for it.

use std::fmt;

use crate::clock::Clock;
use crate::protocol::text::{self, admin::Subjects};
use crate::store::{Access, Condition, Expiry, Item, Stored, UnixTime};
use crate::watch::Watch;

use super::Executor;
use super::stats::CLASS;

impl Executor<'_> {
    /// An item is looked for.
    pub(super) fn watch_fetch(&self, key: &[u8], now: UnixTime) {
        if self.figures.watch.wants(Subjects::FETCHERS) {
            self.tell_fetch(key, now);
        }
    }

    /// Something with a value of this length was to be stored.
    pub(super) fn watch_store(
        &self,
        key: &[u8],
        condition: Condition,
        stored: Stored,
        (length, expiry): (usize, Expiry),
        now: UnixTime,
    ) {
        if !self.figures.watch.wants(Subjects::MUTATIONS) {
            return;
        }
        let (status, is_stored) = match stored {
            Stored::Stored(_) => ("stored", true),
            Stored::Refused => ("not_stored", false),
            Stored::Changed => ("exists", false),
            Stored::Absent => ("not_found", false),
            Stored::NoRoom => ("no_memory", false),
        };
        let (command, grows) = match condition {
            Condition::Always => ("set", false),
            Condition::Absent => ("add", false),
            Condition::Present => ("replace", false),
            Condition::Append(_) => ("append", true),
            Condition::Prepend(_) => ("prepend", true),
            Condition::Unique(_) | Condition::UniqueOrStale(_) => ("cas", false),
        };
        let grown = self
            .look_at(key, now)
            .filter(|_| grows && is_stored)
            .unwrap_or((length, expiry));
        self.tell_store(key, command, status, grown, now);
    }

    /// Something was larger than items may be.
    pub(super) fn watch_too_large(&self, key: &[u8], now: UnixTime) {
        if self.figures.watch.wants(Subjects::MUTATIONS) {
            self.tell_store(key, "set", "too_large", (0, Expiry::Never), now);
        }
    }

    /// The node does something by itself, or is told to.
    pub(super) fn watch_system(&self, event: fmt::Arguments<'_>) {
        if self.figures.watch.wants(Subjects::SYSTEM) {
            let watch = &self.figures.watch;
            watch.tell(Subjects::SYSTEM, self.clock().since_1970(), event);
        }
    }

    #[cold]
    fn tell_fetch(&self, key: &[u8], now: UnixTime) {
        let (status, class, size) = match self.look_at(key, now) {
            Some((size, _)) => ("found", CLASS, size),
            None => ("not_found", 0, 0),
        };
        let (key, cfd) = (uri(key), self.descriptor);
        self.figures.watch.tell(
            Subjects::FETCHERS,
            self.clock().since_1970(),
            format_args!(
                "type=item_get key={key} status={status} clsid={class} cfd={cfd} size={size}"
            ),
        );
    }

    #[cold]
    fn tell_store(
        &self,
        key: &[u8],
        command: &str,
        status: &str,
        (size, expiry): (usize, Expiry),
        now: UnixTime,
    ) {
        let ttl = match expiry {
            Expiry::Never => 0,
            Expiry::At(time) => time.0.saturating_sub(now.0),
        };
        let (key, cfd) = (uri(key), self.descriptor);
        self.figures.watch.tell(
            Subjects::MUTATIONS,
            self.clock().since_1970(),
            format_args!(
                "type=item_store key={key} status={status} cmd={command} ttl={ttl} clsid={CLASS} cfd={cfd} size={size}"
            ),
        );
    }

    /// How long the value of an item is and when it expires, without it being a use of it.
    fn look_at(&self, key: &[u8], now: UnixTime) -> Option<(usize, Expiry)> {
        let access = Access {
            vivify: false,
            counts_as_use: false,
        };
        let store = &self.figures.store;
        store.access(key, access, now, |held| {
            let item = held.item();
            (item.value().len(), item.expiry())
        })
    }
}

/// An item is dropped before its time.
pub(crate) fn tell_eviction(watch: &Watch, clock: &Clock, item: &Item<'_>) {
    if !watch.wants(Subjects::EVICTIONS) {
        return;
    }
    let now = clock.now();
    let ttl = match item.expiry() {
        Expiry::Never => -1,
        Expiry::At(time) => i64::from(time.0) - i64::from(now.0),
    };
    let fetched = if item.was_fetched() { "yes" } else { "no" };
    let (key, size) = (uri(item.key()), item.value().len());
    let unused = now.0.saturating_sub(item.last_used().0);
    watch.tell(
        Subjects::EVICTIONS,
        clock.since_1970(),
        format_args!(
            "type=eviction key={key} fetch={fetched} ttl={ttl} la={unused} clsid={CLASS} size={size}"
        ),
    );
}

fn uri(key: &[u8]) -> String {
    let mut encoded = Vec::new();
    text::encode_uri(key, &mut encoded);
    String::from_utf8_lossy(&encoded).into_owned()
}
