//! A request on the store gives a response: the only room that knows both the protocol and the store.

mod admin;
mod binary;
mod dump;
mod meta;
mod stats;
mod watched;

use crate::auth::Standing;
use crate::clock::Clock;
use bytes::Bytes;

use crate::protocol::output::Output;
use crate::protocol::text::admin::Subjects;
use crate::protocol::{
    Direction, Exptime, Request, Response, Retrieve, Store as StoreRequest, StoreMode, text,
};
use crate::status::{Counters, Figures};
use crate::store::{
    Change, Condition, Data, Deleted, Expiry, Item, Stored, Uncounted, UnixTime, Value,
};

pub(crate) use dump::Dump;
pub(crate) use watched::tell_eviction;

/// What is told where flush_all is forbidden (memcached's `-F`).
const NO_FLUSH: &str = "CLIENT_ERROR flush_all not allowed";

const BAD_CHUNK: &str = "CLIENT_ERROR bad data chunk";

const BAD_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";

/// The version of memcached whose behaviour this is: what clients that ask for it want to know.
const VERSION: &str = "1.6.18";

/// Keys that one step of a retrieval asks for.
const KEYS_AT_ONCE: u32 = 100;

/// What a worker executes requests with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Executor<'a> {
    /// The node's store, clock and figures.
    pub(crate) figures: &'a Figures,
    /// This worker's counters.
    pub(crate) counters: &'a Counters,
    /// The descriptor of the client's socket.
    pub(crate) descriptor: i32,
    /// The buffer that the value of the next request is in, if the store may keep it.
    block: Option<&'a Bytes>,
    /// Whether there is no memory for the value of the next request.
    no_room: bool,
}

/// How far a request has got.
#[derive(Debug)]
pub(crate) enum Progress<'a> {
    /// It is done.
    Done,
    /// It is done, and the client wants to leave.
    Quit,
    /// It is answered, and the connection is over: what follows cannot be told apart from data, or is not allowed.
    Refused,
    /// There is more to send: go on with this when what was written so far is on its way.
    More(Retrieve<'a>),
    /// The answer is a walk through the store: go on with this, step by step ([`Executor::go_on`]).
    Dump(Box<Dump>),
    /// The connection is to carry what the client wants to see from now on.
    Watch(Subjects),
}

impl<'a> Executor<'a> {
    /// What executes requests on this node and counts them here.
    pub(crate) fn new(figures: &'a Figures, counters: &'a Counters) -> Self {
        Self {
            figures,
            counters,
            descriptor: 0,
            block: None,
            no_room: false,
        }
    }

    /// For a request whose value lies in `block`: the store keeps the buffer rather than copy from it.
    pub(crate) fn with_block(self, block: &'a Bytes) -> Self {
        Self {
            block: Some(block),
            ..self
        }
    }

    /// For a storage command whose value could not be received for want of memory; parsed as if it were too large.
    pub(crate) fn without_room(self) -> Self {
        Self {
            no_room: true,
            ..self
        }
    }
}

