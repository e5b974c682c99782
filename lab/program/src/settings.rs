//! Settings from four places, the later winning: defaults, TOML file, `LNMT_*` environment, flags.
//!
//! A program lists its simple settings once, in a table of [`Setting`]s; flag (`--client-max-body-size`), environment
//! variable (`LNMT_CLIENT_MAX_BODY_SIZE`) and TOML key (`client_max_body_size`, or a dotted [`Setting::path`]) follow
//! from the name. What has more structure than a simple setting lives in the file only.
//!
//! The program's `Config` is a serde struct with `#[serde(default, deny_unknown_fields)]`, a `Default` and a
//! `Serialize`: its defaults are the defaults, and `--print-config` prints it with the origin of each value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::exit::Failure;

/// Prefix of every environment variable that the programs read.
pub const ENV_PREFIX: &str = "LNMT_";

/// What a bare flag of [`Kind::Count`] stands for while arguments are read.
const MORE: &str = "+1";

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

/// One simple setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Snake-case name, from which flag and variable are made.
    pub name: &'static str,
    /// Dotted path of the TOML key; empty: the name itself.
    pub path: &'static str,
    /// One-letter flag where the real program has one (`-p` of memcached).
    pub short: Option<char>,
    /// What kind of value it takes.
    pub kind: Kind,
    /// Placeholder in the help (`ADDR:PORT`).
    pub value: &'static str,
    /// One sentence for the help, with the default.
    pub help: &'static str,
    /// Other long flags that mean the same (`--conn-limit` of memcached).
    pub aliases: &'static [&'static str],
    /// The heading in the help under which it stands; empty: with all others.
    pub group: &'static str,
    /// Whether it is only an argument: it has no place in the file, and the program asks [`Settings::argument`] for it.
    pub argument: bool,
}

impl Setting {
    /// A setting whose TOML key is its name.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            path: "",
            short: None,
            kind,
            value,
            help,
            aliases: &[],
            group: "",
            argument: false,
        }
    }

    /// A bare flag, off unless given.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Boolean, "BOOL", help)
    }

    /// The same under another TOML path.
    pub const fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    /// The same with a one-letter flag.
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// The same with other long flags.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The same under a heading of the help.
    pub const fn group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    /// The same as a mere argument, see [`Setting::argument`].
    pub const fn argument(mut self) -> Self {
        self.argument = true;
        self
    }

    fn toml_path(&self) -> &'static str {
        if self.path.is_empty() {
            self.name
        } else {
            self.path
        }
    }

    fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    fn variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_ascii_uppercase())
    }
}

/// The kind of a setting's value, which decides how its text becomes TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text; also sizes, durations, addresses and names, which `Config` parses itself.
    Text,
    /// Comma-separated text; the flag may be repeated.
    List,
    /// How many times the bare flag is given (`-vv`); a number in the file and the environment.
    Count,
    /// A whole number.
    Integer,
    /// `true`/`false`, `on`/`off`, `yes`/`no`, `1`/`0`; the bare flag means true.
    Boolean,
    /// Text from the variable itself or from the file that `..._FILE` names; never printed.
    Secret,
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

impl Program {
    /// Reads the command line, the environment and the file. `arguments` begins with the program's name.
    ///
    /// `--help` and `--version` print and end the process, as clap does.
    pub fn settings(&self, arguments: Vec<OsString>) -> Result<Settings, Failure> {
        let matches = self
            .command()
            .try_get_matches_from(arguments)
            .map_err(|error| {
                if error.use_stderr() {
                    return Failure::Usage(format!(
                        "{}; `{} --help` lists what there is",
                        one_line(&error.render().to_string()),
                        self.name
                    ));
                }
                error.exit()
            })?;
        self.refuse_unknown_variables()?;
        let file = matches.get_one::<PathBuf>("config").cloned();
        let mut settings = Settings {
            action: action(&matches),
            file,
            table: Table::new(),
            overrides: Vec::new(),
            arguments: BTreeMap::new(),
            origins: BTreeMap::new(),
            secrets: self
                .settings
                .iter()
                .filter(|s| s.kind == Kind::Secret)
                .map(|s| s.toml_path().to_owned())
                .collect(),
        };
        for (setting, value, origin) in self.given(&matches)? {
            if setting.argument {
                settings.arguments.insert(setting.name, (value, origin));
            } else {
                let path = setting.toml_path().to_owned();
                settings.overrides.push((path, value, origin));
            }
        }
        settings.read_file_again()?;
        Ok(settings)
    }

