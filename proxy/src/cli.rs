//! The command line of `proxy`: what to do, and the signals that tell a running proxy.

use std::cell::RefCell;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use program::settings::Action;
use program::signals::{Request, Signals};
use program::{Failure, Settings, exit, healthcheck, logging, sockets};

use crate::config::{Config, PROGRAM};
use crate::server::{Command, serve};

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    exit::code(PROGRAM.name, start(arguments))
}

fn start(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let settings = PROGRAM.settings(arguments)?;
    let config: Config = settings.config()?;
    match settings.action {
        Action::PrintConfig => print!("{}", settings.print(&config)?),
        Action::Healthcheck => healthcheck::http(admin(&config)?, "/readyz")?,
        Action::TestConfig => {
            logging::start(&config.log, config.log_format)?;
            in_runtime(crate::server::test(&config))?;
            println!("the configuration is valid");
        }
        Action::Serve => {
            logging::start(&config.log, config.log_format)?;
            sockets::raise_open_file_limit();
            in_runtime(work(settings, config))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn admin(config: &Config) -> Result<SocketAddr, Failure> {
    config.admin.parse().map_err(|_| {
        Failure::Usage(
            "there is no admin port to ask for the health; set admin to ADDR:PORT".into(),
        )
    })
}

fn in_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::environment("cannot start the runtime", e))?
        .block_on(work)
}

async fn work(settings: Settings, config: Config) -> Result<(), Failure> {
    let operator = Rc::new(RefCell::new(Operator {
        signals: Signals::listen()?,
        settings,
    }));
    let tell = |addresses: &[SocketAddr], admin: Option<SocketAddr>| {
        for address in addresses {
            tracing::info!(%address, "listening");
        }
        if let Some(address) = admin {
            tracing::info!(%address, "admin port");
        }
    };
    serve(&config, tell, || command(Rc::clone(&operator))).await
}

struct Operator {
    signals: Signals,
    settings: Settings,
}

/// The next thing that a signal asks for.
#[expect(
    clippy::await_holding_refcell_ref,
    reason = "one command is waited for at a time"
)]
async fn command(operator: Rc<RefCell<Operator>>) -> Command {
    let operator = &mut *operator.borrow_mut();
    match operator.signals.next().await {
        // The second one hurries; see `serve`.
        Request::Terminate | Request::Interrupt | Request::Quit => Command::Stop,
        Request::ReopenLogs => Command::ReopenLogs,
        Request::Reload => {
            let settings = &mut operator.settings;
            match settings.read_file_again().and_then(|()| settings.config()) {
                Ok(config) => Command::Reload(Box::new(config)),
                Err(error) => Command::Refuse(error),
            }
        }
    }
}
