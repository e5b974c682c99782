//! A node on ports of its own, with a clock that the test moves, and a client that speaks plain HTTP.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod store;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use appserver::session::Timestamp;
use appserver::{Clock, Config, Listeners};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// When the clock begins: the moment of the captured page.
pub(crate) const START: u64 = 1_795_389_871_564;

/// A running node; stopped when dropped.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) clock: Clock,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// A node with the default settings, on free ports.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// A node with changed settings.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::at(Clock::manual(Timestamp(START)), change)
    }

    /// A node with this clock.
    pub(crate) fn at(clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            workers: 2,
            ..Config::default()
        };
        change(&mut config);
        let bind = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.set_nonblocking(true).expect("possible");
            let address = listener.local_addr().expect("bound");
            (listener, address)
        };
        let ((applications, address), (admin_listener, admin)) = (bind(), bind());
        let stop = CancellationToken::new();
        let (stopped, its_clock) = (stop.clone(), clock.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let listeners = Listeners {
                applications,
                admin: Some(admin_listener),
            };
            let serve = appserver::serve(listeners, config, its_clock, stopped.cancelled_owned());
            runtime.block_on(serve).expect("it serves");
        });
        Self {
            address,
            admin,
            clock,
            stop,
            thread: Some(thread),
        }
    }

    /// Tells it to stop; does not wait.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has stopped.
    pub(crate) fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends well");
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// `GET` without a cookie.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    /// One request on a connection of its own.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        send(self.address, method, path, fields, body)
    }

    /// The state from the admin port.
    pub(crate) fn status(&self) -> Json {
        send(self.admin, "GET", "/status", &[], "").json()
    }

    /// A new browser.
    pub(crate) fn browser(&self) -> Browser {
        Browser {
            address: self.address,
            cookie: None,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the node failed");
        }
    }
}

/// A client that keeps the session cookie.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) address: SocketAddr,
    pub(crate) cookie: Option<String>,
}

impl Browser {
    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, "")
    }

    pub(crate) fn post(&mut self, path: &str, form: &str) -> Reply {
        self.send("POST", path, form)
    }

    fn send(&mut self, method: &str, path: &str, form: &str) -> Reply {
        let mut fields = Vec::new();
        if let Some(cookie) = &self.cookie {
            fields.push(("Cookie", cookie.as_str()));
        }
        if !form.is_empty() {
            fields.push(("Content-Type", "application/x-www-form-urlencoded"));
        }
        let reply = send(self.address, method, path, &fields, form);
        if let Some(set) = reply.field("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        reply
    }

    /// The id in the cookie.
    pub(crate) fn id(&self) -> &str {
        let cookie = self.cookie.as_deref().expect("a cookie");
        cookie.split_once('=').expect("name=value").1
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    /// The value of a field, if it is there; twice is a failure.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self
            .fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let values: Vec<&str> = values.map(|(_, v)| v.as_str()).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().copied()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("possible");
    stream.set_write_timeout(Some(PATIENCE)).expect("possible");
    stream
}

pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
        head += "Host: lab:8080\r\n";
    }
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    if method == "POST" || !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut stream = connect(address);
    let request = format!("{head}\r\n{body}");
    // The node may answer and close before it has read all of a refused form.
    let _ = stream.write_all(request.as_bytes());
    read_reply(&mut stream)
}

/// Reads to the end of the connection.
pub(crate) fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    assert!(ended.is_ok() || !bytes.is_empty(), "no answer: {ended:?}");
    parse(&bytes)
}

/// Reads one answer of a connection that stays open.
pub(crate) fn read_one(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        bytes.push(byte[0]);
    }
    let head = parse(&bytes);
    let length = head.field("content-length").and_then(|l| l.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).expect("the body");
    Reply {
        body: String::from_utf8(body).expect("text"),
        ..head
    }
}

fn parse(bytes: &[u8]) -> Reply {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1)?.parse().ok());
    let fields = lines.filter_map(|l| l.split_once(':'));
    let fields = fields.map(|(n, v)| (n.to_owned(), v.trim().to_owned()));
    Reply {
        status: status.expect("a status"),
        fields: fields.collect(),
        body: body.to_owned(),
    }
}

/// Waits for a condition, for a bounded time.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
