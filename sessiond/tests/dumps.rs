//! Dumps of the store: what they tell, and that they neither block others nor gather in memory when nobody reads them.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use program::Size;
use sessiond::Config;
use sessiond::config::MemoryLimit;
use support::{Memcached, Node, connect, exchange, until};

/// The lines of an answer, without its last.
fn lines(stream: &mut TcpStream, request: &str, last: &str) -> Vec<String> {
    let request = format!("{request}\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut told = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.expect("text");
        if line.trim_end() == last {
            return told;
        }
        told.push(line);
    }
    panic!("it is closed after {told:?}");
}

fn on_both(test: impl Fn(SocketAddr)) {
    let node = Node::start(Config::default());
    test(node.address);
    if let Some(memcached) = Memcached::start() {
        test(memcached.address);
    }
}

#[test]
fn metadump_tells_every_item() {
    on_both(|address| {
        let mut client = connect(address);
        exchange(
            &mut client,
            b"set plain 0 0 1\r\nx\r\nset a%&\xe9 5 1000 3\r\nxyz\r\nms YWJj 1 b\r\nx\r\nget plain\r\n",
            "STORED\r\nSTORED\r\nHD\r\nVALUE plain 0 1\r\nx\r\nEND\r\n",
        );
        for classes in ["all", "hash"] {
            let dump = format!("lru_crawler metadump {classes}");
            let mut told = until("its crawler is free", || {
                let told = lines_or_busy(&mut client, &dump)?;
                (told.len() == 3).then_some(told)
            });
            told.sort_unstable();
            let fields = |line: &str| -> Vec<(String, String)> {
                let words = line.split(' ').filter_map(|word| word.split_once('='));
                words.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
            };
            let told: Vec<_> = told.iter().map(|line| fields(line)).collect();
            let mut keys = Vec::new();
            for item in &told {
                let names: Vec<&str> = item.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, ["key", "exp", "la", "cas", "fetch", "cls", "size"]);
                keys.push(item[0].1.as_str());
            }
            assert_eq!(keys, ["a%25%26%E9", "abc", "plain"]);
            assert_ne!(told[0][1].1, "-1");
            assert_eq!(told[1][1].1, "-1");
            assert_eq!(
                (told[0][4].1.as_str(), told[2][4].1.as_str()),
                ("no", "yes")
            );
            // 48 of header, 8 of cas unique, key and a zero, flags, value and CR LF.
            assert_eq!(told[0][6].1, (48 + 8 + 5 + 4 + 5).to_string());
        }
        assert!(lines(&mut client, "lru_crawler metadump 63", "END").is_empty());
    });
}

/// The lines of a dump; `None` when memcached's crawler is at something else.
fn lines_or_busy(client: &mut TcpStream, dump: &str) -> Option<Vec<String>> {
    client
        .write_all(format!("{dump}\r\n").as_bytes())
        .expect("it reads");
    let mut told = Vec::new();
    let mut reader = BufReader::new(client);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("it answers");
        match line.trim_end() {
            "END" => return Some(told),
            busy if busy.starts_with("BUSY") => return None,
            line => told.push(line.to_owned()),
        }
    }
}

#[test]
fn cachedump_tells_keys() {
    on_both(|address| {
        let mut client = connect(address);
        exchange(
            &mut client,
            b"set aaa 0 0 3\r\nxyz\r\nset bbb 5 0 3\r\nxyz\r\n",
            "STORED\r\nSTORED\r\n",
        );
        // memcached tells only those that have aged a little.
        let mut told = until("they are told", || {
            let told = lines(&mut client, "stats cachedump 1 0", "END");
            (told.len() == 2).then_some(told)
        });
        told.sort_unstable();
        assert_eq!(told, ["ITEM aaa [3 b; 0 s]", "ITEM bbb [3 b; 0 s]"]);
        assert_eq!(lines(&mut client, "stats cachedump 1 1", "END").len(), 1);
    });
}

#[test]
fn mgdump_tells_what_to_send_back() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    exchange(
        &mut client,
        b"set plain 0 0 1\r\nx\r\nms YWJj 1 b\r\nx\r\n",
        "STORED\r\nHD\r\n",
    );
    let mut told = lines(&mut client, "lru_crawler mgdump all", "EN");
    told.sort_unstable();
    assert_eq!(told, ["mg YWJj b", "mg plain"]);
}

#[test]
fn a_dump_that_nobody_reads_costs_nobody_anything() {
    const ITEMS: usize = 50_000;
    let node = Node::start(Config {
        threads: 1,
        memory_limit: MemoryLimit(Size(256 << 20)),
        ..Config::default()
    });
    let mut client = connect(node.address);
    let mut sets = Vec::new();
    for number in 0..ITEMS {
        // Each dumped line has about 450 bytes: all of them are much more than sockets hold.
        write!(
            sets,
            "set {number}{} 0 0 1 noreply\r\nx\r\n",
            "%".repeat(120)
        )
        .expect("memory");
    }
    client.write_all(&sets).expect("it reads");
    exchange(&mut client, b"get x\r\n", "END\r\n");

    let mut deaf = connect(node.address);
    deaf.write_all(b"lru_crawler metadump all\r\nversion\r\n")
        .expect("it reads");
    until("the dump has begun and got stuck", || {
        let before = written(&mut client);
        let after = written(&mut client);
        (before > 100_000 && before + 10_000 > after).then_some(())
    });
    let sent = written(&mut client);
    assert!(sent < 16 << 20, "{sent} bytes for one who does not read");
    exchange(&mut client, b"get x\r\n", "END\r\n");

    // Whoever reads at last gets it all, once.
    let mut keys = BTreeSet::new();
    let mut reader = BufReader::new(&mut deaf);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("it goes on");
        if line == "END\r\n" {
            break;
        }
        let (key, _) = line.split_once(' ').expect("fields");
        assert!(keys.insert(key.to_owned()), "{key} twice");
    }
    assert_eq!(keys.len(), ITEMS);
    let mut version = [0; 16];
    reader.read_exact(&mut version).expect("it goes on");
    assert_eq!(&version, b"VERSION 1.6.18\r\n");
}

fn written(client: &mut TcpStream) -> u64 {
    let figures = lines(client, "stats", "END");
    let mut values = figures.iter().filter_map(|line| {
        let value = line.strip_prefix("STAT bytes_written ")?;
        value.parse().ok()
    });
    values.next().expect("a figure")
}
