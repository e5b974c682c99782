//! Answers that take a walk through the whole store: `lru_crawler metadump` and `mgdump`, `stats cachedump`, `stats sizes`.
//!
//! They are given in steps. A step shows a bounded number of items and holds no lock afterwards; the connection makes the
//! next one when what was written is on its way, so a client that reads slowly costs nobody anything.

use std::collections::BTreeMap;
use std::io::Write;

use crate::protocol::output::Output;
use crate::protocol::text::{self, admin, item_size};
use crate::protocol::{Response, binary, meta};
use crate::store::{Cursor, Expiry, Item};

use super::Executor;
use super::stats::CLASS;

/// memcached's buffer for a cachedump has so many bytes; what does not fit is not told.
const CACHEDUMP_MAX: usize = 2 << 20;

/// `stats sizes` counts in steps of so many bytes.
const SIZE_STEP: usize = 32;

/// Lines of `stats sizes` that one step writes.
const LINES_AT_ONCE: usize = 1000;

/// How far such an answer has got.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    cursor: Cursor,
    told: Told,
    /// The request's header, where figures are told in packets.
    packets: Option<binary::Header>,
}

/// What is told of each item.
#[derive(Debug, Default)]
enum Told {
    /// `key=...`, lines ended by LF alone, as in memcached.
    #[default]
    Metadata,
    /// `mg KEY`.
    Get,
    /// `ITEM key [bytes b; expiry s]`.
    Keys {
        /// So many more items.
        items: u64,
        /// So many more bytes.
        bytes: usize,
    },
    /// Nothing yet: items are counted by their size.
    Sizes(BTreeMap<usize, u64>),
    /// The sizes that were counted.
    Counted(BTreeMap<usize, u64>),
    /// Nothing: the class that was asked for is empty.
    Nothing,
}

impl Dump {
    /// All items of these classes, of which the first holds everything.
    pub(super) fn of(kind: admin::Dump, classes: admin::Classes) -> Self {
        let told = match kind {
            _ if !classes.contain(CLASS) => Told::Nothing,
            admin::Dump::Metadata => Told::Metadata,
            admin::Dump::Get => Told::Get,
        };
        Self::telling(told)
    }

    /// The keys of a class, at most `limit`; 0 is no limit.
    pub(super) fn keys(class: u64, limit: u64) -> Self {
        if class != u64::from(CLASS) {
            return Self::telling(Told::Nothing);
        }
        Self::telling(Told::Keys {
            items: if limit == 0 { u64::MAX } else { limit },
            bytes: CACHEDUMP_MAX,
        })
    }

    /// How many items there are of each size.
    pub(super) fn sizes() -> Self {
        Self::telling(Told::Sizes(BTreeMap::new()))
    }

    /// The same, in packets.
    pub(super) fn sizes_in_packets(header: binary::Header) -> Self {
        Self {
            packets: Some(header),
            ..Self::sizes()
        }
    }

    fn telling(told: Told) -> Self {
        Self {
            told,
            ..Self::default()
        }
    }

    fn tell(&mut self, item: &Item<'_>, out: &mut Output) {
        match &mut self.told {
            Told::Metadata => metadata(item, out),
            Told::Get => meta::encode_get(item.key(), item.has_base64_key(), out),
            Told::Keys { items, bytes } => {
                let before = out.len();
                if *items > 0 && *bytes > 0 {
                    key(item, out);
                    *items -= 1;
                    *bytes = bytes.saturating_sub(out.len() - before);
                }
            }
            Told::Sizes(sizes) => {
                let size = size(item).next_multiple_of(SIZE_STEP);
                *sizes.entry(size).or_default() += 1;
            }
            Told::Counted(_) | Told::Nothing => {}
        }
    }

    /// Whether the rest of the walk would tell nothing.
    fn has_told_all(&self) -> bool {
        match self.told {
            Told::Keys { items, bytes } => items == 0 || bytes == 0,
            Told::Counted(_) | Told::Nothing => true,
            _ => false,
        }
    }

    /// Writes some of the sizes that were counted; false when all are written.
    fn tell_sizes(&mut self, out: &mut Output) -> bool {
        let Told::Counted(sizes) = &mut self.told else {
            return false;
        };
        for _ in 0..LINES_AT_ONCE {
            let Some((size, count)) = sizes.pop_first() else {
                return false;
            };
            let (size, count) = (size.to_string(), count.to_string());
            match &self.packets {
                Some(header) => {
                    let figure = binary::Response::Figure(&size, count.as_bytes());
                    binary::encode(header, &figure, out);
                }
                None => text::encode_figure(&size, &count, out),
            }
        }
        true
    }
}

impl Executor<'_> {
    /// One step of such an answer; whether there are more.
    pub(crate) fn go_on(&self, dump: &mut Dump, out: &mut Output) -> bool {
        let now = self.clock().now();
        if !dump.has_told_all() {
            let mut cursor = dump.cursor;
            let more = self.figures.store.walk(now, &mut cursor, |item| {
                dump.tell(item, out);
            });
            dump.cursor = cursor;
            if more && !dump.has_told_all() {
                return true;
            }
            if let Told::Sizes(sizes) = &mut dump.told {
                dump.told = Told::Counted(std::mem::take(sizes));
            }
        }
        if dump.tell_sizes(out) {
            return true;
        }
        match (&dump.packets, &dump.told) {
            (Some(header), _) => binary::encode(header, &binary::Response::Figure("", b""), out),
            (None, Told::Get) => text::encode_line("EN", out),
            (None, _) => text::encode(&Response::End, out),
        }
        false
    }
}

/// What memcached counts for it.
fn size(item: &Item<'_>) -> usize {
    item_size(item.key().len(), item.flags(), item.value().len())
}

fn metadata(item: &Item<'_>, out: &mut Output) {
    out.extend_from_slice(b"key=");
    text::encode_uri(item.key(), out);
    let expiry = match item.expiry() {
        Expiry::Never => -1,
        Expiry::At(time) => i64::from(time.0),
    };
    write(
        out,
        format_args!(
            " exp={expiry} la={} cas={} fetch={} cls={CLASS} size={}\n",
            item.last_used().0,
            item.unique(),
            if item.was_fetched() { "yes" } else { "no" },
            size(item),
        ),
    );
}

fn key(item: &Item<'_>, out: &mut Output) {
    out.extend_from_slice(b"ITEM ");
    out.extend_from_slice(item.key());
    let expiry = match item.expiry() {
        Expiry::Never => 0,
        Expiry::At(time) => time.0,
    };
    let length = item.value().len();
    write(out, format_args!(" [{length} b; {expiry} s]\r\n"));
}

fn write(out: &mut Output, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}
