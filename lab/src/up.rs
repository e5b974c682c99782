//! `lab up`: the whole stage on loopback, from one command, until Ctrl-C.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use program::settings::{Action, Origin, Settings};
use program::signals::{Request, Signals};
use program::{Failure, Kind, Program, Setting};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::app::{App, Apps};
use crate::cli::{note, say};
use crate::mode::Mode;
use crate::process::Ended;
use crate::stage::{self, Event, Stage, What, folder, holder};
use crate::store::Store;
use crate::tomcat;
use crate::topology::{Place, Topology};

/// Settings of `lab up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How sessions are kept.
    pub mode: Mode,
    /// What the store nodes are.
    pub store: Store,
    /// What TomcatA is.
    pub app_a: App,
    /// What TomcatB is.
    pub app_b: App,
    /// Where the proxy listens: the address for the browser.
    pub listen: SocketAddr,
    /// The proxy's admin port.
    pub admin: SocketAddr,
    /// Where TomcatA listens.
    pub tomcat_a: SocketAddr,
    /// TomcatA's admin port.
    pub tomcat_a_admin: SocketAddr,
    /// Where TomcatB listens.
    pub tomcat_b: SocketAddr,
    /// TomcatB's admin port.
    pub tomcat_b_admin: SocketAddr,
    /// Where TomcatA listens for other members of the cluster.
    pub tomcat_a_receiver: SocketAddr,
    /// Where TomcatB listens for other members of the cluster.
    pub tomcat_b_receiver: SocketAddr,
    /// Where the store node n1 listens.
    pub n1: SocketAddr,
    /// n1's admin port.
    pub n1_admin: SocketAddr,
    /// Where the store node n2 listens.
    pub n2: SocketAddr,
    /// n2's admin port.
    pub n2_admin: SocketAddr,
    /// Whether a node that dies is started again.
    pub restart: bool,
    /// Log level or filter of every node.
    pub log: String,
    /// Where the folder of this run is made; `None`: `lab-runs`.
    pub dir: Option<PathBuf>,
}

/// The default places, in the order of [`Topology::article`].
const PLACES: [Place; 5] = [
    Place::loopback(8080, 8090, 0),
    Place::loopback(8081, 8091, 4000),
    Place::loopback(8082, 8092, 4001),
    Place::loopback(11221, 11231, 0),
    Place::loopback(11222, 11232, 0),
];

impl Default for Config {
    fn default() -> Self {
        let [proxy, a, b, n1, n2] = PLACES;
        Self {
            mode: Mode::default(),
            store: Store::default(),
            app_a: App::default(),
            app_b: App::default(),
            listen: proxy.listen,
            admin: proxy.admin,
            tomcat_a: a.listen,
            tomcat_a_admin: a.admin,
            tomcat_b: b.listen,
            tomcat_b_admin: b.admin,
            tomcat_a_receiver: a.receiver,
            tomcat_b_receiver: b.receiver,
            n1: n1.listen,
            n1_admin: n1.admin,
            n2: n2.listen,
            n2_admin: n2.admin,
            restart: false,
            log: "info".to_owned(),
            dir: None,
        }
    }
}

impl Config {
    fn places(&self) -> [Place; 5] {
        let place = |listen, admin, receiver| Place {
            listen,
            admin,
            receiver,
        };
        [
            place(self.listen, self.admin, self.listen),
            place(self.tomcat_a, self.tomcat_a_admin, self.tomcat_a_receiver),
            place(self.tomcat_b, self.tomcat_b_admin, self.tomcat_b_receiver),
            place(self.n1, self.n1_admin, self.n1),
            place(self.n2, self.n2_admin, self.n2),
        ]
    }

    fn apps(&self) -> Apps {
        Apps {
            a: self.app_a,
            b: self.app_b,
        }
    }
}

