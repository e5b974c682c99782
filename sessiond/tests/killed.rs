//! A node with a memory file (`-e`) that gets SIGKILL, in the middle of writes and in the middle of its last save: the
//! next start has everything that was acknowledged, or nothing, and never something that nobody stored.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;

use support::process::Program;
use support::{connect, exchange, until};

/// Clients that write side by side; each has keys of its own.
const WRITERS: usize = 3;

/// Keys of one writer, about 30 MB for all of them.
const KEYS: usize = 1000;

/// How often a node is killed.
const ROUNDS: usize = 12;

#[test]
fn whatever_the_moment_all_comes_back_or_nothing() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut came_back = 0;
    for round in 0..ROUNDS {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("items");
        let mut node = start(&file);
        let address = node.address();
        let writers: Vec<JoinHandle<Vec<u32>>> = (0..WRITERS)
            .map(|writer| std::thread::spawn(move || write(address, writer)))
            .collect();
        until("much is stored", || {
            (items(address)? >= WRITERS * KEYS).then_some(())
        });
        if round % 3 > 0 {
            // In the middle of the save, or just behind it.
            node.send("TERM");
            let unfinished = folder.path().join("items.tmp");
            let enough = random.u64(..40 << 20);
            until("the save has got so far", || {
                let length = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.len());
                let so_far = length(&unfinished).is_ok_and(|length| length >= enough);
                (so_far || length(&file).is_ok()).then_some(())
            });
        }
        node.signal("KILL");
        let acknowledged: Vec<Vec<u32>> = writers
            .into_iter()
            .map(|writer| writer.join().expect("every answer was right"))
            .collect();
        let mut node_again = start(&file);
        came_back += usize::from(all_or_nothing(node_again.address(), &acknowledged));
        // And what is stored from now on is kept over a stop in order.
        exchange(
            &mut connect(node_again.address()),
            b"set new 0 0 1\r\nx\r\n",
            "STORED\r\n",
        );
        assert_eq!(
            node_again.signal("TERM").code(),
            Some(0),
            "{}",
            node_again.log()
        );
        let node = start(&file);
        let found = b"VALUE new 0 1\r\nx\r\nEND\r\n";
        exchange(
            &mut connect(node.address()),
            b"get new\r\n",
            &String::from_utf8_lossy(found),
        );
    }
    assert!(
        (1..ROUNDS).contains(&came_back),
        "{came_back} times all came back"
    );
}

fn start(file: &Path) -> Program {
    let file = file.to_str().expect("text");
    Program::start(&[
        "-l",
        "127.0.0.1",
        "-p",
        "-1",
        "-m",
        "128",
        "-t",
        "2",
        "-e",
        file,
    ])
}

/// `curr_items`.
fn items(address: SocketAddr) -> Option<usize> {
    let mut client = connect(address);
    client.write_all(b"stats\r\nquit\r\n").ok()?;
    let mut stats = String::new();
    client.read_to_string(&mut stats).ok()?;
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("STAT curr_items "));
    line?.parse().ok()
}

fn key(writer: usize, number: usize) -> String {
    format!("session-{writer}-{number}")
}

/// A value that tells where it belongs from its first byte to its last.
fn value(writer: usize, number: usize, version: u32) -> String {
    let word = format!("{writer}.{number}.{version};");
    word.repeat(500 + number)
}

/// Writes its keys over and over, and gives back the last acknowledged version of each when the node is gone.
fn write(address: SocketAddr, writer: usize) -> Vec<u32> {
    let mut acknowledged = vec![0; KEYS];
    let mut client = connect(address);
    for version in 1.. {
        for (number, last) in acknowledged.iter_mut().enumerate() {
            if store(&mut client, writer, number, version).is_none() {
                return acknowledged;
            }
            *last = version;
        }
    }
    acknowledged
}

/// `None` when there is no answer any more.
fn store(client: &mut TcpStream, writer: usize, number: usize, version: u32) -> Option<()> {
    let (key, value) = (key(writer, number), value(writer, number, version));
    let request = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
    client.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 8];
    client.read_exact(&mut answer).ok()?;
    assert_eq!(&answer, b"STORED\r\n");
    Some(())
}

/// Looks for every key. Whether everything is there; what is there must be the last that was acknowledged, or the one
/// write of each writer whose answer was lost.
fn all_or_nothing(address: SocketAddr, acknowledged: &[Vec<u32>]) -> bool {
    let (mut there, mut expected) = (0, 0);
    let mut client = connect(address);
    for (writer, versions) in acknowledged.iter().enumerate() {
        let mut unanswered = 0;
        for (number, last) in versions.iter().enumerate() {
            expected += usize::from(*last > 0);
            let Some(found) = read(&mut client, &key(writer, number)) else {
                continue;
            };
            if found == value(writer, number, last + 1) {
                unanswered += 1;
                there += usize::from(*last > 0);
            } else {
                assert!(
                    *last > 0 && found == value(writer, number, *last),
                    "{number} of {writer}: {found:.60}"
                );
                there += 1;
            }
        }
        assert!(
            unanswered <= 1,
            "{unanswered} writes of {writer} are ahead of their answers"
        );
    }
    assert!(
        there == 0 || there == expected,
        "{there} of {expected} came back"
    );
    there > 0
}

fn read(client: &mut TcpStream, key: &str) -> Option<String> {
    client
        .write_all(format!("mg {key} v\r\n").as_bytes())
        .expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("it answers");
        head.extend(byte);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.trim_end().strip_prefix("VA ")?;
    let mut value = vec![0; length.parse::<usize>().expect("a length") + 2];
    client.read_exact(&mut value).expect("it answers");
    value.truncate(value.len() - 2);
    Some(String::from_utf8_lossy(&value).into_owned())
}
