//! A stop and a start with a memory file (`-e`): nothing is lost in order, nothing wrong comes back otherwise.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use support::process::{Program, output};
use support::{connect, exchange, until};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("items")
    }

    fn start(&self) -> Program {
        let file = self.file();
        let file = file.to_str().expect("text");
        Program::start(&["-p", "-1", "-m", "64", "-e", file])
    }

    /// What stands in the folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

/// Sends this and reads until the answer to a last `mn` is there.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).expect("it reads");
    stream.write_all(b"mn\r\n").expect("it reads");
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    while !answer.ends_with(b"MN\r\n") {
        let read = stream.read(&mut buffer).expect("it answers");
        assert!(read > 0, "it closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    answer.truncate(answer.len() - 4);
    String::from_utf8_lossy(&answer).into_owned()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// Items of every kind: sizes, flags, expiries, binary keys, stale ones; and how to ask for all there is to know.
fn fill(address: SocketAddr) -> String {
    let mut store = String::new();
    let mut look = String::new();
    let until = now() + 100_000;
    for (number, size) in [0, 1, 100, 2000, 20_000, 300_000, 900_000]
        .into_iter()
        .enumerate()
    {
        let value = format!("{number}").repeat(size);
        let expiry = if number % 2 == 0 { 0 } else { until };
        store += &format!(
            "set key{number} {} {expiry} {}\r\n{value}\r\n",
            number * 1000,
            value.len()
        );
        look += &format!("mg key{number} v f c s\r\nmg key{number} k\r\n");
    }
    for number in 0..3000 {
        store += &format!("set session{number} 0 {} 5\r\nhello\r\n", until + number);
        look += &format!("mg session{number} v c f\r\n");
    }
    store += "ms 4pyT 2 b T0\r\nhi\r\n";
    store += "set counter 0 0 2\r\n17\r\nincr counter 5\r\n";
    store += "set old 0 0 1\r\nx\r\nmd old I\r\n";
    look += "mg 4pyT b k v c t\r\nmg counter v c t\r\nmg old c v\r\n";
    let answer = ask(address, &store);
    assert!(!answer.contains("ERROR"), "{answer}");
    look
}

#[test]
fn a_stop_and_start_loses_nothing() {
    for signal in ["TERM", "INT", "QUIT", "USR1"] {
        let place = Place::new();
        let mut node = place.start();
        let look = fill(node.address());
        let before = ask(node.address(), &look.replace("mg old c v\r\n", ""));
        let mode = || {
            let metadata = fs::metadata(place.file()).expect("kept");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(node.signal(signal).code(), Some(0), "{}", node.log());
        assert_eq!(mode(), 0o600);
        let mut node = place.start();
        let after = ask(node.address(), &look.replace("mg old c v\r\n", ""));
        assert!(before == after, "{signal}\n{}", node.log());
        // The next number is a new one.
        let unique = |answer: &str| -> u64 {
            let unique = answer.split(" c").nth(1).expect("a number");
            let digits: String = unique.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().expect("a number")
        };
        let newest = unique(&ask(node.address(), "ms new 1 c\r\nx\r\n"));
        let known = unique(&ask(node.address(), "mg counter v c\r\n"));
        assert!(newest > known, "{newest} {known}");
        assert!(
            ask(node.address(), "mg old c v\r\n").contains(" W"),
            "still stale"
        );
        // And once more, with what was changed since.
        ask(node.address(), "delete key1\r\nset key2 1 0 3\r\nnew\r\n");
        assert_eq!(node.signal(signal).code(), Some(0));
        let node = place.start();
        let answer = ask(node.address(), "get key1\r\nget key2\r\n");
        assert_eq!(answer, "END\r\nVALUE key2 1 3\r\nnew\r\nEND\r\n");
    }
}

#[test]
fn life_goes_on_while_the_node_is_down() {
    let place = Place::new();
    let mut node = place.start();
    ask(
        node.address(),
        "set a 0 1 1\r\nx\r\nset b 0 1000 1\r\nx\r\n",
    );
    let deadline = now() + 1000;
    assert_eq!(node.signal("TERM").code(), Some(0));
    until("a second has passed", || {
        (now() > deadline - 998).then_some(())
    });
    let node = place.start();
    let answer = ask(node.address(), "get a\r\nmg b t\r\n");
    let left = answer
        .strip_prefix("END\r\nHD t")
        .expect("a is gone, b is there");
    let left: u64 = left.trim_end().parse().expect("seconds");
    assert!(left <= 998, "{left}");
}

#[test]
fn after_a_kill_nothing_old_comes_back() {
    let place = Place::new();
    let mut node = place.start();
    exchange(
        &mut connect(node.address()),
        b"set a 0 0 1\r\nx\r\n",
        "STORED\r\n",
    );
    assert_eq!(node.signal("TERM").code(), Some(0));
    let mut node = place.start();
    let answer = ask(node.address(), "get a\r\ndelete a\r\n");
    assert_eq!(answer, "VALUE a 0 1\r\nx\r\nEND\r\nDELETED\r\n");
    assert_eq!(
        place.names(),
        ["items.lock"],
        "it is gone as soon as it is read"
    );
    node.signal("KILL");
    let node = place.start();
    assert_eq!(ask(node.address(), "get a\r\n"), "END\r\n");
}

#[test]
fn a_damaged_file_is_put_aside_and_told() {
    let place = Place::new();
    let mut node = place.start();
    fill(node.address());
    assert_eq!(node.signal("TERM").code(), Some(0));
    let good = fs::read(place.file()).expect("kept");
    let aside = place.folder.path().join("items.damaged");
    let mut damaged = vec![
        Vec::new(),
        b"no such format".to_vec(),
        good[..good.len() - 1].to_vec(),
        good[..good.len() / 2].to_vec(),
        good[..7].to_vec(),
        [&good[..], b"x"].concat(),
        [&good[..], &good[..]].concat(),
    ];
    let step = good.len() / 9;
    for at in (0..good.len()).step_by(step.max(1)).chain([good.len() - 1]) {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        damaged.push(flipped);
    }
    for (case, bytes) in damaged.iter().enumerate() {
        fs::write(place.file(), bytes).expect("writable");
        let mut node = place.start();
        let answer = ask(
            node.address(),
            "get key1 session1 session2999\r\nset a 0 0 1\r\nx\r\n",
        );
        assert_eq!(answer, "END\r\nSTORED\r\n", "{case}");
        assert!(fs::read(&aside).expect("put aside") == *bytes, "{case}");
        assert!(
            node.log().contains("starting empty"),
            "{case}: {}",
            node.log()
        );
        assert_eq!(node.signal("TERM").code(), Some(0));
        let mut node = place.start();
        assert_eq!(
            ask(node.address(), "get a\r\n"),
            "VALUE a 0 1\r\nx\r\nEND\r\n"
        );
        node.signal("KILL");
    }
}

#[test]
fn two_processes_do_not_share_a_file() {
    let place = Place::new();
    let mut node = place.start();
    let file = place.file();
    let second = output(&["-p", "-1", "-e", file.to_str().expect("text")]);
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(3), "{told}");
    assert!(told.contains("another process keeps its items"), "{told}");
    node.signal("KILL");
    drop(place.start());
}

#[test]
fn a_place_that_cannot_be_written_is_told_at_the_start() {
    let place = Place::new();
    let nowhere = place.folder.path().join("no/such/folder/items");
    for path in [nowhere.as_path(), Path::new("/proc/items")] {
        let refused = output(&["-p", "-1", "-e", path.to_str().expect("text")]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(3), "{told}");
        assert!(told.contains("choose another with --memory-file"), "{told}");
        let background = output(&["-d", "-p", "-1", "-e", path.to_str().expect("text")]);
        assert_eq!(background.status.code(), Some(3), "told by the starter");
    }
}

#[test]
fn a_smaller_memory_keeps_what_fits() {
    let place = Place::new();
    let mut node = place.start();
    let value = "x".repeat(20_000);
    let store: String = (0..1000)
        .map(|n| format!("ms big{n} 20000\r\n{value}\r\n"))
        .collect();
    ask(node.address(), &store);
    assert_eq!(node.signal("TERM").code(), Some(0));
    let file = place.file();
    let node = Program::start(&["-p", "-1", "-m", "10", "-e", file.to_str().expect("text")]);
    let looks: String = (0..1000).map(|n| format!("mg big{n}\r\n")).collect();
    let kept = ask(node.address(), &looks).matches("HD").count();
    assert!(kept > 100 && kept < 600, "{kept}\n{}", node.log());
}

#[test]
fn a_kill_in_the_middle_of_a_stop_leaves_all_or_nothing() {
    let place = Place::new();
    let value = "x".repeat(100_000);
    let store: String = (0..400)
        .map(|n| format!("ms key{n} 100000\r\n{value}\r\n"))
        .collect();
    let looks: String = (0..400).map(|n| format!("mg key{n} s\r\n")).collect();
    for _ in 0..3 {
        let mut node = place.start();
        ask(node.address(), &store);
        node.send("TERM");
        until("it writes", || {
            let names = place.names();
            (names.len() > 1).then_some(())
        });
        node.signal("KILL");
        let mut node = place.start();
        let there = ask(node.address(), &looks).matches("HD s100000").count();
        assert!(there == 0 || there == 400, "{there}");
        assert!(!place.names().contains(&"items.damaged".to_owned()));
        node.signal("KILL");
    }
}

#[test]
fn an_announced_flush_comes_though_the_node_was_down() {
    let place = Place::new();
    let mut node = place.start();
    ask(
        node.address(),
        "set a 0 0 1\r\nx\r\nset b 0 1 1\r\nx\r\nflush_all 1000\r\n",
    );
    assert_eq!(node.signal("TERM").code(), Some(0));
    let node = place.start();
    let answer = ask(node.address(), "mg a t\r\n");
    let left = answer
        .strip_prefix("HD t")
        .expect("there, and not for ever");
    let left: u64 = left.trim_end().parse().expect("seconds");
    assert!((900..=1000).contains(&left), "{left}");
}
