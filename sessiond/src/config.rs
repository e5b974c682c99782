//! The settings of `sessiond`, under memcached's names where they mean the same.

use std::net::SocketAddr;

use program::logging::LogFormat;
use program::{Failure, Size};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The smallest and the largest that an item may be allowed to grow, as memcached's `-I`.
const ITEM_SIZE_MAX_RANGE: (Size, Size) = (Size(1 << 10), Size(1 << 30));

/// The smallest memory limit that makes sense; memcached's `cache_memlimit` refuses less.
const MEMORY_LIMIT_MIN: Size = Size(8 << 20);

/// More worker threads than this help nobody (memcached warns beyond 64).
const THREADS_MAX: usize = 256;

/// How `sessiond` listens, what it may use and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port for clients.
    pub listen: SocketAddr,
    /// Address and port of the health pages and figures; empty: none.
    pub admin: String,
    /// The node's name in logs and figures.
    pub node_id: String,
    /// How much memory items may take (memcached's `-m`).
    pub memory_limit: MemoryLimit,
    /// How many clients may be connected (memcached's `-c`); one more is answered and closed.
    pub max_connections: usize,
    /// The largest item, counted as memcached counts: value, key and about 60 bytes (memcached's `-I`).
    pub item_size_max: Size,
    /// Worker threads (memcached's `-t`).
    pub threads: usize,
    /// How long connections may take to finish what they are doing when the process is asked to stop.
    pub grace_period: program::Duration,
    /// Log level or filter.
    pub log: String,
    /// How a log line is written.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 11211)),
            admin: String::new(),
            node_id: "n1".into(),
            memory_limit: MemoryLimit(Size(64 << 20)),
            max_connections: 1024,
            item_size_max: Size(1 << 20),
            threads: 4,
            grace_period: program::Duration::seconds(5),
            log: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

impl Config {
    /// Refuses what cannot work, with what to write instead.
    pub fn validate(&self) -> Result<(), Failure> {
        self.admin_address()?;
        let (least, most) = ITEM_SIZE_MAX_RANGE;
        if self.item_size_max < least || self.item_size_max > most {
            return Err(Failure::Usage(format!(
                "item_size_max = {} is out of range; write {least} to {most}",
                self.item_size_max
            )));
        }
        let memory = self.memory_limit.0;
        if memory < MEMORY_LIMIT_MIN {
            return Err(Failure::Usage(format!(
                "memory_limit = {memory} is too small; write at least {MEMORY_LIMIT_MIN}"
            )));
        }
        if self.item_size_max.0 > memory.0 / 2 {
            return Err(Failure::Usage(format!(
                "item_size_max = {} is more than half of memory_limit = {memory}; raise memory_limit or lower item_size_max",
                self.item_size_max
            )));
        }
        if self.threads == 0 || self.threads > THREADS_MAX {
            return Err(Failure::Usage(format!(
                "threads = {} is out of range; write 1 to {THREADS_MAX}",
                self.threads
            )));
        }
        if self.max_connections == 0 {
            return Err(Failure::Usage(
                "max_connections = 0 would refuse everybody; write at least 1".into(),
            ));
        }
        Ok(())
    }

    /// The address of the admin port; `None` when it is switched off.
    pub fn admin_address(&self) -> Result<Option<SocketAddr>, Failure> {
        if self.admin.is_empty() {
            return Ok(None);
        }
        self.admin.parse().map(Some).map_err(|_| {
            Failure::Usage(format!(
                "admin = \"{}\" is not an address; write IP:PORT such as 127.0.0.1:11231, or nothing to switch it off",
                self.admin
            ))
        })
    }
}

/// An amount of memory: a bare number is megabytes, as after memcached's `-m`; with a unit it is a [`Size`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit(pub Size);

/// Text, or a bare number, as TOML may hold either.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let megabytes = |number: u64| {
            let bytes = number.checked_mul(1 << 20);
            bytes
                .map(Size)
                .ok_or_else(|| de::Error::custom("more memory than there can be"))
        };
        let size = match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(number) => megabytes(number)?,
            TextOrNumber::Text(text) => match text.trim().parse() {
                Ok(number) => megabytes(number)?,
                Err(_) => text.parse().map_err(de::Error::custom)?,
            },
        };
        Ok(Self(size))
    }
}

impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, MemoryLimit};
    use program::Size;

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("valid")
    }

    #[test]
    fn the_sample_file_says_the_defaults() {
        let sample = include_str!("../sessiond.toml");
        assert_eq!(config(sample), Config::default());
        let names = toml::Table::try_from(Config::default()).expect("serializable");
        for name in names.keys() {
            assert!(
                sample.contains(&format!("\n{name} = ")),
                "{name} is missing"
            );
        }
    }

    #[test]
    fn a_bare_memory_limit_is_megabytes() {
        for (text, bytes) in [
            ("memory_limit = 64", 64 << 20),
            ("memory_limit = \"64\"", 64 << 20),
            ("memory_limit = \"64m\"", 64 << 20),
            ("memory_limit = \"1g\"", 1 << 30),
        ] {
            assert_eq!(
                config(text).memory_limit,
                MemoryLimit(Size(bytes)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(Config::default().validate().is_ok());
        for (text, named) in [
            ("memory_limit = 1", "memory_limit"),
            ("item_size_max = 100", "item_size_max"),
            ("item_size_max = \"40m\"", "item_size_max"),
            ("threads = 0", "threads"),
            ("max_connections = 0", "max_connections"),
            ("admin = \"somewhere\"", "admin"),
        ] {
            let error = config(text).validate().expect_err(text);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