    /// The clap command, for completions and manual pages too.
    pub fn command(&self) -> Command {
        let version = match self.version {
            "" => env!("CARGO_PKG_VERSION"),
            version => version,
        };
        let mut command = Command::new(self.name)
            .version(version)
            .args_override_self(true)
            .about(self.about)
            .after_help(self.after_help)
            .subcommand_negates_reqs(true)
            .arg(
                Arg::new("config")
                    .long("config")
                    .short('c')
                    .value_name("FILE")
                    .env(format!("{ENV_PREFIX}CONFIG"))
                    .hide_env_values(true)
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Read this TOML file; flags and environment win over it"),
            )
            .arg(
                Arg::new("print-config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Print the settings that hold and where each came from, then stop"),
            )
            .arg(
                Arg::new("test-config")
                    .long("test-config")
                    .short('t')
                    .action(ArgAction::SetTrue)
                    .help("Check the settings, then stop"),
            )
            .subcommand(
                Command::new("healthcheck")
                    .about("Ask the running node whether it is healthy: exit code 0 or 1"),
            );
        for setting in self.settings {
            let mut arg = Arg::new(setting.name)
                .long(setting.flag())
                .value_name(setting.value)
                .env(setting.variable())
                .hide_env_values(true)
                .help(setting.help)
                .allow_hyphen_values(setting.kind == Kind::Integer);
            arg = match setting.kind {
                Kind::Boolean | Kind::Count => arg
                    .num_args(0..=1)
                    .default_missing_value(if setting.kind == Kind::Count {
                        MORE
                    } else {
                        "true"
                    })
                    .require_equals(true),
                _ => arg,
            };
            if matches!(setting.kind, Kind::Count | Kind::List) {
                arg = arg.action(ArgAction::Append);
            }
            if !setting.group.is_empty() {
                arg = arg.help_heading(setting.group);
            }
            if !setting.aliases.is_empty() {
                arg = arg.visible_aliases(setting.aliases);
            }
            // A letter that a setting claims is taken from the common flags.
            if let Some(letter) = setting.short {
                command = match letter {
                    'c' => command.mut_arg("config", |a| a.short(None)),
                    't' => command.mut_arg("test-config", |a| a.short(None)),
                    _ => command,
                };
                arg = arg.short(letter);
            }
            command = command.arg(arg);
        }
        command
    }

    /// The settings that flags and environment give, with the value and its origin.
    fn given(&self, matches: &ArgMatches) -> Result<Vec<(&Setting, Value, Origin)>, Failure> {
        let mut found = Vec::new();
        for setting in self.settings {
            let origin = match matches.value_source(setting.name) {
                Some(ValueSource::CommandLine) => Origin::Flag(format!("--{}", setting.flag())),
                Some(ValueSource::EnvVariable) => Origin::Environment(setting.variable()),
                _ => match secret_from_file(setting)? {
                    Some((value, origin)) => {
                        found.push((setting, value, origin));
                        continue;
                    }
                    None => continue,
                },
            };
            let texts: Vec<&str> = matches
                .get_many::<String>(setting.name)
                .unwrap_or_default()
                .map(String::as_str)
                .collect();
            // An empty variable counts as unset, as `${NAME:-}` in a compose file gives one.
            let unset = matches!(origin, Origin::Environment(_)) && texts == [""];
            if texts.is_empty() || unset {
                continue;
            }
            let value = match setting.kind {
                // Each bare flag is one more.
                Kind::Count if texts.contains(&MORE) => {
                    let times = texts.iter().filter(|text| **text == MORE).count();
                    Value::Integer(i64::try_from(times).unwrap_or(i64::MAX))
                }
                kind => {
                    let text = texts.join(",");
                    value(kind, &text)
                        .map_err(|why| Failure::Usage(format!("{origin}: `{text}` {why}")))?
                }
            };
            found.push((setting, value, origin));
        }
        Ok(found)
    }

    fn refuse_unknown_variables(&self) -> Result<(), Failure> {
        let mut known: Vec<String> = self.settings.iter().map(Setting::variable).collect();
        known.extend(
            self.settings
                .iter()
                .filter(|s| s.kind == Kind::Secret)
                .map(|s| s.variable() + "_FILE"),
        );
        known.push(format!("{ENV_PREFIX}CONFIG"));
        for (name, _) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|n| n.starts_with(ENV_PREFIX)) else {
                continue;
            };
            if known.iter().any(|k| k == name) {
                continue;
            }
            let hint = nearest(name, known.iter().map(String::as_str));
            return Err(Failure::Usage(format!(
                "unknown environment variable {name}{}",
                did_you_mean(hint)
            )));
        }
        Ok(())
    }
}

