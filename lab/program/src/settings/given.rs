//! What the command line and the environment give.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use super::{Action, ENV_PREFIX, Kind, Origin, Program, Setting, Settings, did_you_mean, nearest};
use crate::exit::Failure;

/// What a bare flag of [`Kind::Count`] stands for while arguments are read.
const MORE: &str = "+1";

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
