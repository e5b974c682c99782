//! msm's settings under msm's names, with the values of its manual's and the article's set-up as the defaults: two nodes,
//! non-sticky, written before the response leaves. Where msm only logs that a value is wrong, or fails later, it is refused here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::key::KEY_MAX;
use super::node::Nodes;
use super::pattern::{Pattern, PatternError};
use super::prefix::PrefixRule;
use crate::session::id::RANDOM_DIGITS;

/// The attribute format that is spoken.
const TRANSCODER: &str = "de.javakaffee.web.msm.JavaSerializationTranscoderFactory";

/// The largest time in milliseconds that a request may be made to wait by a setting.
const WAIT_MAX: u32 = 60_000;

/// The largest number of threads, and so of writes under way at once.
const THREADS_MAX: u16 = 1024;

/// The longest name and password: SASL PLAIN's own limit.
const LOGIN_MAX: usize = 255;

/// The attributes of msm's `<Manager>` element, and `behaviour`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct MsmSettings {
    /// `n1:host:11211,n2:host:11211`: the nodes in ring order.
    pub memcached_nodes: Nodes,
    /// Whether each server keeps its sessions and the nodes only hold a copy.
    pub sticky: bool,
    /// Sticky only: nodes, by id, that are used when no other is up; separated by spaces or commas.
    pub failover_nodes: String,
    /// Whether the response leaves before the session is stored.
    pub session_backup_async: bool,
    /// How long the response waits for storing, in milliseconds.
    pub session_backup_timeout: u32,
    /// Asynchronous only: writes under way at once; 0: one per core.
    pub backup_thread_count: u16,
    /// Which requests have the session to themselves.
    pub locking_mode: LockingMode,
    /// Seconds until the store frees a lock whose server died.
    pub lock_expiration: u32,
    /// Safe only: how long a request waits for a lock, in milliseconds.
    pub lock_timeout: u32,
    /// Safe only: what a request does that waited so long.
    pub lock_on_timeout: LockOnTimeout,
    /// Requests that read the session and never store it.
    pub request_uri_ignore_pattern: Pattern,
    /// Names of the attributes that are stored; empty: all.
    pub session_attribute_filter: Pattern,
    /// What keys begin with.
    #[serde(with = "as_text")]
    pub storage_key_prefix: PrefixRule,
    /// How long one command may take, and how long a request waits for a lock, in milliseconds.
    pub operation_timeout: u32,
    /// The protocol spoken with the nodes.
    pub memcached_protocol: MemcachedProtocol,
    /// For SASL, with the binary protocol only; empty: none.
    pub username: String,
    /// The same; never shown.
    #[serde(skip_serializing)]
    pub password: Secret,
    /// The form of the attributes; only Java's own is spoken.
    pub transcoder_factory_class: String,
    /// Whether the nodes are used at all; sticky only. Can be switched at run time.
    pub enabled: bool,
    /// Whether figures are collected.
    pub enable_statistics: bool,
    /// How closely msm is followed.
    pub behaviour: Behaviour,
}

impl Default for MsmSettings {
    fn default() -> Self {
        let pattern = |text| Pattern::new(text).expect("a constant that tests compile");
        Self {
            memcached_nodes: "n1:192.168.23.180:11211,n2:192.168.23.181:11211"
                .parse()
                .expect("a constant that tests parse"),
            sticky: false,
            failover_nodes: String::new(),
            session_backup_async: false,
            session_backup_timeout: 100,
            backup_thread_count: 0,
            locking_mode: LockingMode::UriPattern(pattern("/path1|/path2")),
            lock_expiration: 5,
            lock_timeout: 10_000,
            lock_on_timeout: LockOnTimeout::Fail,
            request_uri_ignore_pattern: pattern(r".*\.(ico|png|gif|jpg|css|js)$"),
            session_attribute_filter: Pattern::default(),
            storage_key_prefix: PrefixRule::default(),
            operation_timeout: 1000,
            memcached_protocol: MemcachedProtocol::Text,
            username: String::new(),
            password: Secret::default(),
            transcoder_factory_class: TRANSCODER.into(),
            enabled: true,
            enable_statistics: true,
            behaviour: Behaviour::Safe,
        }
    }
}

/// Text that no log shows.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

/// How closely msm is followed. Names, keys and bytes are the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// Command for command, with what it loses.
    Msm,
    /// The same records, and nothing acknowledged is lost.
    Safe,
}

/// What a request does that did not get a lock in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockOnTimeout {
    /// Waits on, up to a minute in all, and then fails.
    Wait,
    /// Is answered with 503.
    Fail,
    /// Goes on without the lock; its changes are merged.
    Proceed,
}

/// The protocol spoken with the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemcachedProtocol {
    /// Lines.
    Text,
    /// Packets; needed for a user name.
    Binary,
}

/// Which requests have the session to themselves.
#[derive(Debug, Clone, PartialEq)]
pub enum LockingMode {
    /// None.
    None,
    /// All that load it.
    All,
    /// Those that were not seen to only read.
    Auto,
    /// Those that the application names.
    App,
    /// Those that match.
    UriPattern(Pattern),
    /// Safe only: none; changes of parallel requests are merged, attribute by attribute.
    Merge,
}

/// A locking mode that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockingModeError {
    /// Not a word of msm.
    #[error("lockingMode `{0}` is unknown; use none, merge, auto, all, app or uriPattern:REGEX")]
    Unknown(String),
    /// The expression.
    #[error("lockingMode: {0}")]
    Pattern(#[from] PatternError),
}

