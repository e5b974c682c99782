//! The command line of `sessiond`: arguments, then settings, then the node.

mod extended;
mod options;

use std::ffi::OsString;
use std::process::ExitCode;

use program::settings::{Action, Settings};
use program::signals::{Request, Signals};
use program::{Failure, Origin, exit, healthcheck, logging, sockets};
use tokio::signal::unix::{SignalKind, signal};
use toml::Value;
use tracing::info;

use crate::config::{Config, Protocol, is_empty};
use crate::daemon::{self, PidFile};
use crate::listener;
use crate::privileges;
use crate::reload::Reload;
use crate::server;
use options::{PROGRAM, WithoutEffect};

/// What `-i` prints.
const LICENCE: &str = concat!(
    env!("CARGO_PKG_NAME"),
    " ",
    env!("CARGO_PKG_VERSION"),
    "\n\nLicensed under ",
    env!("CARGO_PKG_LICENSE"),
    ", at your choice; the text is in the file LICENSE beside the sources.\n\
     It speaks memcached's protocols and contains none of memcached's code.\n"
);

/// How the answer to `version` begins.
const HEALTHY: [&[u8]; 2] = [b"VERSION ", b"CLIENT_ERROR unauthenticated"];

/// Where memcached looks for the users of SASL.
const SASL_PWDB: &str = "MEMCACHED_SASL_PWDB";

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    exit::code(PROGRAM.name, start(arguments))
}

