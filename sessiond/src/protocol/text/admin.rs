//! The commands of operators: `cache_memlimit`, `slabs`, `lru`, `lru_crawler`, `watch`, `shutdown`, `verbosity`, ...
//!
//! Their odd replies are memcached 1.6.18's: some say `ERROR` where others say what is wrong, some take a `noreply`.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::BitOr;

use crate::number::{signed, unsigned};

use super::{BAD_LINE, Keys, UNKNOWN, Words};

/// memcached has so many classes of items, 0 not being one; so has a list of them that a client sends.
const CLASSES_MAX: u32 = 64;

/// The highest class that memcached's slabs have with its default settings.
const SLAB_CLASS_MAX: i32 = 39;

/// `slabs reassign` of any class (its source only).
const ANY_CLASS: i32 = -1;

const MEGABYTES_MIN: u32 = 8;
const MEGABYTES_MAX: u32 = 1_000_000_000;

/// HOT and WARM together may have this much of a hundred.
const LISTS_MAX: u32 = 80;

/// `lru_crawler sleep` at most, in microseconds.
const CRAWLER_SLEEP_MAX: u32 = 1_000_000;

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    /// verbosity.
    Verbosity(u32),
    /// cache_memlimit, in bytes.
    MemoryLimit(u64),
    /// slabs reassign: pages to another class.
    MovePages,
    /// slabs automove.
    MovePagesAlone(u32),
    /// slabs automove ratio.
    MovePagesRatio(f64),
    /// lru tune.
    TuneLists(Lists),
    /// lru mode: whether there are several lists.
    SegmentLists(bool),
    /// lru temp_ttl; negative switches it off.
    TemporaryTtl(i32),
    /// lru_crawler enable and disable.
    SwitchCrawler(bool),
    /// lru_crawler sleep, in microseconds.
    CrawlerSleep(u32),
    /// lru_crawler tocrawl; 0 is all.
    CrawlerItems(u32),
    /// lru_crawler crawl.
    Crawl(Classes),
    /// lru_crawler metadump and mgdump.
    Dump(Dump, Classes),
    /// watch; `None` when a word is unknown, which only those who may watch are told.
    Watch(Option<Subjects>),
    /// shutdown, and whether its form is known, which is only told where it is allowed at all.
    Shutdown {
        /// Nothing or `graceful` stood behind it.
        known: bool,
    },
    /// refresh_certs.
    RefreshCertificates,
    /// extstore, whose settings mean nothing here.
    Extstore,
}

/// How memcached is to share its memory among its lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lists {
    /// HOT, in percent.
    pub hot: u32,
    /// WARM, in percent.
    pub warm: u32,
    /// HOT's greatest age as a multiple of COLD's.
    pub hot_factor: f64,
    /// WARM's greatest age as a multiple of COLD's.
    pub warm_factor: f64,
}

/// What is said of each item of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dump {
    /// `key=... exp=... la=... cas=... fetch=... cls=... size=...`
    Metadata,
    /// `mg KEY`, to be sent back as it is (1.6.19).
    Get,
}

/// Classes of items, as memcached numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classes {
    /// All of them.
    All,
    /// All of them, in the order of the table.
    Hash,
    /// Those whose bits are set.
    These(u64),
    /// Not a list of classes.
    Invalid,
}

impl Classes {
    fn of(word: &[u8]) -> Self {
        match word {
            b"all" => Self::All,
            b"hash" => Self::Hash,
            list => Self::listed(list).map_or(Self::Invalid, Self::These),
        }
    }

    fn listed(list: &[u8]) -> Option<u64> {
        let mut bits = 0u64;
        for class in list
            .split(|byte| *byte == b',')
            .filter(|class| !class.is_empty())
        {
            let class = unsigned(class)? as u32;
            bits |= 1u64
                .checked_shl(class)
                .filter(|_| class > 0 && class < CLASSES_MAX)?;
        }
        (bits != 0).then_some(bits)
    }

    /// Whether this class is among them.
    pub fn contain(self, class: u32) -> bool {
        match self {
            Self::All | Self::Hash => true,
            Self::These(bits) => bits & 1u64.checked_shl(class).unwrap_or(0) != 0,
            Self::Invalid => false,
        }
    }
}

/// What a watcher wants to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subjects(u8);