/// Clap's message in one line: without its "error: " (the exit path puts the program's name in front), without usage.
fn one_line(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim);
    let told = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty());
    let told: Vec<&str> = told.collect();
    told.join("; ").trim_start_matches("error: ").to_owned()
}

fn action(matches: &ArgMatches) -> Action {
    if matches.subcommand_name() == Some("healthcheck") {
        Action::Healthcheck
    } else if matches.get_flag("print-config") {
        Action::PrintConfig
    } else if matches.get_flag("test-config") {
        Action::TestConfig
    } else {
        Action::Serve
    }
}

fn secret_from_file(setting: &Setting) -> Result<Option<(Value, Origin)>, Failure> {
    if setting.kind != Kind::Secret {
        return Ok(None);
    }
    let variable = setting.variable() + "_FILE";
    let Some(path) = std::env::var_os(&variable).filter(|p| !p.is_empty()) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Failure::environment(
            format!(
                "cannot read {} (named by {variable})",
                Path::new(&path).display()
            ),
            e,
        )
    })?;
    Ok(Some((
        Value::String(text.trim_end().to_owned()),
        Origin::Environment(variable),
    )))
}

fn value(kind: Kind, text: &str) -> Result<Value, &'static str> {
    match kind {
        Kind::Text | Kind::Secret => Ok(Value::String(text.to_owned())),
        Kind::List => {
            let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
            Ok(Value::Array(
                parts.map(|p| Value::String(p.to_owned())).collect(),
            ))
        }
        Kind::Integer | Kind::Count => text
            .trim()
            .parse()
            .map(Value::Integer)
            .map_err(|_| "is not a whole number"),
        Kind::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(Value::Boolean(true)),
            "false" | "off" | "no" | "0" => Ok(Value::Boolean(false)),
            _ => Err("is neither on nor off (true/false, on/off, yes/no, 1/0)"),
        },
    }
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

/// Calls `visit` with the dotted path of every value that is not a table; elements of table arrays count from 0.
fn walk(value: &Value, path: String, visit: &mut impl FnMut(&str, &Value)) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Table(table) => table
            .iter()
            .for_each(|(name, value)| walk(value, below(name), visit)),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, value)| walk(value, below(&i.to_string()), visit));
        }
        leaf => visit(&path, leaf),
    }
}

/// Puts `value` at a dotted path, making tables on the way; the error is the part that is in the way.
fn put(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let next = table
                .entry(first)
                .or_insert_with(|| Value::Table(Table::new()));
            put(
                next.as_table_mut().ok_or_else(|| first.to_owned())?,
                rest,
                value,
            )
        }
    }
}