impl Executor<'_> {
    /// Executes a request and writes its response behind what `out` holds. A retrieval stops as soon as `enough` waits
    /// in `out` or [`KEYS_AT_ONCE`] were asked for, so that a client that asks for everything at once cannot make it
    /// grow without bound, nor keep others waiting.
    pub(crate) fn execute<'r>(
        &self,
        request: Request<'r>,
        standing: &mut Standing,
        enough: usize,
        out: &mut Output,
    ) -> Progress<'r> {
        let now = self.clock().now();
        let (response, noreply) = match request {
            Request::Retrieve(retrieve) => return self.retrieve(retrieve, enough, out, now),
            Request::Stats { words } => return self.stats(words, out),
            Request::Admin { command, noreply } => return self.administer(command, noreply, out),
            Request::Meta(command) => {
                self.meta(&command, now, out);
                return Progress::Done;
            }
            Request::Binary(packet) => return self.binary(&packet, standing, now, out),
            Request::Login(login) => {
                self.login(&login, standing, out);
                return Progress::Done;
            }
            Request::Quit => return Progress::Quit,
            Request::Store(store) => (self.store(&store, now), store.noreply),
            Request::BadChunk { key, noreply } => (self.bad_chunk(key), noreply),
            Request::TooLarge { mode, key, noreply } => (self.too_large(mode, key, now), noreply),
            Request::Delete { key, noreply } => (self.delete(key, now), noreply),
            Request::Arithmetic {
                direction,
                key,
                delta,
                noreply,
            } => (self.arithmetic(direction, key, delta, now), noreply),
            Request::Touch {
                key,
                exptime,
                noreply,
            } => (self.touch(key, exptime, now), noreply),
            Request::FlushAll { delay, noreply } => (self.flush_all(delay, now), noreply),
            Request::Version => (Response::Version(VERSION), false),
        };
        if !noreply {
            text::encode(&response, out);
        }
        Progress::Done
    }

    fn clock(&self) -> &Clock {
        &self.figures.clock
    }

    fn expiry(&self, exptime: Exptime, now: UnixTime) -> Expiry {
        self.figures.store.expiry(exptime.0, now)
    }

    fn retrieve<'r>(
        &self,
        mut retrieve: Retrieve<'r>,
        enough: usize,
        out: &mut Output,
        now: UnixTime,
    ) -> Progress<'r> {
        let touch = retrieve.exptime.map(|exptime| self.expiry(exptime, now));
        let mut left = KEYS_AT_ONCE;
        while let Some(key) = retrieve.keys.next() {
            self.watch_fetch(key, now);
            let found = self.figures.store.get(key, touch, now, |item| {
                let cas = retrieve.with_cas.then(|| item.unique());
                text::begin_value(key, item.flags(), item.value().len(), cas, out);
                send_value(item, out);
            });
            match touch {
                Some(_) => self.count_touch(found.is_some()),
                None => self.count_retrieval(found.is_some()),
            }
            self.figures.prefixes.get(key, found.is_some());
            left -= 1;
            if (out.is_full(enough) || left == 0) && !retrieve.keys.is_empty() {
                return Progress::More(retrieve);
            }
        }
        text::encode(&Response::End, out);
        Progress::Done
    }

    fn count_retrieval(&self, found: bool) {
        let counters = self.counters;
        counters.cmd_get.bump();
        if found {
            counters.get_hits.bump();
        } else {
            counters.get_misses.bump();
        }
    }

    fn count_touch(&self, found: bool) {
        self.counters.cmd_touch.bump();
        if found {
            self.counters.touch_hits.bump();
        } else {
            self.counters.touch_misses.bump();
        }
    }

    fn store(&self, store: &StoreRequest<'_>, now: UnixTime) -> Response {
        let condition = match store.mode {
            StoreMode::Set => Condition::Always,
            StoreMode::Add => Condition::Absent,
            StoreMode::Replace => Condition::Present,
            StoreMode::Append => Condition::Append(None),
            StoreMode::Prepend => Condition::Prepend(None),
            StoreMode::Cas(unique) => Condition::Unique(unique),
        };
        let value = Value {
            flags: store.flags,
            expiry: self.expiry(store.exptime, now),
            data: self.data(store.value),
            base64_key: false,
        };
        let stored = self.put(store.key, value, condition, now);
        match stored {
            Stored::Stored(_) => Response::Stored,
            Stored::Refused => Response::NotStored,
            Stored::Changed => Response::Exists,
            Stored::Absent => Response::NotFound,
            Stored::NoRoom => Response::OutOfMemory,
        }
    }

    /// Stores, and counts what became of it.
    fn put(&self, key: &[u8], value: Value<'_>, condition: Condition, now: UnixTime) -> Stored {
        let counters = self.counters;
        counters.cmd_set.bump();
        self.figures.prefixes.set(key);
        self.watch_fetch(key, now);
        let asked = (value.data.len(), value.expiry);
        let stored = self.figures.store.put(key, value, condition, now);
        self.watch_store(key, condition, stored, asked, now);
        let is_cas = matches!(
            condition,
            Condition::Unique(_) | Condition::UniqueOrStale(_)
        );
        match stored {
            Stored::Stored(_) if is_cas => counters.cas_hits.bump(),
            Stored::Changed if is_cas => counters.cas_badval.bump(),
            Stored::Absent => counters.cas_misses.bump(),
            Stored::NoRoom => counters.store_no_memory.bump(),
            Stored::Refused if condition == Condition::Absent => counters.refused_adds.bump(),
            Stored::Stored(_) | Stored::Changed | Stored::Refused => {}
        }
        stored
    }

    /// A data block counts, even if it is not what was announced.
    fn bad_chunk(&self, key: &[u8]) -> Response {
        self.counters.cmd_set.bump();
        self.figures.prefixes.set(key);
        Response::Refused(BAD_CHUNK)
    }

    /// A set that cannot be done drops the old value, so that nobody reads it for the new one.
    fn too_large(&self, mode: StoreMode, key: &[u8], now: UnixTime) -> Response {
        self.figures.prefixes.set(key);
        self.watch_too_large(key, now);
        if mode == StoreMode::Set {
            self.figures.store.delete(key, None, now);
        }
        self.refusal()
    }

    /// Why an item is not taken, and its count.
    fn refusal(&self) -> Response {
        if self.no_room {
            self.counters.store_no_memory.bump();
            return Response::OutOfMemory;
        }
        self.counters.store_too_large.bump();
        Response::TooLarge
    }

    /// A value for the store: in the buffer it came in, where the store may keep that.
    fn data<'v>(&self, value: &'v [u8]) -> Data<'v> {
        match self.block {
            Some(block) => Data::Shared(block.slice_ref(value)),
            None => Data::Slice(value),
        }
    }

    fn delete(&self, key: &[u8], now: UnixTime) -> Response {
        self.figures.prefixes.delete(key);
        self.watch_fetch(key, now);
        let deleted = self.figures.store.delete(key, None, now);
        self.count_delete(deleted);
        match deleted {
            Deleted::Deleted => Response::Deleted,
            Deleted::Absent | Deleted::Changed => Response::NotFound,
        }
    }

    fn count_delete(&self, deleted: Deleted) {
        match deleted {
            Deleted::Deleted => self.counters.delete_hits.bump(),
            Deleted::Absent | Deleted::Changed => self.counters.delete_misses.bump(),
        }
    }

    fn arithmetic(&self, direction: Direction, key: &[u8], delta: u64, now: UnixTime) -> Response {
        let change = Change {
            up: direction == Direction::Increment,
            delta,
            unique: None,
            initial: None,
        };
        self.watch_fetch(key, now);
        let store = &self.figures.store;
        let counted = store.count(key, change, now, |number, _| number);
        self.count_arithmetic(direction, counted.err());
        match counted {
            Ok(number) => Response::Number(number),
            Err(Uncounted::Absent | Uncounted::Changed) => Response::NotFound,
            Err(Uncounted::NotANumber) => Response::NotANumber,
            Err(Uncounted::NoRoom) => Response::OutOfMemory,
        }
    }

    fn count_arithmetic(&self, direction: Direction, failed: Option<Uncounted>) {
        let (hits, misses) = match direction {
            Direction::Increment => (&self.counters.incr_hits, &self.counters.incr_misses),
            Direction::Decrement => (&self.counters.decr_hits, &self.counters.decr_misses),
        };
        match failed {
            None => hits.bump(),
            Some(Uncounted::Absent) => misses.bump(),
            Some(Uncounted::Changed | Uncounted::NotANumber | Uncounted::NoRoom) => {}
        }
    }

    fn touch(&self, key: &[u8], exptime: Exptime, now: UnixTime) -> Response {
        let expiry = self.expiry(exptime, now);
        self.watch_fetch(key, now);
        let found = self.figures.store.get(key, Some(expiry), now, |_| ());
        self.count_touch(found.is_some());
        found.map_or(Response::NotFound, |()| Response::Touched)
    }

    fn flush_all(&self, delay: Option<Exptime>, now: UnixTime) -> Response {
        if self.figures.config.disable_flush_all {
            return Response::Refused(NO_FLUSH);
        }
        let Some(delay) = delay else {
            return Response::Refused(BAD_EXPTIME);
        };
        self.counters.cmd_flush.bump();
        let at = match self.expiry(delay, now) {
            Expiry::Never => now,
            Expiry::At(time) => time,
        };
        self.figures.store.flush(at, now);
        Response::Done
    }
}

/// Writes an item's value and the end of its line; a large one is not copied.
fn send_value(item: &Item, out: &mut Output) {
    send_data(item, out);
    out.extend_from_slice(b"\r\n");
}

/// Writes an item's value alone, without a copy of a large one.
fn send_data(item: &Item, out: &mut Output) {
    match item.shared() {
        Some(value) => out.share(value),
        None => out.extend_from_slice(item.value()),
    }
}
