//! Meta commands on the store. The flags are worked off in the order they were written, as in memcached: a `t` before a
//! `T` tells the time that was left before.

use crate::protocol::meta::{Code, Command, Debug, Field, Flag, Mode, Options, Reply, Verb};
use crate::protocol::output::Output;
use crate::protocol::text::{self, item_size};
use crate::protocol::{Direction, Exptime, KEY_MAX, Response};
use crate::store::{
    Access, Change, Condition, Deleted, Expiry, Held, Item, Stored, Uncounted, UnixTime, Value,
};

use super::{Executor, send_value};

/// The answer to mn.
const NOOP: &str = "MN";

/// The answer to me where there is no item.
const NOTHING: &str = "EN";

const NO_ROOM_FOR_NUMBER: &str = "SERVER_ERROR out of memory";

impl Executor<'_> {
    /// Executes a meta command and writes its reply behind what `out` holds.
    pub(super) fn meta(&self, command: &Command<'_>, now: UnixTime, out: &mut Output) {
        self.counters.cmd_meta.bump();
        let mut space = [0; KEY_MAX];
        let asked = Asked {
            command,
            key: command.key.bytes(&mut space),
            now,
        };
        match command.verb {
            Verb::Get => self.meta_get(&asked, out),
            Verb::Store(mode, value) => self.meta_store(&asked, mode, value, out),
            Verb::TooLarge => self.meta_too_large(&asked, out),
            Verb::BadChunk => text::encode(&self.bad_chunk(asked.key), out),
            Verb::Delete => self.meta_delete(&asked, out),
            Verb::Count(direction) => self.meta_count(&asked, direction, out),
            Verb::Debug => self.meta_debug(&asked, out),
            Verb::Noop => text::encode_line(NOOP, out),
        }
    }

    fn meta_get(&self, asked: &Asked<'_>, out: &mut Output) {
        let options = &asked.command.options;
        let access = Access {
            vivify: options.vivify.is_some(),
            counts_as_use: !options.no_use,
        };
        self.watch_fetch(asked.key, asked.now);
        let found = self
            .figures
            .store
            .access(asked.key, access, asked.now, |held| {
                self.look(asked, held, out);
            });
        let is_found = found.is_some();
        self.figures.prefixes.get(asked.key, is_found);
        match options.touch {
            Some(_) if is_found => self.count_touch(true),
            // An absent key counts as asked for, even if it was to be touched.
            _ => self.count_retrieval(is_found),
        }
        if !is_found && !options.quiet {
            asked.reply(Code::Absent, out);
        }
    }

    /// What mg does with an item that is there.
    fn look(&self, asked: &Asked<'_>, held: &mut Held<'_>, out: &mut Output) {
        let options = &asked.command.options;
        let mut reply = Reply::begin(
            match options.value {
                true => Code::Value(held.item().value().len()),
                false => Code::Done,
            },
            out,
        );
        let mut won = false;
        for flag in asked.command.flags {
            match flag.letter {
                b'T' => self.give(options.touch, held, asked.now),
                b'N' if held.is_created() => {
                    self.give(options.vivify, held, asked.now);
                    won = true;
                }
                b'R' => won |= self.is_due(options, held, asked.now),
                b'k' => {
                    let item = held.item();
                    reply.field(Field::Key(item.key(), item.has_base64_key()));
                }
                b's' => reply.field(Field::Size(held.item().value().len())),
                b'f' => reply.field(Field::ClientFlags(held.item().flags())),
                b'h' => reply.field(Field::Fetched(held.item().was_fetched())),
                b'l' => reply.field(Field::Unused(unused(&held.item(), asked.now))),
                _ => asked.item_field(flag, &held.item(), &mut reply),
            }
        }
        if held.item().is_claimed() {
            reply.field(Field::Claimed);
        }
        if held.item().is_stale() {
            reply.field(Field::Stale);
            won |= !held.item().is_claimed();
        }
        if won {
            reply.field(Field::Won);
            held.claim();
        }
        reply.end();
        if options.value {
            send_value(&held.item(), out);
        }
    }

    /// Whether so little time is left that a client is to make the value anew, and none does.
    fn is_due(&self, options: &Options, held: &Held<'_>, now: UnixTime) -> bool {
        let threshold = options.recache.map(|exptime| self.expiry(exptime, now));
        let item = held.item();
        match (item.expiry(), threshold) {
            (Expiry::At(expiry), Some(Expiry::At(threshold))) => {
                expiry < threshold && !item.is_claimed() && !held.is_created()
            }
            _ => false,
        }
    }

    fn give(&self, exptime: Option<Exptime>, held: &mut Held<'_>, now: UnixTime) {
        if let Some(exptime) = exptime {
            held.touch(self.expiry(exptime, now));
        }
    }

    fn meta_store(&self, asked: &Asked<'_>, mode: Mode, value: &[u8], out: &mut Vec<u8>) {
        let options = &asked.command.options;
        // Append and prepend take 0 for no number, as in memcached.
        let some = options.unique.filter(|unique| *unique != 0);
        let condition = match (mode, options.unique) {
            (Mode::Add, _) => Condition::Absent,
            (Mode::Append, _) => Condition::Append(some),
            (Mode::Prepend, _) => Condition::Prepend(some),
            (Mode::Set | Mode::Replace, Some(unique)) if options.stale => {
                Condition::UniqueOrStale(unique)
            }
            (Mode::Set | Mode::Replace, Some(unique)) => Condition::Unique(unique),
            (Mode::Set, None) => Condition::Always,
            (Mode::Replace, None) => Condition::Present,
        };
        let touch = options.touch.map(|time| self.expiry(time, asked.now));
        let value = Value {
            flags: options.client_flags,
            expiry: touch.unwrap_or(Expiry::Never),
            data: self.data(value),
            base64_key: asked.command.key.is_base64(),
        };
        let (code, unique) = match self.put(asked.key, value, condition, asked.now) {
            Stored::Stored(_) if options.quiet => return,
            Stored::Stored(unique) => (Code::Done, unique),
            Stored::Refused => (Code::NotStored, 0),
            Stored::Changed => (Code::Exists, 0),
            Stored::Absent => (Code::NotFound, 0),
            Stored::NoRoom => return text::encode(&Response::OutOfMemory, out),
        };
        let mut reply = Reply::begin(code, out);
        for flag in asked.command.flags {
            match flag.letter {
                b'c' => reply.field(Field::Unique(unique)),
                _ => asked.request_field(flag, &mut reply),
            }
        }
        reply.end();
    }

    /// Whatever the mode, the old value goes, so that nobody reads it for the new one.
    fn meta_too_large(&self, asked: &Asked<'_>, out: &mut Vec<u8>) {
        self.figures.prefixes.set(asked.key);
        self.watch_too_large(asked.key, asked.now);
        self.figures.store.delete(asked.key, None, asked.now);
        text::encode(&self.refusal(), out);
    }

    fn meta_delete(&self, asked: &Asked<'_>, out: &mut Vec<u8>) {
        let options = &asked.command.options;
        let (store, unique, now) = (&self.figures.store, options.unique, asked.now);
        self.figures.prefixes.delete(asked.key);
        self.watch_fetch(asked.key, now);
        let deleted = if options.stale {
            let expiry = options.touch.map(|exptime| self.expiry(exptime, now));
            store.make_stale(asked.key, unique, expiry, now)
        } else {
            store.delete(asked.key, unique, now)
        };
        // What is made stale is not deleted.
        if !options.stale || deleted != Deleted::Deleted {
            self.count_delete(deleted);
        }
        match deleted {
            Deleted::Deleted if options.quiet => {}
            Deleted::Deleted => asked.reply(Code::Done, out),
            Deleted::Absent => asked.reply(Code::NotFound, out),
            Deleted::Changed => asked.reply(Code::Exists, out),
        }
    }

    fn meta_count(&self, asked: &Asked<'_>, direction: Direction, out: &mut Vec<u8>) {
        let options = &asked.command.options;
        let change = Change {
            up: direction == Direction::Increment,
            delta: options.delta.unwrap_or(1),
            unique: options.unique.filter(|unique| *unique != 0),
            initial: options.vivify.map(|_| options.initial),
        };
        let store = &self.figures.store;
        self.watch_fetch(asked.key, asked.now);
        let mut created = false;
        let counted = store.count(asked.key, change, asked.now, |number, held| {
            created = held.is_created();
            self.counted(asked, number, held, out);
        });
        // A number that was not there counts neither as found nor as missed.
        if !created {
            self.count_arithmetic(direction, counted.err());
        }
        match counted {
            Ok(()) => {}
            Err(Uncounted::Absent) => asked.reply(Code::NotFound, out),
            Err(Uncounted::Changed) => asked.reply(Code::Exists, out),
            Err(Uncounted::NotANumber) => text::encode(&Response::NotANumber, out),
            Err(Uncounted::NoRoom) => text::encode_line(NO_ROOM_FOR_NUMBER, out),
        }
    }

    /// What ma does after it has counted.
    fn counted(&self, asked: &Asked<'_>, number: u64, held: &mut Held<'_>, out: &mut Vec<u8>) {
        let options = &asked.command.options;
        let start = out.len();
        let text = number.to_string();
        let mut reply = Reply::begin(
            match options.value {
                true => Code::Value(text.len()),
                false => Code::Done,
            },
            out,
        );
        for flag in asked.command.flags {
            match flag.letter {
                b'T' => self.give(options.touch, held, asked.now),
                b'N' if held.is_created() => self.give(options.vivify, held, asked.now),
                b'k' => asked.request_field(flag, &mut reply),
                _ => asked.item_field(flag, &held.item(), &mut reply),
            }
        }
        match options.value {
            true => reply.end_with(text.as_bytes()),
            false => reply.end(),
        }
        // A number that was made is told even then.
        if options.quiet && !held.is_created() {
            out.truncate(start);
        }
    }

    fn meta_debug(&self, asked: &Asked<'_>, out: &mut Vec<u8>) {
        let access = Access {
            vivify: false,
            counts_as_use: false,
        };
        let store = &self.figures.store;
        self.watch_fetch(asked.key, asked.now);
        let found = store.access(asked.key, access, asked.now, |held| {
            let item = held.item();
            let size = item_size(item.key().len(), item.flags(), item.value().len());
            Debug {
                key: (item.key(), item.has_base64_key()),
                time_left: time_left(&item, asked.now),
                unused: unused(&item, asked.now),
                unique: item.unique(),
                fetched: item.was_fetched(),
                size,
            }
            .encode(out);
        });
        if found.is_none() {
            text::encode_line(NOTHING, out);
        }
    }
}

