//! The command line of `lab`, which also carries the other three programs.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use program::{Failure, exit};

use crate::process::leash;
use crate::{doctor, load, run, trace, up};

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let rest = arguments.get(2..).unwrap_or_default();
    let named = |name: &str| {
        let mut all = vec![OsString::from(name)];
        all.extend_from_slice(rest);
        all
    };
    // These read the rest of the line themselves.
    match arguments.get(1).and_then(|command| command.to_str()) {
        Some("proxy") => proxy::cli::run(named("proxy")),
        Some("appserver") => appserver::cli::run(named("appserver")),
        Some("sessiond") => sessiond::cli::run(named("sessiond")),
        Some(leash::SUBCOMMAND) => leash::run(rest),
        Some("up") => exit::code("lab up", up::run(named("lab up"))),
        Some("doctor") => exit::code("lab doctor", doctor::run(named("lab doctor"))),
        _ => exit::code("lab", own_command(&arguments)),
    }
}

fn own_command(arguments: &[OsString]) -> Result<ExitCode, Failure> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            return Err(Failure::Usage(
                text.trim_start_matches("error: ").trim_end().to_owned(),
            ));
        }
        Err(help) => help.exit(),
    };
    dispatch(&matches)
}

fn dispatch(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    match matches.subcommand() {
        Some(("run", matches)) => run::run(matches),
        Some(("load", matches)) => load::run(matches),
        Some(("trace", matches)) => trace::run(matches),
        Some(("list", matches)) => run::list(matches),
        Some((other, _)) => Err(Failure::Usage(format!(
            "there is no command `{other}`; `lab --help` lists them"
        ))),
        None => Err(Failure::Usage(
            "no command was given; `lab --help` lists them".to_owned(),
        )),
    }
}

/// Writes to standard output. Whoever reads may have read enough (`lab list | head -1`): that is no failure.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes progress to standard error, which may be closed as well.
pub fn note(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The clap command, for help, completions and manual pages.
pub fn command() -> Command {
    let carried = |name: &'static str, about: &'static str| {
        let rest = Arg::new("arguments")
            .num_args(0..)
            .allow_hyphen_values(true);
        Command::new(name).about(about).arg(rest)
    };
    Command::new("lab")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Sets the stage, plays the browsers, breaks the nodes, judges what was seen")
        .after_help(
            "Exit codes: 0 all as expected, 1 a verdict failed, 2 a verdict is unknown, or wrong usage,\n\
             3 the environment is not as needed (a port is taken, a node does not start), 130 interrupted.",
        )
        .subcommand(up::PROGRAM.command().name("up"))
        .subcommand(run::command())
        .subcommand(load::command())
        .subcommand(trace::command())
        .subcommand(run::list_command())
        .subcommand(doctor::PROGRAM.command().name("doctor"))
        .subcommand(carried("proxy", "The proxy (`lab proxy --help`)"))
        .subcommand(carried("appserver", "The application server (`lab appserver --help`)"))
        .subcommand(carried("sessiond", "The store node (`lab sessiond --help`)"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clap_command_is_consistent() {
        super::command().debug_assert();
    }
}
