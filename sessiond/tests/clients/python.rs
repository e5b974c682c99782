//! The Python clients: pymemcache, which speaks text, and python-binary-memcached, which speaks binary.
//!
//! The interpreter is the one that `LNMT_TEST_PYTHON` names, or the one of `.ci/run clients`, or `python3`: the first
//! that has the module.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::program::{clients_folder, find, run, suite};
use super::server::Server;
use super::support::skipped;

against_both! {
    pymemcache: super::play_pymemcache, open;
    binary_memcached: super::play_binary_memcached, open;
    binary_memcached_with_a_password: super::play_binary_memcached, guarded;
}

fn play_pymemcache(server: &Server) {
    pymemcache_at(&server.place(), None);
}

/// pymemcache's suite at an address or a Unix socket, over TLS when there is a certificate to trust.
pub(crate) fn pymemcache_at(place: &str, certificate: Option<&Path>) {
    let mut arguments = vec![OsString::from(place)];
    arguments.extend(certificate.map(Into::into));
    play("pymemcache", "pymemcache", "pymemcache_suite.py", arguments);
}

fn play_binary_memcached(server: &Server) {
    let mut arguments = vec![server.place().into()];
    if let Some((name, password)) = &server.login {
        arguments.extend([name.into(), password.into()]);
    }
    play(
        "bmemcached",
        "python-binary-memcached",
        "binary_memcached_suite.py",
        arguments,
    );
}

fn play(module: &str, package: &str, file: &str, arguments: Vec<OsString>) {
    let Some(python) = python_with(module) else {
        skipped(&format!(
            "no Python with {module} here (pip install {package}, and name the interpreter in LNMT_TEST_PYTHON)"
        ));
        return;
    };
    let all = [vec![suite(file).into()], arguments].concat();
    let said = run(&python, &all).good();
    assert!(said.ends_with("all as expected\n"), "{said}");
}

fn python_with(module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("LNMT_TEST_PYTHON").map(PathBuf::from);
    let installed = Some(clients_folder().join("bin/python3")).filter(|file| file.is_file());
    let systems = find("python3", "python3");
    let import = format!("import {module}");
    let candidates = [named, installed, systems];
    candidates
        .into_iter()
        .flatten()
        .find(|python| run(python, &["-c", &import]).well)
}
