//! The modes of the stage: how a session is kept, or that it is not.

use std::fmt;
use std::str::FromStr;

use program::Failure;
use serde::{Deserialize, Serialize};

/// The variable that chooses the mode, and its plain name as one types it before a command.
pub const VARIABLES: [&str; 2] = ["LNMT_MODE", "MODE"];

/// How sessions are kept.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub enum Mode {
    /// Not at all: requests go round robin, each server knows its own sessions only.
    #[default]
    RoundRobin,
    /// Bound to a server by the client's address.
    IpHash,
    /// Bound to a server by a cookie of the proxy.
    SessionSticky,
    /// In store nodes that all servers share, each session in two of them.
    Msm,
    /// In each server, with a copy in a store node that another server can take over.
    MsmSticky,
    /// On every server: each sends its changes to all others.
    Cluster,
    /// On two servers: one has the session, another its copy.
    Backup,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 7] = [
        Self::RoundRobin,
        Self::IpHash,
        Self::SessionSticky,
        Self::Msm,
        Self::MsmSticky,
        Self::Cluster,
        Self::Backup,
    ];

    /// The mode that the environment asks for, as the compose file does.
    pub fn of_environment() -> Result<Option<Self>, Failure> {
        let set = |name: &&str| std::env::var(name).is_ok_and(|text| !text.is_empty());
        let Some(name) = VARIABLES.into_iter().find(set) else {
            return Ok(None);
        };
        let mode = std::env::var(name).unwrap_or_default().parse();
        mode.map(Some)
            .map_err(|e: UnknownMode| Failure::Usage(format!("{name}: {e}")))
    }

    /// Those in which a session is in the memory of one server and nowhere else.
    pub const IN_ONE_SERVER: [Self; 3] = [Self::RoundRobin, Self::IpHash, Self::SessionSticky];

    /// Whether store nodes have the sessions.
    pub fn stores(self) -> bool {
        matches!(self, Self::Msm | Self::MsmSticky)
    }

    /// Whether the servers are members of a cluster, and send their sessions to one another.
    pub fn replicates(self) -> bool {
        matches!(self, Self::Cluster | Self::Backup)
    }

    /// Whether our application server can be in this mode.
    pub fn is_built(self) -> bool {
        let name = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(self.name());
        appserver::config::Mode::deserialize(name).is_ok()
    }

    /// The name that settings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::IpHash => "ip_hash",
            Self::SessionSticky => "session_sticky",
            Self::Msm => "msm",
            Self::MsmSticky => "msm_sticky",
            Self::Cluster => "cluster",
            Self::Backup => "backup",
        }
    }

    /// Whether the proxy promises to bring a client back to its server.
    pub fn binds(self) -> bool {
        match self {
            // What msm_sticky binds is a session: whoever logs out is a new client, and may land elsewhere.
            Self::RoundRobin | Self::Msm | Self::MsmSticky | Self::Cluster | Self::Backup => false,
            Self::IpHash | Self::SessionSticky => true,
        }
    }

    /// What somebody who reloads the page sees, in one line.
    pub fn what_to_expect(self) -> &'static str {
        match self {
            Self::RoundRobin => {
                "each reload changes the server, red A, blue B, and gives a new session ID"
            }
            Self::IpHash => {
                "reloads keep server and session ID; every browser of this machine gets the same server"
            }
            Self::SessionSticky => {
                "reloads keep server and session ID; another browser may get the other server"
            }
            Self::Msm => {
                "each reload changes the server and keeps the session ID, which names a store node: …-n1 or …-n2"
            }
            Self::MsmSticky => {
                "reloads keep server and session ID; when the server dies the other goes on with the session"
            }
            Self::Cluster => {
                "each reload changes the server and keeps the session; its ID is the same up to the route, .WEB1 or .WEB2"
            }
            Self::Backup => {
                "as cluster; the session is on the server that answered last and on one other"
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that names no mode of this stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownMode {
    /// No such mode.
    #[error(
        "there is no mode `{0}`; use one of round_robin (alias none), ip_hash, session_sticky, cluster, backup, msm, msm_sticky"
    )]
    NoSuch(String),
    /// A mode of the experiment that this stage has not got.
    #[error(
        "the mode `{0}` is not built yet; use one of round_robin (alias none), ip_hash, session_sticky, cluster, backup, msm, msm_sticky"
    )]
    NotBuilt(String),
}

/// Modes of the experiment that keep sessions in other ways.
const NOT_BUILT: [&str; 1] = ["persistent"];

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        // `ip-hash` and `ip_hash` are the same word to whoever types it.
        let name = text.trim().replace('-', "_");
        if name == "none" {
            return Ok(Self::RoundRobin);
        }
        let found = Self::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| {
            if NOT_BUILT.contains(&name.as_str()) {
                UnknownMode::NotBuilt(name)
            } else {
                UnknownMode::NoSuch(text.to_owned())
            }
        })
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.name().to_owned()
    }
}

impl TryFrom<String> for Mode {
    type Error = UnknownMode;

    fn try_from(text: String) -> Result<Self, UnknownMode> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn names_are_read_back_and_strangers_refused() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!("none".parse(), Ok(Mode::RoundRobin));
        assert_eq!("session-sticky".parse(), Ok(Mode::SessionSticky));
        let error = "stiky".parse::<Mode>().expect_err("no such mode");
        assert!(error.to_string().contains("session_sticky"), "{error}");
        assert_eq!("msm-sticky".parse(), Ok(Mode::MsmSticky));
        let error = "persistent".parse::<Mode>().expect_err("not yet");
        assert!(error.to_string().contains("not built yet"), "{error}");
    }
}
