//! `lab run`: plays scenarios, each on a fresh stage or all on somebody else's site, and prints the verdicts.

mod choice;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command};
use program::Failure;
use program::signals::Signals;

use self::choice::{choose, playable};
use crate::app::Apps;
use crate::arguments::{
    app_arguments, apps, dir_argument, seed, seed_argument, site, site_arguments, store,
    store_argument,
};
use crate::check;
use crate::check::anomaly::Counts;
use crate::cli::{note, say};
use crate::client::Site;
use crate::history::{Change, History, Recorder};
use crate::mode::Mode;
use crate::report::{self, Document, Row, Summary};
use crate::scenario::{self, About, Finding, Play, Scenario};
use crate::stage::{self, Stage, folder};
use crate::store::Store;

/// The name and version of the JSON that `lab list --json` prints.
pub const LIST_SCHEMA: &str = "lnmt-lab/list/1";

/// Where scenarios play.
#[derive(Debug, Clone)]
enum Ground {
    /// A fresh stage for each.
    OwnStage {
        lab: PathBuf,
        store: Option<Store>,
        apps: Apps,
    },
    /// One site for all.
    Foreign(Site),
}

/// The clap command.
pub fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let on_site = app_arguments(site_arguments(Command::new("run")));
    on_site
        .about("Plays the experiments and judges the claims")
        .after_help(
            "Exit codes: 0 all as expected, 1 a verdict is not as expected, 2 a verdict is unknown (or wrong usage),\n\
             3 the environment is not as needed, 130 interrupted.",
        )
        .arg(
            Arg::new("scenario")
                .value_name("SCENARIO|CLAIM|MODE")
                .num_args(0..)
                .help("Play these only: names of `lab list`, claims (C4), modes (ip_hash) [default: all]"),
        )
        .arg(store_argument().conflicts_with("base-url"))
        .arg(seed_argument())
        .arg(dir_argument())
        .arg(flag("json", "Print JSON instead of a table"))
        .arg(flag("markdown", "Print the table as Markdown").conflicts_with("json"))
        .arg(flag("verbose", "Say how many requests each scenario made and where its logs and history are").short('v'))
}

/// `lab run …`.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|e| Failure::environment("cannot start the runtime", e))?;
    runtime.block_on(run_all(matches))
}

/// The clap command of `lab list`.
pub fn list_command() -> Command {
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print JSON instead of a table");
    Command::new("list")
        .about("Lists the experiments with their claims and modes")
        .arg(json)
}

