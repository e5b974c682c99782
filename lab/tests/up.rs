//! `lab up`: the stage answers, says what happens to it, and leaves no process behind, however it ends.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use support::{Running, children, free_address, get, gone, lab, run, signal, text, wait_for};

/// The settings that place a node, proxy first.
const PLACES: [&str; 12] = [
    "listen",
    "admin",
    "tomcat-a",
    "tomcat-a-admin",
    "tomcat-b",
    "tomcat-b-admin",
    "n1",
    "n1-admin",
    "n2",
    "n2-admin",
    "tomcat-a-receiver",
    "tomcat-b-receiver",
];

/// `lab up` on free ports, and where its proxy listens.
fn up(arguments: &[&str]) -> (Command, SocketAddr) {
    let proxy = free_address();
    let mut command = lab(["up"]);
    for setting in PLACES {
        let address = if setting == "listen" {
            proxy
        } else {
            free_address()
        };
        command.arg(format!("--{setting}")).arg(address.to_string());
    }
    command.args(arguments);
    (command, proxy)
}

fn output(folder: &Path) -> String {
    ["out.txt", "err.txt"]
        .map(|name| std::fs::read_to_string(folder.join(name)).unwrap_or_default())
        .concat()
}

fn wait_for_output(folder: &Path, wanted: &str) {
    let mut last = String::new();
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while !last.contains(wanted) {
        assert!(
            std::time::Instant::now() < deadline,
            "no `{wanted}` in:\n{last}"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
        last = output(folder);
    }
}

/// The process id in the line `… NODE up process ID` or `… restarted, process ID`, the last there is.
fn process_of(folder: &Path, node: &str) -> u32 {
    let output = output(folder);
    let line = output.lines().rfind(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&node) && words.get(3) == Some(&"process")
    });
    let id = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
    id.unwrap_or_else(|| panic!("{node} is not up:\n{output}"))
}

#[test]
fn the_stage_answers_reports_a_death_and_stops_on_ctrl_c() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (command, proxy) = up(&[]);
    let mut running = Running::start(command, folder.path());
    for node in ["n1", "n2", "TomcatA", "TomcatB", "proxy"] {
        wait_for_output(folder.path(), &format!("{node:8} up"));
    }
    let said = output(folder.path());
    for line in [
        format!("http://{proxy}/jsp/"),
        "mode      round_robin".into(),
        "expect".into(),
    ] {
        assert!(said.contains(&line), "{line} is in\n{said}");
    }
    let titles = [get(proxy, "/jsp/"), get(proxy, "/test/")].map(|page| page.expect("a page"));
    for title in ["<title>TomcatA", "<title>TomcatB"] {
        assert!(
            titles.iter().any(|page| page.contains(title)),
            "{title} is in {titles:?}"
        );
    }
    let nodes = children(running.0.id());
    assert_eq!(nodes.len(), 5, "each node is a process of its own");

    signal(process_of(folder.path(), "TomcatA"), "-KILL");
    wait_for_output(
        folder.path(),
        "TomcatA  down  was killed by signal 9 (SIGKILL)",
    );
    let survivor = get(proxy, "/jsp/").expect("a page");
    assert!(survivor.contains("<title>TomcatB"), "{survivor}");

    signal(running.0.id(), "-INT");
    assert_eq!(running.wait(), Some(130), "{}", output(folder.path()));
    assert!(nodes.into_iter().all(gone), "no node is left");
    assert!(TcpListener::bind(proxy).is_ok(), "the port is free again");
}

#[test]
fn a_killed_lab_leaves_no_process_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (command, _) = up(&[]);
    let mut running = Running::start(command, folder.path());
    wait_for_output(folder.path(), "proxy    up");
    let nodes = children(running.0.id());
    assert_eq!(nodes.len(), 5);
    // A stopped process can react to nothing any more; it must go all the same.
    signal(process_of(folder.path(), "n1"), "-STOP");
    running.0.kill().expect("killed with SIGKILL");
    running.0.wait().expect("reaped");
    wait_for("no node", || nodes.iter().all(|id| gone(*id)));
}

