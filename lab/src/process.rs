//! One child process: start, ready, pause, kill, wait.
//!
//! ```text
//!   Child::start ──► lab leash PID -- PROGRAM …      (process/leash.rs: dies with the lab)
//!        │                    │ stdout, stderr
//!        │                    └──► NAME.log          (process/log.rs: bounded)
//!        └─ a task owns the process: it alone reaps it, so that no signal can reach a stranger with the same id
//! ```

pub mod leash;
pub mod log;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use program::Failure;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, oneshot, watch};

use crate::wait;

/// How many of its last log lines a message about a dead child shows.
const LAST_LINES: usize = 5;

/// How often a child that is starting is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Debug, Clone)]
pub struct Start {
    /// The node's name; also the name of its log file.
    pub name: String,
    /// The binary of the lab, which holds the leash.
    pub lab: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where `NAME.log` goes.
    pub folder: PathBuf,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ended by itself with this exit code.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Killed(signal.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed(9) => write!(f, "killed by signal 9 (SIGKILL)"),
            Self::Killed(15) => write!(f, "killed by signal 15 (SIGTERM)"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// A signal to be sent, and where to say whether it was.
type Order = (Signal, oneshot::Sender<io::Result<()>>);

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    name: String,
    id: u32,
    log: PathBuf,
    orders: mpsc::Sender<Order>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Child {
    /// Starts the child in a process group of its own, so that Ctrl-C in the terminal reaches the lab alone and the lab
    /// decides in which order things stop. `LNMT_*` variables are not handed down: the child's file says everything.
    pub async fn start(start: Start) -> Result<Self, Failure> {
        let Start {
            name,
            lab,
            program,
            arguments,
            folder,
        } = start;
        let log = folder.join(format!("{name}.log"));
        let attempt = || format!("cannot start {name} ({})", program.display());
        let (reader, writer) = io::pipe().map_err(|e| Failure::environment(attempt(), e))?;
        let errors = writer
            .try_clone()
            .map_err(|e| Failure::environment(attempt(), e))?;
        let mut command = leash::command(&lab, &program, &arguments);
        command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("LNMT_") {
                command.env_remove(variable);
            }
        }
        let child = leash::spawn(command)
            .await
            .map_err(|e| Failure::environment(attempt(), e))?;
        let id = child.id().unwrap_or_default();
        let output = Receiver::from_owned_fd(reader.into())
            .map_err(|e| Failure::environment(attempt(), e))?;
        let (orders, inbox) = mpsc::channel(4);
        let (end, ended) = watch::channel(None);
        tokio::spawn(own(child, inbox, end, output, log.clone()));
        Ok(Self {
            name,
            id,
            log,
            orders,
            ended,
        })
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id; another process may have it once the child has ended.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// A view of its end that others can wait on.
    pub fn end(&self) -> watch::Receiver<Option<Ended>> {
        self.ended.clone()
    }

    /// Waits until `question` is answered well. Fails at once, with its last log lines, when the child dies.
    pub async fn ready(&self, question: wait::Question, at_most: Duration) -> Result<(), Failure> {
        let asked = wait::until(ASK_EVERY, at_most, async || {
            if let Some(ended) = self.ended() {
                return wait::Now::Never(format!("it {}", last_words(&self.log, ended)));
            }
            match question.ask().await {
                Ok(()) => wait::Now::Yes,
                Err(why) => wait::Now::NotYet(why),
            }
        });
        asked.await.map_err(|why| {
            Failure::Environment(format!("{} does not become ready: {why}", self.name))
        })
    }

    /// SIGSTOP: it keeps its memory and its sockets and answers nobody.
    pub async fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP).await
    }

    /// SIGCONT.
    pub async fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT).await
    }

    /// SIGKILL, and waits for the end: its memory and its sockets are gone.
    pub async fn kill(&self) -> io::Result<Ended> {
        self.signal(Signal::KILL).await?;
        Ok(self.wait().await)
    }

    /// SIGTERM, then SIGKILL when it has not ended within `grace`; waits for the end.
    pub async fn terminate(&self, grace: Duration) -> io::Result<Ended> {
        self.signal(Signal::TERM).await?;
        // A paused process would never see the request.
        self.signal(Signal::CONT).await?;
        if let Ok(ended) = tokio::time::timeout(grace, self.wait()).await {
            return Ok(ended);
        }
        self.kill().await
    }

    /// Sends a signal; nothing happens when the child has ended.
    pub async fn signal(&self, signal: Signal) -> io::Result<()> {
        let (reply, done) = oneshot::channel();
        if self.orders.send((signal, reply)).await.is_err() {
            return Ok(());
        }
        done.await.unwrap_or(Ok(()))
    }

    /// Waits for the end.
    pub async fn wait(&self) -> Ended {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(end) => end.unwrap_or(Ended::Killed(0)),
            // The runtime is shutting down; `kill_on_drop` has ended the child.
            Err(_) => Ended::Killed(9),
        }
    }
}

/// How a child ended, with the last lines of its log below.
pub fn last_words(log: &Path, ended: Ended) -> String {
    let mut words = match ended {
        Ended::Exited(_) => ended.to_string(),
        Ended::Killed(_) => format!("was {ended}"),
    };
    for line in log::last_lines(log, LAST_LINES) {
        words.push_str("\n    ");
        words.push_str(&line);
    }
    words
}

/// Owns the process until it has ended and its output is on disk.
async fn own(
    mut child: tokio::process::Child,
    mut inbox: mpsc::Receiver<Order>,
    end: watch::Sender<Option<Ended>>,
    output: Receiver,
    log: PathBuf,
) {
    let copying = tokio::spawn(log::copy(output, log));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            order = inbox.recv() => match order {
                Some((signal, reply)) => {
                    let _ = reply.send(send(&child, signal));
                }
                // The handle was dropped.
                None => {
                    let _ = child.start_kill();
                    break child.wait().await;
                }
            },
        }
    };
    // The last words must be in the file before anyone is told; a grandchild may hold the pipe open, so not for long.
    let _ = tokio::time::timeout(Duration::from_millis(200), copying).await;
    end.send_replace(Some(status.map_or(Ended::Killed(0), Ended::from)));
}

fn send(child: &tokio::process::Child, signal: Signal) -> io::Result<()> {
    // Not reaped yet, so the id is still this child's.
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    match id {
        Some(id) => kill_process(id, signal).map_err(io::Error::from),
        None => Ok(()),
    }
}
