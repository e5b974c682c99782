//! The parts of the configuration that are written as one line, as in nginx: `127.0.0.1:8443 ssl`,
//! `web1:8080 weight=3 backup`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use program::Duration;

use super::UpstreamConfig;

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenEntry {
    /// `ADDR:PORT`, `*:PORT` or `PORT`.
    pub address: String,
    /// Speaks TLS.
    pub ssl: bool,
    /// Expects the PROXY protocol.
    pub proxy_protocol: bool,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerEntry {
    /// `host:port`; without a port 80.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// Failures that pause it; none: the common setting.
    pub max_fails: Option<u32>,
    /// Window and pause; none: the common setting.
    pub fail_timeout: Option<Duration>,
    /// Requests at the same time; 0: no limit.
    pub max_conns: u32,
    /// Weight rises for so long after recovery; none: the common setting.
    pub slow_start: Option<Duration>,
    /// Only when no primary is usable.
    pub backup: bool,
    /// Takes nothing.
    pub down: bool,
    /// Bound sessions only.
    pub drain: bool,
    /// Its name in cookies, logs and `X-Upstream`.
    pub id: String,
    /// Its route in session ids (jvmRoute).
    pub route: String,
}

/// An element of `upstream`: a server of the simple case, or a whole group.
#[derive(Debug, Clone, PartialEq)]
pub enum UpstreamEntry {
    /// A server of the one group of the simple case.
    Server(ServerEntry),
    /// A `[[upstream]]` table.
    Group(Box<UpstreamConfig>),
}

impl ListenEntry {
    /// A plain HTTP address.
    pub fn plain(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            ssl: false,
            proxy_protocol: false,
        }
    }
}

impl Default for ServerEntry {
    fn default() -> Self {
        Self {
            address: String::new(),
            weight: 1,
            max_fails: None,
            fail_timeout: None,
            max_conns: 0,
            slow_start: None,
            backup: false,
            down: false,
            drain: false,
            id: String::new(),
            route: String::new(),
        }
    }
}

impl std::str::FromStr for ListenEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let address = words
            .next()
            .ok_or("an address to listen on is empty; write ADDR:PORT")?;
        let mut entry = Self::plain(address);
        for word in words {
            match word {
                "ssl" => entry.ssl = true,
                "proxy_protocol" => entry.proxy_protocol = true,
                other => {
                    return Err(format!(
                        "`{other}` after the address `{address}` is unknown; known are ssl and proxy_protocol"
                    ));
                }
            }
        }
        Ok(entry)
    }
}

impl fmt::Display for ListenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        if self.ssl {
            f.write_str(" ssl")?;
        }
        if self.proxy_protocol {
            f.write_str(" proxy_protocol")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for ListenEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for ListenEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for ServerEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let address = words
            .next()
            .ok_or("a server of an upstream is empty; write host:port")?;
        let mut entry = Self {
            address: address.to_owned(),
            ..Self::default()
        };
        for word in words {
            entry
                .parameter(word)
                .map_err(|why| format!("server `{address}`: parameter `{word}` {why}"))?;
        }
        Ok(entry)
    }
}

impl ServerEntry {
    fn parameter(&mut self, word: &str) -> Result<(), String> {
        fn number(value: &str) -> Result<u32, String> {
            value
                .parse()
                .map_err(|_| "is not a whole number".to_owned())
        }
        fn time(value: &str) -> Result<Duration, String> {
            value
                .parse()
                .map_err(|e: program::units::UnitError| e.to_string())
        }
        match word.split_once('=') {
            None => match word {
                "backup" => self.backup = true,
                "down" => self.down = true,
                "drain" => self.drain = true,
                _ => return Err(KNOWN_PARAMETERS.to_owned()),
            },
            Some((name, value)) => match name {
                "weight" => self.weight = number(value)?,
                "max_fails" => self.max_fails = Some(number(value)?),
                "fail_timeout" => self.fail_timeout = Some(time(value)?),
                "max_conns" => self.max_conns = number(value)?,
                "slow_start" => self.slow_start = Some(time(value)?),
                "id" => self.id = value.to_owned(),
                "route" => self.route = value.to_owned(),
                _ => return Err(KNOWN_PARAMETERS.to_owned()),
            },
        }
        Ok(())
    }
}

const KNOWN_PARAMETERS: &str = "is unknown; known are weight=, max_fails=, fail_timeout=, max_conns=, slow_start=, id=, route=, backup, down, drain";

/// A `[[upstream.server]]` table, field by field, so that unknown names are refused with the known ones.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    address: String,
    weight: Option<u32>,
    max_fails: Option<u32>,
    fail_timeout: Option<Duration>,
    max_conns: Option<u32>,
    slow_start: Option<Duration>,
    #[serde(default)]
    backup: bool,
    #[serde(default)]
    down: bool,
    #[serde(default)]
    drain: bool,
    #[serde(default)]
    id: String,
    #[serde(default)]
    route: String,
}

impl From<ServerTable> for ServerEntry {
    fn from(table: ServerTable) -> Self {
        Self {
            address: table.address,
            weight: table.weight.unwrap_or(1),
            max_fails: table.max_fails,
            fail_timeout: table.fail_timeout,
            max_conns: table.max_conns.unwrap_or(0),
            slow_start: table.slow_start,
            backup: table.backup,
            down: table.down,
            drain: table.drain,
            id: table.id,
            route: table.route,
        }
    }
}

impl<'de> Deserialize<'de> for ServerEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineOrTable;
        impl<'de> Visitor<'de> for LineOrTable {
            type Value = ServerEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a server as \"host:port\" or as a table with `address`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ServerEntry, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ServerEntry, A::Error> {
                ServerTable::deserialize(MapAccessDeserializer::new(map)).map(Into::into)
            }
        }
        deserializer.deserialize_any(LineOrTable)
    }
}

impl fmt::Display for ServerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        if self.weight != 1 {
            write!(f, " weight={}", self.weight)?;
        }
        if let Some(max_fails) = self.max_fails {
            write!(f, " max_fails={max_fails}")?;
        }
        if let Some(fail_timeout) = self.fail_timeout {
            write!(f, " fail_timeout={fail_timeout}")?;
        }
        if self.max_conns != 0 {
            write!(f, " max_conns={}", self.max_conns)?;
        }
        if let Some(slow_start) = self.slow_start {
            write!(f, " slow_start={slow_start}")?;
        }
        for (name, value) in [("id", &self.id), ("route", &self.route)] {
            if !value.is_empty() {
                write!(f, " {name}={value}")?;
            }
        }
        for (word, on) in [
            ("backup", self.backup),
            ("down", self.down),
            ("drain", self.drain),
        ] {
            if on {
                write!(f, " {word}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for ServerEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UpstreamEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineOrGroup;
        impl<'de> Visitor<'de> for LineOrGroup {
            type Value = UpstreamEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a server as \"host:port\" or an upstream as a table with `name` and `server`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UpstreamEntry, E> {
                text.parse().map(UpstreamEntry::Server).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UpstreamEntry, A::Error> {
                UpstreamConfig::deserialize(MapAccessDeserializer::new(map))
                    .map(|group| UpstreamEntry::Group(Box::new(group)))
            }
        }
        deserializer.deserialize_any(LineOrGroup)
    }
}

impl Serialize for UpstreamEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Server(server) => server.serialize(serializer),
            Self::Group(group) => group.serialize(serializer),
        }
    }
}
