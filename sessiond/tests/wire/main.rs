//! Bytes sent and bytes expected, told in scripts, against ours and against the real memcached: what the scripts say is
//! what memcached does, and ours does the same.
//!
//! ```text
//!   wire/*.txt          text protocol, meta commands            open server
//!   wire/binary/*.txt   binary protocol (packet.rs)             open server
//!   wire/sasl/*.txt     binary protocol                         -S
//!   wire/login/*.txt    text protocol                           -Y
//!   wire/only-*/*.txt   a protocol where the other is spoken    -B binary, -B ascii
//!   wire/no-flush/*.txt both                                    -F
//!   wire/restricted/*.txt text                              -X -W -A -D=
//!   wire/ours/*.txt     what memcached does not do, on purpose  open server, ours alone
//! ```
//!
//! A script is a list of cases between blank lines; each has a title, a new connection and an empty store.
//! `> line` is sent with CR LF, `>> bytes` without; `< line` is expected with CR LF, and nothing else may come.
//! `<~ line` sends what was sent last again until this line comes: memcached obeys some commands a moment later.
//! A case that fails is played once more: the second may have changed between two lines, and with it the time left.
//! `! closed` expects the other side to close. Escapes: `\r \n \t \0 \\ \xHH`, `{x*250}` for a repetition,
//! `{name}` in what is expected for a number: any at first, the same afterwards, and in what is sent.
//! `>b` sends a packet, `<b` expects one, `<b* NAME...` expects packets of stat up to the empty one, these
//! names among them (`NAME=VALUE` with this value).

mod packet;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use packet::Reply;
use sessiond::Config;
use sessiond::config::Protocol;
use support::{Memcached, Node, connect, guarded};

/// How long an answer may be another one than the awaited one, and how long to wait before asking again.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

#[test]
fn sessiond_answers_as_the_scripts_say() {
    let node = Node::start(Config::default());
    for script in ["", "binary", "ours"].into_iter().flat_map(scripts) {
        script.run(node.address);
    }
}

#[test]
fn memcached_answers_as_the_scripts_say() {
    if let Some(memcached) = Memcached::start() {
        for script in ["", "binary"].into_iter().flat_map(scripts) {
            script.run(memcached.address);
        }
    }
}

#[test]
fn sessiond_lets_in_whom_the_scripts_let_in() {
    let (node, _folder) = guarded::sessiond_with_sasl();
    run("sasl", node.address);
    let (node, _folder) = guarded::sessiond_with_login();
    run("login", node.address);
}

#[test]
fn memcached_lets_in_whom_the_scripts_let_in() {
    if let Some((memcached, _folder)) = guarded::memcached_with_sasl() {
        run("sasl", memcached.address);
    }
    if let Some((memcached, _folder)) = guarded::memcached_with_login() {
        run("login", memcached.address);
    }
}

/// A folder of scripts for servers with an option, and how memcached and ours are told of it.
type Optional = (&'static str, &'static [&'static str], fn(&mut Config));

const OPTIONS: [Optional; 4] = [
    ("only-binary", &["-B", "binary"], |config| {
        config.protocol = Protocol::Binary;
    }),
    ("only-ascii", &["-B", "ascii"], |config| {
        config.protocol = Protocol::Ascii;
    }),
    ("no-flush", &["-F"], |config| {
        config.disable_flush_all = true;
    }),
    ("restricted", &["-X", "-W", "-A", "-D="], |config| {
        config.disable_dumping = true;
        config.disable_watch = true;
        config.enable_shutdown = true;
        config.prefix_delimiter = "=".into();
    }),
];

#[test]
fn sessiond_takes_options_as_the_scripts_say() {
    for (folder, _, set) in OPTIONS {
        let mut config = Config::default();
        set(&mut config);
        run(folder, Node::start(config).address);
    }
}

#[test]
fn memcached_takes_options_as_the_scripts_say() {
    for (folder, options, _) in OPTIONS {
        if let Some(memcached) = Memcached::start_with(options, &[]) {
            run(folder, memcached.address);
        }
    }
}

/// Plays the scripts of a folder.
fn run(folder: &str, address: SocketAddr) {
    for script in scripts(folder) {
        script.run(address);
    }
}

struct Script {
    name: String,
    cases: Vec<Case>,
    /// Whether everybody may empty the store.
    is_open: bool,
}

struct Case {
    title: String,
    steps: Vec<Step>,
}

enum Step {
    Send(String),
    Expect(String),
    Await(String),
    ExpectClosed,
    SendPacket(String),
    ExpectPacket(String),
    ExpectFigures(String),
}

/// The scripts of a folder; "" for those of the text protocol.
fn scripts(folder: &str) -> Vec<Script> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/wire")
        .join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the scripts")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
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
            name: path.display().to_string(),
            is_open: !["sasl", "login", "only-binary", "no-flush"].contains(&folder(path)),
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
        if self.is_open {
            let mut stream = connect(address);
            support::exchange(&mut stream, b"flush_all\r\n", "OK\r\n");
        }
        let mut play = Play {
            stream: connect(address),
            place: format!("{}: {}", self.name, case.title),
            is_open: self.is_open,
            numbers: HashMap::new(),
        };
        play.all(&case.steps);
    }
}

