//! memcached's `-o`: names and values with commas between them, each a setting of ours or without meaning here.

use program::settings::{Origin, Settings, nearest};
use program::{Failure, Kind};
use toml::Value;

use super::options::WithoutEffect;

/// What `--help` says below the settings.
pub(super) const HELP: &str = "\
Extended options (-o) that mean something: idle_timeout=SECONDS, ssl_chain_cert=FILE, ssl_key=FILE, \
ssl_verify_mode=MODE, ssl_ca_cert=FILE, ssl_min_version=VERSION. All others of memcached 1.6.18 are accepted and \
checked; the log says why they have no effect.

SIGTERM, SIGINT, SIGQUIT and SIGUSR1 stop it: no new clients, requests already received are answered, at most \
grace_period long; with a memory file the items are saved. SIGHUP reads the password file and the certificates again.

Every flag is also a variable (LNMT_MEMORY_LIMIT); and, but for -i, -o and those without effect, a name in the file of \
--config. Every setting is explained in sessiond.toml. Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 the environment is not \
as needed (a port is taken, a file cannot be read).";

/// What comes behind the name.
enum Takes {
    Nothing,
    Whole(std::ops::RangeInclusive<i64>),
    Fraction,
    Text,
    OneOf(&'static [&'static str]),
    /// A number or nothing.
    Maybe,
}

