//! Turns and memory of many clients, and of such as take their time: nobody else is harmed, the promise is kept.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use sessiond::Config;
use support::process::Program;
use support::{Node, PATIENCE, connect, exchange, until};

/// What `stats` says of a name.
fn figure(address: SocketAddr, name: &str) -> u64 {
    let mut client = connect(address);
    client.write_all(b"stats\r\nquit\r\n").expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
    line.expect(name).parse().expect("a number")
}

fn start(memory: &str) -> Program {
    Program::start(&[
        "-l",
        "127.0.0.1",
        "-p",
        "-1",
        "-U",
        "0",
        "-t",
        "1",
        "-c",
        "4000",
        "-m",
        memory,
    ])
}

#[test]
fn idle_clients_cost_next_to_nothing() {
    const CLIENTS: usize = 800;
    let node = start("64");
    let mut one = connect(node.address());
    exchange(&mut one, b"set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let before = node.resident();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(node.address())).collect();
    let long = format!("set b 0 0 30000\r\n{}\r\nget b\r\n", "v".repeat(30_000));
    for client in &mut clients {
        // Each has sent and received something large before it fell silent.
        exchange(client, long.as_bytes(), "STORED\r\n");
        let mut answer = vec![0; "VALUE b 0 30000\r\n\r\nEND\r\n".len() + 30_000];
        client.read_exact(&mut answer).expect("it answers");
    }
    let each = node.resident().saturating_sub(before) / CLIENTS;
    assert!(each < 1500, "{each} bytes for an idle client");
    exchange(&mut one, b"get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn clients_that_do_not_read_and_long_requests_leave_the_process_within_its_memory() {
    const MEMORY: usize = 64 << 20;
    let node = start("64");
    let address = node.address();
    let mut filler = connect(address);
    // More than fits, so that memory is full before the crowd comes.
    let small = "v".repeat(1000);
    for number in 0..90_000 {
        let set = format!("set {number} 0 0 1000 noreply\r\n{small}\r\n");
        filler.write_all(set.as_bytes()).expect("it reads");
    }
    exchange(&mut filler, b"mn\r\n", "MN\r\n");
    let keys: Vec<String> = (80_000..90_000)
        .map(|number: u32| number.to_string())
        .collect();
    let multiget = format!("get {}\r\n", keys.join(" "));
    let mut deaf = Vec::new();
    for _ in 0..100 {
        let mut client = connect(address);
        client
            .set_write_timeout(Some(Duration::from_millis(20)))
            .expect("settable");
        // Cut short where the node does not read on; closed where it takes too much.
        let _ = client.write_all(multiget.repeat(20).as_bytes());
        deaf.push(client);
    }
    let started = Instant::now();
    exchange(&mut filler, b"mn\r\n", "MN\r\n");
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    // What the crowd takes is measured every second, and so much less is left for items.
    let mut within_since = None;
    until("the process stays within its memory", || {
        let (resident, uptime) = (node.resident(), figure(address, "uptime"));
        assert!(resident < MEMORY + (16 << 20), "{resident} bytes");
        if resident >= MEMORY + (4 << 20) {
            within_since = None;
        }
        let since = *within_since.get_or_insert(uptime);
        (uptime >= since + 2).then_some(())
    });
}

#[test]
fn a_client_that_sends_slowly_is_waited_for_and_holds_nobody_up() {
    let node = Node::start(Config {
        threads: 1,
        ..Config::default()
    });
    let mut slow = connect(node.address);
    let mut other = connect(node.address);
    let request = format!("set a 0 0 40\r\n{}\r\nget a\r\n", "x".repeat(40));
    for byte in request.as_bytes() {
        slow.write_all(&[*byte]).expect("it reads");
        exchange(&mut other, b"get b\r\n", "END\r\n");
    }
    let answer = format!("STORED\r\nVALUE a 0 40\r\n{}\r\nEND\r\n", "x".repeat(40));
    exchange(&mut slow, b"", &answer);
}

#[test]
fn after_its_share_of_requests_a_connection_waits_for_the_others() {
    for (share, yields) in [(20, true), (5000, false)] {
        let node = Node::start(Config {
            threads: 1,
            max_reqs_per_event: share,
            ..Config::default()
        });
        let mut client = connect(node.address);
        exchange(
            &mut client,
            "mn\r\n".repeat(1000).as_bytes(),
            &"MN\r\n".repeat(1000),
        );
        assert_eq!(figure(node.address, "conn_yields") > 0, yields, "{share}");
    }
}

#[test]
fn a_flood_of_one_client_does_not_keep_another_waiting() {
    let node = Node::start(Config {
        threads: 1,
        ..Config::default()
    });
    let mut flood = connect(node.address);
    let mut writer = flood.try_clone().expect("a second handle");
    let requests = format!("get {}\r\n", "absent ".repeat(50)).repeat(50_000);
    let expected = 5 * 50_000;
    let flooding = std::thread::spawn(move || {
        writer.write_all(requests.as_bytes()).expect("it reads");
    });
    let mut first = [0; 5];
    flood.read_exact(&mut first).expect("it answers");
    let mut other = connect(node.address);
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        exchange(&mut other, b"get a\r\n", "END\r\n");
        slowest = slowest.max(asked.elapsed());
    }
    let mut answer = vec![0; expected - 5];
    let asked = Instant::now();
    flood.read_exact(&mut answer).expect("it answers");
    assert!(
        slowest < Duration::from_millis(500),
        "{slowest:?}, the flood {:?}",
        asked.elapsed()
    );
    flooding.join().expect("no panic");
}

#[test]
fn a_connection_on_which_nothing_moves_is_closed_where_the_operator_wants_that() {
    let node = Node::start(Config {
        idle_timeout: 1,
        ..Config::default()
    });
    let mut idle = connect(node.address);
    exchange(&mut idle, b"get a\r\n", "END\r\n");
    let mut busy = connect(node.address);
    until("the idle one is closed", || {
        exchange(&mut busy, b"get a\r\n", "END\r\n");
        idle.set_read_timeout(Some(Duration::from_millis(50)))
            .expect("settable");
        (idle.read(&mut [0]).ok()? == 0).then_some(())
    });
    exchange(&mut busy, b"get a\r\n", "END\r\n");
    assert_eq!(figure(node.address, "idle_kicks"), 1);
}

#[test]
fn a_retrieval_of_thousands_of_keys_is_answered_whole_and_in_order() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    let keys: Vec<String> = (0..20_000).map(|number| format!("key{number}")).collect();
    let mut expected = String::new();
    for key in keys.iter().step_by(10) {
        let set = format!("set {key} 0 0 {}\r\n{key}\r\n", key.len());
        exchange(&mut client, set.as_bytes(), "STORED\r\n");
        expected += &format!("VALUE {key} 0 {}\r\n{key}\r\n", key.len());
    }
    let get = format!("get {}\r\nversion\r\n", keys.join(" "));
    let mut writer = client.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || writer.write_all(get.as_bytes()));
    exchange(
        &mut client,
        b"",
        &format!("{expected}END\r\nVERSION 1.6.18\r\n"),
    );
    writing.join().expect("no panic").expect("it reads");
}

#[test]
fn seconds_pass_for_items_without_any_request() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    exchange(&mut client, b"set a 0 1 1\r\nx\r\n", "STORED\r\n");
    let stored = Instant::now();
    until("the item expires", || {
        client.write_all(b"get a\r\n").ok()?;
        let mut answer = [0; 5];
        client.read_exact(&mut answer).ok()?;
        if &answer == b"END\r\n" {
            return Some(());
        }
        let mut rest = ["VALUE a 0 1\r\nx\r\nEND\r\n".len() - 5; 1].map(|length| vec![0; length]);
        client.read_exact(&mut rest[0]).ok()?;
        None
    });
    let lived = stored.elapsed();
    assert!(lived < Duration::from_millis(2500), "{lived:?}");
    // Nobody asks for this one; it goes all the same.
    exchange(&mut client, b"set b 0 1 1\r\nx\r\n", "STORED\r\n");
    until("its memory is given back", || {
        (figure(node.address, "curr_items") == 0).then_some(())
    });
}
