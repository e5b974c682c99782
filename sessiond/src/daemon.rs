//! The background (`-d`) and the file with the process id (`-P`).
//!
//! A process with threads cannot fork safely, so the program starts itself a second time: the second one leads a session
//! of its own, and the first waits until it listens, so that a failed start is still told on the terminal and by the
//! exit code.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use program::Failure;
use tracing::warn;

use crate::config::{Config, is_empty};

/// Tells the second process what it is.
const MARK: &str = "SESSIOND_IN_BACKGROUND";

/// What the second process says when it listens.
const READY: &str = "ready";

/// Which of the two processes this is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It serves, in the foreground.
    Foreground,
    /// It serves, in the background.
    Background,
    /// It has started the one in the background, and ends.
    Starter(u8),
}

/// Goes into the background if the settings say so.
pub(crate) fn enter(config: &Config) -> Result<Role, Failure> {
    if !config.daemon {
        return Ok(Role::Foreground);
    }
    if std::env::var_os(MARK).is_some() {
        rustix::process::setsid()
            .map_err(|e| Failure::environment("cannot lead a session in the background", e))?;
        return Ok(Role::Background);
    }
    let cannot = |e| Failure::environment("cannot start the process in the background", e);
    let program = std::env::current_exe().map_err(cannot)?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut line = String::new();
    if let Some(told) = child.stdout.take() {
        BufReader::new(told).read_line(&mut line).map_err(cannot)?;
    }
    if line.trim_end() == READY {
        return Ok(Role::Starter(0));
    }
    // It has told why on standard error, which it shares.
    let code = child.wait().map_err(cannot)?.code();
    Ok(Role::Starter(
        code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1),
    ))
}

impl Role {
    /// The node listens: the one in the background tells its starter and lets go of the terminal. With `-v` it keeps
    /// standard error for the log, as memcached does.
    pub(crate) fn listening(&self, config: &Config) -> Result<(), Failure> {
        if *self != Self::Background {
            return Ok(());
        }
        let cannot = |e: std::io::Error| Failure::environment("cannot let go of the terminal", e);
        println!("{READY}");
        std::io::stdout().flush().map_err(cannot)?;
        let nothing = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(cannot)?;
        rustix::stdio::dup2_stdout(&nothing).map_err(|e| cannot(e.into()))?;
        if config.verbose == 0 {
            rustix::stdio::dup2_stderr(&nothing).map_err(|e| cannot(e.into()))?;
        }
        Ok(())
    }

    /// The exit code of the process that only started the other; `None` for those that serve.
    pub(crate) fn over(&self) -> Option<ExitCode> {
        match self {
            Self::Starter(code) => Some(ExitCode::from(*code)),
            Self::Foreground | Self::Background => None,
        }
    }
}

/// The file with the process id; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it if the settings name one.
    pub(crate) fn write(config: &Config) -> Result<Option<Self>, Failure> {
        let path = &config.pidfile;
        if is_empty(path) {
            return Ok(None);
        }
        if let Some(pid) = running(path) {
            warn!(
                pid,
                file = %path.display(),
                "the pid file is that of a process that runs; it is overwritten"
            );
        }
        let cannot = |e| {
            Failure::environment(
                format!("cannot write the pid file {}", path.display()),
                format_args!("{e}; choose another with --pidfile"),
            )
        };
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".tmp");
        std::fs::write(&unfinished, format!("{}\n", std::process::id())).map_err(cannot)?;
        std::fs::rename(&unfinished, path).map_err(cannot)?;
        Ok(Some(Self(path.clone())))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            warn!(%error, file = %self.0.display(), "cannot remove the pid file");
        }
    }
}

/// The process id that a file holds, if such a process runs.
fn running(path: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(path).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let known = rustix::process::Pid::from_raw(pid)?;
    rustix::process::test_kill_process(known).ok()?;
    Some(pid)
}