impl Subjects {
    /// Items that were looked for.
    pub const FETCHERS: Self = Self(1);
    /// Items that were stored, or not.
    pub const MUTATIONS: Self = Self(1 << 1);
    /// Items that were dropped before their time.
    pub const EVICTIONS: Self = Self(1 << 2);
    /// Clients that come and go.
    pub const CONNECTIONS: Self = Self(1 << 3);
    /// What the server does by itself.
    pub const SYSTEM: Self = Self(1 << 4);

    fn of(words: Keys<'_>) -> Option<Self> {
        let mut subjects = Self::default();
        for word in words {
            subjects = subjects
                | match word {
                    b"fetchers" => Self::FETCHERS,
                    b"mutations" => Self::MUTATIONS,
                    b"evictions" => Self::EVICTIONS,
                    b"connevents" => Self::CONNECTIONS,
                    b"sysevents" => Self::SYSTEM,
                    _ => return None,
                };
        }
        Some(match subjects {
            Self(0) => Self::FETCHERS,
            subjects => subjects,
        })
    }

    /// Whether one of `others` is among them.
    pub fn include(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// As a number, for an atomic.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// What [`Self::bits`] was made of.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

impl BitOr for Subjects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a line asks for, or what the client is told; `None` where the first word is no command of operators.
pub(super) fn parse(line: &Words<'_>) -> Option<Result<Command, &'static str>> {
    let [verb, first, ..] = line.first;
    Some(match verb {
        b"verbosity" => verbosity(line),
        b"cache_memlimit" => memory_limit(line),
        b"slabs" => slabs(line),
        b"lru" => lru(line),
        b"lru_crawler" => crawler(line),
        b"watch" => Ok(Command::Watch(Subjects::of(Keys(line.arguments)))),
        b"shutdown" => Ok(Command::Shutdown {
            known: line.count == 1 || (line.count == 2 && first == b"graceful"),
        }),
        b"refresh_certs" => Ok(Command::RefreshCertificates),
        b"extstore" if line.count >= 4 => Ok(Command::Extstore),
        _ => return None,
    })
}

/// Whether a `noreply` at the end of such a line hides the reply; elsewhere it is a word like others. memcached does not
/// look for it in lines that have too few words or too many.
pub(super) fn may_be_silent(line: &Words<'_>) -> bool {
    match line.first {
        [b"verbosity" | b"cache_memlimit", ..] => (2..=3).contains(&line.count),
        [b"slabs", b"automove", ..] => line.count >= 3,
        [b"lru" | b"watch", ..] => true,
        _ => false,
    }
}

fn whole(word: &[u8]) -> Option<u32> {
    // memcached reads more and keeps the lower half.
    unsigned(word).map(|number| number as u32)
}

/// A number as C's `strtod` reads the usual ones.
fn fraction(word: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

fn verbosity(line: &Words<'_>) -> Result<Command, &'static str> {
    if !(2..=3).contains(&line.count) {
        return Err(UNKNOWN);
    }
    let [_, level, ..] = line.first;
    whole(level).map(Command::Verbosity).ok_or(BAD_LINE)
}

fn memory_limit(line: &Words<'_>) -> Result<Command, &'static str> {
    if !(2..=3).contains(&line.count) {
        return Err(UNKNOWN);
    }
    let [_, megabytes, ..] = line.first;
    let megabytes = whole(megabytes).ok_or(UNKNOWN)?;
    if megabytes < MEGABYTES_MIN {
        return Err("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m");
    }
    if megabytes > MEGABYTES_MAX {
        return Err("MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes");
    }
    Ok(Command::MemoryLimit(u64::from(megabytes) << 20))
}

fn slabs(line: &Words<'_>) -> Result<Command, &'static str> {
    let [_, what, first, second, ..] = line.first;
    match what {
        b"reassign" if line.count == 4 => reassign(first, second),
        b"automove" if line.count >= 3 && first == b"ratio" => {
            fraction(second).map(Command::MovePagesRatio).ok_or(UNKNOWN)
        }
        b"automove" if line.count >= 3 => match whole(first).ok_or(BAD_LINE)? {
            level @ 0..=2 => Ok(Command::MovePagesAlone(level)),
            _ => Err(UNKNOWN),
        },
        _ => Err(UNKNOWN),
    }
}

fn reassign(from: &[u8], to: &[u8]) -> Result<Command, &'static str> {
    let (Some(from), Some(to)) = (signed(from), signed(to)) else {
        return Err(BAD_LINE);
    };
    if from == to {
        return Err("SAME src and dst class are identical");
    }
    let known = 0..=SLAB_CLASS_MAX;
    if from == ANY_CLASS || !known.contains(&from) || !known.contains(&to) {
        return Err("BADCLASS invalid src or dst class id");
    }
    Ok(Command::MovePages)
}

fn lru(line: &Words<'_>) -> Result<Command, &'static str> {
    let [_, what, first, second, third, fourth, _] = line.first;
    match what {
        b"tune" if line.count >= 6 => {
            let lists = || {
                Some(Lists {
                    hot: whole(first)?,
                    warm: whole(second)?,
                    hot_factor: fraction(third)?,
                    warm_factor: fraction(fourth)?,
                })
            };
            let lists = lists().ok_or(UNKNOWN)?;
            if lists.hot.saturating_add(lists.warm) > LISTS_MAX {
                return Err("ERROR hot and warm pcts must not exceed 80");
            }
            if lists.hot_factor <= 0.0 || lists.warm_factor <= 0.0 {
                return Err("ERROR hot/warm age factors must be greater than 0");
            }
            Ok(Command::TuneLists(lists))
        }
        b"mode" if line.count >= 3 => match first {
            b"flat" => Ok(Command::SegmentLists(false)),
            b"segmented" => Ok(Command::SegmentLists(true)),
            _ => Err(UNKNOWN),
        },
        b"temp_ttl" if line.count >= 3 => signed(first).map(Command::TemporaryTtl).ok_or(UNKNOWN),
        _ => Err(UNKNOWN),
    }
}

fn crawler(line: &Words<'_>) -> Result<Command, &'static str> {
    let [_, what, argument, ..] = line.first;
    match (what, line.count) {
        (b"enable", 2) => Ok(Command::SwitchCrawler(true)),
        (b"disable", 2) => Ok(Command::SwitchCrawler(false)),
        (b"crawl", 3) => Ok(Command::Crawl(Classes::of(argument))),
        (b"metadump", 3) => Ok(Command::Dump(Dump::Metadata, Classes::of(argument))),
        (b"mgdump", 3) => Ok(Command::Dump(Dump::Get, Classes::of(argument))),
        (b"tocrawl", 3) => whole(argument).map(Command::CrawlerItems).ok_or(BAD_LINE),
        (b"sleep", 3) => match whole(argument).ok_or(BAD_LINE)? {
            sleep @ 0..=CRAWLER_SLEEP_MAX => Ok(Command::CrawlerSleep(sleep)),
            _ => Err("CLIENT_ERROR sleep must be one second or less"),
        },
        _ => Err(UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<Result<Command, &'static str>> {
        parse(&Words::of(line.as_bytes()))
    }

    #[test]
    fn classes_are_lists_of_numbers() {
        for (list, classes) in [
            ("all", Classes::All),
            ("hash", Classes::Hash),
            ("1", Classes::These(1 << 1)),
            ("1,63", Classes::These(1 << 1 | 1 << 63)),
            ("0", Classes::Invalid),
            ("64", Classes::Invalid),
            ("1,x", Classes::Invalid),
            ("-1", Classes::Invalid),
            (",", Classes::Invalid),
        ] {
            let line = format!("lru_crawler crawl {list}");
            assert_eq!(parsed(&line), Some(Ok(Command::Crawl(classes))), "{list}");
        }
        assert!(Classes::These(1 << 1).contain(1) && !Classes::These(1 << 1).contain(2));
    }

    #[test]
    fn a_watcher_who_names_nothing_sees_fetches() {
        let both = Subjects::FETCHERS | Subjects::CONNECTIONS;
        for (line, subjects) in [
            ("watch", Some(Subjects::FETCHERS)),
            ("watch connevents fetchers", Some(both)),
            ("watch fetchers nothing", None),
        ] {
            assert_eq!(parsed(line), Some(Ok(Command::Watch(subjects))), "{line}");
        }
        assert!(both.include(Subjects::CONNECTIONS) && !both.include(Subjects::SYSTEM));
    }

    #[test]
    fn other_commands_are_no_business_of_this_room() {
        assert_eq!(parsed("get a"), None);
        assert_eq!(parsed("extstore"), None);
    }
}
