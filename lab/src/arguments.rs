//! The arguments that `lab run` and `lab load` share: somebody else's site, the seed, the folder.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use program::Failure;

use crate::app::{self, App, Apps};
use crate::client::Site;
use crate::mode::Mode;
use crate::store::{self, Store};

/// The arguments that choose somebody else's site, for `run` and `load`.
pub fn site_arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("base-url")
                .long("base-url")
                .value_name("URL")
                .help("Play against this context, such as http://host:8080/jsp/; it must follow the JSON contract"),
        )
        .arg(
            Arg::new("mode")
                .long("mode")
                .value_name("MODE")
                .value_parser(value_parser!(Mode))
                .help("The mode: of the stage, or that the site at --base-url is in"),
        )
        .arg(
            Arg::new("forwarded-for")
                .long("forwarded-for")
                .action(ArgAction::SetTrue)
                .help("Tell each browser's address in X-Forwarded-For; the site must trust it"),
        )
        .arg(
            Arg::new("session-cookie")
                .long("session-cookie")
                .value_name("NAME")
                .default_value(crate::client::SESSION_COOKIE)
                .help("The name of the session cookie"),
        )
}

/// `--store`.
pub fn store_argument() -> Arg {
    Arg::new("store")
        .long("store")
        .value_name("STORE")
        .value_parser(value_parser!(Store))
        .help(
            "Put store nodes on the stage: sessiond, or the real memcached; STORE and LNMT_STORE do the same \
             [default: none where the mode needs none]",
        )
}

/// The store of `--store` or of the environment, if one was asked for; refused where it is not installed.
pub fn store(matches: &ArgMatches) -> Result<Option<Store>, Failure> {
    let store = match matches.get_one::<Store>("store") {
        Some(store) => Some(*store),
        None => of_environment(store::VARIABLES)?,
    };
    store.map_or(Ok(()), Store::is_here)?;
    Ok(store)
}

/// `--app-a` and `--app-b`.
pub fn app_arguments(command: Command) -> Command {
    let argument = |id: &'static str, help: &'static str| {
        Arg::new(id)
            .long(id)
            .value_name("PROGRAM")
            .value_parser(value_parser!(App))
            .conflicts_with("base-url")
            .help(help)
    };
    command
        .arg(argument(
            "app-a",
            "Make TomcatA an appserver, or the real tomcat; APP_A and LNMT_APP_A do the same [default: appserver]",
        ))
        .arg(argument(
            "app-b",
            "Make TomcatB an appserver, or the real tomcat; APP_B and LNMT_APP_B do the same [default: appserver]",
        ))
}

/// The application servers of `--app-a`, `--app-b` or of the environment; refused where they are not installed.
pub fn apps(matches: &ArgMatches) -> Result<Apps, Failure> {
    let app = |id, variables| match matches.get_one::<App>(id) {
        Some(app) => Ok(*app),
        None => of_environment(variables).map(Option::unwrap_or_default),
    };
    let apps = Apps {
        a: app("app-a", app::VARIABLES_A)?,
        b: app("app-b", app::VARIABLES_B)?,
    };
    apps.are_here()?;
    Ok(apps)
}

/// What the first of these variables that says something chooses.
fn of_environment<T: FromStr<Err: Display>>(variables: [&str; 2]) -> Result<Option<T>, Failure> {
    let text = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let told = variables
        .into_iter()
        .find_map(|name| Some((name, text(name)?)));
    let chosen = told.map(|(name, text)| {
        text.parse()
            .map_err(|e| Failure::Usage(format!("{name}: {e}")))
    });
    chosen.transpose()
}

/// `--seed`.
pub fn seed_argument() -> Arg {
    Arg::new("seed")
        .long("seed")
        .value_name("N")
        .value_parser(value_parser!(u64))
        .help(
            "Play the same again as the run with this seed [default: a new one, which is printed]",
        )
}

/// `--dir`.
pub fn dir_argument() -> Arg {
    Arg::new("dir")
        .long("dir")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("Make the folder of this run in DIR [default: lab-runs]")
}

/// The site of `--base-url`, where there is one.
pub async fn site(matches: &ArgMatches) -> Result<Option<Site>, Failure> {
    let Some(url) = matches.get_one::<String>("base-url") else {
        return Ok(None);
    };
    let mut site = Site::of_url(url).await?;
    site.forwarded_for = matches.get_flag("forwarded-for");
    if let Some(cookie) = matches.get_one::<String>("session-cookie") {
        site.cookie.clone_from(cookie);
    }
    Ok(Some(site))
}

/// The seed of `--seed`, or a new one.
pub fn seed(matches: &ArgMatches) -> u64 {
    // Six digits are enough to tell runs apart and short enough to type.
    let fresh = || fastrand::u64(..1_000_000);
    matches
        .get_one::<u64>("seed")
        .copied()
        .unwrap_or_else(fresh)
}
