//! Commands of the binary protocol on the store.

mod authenticate;
mod stat;

use crate::auth::Standing;
use crate::protocol::binary::{
    Command, Count, Header, Malformed, Packet, Response, Status, Store, encode,
};
use crate::protocol::output::Output;
use crate::protocol::{Direction, Exptime, Response as Outcome, StoreMode};
use crate::store::{Change, Condition, Deleted, Expiry, Stored, Uncounted, UnixTime, Value};

use super::{Executor, Progress, VERSION, send_data};

impl Executor<'_> {
    /// Executes a packet and writes its reply, if it has one, behind what `out` holds.
    pub(super) fn binary(
        &self,
        packet: &Packet<'_>,
        standing: &mut Standing,
        now: UnixTime,
        out: &mut Output,
    ) -> Progress<'static> {
        let mut asked = Asked {
            header: &packet.header,
            quiet: packet.quiet,
            now,
            out,
        };
        let command = match &packet.command {
            Err(Malformed::Body) => return asked.close(Status::UnknownCommand),
            _ if !self.admits(packet, *standing) => return asked.close(Status::AuthFailure),
            Err(Malformed::Arguments) => return asked.close(Status::InvalidArguments),
            Ok(command) => command,
        };
        match *command {
            Command::Get {
                key,
                exptime,
                with_key,
            } => self.binary_get(&mut asked, key, exptime, with_key),
            Command::Store(store) => self.binary_store(&mut asked, &store),
            Command::Delete { key } => self.binary_delete(&mut asked, key),
            Command::Touch { key, exptime } => self.binary_touch(&mut asked, key, exptime),
            Command::Count(count) => self.binary_count(&mut asked, &count),
            Command::TooLarge { mode, key } => match self.too_large(mode, key, now) {
                Outcome::OutOfMemory => asked.failed(Status::NoRoomForItem),
                _ => asked.failed(Status::TooLarge),
            },
            Command::Flush { exptime } => self.binary_flush(&mut asked, exptime),
            Command::Noop => asked.done(0),
            Command::Version => asked.tell(VERSION),
            Command::Stat { group } => return self.binary_stat(&mut asked, group),
            Command::Quit => {
                asked.done(0);
                return Progress::Quit;
            }
            Command::Mechanisms => self.mechanisms(&mut asked, standing),
            Command::Authenticate(step) => self.authenticate(&mut asked, &step, standing),
            Command::Unknown => asked.failed(Status::UnknownCommand),
        }
        Progress::Done
    }

    /// An exptime of this protocol: as those of the text protocol, but never negative.
    fn binary_expiry(&self, exptime: u32, now: UnixTime) -> Expiry {
        match i32::try_from(exptime) {
            Ok(exptime) => self.expiry(Exptime(exptime), now),
            Err(_) => Expiry::At(UnixTime(exptime)),
        }
    }

    fn binary_get(&self, asked: &mut Asked<'_>, key: &[u8], exptime: Option<u32>, with_key: bool) {
        let touch = exptime.map(|exptime| self.binary_expiry(exptime, asked.now));
        let shown = if with_key { key } else { b"" };
        self.watch_fetch(key, asked.now);
        let found = self.figures.store.get(key, touch, asked.now, |item| {
            let response = Response::Value {
                key: shown,
                flags: item.flags(),
                length: item.value().len(),
                cas: item.unique(),
            };
            encode(asked.header, &response, asked.out);
            send_data(item, asked.out);
        });
        let is_found = found.is_some();
        match touch {
            Some(_) => self.count_touch(is_found),
            None => self.count_retrieval(is_found),
        }
        self.figures.prefixes.get(key, is_found);
        if !is_found && !asked.quiet {
            asked.reply(&match with_key {
                true => Response::Absent(key),
                false => Response::Failed(Status::NotFound),
            });
        }
    }

    fn binary_touch(&self, asked: &mut Asked<'_>, key: &[u8], exptime: u32) {
        let expiry = self.binary_expiry(exptime, asked.now);
        self.watch_fetch(key, asked.now);
        let found = self
            .figures
            .store
            .get(key, Some(expiry), asked.now, |item| Response::Value {
                key: b"",
                flags: item.flags(),
                length: 0,
                cas: item.unique(),
            });
        self.count_touch(found.is_some());
        self.figures.prefixes.get(key, found.is_some());
        asked.reply(&found.unwrap_or(Response::Failed(Status::NotFound)));
    }

    fn binary_store(&self, asked: &mut Asked<'_>, store: &Store<'_>) {
        let unique = asked.unique();
        let condition = match (store.mode, unique) {
            (StoreMode::Append, _) => Condition::Append(unique),
            (StoreMode::Prepend, _) => Condition::Prepend(unique),
            (_, Some(unique)) | (StoreMode::Cas(unique), None) => Condition::Unique(unique),
            (StoreMode::Set, None) => Condition::Always,
            (StoreMode::Add, None) => Condition::Absent,
            (StoreMode::Replace, None) => Condition::Present,
        };
        let value = Value {
            flags: store.flags,
            expiry: self.binary_expiry(store.exptime, asked.now),
            data: self.data(store.value),
            base64_key: false,
        };
        match self.put(store.key, value, condition, asked.now) {
            Stored::Stored(unique) => asked.done(unique),
            Stored::Changed => asked.failed(Status::Exists),
            Stored::Absent => asked.failed(Status::NotFound),
            Stored::Refused => asked.failed(match store.mode {
                StoreMode::Add => Status::Exists,
                StoreMode::Replace => Status::NotFound,
                _ => Status::NotStored,
            }),
            Stored::NoRoom => asked.failed(Status::NoRoomForItem),
        }
    }

    fn binary_delete(&self, asked: &mut Asked<'_>, key: &[u8]) {
        self.figures.prefixes.delete(key);
        self.watch_fetch(key, asked.now);
        let deleted = self.figures.store.delete(key, asked.unique(), asked.now);
        if deleted != Deleted::Changed {
            self.count_delete(deleted);
        }
        match deleted {
            Deleted::Deleted => asked.done(0),
            Deleted::Absent => asked.failed(Status::NotFound),
            Deleted::Changed => asked.failed(Status::Exists),
        }
    }

    fn binary_count(&self, asked: &mut Asked<'_>, count: &Count<'_>) {
        let change = Change {
            up: count.direction == Direction::Increment,
            delta: count.delta,
            unique: asked.unique(),
            initial: count.initial.map(|(number, _)| number),
        };
        let expiry = count
            .initial
            .map(|(_, exptime)| self.binary_expiry(exptime, asked.now));
        self.watch_fetch(count.key, asked.now);
        let store = &self.figures.store;
        let counted = store.count(count.key, change, asked.now, |number, held| {
            if let (true, Some(expiry)) = (held.is_created(), expiry) {
                held.touch(expiry);
            }
            (number, held.item().unique(), held.is_created())
        });
        // One that was made is neither a hit nor a miss.
        if !matches!(counted, Ok((_, _, true))) {
            self.count_arithmetic(count.direction, counted.err());
        }
        match counted {
            Ok((number, unique, _)) => asked.success(&Response::Number(number, unique)),
            Err(Uncounted::Absent) => asked.failed(Status::NotFound),
            Err(Uncounted::Changed) => asked.failed(Status::Exists),
            Err(Uncounted::NotANumber) => asked.failed(Status::NotANumber),
            Err(Uncounted::NoRoom) => asked.failed(Status::NoRoomForNumber),
        }
    }

    fn binary_flush(&self, asked: &mut Asked<'_>, exptime: u32) {
        if self.figures.config.disable_flush_all {
            return asked.failed(Status::AuthFailure);
        }
        self.counters.cmd_flush.bump();
        let at = match self.binary_expiry(exptime, asked.now) {
            Expiry::Never => asked.now,
            Expiry::At(time) => time,
        };
        self.figures.store.flush(at, asked.now);
        asked.done(0);
    }
}

/// A request and where its reply goes.
struct Asked<'a> {
    header: &'a Header,
    quiet: bool,
    now: UnixTime,
    out: &'a mut Output,
}

impl Asked<'_> {
    /// The cas unique that the item must have.
    fn unique(&self) -> Option<u64> {
        (self.header.cas != 0).then_some(self.header.cas)
    }

    fn reply(&mut self, response: &Response<'_>) {
        encode(self.header, response, self.out);
    }

    /// Tells a success, unless that is not wanted.
    fn success(&mut self, response: &Response<'_>) {
        if !self.quiet {
            self.reply(response);
        }
    }

    fn done(&mut self, cas: u64) {
        self.success(&Response::Done(cas));
    }

    fn tell(&mut self, text: &str) {
        self.reply(&Response::Text(text));
    }

    /// Failures are told to quiet clients too.
    fn failed(&mut self, status: Status) {
        self.reply(&Response::Failed(status));
    }

    fn close(&mut self, status: Status) -> Progress<'static> {
        self.failed(status);
        Progress::Refused
    }
}
