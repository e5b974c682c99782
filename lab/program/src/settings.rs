//! Settings from four places, the later winning: defaults, TOML file, `LNMT_*` environment, flags.
//!
//! A program lists its simple settings once, in a table of [`Setting`]s; flag (`--client-max-body-size`), environment
//! variable (`LNMT_CLIENT_MAX_BODY_SIZE`) and TOML key (`client_max_body_size`, or a dotted [`Setting::path`]) follow
//! from the name. What has more structure than a simple setting lives in the file only.
//!
//! The program's `Config` is a serde struct with `#[serde(default, deny_unknown_fields)]`, a `Default` and a
//! `Serialize`: its defaults are the defaults, and `--print-config` prints it with the origin of each value.

mod given;
mod paths;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::exit::Failure;

use paths::{below, put, walk};
pub use setting::{Kind, Setting};

/// Prefix of every environment variable that the programs read.
pub const ENV_PREFIX: &str = "LNMT_";

/// A program and its simple settings.
#[derive(Debug)]
pub struct Program {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// What `--help` says below the settings; may be empty.
    pub after_help: &'static str,
    /// What `--version` says behind the name; empty: the version of the workspace.
    pub version: &'static str,
    /// The settings that exist as flag and environment variable.
    pub settings: &'static [Setting],
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The TOML file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// What the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run the program.
    Serve,
    /// Print the settings that hold, with their origins, and stop.
    PrintConfig,
    /// Check the settings and stop (nginx's `-t`).
    TestConfig,
    /// Ask the running node for its health and stop.
    Healthcheck,
}

/// What was written where: the merged table and the origin of each value in it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to do.
    pub action: Action,
    /// The configuration file, where there is one; a reload reads it again.
    pub file: Option<PathBuf>,
    table: Table,
    overrides: Vec<(String, Value, Origin)>,
    origins: BTreeMap<String, Origin>,
    secrets: Vec<String>,
    arguments: BTreeMap<&'static str, (Value, Origin)>,
}

impl Settings {
    /// The typed configuration. An unknown name is refused with the nearest known one.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Value::Table(self.table.clone())
            .try_into()
            .map_err(|e: toml::de::Error| self.explain(&e))
    }

    /// Reads the file anew, with the environment and flags that the process was started with.
    pub fn read_file_again(&mut self) -> Result<(), Failure> {
        self.table = Table::new();
        self.origins = BTreeMap::new();
        if let Some(path) = self.file.clone() {
            let text = std::fs::read_to_string(&path).map_err(|e| {
                Failure::environment(
                    format!("cannot read the configuration file {}", path.display()),
                    e,
                )
            })?;
            self.table = text.parse().map_err(|e| {
                Failure::Usage(format!("{} is not valid TOML: {e}", path.display()))
            })?;
            let mut leaves = Vec::new();
            walk(
                &Value::Table(self.table.clone()),
                String::new(),
                &mut |path, _| leaves.push(path.to_owned()),
            );
            self.origins.extend(
                leaves
                    .into_iter()
                    .map(|leaf| (leaf, Origin::File(path.clone()))),
            );
        }
        for (path, value, origin) in self.overrides.clone() {
            put(&mut self.table, &path, value).map_err(|at| {
                Failure::Usage(format!(
                    "{origin} cannot be set: `{at}` in the file is not a table"
                ))
            })?;
            self.origins.retain(|leaf, _| !below(leaf, &path));
            self.origins.insert(path, origin);
        }
        Ok(())
    }

    /// The value of a mere argument and where it was given; `None` where it was not.
    pub fn argument(&self, name: &str) -> Option<(&Value, &Origin)> {
        let (value, origin) = self.arguments.get(name)?;
        Some((value, origin))
    }

    /// Puts a value as if a flag had given it; for programs that make one setting from another.
    pub fn set(&mut self, path: &str, value: Value, origin: Origin) -> Result<(), Failure> {
        self.overrides.push((path.to_owned(), value, origin));
        self.read_file_again()
    }

    /// Where the value at this dotted path came from.
    pub fn origin(&self, path: &str) -> Origin {
        let known = self
            .origins
            .iter()
            .find(|(leaf, _)| below(path, leaf) || below(leaf, path));
        known.map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// The whole of `config` as TOML, each value with its origin; secrets are hidden.
    pub fn print<T: Serialize>(&self, config: &T) -> Result<String, Failure> {
        let table = Table::try_from(config)
            .map_err(|e| Failure::Failed(format!("cannot print the configuration: {e}")))?;
        let mut lines = Vec::new();
        walk(&Value::Table(table), String::new(), &mut |path, value| {
            // A table that repeats the setting further down (`upstream.0.sticky.key`) repeats the secret.
            let secret = |s: &String| path == s || path.ends_with(&format!(".{s}"));
            let shown = if self.secrets.iter().any(secret) {
                "\"(hidden)\"".to_owned()
            } else {
                value.to_string()
            };
            lines.push((format!("{path} = {shown}"), self.origin(path)));
        });
        let width = lines
            .iter()
            .map(|(line, _)| line.len())
            .filter(|w| *w <= 60)
            .max()
            .unwrap_or(0);
        Ok(lines
            .iter()
            .map(|(line, origin)| format!("{line:width$}  # {origin}\n"))
            .collect())
    }

    /// A serde error in the user's words: which file, and the nearest known name.
    fn explain(&self, error: &toml::de::Error) -> Failure {
        let message = error.message();
        let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let hint = match names.split_first() {
            Some((unknown, known)) if message.starts_with("unknown ") => {
                nearest(unknown, known.iter().copied())
            }
            _ => None,
        };
        // In this file's own text the error knows its line; flags and environment have none.
        let place = match &self.file {
            Some(path) => format!("{}: ", path.display()),
            None => String::new(),
        };
        let path = error
            .to_string()
            .lines()
            .find_map(|l| l.strip_prefix("in ").map(|p| format!(" in {p}")))
            .unwrap_or_default();
        // The standard library's words for a text that is no `SocketAddr`.
        let cure = if message.starts_with("invalid socket address") {
            "; write IP:PORT, such as 127.0.0.1:8080"
        } else {
            ""
        };
        let hint = did_you_mean(hint);
        Failure::Usage(format!("{place}{message}{path}{cure}{hint}"))
    }
}

/// The known name that is most like `unknown`, if any is like it at all.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|name| (strsim::jaro_winkler(unknown, name), name));
    scored
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}
