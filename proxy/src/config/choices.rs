//! The closed choices of the configuration.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The lab's modes that a proxy can tell apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No session keeping; alias `none`.
    #[default]
    RoundRobin,
    /// Binding by client address.
    IpHash,
    /// Binding by cookie.
    SessionSticky,
    /// Every server has every session: nothing is bound.
    Cluster,
    /// Two servers have each session, and any other fetches it: nothing is bound.
    Backup,
    /// The servers share their sessions: nothing is bound.
    Msm,
    /// Each server has its own sessions, and another can take them over: binding by the route in the session id, which then
    /// names the other.
    MsmSticky,
}

impl Mode {
    /// The balance that the mode means.
    pub fn balance(self) -> BalanceName {
        match self {
            Self::RoundRobin | Self::Cluster | Self::Backup | Self::Msm => BalanceName::RoundRobin,
            Self::MsmSticky => BalanceName::Route,
            Self::IpHash => BalanceName::IpHash,
            Self::SessionSticky => BalanceName::SessionSticky,
        }
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KNOWN: &str =
            "use one of round_robin, ip_hash, session_sticky, cluster, backup, msm, msm_sticky";
        match String::deserialize(deserializer)?.as_str() {
            "round_robin" | "none" => Ok(Self::RoundRobin),
            "ip_hash" => Ok(Self::IpHash),
            "session_sticky" => Ok(Self::SessionSticky),
            "cluster" => Ok(Self::Cluster),
            "backup" => Ok(Self::Backup),
            "msm" => Ok(Self::Msm),
            "msm_sticky" => Ok(Self::MsmSticky),
            later @ "persistent" => Err(de::Error::custom(format!(
                "mode `{later}` is not built yet: {KNOWN}"
            ))),
            other => Err(de::Error::custom(format!(
                "`{other}` is not a mode: {KNOWN}"
            ))),
        }
    }
}

/// How peers are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BalanceName {
    /// nginx's smooth weighted round robin.
    #[default]
    #[serde(alias = "none")]
    RoundRobin,
    /// nginx's `least_conn`.
    LeastConn,
    /// nginx's `ip_hash`.
    IpHash,
    /// HAProxy's `source`.
    Source,
    /// nginx's `hash KEY`.
    Hash,
    /// nginx's `hash KEY consistent`.
    ConsistentHash,
    /// Tengine's `session_sticky`.
    SessionSticky,
    /// The route in the session id.
    Route,
    /// nginx's `sticky learn`.
    Learn,
}

impl BalanceName {
    /// Its name; that of the mode, where there is such a mode.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConn => "least_conn",
            Self::IpHash => "ip_hash",
            Self::Source => "source",
            Self::Hash => "hash",
            Self::ConsistentHash => "consistent_hash",
            Self::SessionSticky => "session_sticky",
            Self::Route => "route",
            Self::Learn => "learn",
        }
    }
}

/// Which of the `X-Forwarded-*` fields are written: all (`true`), none (`false`), or a list of `for`, `proto`, `host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XForwarded {
    /// `X-Forwarded-For`.
    pub client: bool,
    /// `X-Forwarded-Proto`.
    pub proto: bool,
    /// `X-Forwarded-Host`.
    pub host: bool,
}

impl XForwarded {
    /// Every one.
    pub const ALL: Self = Self {
        client: true,
        proto: true,
        host: true,
    };

    /// None.
    pub const NONE: Self = Self {
        client: false,
        proto: false,
        host: false,
    };

    /// Any of them.
    pub fn is_on(self) -> bool {
        self != Self::NONE
    }

    fn words(self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.client, "for"),
            (self.proto, "proto"),
            (self.host, "host"),
        ];
        all.into_iter().filter_map(|(on, word)| on.then_some(word))
    }

    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut chosen = Self::NONE;
        for word in words.map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "for" => chosen.client = true,
                "proto" => chosen.proto = true,
                "host" => chosen.host = true,
                "true" | "on" | "yes" | "1" => chosen = Self::ALL,
                "false" | "off" | "no" | "0" => chosen = Self::NONE,
                other => {
                    return Err(format!(
                        "`{other}` is no X-Forwarded field: use on, off, or some of for, proto, host"
                    ));
                }
            }
        }
        Ok(chosen)
    }
}

impl Serialize for XForwarded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::ALL => serializer.serialize_bool(true),
            Self::NONE => serializer.serialize_bool(false),
            some => serializer.collect_seq(some.words()),
        }
    }
}

impl<'de> Deserialize<'de> for XForwarded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected true, false or a list of for, proto, host"
        )]
        enum Written {
            Switch(bool),
            Word(String),
            List(Vec<String>),
        }
        match Written::deserialize(deserializer)? {
            Written::Switch(true) => Ok(Self::ALL),
            Written::Switch(false) => Ok(Self::NONE),
            Written::Word(word) => Self::parse(word.split(',')).map_err(de::Error::custom),
            Written::List(words) => {
                Self::parse(words.iter().map(String::as_str)).map_err(de::Error::custom)
            }
        }
    }
}

/// Where the sticky mark is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CookieMode {
    /// A cookie of the proxy's own.
    #[default]
    Insert,
    /// The value of the application's cookie is replaced.
    Rewrite,
    /// The mark stands before the value of the application's cookie.
    Prefix,
}

/// Whether the upstream sees the sticky cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CookieOption {
    /// It does.
    #[default]
    Direct,
    /// It does not.
    Indirect,
}

/// How a peer is named in the sticky cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashName {
    /// By its name, signed.
    #[default]
    Hmac,
    /// By `id=`, else its address, in clear (Tengine).
    Plain,
    /// By the MD5 of its address (Tengine's default).
    Md5,
}

/// The attribute of that name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Sent with top-level navigation from elsewhere.
    #[default]
    Lax,
    /// Never sent from elsewhere.
    Strict,
    /// Sent from everywhere; browsers demand `Secure` with it.
    None,
    /// No attribute.
    Off,
}

/// When the cookie is marked `Secure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secure {
    /// When the client's connection is encrypted.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What an active check does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckType {
    /// No checks.
    #[default]
    Off,
    /// Connects.
    Tcp,
    /// Asks for a path.
    Http,
}
