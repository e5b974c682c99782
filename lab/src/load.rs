//! `lab load`: virtual users with sessions, in an open loop, and the anomalies that they see.
//!
//! ```text
//!   schedule.rs ──due──► user.rs × users ──ended──► tally.rs ──► one line a second, a table, JSON
//!   (a thread)           one task each              percentiles and anomalies
//! ```
//!
//! A request's latency counts from when it was due, also when it had to wait for the answer to the user's request before:
//! a server that stalls is charged for everybody who had to wait, not only for the one request that it held
//! (no coordinated omission).

pub mod schedule;
pub mod tally;
pub mod user;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use program::signals::{Request as Asked, Signals};
use program::{Failure, units};
use serde::Serialize;
use tokio::sync::mpsc;

use self::schedule::Schedule;
use self::tally::{Tally, Total};
use self::user::{DUE_WAITING, Habits};
use crate::app::Apps;
use crate::arguments::{
    app_arguments, apps, dir_argument, seed, seed_argument, site, site_arguments, store,
    store_argument,
};
use crate::check::parallel::TAB;
use crate::cli::{note, say};
use crate::client::{Browser, Site};
use crate::history::{Recorder, Request};
use crate::mode::Mode;
use crate::scenario;
use crate::stage::{self, Stage, folder};
use crate::store::Store;
use crate::topology::Topology;

/// The name and version of the JSON that `lab load --json` prints.
pub const SCHEMA: &str = "lnmt-lab/load/1";

/// Ended requests that wait to be counted; users wait when there are more.
const ENDED_WAITING: usize = 10_000;

/// A load may have so many users; each has a connection of its own.
const USERS_MAX: usize = 20_000;

/// A user may have so many requests under way at once.
const TABS_MAX: u64 = 16;

/// The longest load: a line a second is kept of it.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// The clap command.
pub fn command() -> Command {
    app_arguments(site_arguments(Command::new("load")))
        .about("Virtual users with sessions, in an open loop: rate, percentiles and anomalies each second")
        .after_help(
            "Without --base-url a stage is started on free ports, in the mode of --mode.\n\
             Exit codes: 0 fine, 1 anomalies that the mode excludes, or no answer at all, 2 wrong usage, 3 the environment\n\
             is not as needed, 130 interrupted.",
        )
        .arg(
            Arg::new("rate")
                .long("rate")
                .value_name("PER-SECOND")
                .value_parser(value_parser!(f64))
                .default_value("200")
                .help("Requests per second of all users together"),
        )
        .arg(
            Arg::new("users")
                .long("users")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=USERS_MAX as u64))
                .default_value("50")
                .help("Virtual users, each with its own cookies, address and connection"),
        )
        .arg(
            Arg::new("duration")
                .long("duration")
                .value_name("TIME")
                .value_parser(value_parser!(units::Duration))
                .default_value("10s")
                .help("How long requests are made"),
        )
        .arg(
            Arg::new("parallel")
                .long("parallel")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=TABS_MAX))
                .default_value("1")
                .help("Requests of one user at once, on one session; each of them keeps to a list of its own"),
        )
        .arg(
            Arg::new("kill")
                .long("kill")
                .action(ArgAction::SetTrue)
                .conflicts_with("base-url")
                .help("Kill each application server and store node in turn, and start it again, until the load ends"),
        )
        .arg(
            Arg::new("locking")
                .long("locking")
                .value_name("LOCKING")
                .conflicts_with("base-url")
                .help("lockingMode of the modes with store nodes: none, auto, all, merge, … [default: the servers']"),
        )
        .arg(store_argument().conflicts_with("base-url"))
        .arg(seed_argument())
        .arg(dir_argument())
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print JSON instead of a table"),
        )
}

/// What is asked for.
#[derive(Debug, Clone, Serialize)]
struct Plan {
    rate: f64,
    users: usize,
    duration_seconds: f64,
    /// Requests of one user at once.
    parallel: usize,
    /// Whether nodes are killed meanwhile.
    kill: bool,
    seed: u64,
    mode: Option<Mode>,
    base_url: Option<String>,
}

/// What `--json` prints and the run folder keeps.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    plan: &'a Plan,
    #[serde(flatten)]
    total: &'a Total,
}

/// `lab load …`.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    program::sockets::raise_open_file_limit();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|e| Failure::environment("cannot start the runtime", e))?;
    runtime.block_on(load(matches))
}

