//! Servers for the tests: ours in this process on a free port, and the real memcached as a child where it is installed.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod bystander;
pub(crate) mod guarded;
pub(crate) mod process;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use program::Failure;
use sessiond::Config;
use tokio_util::sync::CancellationToken;

/// The longest wait for anything in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A node in this process; stops when dropped.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl Node {
    /// A node with these settings, on free ports.
    pub(crate) fn start(config: Config) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            listen: any.into(),
            admin: any.to_string(),
            ..config
        };
        config.validate().expect("good settings");
        let listeners = sessiond::bind(&config).expect("free ports");
        let address = listeners.clients[0].address().expect("TCP");
        let admin = listeners.admin.as_ref().expect("wanted");
        let admin = admin.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("an event loop");
            runtime.block_on(sessiond::serve(listeners, config, stopped))
        });
        Self {
            address,
            admin,
            stop,
            thread: Some(thread),
        }
    }

    /// Asks the node to stop, without waiting for it.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the node and waits for its end.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.stop.cancel();
        self.thread
            .take()
            .expect("running")
            .join()
            .expect("no panic")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The real memcached, on a free port; killed when dropped.
pub(crate) struct Memcached {
    pub(crate) address: SocketAddr,
    /// Where it takes datagrams, when started with `-U -1`.
    pub(crate) udp: Option<SocketAddr>,
    child: Child,
}

impl Memcached {
    /// Starts it; `None`, with a message, where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[], &[])
    }

    /// Starts it with more arguments and variables; `None`, with a message, where it is not installed.
    pub(crate) fn start_with(arguments: &[&str], variables: &[(&str, &OsStr)]) -> Option<Self> {
        // Tests of one process run side by side.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("lnmt-memcached-{}-{number}", std::process::id());
        let ports = std::env::temp_dir().join(name);
        let child = Command::new("memcached")
            .args(["-l", "127.0.0.1", "-p", "-1", "-U", "0", "-u", "nobody"])
            .args(arguments)
            .envs(variables.iter().copied())
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            skipped("memcached is not installed (apt-get install memcached)");
            return None;
        };
        let told = until("memcached names its ports", || {
            std::fs::read_to_string(&ports).ok()
        });
        let _ = std::fs::remove_file(&ports);
        let address = |kind| {
            let port = told.lines().find_map(|line| line.strip_prefix(kind))?;
            let port = port.trim().parse().expect("a port");
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        Some(Self {
            address: address("TCP INET: ").expect("open"),
            udp: address("UDP INET: "),
            child,
        })
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that a test has nothing to do here, and why; past the test harness, which keeps what good tests print.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Asks again and again until there is an answer, but not for ever.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A connection with a bound on every wait.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("settable");
    stream.set_write_timeout(Some(PATIENCE)).expect("settable");
    stream
}

/// Sends `request` and reads as many bytes as `expected` has.
pub(crate) fn exchange(stream: &mut TcpStream, request: &[u8], expected: &str) {
    stream.write_all(request).expect("it reads");
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}

/// The body of an answer of the admin port.
pub(crate) fn admin(node: &Node, path: &str) -> (u16, String) {
    let mut stream = connect(node.admin);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}
