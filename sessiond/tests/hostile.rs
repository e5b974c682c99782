//! Clients that mean harm or know no better: whatever they send, however slowly, and whatever they do not read, others
//! are served meanwhile, memory stays bounded, and their connections are given back.
//!
//! Each server here has one worker thread, so that everybody shares it.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::bystander::Bystander;
use support::process::Program;
use support::{connect, exchange, until};

/// What a server with `-m 64` may have in memory, whatever clients do: its items, and a part beside them.
const RESIDENT_MAX: usize = 128 << 20;

fn start() -> Program {
    Program::start(&["-l", "127.0.0.1", "-p", "-1", "-t", "1", "-m", "64"])
}

/// Waits until nobody else is connected.
fn alone(address: SocketAddr) {
    until("every connection is given back", || {
        let mut client = connect(address);
        client.write_all(b"stats\r\nquit\r\n").ok()?;
        let mut stats = String::new();
        client.read_to_string(&mut stats).ok()?;
        stats
            .contains("STAT curr_connections 1\r\n")
            .then_some(())
            // memcached counts the socket that it listens on.
            .or_else(|| stats.contains("STAT curr_connections 2\r\n").then_some(()))
    });
}

/// Sends bytes to whoever may close at any of them, and reads what comes, to the end.
fn send_all_and_read(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = connect(address);
    let _ = client.write_all(bytes);
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = client.read_to_end(&mut answer) {
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "it is not closed");
    }
    answer
}

#[test]
fn garbage_of_every_kind_closes_at_most_its_own_connection() {
    let node = start();
    let bystander = Bystander::start(node.address());
    let mut random = fastrand::Rng::with_seed(11);
    for number in 0..400 {
        let bytes = garbage(&mut random, number % 5);
        send_all_and_read(node.address(), &bytes);
    }
    bystander.was_served();
    alone(node.address());
    assert!(node.resident() < RESIDENT_MAX, "{}", node.resident());
}

/// Random bytes; words among them; binary headers of every kind; binary requests with a wrong byte; all in turn.
fn garbage(random: &mut fastrand::Rng, kind: usize) -> Vec<u8> {
    let length = random.usize(1..3000);
    let mut bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
    match kind {
        0 => {}
        1 => {
            const WORDS: [&str; 12] = [
                "set a 0 0 ",
                "ms a ",
                "mg a ",
                "get ",
                "gat 1 ",
                "incr a ",
                "\r\n",
                "cas a 0 0 5 ",
                "2147483645\r\n",
                " noreply",
                "\0",
                "stats ",
            ];
            for _ in 0..random.usize(1..40) {
                let at = random.usize(..bytes.len());
                bytes.splice(at..at, WORDS[random.usize(..WORDS.len())].bytes());
            }
        }
        2 => {
            // Any opcode, any lengths.
            for at in (0..bytes.len()).step_by(24) {
                bytes[at] = 0x80;
            }
        }
        3 => {
            // Lengths that fit, so that it is read for long.
            bytes.clear();
            for _ in 0..40 {
                let (key, extras) = (random.u16(..40), [0, 4, 8, 20][random.usize(..4)]);
                let body = u32::from(key) + u32::from(extras) + random.u32(..100);
                bytes.extend([0x80, random.u8(..0x48)]);
                bytes.extend(key.to_be_bytes());
                bytes.extend([extras, 0, 0, 0]);
                bytes.extend(body.to_be_bytes());
                bytes.extend([0; 12]);
                bytes.extend((0..body).map(|_| random.u8(..)));
            }
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u8(..8);
        }
        _ => {
            let mut first = b"get a\r\nset a 0 0 3\r\nabc\r\n".to_vec();
            first.append(&mut bytes);
            bytes = first;
        }
    }
    bytes
}

#[test]
fn fifty_clients_that_send_a_byte_at_a_time_are_answered_as_others() {
    const REQUESTS: &[u8] = b"set slow 3 0 5\r\nhello\r\nget slow nothing\r\nmg slow v f\r\nincr slow 1\r\nnonsense\r\n";
    const ANSWERS: &str = "STORED\r\nVALUE slow 3 5\r\nhello\r\nEND\r\nVA 5 f3\r\nhello\r\n\
        CLIENT_ERROR cannot increment or decrement non-numeric value\r\nERROR\r\n";
    let node = start();
    let bystander = Bystander::start(node.address());
    let mut clients: Vec<TcpStream> = (0..50).map(|_| connect(node.address())).collect();
    for byte in REQUESTS {
        for client in &mut clients {
            client.set_nodelay(true).expect("settable");
            client.write_all(&[*byte]).expect("it reads");
        }
    }
    for client in &mut clients {
        exchange(client, b"", ANSWERS);
    }
    let mut binary = connect(node.address());
    binary.set_nodelay(true).expect("settable");
    for byte in binary_set("slow", b"hello") {
        binary.write_all(&[byte]).expect("it reads");
    }
    let mut answer = [0; 24];
    binary.read_exact(&mut answer).expect("it answers");
    assert_eq!(
        (answer[0], answer[1], answer[6], answer[7]),
        (0x81, 1, 0, 0)
    );
    drop((clients, binary));
    bystander.was_served();
    alone(node.address());
}

