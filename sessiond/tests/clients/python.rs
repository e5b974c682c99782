//! The Python clients: pymemcache, which speaks text, and python-binary-memcached, which speaks binary.
//!
//! The interpreter is the one that `LNMT_TEST_PYTHON` names, or the one of `.ci/run clients`, or `python3`: the first
//! that has the module.

use std::path::PathBuf;

use super::program::{clients_folder, find, run, suite};
use super::server::Server;
use super::support::skipped;

against_both! {
    #[ignore = "waits for stats settings"]
    pymemcache: super::play_pymemcache, open;
    binary_memcached: super::play_binary_memcached, open;
    binary_memcached_with_a_password: super::play_binary_memcached, guarded;
}

fn play_pymemcache(server: &Server) {
    play("pymemcache", "pymemcache", "pymemcache_suite.py", server);
}

fn play_binary_memcached(server: &Server) {
    play(
        "bmemcached",
        "python-binary-memcached",
        "binary_memcached_suite.py",
        server,
    );
}

fn play(module: &str, package: &str, file: &str, server: &Server) {
    let Some(python) = python_with(module) else {
        skipped(&format!(
            "no Python with {module} here (pip install {package}, and name the interpreter in LNMT_TEST_PYTHON)"
        ));
        return;
    };
    let mut arguments = vec![suite(file).into_os_string(), server.place().into()];
    if let Some((name, password)) = &server.login {
        arguments.extend([name.into(), password.into()]);
    }
    let said = run(&python, &arguments).good();
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