enum Meaning {
    /// A setting of this name.
    Sets(&'static str, Kind),
    /// Nothing, and why.
    Nothing(&'static str),
}

use Meaning::{Nothing as No, Sets};
use Takes::{Fraction, Maybe, Nothing, OneOf, Text, Whole};

const ANY: Takes = Whole(0..=i64::MAX);
const PERCENT: Takes = Whole(1..=80);

const TABLE: &str = "the table grows by itself";
const SLABS: &str = "there are no slab classes";
const LISTS: &str = "eviction and expiry have no lists to tune";
const CRAWLER: &str = "expired items go by themselves";
const LOGBUF: &str = "the buffers of watchers have a fixed bound";
const FLASH: &str = "items are kept in memory only";
const RUSTLS: &str = "rustls decides it";

/// Every extended option of memcached 1.6.18.
const OPTIONS: &[(&str, Takes, Meaning)] = &[
    (
        "idle_timeout",
        Whole(0..=u32::MAX as i64),
        Sets("idle_timeout", Kind::Integer),
    ),
    ("ssl_chain_cert", Text, Sets("ssl_chain_cert", Kind::Text)),
    ("ssl_key", Text, Sets("ssl_key", Kind::Text)),
    (
        "ssl_verify_mode",
        Whole(0..=3),
        Sets("ssl_verify_mode", Kind::Integer),
    ),
    ("ssl_ca_cert", Text, Sets("ssl_ca_cert", Kind::Text)),
    (
        "ssl_min_version",
        Whole(0..=3),
        Sets("ssl_min_version", Kind::Integer),
    ),
    ("ssl_keyformat", OneOf(&["PEM"]), No("PEM is the only one")),
    (
        "ssl_ciphers",
        Text,
        No("rustls has only suites that are held to be safe"),
    ),
    ("ssl_wbuf_size", ANY, No(RUSTLS)),
    ("ssl_session_cache", Nothing, No(RUSTLS)),
    ("ssl_kernel_tls", Nothing, No(RUSTLS)),
    (
        "maxconns_fast",
        Nothing,
        No("a client too many is always told so at once"),
    ),
    (
        "no_maxconns_fast",
        Nothing,
        No("a client too many is always told so at once"),
    ),
    ("hashpower", Whole(12..=32), No(TABLE)),
    ("no_hashexpand", Nothing, No(TABLE)),
    (
        "hash_algorithm",
        OneOf(&["jenkins", "murmur3", "xxh3"]),
        No("the hash is seeded at each start"),
    ),
    ("tail_repair_time", Whole(10..=i64::MAX), No(LISTS)),
    ("slab_reassign", Nothing, No(SLABS)),
    ("no_slab_reassign", Nothing, No(SLABS)),
    ("slab_automove", Maybe, No(SLABS)),
    ("no_slab_automove", Nothing, No(SLABS)),
    ("slab_automove_ratio", Fraction, No(SLABS)),
    ("slab_automove_window", ANY, No(SLABS)),
    ("slab_automove_freeratio", Fraction, No(SLABS)),
    ("slab_sizes", Text, No(SLABS)),
    ("slab_chunk_max", ANY, No(SLABS)),
    ("no_chunked_items", Nothing, No(SLABS)),
    ("lru_crawler", Nothing, No(CRAWLER)),
    ("no_lru_crawler", Nothing, No(CRAWLER)),
    ("lru_crawler_sleep", Whole(0..=1_000_000), No(CRAWLER)),
    ("lru_crawler_tocrawl", ANY, No(CRAWLER)),
    ("lru_maintainer", Nothing, No(LISTS)),
    ("no_lru_maintainer", Nothing, No(LISTS)),
    ("hot_lru_pct", PERCENT, No(LISTS)),
    ("warm_lru_pct", PERCENT, No(LISTS)),
    ("hot_max_factor", Fraction, No(LISTS)),
    ("warm_max_factor", Fraction, No(LISTS)),
    ("temporary_ttl", ANY, No(LISTS)),
    (
        "track_sizes",
        Nothing,
        No("sizes are counted when they are asked for"),
    ),
    ("watcher_logbuf_size", ANY, No(LOGBUF)),
    ("worker_logbuf_size", ANY, No(LOGBUF)),
    (
        "read_buf_mem_limit",
        ANY,
        No("the buffers are counted against the memory limit"),
    ),
    (
        "resp_obj_mem_limit",
        ANY,
        No("the buffers are counted against the memory limit"),
    ),
    (
        "inline_ascii_resp",
        Nothing,
        No("responses are made when they are sent"),
    ),
    (
        "no_inline_ascii_resp",
        Nothing,
        No("responses are made when they are sent"),
    ),
    (
        "modern",
        Nothing,
        No("it switches nothing in 1.6.18 either"),
    ),
    ("no_modern", Nothing, No(LISTS)),
    (
        "drop_privileges",
        Nothing,
        No("use --user, or the service manager's sandbox"),
    ),
    (
        "no_drop_privileges",
        Nothing,
        No("no privileges are dropped unless --user says so"),
    ),
    ("sock_cookie_id", ANY, No("sockets carry no cookie")),
    ("ext_path", Text, No(FLASH)),
    ("ext_page_size", ANY, No(FLASH)),
    ("ext_wbuf_size", ANY, No(FLASH)),
    ("ext_threads", ANY, No(FLASH)),
    ("ext_item_size", ANY, No(FLASH)),
    ("ext_item_age", ANY, No(FLASH)),
    ("ext_low_ttl", ANY, No(FLASH)),
    ("ext_drop_unread", Nothing, No(FLASH)),
    ("ext_recache_rate", ANY, No(FLASH)),
    ("ext_compact_under", ANY, No(FLASH)),
    ("ext_drop_under", ANY, No(FLASH)),
    ("ext_max_frag", Fraction, No(FLASH)),
    ("ext_max_sleep", ANY, No(FLASH)),
];

/// Turns what `-o` lists into settings; what means nothing here is told in `without_effect`.
pub(super) fn resolve(
    settings: &mut Settings,
    without_effect: &mut Vec<WithoutEffect>,
) -> Result<(), Failure> {
    let Some((Value::Array(listed), _)) = settings.argument("extended") else {
        return Ok(());
    };
    let listed: Vec<String> = listed
        .iter()
        .filter_map(|one| one.as_str().map(ToOwned::to_owned))
        .collect();
    for written in listed {
        let (name, text) = match written.split_once('=') {
            Some((name, text)) => (name, Some(text)),
            None => (written.as_str(), None),
        };
        let Some((_, takes, meaning)) = OPTIONS.iter().find(|(known, ..)| *known == name) else {
            let hint = nearest(name, OPTIONS.iter().map(|(known, ..)| *known))
                .map(|known| format!("; did you mean `{known}`?"))
                .unwrap_or_default();
            return Err(Failure::Usage(format!(
                "flag -o: unknown option `{name}`{hint}"
            )));
        };
        if !takes.accepts(text) {
            return Err(Failure::Usage(format!(
                "flag -o: `{written}` is not good; write {name}{}",
                takes.form()
            )));
        }
        match meaning {
            No(why) => without_effect.push(WithoutEffect {
                option: format!("-o {name}"),
                why,
            }),
            Sets(setting, kind) => {
                let text = text.unwrap_or_default();
                let value = match kind {
                    Kind::Integer => Value::Integer(text.parse().unwrap_or_default()),
                    _ => Value::String(text.to_owned()),
                };
                settings.set(setting, value, Origin::Flag(format!("-o {name}")))?;
            }
        }
    }
    Ok(())
}

impl Takes {
    fn accepts(&self, text: Option<&str>) -> bool {
        let whole = |text: &str| text.parse::<i64>();
        match (self, text) {
            (Nothing | Maybe, None) => true,
            (Nothing, Some(_)) | (_, None) => false,
            (Whole(range), Some(text)) => whole(text).is_ok_and(|number| range.contains(&number)),
            (Maybe, Some(text)) => whole(text).is_ok(),
            (Fraction, Some(text)) => text.parse::<f64>().is_ok_and(|number| number > 0.0),
            (Text, Some(text)) => !text.is_empty(),
            (OneOf(names), Some(text)) => names.contains(&text),
        }
    }

    /// How it is written, behind the name.
    fn form(&self) -> String {
        match self {
            Nothing => " without a value".to_owned(),
            Whole(range) if *range.end() == i64::MAX => format!("=N, N at least {}", range.start()),
            Whole(range) => format!("=N, N from {} to {}", range.start(), range.end()),
            Maybe => " or a number behind =".to_owned(),
            Fraction => "=X, X a number above 0".to_owned(),
            Text => "=TEXT".to_owned(),
            OneOf(names) => format!("={}", names.join(" or ")),
        }
    }
}