/// Each address with the node that wants it and the setting that moves it.
pub(crate) fn addresses(config: &Config) -> [(&'static str, SocketAddr, &'static str); 12] {
    [
        ("proxy", config.listen, "listen"),
        ("proxy (admin)", config.admin, "admin"),
        ("TomcatA", config.tomcat_a, "tomcat_a"),
        ("TomcatA (admin)", config.tomcat_a_admin, "tomcat_a_admin"),
        ("TomcatB", config.tomcat_b, "tomcat_b"),
        ("TomcatB (admin)", config.tomcat_b_admin, "tomcat_b_admin"),
        (
            "TomcatA (members)",
            config.tomcat_a_receiver,
            "tomcat_a_receiver",
        ),
        (
            "TomcatB (members)",
            config.tomcat_b_receiver,
            "tomcat_b_receiver",
        ),
        ("n1", config.n1, "n1"),
        ("n1 (admin)", config.n1_admin, "n1_admin"),
        ("n2", config.n2, "n2"),
        ("n2 (admin)", config.n2_admin, "n2_admin"),
    ]
}

const ADDRESS: &str = "ADDR:PORT";

/// The command and its settings.
pub const PROGRAM: Program = Program {
    name: "lab up",
    about: "Starts proxy, TomcatA, TomcatB, n1 and n2 as processes on this machine, until Ctrl-C",
    after_help: "Each node's settings file and log are in the folder of the run, which is printed at the start.\n\
                 MODE chooses the mode like LNMT_MODE, as it does in the compose file, STORE the store, APP_A and APP_B the servers.\n\
                 Exit codes: 0 stopped by SIGTERM or SIGQUIT, 130 by Ctrl-C, 2 wrong usage, 3 a port is taken or a node does not start.",
    version: "",
    settings: &[
        Setting::new(
            "mode",
            Kind::Text,
            "MODE",
            "How sessions are kept: round_robin (none), ip_hash, session_sticky, cluster, backup, msm, msm_sticky [default: round_robin]",
        ),
        Setting::new(
            "store",
            Kind::Text,
            "STORE",
            "What n1 and n2 are: sessiond, or the real memcached [default: sessiond]",
        ),
        Setting::new(
            "app_a",
            Kind::Text,
            "APP",
            "What TomcatA is: appserver, or the real tomcat [default: appserver]",
        ),
        Setting::new(
            "app_b",
            Kind::Text,
            "APP",
            "What TomcatB is: appserver, or the real tomcat [default: appserver]",
        ),
        Setting::new(
            "listen",
            Kind::Text,
            ADDRESS,
            "Where the proxy listens, the address for the browser [default: 127.0.0.1:8080]",
        ),
        Setting::new(
            "admin",
            Kind::Text,
            ADDRESS,
            "The proxy's admin port [default: 127.0.0.1:8090]",
        ),
        Setting::new(
            "tomcat_a",
            Kind::Text,
            ADDRESS,
            "Where TomcatA listens [default: 127.0.0.1:8081]",
        ),
        Setting::new(
            "tomcat_a_admin",
            Kind::Text,
            ADDRESS,
            "TomcatA's admin port [default: 127.0.0.1:8091]",
        ),
        Setting::new(
            "tomcat_b",
            Kind::Text,
            ADDRESS,
            "Where TomcatB listens [default: 127.0.0.1:8082]",
        ),
        Setting::new(
            "tomcat_b_admin",
            Kind::Text,
            ADDRESS,
            "TomcatB's admin port [default: 127.0.0.1:8092]",
        ),
        Setting::new(
            "tomcat_a_receiver",
            Kind::Text,
            ADDRESS,
            "Where TomcatA listens for other members of a cluster [default: 127.0.0.1:4000]",
        ),
        Setting::new(
            "tomcat_b_receiver",
            Kind::Text,
            ADDRESS,
            "Where TomcatB listens for other members of a cluster [default: 127.0.0.1:4001]",
        ),
        Setting::new(
            "n1",
            Kind::Text,
            ADDRESS,
            "Where the store node n1 listens [default: 127.0.0.1:11221]",
        ),
        Setting::new(
            "n1_admin",
            Kind::Text,
            ADDRESS,
            "n1's admin port [default: 127.0.0.1:11231]",
        ),
        Setting::new(
            "n2",
            Kind::Text,
            ADDRESS,
            "Where the store node n2 listens [default: 127.0.0.1:11222]",
        ),
        Setting::new(
            "n2_admin",
            Kind::Text,
            ADDRESS,
            "n2's admin port [default: 127.0.0.1:11232]",
        ),
        Setting::new(
            "restart",
            Kind::Boolean,
            "BOOL",
            "Start a node again when it dies [default: off]",
        ),
        Setting::new(
            "log",
            Kind::Text,
            "FILTER",
            "Log level or filter of every node [default: info]",
        ),
        Setting::new(
            "dir",
            Kind::Text,
            "DIR",
            "Make the folder of this run in DIR [default: lab-runs]",
        ),
    ],
};