/// `lab list`.
pub fn list(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let abouts: Vec<About> = scenario::all()
        .iter()
        .map(|scenario| scenario.about())
        .collect();
    if matches.get_flag("json") {
        let list = serde_json::json!({ "schema": LIST_SCHEMA, "scenarios": abouts });
        say(&format!("{list:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    for about in abouts {
        say(&format!(
            "{:30} {:20} {:15} {}\n",
            about.name, about.claim, about.mode, about.statement
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_all(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    const INTERRUPTED: u8 = 130;
    let mut signals = Signals::listen()?;
    let words: Vec<&String> = matches.get_many("scenario").unwrap_or_default().collect();
    let site = site(matches).await?;
    let mode = matches.get_one::<Mode>("mode").copied();
    let apps = apps(matches)?;
    let chosen = choose(&words, mode, site.as_ref())?;
    let chosen = match site {
        // Somebody else's site has its own servers.
        Some(_) => chosen,
        None => playable(chosen, &words, apps)?,
    };
    let store = store(matches)?;
    let seed = seed(matches);
    let dir = matches.get_one::<PathBuf>("dir");
    let folder = folder::create(dir.map(PathBuf::as_path), "run")?;
    let ground = match site {
        Some(site) => Ground::Foreign(site),
        None => Ground::OwnStage {
            store,
            apps,
            lab: std::env::current_exe()
                .map_err(|e| Failure::environment("cannot find the lab's own program", e))?,
        },
    };
    let began = jiff::Timestamp::now().to_string();
    note(&format!(
        "lab: {} scenarios, seed {seed}, files in {}\n",
        chosen.len(),
        folder.display()
    ));
    let mut rows = Vec::with_capacity(chosen.len());
    for (number, scenario) in chosen.iter().enumerate() {
        let about = scenario.about();
        note(&format!(
            "lab: [{}/{}] {} … ",
            number + 1,
            chosen.len(),
            about.name
        ));
        let row = tokio::select! {
            row = one(scenario.as_ref(), &ground, seed, &folder) => row,
            _ = signals.stop() => {
                note("interrupted\n");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        note(&format!("{} ({:.1} s)\n", row.verdict.name(), row.seconds));
        if matches.get_flag("verbose") {
            note(&format!(
                "lab:     {} requests, files in {}\n",
                row.requests,
                folder.join(&row.scenario).display()
            ));
        }
        rows.push(row);
        // As they come: an interrupted run leaves what it had.
        let document = Document {
            schema: report::SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            began: began.clone(),
            seed,
            base_url: matches.get_one::<String>("base-url").map(String::as_str),
            summary: Summary::of(&rows),
            results: &rows,
        };
        write_result(&folder, &document)?;
        if number + 1 == chosen.len() && matches.get_flag("json") {
            say(&(json(&document)? + "\n"));
        }
    }
    let summary = Summary::of(&rows);
    if matches.get_flag("markdown") {
        say(&report::markdown(&rows));
    } else if !matches.get_flag("json") {
        say(&report::table(&rows, terminal_width()));
    }
    note(&format!(
        "lab: {summary}; `--seed {seed}` plays the same again\n"
    ));
    Ok(ExitCode::from(summary.exit_code()))
}

fn terminal_width() -> usize {
    let columns = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    columns.unwrap_or(report::WIDTH)
}

fn json(document: &Document<'_>) -> Result<String, Failure> {
    serde_json::to_string_pretty(document)
        .map_err(|e| Failure::Failed(format!("cannot print the result as JSON: {e}")))
}

fn write_result(folder: &Path, document: &Document<'_>) -> Result<(), Failure> {
    let path = folder.join("result.json");
    std::fs::write(&path, json(document)?)
        .map_err(|e| Failure::environment(format!("cannot write {}", path.display()), e))
}

/// Plays and judges one scenario.
async fn one(scenario: &dyn Scenario, ground: &Ground, seed: u64, folder: &Path) -> Row {
    let began = Instant::now();
    let about = match ground {
        Ground::OwnStage { apps, .. } => scenario.about_with(*apps),
        Ground::Foreign(_) => scenario.about(),
    };
    let played = play(scenario, &about, ground, seed, &folder.join(&about.name)).await;
    let (finding, requests, anomalies) = match played {
        Err(why) => (Finding::unknown(why), 0, Counts::default()),
        Ok(history) => (
            judge(scenario, &about, &history),
            history.requests().count(),
            scenario.anomalies(&history),
        ),
    };
    let mut row = Row::new(about, finding);
    row.requests = requests;
    row.anomalies = anomalies;
    row.seconds = began.elapsed().as_secs_f64();
    row
}

/// The verdict, or why there cannot be one.
fn judge(scenario: &dyn Scenario, about: &About, history: &History) -> Finding {
    if history.dropped > 0 {
        return Finding::unknown("the history was too long to be kept whole");
    }
    if history.requests().all(|request| request.answer().is_none()) {
        return Finding::unknown("no request was answered");
    }
    if !about.breaks_nodes {
        let all = history.requests().count();
        let (unknown, reason) = check::unknowns(history);
        let (failed, failure) = check::failures(history);
        if let Some(reason) = reason.or(failure) {
            let missing = scenario::of(unknown + failed, all, "request");
            return Finding::unknown(format!("{missing} had no certain answer: {reason}"));
        }
    }
    scenario.judge(history)
}

async fn play(
    scenario: &dyn Scenario,
    about: &About,
    ground: &Ground,
    seed: u64,
    folder: &Path,
) -> Result<History, String> {
    let failed = |failure: Failure| failure.to_string();
    std::fs::create_dir_all(folder)
        .map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
    let recorder = Recorder::new(Some(&folder.join("history.jsonl")))
        .map_err(|e| format!("cannot write in {}: {e}", folder.display()))?;
    let (site, stage) = match ground {
        Ground::Foreign(_) if about.needs_stage => {
            return Err(
                "needs a stage of the lab's own, for it starts, kills or configures nodes"
                    .to_owned(),
            );
        }
        Ground::Foreign(site) => (site.clone(), None),
        Ground::OwnStage { lab, store, apps } => {
            let setting = stage::Setting {
                lab: lab.clone(),
                folder: folder.to_owned(),
                recorder: Some(recorder.clone()),
            };
            let (stage, _events) =
                Stage::on_free_ports(about.mode, *store, *apps, setting, |topology| {
                    scenario.arrange(topology);
                })
                .await
                .map_err(failed)?;
            for node in stage.topology().appservers() {
                recorder.node(&node.name, Change::Up);
            }
            let proxy = stage.topology().proxy();
            let proxy = proxy.ok_or_else(|| "the stage has no proxy".to_owned())?;
            (Site::of_stage(proxy.place.listen), Some(stage))
        }
    };
    let mut play = Play::new(site, recorder.clone(), seed, stage);
    let played = scenario.play(&mut play).await;
    if let Some(stage) = play.into_stage() {
        stage.stop().await;
    }
    played.map_err(failed)?;
    Ok(recorder.history())
}

#[cfg(test)]
mod tests;
