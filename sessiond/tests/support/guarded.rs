//! Servers that want a name and a password: the files of users that ours and the real memcached read.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sessiond::Config;
use tempfile::TempDir;

use super::{Memcached, Node, skipped};

/// Who may come in where not everybody may.
pub(crate) const NAME: &str = "tomcat";
/// What proves it.
pub(crate) const PASSWORD: &str = "red-or-blue";

/// A node that wants SASL, and its files.
pub(crate) fn sessiond_with_sasl() -> (Node, TempDir) {
    let (folder, users) = users();
    let config = Config {
        enable_sasl: true,
        sasl_pwdb: users,
        ..Config::default()
    };
    (Node::start(config), folder)
}

/// A node that wants a login in the text protocol, and its files.
pub(crate) fn sessiond_with_login() -> (Node, TempDir) {
    let (folder, users) = users();
    let config = Config {
        auth_file: users,
        ..Config::default()
    };
    (Node::start(config), folder)
}

/// The real memcached with a login in the text protocol; `None`, with a message, where it is not installed.
pub(crate) fn memcached_with_login() -> Option<(Memcached, TempDir)> {
    let (folder, users) = users();
    let users = users.to_str().expect("readable");
    Some((Memcached::start_with(&["-Y", users], &[])?, folder))
}

/// The real memcached with SASL; `None`, with a message, where that cannot be. It takes its users from a database of
/// Cyrus SASL, where the host's name belongs to theirs.
pub(crate) fn memcached_with_sasl() -> Option<(Memcached, TempDir)> {
    let folder = folder();
    let database = folder.path().join("users");
    let made = Command::new("saslpasswd2")
        .args(["-p", "-c", "-a", "memcached", "-f"])
        .args([database.as_os_str(), NAME.as_ref()])
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut made) = made else {
        skipped("saslpasswd2 is not installed (apt-get install sasl2-bin)");
        return None;
    };
    let mut input = made.stdin.take().expect("piped");
    writeln!(input, "{PASSWORD}").expect("it reads");
    drop(input);
    assert!(made.wait().expect("a child of ours").success());
    std::fs::set_permissions(&database, Permissions::from_mode(0o644)).expect("made");
    let settings = format!(
        "mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\n",
        database.display()
    );
    std::fs::write(folder.path().join("memcached.conf"), settings).expect("writable");
    let variables = [("SASL_CONF_PATH", folder.path().as_os_str())];
    Some((Memcached::start_with(&["-S"], &variables)?, folder))
}

/// A file with one user, as both of ours and memcached's `-Y` read it.
fn users() -> (TempDir, PathBuf) {
    let folder = folder();
    let users = folder.path().join("users");
    std::fs::write(&users, format!("{NAME}:{PASSWORD}\n")).expect("writable");
    (folder, users)
}

/// A folder that memcached can read, which is somebody else.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
    folder
}
