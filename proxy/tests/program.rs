//! The program as an operator meets it: exit codes, messages, signals, the kept key.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxy"));
    command
        .env_clear()
        .env("STATE_DIRECTORY", folder.join("state"))
        .stdin(Stdio::null());
    command
}

/// What a run that ends by itself says, and its exit code.
fn outcome(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = program(folder).args(arguments).output().expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("an exit code"),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = program(folder)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("its log"));
        Self { child, lines }
    }

    /// The log up to a line that contains `text`.
    fn until(&mut self, text: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("a log");
            assert!(read > 0, "the log ended without `{text}`");
            if line.contains(text) {
                return line;
            }
        }
    }

    fn address(&mut self, text: &str) -> SocketAddr {
        let line = self.until(text);
        let address = line.rsplit_once("address=").expect("an address").1;
        address.trim().parse().expect("an address")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, signal).expect("it runs");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr) -> String {
    ask(address, "/")
}

fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a socket");
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn settings_are_checked_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let peers = [
        "--upstream",
        "127.0.0.1:1,127.0.0.1:2",
        "--listen",
        "127.0.0.1:0",
    ];
    assert_eq!(outcome(at, &[&peers[..], &["-t"]].concat()).0, 0);
    let (code, text) = outcome(at, &[&peers[..], &["--print-config"]].concat());
    assert_eq!(code, 0);
    assert!(
        text.contains("# flag --upstream") && text.contains("keepalive_timeout"),
        "{text}"
    );
    let (code, text) = outcome(at, &["--upstraem", "127.0.0.1:1"]);
    assert_eq!(code, 2);
    assert!(text.contains("--upstream"), "{text}");
    let (code, text) = outcome(
        at,
        &[&peers[..], &["--client-header-line", "1", "-t"]].concat(),
    );
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("client_header_line"), "{text}");
    let (code, text) = outcome(at, &[&peers[..], &["--admin", "8090", "-t"]].concat());
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("admin: `8090`"), "{text}");
    for (flag, value, why) in [
        ("--log", "proxy=loud", "log filter"),
        ("--access-log", "/nowhere/access.log", "/nowhere/access.log"),
    ] {
        let (code, text) = outcome(at, &[&peers[..], &[flag, value, "-t"]].concat());
        assert_ne!(code, 0, "{flag} {value}: {text}");
        assert!(text.contains(why), "{text}");
    }
    assert_eq!(
        outcome(
            at,
            &[&peers[..], &["--admin", "127.0.0.1:1", "healthcheck"]].concat()
        )
        .0,
        1
    );
}

#[test]
fn a_taken_port_says_which_setting_moves_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let arguments = [
        "--upstream",
        "127.0.0.1:1",
        "--listen",
        &address,
        "--worker-processes",
        "2",
    ];
    let (code, text) = outcome(folder.path(), &arguments);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains(&address) && text.contains("listen"), "{text}");
    // Also when the other one is a proxy too, whose workers share the port among themselves.
    let arguments = [
        "--upstream",
        "127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
        "--worker-processes",
        "2",
    ];
    let mut running = Running::start(folder.path(), &arguments);
    let address = running.address("listening").to_string();
    let arguments = [
        "--upstream",
        "127.0.0.1:1",
        "--listen",
        &address,
        "--worker-processes",
        "2",
    ];
    assert_eq!(outcome(folder.path(), &arguments).0, 3);
}

#[test]
fn signals_reload_and_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.toml");
    let answer = |text: &str| {
        let toml = format!(
            "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[[server]]\n[[server.location]]\npath = \"/\"\nreturn = \"200 {text}\"\n"
        );
        std::fs::write(&file, toml).expect("written");
    };
    answer("one");
    let path = file.to_str().expect("a path");
    let mut running = Running::start(folder.path(), &["-c", path]);
    let address = running.address("listening");
    let admin = running.address("admin port").to_string();
    assert!(get(address).ends_with("one"));
    assert_eq!(
        outcome(
            folder.path(),
            &["-c", path, "--admin", &admin, "healthcheck"]
        )
        .0,
        0
    );
    answer("two");
    running.signal(rustix::process::Signal::HUP);
    running.until("configuration loaded");
    assert!(get(address).ends_with("two"));
    std::fs::write(&file, "nonsense = 1\n").expect("written");
    running.signal(rustix::process::Signal::HUP);
    running.until("the old one stays in force");
    assert!(get(address).ends_with("two"));
    let metrics = ask(admin.parse().expect("an address"), "/metrics");
    assert!(
        metrics.contains("lnmt_proxy_refused_reloads_total 1"),
        "{metrics}"
    );
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn the_sticky_key_outlives_the_process_and_is_nobody_elses() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [
        "--upstream",
        "127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
        "--balance",
        "session_sticky",
    ];
    let key = folder.path().join("state/sticky.key");
    let mut first = Running::start(folder.path(), &arguments);
    first.address("listening");
    drop(first);
    let made = std::fs::read(&key).expect("a key");
    assert!(made.len() >= 32);
    let mode = std::fs::metadata(&key)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut second = Running::start(folder.path(), &arguments);
    second.address("listening");
    drop(second);
    assert_eq!(std::fs::read(&key).expect("a key"), made);
}