/// `lab up …`; `arguments` begins with the command's name.
pub fn run(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let mut settings = PROGRAM.settings(arguments)?;
    take_plain(&mut settings, "mode", "MODE")?;
    take_plain(&mut settings, "store", "STORE")?;
    take_plain(&mut settings, "app_a", "APP_A")?;
    take_plain(&mut settings, "app_b", "APP_B")?;
    let config: Config = settings.config()?;
    match settings.action {
        Action::PrintConfig => say(&settings.print(&config)?),
        Action::TestConfig => say("the settings are fine\n"),
        Action::Healthcheck => program::healthcheck::http(config.admin, "/readyz")?,
        Action::Serve => {
            let runtime = tokio::runtime::Runtime::new()
                .map_err(|e| Failure::environment("cannot start the runtime", e))?;
            return runtime.block_on(up(config));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `MODE=ip_hash lab up`, as in the compose file; the longer name and the flag win.
fn take_plain(settings: &mut Settings, setting: &str, variable: &str) -> Result<(), Failure> {
    let plain = std::env::var(variable).ok();
    match plain.filter(|text| !text.is_empty()) {
        Some(text) if settings.origin(setting) == Origin::Default => {
            settings.set(setting, text.into(), Origin::Environment(variable.into()))
        }
        _ => Ok(()),
    }
}

async fn up(config: Config) -> Result<ExitCode, Failure> {
    // First of all, so that a Ctrl-C during the start also stops what has been started.
    let mut signals = Signals::listen()?;
    config.store.is_here()?;
    config.apps().are_here()?;
    config.apps().can_be_in(config.mode)?;
    refuse_taken_ports(&config)?;
    let folder = folder::create(config.dir.as_deref(), "up")?;
    let mut topology = Topology::article(config.mode, config.store, config.apps(), config.places());
    topology.log.clone_from(&config.log);
    note(&format!("lab: starting {} nodes …\n", topology.nodes.len()));
    let lab = std::env::current_exe()
        .map_err(|e| Failure::environment("cannot find the lab's own program", e))?;
    let start = Stage::start(
        topology,
        stage::Setting {
            lab,
            folder,
            recorder: None,
        },
    );
    let (mut stage, mut events) = tokio::select! {
        started = start => started?,
        request = signals.stop() => return Ok(exit_code(request)),
    };
    say(&welcome(&config, &stage));
    say(&line(&format!("{:8} {}", "mode", config.mode)));
    let request = show_events(&config, &mut stage, &mut events, &mut signals).await?;
    note("lab: stopping …\n");
    for (node, ended) in stage.stop().await {
        let is_tomcat = match node.as_str() {
            "TomcatA" => config.app_a == App::Tomcat,
            "TomcatB" => config.app_b == App::Tomcat,
            _ => false,
        };
        let in_order = if is_tomcat { tomcat::STOPPED } else { 0 };
        if ended != Ended::Exited(in_order) {
            note(&format!("lab: {node} {ended}\n"));
        }
    }
    note("lab: stopped\n");
    Ok(exit_code(request))
}

fn exit_code(request: Request) -> ExitCode {
    const INTERRUPTED: u8 = 130;
    match request {
        Request::Interrupt => ExitCode::from(INTERRUPTED),
        _ => ExitCode::SUCCESS,
    }
}

/// One line per event until somebody asks to stop.
async fn show_events(
    config: &Config,
    stage: &mut Stage,
    events: &mut mpsc::Receiver<Event>,
    signals: &mut Signals,
) -> Result<Request, Failure> {
    loop {
        let event = tokio::select! {
            request = signals.stop() => return Ok(request),
            event = events.recv() => event,
        };
        let Some(event) = event else {
            return Err(Failure::Failed("the stage is gone".to_owned()));
        };
        say(&line(&event.to_string()));
        if config.restart && matches!(event.what, What::Down(..)) {
            let started = tokio::select! {
                request = signals.stop() => return Ok(request),
                started = stage.start_again(&event.node) => started,
            };
            // A node that cannot start is reported and left; trying for ever would only fill the screen.
            if let Err(failure) = started {
                note(&format!("lab: {failure}\n"));
            }
        }
    }
}

fn line(event: &str) -> String {
    let now = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
    format!("{now}  {event}\n")
}

fn refuse_taken_ports(config: &Config) -> Result<(), Failure> {
    let taken: Vec<String> = addresses(config)
        .into_iter()
        .filter(|(.., setting)| match *setting {
            "n1_admin" | "n2_admin" => config.store == Store::Sessiond,
            "tomcat_a_admin" => config.app_a == App::Appserver,
            "tomcat_b_admin" => config.app_b == App::Appserver,
            "tomcat_a_receiver" | "tomcat_b_receiver" => config.mode.replicates(),
            _ => true,
        })
        .filter_map(|(node, address, setting)| {
            let who = holder::taken(address)?;
            let flag = setting.replace('_', "-");
            let variable = setting.to_ascii_uppercase();
            Some(format!(
                "{node} cannot listen on {address}: {who}; end it, or move {node} with --{flag} ADDR:PORT or LNMT_{variable}"
            ))
        })
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(Failure::Environment(taken.join("\nlab up: ")))
}

/// What to open, and what will be seen there.
fn welcome(config: &Config, stage: &Stage) -> String {
    let proxy = config.listen;
    let mut text = String::new();
    let mut row = |name: &str, what: &str| text.push_str(&format!("  {name:<9} {what}\n"));
    row("page", &format!("http://{proxy}/jsp/"));
    row("alias", &format!("http://{proxy}/test/"));
    row("all pages", &format!("http://{proxy}/"));
    for (node, place) in ["proxy", "TomcatA", "TomcatB", "n1", "n2"]
        .iter()
        .zip(config.places())
    {
        let listen = place.listen.to_string();
        let status = match (*node, config.store) {
            ("TomcatA", _) if config.app_a == App::Tomcat => real_tomcat(node),
            ("TomcatB", _) if config.app_b == App::Tomcat => real_tomcat(node),
            ("n1" | "n2", Store::Memcached) => "the real memcached: ask it for `stats`".to_owned(),
            _ => format!("status http://{}/status", place.admin),
        };
        row(node, &format!("{listen:<16} {status}"));
    }
    row("files", &stage.folder().display().to_string());
    row("mode", config.mode.name());
    row("store", config.store.name());
    row("expect", config.mode.what_to_expect());
    row("stop", "Ctrl-C");
    text
}

fn real_tomcat(node: &str) -> String {
    format!("the real Tomcat: its configuration is in the folder {node}")
}

#[cfg(test)]
mod tests {
    use super::{Config, PROGRAM, addresses};

    #[test]
    fn every_address_is_moved_by_a_setting_that_exists() {
        for (node, address, setting) in addresses(&Config::default()) {
            assert!(
                PROGRAM.settings.iter().any(|s| s.name == setting),
                "{setting}"
            );
            let arguments = [
                "lab up",
                &format!("--{}", setting.replace('_', "-")),
                "127.0.0.9:9",
            ];
            let settings = PROGRAM
                .settings(arguments.map(Into::into).to_vec())
                .expect("a flag");
            let moved: Config = settings.config().expect("an address");
            let now = addresses(&moved)
                .into_iter()
                .find(|(_, _, s)| *s == setting)
                .expect("listed");
            assert_ne!(now.1, address, "{node} is moved by {setting}");
        }
    }
}