fn plan(matches: &ArgMatches) -> Result<Plan, Failure> {
    let rate = matches.get_one::<f64>("rate").copied().unwrap_or_default();
    if !(rate.is_finite() && rate > 0.0) {
        return Err(Failure::Usage(format!(
            "cannot make {rate} requests per second; choose a --rate above 0"
        )));
    }
    let duration = matches
        .get_one::<units::Duration>("duration")
        .copied()
        .unwrap_or_default();
    if duration.is_zero() || *duration > DURATION_MAX {
        return Err(Failure::Usage(format!(
            "cannot load for {duration}; choose a --duration above 0 and up to 24h"
        )));
    }
    let users = matches.get_one::<u64>("users").copied().unwrap_or(1);
    let base_url = matches.get_one::<String>("base-url").cloned();
    let mode = matches.get_one::<Mode>("mode").copied();
    Ok(Plan {
        rate,
        users: usize::try_from(users).unwrap_or(USERS_MAX),
        duration_seconds: duration.as_secs_f64(),
        parallel: matches
            .get_one::<u64>("parallel")
            .map_or(1, |n| usize::try_from(*n).unwrap_or(1)),
        kill: matches.get_flag("kill"),
        seed: seed(matches),
        // A stage has a mode in any case; of a foreign site it must be told, or nothing is promised.
        mode: mode.or_else(|| base_url.is_none().then(Mode::default)),
        base_url,
    })
}

