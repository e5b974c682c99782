//! For the tests of the program: running `lab`, asking it things, and a foreign site with faults to be found.
#![allow(
    dead_code,
    reason = "each test file uses its part of this module and compiles it anew"
)]

pub(crate) mod foreign;
pub(crate) mod pair;
pub(crate) mod tomcat;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// `lab ARGUMENTS…` with its run folder in `folder`, nothing of the tester's environment in it.
pub(crate) fn lab<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(LAB);
    command
        .args(arguments)
        .env_remove("MODE")
        .env_remove("STORE")
        .env_remove("APP_A")
        .env_remove("APP_B")
        .env_remove("COLUMNS");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LNMT_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `lab` to its end.
pub(crate) fn run<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    folder: &Path,
) -> Output {
    let mut command = lab(arguments);
    command.current_dir(folder).output().expect("lab runs")
}

/// A text, for messages.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A port on 127.0.0.1 that nobody has at this moment.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

/// The body of `GET path`, or the reason why there is none.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(|e| format!("{address}{path}: {e}"))
}

/// Waits for a condition.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The state letter of a process; `None` when there is no such process.
pub(crate) fn state(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process is gone. A zombie whose new parent does not reap is as dead as no process.
pub(crate) fn gone(id: u32) -> bool {
    matches!(state(id), None | Some('Z'))
}

/// The processes whose parent is `parent`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        fields
            .split(' ')
            .nth(1)
            .and_then(|field| field.parse().ok())
            == Some(parent)
    };
    ids.filter(is_child).collect()
}

/// Sends a signal by its name, such as `-INT`.
pub(crate) fn signal(id: u32, name: &str) {
    let sent = Command::new("/bin/kill")
        .args([name, &id.to_string()])
        .status();
    assert!(sent.expect("kill runs").success(), "kill {name} {id}");
}

/// A running `lab`, killed when the test ends.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts it with its output in `out.txt` and `err.txt` of `folder`.
    pub(crate) fn start(mut command: Command, folder: &Path) -> Self {
        let file = |name: &str| std::fs::File::create(folder.join(name)).expect("a file");
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file("out.txt"))
            .stderr(file("err.txt"))
            .spawn();
        Self(child.expect("lab starts"))
    }

    /// The exit code, once it has ended.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut code = None;
        wait_for("the end of lab", || {
            match self.0.try_wait().expect("its child") {
                Some(status) => {
                    code = status.code();
                    true
                }
                None => false,
            }
        });
        code
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
