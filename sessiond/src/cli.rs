//! The command line of `sessiond`.

use std::ffi::OsString;
use std::process::ExitCode;

use program::settings::Action;
use program::signals::Signals;
use program::{Failure, Kind, Program, Setting, exit, healthcheck, logging, sockets};

use crate::config::Config;
use crate::server;

/// The simple settings, and the letters that memcached has for them.
const PROGRAM: Program = Program {
    name: "sessiond",
    about: "Keeps sessions in memory and speaks memcached's text protocol",
    after_help: "SIGTERM, SIGINT and SIGQUIT stop it: no new clients, requests already received are answered, at most \
                 grace_period long. Every setting is explained in sessiond.toml.",
    settings: &[
        Setting::new(
            "listen",
            Kind::Text,
            "IP:PORT",
            "Address and port for clients [127.0.0.1:11211]",
        )
        .short('l'),
        Setting::new(
            "admin",
            Kind::Text,
            "IP:PORT",
            "Address and port of /livez, /readyz, /status, /metrics; empty: none [none]",
        ),
        Setting::new(
            "node_id",
            Kind::Text,
            "NAME",
            "The node's name in logs and figures [n1]",
        ),
        Setting::new(
            "memory_limit",
            Kind::Text,
            "MEGABYTES",
            "Memory for items; also with a unit: 1g [64]",
        )
        .short('m'),
        Setting::new(
            "max_connections",
            Kind::Integer,
            "N",
            "Clients connected at the same time [1024]",
        )
        .short('c'),
        Setting::new(
            "item_size_max",
            Kind::Text,
            "SIZE",
            "The largest item, 1k to 1g [1m]",
        )
        .short('I'),
        Setting::new("threads", Kind::Integer, "N", "Worker threads [4]").short('t'),
        Setting::new(
            "grace_period",
            Kind::Text,
            "TIME",
            "How long a stop may take [5s]",
        ),
        Setting::new(
            "log",
            Kind::Text,
            "FILTER",
            "off, error, warn, info, debug, trace, or target=level [info]",
        ),
        Setting::new("log_format", Kind::Text, "FORMAT", "text or json [text]"),
    ],
};

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    exit::code(PROGRAM.name, start(arguments))
}

fn start(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let settings = PROGRAM.settings(arguments)?;
    let config: Config = settings.config()?;
    config.validate()?;
    match settings.action {
        Action::PrintConfig => print!("{}", settings.print(&config)?),
        Action::TestConfig => eprintln!("{}: the settings are good", PROGRAM.name),
        Action::Healthcheck => ask_for_health(&config)?,
        Action::Serve => serve(config)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks `/readyz` of the admin port, or `version` of the client port where there is no admin port.
fn ask_for_health(config: &Config) -> Result<(), Failure> {
    if let Some(admin) = config.admin_address()? {
        return healthcheck::http(admin, "/readyz");
    }
    let address = healthcheck::reachable(config.listen);
    match healthcheck::exchange(address, b"version\r\n") {
        Ok(answer) if answer.starts_with(b"VERSION ") => Ok(()),
        Ok(_) => Err(Failure::Failed(format!(
            "{address} does not answer as a memcached would"
        ))),
        Err(error) => Err(Failure::Failed(format!(
            "{address} does not answer: {error}"
        ))),
    }
}

fn serve(config: Config) -> Result<(), Failure> {
    logging::start(&config.log, config.log_format)?;
    sockets::raise_open_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::environment("cannot start the event loop", e))?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let listeners = server::bind(&config)?;
        server::serve(listeners, config, async move {
            signals.stop().await;
        })
        .await
    })
}

#[cfg(test)]
mod tests {
    use super::{Config, PROGRAM};
    use program::Size;

    #[test]
    fn memcached_s_letters_mean_what_they_mean_there() {
        let line = "sessiond -l 127.0.0.1:1 -m 128 -c 10 -I 2m -t 2";
        let settings = PROGRAM
            .settings(line.split(' ').map(Into::into).collect())
            .expect("valid");
        let config: Config = settings.config().expect("valid");
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.memory_limit.0, Size(128 << 20));
        assert_eq!(config.max_connections, 10);
        assert_eq!(config.item_size_max, Size(2 << 20));
        assert_eq!(config.threads, 2);
    }

    #[test]
    fn the_clap_command_is_consistent() {
        PROGRAM.command().debug_assert();
    }
}
