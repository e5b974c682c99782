//! The program itself, as a process.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::until;

/// Our program with these arguments.
pub(crate) fn sessiond(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessiond"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What it says and how it ends.
pub(crate) fn output(arguments: &[&str]) -> Output {
    sessiond(arguments).output().expect("it runs")
}

/// A program that runs; killed when dropped.
pub(crate) struct Program {
    child: Child,
    folder: tempfile::TempDir,
}

impl Program {
    /// Starts it, without waiting for anything.
    pub(crate) fn spawn(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("writable");
        let mut command = sessiond(arguments);
        command.env("MEMCACHED_PORT_FILENAME", folder.path().join("ports"));
        let child = command.stderr(log).spawn().expect("it starts");
        Self { child, folder }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let program = Self::spawn(arguments);
        program.ports();
        program
    }

    /// The open ports as it tells them: `TCP INET` and the port.
    pub(crate) fn ports(&self) -> Vec<(String, u16)> {
        let file = self.file("ports");
        let text = until("it tells its ports", || std::fs::read_to_string(&file).ok());
        let port = |line: &str| {
            let (name, port) = line.split_once(": ").expect("a name and a port");
            (name.to_owned(), port.parse().expect("a port"))
        };
        text.lines().map(port).collect()
    }

    /// The address of the first TCP port, on loopback.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port("TCP INET")))
    }

    /// The first port of this kind.
    pub(crate) fn port(&self, kind: &str) -> u16 {
        let ports = self.ports();
        let found = ports.iter().find(|(name, _)| name == kind);
        found.expect("open").1
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).expect("a log")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        kilobytes.map_or(0, |kilobytes: usize| kilobytes * 1024)
    }

    /// Sends it a signal.
    pub(crate) fn send(&self, signal: &str) {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
    }

    /// Sends it a signal that ends it, and waits for the end.
    pub(crate) fn signal(&mut self, signal: &str) -> ExitStatus {
        self.send(signal);
        until("it ends", || {
            self.child.try_wait().expect("a child of ours")
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