/// Whether the dotted path `inner` is `outer` or lies below it.
fn below(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::{Kind, Origin, Program, Setting, nearest};
    use crate::units::{Duration, Size};
    use serde::{Deserialize, Serialize};
    use std::ffi::OsString;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        listen: Vec<String>,
        size: Size,
        verbose: u8,
        cookie: Cookie,
    }

    #[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Cookie {
        name: String,
        secure: bool,
        maxidle: Duration,
    }

    impl Default for Config {
        fn default() -> Self {
            Self {
                listen: vec!["127.0.0.1:8080".into()],
                size: Size(1 << 20),
                verbose: 0,
                cookie: Cookie::default(),
            }
        }
    }

    const PROGRAM: Program = Program {
        name: "sample",
        about: "",
        after_help: "",
        version: "",
        settings: &[
            Setting::new("listen", Kind::List, "ADDR", "").short('l'),
            Setting::new("size", Kind::Text, "SIZE", "")
                .short('t')
                .aliases(&["volume"]),
            Setting::new("verbose", Kind::Count, "N", "").short('v'),
            Setting::switch("licence", "").short('i').argument(),
            Setting::new("cookie_name", Kind::Text, "NAME", "").at("cookie.name"),
            Setting::new("cookie_secure", Kind::Boolean, "BOOL", "").at("cookie.secure"),
        ],
    };

    fn arguments(text: &str) -> Vec<OsString> {
        ["sample"]
            .into_iter()
            .chain(text.split_whitespace())
            .map(Into::into)
            .collect()
    }

    fn file(text: &str) -> (std::path::PathBuf, Removed) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "program-settings-{}-{}.toml",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("the temporary folder is writable");
        (path.clone(), Removed(path))
    }

    /// Removes the file at the end of the test.
    struct Removed(std::path::PathBuf);
    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn flags_win_over_the_file_and_origins_are_told() {
        let (path, _removed) =
            file("size = \"2m\"\n[cookie]\nname = \"route\"\nmaxidle = \"5m\"\n");
        let text = format!(
            "--config {} --size 3m --listen a:1,b:2 --cookie-secure",
            path.display()
        );
        let settings = PROGRAM.settings(arguments(&text)).expect("valid");
        let config: Config = settings.config().expect("valid");
        assert_eq!(config.listen, ["a:1", "b:2"]);
        assert_eq!(config.size, Size(3 << 20));
        assert_eq!(
            config.cookie,
            Cookie {
                name: "route".into(),
                secure: true,
                maxidle: Duration::seconds(300)
            }
        );
        assert_eq!(settings.origin("size"), Origin::Flag("--size".into()));
        assert_eq!(settings.origin("cookie.name"), Origin::File(path));
        assert_eq!(settings.origin("cookie.nothing"), Origin::Default);
        let printed = settings.print(&config).expect("printable");
        for line in [
            "listen = [\"a:1\", \"b:2\"]",
            "# flag --listen",
            "cookie.maxidle = \"5m\"",
        ] {
            assert!(printed.contains(line), "{line} is not in\n{printed}");
        }
        assert!(
            printed.parse::<toml::Table>().is_ok(),
            "what is printed is TOML:\n{printed}"
        );
    }

    #[test]
    fn letters_combine_and_repeat_as_getopt_has_them() {
        let given = "-vivt1m -l a:1 -l b:2,c:3 --volume 2m";
        let settings = PROGRAM.settings(arguments(given)).expect("valid");
        let config: Config = settings.config().expect("valid");
        assert_eq!(config.listen, ["a:1", "b:2", "c:3"]);
        assert_eq!(config.verbose, 2);
        assert_eq!(config.size, Size(2 << 20), "the last one wins");
        let licence = settings
            .argument("licence")
            .map(|(value, _)| value.as_bool());
        assert_eq!(licence, Some(Some(true)));
        assert_eq!(settings.argument("size"), None, "that is a setting");
    }

    #[test]
    fn a_wrong_argument_is_told_in_one_line() {
        for (given, told) in [("--lisen a:1", "--listen"), ("-t", "--size"), ("-q", "-q")] {
            let error = PROGRAM.settings(arguments(given)).expect_err(given);
            let text = error.to_string();
            assert!(text.contains(told) && !text.contains('\n'), "{text}");
            assert!(
                text.ends_with("`sample --help` lists what there is"),
                "{text}"
            );
        }
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        const SECRET: Program = Program {
            settings: &[Setting::new("key", Kind::Secret, "SECRET", "").at("cookie.key")],
            ..PROGRAM
        };
        let settings = SECRET.settings(arguments("")).expect("valid");
        let config: toml::Table = "[cookie]\nkey = \"s3cret\"\nmonkey = \"seen\"\n[[group]]\n[group.cookie]\nkey = \"s3cret\""
            .parse()
            .expect("TOML");
        let printed = settings.print(&config).expect("printable");
        assert_eq!(printed.matches("(hidden)").count(), 2, "{printed}");
        assert!(
            !printed.contains("s3cret") && printed.contains("seen"),
            "{printed}"
        );
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let flag = PROGRAM
            .settings(arguments("--lisen a:1"))
            .expect_err("unknown flag");
        assert!(flag.to_string().contains("--listen"), "{flag}");
        let (path, _removed) = file("[cookie]\nmaxidl = \"5m\"\n");
        let settings = PROGRAM
            .settings(arguments(&format!("--config {}", path.display())))
            .expect("readable");
        let key = settings.config::<Config>().expect_err("unknown key");
        assert!(key.to_string().contains("did you mean `maxidle`?"), "{key}");
        assert_eq!(nearest("zzz", ["listen"].into_iter()), None);
    }

    #[test]
    fn wrong_values_say_where_they_stand() {
        let error = PROGRAM
            .settings(arguments("--cookie-secure=maybe"))
            .expect_err("not a boolean");
        assert!(
            error.to_string().contains("flag --cookie-secure"),
            "{error}"
        );
        let settings = PROGRAM
            .settings(arguments("--size 1x"))
            .expect("text for now");
        let error = settings.config::<Config>().expect_err("not a size");
        assert!(error.to_string().contains("`1x` is not a size"), "{error}");
    }

    #[test]
    fn the_clap_command_is_consistent() {
        PROGRAM.command().debug_assert();
    }
}