impl FromStr for LockingMode {
    type Err = LockingModeError;

    fn from_str(text: &str) -> Result<Self, LockingModeError> {
        Ok(match text {
            "" | "none" => Self::None,
            "all" => Self::All,
            "auto" => Self::Auto,
            "app" => Self::App,
            "merge" => Self::Merge,
            _ => match text.strip_prefix("uriPattern:") {
                Some(pattern) if !pattern.is_empty() => Self::UriPattern(Pattern::new(pattern)?),
                _ => return Err(LockingModeError::Unknown(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for LockingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::Auto => f.write_str("auto"),
            Self::App => f.write_str("app"),
            Self::Merge => f.write_str("merge"),
            Self::UriPattern(pattern) => write!(f, "uriPattern:{pattern}"),
        }
    }
}

impl Serialize for LockingMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LockingMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_text::deserialize(deserializer)
    }
}

/// Settings that cannot be used together or at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    pub(super) fn new(message: String) -> Self {
        Self(message)
    }
}

impl MsmSettings {
    /// Refuses what cannot work; says what to do. `host` and `contexts` are those of the server, `route` is its `jvm_route`.
    pub fn check(&self, host: &str, contexts: &[String], route: &str) -> Result<(), SettingsError> {
        let wrong = |message: String| Err(SettingsError(message));
        for (name, value, max) in [
            (
                "sessionBackupTimeout",
                self.session_backup_timeout,
                WAIT_MAX,
            ),
            ("operationTimeout", self.operation_timeout, WAIT_MAX),
            ("lockExpiration", self.lock_expiration, 3600),
            ("lockTimeout", self.lock_timeout, WAIT_MAX),
        ] {
            if !(1..=max).contains(&value) {
                return wrong(format!("{name} = {value}: use 1 to {max}"));
            }
        }
        if self.backup_thread_count > THREADS_MAX {
            let count = self.backup_thread_count;
            return wrong(format!(
                "backupThreadCount = {count}: use 0 to {THREADS_MAX}"
            ));
        }
        self.failover_places()?;
        if self.transcoder_factory_class != TRANSCODER {
            return wrong(format!(
                "transcoderFactoryClass = `{}`: only {TRANSCODER} can be spoken; set it on the other servers too",
                self.transcoder_factory_class
            ));
        }
        if self.behaviour == Behaviour::Msm && self.locking_mode == LockingMode::Merge {
            return wrong("lockingMode = merge: msm merges nothing; use behaviour = safe".into());
        }
        let binary = self.memcached_protocol == MemcachedProtocol::Binary;
        if self.username.is_empty() != self.password.0.is_empty() {
            return wrong("username and password belong together: set both or none".into());
        }
        for (name, text) in [("username", &self.username), ("password", &self.password.0)] {
            if text.len() > LOGIN_MAX || text.contains('\0') {
                return wrong(format!(
                    "{name}: use at most {LOGIN_MAX} bytes, and no zero byte, which ends it in SASL"
                ));
            }
        }
        if !self.username.is_empty() && !binary {
            return wrong("username needs memcachedProtocol = binary".into());
        }
        if !self.enabled && !self.sticky {
            return wrong("enabled = false needs sticky = true: without a store no other server would know the session".into());
        }
        if self.locking_mode == LockingMode::App {
            return wrong(
                "lockingMode = app: msm itself does not start with it; use another mode".into(),
            );
        }
        let ids = self.memcached_nodes.all().iter().map(|node| node.id.len());
        let suffix = 2 + ids.max().unwrap_or(0) + route.len();
        for context in contexts {
            let prefix = self.storage_key_prefix.prefix(host, context);
            if let Some(fault) = prefix.fault() {
                return wrong(fault.to_string());
            }
            let longest =
                "bak:validity:".len() + 2 * prefix.as_str().len() + RANDOM_DIGITS + suffix;
            if longest > KEY_MAX {
                return wrong(format!(
                    "keys of {context} would have {longest} bytes, memcached takes {KEY_MAX}: use shorter node ids, a shorter \
                     jvm_route or a shorter storageKeyPrefix"
                ));
            }
        }
        Ok(())
    }

    /// The places of the failover nodes in [`MsmSettings::memcached_nodes`].
    pub fn failover_places(&self) -> Result<Vec<usize>, SettingsError> {
        let wrong = |message: String| Err(SettingsError(message));
        let mut places = Vec::new();
        for id in self
            .failover_nodes
            .split([' ', ','])
            .filter(|id| !id.is_empty())
        {
            match self.memcached_nodes.find(id) {
                None => {
                    let nodes = &self.memcached_nodes;
                    return wrong(format!(
                        "failoverNodes: `{id}` is none of memcachedNodes = {nodes}"
                    ));
                }
                Some(place) if places.contains(&place) => {
                    return wrong(format!("failoverNodes names `{id}` twice; name it once"));
                }
                Some(place) => places.push(place),
            }
        }
        if !places.is_empty() && !self.sticky {
            return wrong("failoverNodes needs sticky = true: non-sticky sessions have a copy on the next node".into());
        }
        if !places.is_empty() && places.len() == self.memcached_nodes.all().len() {
            return wrong(
                "failoverNodes names all of memcachedNodes: leave one for everyday use".into(),
            );
        }
        Ok(places)
    }

    /// Whether an attribute of that name is stored.
    pub fn stores(&self, attribute: &str) -> bool {
        let filter = &self.session_attribute_filter;
        !filter.is_set() || filter.matches(attribute)
    }
}

/// Values that are text in TOML.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
