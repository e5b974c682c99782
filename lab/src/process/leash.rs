//! Nothing that the lab starts outlives it, however it ends.
//!
//! A child is not started directly but as `lab leash PARENT -- PROGRAM ARGUMENTS…`. That process asks the kernel to be
//! killed when its parent dies (`PR_SET_PDEATHSIG`, prctl(2)) and then becomes the program by exec, which keeps the
//! wish. So it also holds when the lab gets `kill -9`, when the child is stopped (SIGSTOP), and for programs that know
//! nothing of the lab.
//!
//! The kernel means the *thread* that started the child, not the process: that thread must live as long as the lab does,
//! which is why [`spawn`] hands every start to one thread of its own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use program::Failure;
use program::exit;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The hidden subcommand of the lab.
pub const SUBCOMMAND: &str = "leash";

/// Starts wait here for the spawning thread; a caller that finds it full waits, for a start takes a millisecond.
const STARTS_WAITING: usize = 16;

struct Start {
    command: tokio::process::Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// The command that runs `program` on a leash held by this process; `lab` is the lab's own binary.
pub fn command(lab: &Path, program: &Path, arguments: &[OsString]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(lab);
    command
        .arg(SUBCOMMAND)
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program)
        .args(arguments);
    command
}

/// Starts `command` from the thread that lives as long as this process.
pub async fn spawn(command: tokio::process::Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Start>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (starts, waiting) = sync_channel::<Start>(STARTS_WAITING);
        std::thread::spawn(move || {
            for start in waiting {
                let _in_runtime = start.runtime.enter();
                let mut command = start.command;
                // Nobody waits any more: dropping the child kills it (`kill_on_drop`).
                let _ = start.reply.send(command.spawn());
            }
        });
        starts
    });
    let (reply, started) = oneshot::channel();
    let start = Start {
        command,
        runtime: Handle::current(),
        reply,
    };
    let gone = || io::Error::other("the thread that starts children is gone");
    spawner.send(start).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

/// `lab leash PARENT -- PROGRAM ARGUMENTS…`: becomes the program, to be killed when `PARENT` dies.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let outcome = match arguments {
        [parent, dashes, program, rest @ ..] if dashes == "--" => {
            become_program(parent, program, rest)
        }
        _ => Err(Failure::Usage(
            "usage: lab leash PARENT -- PROGRAM ARGUMENTS…; the lab starts its children with it"
                .to_owned(),
        )),
    };
    exit::code("lab leash", outcome)
}

fn become_program(
    parent: &OsStr,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<ExitCode, Failure> {
    die_with_parent()?;
    // The parent may have died before the wish was made; then nobody would ever fulfil it.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if now.as_deref().map(OsStr::new) != Some(parent) {
        return Err(Failure::Environment(
            "the lab that started this process is gone".to_owned(),
        ));
    }
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::environment(
        format!("cannot start {}", Path::new(program).display()),
        error,
    ))
}

#[cfg(target_os = "linux")]
fn die_with_parent() -> Result<(), Failure> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Failure::environment("cannot tie this process to the lab", e))
}

/// Other systems have no such wish: there, children end with the lab unless the lab itself gets `kill -9`.
#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> Result<(), Failure> {
    Ok(())
}
