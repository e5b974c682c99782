//! The program as an operator meets it: exit codes, messages, signals.

mod support;

use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use support::until;

fn sessiond(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessiond"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    sessiond(arguments).output().expect("it runs")
}

/// An address that nobody has at this moment.
fn free() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

struct Running(Child);

impl Running {
    fn signal(&mut self, name: &str) -> ExitStatus {
        let sent = Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
        until("it ends", || self.0.try_wait().expect("a child of ours"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_tells_its_health_and_ends_in_order_when_asked_to() {
    for signal in ["TERM", "INT", "QUIT"] {
        let (listen, admin) = (free(), free());
        let addresses = ["--listen", &listen, "--admin", &admin];
        let asked = [&addresses[..], &["healthcheck"]].concat();
        let without_admin = ["--listen", &listen, "healthcheck"];
        assert_eq!(output(&asked).status.code(), Some(1));
        let child = sessiond(&addresses).stderr(Stdio::null()).spawn();
        let mut node = Running(child.expect("it starts"));
        until("it is healthy", || {
            output(&asked).status.success().then_some(())
        });
        assert!(output(&without_admin).status.success());
        assert_eq!(node.signal(signal).code(), Some(0), "{signal}");
        assert_eq!(output(&asked).status.code(), Some(1));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_own_exit_code() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for (arguments, code, told) in [
        (
            ["--listen", &address],
            3,
            "choose another address with --listen",
        ),
        (["--lisen", "x"], 2, "--listen"),
        (["-m", "1"], 2, "write at least 8m"),
        (["--admin", "nowhere"], 2, "write IP:PORT"),
    ] {
        let output = output(&arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(told), "{message}");
    }
}
