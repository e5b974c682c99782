//! Bytes sent and bytes expected, told in `tests/wire/*.txt`, against ours and against the real memcached: what the
//! scripts say is what memcached does, and ours does the same.
//!
//! A script is a list of cases between blank lines; each has a title, a new connection and an empty store.
//! `> line` is sent with CR LF, `>> bytes` without; `< line` is expected with CR LF, and nothing else may come.
//! A case that fails is played once more: the second may have changed between two lines, and with it the time left.
//! `! closed` expects the other side to close. Escapes: `\r \n \t \0 \\ \xHH`, `{x*250}` for a repetition,
//! `{name}` in what is expected for a number: any at first, the same afterwards, and in what is sent.

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use sessiond::Config;
use support::{Memcached, Node, connect};

/// Asked at the end of a case, to see that nothing else was sent.
const LAST_WORDS: &[u8] = b"delete the-end\r\n";
const LAST_ANSWER: &str = "NOT_FOUND";

#[test]
fn sessiond_answers_as_the_scripts_say() {
    let node = Node::start(Config::default());
    for script in scripts() {
        script.run(node.address);
    }
}

#[test]
fn memcached_answers_as_the_scripts_say() {
    let Some(memcached) = Memcached::start() else {
        return;
    };
    for script in scripts() {
        script.run(memcached.address);
    }
}

struct Script {
    name: String,
    cases: Vec<Case>,
}

struct Case {
    title: String,
    steps: Vec<Step>,
}

enum Step {
    Send(String),
    Expect(String),
    ExpectClosed,
}

fn scripts() -> Vec<Script> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the scripts")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(Script::read).collect()
}

impl Script {
    fn read(path: &PathBuf) -> Self {
        let text = std::fs::read_to_string(path).expect("readable");
        let cases = text.split("\n\n").filter(|case| !case.trim().is_empty());
        Self {
            name: path.file_stem().expect("a name").to_string_lossy().into(),
            cases: cases.map(Case::read).collect(),
        }
    }

    fn run(&self, address: SocketAddr) {
        for case in &self.cases {
            let first = catch_unwind(AssertUnwindSafe(|| self.play(case, address)));
            if first.is_err() {
                self.play(case, address);
            }
        }
    }

    fn play(&self, case: &Case, address: SocketAddr) {
        let mut stream = connect(address);
        support::exchange(&mut stream, b"flush_all\r\n", "OK\r\n");
        let mut play = Play {
            stream,
            place: format!("{}: {}", self.name, case.title),
            numbers: HashMap::new(),
        };
        play.all(&case.steps);
    }
}

impl Case {
    fn read(text: &str) -> Self {
        let mut title = String::new();
        let mut steps = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            match mark {
                "#" if steps.is_empty() => title = format!("{title} {rest}").trim().to_owned(),
                ">" => steps.push(Step::Send(format!("{rest}\\r\\n"))),
                ">>" => steps.push(Step::Send(rest.to_owned())),
                "<" => steps.push(Step::Expect(rest.to_owned())),
                "!" if rest == "closed" => steps.push(Step::ExpectClosed),
                _ => panic!("not a step: {line}"),
            }
        }
        assert!(!title.is_empty(), "a case has a title: {text}");
        Self { title, steps }
    }
}

/// A case being played.
struct Play {
    stream: TcpStream,
    place: String,
    numbers: HashMap<String, String>,
}

impl Play {
    fn all(&mut self, steps: &[Step]) {
        let mut open = true;
        for step in steps {
            match step {
                Step::Send(text) => {
                    let bytes = self.bytes(text);
                    self.stream.write_all(&bytes).expect("it reads");
                }
                Step::Expect(text) => self.expect(text),
                Step::ExpectClosed => {
                    let mut byte = [0];
                    // A reset is as good as an end: our last bytes may have come too late.
                    let read = self.stream.read(&mut byte).unwrap_or(0);
                    assert_eq!(read, 0, "{}: it is not closed", self.place);
                    open = false;
                }
            }
        }
        if open {
            self.stream.write_all(LAST_WORDS).expect("it reads");
            self.expect(LAST_ANSWER);
        }
    }

    fn expect(&mut self, text: &str) {
        let line = self.line();
        let expected = match text.split_once('{') {
            Some((before, rest)) if !rest.contains('*') => {
                let (name, after) = rest.split_once('}').expect("a closing brace");
                let number = line
                    .strip_prefix(before)
                    .and_then(|rest| rest.strip_suffix(after))
                    .filter(|number| number.parse::<u64>().is_ok());
                if let Some(number) = number {
                    let known = self.numbers.entry(name.to_owned());
                    known.or_insert_with(|| number.to_owned());
                }
                self.bytes(text)
            }
            _ => self.bytes(text),
        };
        let expected = String::from_utf8_lossy(&expected).into_owned();
        assert_eq!(line, expected, "{}", self.place);
    }

    /// The next line that comes; lossy, for comparing and showing.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            let read = self.stream.read(&mut byte);
            let so_far = String::from_utf8_lossy(&line);
            match read {
                Ok(1) => line.push(byte[0]),
                other => panic!("{}: {other:?} after `{so_far}`", self.place),
            }
        }
        line.truncate(line.len() - 2);
        String::from_utf8_lossy(&line).into_owned()
    }

    /// The bytes that a script's text stands for.
    fn bytes(&self, text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            match first {
                '\\' => rest = unescape(rest, &mut bytes),
                '{' => {
                    let (inside, after) = rest.split_once('}').expect("a closing brace");
                    rest = after;
                    match inside.split_once('*') {
                        Some((what, times)) => {
                            let times = times.parse().expect("a number");
                            bytes.extend_from_slice(what.repeat(times).as_bytes());
                        }
                        None => {
                            let number = self.numbers.get(inside).map_or("?", String::as_str);
                            bytes.extend_from_slice(number.as_bytes());
                        }
                    }
                }
                other => bytes.extend_from_slice(other.to_string().as_bytes()),
            }
        }
        bytes
    }
}

/// Writes the byte of the escape that `text` begins with, and gives back what follows it.
fn unescape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let (letter, rest) = text.split_at(1);
    bytes.push(match letter {
        "r" => b'\r',
        "n" => b'\n',
        "t" => b'\t',
        "0" => 0,
        "\\" => b'\\',
        "x" => {
            let (hex, rest) = rest.split_at(2);
            bytes.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
            return rest;
        }
        _ => panic!("not an escape: \\{text}"),
    });
    rest
}