fn start(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let mut settings = PROGRAM.settings(arguments)?;
    if settings.argument("license").is_some() {
        print!("{LICENCE}");
        return Ok(ExitCode::SUCCESS);
    }
    let without_effect = options::resolve(&mut settings)?;
    let config = config(&mut settings)?;
    match settings.action {
        Action::PrintConfig => print!("{}", settings.print(&config)?),
        Action::TestConfig => eprintln!("{}: the settings are good", PROGRAM.name),
        Action::Healthcheck => ask_for_health(&config)?,
        Action::Serve => return serve(config, &without_effect),
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings that hold, checked.
fn config(settings: &mut Settings) -> Result<Config, Failure> {
    let mut config: Config = settings.config()?;
    // memcached moves TCP to the UDP port when only that is named.
    if config.udp_port != 0 && settings.origin("port") == Origin::Default {
        let origin = settings.origin("udp_port");
        settings.set("port", Value::Integer(config.udp_port.into()), origin)?;
        config = settings.config()?;
    }
    if config.enable_sasl
        && is_empty(&config.sasl_pwdb)
        && let Ok(path) = std::env::var(SASL_PWDB)
    {
        let origin = Origin::Environment(SASL_PWDB.into());
        settings.set("sasl_pwdb", Value::String(path), origin)?;
        config = settings.config()?;
    }
    config.validate()?;
    Ok(config)
}

/// Asks `/readyz` of the admin port, or `version` of the client port where there is no admin port.
fn ask_for_health(config: &Config) -> Result<(), Failure> {
    if let Some(admin) = config.admin_address()? {
        return healthcheck::http(admin, "/readyz");
    }
    let in_the_clear = !config.enable_ssl && config.spoken() != Protocol::Binary;
    let address = listener::first_address(config)?.filter(|_| in_the_clear);
    let Some(address) = address else {
        return Err(Failure::Usage(
            "there is no TCP port that could be asked in plain text; write admin, such as 127.0.0.1:11231".into(),
        ));
    };
    let address = healthcheck::reachable(address);
    match healthcheck::exchange(address, b"version\r\n") {
        // With a password file it is healthy, too: it asks who we are.
        Ok(answer) if HEALTHY.iter().any(|start| answer.starts_with(start)) => Ok(()),
        Ok(_) => Err(Failure::Failed(format!(
            "{address} does not answer as a memcached would"
        ))),
        Err(error) => Err(Failure::Failed(format!(
            "{address} does not answer: {error}"
        ))),
    }
}

fn serve(config: Config, without_effect: &[WithoutEffect]) -> Result<ExitCode, Failure> {
    logging::start(config.log_filter(), config.log_format)?;
    let role = daemon::enter(&config)?;
    if let Some(code) = role.over() {
        return Ok(code);
    }
    for WithoutEffect { option, why } in without_effect {
        info!(option, why, "an option without effect");
    }
    sockets::raise_open_file_limit();
    privileges::raise(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::environment("cannot start the event loop", e))?;
    runtime.block_on(async {
        let signals = Signals::listen()?;
        let listeners = server::bind(&config)?;
        let reload = listeners.reload.clone();
        let _pid_file = PidFile::write(&config)?;
        privileges::drop_to_user(&config)?;
        let ready = {
            let config = config.clone();
            move || role.listening(&config)
        };
        server::serve_and_tell(listeners, config, ready, until_stop(signals, reload)).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Completes when the process shall stop. SIGUSR1 is memcached's graceful stop; every stop of ours is graceful.
async fn until_stop(mut signals: Signals, reload: Reload) {
    // No meaning here, and by default the end of a process.
    let _ignored = signal(SignalKind::user_defined2());
    loop {
        match signals.next().await {
            Request::Reload => reload.run(),
            Request::Terminate | Request::Interrupt | Request::Quit | Request::ReopenLogs => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, PROGRAM, config, options};
    use program::Size;

    fn parse(line: &str) -> Result<(Config, Vec<options::WithoutEffect>), String> {
        let line = line.split(' ').map(Into::into).collect();
        let mut settings = PROGRAM.settings(line).map_err(|e| e.to_string())?;
        let without_effect = options::resolve(&mut settings).map_err(|e| e.to_string())?;
        let config = config(&mut settings).map_err(|e| e.to_string())?;
        Ok((config, without_effect))
    }

    #[test]
    fn memcached_s_letters_mean_what_they_mean_there() {
        let line = "sessiond -l 127.0.0.1:1,localhost -l [::1] -p 11212 -U 0 -m 128 -c 10 -I 2m -t 2 -R 5 -b 7 -vvMCm64 \
                    -a 0770 -s /x -B ascii -F -X -W -A -D : -u root -o idle_timeout=3,ssl_key=k";
        let (config, without_effect) = parse(line).expect("valid");
        let listen: Vec<String> = config.listen.0.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:1", "localhost", "::1"]);
        assert_eq!((config.port, config.udp_port), (11212, 0));
        assert_eq!(config.memory_limit.0, Size(64 << 20), "the last one wins");
        assert_eq!(config.max_connections, 10);
        assert_eq!(config.item_size_max, Size(2 << 20));
        assert_eq!((config.threads, config.max_reqs_per_event), (2, 5));
        assert_eq!((config.listen_backlog, config.verbose), (7, 2));
        assert!(config.disable_evictions && config.disable_cas && config.enable_shutdown);
        assert!(config.disable_flush_all && config.disable_dumping && config.disable_watch);
        assert_eq!((config.unix_mask.0, config.user.as_str()), (0o770, "root"));
        assert_eq!(
            (config.idle_timeout, config.ssl_key.as_path()),
            (3, "k".as_ref())
        );
        assert_eq!(without_effect, []);
    }

    #[test]
    fn long_names_are_memcached_s_too() {
        let line = "sessiond --port=1 --conn-limit=2 --max-item-size 4k --memory-limit=32 --disable-evictions --verbose";
        let (config, _) = parse(line).expect("valid");
        assert_eq!((config.port, config.max_connections), (1, 2));
        assert_eq!(config.item_size_max, Size(4 << 10));
        assert!(config.disable_evictions && config.verbose == 1);
    }

    #[test]
    fn udp_alone_takes_tcp_along() {
        let (config, _) = parse("sessiond -U 11300").expect("valid");
        assert_eq!(config.port, 11300);
        let (config, _) = parse("sessiond -U 11300 -p 11301").expect("valid");
        assert_eq!((config.port, config.udp_port), (11301, 11300));
    }

    #[test]
    fn what_means_nothing_here_is_accepted_and_said() {
        let line =
            "sessiond -n 48 -f 1.25 -L -o modern,hashpower=20,slab_automove=1,hash_algorithm=xxh3";
        let (_, without_effect) = parse(line).expect("valid");
        let options: Vec<&str> = without_effect
            .iter()
            .map(|one| one.option.as_str())
            .collect();
        let extended = [
            "-o modern",
            "-o hashpower",
            "-o slab_automove",
            "-o hash_algorithm",
        ];
        let flags = [
            "--slab-min-size",
            "--slab-growth-factor",
            "--enable-largepages",
        ];
        assert_eq!(options, [&flags[..], &extended].concat());
    }

    #[test]
    fn wrong_values_say_what_to_write() {
        for (line, told) in [
            ("-f 1", "a number above 1"),
            ("-n 0", "a number of bytes"),
            ("-o hashpower=99", "hashpower=N, N from 12 to 32"),
            ("-o hash_algorithm=md5", "jenkins or murmur3 or xxh3"),
            ("-o no_modern=1", "without a value"),
            ("-o idletimeout=1", "did you mean `idle_timeout`?"),
            ("-p x", "--port: `x` is not a whole number"),
            ("-B meta", "`auto`"),
            ("-q", "'-q'"),
        ] {
            let error = parse(&format!("sessiond {line}")).expect_err(line);
            assert!(error.contains(told) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_clap_command_is_consistent() {
        PROGRAM.command().debug_assert();
    }
}
