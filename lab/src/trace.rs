//! `lab trace`: what the requests of one browser send to the store nodes, command for command, as a packet capture shows it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use program::Failure;
use program::signals::{Request as Asked, Signals};
use serde::Serialize;

use crate::app::Apps;
use crate::arguments::{dir_argument, store, store_argument};
use crate::cli::{note, say};
use crate::client::Site;
use crate::history::{Ask, Entry, History, Recorder};
use crate::mode::Mode;
use crate::scenario::{self, Play};
use crate::stage::{self, Stage, folder};
use crate::store::Store;
use crate::tap::commands;
use crate::tap::names::Names;

/// The name and version of the JSON that `lab trace --json` prints.
pub const SCHEMA: &str = "lnmt-lab/trace/1";

/// The page that a browser reloads.
const PAGE: &str = "/jsp/";

/// What a browser can be told to ask.
const WORDS: [&str; 8] = [
    "page", "session", "get", "set", "append", "count", "login", "logout",
];

/// The longest trace.
const REQUESTS_MAX: u64 = 1000;

/// The clap command.
pub fn command() -> Command {
    Command::new("trace")
        .about("Shows which commands the requests of one browser send to the store nodes")
        .after_help("Exit codes: 0 fine, 2 wrong usage, 3 the environment is not as needed, 130 interrupted.")
        .arg(
            Arg::new("ask")
                .value_name("ASK")
                .num_args(0..)
                .value_parser(PossibleValuesParser::new(WORDS))
                .help("What the browser asks, in turn [default: the page, --requests times]"),
        )
        .arg(
            Arg::new("mode")
                .long("mode")
                .value_name("MODE")
                .value_parser(value_parser!(Mode))
                .help("msm or msm_sticky; MODE and LNMT_MODE do the same [default: msm]"),
        )
        .arg(
            Arg::new("requests")
                .long("requests")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=REQUESTS_MAX))
                .default_value("2")
                .help("How often the page is loaded when nothing else is to be asked"),
        )
        .arg(
            Arg::new("behaviour")
                .long("behaviour")
                .value_name("BEHAVIOUR")
                .value_parser(["msm", "safe"])
                .help("As memcached-session-manager, command for command, or as it loses nothing [default: the server's]"),
        )
        .arg(store_argument())
        .arg(dir_argument())
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON instead of text"))
}

/// One request and what it sent.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Traced {
    /// From 1.
    number: usize,
    /// `GET /jsp/`, `append`, …
    asked: String,
    /// The server that answered; `None` without an answer.
    server: Option<String>,
    /// The session that answered, as `S1-n2.WEB1`.
    session: Option<String>,
    /// Whether the answer set the session cookie.
    set_cookie: bool,
    /// In the order of their answers.
    commands: Vec<Heard>,
}

/// One command on a link.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Heard {
    /// The server that sent it.
    server: String,
    /// The store node that answered it.
    node: String,
    /// The command and its answer, with sessions as `S1`.
    command: String,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    mode: Mode,
    requests: &'a [Traced],
}

/// `lab trace …`.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    const INTERRUPTED: u8 = 130;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|e| Failure::environment("cannot start the runtime", e))?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            traced = trace(matches) => traced.map(|()| ExitCode::SUCCESS),
            asked = signals.stop() => Ok(match asked {
                Asked::Interrupt => ExitCode::from(INTERRUPTED),
                _ => ExitCode::SUCCESS,
            }),
        }
    })
}

async fn trace(matches: &ArgMatches) -> Result<(), Failure> {
    let mode = match matches.get_one::<Mode>("mode") {
        Some(mode) => *mode,
        None => Mode::of_environment()?.unwrap_or(Mode::Msm),
    };
    if !matches!(mode, Mode::Msm | Mode::MsmSticky) {
        return Err(Failure::Usage(format!(
            "in the mode {mode} no store node is asked; trace msm or msm_sticky"
        )));
    }
    let dir = matches.get_one::<PathBuf>("dir");
    let folder = folder::create(dir.map(PathBuf::as_path), "trace")?;
    note(&format!(
        "lab: a stage in mode {mode}, files in {}\n",
        folder.display()
    ));
    let recorder = Recorder::new(Some(&folder.join("history.jsonl")))
        .map_err(|e| Failure::environment(format!("cannot write in {}", folder.display()), e))?;
    let behaviour = matches.get_one::<String>("behaviour").cloned();
    let stage = own_stage(mode, behaviour, store(matches)?, folder, &recorder).await?;
    let proxy = stage.topology().proxy().map(|node| node.place.listen);
    let proxy = proxy.ok_or_else(|| Failure::Failed("the stage has no proxy".to_owned()))?;
    let play = Play::new(Site::of_stage(proxy), recorder.clone(), 0, Some(stage));
    let mut browser = play.browser("browser", scenario::address(1, 1, 1));
    for ask in asks(matches) {
        recorder.mark("request");
        browser.ask(ask).await;
        play.settle().await;
    }
    if let Some(stage) = play.into_stage() {
        stage.stop().await;
    }
    let requests = requests(&recorder.history());
    if matches.get_flag("json") {
        let document = Document {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            mode,
            requests: &requests,
        };
        let json = serde_json::to_string_pretty(&document);
        say(&(json
            .map_err(|e| Failure::Failed(format!("cannot print the trace as JSON: {e}")))?
            + "\n"));
    } else {
        requests.iter().for_each(|request| say(&text(request)));
    }
    Ok(())
}

