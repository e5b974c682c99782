//! The file that keeps the items over a stop and start (`-e`): when it is read, when it is written, and who may.
//!
//! ```text
//!   start  FILE.lock taken ──► FILE read and checked ──► FILE removed ──► clients are served
//!                                  │ damaged: put aside as FILE.damaged, start empty
//!   stop   the last client answered ──► FILE.tmp written, on disk ──► renamed to FILE, on disk
//! ```
//!
//! FILE is there only between a stop in order and the start after it. A process that is killed leaves none, so that the
//! next start is empty: an older state could bring back sessions that were logged out since. What is in the file is the
//! business of the store.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use program::Failure;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tracing::{error, info};

use crate::config::{Config, is_empty};
use crate::store::{Store, UnixTime, Warm};

/// Sessions are nobody else's business.
const MODE: u32 = 0o600;

/// Read and written at once.
const CHUNK: usize = 1 << 20;

/// The file, and the lock that keeps other processes off it.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    path: PathBuf,
    _lock: File,
}

impl MemoryFile {
    /// Takes the file that the settings name; `None` when they name none.
    ///
    /// # Errors
    /// Another process has it, or its folder cannot be written: better known now than at the stop.
    pub(crate) fn take(config: &Config) -> Result<Option<Self>, Failure> {
        let path = &config.memory_file;
        if is_empty(path) {
            return Ok(None);
        }
        let cannot = |e: io::Error| unusable(path, e);
        let lock = create(&beside(path, ".lock")).map_err(cannot)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Failure::Environment(format!(
                    "another process keeps its items in {}; choose another file with --memory-file",
                    path.display()
                )));
            }
            Err(error) => return Err(cannot(error.into())),
        }
        let unfinished = beside(path, ".tmp");
        create(&unfinished).map_err(cannot)?;
        fs::remove_file(&unfinished).map_err(cannot)?;
        Ok(Some(Self {
            path: path.clone(),
            _lock: lock,
        }))
    }

    /// Takes over the items that the last stop left, if it did; then the file is gone. A damaged one is put aside.
    ///
    /// # Errors
    /// The file is there and cannot be opened, removed or renamed.
    pub(crate) fn load(&self, store: &Store, now: UnixTime) -> Result<(), Failure> {
        let path = &self.path;
        let cannot = |e: io::Error| unusable(path, e);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                info!(file = %path.display(), "no items were left by a stop; starting empty");
                return Ok(());
            }
            Err(error) => return Err(cannot(error)),
        };
        match store.load(&mut BufReader::with_capacity(CHUNK, file), now) {
            Ok(Warm { items, dropped }) => {
                fs::remove_file(path).map_err(cannot)?;
                let file = path.display();
                info!(items, dropped, %file, "took over the items of the last stop");
            }
            Err(cause) => {
                let aside = beside(path, ".damaged");
                fs::rename(path, &aside).map_err(cannot)?;
                error!(
                    %cause,
                    file = %path.display(),
                    put_aside_as = %aside.display(),
                    "the items of the last stop cannot be taken over; starting empty"
                );
            }
        }
        self.sync_folder().map_err(cannot)
    }

    /// Keeps the items for the next start. When this returns without an error, they are on disk.
    pub(crate) fn save(&self, store: &Store, now: UnixTime) -> Result<(), Failure> {
        let path = &self.path;
        let lost = |e: io::Error| {
            Failure::environment(
                format!("cannot keep the items in {}", path.display()),
                format_args!("{e}; they are lost"),
            )
        };
        let unfinished = beside(path, ".tmp");
        let written = || {
            let mut writer = BufWriter::with_capacity(CHUNK, create(&unfinished)?);
            let saved = store.save(&mut writer, now)?;
            writer.flush()?;
            writer.get_ref().sync_all()?;
            fs::rename(&unfinished, path)?;
            self.sync_folder()?;
            Ok(saved)
        };
        match written() {
            Ok(Warm { items, .. }) => {
                info!(items, file = %path.display(), "kept the items for the next start");
                Ok(())
            }
            Err(error) => {
                // Nothing but room on the disk depends on it.
                let _ = fs::remove_file(&unfinished);
                Err(lost(error))
            }
        }
    }

    /// A name is on disk when its folder is.
    fn sync_folder(&self) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !is_empty(folder) => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(path)
}

fn unusable(path: &Path, cause: io::Error) -> Failure {
    Failure::environment(
        format!("cannot use the memory file {}", path.display()),
        format_args!("{cause}; choose another with --memory-file, in a folder that can be written"),
    )
}