/// The name of the folder that a script is in.
fn folder(path: &Path) -> &str {
    let folder = path.parent().and_then(Path::file_name);
    folder.and_then(OsStr::to_str).expect("a name")
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
                "<~" => steps.push(Step::Await(rest.to_owned())),
                ">b" => steps.push(Step::SendPacket(rest.to_owned())),
                "<b" => steps.push(Step::ExpectPacket(rest.to_owned())),
                "<b*" => steps.push(Step::ExpectFigures(rest.to_owned())),
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
    /// Whether everybody is served.
    is_open: bool,
    numbers: HashMap<String, String>,
}

impl Play {
    fn all(&mut self, steps: &[Step]) {
        let mut open = true;
        let mut sent = Vec::new();
        for step in steps {
            match step {
                Step::Send(text) => {
                    sent = self.bytes(text);
                    self.stream.write_all(&sent).expect("it reads");
                }
                Step::Expect(text) => self.expect(text),
                Step::Await(text) => self.await_line(text, &sent),
                Step::ExpectClosed => {
                    let mut byte = [0];
                    // A reset is as good as an end: our last bytes may have come too late.
                    let read = self.stream.read(&mut byte).unwrap_or(0);
                    assert_eq!(read, 0, "{}: it is not closed", self.place);
                    open = false;
                }
                Step::SendPacket(text) => {
                    let bytes = packet::request(text, self);
                    self.stream.write_all(&bytes).expect("it reads");
                }
                Step::ExpectPacket(text) => {
                    let reply = self.packet(text);
                    let expected = Reply::expected(text, &reply, self);
                    assert_eq!(reply, expected, "{}: {text}", self.place);
                }
                Step::ExpectFigures(names) => self.expect_figures(names),
            }
        }
        if open {
            self.last_words(steps);
            // What was not expected would come before the end.
            let place = &self.place;
            self.stream.shutdown(Shutdown::Write).expect("open");
            let mut rest = Vec::new();
            self.stream.read_to_end(&mut rest).expect(place);
            assert_eq!(rest.escape_ascii().to_string(), "", "{place}: too much");
        }
    }

    /// Shows that the other side is in step: it answers what comes next.
    fn last_words(&mut self, steps: &[Step]) {
        let is_packet = |step: &Step| matches!(step, Step::SendPacket(_));
        if steps.iter().any(is_packet) {
            let packet = packet::request("version opaque=4711", self);
            self.stream.write_all(&packet).expect("it reads");
            let expected = "version value=1.6.18 opaque=4711";
            let reply = self.packet(expected);
            assert_eq!(
                reply,
                Reply::expected(expected, &reply, self),
                "{}",
                self.place
            );
        } else if self.is_open {
            self.stream
                .write_all(b"delete the-end\r\n")
                .expect("it reads");
            self.expect("NOT_FOUND");
        }
    }

    /// The next packet, where this is expected.
    fn packet(&mut self, expected: &str) -> Reply {
        let reply = Reply::read(&mut self.stream);
        reply.unwrap_or_else(|error| panic!("{}: {error}, not `{expected}`", self.place))
    }

    fn expect_figures(&mut self, names: &str) {
        let mut found = Vec::new();
        loop {
            let reply = self.packet(names);
            if reply.is_last_figure() {
                break;
            }
            found.push(reply.figure());
        }
        for name in names.split(' ').filter(|name| !name.is_empty()) {
            let named = |(figure, value): &(String, String)| match name.split_once('=') {
                Some((name, wanted)) => figure == name && value == wanted,
                None => figure == name,
            };
            assert!(found.iter().any(named), "{name} in {found:?}");
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

    /// Sends again what was sent last until this line is the answer.
    fn await_line(&mut self, text: &str, sent: &[u8]) {
        let begin = Instant::now();
        loop {
            let line = self.line();
            if line == text {
                break;
            }
            let waited = begin.elapsed();
            assert!(waited < PATIENCE, "{}: {line} after {waited:?}", self.place);
            std::thread::sleep(PAUSE);
            self.stream.write_all(sent).expect("it reads");
        }
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
