//! Where a worker's access log goes: gathered in memory, written in whole lines, reopened on request.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use program::Failure;

use crate::access_log::{Entry, Format};
use crate::site::LogTarget;

/// Gathered bytes that are written out at once; the worker also writes them out several times a second.
const FLUSH_AT: usize = 32 * 1024;

/// See the module. Each worker has its own, in append mode, so that lines of several workers never mix.
pub(crate) struct LogSink {
    target: RefCell<LogTarget>,
    out: RefCell<Option<Out>>,
    lines: RefCell<Vec<u8>>,
    on: Cell<bool>,
}

enum Out {
    Stdout,
    Stderr,
    File(File),
}

impl LogSink {
    pub(crate) fn open(target: &LogTarget) -> Self {
        let out = open(target);
        Self {
            target: RefCell::new(target.clone()),
            on: Cell::new(out.is_some()),
            out: RefCell::new(out),
            lines: RefCell::default(),
        }
    }

    /// Whether lines are wanted at all.
    pub(crate) fn is_on(&self) -> bool {
        self.on.get()
    }

    pub(crate) fn write(&self, format: Format, entry: &Entry<'_>) {
        let mut lines = self.lines.borrow_mut();
        format.write(entry, &mut lines);
        if lines.len() >= FLUSH_AT {
            drop(lines);
            self.flush();
        }
    }

    /// Writes out what was gathered. A log that cannot be written must not stop the traffic: its lines are dropped.
    pub(crate) fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if lines.is_empty() {
            return;
        }
        let written = match &mut *self.out.borrow_mut() {
            None => Ok(()),
            Some(Out::Stdout) => std::io::stdout().lock().write_all(&lines),
            Some(Out::Stderr) => std::io::stderr().lock().write_all(&lines),
            Some(Out::File(file)) => file.write_all(&lines),
        };
        if let Err(error) = written {
            tracing::error!(%error, bytes = lines.len(), "cannot write the access log; lines dropped");
        }
        lines.clear();
    }

    /// Writes out what was gathered and opens the file again, which somebody may have renamed.
    pub(crate) fn reopen(&self) {
        self.flush();
        let out = open(&self.target.borrow());
        self.on.set(out.is_some());
        self.out.replace(out);
    }

    /// Goes elsewhere from now on, where a reload says so.
    pub(crate) fn retarget(&self, target: &LogTarget) {
        if *self.target.borrow() != *target {
            self.flush();
            self.target.replace(target.clone());
            self.reopen();
        }
    }
}

fn open(target: &LogTarget) -> Option<Out> {
    match target {
        LogTarget::Off => None,
        LogTarget::Stdout => Some(Out::Stdout),
        LogTarget::Stderr => Some(Out::Stderr),
        LogTarget::File(path) => match append(path) {
            Ok(file) => Some(Out::File(file)),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot open the access log; there is none until the next reopening (SIGUSR1) or reload");
                None
            }
        },
    }
}

/// Tells whether the access log can be written.
pub(crate) fn test(target: &LogTarget) -> Result<(), Failure> {
    if let LogTarget::File(path) = target {
        append(path).map_err(|error| {
            let what = format!("cannot open the access log {}", path.display());
            Failure::environment(&what, error)
        })?;
    }
    Ok(())
}

fn append(path: &Path) -> std::io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Unix time in milliseconds.
pub(crate) fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// Unix time in seconds.
pub(crate) fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