async fn own_stage(
    mode: Mode,
    behaviour: Option<String>,
    store: Option<Store>,
    folder: PathBuf,
    recorder: &Recorder,
) -> Result<Stage, Failure> {
    let lab = std::env::current_exe()
        .map_err(|e| Failure::environment("cannot find the lab's own program", e))?;
    let setting = stage::Setting {
        lab,
        folder,
        recorder: Some(recorder.clone()),
    };
    let arrange = |topology: &mut crate::topology::Topology| {
        topology.tapped = true;
        if let Some(behaviour) = &behaviour {
            topology.msm.insert("behaviour", format!("\"{behaviour}\""));
        }
    };
    let (stage, _events) =
        Stage::on_free_ports(mode, store, Apps::default(), setting, arrange).await?;
    Ok(stage)
}

fn asks(matches: &ArgMatches) -> Vec<Ask> {
    let name = || "name".to_owned();
    let page = || Ask::Page {
        path: PAGE.to_owned(),
    };
    let words: Vec<&String> = matches.get_many("ask").unwrap_or_default().collect();
    if words.is_empty() {
        let count = matches.get_one::<u64>("requests").copied().unwrap_or(1);
        return (0..count).map(|_| page()).collect();
    }
    let ask = |(number, word): (usize, &&String)| match word.as_str() {
        "session" => Ask::Session,
        "get" => Ask::Get { name: name() },
        "set" => Ask::Set {
            name: name(),
            value: number.to_string(),
        },
        "append" => Ask::Append {
            name: "list".to_owned(),
            value: number.to_string(),
        },
        "count" => Ask::Count,
        "login" => Ask::Login { user: name() },
        "logout" => Ask::Logout,
        _ => page(),
    };
    words.iter().enumerate().map(ask).collect()
}

/// The requests of a history that has a mark before each.
fn requests(history: &History) -> Vec<Traced> {
    let mut names = Names::default();
    let mut traced: Vec<Traced> = Vec::new();
    for part in history
        .entries
        .split(|entry| matches!(entry, Entry::Mark { .. }))
        .skip(1)
    {
        let part = History {
            entries: part.to_vec(),
            dropped: 0,
        };
        let Some(request) = part.requests().next() else {
            continue;
        };
        let heard = |(server, node, command): (&str, &str, &commands::Command)| Heard {
            server: server.to_owned(),
            node: node.to_owned(),
            command: names.shorten(&command.to_string()),
        };
        let commands: Vec<Heard> = part.wire().map(heard).collect();
        traced.push(Traced {
            number: traced.len() + 1,
            asked: name_of(&request.what),
            server: request.node().map(str::to_owned),
            session: request.session_id().map(|id| names.shorten(id)),
            set_cookie: request
                .answer()
                .is_some_and(|answer| answer.set_cookie.is_some()),
            commands,
        });
    }
    traced
}

fn name_of(ask: &Ask) -> String {
    match ask {
        Ask::Page { path } => format!("GET {path}"),
        Ask::Session => "GET session".to_owned(),
        Ask::Get { name } => format!("GET get {name}"),
        Ask::Set { name, value } => format!("POST set {name}={value}"),
        Ask::Append { name, value } => format!("POST append {name}+{value}"),
        Ask::Count => "POST count".to_owned(),
        Ask::Login { user } => format!("POST login {user}"),
        Ask::Logout => "POST logout".to_owned(),
        Ask::Slow { ms, name, .. } => format!("POST slow {name} after {ms} ms"),
    }
}

/// A headline, then one line per command; a node is named where it changes.
fn text(request: &Traced) -> String {
    let server = request.server.as_deref().unwrap_or("no answer");
    let session = request.session.as_deref().unwrap_or("no session");
    let cookie = if request.set_cookie {
        ", Set-Cookie"
    } else {
        ""
    };
    let mut text = format!(
        "request {}  {} → {server}: {session}{cookie}\n",
        request.number, request.asked
    );
    let mut last = ("", "");
    for Heard {
        server: by,
        node,
        command,
    } in &request.commands
    {
        let link = (by.as_str(), node.as_str());
        let name = match link == last {
            true => String::new(),
            false if by == server => node.clone(),
            // Something that a server does for its own sake.
            false => format!("{by}>{node}"),
        };
        text += &format!("  {name:<4} {command}\n");
        last = link;
    }
    if request.commands.is_empty() {
        text += "       nothing reached a store node\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{requests, text};
    use crate::history::script::history;
    use crate::history::{Entry, History};
    use crate::tap::commands::Command;

    #[test]
    fn commands_stand_under_their_request() {
        let id = format!("{}-n2.WEB1", "A".repeat(32));
        let History { mut entries, .. } =
            history(&format!("== request\nb A {id}\n== request\nb B {id}"));
        let wire = |server: &str, node: &str, verb: &str, key: &str| Entry::Wire {
            at_us: 0,
            server: server.into(),
            node: node.into(),
            command: Command {
                verb: verb.into(),
                key: key.into(),
                numbers: String::new(),
                result: "miss".into(),
            },
        };
        entries.insert(1, wire("A", "n2", "get", "ping-n2"));
        entries.insert(2, wire("A", "n2", "get", &id));
        entries.insert(3, wire("B", "n1", "get", "ping-n1"));
        let traced = requests(&History {
            entries,
            dropped: 0,
        });
        assert_eq!(
            text(&traced[0]),
            "request 1  GET session → A: S1-n2.WEB1, Set-Cookie\n  n2   get ping-n2=miss\n       get S1-n2.WEB1=miss\n  B>n1 get ping-n1=miss\n"
        );
        assert_eq!(
            text(&traced[1]),
            "request 2  GET session → B: S1-n2.WEB1\n       nothing reached a store node\n"
        );
    }
}
