//! Connections and the end: keep-alive, idle and slow clients, drain within the grace, and the program itself with signals.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use program::units;
use support::{Node, read_one, read_reply, send, until};

fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("connected");
}

#[test]
fn a_connection_serves_many_requests_also_pipelined() {
    let node = Node::start();
    let mut stream = node.connect();
    write(&mut stream, "GET /jsp/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = read_one(&mut stream);
    let cookie = first
        .field("set-cookie")
        .and_then(|c| c.split(';').next())
        .expect("new");
    let request = format!("GET /jsp/api/count HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
    write(&mut stream, &request.repeat(3));
    for expected in 1..=3 {
        assert_eq!(read_one(&mut stream).json()["value"], expected);
    }
    assert_eq!(node.status()["connections"], 1);
}

#[test]
fn an_idle_or_slow_client_is_let_go() {
    let node = Node::with(|config| config.keepalive_timeout = units::Duration::millis(100));
    let mut idle = node.connect();
    let mut slow = node.connect();
    write(&mut slow, "GET /jsp/ HTTP/1.1\r\nHost: ");
    for stream in [&mut idle, &mut slow] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed in order");
        assert!(rest.is_empty(), "{rest:?}");
    }
    let mut busy = node.connect();
    write(
        &mut busy,
        "GET /jsp/api/slow?ms=300 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(
        read_one(&mut busy).status,
        200,
        "a running request is not idle"
    );
    until("all are gone", || node.status()["open_connections"] == 0);
}

#[test]
fn a_form_that_never_arrives_is_given_up() {
    let node = Node::with(|config| config.body_timeout = units::Duration::millis(100));
    let mut stream = node.connect();
    write(
        &mut stream,
        "POST /jsp/cart HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ngood",
    );
    assert_eq!(read_one(&mut stream).status, 408);
}

#[test]
fn rubbish_harms_nobody() {
    let node = Node::start();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000));
    let fields = format!(
        "GET /jsp/ HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(1000)
    );
    for (request, status) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
        ("GET /jsp/\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\n\r\n", 400),
        (&long, 431),
        (&fields, 431),
        (
            "POST /jsp/api/set HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            400,
        ),
    ] {
        let mut stream = node.connect();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let answered = answer
            .split(' ')
            .nth(1)
            .map_or(0, |s| s.parse().unwrap_or(0));
        assert_eq!(answered, status, "{request:.40}: {answer}");
    }
    assert_eq!(node.get("/jsp/").status, 200);
}

#[test]
fn above_the_limit_connections_wait_their_turn() {
    let node = Node::with(|config| config.max_connections = 1);
    let mut first = node.connect();
    write(&mut first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(read_one(&mut first).status, 200);
    let mut second = node.connect();
    write(
        &mut second,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(node.status()["connections"], 1);
    drop(first);
    assert_eq!(read_reply(&mut second).status, 200);
}

#[test]
fn a_stopping_node_finishes_what_runs_and_takes_nothing_new() {
    let node = Node::start();
    let mut idle = node.connect();
    write(&mut idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    read_one(&mut idle);
    let mut slow = node.connect();
    write(
        &mut slow,
        "GET /jsp/api/slow?ms=300 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    until("the slow request runs", || {
        node.status()["connections"] == 2
    });
    let (address, admin) = (node.address, node.admin);
    assert_eq!(send(admin, "GET", "/readyz", &[], "").status, 200);
    node.stop();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest)
        .expect("an idle connection is closed at once");
    until("it takes nothing new", || {
        TcpStream::connect(address).is_err()
    });
    let ready = send(admin, "GET", "/readyz", &[], "");
    assert_eq!((ready.status, ready.body.as_str()), (503, "stopping\n"));
    assert_eq!(send(admin, "GET", "/livez", &[], "").status, 200);
    let last = read_reply(&mut slow);
    assert_eq!(last.status, 200);
    assert_eq!(last.field("connection"), Some("close"));
    node.join();
}

#[test]
fn the_grace_has_an_end() {
    let node = Node::with(|config| config.shutdown_grace = units::Duration::millis(100));
    let mut slow = node.connect();
    write(
        &mut slow,
        "GET /jsp/api/slow?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    until("the slow request runs", || {
        node.status()["connections"] == 1
    });
    let start = Instant::now();
    node.stop();
    node.join();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn metrics_are_open_metrics() {
    let node = Node::start();
    node.get("/jsp/");
    node.get("/nothing");
    let metrics = send(node.admin, "GET", "/metrics", &[], "");
    assert!(
        metrics
            .field("content-type")
            .is_some_and(|t| t.starts_with("application/openmetrics-text"))
    );
    for line in [
        "lnmt_appserver_requests_total 2",
        "lnmt_appserver_client_errors_total 1",
        "lnmt_appserver_active_sessions{context=\"/jsp\"} 1",
        "lnmt_appserver_created_sessions_total{context=\"/test\"} 0",
        "lnmt_appserver_ready 1",
    ] {
        assert!(
            metrics.body.lines().any(|l| l == line),
            "{line} is not in\n{}",
            metrics.body
        );
    }
    assert!(metrics.body.ends_with("# EOF\n"));
    let status = node.status();
    assert_eq!(
        (&status["node"], &status["mode"]),
        (&"TomcatA".into(), &"round_robin".into())
    );
}

/// The program as a child process; killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_appserver"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn the_program_serves_tells_its_health_and_stops_at_a_signal() {
    // A port that was free a moment ago; the health check needs to know it beforehand.
    let admin = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let admin = admin.expect("a free port").to_string();
    let healthy = || program(&["healthcheck"]).env("LNMT_ADMIN", &admin).status();
    assert_eq!(
        healthy().expect("it runs").code(),
        Some(1),
        "nobody is there yet"
    );
    let child = program(&[
        "--listen",
        "127.0.0.1:0",
        "--admin",
        &admin,
        "--access-log",
        "combined",
    ])
    .spawn();
    let mut child = Program(child.expect("it starts"));
    let mut log = BufReader::new(child.0.stderr.take().expect("piped"));
    let mut line = String::new();
    log.read_line(&mut line).expect("it says where it serves");
    let address = line
        .split("listening=")
        .nth(1)
        .expect(&line)
        .trim()
        .parse()
        .expect("an address");
    until("it is healthy", || healthy().is_ok_and(|s| s.success()));
    assert_eq!(send(address, "GET", "/jsp/", &[], "").status, 200);
    let mut lines = BufReader::new(child.0.stdout.take().expect("piped"));
    let mut logged = String::new();
    lines.read_line(&mut logged).expect("the access log");
    assert!(
        logged.starts_with("127.0.0.1 - - [") && logged.contains("\"GET /jsp/ HTTP/1.1\" 200 "),
        "{logged}"
    );
    let terminate = Command::new("kill")
        .args(["-TERM", &child.0.id().to_string()])
        .status();
    assert!(terminate.expect("kill").success());
    assert_eq!(child.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn the_program_checks_prints_and_refuses() {
    let output = |arguments: &[&str]| {
        let output = program(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = output(&["--jvm-route", "WEB1", "--print-config"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("jvm_route = \"WEB1\"") && text.contains("# flag --jvm-route"),
        "{text}"
    );
    assert_eq!(output(&["-t"]).0, Some(0));
    assert_eq!(output(&["-t", "--mode", "persistent"]).0, Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, text) = output(&["--listen", &address]);
    assert_eq!(code, Some(3));
    assert!(
        text.contains("--listen") && text.contains("another process has the port"),
        "{text}"
    );
}
