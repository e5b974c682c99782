//! What clients cannot do: be too many, take more than their share of memory, stop a stop, or break anything by what
//! they send.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use program::Size;
use sessiond::Config;
use sessiond::config::MemoryLimit;
use support::{Node, PATIENCE, admin, connect, exchange, until};

#[test]
fn one_client_too_many_is_told_and_closed() {
    let node = Node::start(Config {
        max_connections: 2,
        ..Config::default()
    });
    let mut first = connect(node.address);
    exchange(&mut first, b"version\r\n", "VERSION 1.6.18\r\n");
    let mut second = connect(node.address);
    exchange(&mut second, b"version\r\n", "VERSION 1.6.18\r\n");
    let mut answer = String::new();
    let third = connect(node.address).read_to_string(&mut answer);
    assert!(
        third.is_ok() && answer == "ERROR Too many open connections\r\n",
        "{answer}"
    );
    drop(second);
    until("the freed place can be taken", || {
        let mut again = connect(node.address);
        again.write_all(b"version\r\n").ok()?;
        let mut answer = [0; 7];
        again.read_exact(&mut answer).ok()?;
        (&answer == b"VERSION").then_some(())
    });
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_and_harms_nobody() {
    let node = Node::start(Config {
        threads: 1,
        ..Config::default()
    });
    let mut client = connect(node.address);
    let value = "v".repeat(500_000);
    let set = format!("set big 0 0 500000\r\n{value}\r\n");
    exchange(&mut client, set.as_bytes(), "STORED\r\n");
    // Asks for 500 GB, in small requests and in large ones, and reads none of it.
    let mut deaf = connect(node.address);
    deaf.set_nonblocking(true).expect("settable");
    let requests = format!("get {}\r\n", "big ".repeat(1000)).repeat(1000);
    let mut sent = 0;
    let mut stuck_since = Instant::now();
    while sent < requests.len() && stuck_since.elapsed() < Duration::from_millis(500) {
        match deaf.write(&requests.as_bytes()[sent..]) {
            Ok(more) => (sent, stuck_since) = (sent + more, Instant::now()),
            Err(_) => std::thread::yield_now(),
        }
    }
    // The worker is the same, and it has time for others.
    exchange(&mut client, b"get other\r\n", "END\r\n");
    let resident = resident_bytes();
    assert!(
        resident < 400 << 20,
        "{resident} bytes for one client that does not read"
    );
}

/// What this process, the node in it, has in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    pages * 4096
}

#[test]
fn items_stay_below_the_memory_limit_and_the_newest_stay() {
    let node = Node::start(Config {
        memory_limit: MemoryLimit(Size(8 << 20)),
        ..Config::default()
    });
    let mut client = connect(node.address);
    let value = "v".repeat(10_000);
    for number in 0..2000 {
        let set = format!("set {number} 0 0 10000 noreply\r\n{value}\r\n");
        client.write_all(set.as_bytes()).expect("it reads");
    }
    exchange(&mut client, b"get 0\r\n", "END\r\n");
    exchange(
        &mut client,
        b"get 1999\r\n",
        &format!("VALUE 1999 0 10000\r\n{value}\r\nEND\r\n"),
    );
    let (_, status) = admin(&node, "/status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let figure = |name: &str| status[name].as_u64().expect(name);
    assert!(figure("bytes") <= 8 << 20, "{status}");
    // The process itself takes its part of the memory.
    assert!(figure("bytes") > 3 << 20, "{status}");
    assert_eq!(figure("limit_maxbytes"), 8 << 20);
    assert_eq!(figure("evictions") + figure("curr_items"), 2000);
}

#[test]
fn a_stop_answers_what_was_asked_and_is_quick() {
    let node = Node::start(Config::default());
    let mut idle = connect(node.address);
    exchange(&mut idle, b"set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let mut halfway = connect(node.address);
    exchange(
        &mut halfway,
        b"get a\r\nset b 0 0 100\r\n",
        "VALUE a 0 1\r\nx\r\nEND\r\n",
    );
    let address = node.address;
    let asked = Instant::now();
    node.stop().expect("a good end");
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(idle.read(&mut [0]).expect("closed in order"), 0);
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_client_that_never_reads_holds_a_stop_up_no_longer_than_the_grace_period() {
    let node = Node::start(Config {
        grace_period: program::Duration::millis(300),
        ..Config::default()
    });
    let mut deaf = connect(node.address);
    let value = "v".repeat(1_000_000);
    deaf.write_all(format!("set a 0 0 1000000\r\n{value}\r\n").as_bytes())
        .expect("it reads");
    deaf.write_all("get a\r\n".repeat(100).as_bytes())
        .expect("it reads");
    until("the requests are being answered", || {
        let (_, status) = admin(&node, "/status");
        (!status.contains("\"cmd_get\":0,")).then_some(())
    });
    let asked = Instant::now();
    node.stop().expect("a good end");
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
}

#[test]
fn garbage_closes_at_most_its_own_connection() {
    let node = Node::start(Config::default());
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let mut client = connect(node.address);
        let mut bytes: Vec<u8> = (0..random.usize(1..4000)).map(|_| random.u8(..)).collect();
        let words = [
            "set a 0 0 ",
            "get ",
            "incr ",
            "\r\n",
            "cas a 0 0 5 ",
            "2147483645\r\n",
            " noreply",
        ];
        for _ in 0..random.usize(..20) {
            let at = random.usize(..bytes.len());
            bytes.splice(at..at, words[random.usize(..words.len())].bytes());
        }
        // It may be closed at any byte.
        let _ = client.write_all(&bytes);
        let _ = client.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
    }
    let mut client = connect(node.address);
    exchange(&mut client, b"version\r\n", "VERSION 1.6.18\r\n");
    until("every connection is given back", || {
        let (_, status) = admin(&node, "/status");
        status.contains("\"curr_connections\":1,").then_some(())
    });
}

#[test]
fn the_admin_port_tells_health_and_figures() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    exchange(
        &mut client,
        b"set a 0 0 1\r\nx\r\nget a\r\n",
        "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
    );
    assert_eq!(admin(&node, "/livez"), (200, "ok\n".into()));
    assert_eq!(admin(&node, "/readyz"), (200, "ready\n".into()));
    let (_, metrics) = admin(&node, "/metrics");
    for line in [
        "lnmt_sessiond_items 1\n",
        "lnmt_sessiond_connections 1\n",
        "lnmt_sessiond_commands_total{command=\"get\",outcome=\"hit\"} 1\n",
        "lnmt_sessiond_memory_limit_bytes 67108864\n",
        "lnmt_sessiond_items_by_state{state=\"probation\"} 1\n",
        "lnmt_sessiond_commands_total{command=\"set\",outcome=\"any\"} 1\n",
        "lnmt_sessiond_watchers 0\n",
        "# EOF\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(admin(&node, "/nowhere").0, 404);
}