/// A set of the binary protocol.
fn binary_set(key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = binary_header(1, key.len(), 8, 8 + key.len() + value.len());
    bytes.extend([0; 8]);
    bytes.extend(key.bytes());
    bytes.extend(value);
    bytes
}

/// A header of the binary protocol.
fn binary_header(opcode: u8, key: usize, extras: u8, body: usize) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode];
    bytes.extend(u16::try_from(key).expect("a length").to_be_bytes());
    bytes.extend([extras, 0, 0, 0]);
    bytes.extend(u32::try_from(body).expect("a length").to_be_bytes());
    bytes.extend([0; 12]);
    bytes
}

#[test]
fn a_client_that_closed_its_half_gets_its_answers_and_the_end() {
    let node = start();
    let bystander = Bystander::start(node.address());
    let large = "x".repeat(900_000);
    let requests = format!(
        "set half 0 0 900000\r\n{large}\r\n{}",
        "get half\r\n".repeat(20)
    );
    let answer = send_all_and_read(node.address(), requests.as_bytes());
    let one = format!("VALUE half 0 900000\r\n{large}\r\nEND\r\n");
    assert_eq!(answer.len(), "STORED\r\n".len() + 20 * one.len());
    assert!(answer.ends_with(one.as_bytes()));
    // What is not complete is not answered and not done.
    for unfinished in [
        "get half",
        "set half 0 0 900000\r\nabc",
        "set half 0 0 3\r\nabc\r",
        "ms half 3\r\nab",
    ] {
        let answer = send_all_and_read(node.address(), unfinished.as_bytes());
        assert_eq!(String::from_utf8_lossy(&answer), "", "{unfinished}");
    }
    let unfinished = &binary_set("half", b"abc")[..30];
    assert_eq!(send_all_and_read(node.address(), unfinished), b"");
    let found = send_all_and_read(node.address(), b"get half\r\n");
    assert_eq!(found, one.as_bytes(), "the item is as it was");
    bystander.was_served();
    alone(node.address());
}

#[test]
fn clients_that_never_read_are_held_back_and_cost_little() {
    let node = start();
    let bystander = Bystander::start(node.address());
    let mut client = connect(node.address());
    let value = "v".repeat(500_000);
    let set = format!("set big 0 0 500000\r\n{value}\r\n");
    exchange(&mut client, set.as_bytes(), "STORED\r\n");
    let text = format!("get {}\r\n", "big ".repeat(400)).repeat(100);
    let meta = "mg big v k\r\n".repeat(20_000);
    let binary = [binary_header(0, 3, 0, 3), b"big".to_vec()]
        .concat()
        .repeat(20_000);
    let mut deaf = Vec::new();
    for requests in [text.as_bytes(), meta.as_bytes(), &binary] {
        for _ in 0..7 {
            let stream = connect(node.address());
            stream.set_nonblocking(true).expect("settable");
            deaf.push((stream, requests, 0));
        }
    }
    // All send until nothing more is taken from anybody.
    let mut stuck_since = Instant::now();
    while stuck_since.elapsed() < Duration::from_millis(500) {
        for (stream, requests, sent) in &mut deaf {
            if let Ok(more @ 1..) = stream.write(&requests[*sent..]) {
                *sent += more;
                stuck_since = Instant::now();
            }
        }
        std::thread::yield_now();
        assert!(node.resident() < RESIDENT_MAX, "{}", node.resident());
    }
    bystander.was_served();
    // Who reads after all gets everything that it asked for, in order.
    let (mut late, ..) = deaf.remove(0);
    late.set_nonblocking(false).expect("settable");
    let one = format!("VALUE big 0 500000\r\n{value}\r\n").into_bytes();
    let mut answer = vec![0; one.len()];
    for _ in 0..100 {
        late.read_exact(&mut answer).expect("it goes on");
        assert!(answer == one, "a whole value");
    }
    drop((late, deaf, client));
    alone(node.address());
}

