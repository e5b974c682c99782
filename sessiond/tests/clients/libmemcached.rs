//! libmemcached's programs: `memccapable`, which tests servers, and the tools, over text and over binary.

use std::collections::BTreeSet;
use std::path::Path;

use super::program::{Said, find, run};
use super::server::Server;

against_both! {
    capable_text: super::capable_text, open;
    capable_binary: super::capable_binary, open;
    tools_text: super::tools_text, open;
    tools_binary: super::tools_binary, open;
    tools_with_a_password: super::tools_binary, guarded;
    dump: super::dump, open;
    load: super::load, open;
}

const PACKAGE: &str = "libmemcached-tools";

fn capable_text(server: &Server) {
    capable(server, "-a");
}

fn capable_binary(server: &Server) {
    capable(server, "-b");
}

fn capable(server: &Server, protocol: &str) {
    let Some(program) = find("memccapable", PACKAGE) else {
        return;
    };
    let address = server.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let said = run(&program, &["-h", &host, "-p", &port, "-t", "10", protocol]);
    let passed = said.output.matches("[pass]").count();
    assert!(
        said.well && passed >= 27 && said.output.ends_with("All tests passed\n"),
        "{said:?}"
    );
}

/// Runs the tools against one server.
struct Tools<'a> {
    server: &'a Server,
    binary: bool,
}

impl Tools<'_> {
    fn ask(&self, program: &Path, arguments: &[&str]) -> Said {
        let mut all = vec![format!("--servers={}", self.server.place())];
        if self.binary {
            all.push("--binary".to_owned());
        }
        if let Some((name, password)) = &self.server.login {
            all.push(format!("--username={name}"));
            all.push(format!("--password={password}"));
        }
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        run(program, &all)
    }
}

fn tools_text(server: &Server) {
    tools(&Tools {
        server,
        binary: false,
    });
}

fn tools_binary(server: &Server) {
    tools(&Tools {
        server,
        binary: true,
    });
}

fn tools(tools: &Tools<'_>) {
    let names = [
        "memccp",
        "memccat",
        "memcexist",
        "memctouch",
        "memcrm",
        "memcflush",
        "memcstat",
        "memcping",
    ];
    let mut programs = Vec::new();
    for name in names {
        let Some(program) = find(name, PACKAGE) else {
            return;
        };
        programs.push(program);
    }
    let [copy, cat, exist, touch, remove, flush, stat, ping] = &programs[..] else {
        unreachable!("as many as names");
    };
    let files = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = files.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        path.to_string_lossy().into_owned()
    };
    // It knows no names: it asks with a command that is let through before them.
    if tools.server.login.is_none() {
        let place = format!("--servers={}", tools.server.place());
        run(ping, &[&place]).good();
    }
    tools.ask(flush, &[]).good();
    let session = file("session", "apple ".repeat(3000).as_bytes());
    tools
        .ask(copy, &["--flags=7", "--expire=3600", &session])
        .good();
    assert_eq!(
        tools.ask(cat, &["session"]).good().trim_end(),
        "apple ".repeat(3000).trim_end()
    );
    let flags = tools.ask(cat, &["--flags", "session"]).good();
    assert!(flags.trim_start().starts_with('7'), "{flags:.100}");
    tools.ask(exist, &["session"]).good();
    tools.ask(exist, &["absent"]).bad();
    tools.ask(touch, &["--expire=1000", "session"]).good();
    tools.ask(touch, &["--expire=1000", "absent"]).bad();
    let second = file("second", b"2");
    tools.ask(copy, &["--add", &session]).bad();
    tools.ask(copy, &["--replace", &second]).bad();
    tools.ask(copy, &["--add", &second]).good();
    tools.ask(copy, &["--replace", &second]).good();
    let large = file("large", &vec![b'x'; 1_000_000]);
    tools.ask(copy, &[&large]).good();
    assert_eq!(
        tools.ask(cat, &["large"]).good().trim_end().len(),
        1_000_000
    );
    let too_large = file("too-large", &vec![b'x'; 1_100_000]);
    tools.ask(copy, &[&too_large]).bad();
    let both = tools.ask(cat, &["session", "second"]).good();
    assert!(both.trim_end().ends_with('2'), "{both}");
    tools.ask(remove, &["second"]).good();
    tools.ask(remove, &["second"]).bad();
    tools.ask(cat, &["second"]).bad();
    let stats = tools.ask(stat, &[]).good();
    assert!(
        stats.contains("version: 1.6.18") && stats.contains("curr_items: 2"),
        "{stats}"
    );
    let settings = tools.ask(stat, &["settings"]).good();
    assert!(settings.contains("item_size_max: 1048576"), "{settings}");
    let version = tools.ask(stat, &["--server-version"]);
    assert!(
        version.well && version.errors.contains("1.6.18"),
        "{version:?}"
    );
    tools.ask(flush, &[]).good();
    tools.ask(exist, &["session"]).bad();
}

/// Text only: it reads `stats cachedump` of each class.
fn dump(server: &Server) {
    let (Some(copy), Some(dump)) = (find("memccp", PACKAGE), find("memcdump", PACKAGE)) else {
        return;
    };
    let tools = Tools {
        server,
        binary: false,
    };
    let files = tempfile::tempdir().expect("a folder");
    let mut paths = Vec::new();
    for number in 0..20 {
        let path = files.path().join(format!("key-{number:02}"));
        // Of different sizes, so of different classes in memcached.
        std::fs::write(&path, vec![b'x'; 1 << (number % 14)]).expect("writable");
        paths.push(path.to_string_lossy().into_owned());
    }
    let arguments: Vec<&str> = paths.iter().map(String::as_str).collect();
    tools.ask(&copy, &arguments).good();
    let listed = tools.ask(&dump, &[]).good();
    let keys: BTreeSet<&str> = listed.lines().collect();
    let all: BTreeSet<String> = (0..20).map(|number| format!("key-{number:02}")).collect();
    let all = all.iter().map(String::as_str).collect();
    assert!(keys.is_subset(&all), "{keys:?}");
    // memcached shows one of several lists a class, so it may leave items out that are new.
    let least = if server.is_sessiond() { 20 } else { 15 };
    assert!(keys.len() >= least, "{keys:?}");
}

/// Many requests from many threads; the generator complains of every answer that it did not expect.
fn load(server: &Server) {
    let Some(slap) = find("memcslap", PACKAGE) else {
        return;
    };
    for binary in [false, true] {
        let tools = Tools { server, binary };
        for test in ["set", "get", "mget"] {
            let arguments = [
                &format!("--test={test}"),
                "--concurrency=4",
                "--execute-number=500",
                "--initial-load=500",
            ];
            let said = tools.ask(&slap, &arguments);
            assert!(said.errors.trim().is_empty(), "{test} {binary} {said:?}");
            said.good();
        }
    }
}