/// A meta command with its key decoded.
struct Asked<'a> {
    command: &'a Command<'a>,
    key: &'a [u8],
    now: UnixTime,
}

impl Asked<'_> {
    /// Writes a reply that tells nothing of an item.
    fn reply(&self, code: Code, out: &mut Vec<u8>) {
        let mut reply = Reply::begin(code, out);
        for flag in self.command.flags {
            self.request_field(flag, &mut reply);
        }
        reply.end();
    }

    /// The fields that give back what was sent.
    fn request_field(&self, flag: Flag<'_>, reply: &mut Reply<'_>) {
        match flag.letter {
            b'O' => reply.field(Field::Opaque(flag.argument)),
            b'k' => reply.field(Field::Key(self.key, self.command.key.is_base64())),
            _ => {}
        }
    }

    /// The fields that mg and ma have in common.
    fn item_field(&self, flag: Flag<'_>, item: &Item<'_>, reply: &mut Reply<'_>) {
        match flag.letter {
            b't' => reply.field(Field::TimeLeft(time_left(item, self.now))),
            b'c' => reply.field(Field::Unique(item.unique())),
            _ => self.request_field(flag, reply),
        }
    }
}

/// Seconds until the item is gone. One that is made with a past exptime has a huge number left, as in memcached.
fn time_left(item: &Item<'_>, now: UnixTime) -> Option<u32> {
    match item.expiry() {
        Expiry::Never => None,
        Expiry::At(time) => Some(time.0.wrapping_sub(now.0)),
    }
}

/// Seconds since the item was last used.
fn unused(item: &Item<'_>, now: UnixTime) -> u32 {
    now.0.saturating_sub(item.last_used().0)
}