#[test]
fn lengths_that_are_only_announced_cost_nothing() {
    let node = start();
    let bystander = Bystander::start(node.address());
    let mut clients = Vec::new();
    // The largest that is allowed, from more clients than there is memory for.
    for number in 0..300 {
        let mut client = connect(node.address());
        let request = match number % 3 {
            0 => b"set announced 0 0 1000000\r\n".to_vec(),
            1 => b"ms announced 1000000\r\n".to_vec(),
            _ => binary_header(1, 9, 8, 1_000_017),
        };
        client.write_all(&request).expect("it reads");
        clients.push(client);
    }
    // And what nobody may send: refused at once where it is no length, passed over as far as it comes where it is one.
    for length in ["2147483647", "99999999999999999999", "-1"] {
        let mut client = connect(node.address());
        let request = format!("set a 0 0 {length}\r\n");
        let answer = "CLIENT_ERROR bad command line format\r\n";
        exchange(&mut client, request.as_bytes(), answer);
        clients.push(client);
    }
    let too_large = [
        b"set a 0 0 1200000\r\n".to_vec(),
        b"ms a 2000000000\r\n".to_vec(),
        [binary_header(1, 1, 8, 0x7fff_ffff), vec![0; 9]].concat(),
        [binary_header(1, 1, 8, 0xffff_ffff), vec![0; 9]].concat(),
    ];
    for request in too_large {
        let mut client = connect(node.address());
        for bytes in [&request[..], &vec![b'x'; 1_100_000]] {
            client.write_all(bytes).expect("it is passed over");
        }
        clients.push(client);
    }
    assert!(node.resident() < RESIDENT_MAX, "{}", node.resident());
    bystander.was_served();
    drop(clients);
    alone(node.address());
}

#[test]
fn lines_without_an_end_are_cut() {
    let node = start();
    let bystander = Bystander::start(node.address());
    let endless = |beginning: &str, more: &[u8]| {
        let mut client = connect(node.address());
        client.write_all(beginning.as_bytes()).expect("it reads");
        let more = more.repeat(1000);
        let mut sent = 0;
        while sent < 64 << 20 {
            match client.write(&more) {
                Ok(count) => sent += count,
                Err(error) => {
                    assert_ne!(
                        error.kind(),
                        ErrorKind::WouldBlock,
                        "it neither reads nor closes"
                    );
                    return;
                }
            }
        }
        panic!("{beginning} goes on and on");
    };
    endless("", b"x");
    endless("", b" ");
    endless("\0", b"\0");
    endless("get ", b"k ");
    endless("get ", b"k");
    endless("set a ", b"0");
    endless("mg a ", b"v ");
    endless("gat 1 ", b"key ");
    bystander.was_served();
    assert!(node.resident() < RESIDENT_MAX, "{}", node.resident());
    alone(node.address());
}

#[test]
fn garbage_and_unfinished_handshakes_at_a_tls_port_harm_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("signed");
    let both = made.cert.pem() + &made.signing_key.serialize_pem();
    let file = folder.path().join("both.pem");
    std::fs::write(&file, both).expect("writable");
    let certificate = format!("ssl_chain_cert={}", file.display());
    let listen = "notls:127.0.0.1:0,127.0.0.1:0";
    let arguments = [
        "-Z",
        "-o",
        &certificate,
        "-l",
        listen,
        "-t",
        "1",
        "-m",
        "64",
    ];
    let node = Program::start(&arguments);
    let ports = node.ports();
    let [open, tls] = [0, 1].map(|at: usize| SocketAddr::from(([127, 0, 0, 1], ports[at].1)));
    let bystander = Bystander::start(open);
    let mut random = fastrand::Rng::with_seed(12);
    for number in 0..200 {
        let mut bytes = garbage(&mut random, number % 5);
        if number % 2 == 0 {
            // A record of a handshake, as far as its header tells.
            bytes.splice(..0, [0x16, 3, 1, random.u8(..0x40), random.u8(..)]);
        }
        send_all_and_read(tls, &bytes);
    }
    let unfinished: Vec<TcpStream> = (0..500)
        .map(|_| {
            let mut client = connect(tls);
            client.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("it reads");
            client
        })
        .collect();
    bystander.was_served();
    assert!(node.resident() < RESIDENT_MAX, "{}", node.resident());
    drop(unfinished);
    alone(open);
}
