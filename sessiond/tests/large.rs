//! Large values: whole, in order, and in memory once.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use sessiond::Config;
use support::process::Program;
use support::{Node, connect, exchange, until};

/// A value of this length that no other has.
fn value(number: usize, length: usize) -> String {
    let text = format!("{number}.{length};");
    text.repeat(length / text.len() + 1)[..length].to_owned()
}

/// Lengths around those at which something changes: a read, what is shared rather than copied, a socket buffer.
const LENGTHS: [usize; 9] = [
    0, 1, 4_000, 16_381, 16_382, 16_384, 20_480, 200_000, 1_000_000,
];

#[test]
fn values_of_every_length_come_back_however_they_are_cut() {
    let node = Node::start(Config::default());
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..6 {
        let mut sent = String::new();
        let mut expected = String::new();
        for number in 0..LENGTHS.len() {
            let length = LENGTHS[(number + round) % LENGTHS.len()];
            let value = value(number, length);
            if number % 2 == 0 {
                sent += &format!("set k{number} 5 0 {length}\r\n{value}\r\nget k{number}\r\n");
                expected += &format!("STORED\r\nVALUE k{number} 5 {length}\r\n{value}\r\nEND\r\n");
            } else {
                sent += &format!("ms k{number} {length} F5\r\n{value}\r\nmg k{number} f v\r\n");
                expected += &format!("HD\r\nVA {length} f5\r\n{value}\r\n");
            }
        }
        let mut client = connect(node.address);
        let mut writer = client.try_clone().expect("a second handle");
        let pieces = std::thread::spawn(move || {
            let mut rest = sent.as_bytes();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(random.usize(1..=rest.len().min(50_000)));
                writer.write_all(piece).expect("it reads");
                rest = behind;
            }
            random
        });
        let mut answer = vec![0; expected.len()];
        client.read_exact(&mut answer).expect("it answers");
        assert!(answer == expected.as_bytes(), "round {round}");
        random = pieces.join().expect("no panic");
    }
}

#[test]
fn a_large_value_without_its_end_is_refused_and_the_stream_goes_on() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    let long = value(0, 100_000);
    exchange(
        &mut client,
        format!("set a 0 0 100000\r\n{long}\r\n").as_bytes(),
        "STORED\r\n",
    );
    exchange(
        &mut client,
        format!("set a 0 0 50000\r\n{}xxversion\r\n", &long[..50_000]).as_bytes(),
        "CLIENT_ERROR bad data chunk\r\nVERSION 1.6.18\r\n",
    );
    exchange(
        &mut client,
        b"get a\r\n",
        &format!("VALUE a 0 100000\r\n{long}\r\nEND\r\n"),
    );
}

#[test]
fn requests_before_a_half_close_are_all_answered() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    let long = value(0, 300_000);
    let sent = format!("set a 0 0 300000\r\n{long}\r\n{}", "get a\r\n".repeat(50));
    client.write_all(sent.as_bytes()).expect("it reads");
    client.shutdown(Shutdown::Write).expect("open");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    let one = format!("VALUE a 0 300000\r\n{long}\r\nEND\r\n");
    assert!(answer == format!("STORED\r\n{}", one.repeat(50)));
}

#[test]
fn what_was_read_before_a_stop_is_answered_however_slowly_it_is_taken() {
    let node = Node::start(Config {
        threads: 1,
        ..Config::default()
    });
    let mut client = connect(node.address);
    let long = value(0, 500_000);
    exchange(
        &mut client,
        format!("set a 0 0 500000\r\n{long}\r\n").as_bytes(),
        "STORED\r\n",
    );
    // Far more than sockets buffer, asked for in one segment.
    client
        .write_all("get a\r\n".repeat(100).as_bytes())
        .expect("it reads");
    let begin = format!("VALUE a 0 500000\r\n{long}\r\nEND\r\n");
    exchange(&mut client, b"", &begin);
    node.ask_to_stop();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    assert!(answer == begin.repeat(99), "{} bytes", answer.len());
    node.stop().expect("a good end");
}

#[test]
fn a_large_value_is_in_memory_once_while_it_arrives_and_is_read() {
    let node = Program::start(&[
        "-l",
        "127.0.0.1",
        "-p",
        "-1",
        "-U",
        "0",
        "-m",
        "512",
        "-I",
        "64m",
        "-t",
        "1",
    ]);
    let before = node.resident();
    let length = 48 << 20;
    let mut client = connect(node.address());
    let line = format!("set a 0 0 {length}\r\n");
    client.write_all(line.as_bytes()).expect("it reads");
    client.write_all(&vec![b'v'; length]).expect("it reads");
    exchange(&mut client, b"\r\n", "STORED\r\n");
    let readers: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut reader = connect(node.address());
            reader.write_all(b"get a\r\n").expect("it reads");
            let mut begin = [0; 6];
            reader.read_exact(&mut begin).expect("it answers");
            assert_eq!(&begin, b"VALUE ");
            reader
        })
        .collect();
    let peak = peak(node.id()) - before;
    assert!(peak < length + (4 << 20), "{peak} bytes for {length}");
    drop(readers);
}

#[test]
fn values_for_which_there_is_no_memory_are_refused_and_passed_over() {
    let node = Node::start(Config {
        memory_limit: sessiond::config::MemoryLimit(program::Size(8 << 20)),
        ..Config::default()
    });
    // Each says that a megabyte is to come, and sends a part of it.
    let line = "set a 0 0 1000000\r\n";
    let part = value(0, 500_000);
    let mut waiting: Vec<TcpStream> = Vec::new();
    let mut refused = None;
    for _ in 0..8 {
        let mut client = connect(node.address);
        client
            .write_all(format!("{line}{part}").as_bytes())
            .expect("it reads");
        client
            .set_read_timeout(Some(std::time::Duration::from_millis(300)))
            .expect("settable");
        let mut answer = [0; 100];
        match client.read(&mut answer) {
            Ok(read) => {
                let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
                assert_eq!(answer, "SERVER_ERROR out of memory storing object\r\n");
                refused = Some(client);
                break;
            }
            Err(_) => waiting.push(client),
        }
    }
    assert!(!waiting.is_empty());
    let mut refused = refused.expect("eight megabytes are more than there is");
    let rest = format!("{}\r\nversion\r\n", &part);
    refused
        .set_read_timeout(Some(support::PATIENCE))
        .expect("settable");
    exchange(&mut refused, rest.as_bytes(), "VERSION 1.6.18\r\n");
    drop(waiting);
    until("the memory of those who left is there again", || {
        let mut client = connect(node.address);
        client
            .write_all(format!("{line}{part}{part}\r\n").as_bytes())
            .ok()?;
        let mut answer = [0; 8];
        client.read_exact(&mut answer).ok()?;
        (&answer == b"STORED\r\n").then_some(())
    });
}

/// The most that a process has had in memory, in bytes.
fn peak(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.map_or(0, |kilobytes: usize| kilobytes * 1024)
}
