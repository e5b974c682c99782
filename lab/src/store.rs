//! What the store nodes n1 and n2 are: ours, or the real memcached.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use program::Failure;
use serde::{Deserialize, Serialize};

use crate::topology::Kind;

/// The variable that chooses the stores, and its plain name as one types it before a command.
pub const VARIABLES: [&str; 2] = ["LNMT_STORE", "STORE"];

/// Which program keeps the sessions of n1 and n2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Store {
    /// Ours.
    #[default]
    Sessiond,
    /// The real one, as the distribution has it.
    Memcached,
}

impl Store {
    /// Every store.
    pub const ALL: [Self; 2] = [Self::Sessiond, Self::Memcached];

    /// The name that settings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessiond => "sessiond",
            Self::Memcached => "memcached",
        }
    }

    /// What the nodes n1 and n2 are then.
    pub fn kind(self) -> Kind {
        match self {
            Self::Sessiond => Kind::Sessiond,
            Self::Memcached => Kind::Memcached,
        }
    }

    /// Refuses a store that is not on this machine, with what to do about it.
    pub fn is_here(self) -> Result<(), Failure> {
        if self == Self::Sessiond || memcached().is_some() {
            return Ok(());
        }
        Err(Failure::Environment(
            "n1 and n2 shall be memcached, which is not installed (no `memcached` in PATH): \
             `apt-get install memcached`, or choose ours with --store sessiond or STORE=sessiond"
                .to_owned(),
        ))
    }
}

/// Where the real memcached is, if it is installed.
pub fn memcached() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("memcached"))
        .find(|file| file.is_file())
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no store `{0}`; use sessiond or memcached")]
pub struct UnknownStore(String);

impl FromStr for Store {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        let found = Self::ALL
            .into_iter()
            .find(|store| store.name() == text.trim());
        found.ok_or_else(|| UnknownStore(text.to_owned()))
    }
}

impl From<Store> for String {
    fn from(store: Store) -> Self {
        store.name().to_owned()
    }
}

impl TryFrom<String> for Store {
    type Error = UnknownStore;

    fn try_from(text: String) -> Result<Self, UnknownStore> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::Store;

    #[test]
    fn names_are_read_back_and_strangers_refused() {
        for store in Store::ALL {
            assert_eq!(store.to_string().parse(), Ok(store));
        }
        let error = "redis".parse::<Store>().expect_err("no such store");
        assert!(error.to_string().contains("sessiond or memcached"));
    }
}