async fn load(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    const INTERRUPTED: u8 = 130;
    let mut signals = Signals::listen()?;
    let plan = plan(matches)?;
    let store = store(matches)?;
    let apps = apps(matches)?;
    let dir = matches.get_one::<PathBuf>("dir");
    let folder = folder::create(dir.map(PathBuf::as_path), "load")?;
    note(&format!(
        "lab: {} users, {}/s for {} s, seed {}, files in {}\n",
        plan.users,
        plan.rate,
        plan.duration_seconds,
        plan.seed,
        folder.display()
    ));
    let (site, mut stage) = match site(matches).await? {
        Some(site) => (site, None),
        None => {
            let mode = plan.mode.unwrap_or_default();
            let locking = matches.get_one::<String>("locking").map(String::as_str);
            let (site, stage) = own_stage(mode, (store, apps), locking, &folder).await?;
            (site, Some(stage))
        }
    };
    let nodes: Vec<String> = stage
        .iter()
        .flat_map(|stage| stage.topology().appservers())
        .map(|node| node.name.clone())
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let loading = drive(&plan, &site, &nodes, Arc::clone(&stop));
    tokio::pin!(loading);
    let mut killing = Box::pin(kill_each(stage.as_mut().filter(|_| plan.kill)));
    let mut interrupted = false;
    let total = loop {
        tokio::select! {
            total = &mut loading => break total?,
            failure = &mut killing => return Err(failure),
            asked = signals.stop(), if !interrupted => {
                interrupted = asked == Asked::Interrupt;
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    drop(killing);
    if let Some(stage) = stage {
        stage.stop().await;
    }
    show(&plan, &total, matches.get_flag("json"), &folder)?;
    Ok(if interrupted {
        ExitCode::from(INTERRUPTED)
    } else {
        ExitCode::from(exit_code(&plan, &total))
    })
}

/// Kills each node but the proxy in turn and starts it again, until it is dropped; ends only when one does not start.
async fn kill_each(stage: Option<&mut Stage>) -> Failure {
    /// From one death to the next: long enough for the others to notice, and for copies to be made again.
    const EVERY: Duration = Duration::from_secs(2);
    let Some(stage) = stage else {
        return std::future::pending().await;
    };
    let topology = stage.topology();
    let nodes = topology.appservers().chain(topology.stores());
    let names: Vec<String> = nodes.map(|node| node.name.clone()).collect();
    for name in names.iter().cycle() {
        tokio::time::sleep(EVERY).await;
        note(&format!("lab: {name} is killed\n"));
        if let Err(failure) = stage.kill(name).await {
            return failure;
        }
        tokio::time::sleep(EVERY / 2).await;
        if let Err(failure) = stage.start_again(name).await {
            return failure;
        }
    }
    std::future::pending().await
}

async fn own_stage(
    mode: Mode,
    (store, apps): (Option<Store>, Apps),
    locking: Option<&str>,
    folder: &std::path::Path,
) -> Result<(Site, Stage), Failure> {
    let arrange = |topology: &mut Topology| {
        if let Some(locking) = locking {
            topology
                .msm
                .insert("lockingMode", toml::Value::from(locking).to_string());
        }
    };
    let setting = stage::Setting {
        lab: std::env::current_exe()
            .map_err(|e| Failure::environment("cannot find the lab's own program", e))?,
        folder: folder.to_owned(),
        recorder: None,
    };
    let (stage, _events) = Stage::on_free_ports(mode, store, apps, setting, arrange).await?;
    let proxy = stage.topology().proxy().map(|node| node.place.listen);
    let proxy = proxy.ok_or_else(|| Failure::Failed("the stage has no proxy".to_owned()))?;
    Ok((Site::of_stage(proxy), stage))
}

fn show(
    plan: &Plan,
    total: &Total,
    as_json: bool,
    folder: &std::path::Path,
) -> Result<(), Failure> {
    let document = Document {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        plan,
        total,
    };
    let json = serde_json::to_string_pretty(&document)
        .map_err(|e| Failure::Failed(format!("cannot print the result as JSON: {e}")))?;
    let path = folder.join("result.json");
    std::fs::write(&path, &json)
        .map_err(|e| Failure::environment(format!("cannot write {}", path.display()), e))?;
    if as_json {
        say(&(json + "\n"));
    } else {
        say(&total.table());
    }
    Ok(())
}

/// 1 for anomalies that the mode excludes, or when nothing was answered.
fn exit_code(plan: &Plan, total: &Total) -> u8 {
    let seen = &total.anomalies;
    let never = seen.a2 + seen.a4 + seen.a7;
    let excluded = match plan.mode {
        // Nothing was promised.
        None => 0,
        // Every hop loses the session, and a logout may reach the server that does not know it; that is the lesson.
        Some(Mode::RoundRobin) => never,
        // The sessions of a server die with it.
        Some(Mode::IpHash | Mode::SessionSticky) if plan.kill => 0,
        Some(Mode::IpHash | Mode::SessionSticky) => never + seen.a1 + seen.a3 + seen.a10,
        Some(Mode::Msm | Mode::MsmSticky) => never + seen.a1 + seen.a3,
        // The route in the ID is that of the server that answered, and the data survived.
        Some(Mode::Cluster | Mode::Backup) => seen.a1 + seen.a2 + seen.a3 + seen.a4,
    };
    u8::from(excluded > 0 || total.all.ok == 0)
}

/// Runs the schedule to its end, or until told to stop, and counts.
async fn drive(
    plan: &Plan,
    site: &Site,
    nodes: &[String],
    stop: Arc<AtomicBool>,
) -> Result<Total, Failure> {
    let recorder =
        Recorder::new(None).map_err(|e| Failure::environment("cannot begin a history", e))?;
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let (ended, mut results) = mpsc::channel::<Request>(ENDED_WAITING);
    let mut users = Vec::with_capacity(plan.users);
    for number in 0..plan.users {
        let name = format!("u{number}");
        let from = scenario::address(random.u8(1..=254), random.u8(..), random.u8(1..=254));
        let browser = Browser::new(name.clone(), Some(from), site, &recorder);
        let (due, inbox) = mpsc::channel(DUE_WAITING);
        let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
        users.push(due);
        if plan.parallel == 1 {
            let habits = Habits::new(random.u64(..), name);
            tokio::spawn(user::live(browser, habits, inbox, ended.clone()));
            continue;
        }
        for tab in 0..plan.parallel {
            let habits = Habits::of_tab(random.u64(..), &name, tab);
            let tab = browser.tab(format!("{name}{TAB}{tab}"));
            tokio::spawn(user::live(tab, habits, Arc::clone(&inbox), ended.clone()));
        }
    }
    // The last user to finish closes the channel.
    drop(ended);
    let duration = Duration::from_secs_f64(plan.duration_seconds);
    let schedule = Schedule::new(random.u64(..), plan.rate, plan.users, duration);
    let not_sent = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    {
        let not_sent = Arc::clone(&not_sent);
        // A thread of its own: the runtime's timers have a resolution of 1 ms, the system's of about 0.06 ms.
        std::thread::spawn(move || dispatch(schedule, began, &users, &stop, &not_sent));
    }
    let mut tally = Tally::new(plan.mode.is_some_and(Mode::binds), nodes, plan.parallel > 1)?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        tokio::select! {
            biased;
            _ = second.tick() => {
                tally.not_sent(not_sent.swap(0, Ordering::Relaxed));
                note(&format!("lab: {}\n", tally.second(began.elapsed())?));
            }
            result = results.recv() => match result {
                Some(request) => tally.add(request),
                None => break,
            },
        }
    }
    tally.not_sent(not_sent.swap(0, Ordering::Relaxed));
    Ok(tally.finish(began.elapsed()))
}

/// Tells users when their requests are due; never waits for one.
fn dispatch(
    schedule: Schedule,
    began: Instant,
    users: &[mpsc::Sender<Instant>],
    stop: &AtomicBool,
    not_sent: &AtomicU64,
) {
    /// A sleeping thread looks so often whether it is to stop.
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    for arrival in schedule {
        let due = began + arrival.due;
        loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
        if users[arrival.user].try_send(due).is_err() {
            not_sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}
