//! spymemcached, the client inside session managers for Tomcat: text, binary, and binary with SASL PLAIN.

use std::ffi::OsString;
use std::path::Path;

use super::program::{find, run, suite};
use super::server::Server;
use super::support::skipped;

against_both! {
    spymemcached_text: super::play_text, open;
    spymemcached_binary: super::play_binary, open;
    spymemcached_with_a_password: super::play_binary, guarded;
}

/// Where Debian's libspymemcached-java puts it.
const JAR: &str = "/usr/share/java/spymemcached.jar";

fn play_text(server: &Server) {
    play(server, "text");
}

fn play_binary(server: &Server) {
    play(server, "binary");
}

fn play(server: &Server, protocol: &str) {
    // The compiler too: the suite is run from its source.
    let (Some(java), Some(_)) = (
        find("java", "default-jdk-headless"),
        find("javac", "default-jdk-headless"),
    ) else {
        return;
    };
    if !Path::new(JAR).is_file() {
        skipped("spymemcached is not installed (apt-get install libspymemcached-java)");
        return;
    }
    let mut arguments: Vec<OsString> = vec![
        // A small program, of which many run at once.
        "-XX:+UseSerialGC".into(),
        "-Xmx128m".into(),
        "-cp".into(),
        JAR.into(),
        suite("Spymemcached.java").into(),
        server.place().into(),
        protocol.into(),
    ];
    if let Some((name, password)) = &server.login {
        arguments.extend([name.into(), password.into()]);
    }
    let said = run(&java, &arguments);
    let errors = said.errors.clone();
    let said = said.good();
    assert!(said.ends_with("all as expected\n"), "{said}\n{errors}");
}
