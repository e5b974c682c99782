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

    /// Something was to be stored.
    pub(super) fn watch_store(
        &self,
        key: &[u8],
        condition: Condition,
        stored: Stored,
        expiry: Expiry,
        now: UnixTime,
    ) {
        if self.figures.watch.wants(Subjects::MUTATIONS) {
            let status = match stored {
                Stored::Stored(_) => "stored",
                Stored::Refused => "not_stored",
                Stored::Changed => "exists",
                Stored::Absent => "not_found",
                Stored::NoRoom => "no_memory",
            };
            let command = match condition {
                Condition::Always => "set",
                Condition::Absent => "add",
                Condition::Present => "replace",
                Condition::Append(_) => "append",
                Condition::Prepend(_) => "prepend",
                Condition::Unique(_) | Condition::UniqueOrStale(_) => "cas",
            };
            self.tell_store(key, command, status, expiry, now);
        }
    }

    /// Something was larger than items may be.
    pub(super) fn watch_too_large(&self, key: &[u8], now: UnixTime) {
        if self.figures.watch.wants(Subjects::MUTATIONS) {
            self.tell_store(key, "set", "too_large", Expiry::Never, now);
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
        let (status, class, size) = match self.size_of(key, now) {
            Some(size) => ("found", CLASS, size),
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
    fn tell_store(&self, key: &[u8], command: &str, status: &str, expiry: Expiry, now: UnixTime) {
        let size = self.size_of(key, now).unwrap_or(0);
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

    /// How long the value of an item is, without it being a use of it.
    fn size_of(&self, key: &[u8], now: UnixTime) -> Option<usize> {
        let access = Access {
            vivify: false,
            counts_as_use: false,
        };
        let store = &self.figures.store;
        store.access(key, access, now, |held| held.item().value().len())
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