#[test]
fn the_mode_of_the_environment_holds_and_a_dead_node_is_started_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut command, _) = up(&["--restart"]);
    command.env("MODE", "ip_hash");
    let mut running = Running::start(command, folder.path());
    wait_for_output(folder.path(), "proxy    up");
    wait_for_output(folder.path(), "  mode     ip_hash\n");
    let before = process_of(folder.path(), "n1");
    signal(before, "-KILL");
    wait_for_output(folder.path(), "n1       down");
    wait_for("n1 with a new process", || {
        process_of(folder.path(), "n1") != before
    });
    signal(running.0.id(), "-TERM");
    assert_eq!(running.wait(), Some(0), "{}", output(folder.path()));
}

#[test]
fn the_stores_are_the_real_memcached_where_that_is_asked_for() {
    if !lab::store::memcached().is_some_and(|file| file.is_file()) {
        // Past the test harness, which keeps what good tests print.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: memcached is not installed (apt-get install memcached)"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let n1 = free_address();
    // Its admin port is not wanted, so it may be taken.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let admin = taken.local_addr().expect("bound");
    let (mut command, _) = up(&[]);
    command.env("STORE", "memcached");
    command.args([format!("--n1={n1}"), format!("--n1-admin={admin}")]);
    let mut running = Running::start(command, folder.path());
    wait_for_output(folder.path(), "proxy    up");
    let said = output(folder.path());
    let row = format!("n1        {n1:<16} the real memcached");
    assert!(said.contains(&row), "{row} is in\n{said}");
    assert!(said.contains("store     memcached"), "{said}");
    let mut stream = TcpStream::connect(n1).expect("it listens");
    stream
        .write_all(b"stats settings\r\nquit\r\n")
        .expect("it reads");
    let mut settings = String::new();
    stream.read_to_string(&mut settings).expect("it answers");
    assert!(settings.contains("STAT slab_automove "), "{settings}");

    // It is on the leash too.
    let nodes = children(running.0.id());
    assert_eq!(nodes.len(), 5);
    running.0.kill().expect("killed with SIGKILL");
    running.0.wait().expect("reaped");
    wait_for("no node", || nodes.iter().all(|id| gone(*id)));
}

#[test]
fn a_memcached_that_is_not_installed_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for arguments in [["up"], ["run"], ["load"]] {
        let mut command = lab(arguments);
        command
            .env("LNMT_STORE", "memcached")
            .env("PATH", folder.path())
            .current_dir(folder.path());
        let output = command.output().expect("lab runs");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(error.contains("apt-get install memcached"), "{error}");
    }
    assert!(
        !folder.path().join("lab-runs").exists(),
        "nothing was begun"
    );
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_its_setting() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let (mut command, _) = up(&[]);
    // The setting is in the environment, and the flag of `up` would win.
    let mut arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let flag = arguments
        .iter()
        .position(|argument| argument == "--tomcat-b")
        .expect("there");
    arguments.drain(flag..flag + 2);
    command = lab(arguments);
    command
        .env("LNMT_TOMCAT_B", &address)
        .current_dir(folder.path());
    let output = command.output().expect("lab runs");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    let me = format!("process {}", std::process::id());
    for said in [
        &format!("TomcatB cannot listen on {address}"),
        &me,
        "--tomcat-b",
        "LNMT_TOMCAT_B",
    ] {
        assert!(error.contains(said), "{said} is in\n{error}");
    }
    assert!(
        !folder.path().join("lab-runs").exists(),
        "nothing was begun"
    );
}

#[test]
fn a_node_that_does_not_start_ends_the_start_with_its_last_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut command, _) = up(&["--log", "=="]);
    let output = command
        .current_dir(folder.path())
        .output()
        .expect("lab runs");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    for said in [
        "does not become ready: it exited with code 2",
        "cannot use `==` as the log filter",
    ] {
        assert!(error.contains(said), "{said} is in\n{error}");
    }
}

#[test]
fn wrong_settings_are_usage_errors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (arguments, said) in [
        ("up --mode stiky", "there is no mode `stiky`"),
        ("up --store redis", "there is no store `redis`"),
        ("run --store redis", "there is no store `redis`"),
        ("up --lisen 127.0.0.1:1", "--listen"),
        ("up --tomcat-a nowhere", "in `tomcat_a`; write IP:PORT"),
    ] {
        let output = run(arguments.split(' '), folder.path());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains(said), "{arguments}: {error}");
    }
}
