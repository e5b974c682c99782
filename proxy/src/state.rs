//! What survives a restart: the key that signs sticky cookies, where none is configured.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::config::Config;
use crate::site::Site;

/// Bytes of a made key.
const KEY_SIZE: usize = 32;

/// The key for sticky cookies: from the state folder, made there at the first start, with access for this user only. Where
/// the folder cannot be written the key lasts as long as the process, which is told; `present` is then kept on.
pub(crate) fn sticky_key(config: &Config, present: Option<&[u8]>) -> Vec<u8> {
    let made = || present.map_or_else(random_key, <[u8]>::to_vec);
    if !Site::needs_sticky_key(config) {
        return made();
    }
    let path = folder().join("sticky.key");
    keep(&path, &made()).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "cannot keep the sticky key: bound sessions are forgotten at a restart; set sticky_key, or make the folder writable");
        made()
    })
}

/// A key that nobody has.
pub(crate) fn random_key() -> Vec<u8> {
    let mut key = vec![0; KEY_SIZE];
    getrandom::fill(&mut key).expect("invariant: the system has random bytes once it has booted");
    key
}

/// `STATE_DIRECTORY` (systemd), else the user's state folder, else a folder below the temporary one.
fn folder() -> PathBuf {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("STATE_DIRECTORY")
        .or_else(|| from("XDG_STATE_HOME").map(|state| state.join("lnmt-proxy")))
        .or_else(|| from("HOME").map(|home| home.join(".local/state/lnmt-proxy")))
        .unwrap_or_else(|| std::env::temp_dir().join("lnmt-proxy"))
}

fn keep(path: &std::path::Path, new: &[u8]) -> std::io::Result<Vec<u8>> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(mut file) => {
            file.write_all(new)?;
            Ok(new.to_vec())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let key = std::fs::read(path)?;
            if key.len() < KEY_SIZE {
                return Err(std::io::Error::other(
                    "the file is too short to be a key; remove it",
                ));
            }
            Ok(key)
        }
        Err(error) => Err(error),
    }
}
