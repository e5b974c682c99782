//! What operators tell a node to do, and what it answers: memcached's words, also where there is nothing here to do.

use tracing::{error, info};

use crate::protocol::output::Output;
use crate::protocol::text;
use crate::protocol::text::admin::{Classes, Command, Subjects};

use super::dump::Dump;
use super::{Executor, Progress};

const DONE: &str = "OK";
const UNKNOWN: &str = "ERROR";
const NO_ROOM: &str = "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust";
const NO_SPARE: &str = "NOSPARE source class has no spare pages";
const NO_CLASS: &str = "BADCLASS invalid class id";
const CRAWLER_RUNS: &str = "ERROR failed to start lru crawler thread";
const CRAWLER_IS_OFF: &str = "CLIENT_ERROR lru crawler disabled";
const CANNOT_CRAWL: &str = "ERROR an unknown error happened";
const NO_DUMPS: &str = "ERROR metadump not allowed";
const NO_WATCH: &str = "CLIENT_ERROR watch commands not allowed";
const NO_SHUTDOWN: &str = "ERROR: shutdown not enabled";
const BAD_SHUTDOWN: &str = "CLIENT_ERROR invalid shutdown mode";
const NO_TLS: &str = "Error TLS not enabled";
const BAD_CERTIFICATES: &str = "Error cannot use the certificates, see the log";

/// The store's own demand: a limit below so many of the largest items cannot hold them.
const LARGEST_ITEMS: u64 = 2;

impl Executor<'_> {
    /// Does what an operator asks for.
    pub(super) fn administer<'r>(
        &self,
        command: Command,
        silent: bool,
        out: &mut Output,
    ) -> Progress<'r> {
        let reply = match command {
            Command::Watch(subjects) => match self.may_watch(subjects) {
                Ok(subjects) => return Progress::Watch(subjects),
                Err(refusal) => refusal,
            },
            Command::Dump(kind, classes) => match self.may_dump(classes) {
                Ok(()) => return Progress::Dump(Box::new(Dump::of(kind, classes))),
                Err(refusal) => refusal,
            },
            Command::Shutdown { .. } if !self.figures.config.enable_shutdown => NO_SHUTDOWN,
            Command::Shutdown { known: false } => BAD_SHUTDOWN,
            Command::Shutdown { known: true } => {
                info!("a client stops the node");
                self.figures.told_to_stop.cancel();
                return Progress::Quit;
            }
            Command::MemoryLimit(bytes) => self.set_memory_limit(bytes),
            Command::MovePages => NO_SPARE,
            Command::Crawl(classes) => self.crawl(classes),
            Command::RefreshCertificates => self.refresh_certificates(),
            Command::Extstore => DONE,
            Command::SwitchCrawler(true) if self.figures.tuning().crawler => CRAWLER_RUNS,
            _ => {
                self.tune(command);
                DONE
            }
        };
        if !silent {
            text::encode_line(reply, out);
        }
        Progress::Done
    }

    /// Takes note of what has no other effect.
    fn tune(&self, command: Command) {
        let mut tuning = self.figures.tuning();
        match command {
            Command::Verbosity(level) => tuning.set_verbosity(level),
            Command::MovePagesAlone(level) => tuning.automove = level,
            Command::MovePagesRatio(ratio) => tuning.automove_ratio = ratio,
            Command::TuneLists(lists) => tuning.lists = lists,
            Command::SegmentLists(segmented) => tuning.segmented = segmented,
            Command::TemporaryTtl(ttl) => tuning.temporary_ttl = u32::try_from(ttl).ok(),
            Command::SwitchCrawler(on) => tuning.crawler = on,
            Command::CrawlerSleep(sleep) => tuning.crawler_sleep = sleep,
            Command::CrawlerItems(items) => tuning.crawler_items = items,
            Command::MemoryLimit(_)
            | Command::MovePages
            | Command::Crawl(_)
            | Command::Dump(..)
            | Command::Watch(_)
            | Command::Shutdown { .. }
            | Command::RefreshCertificates
            | Command::Extstore => {}
        }
    }

    fn set_memory_limit(&self, bytes: u64) -> &'static str {
        let largest = self.figures.config.item_size_max.0;
        let Ok(limit) = usize::try_from(bytes) else {
            return NO_ROOM;
        };
        if bytes < largest.saturating_mul(LARGEST_ITEMS) {
            return NO_ROOM;
        }
        info!(bytes, "a client changes the memory limit");
        self.figures.tuning().memory_limit = bytes;
        self.figures.store.set_limit(limit);
        self.watch_system(format_args!("type=memory_limit bytes={bytes}"));
        DONE
    }

    /// Expired items go by themselves, so there is never anything left to crawl for.
    fn crawl(&self, classes: Classes) -> &'static str {
        match classes {
            _ if !self.figures.tuning().crawler => CRAWLER_IS_OFF,
            Classes::Invalid => NO_CLASS,
            Classes::Hash => CANNOT_CRAWL,
            Classes::All | Classes::These(_) => DONE,
        }
    }

    fn may_dump(&self, classes: Classes) -> Result<(), &'static str> {
        match classes {
            _ if !self.figures.tuning().crawler => Err(CRAWLER_IS_OFF),
            _ if self.figures.config.disable_dumping => Err(NO_DUMPS),
            Classes::Invalid => Err(NO_CLASS),
            _ => Ok(()),
        }
    }

    fn may_watch(&self, subjects: Option<Subjects>) -> Result<Subjects, &'static str> {
        match subjects {
            _ if self.figures.config.disable_watch => Err(NO_WATCH),
            None => Err(UNKNOWN),
            Some(subjects) => Ok(subjects),
        }
    }

    fn refresh_certificates(&self) -> &'static str {
        let certificates = self.figures.reload.certificates.as_ref();
        match certificates.map(|certificates| certificates.reload()) {
            None => NO_TLS,
            Some(Ok(())) => DONE,
            Some(Err(error)) => {
                error!(%error, "cannot read the certificates again; what held so far goes on holding");
                BAD_CERTIFICATES
            }
        }
    }
}
