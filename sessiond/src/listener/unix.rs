//! The Unix socket: its file, who may use it, and what becomes of a file that is there already.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use program::Failure;
use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Config;

/// A Unix socket whose file goes when it is closed.
#[derive(Debug)]
pub(crate) struct Listening {
    socket: UnixListener,
    file: OwnFile,
}

impl Listening {
    pub(super) fn path(&self) -> &Path {
        &self.file.0
    }

    /// The socket, and its file, which goes when that is dropped.
    pub(super) fn into_parts(self) -> (UnixListener, OwnFile) {
        (self.socket, self.file)
    }
}

/// The file of our socket.
#[derive(Debug)]
pub(crate) struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Opens the socket that `-s` names with the mask of `-a`.
pub(super) fn listen(config: &Config) -> Result<Listening, Failure> {
    let path = &config.unix_socket;
    remove_stale(path)?;
    let mode = config.unix_mask.0;
    let backlog = i32::try_from(config.listen_backlog).unwrap_or(i32::MAX);
    bind(path, mode, backlog).map_err(|e| {
        Failure::environment(
            format!("cannot listen on the Unix socket {}", path.display()),
            format_args!("{e}; choose another path with --unix-socket"),
        )
    })
}

fn bind(path: &Path, mode: u32, backlog: i32) -> std::io::Result<Listening> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux the file is made with the mode of the socket, so that there is no moment at which all may connect.
    // Elsewhere this is refused, and the mode is set right after.
    let _ = rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode));
    socket.bind(&SockAddr::unix(path)?)?;
    let file = OwnFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    socket.listen(backlog)?;
    Ok(Listening {
        socket: socket.into(),
        file,
    })
}

/// Removes the socket file of a process that is gone. Anything else that is there stays, and is an error.
fn remove_stale(path: &Path) -> Result<(), Failure> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let in_the_way = |what: &str| {
        Failure::Environment(format!(
            "cannot listen on the Unix socket {}: {what}; choose another path with --unix-socket",
            path.display()
        ))
    };
    if !metadata.file_type().is_socket() {
        return Err(in_the_way("a file that is no socket is there"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(in_the_way("another process listens there")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|e| in_the_way(&format!("its old file cannot be removed ({e})"))),
        Err(error) => Err(in_the_way(&format!(
            "it cannot be told whether another process listens there ({error})"
        ))),
    }
}
