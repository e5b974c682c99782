//! `watch`: the lines are memcached's, a watcher that does not read harms nobody, and there are not too many.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use program::Size;
use sessiond::Config;
use sessiond::config::MemoryLimit;
use support::{Memcached, Node, connect, exchange, until};

fn on_both(test: impl Fn(SocketAddr)) {
    let node = Node::start(Config::default());
    test(node.address);
    if let Some(memcached) = Memcached::start() {
        test(memcached.address);
    }
}

/// A connection that watches.
fn watcher(address: SocketAddr, subjects: &str) -> BufReader<TcpStream> {
    let mut stream = connect(address);
    let request = format!("watch {subjects}\r\n");
    exchange(&mut stream, request.as_bytes(), "OK\r\n");
    BufReader::new(stream)
}

/// The next line, without time, number and descriptor.
fn line(watcher: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    watcher.read_line(&mut line).expect("it tells");
    let words = line.trim_end_matches('\n').split(' ');
    let lasting = words.filter(|word| {
        let name = word.split('=').next().unwrap_or_default();
        !["ts", "gid", "cfd", "rport"].contains(&name)
    });
    lasting.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_clients_do_is_told() {
    on_both(|address| {
        let mut watcher = watcher(address, "fetchers mutations connevents");
        let mut client = connect(address);
        assert_eq!(
            line(&mut watcher),
            "type=conn_new rip=127.0.0.1 transport=tcp"
        );
        for (request, reply, events) in [
            (
                "set a% 0 100 2\r\nxy",
                "STORED",
                [
                    "type=item_get key=a%25 status=not_found clsid=0 size=0",
                    "type=item_store key=a%25 status=stored cmd=set ttl=100 clsid=1 size=2",
                ]
                .as_slice(),
            ),
            (
                "get b",
                "END",
                &["type=item_get key=b status=not_found clsid=0 size=0"],
            ),
            (
                "add a% 0 0 2\r\nxy",
                "NOT_STORED",
                &[
                    "type=item_get key=a%25 status=found clsid=1 size=2",
                    "type=item_store key=a%25 status=not_stored cmd=add ttl=0 clsid=1 size=2",
                ],
            ),
            (
                "append a% 0 0 1\r\nz",
                "STORED",
                &[
                    "type=item_get key=a%25 status=found clsid=1 size=2",
                    "type=item_store key=a%25 status=stored cmd=append ttl=100 clsid=1 size=3",
                ],
            ),
            (
                "cas nope 0 0 2 5\r\nxy",
                "NOT_FOUND",
                &[
                    "type=item_get key=nope status=not_found clsid=0 size=0",
                    "type=item_store key=nope status=not_found cmd=cas ttl=0 clsid=1 size=2",
                ],
            ),
            (
                "touch a% 5",
                "TOUCHED",
                &["type=item_get key=a%25 status=found clsid=1 size=3"],
            ),
            (
                "mg a% s",
                "HD s3",
                &["type=item_get key=a%25 status=found clsid=1 size=3"],
            ),
            (
                "delete a%",
                "DELETED",
                &["type=item_get key=a%25 status=found clsid=1 size=3"],
            ),
        ] {
            let request = format!("{request}\r\n");
            exchange(&mut client, request.as_bytes(), &format!("{reply}\r\n"));
            for event in events {
                let told = line(&mut watcher);
                // Where an expiry is told in seconds that are left, one may have passed.
                let a_second_less = event.replace("ttl=100", "ttl=99");
                assert!(
                    told == *event || told == a_second_less,
                    "{told}, not {event}"
                );
            }
        }
        drop(client);
        assert_eq!(
            line(&mut watcher),
            "type=conn_close rip=127.0.0.1 transport=tcp reason=normal"
        );
    });
}

#[test]
fn a_watcher_sees_nothing_else() {
    let node = Node::start(Config::default());
    let mut fetches = watcher(node.address, "");
    let mut client = connect(node.address);
    exchange(&mut client, b"get a\r\n", "END\r\n");
    assert!(line(&mut fetches).starts_with("type=item_get key=a "));
    // It is not listened to any more.
    fetches
        .get_mut()
        .write_all(b"version\r\n")
        .expect("it reads");
    exchange(&mut client, b"get b\r\n", "END\r\n");
    assert!(line(&mut fetches).starts_with("type=item_get key=b "));
}

#[test]
fn evictions_are_told() {
    let node = Node::start(Config {
        memory_limit: MemoryLimit(Size(8 << 20)),
        ..Config::default()
    });
    let mut watcher = watcher(node.address, "evictions");
    let mut client = connect(node.address);
    let value = "v".repeat(10_000);
    for number in 0..2000 {
        let set = format!("set {number} 0 0 10000 noreply\r\n{value}\r\n");
        client.write_all(set.as_bytes()).expect("it reads");
    }
    let told = line(&mut watcher);
    assert!(
        told.starts_with("type=eviction key=") && told.contains(" fetch=no ttl=-1 la="),
        "{told}"
    );
    assert!(told.ends_with(" clsid=1 size=10000"), "{told}");
}

#[test]
fn a_watcher_that_does_not_read_loses_lines_and_harms_nobody() {
    let node = Node::start(Config {
        threads: 1,
        ..Config::default()
    });
    let deaf = watcher(node.address, "fetchers");
    let mut client = connect(node.address);
    let gets = format!("get {}\r\n", "k ".repeat(100)).repeat(100);
    // Far more lines than its buffer and the sockets hold.
    for _ in 0..20 {
        exchange(&mut client, gets.as_bytes(), &"END\r\n".repeat(100));
    }
    until("lines are lost", || {
        exchange(&mut client, gets.as_bytes(), &"END\r\n".repeat(100));
        let skipped = figure(&mut client, "log_watcher_skipped");
        (skipped > 0).then_some(())
    });
    assert_eq!(figure(&mut client, "log_watchers"), 1);
    let skipped_in_all = figure(&mut client, "log_watcher_skipped");
    // It is told so as soon as it reads.
    let told = deaf
        .lines()
        .map(|line| line.expect("it tells"))
        .find_map(|line| line.strip_prefix("skipped=").map(str::parse::<u64>));
    let told = told.expect("it goes on").expect("a number");
    assert!(
        told > 0 && told <= skipped_in_all,
        "{told} of {skipped_in_all}"
    );
}

#[test]
fn there_are_not_too_many_watchers() {
    on_both(|address| {
        let mut watchers: Vec<_> = (0..20).map(|_| watcher(address, "sysevents")).collect();
        let mut late = connect(address);
        let refusal = "WATCHER_TOO_MANY log watcher limit reached\r\n";
        exchange(&mut late, b"watch\r\n", refusal);
        exchange(&mut late, b"version\r\n", "VERSION 1.6.18\r\n");
        watchers.pop();
        until("the place is free", || {
            let mut another = connect(address);
            another
                .set_read_timeout(Some(Duration::from_secs(1)))
                .ok()?;
            another.write_all(b"watch sysevents\r\n").ok()?;
            let mut line = String::new();
            BufReader::new(another).read_line(&mut line).ok()?;
            (line == "OK\r\n").then_some(())
        });
    });
}

fn figure(client: &mut TcpStream, name: &str) -> u64 {
    client.write_all(b"stats\r\n").expect("it reads");
    let mut found = None;
    for line in BufReader::new(client).lines() {
        let line = line.expect("text");
        if line == "END" {
            break;
        }
        if let Some(value) = line.strip_prefix(&format!("STAT {name} ")) {
            found = value.parse().ok();
        }
    }
    found.expect(name)
}
