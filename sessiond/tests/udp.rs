//! UDP over real sockets, ours and memcached's side by side.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use support::process::Program;
use support::{Memcached, PATIENCE};

/// The request behind a request: when it is answered, there are no more answers to the first.
const MARK: &[u8] = b"version\r\n";

struct Client(UdpSocket);

impl Client {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        socket.connect(server).expect("loopback");
        socket.set_read_timeout(Some(PATIENCE)).expect("settable");
        Self(socket)
    }

    fn send(&self, header: [u16; 4], payload: &[u8]) {
        let mut datagram: Vec<u8> = header.iter().flat_map(|n| n.to_be_bytes()).collect();
        datagram.extend_from_slice(payload);
        self.0.send(&datagram).expect("sent");
    }

    fn receive(&self) -> ([u16; 4], Vec<u8>) {
        let mut buffer = vec![0; 65536];
        let length = self.0.recv(&mut buffer).expect("an answer");
        assert!(length <= 1400, "{length}");
        let number = |i: usize| u16::from_be_bytes([buffer[2 * i], buffer[2 * i + 1]]);
        let header = [number(0), number(1), number(2), number(3)];
        (header, buffer[8..length].to_vec())
    }

    /// Every datagram that answers a request; a second request behind it tells that there are no more.
    fn ask(&self, request: &[u8]) -> Vec<([u16; 4], Vec<u8>)> {
        self.send([7, 0, 1, 0], request);
        self.send([8, 0, 1, 0], MARK);
        let mut answers = Vec::new();
        loop {
            let (header, payload) = self.receive();
            if header[0] == 8 {
                assert_eq!(payload, b"VERSION 1.6.18\r\n");
                return answers;
            }
            answers.push((header, payload));
        }
    }

    /// The text of all answers.
    fn text(&self, request: &[u8]) -> String {
        let answers = self.ask(request).into_iter();
        let bytes: Vec<u8> = answers.flat_map(|(_, payload)| payload).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn ours(more: &[&str]) -> (Program, Client) {
    let program = Program::start(&[&["-p", "-1", "-U", "-1", "-l", "127.0.0.1"], more].concat());
    let client = Client::new(SocketAddr::from(([127, 0, 0, 1], program.port("UDP INET"))));
    (program, client)
}

/// Requests in one datagram each, in this order.
fn requests() -> Vec<Vec<u8>> {
    let set = |key: &str, size: usize| {
        let value = "0123456789".repeat(size / 10);
        format!("set {key} 5 0 {}\r\n{value}\r\n", value.len()).into_bytes()
    };
    let mut requests = vec![
        b"version\r\n".to_vec(),
        b"get absent\r\n".to_vec(),
        b"nonsense\r\n".to_vec(),
        b"\r\n".to_vec(),
        set("small", 10),
        set("large", 1390),
        set("larger", 5000),
        b"get small\r\n".to_vec(),
        b"get large\r\n".to_vec(),
        b"get larger\r\n".to_vec(),
        b"set quiet 0 0 1 noreply\r\nx\r\n".to_vec(),
        b"get quiet\r\n".to_vec(),
        b"get small\r\nget quiet\r\n".to_vec(),
        b"mg small v f\r\n".to_vec(),
        b"mg absent v\r\n".to_vec(),
        b"ms meta 1\r\ny\r\n".to_vec(),
        b"mg meta v\r\nmn\r\n".to_vec(),
        b"incr small 1\r\n".to_vec(),
        b"delete small\r\n".to_vec(),
    ];
    // Binary: get, set, getk of an absent key, quiet get of an absent key with a noop behind it.
    let packet = |opcode: u8, extras: &[u8], key: &[u8], value: &[u8]| {
        let body = extras.len() + key.len() + value.len();
        let mut packet = vec![
            0x80,
            opcode,
            0,
            key.len() as u8,
            extras.len() as u8,
            0,
            0,
            0,
        ];
        packet.extend_from_slice(&(body as u32).to_be_bytes());
        packet.extend_from_slice(b"opaq\0\0\0\0\0\0\0\0");
        for part in [extras, key, value] {
            packet.extend_from_slice(part);
        }
        packet
    };
    requests.push(packet(0x00, b"", b"quiet", b""));
    requests.push(packet(0x01, &[0, 0, 0, 9, 0, 0, 0, 0], b"binary", b"value"));
    requests.push(packet(0x0c, b"", b"absent", b""));
    requests.push(packet(0x0b, b"", b"", b""));
    requests
}

#[test]
fn every_request_is_answered_as_memcached_answers_it() {
    let (_program, client) = ours(&[]);
    let ask = |client: &Client, request: &[u8]| {
        let mut answers = client.ask(request);
        for (_, payload) in &mut answers {
            // Every server counts its own cas uniques.
            if payload.starts_with(b"\x81") {
                payload[16..24].fill(0);
            }
        }
        answers
    };
    let ours: Vec<_> = requests().iter().map(|one| ask(&client, one)).collect();
    let larger = &ours[9];
    assert_eq!(larger.len(), 4, "a value of 5000 bytes");
    for (sequence, (header, _)) in larger.iter().enumerate() {
        assert_eq!(*header, [7, sequence as u16, 4, 0]);
    }
    let Some(memcached) = Memcached::start_with(&["-U", "-1", "-t", "1"], &[]) else {
        return;
    };
    let theirs = Client::new(memcached.udp.expect("asked for"));
    for (request, ours) in requests().iter().zip(ours) {
        let told = String::from_utf8_lossy(request).into_owned();
        assert!(ours == ask(&theirs, request), "{told:?}");
    }
}

/// memcached 1.6.18 numbers each value from 0, so that nobody can tell where the reply ends; its protocol.txt has one
/// sequence for a reply.
#[test]
fn a_reply_with_many_values_has_one_sequence() {
    let (_program, client) = ours(&[]);
    for request in requests() {
        client.ask(&request);
    }
    let answers = client.ask(b"get large larger\r\n");
    let headers: Vec<[u16; 4]> = answers.iter().map(|(header, _)| *header).collect();
    let expected: Vec<[u16; 4]> = (0..5).map(|sequence| [7, sequence, 5, 0]).collect();
    assert_eq!(headers, expected);
}

#[test]
fn what_is_no_request_is_dropped() {
    let (_program, client) = ours(&[]);
    for (header, payload) in [
        ([7, 0, 2, 0], &b"version\r\n"[..]),
        ([7, 0, 0, 0], b"version\r\n"),
        ([7, 0, 1, 0], b""),
    ] {
        client.send(header, payload);
    }
    client.0.send(b"short").expect("sent");
    client.0.send(b"").expect("sent");
    assert_eq!(client.text(b"version\r\n"), "VERSION 1.6.18\r\n");
    // The sequence number does not matter, nor does the last field.
    client.send([9, 5, 1, 6], b"version\r\n");
    assert_eq!(
        client.receive(),
        ([9, 0, 1, 0], b"VERSION 1.6.18\r\n".to_vec())
    );
}

#[test]
fn an_unfinished_request_swallows_nothing_of_the_next() {
    let (_program, client) = ours(&[]);
    for unfinished in [
        &b"set a 0 0 1000\r\nshort"[..],
        b"set a 0 0 30000\r\nshort",
        b"set a 0 0 2000000\r\nshort",
        b"get a",
        b"ms a 500\r\n",
        b"\x80\x01\0\x01\x08\0\0\0\0\0\xff\0",
    ] {
        assert_eq!(client.text(b"get a\r\n"), "END\r\n");
        let _ = client.ask(unfinished);
        assert_eq!(client.text(b"get a\r\n"), "END\r\n");
    }
}

#[test]
fn strangers_get_no_more_than_three_times_what_they_sent() {
    let (program, stranger) = ours(&["--udp-trusted", "192.0.2.0/24"]);
    let tcp = program.address();
    let mut stream = support::connect(tcp);
    let value = "x".repeat(60_000);
    let set = format!(
        "set big 0 0 {}\r\n{value}\r\nset small 0 0 1\r\nx\r\n",
        value.len()
    );
    support::exchange(&mut stream, set.as_bytes(), "STORED\r\nSTORED\r\n");
    let limited = "SERVER_ERROR too large for UDP\r\n";
    assert_eq!(stranger.text(b"get big\r\n"), limited);
    assert_eq!(stranger.text(b"mg big v\r\n"), limited);
    assert_eq!(stranger.text(b"stats\r\n"), limited);
    assert_eq!(
        stranger.text(b"get small\r\n"),
        "VALUE small 0 1\r\nx\r\nEND\r\n"
    );
    // The bound is for all replies to a datagram together.
    for request in [
        "get big\r\n".repeat(100),
        "get small\r\n".repeat(100),
        "stats\r\n".repeat(50),
        "x\r\n".repeat(200),
        "mn\r\n".to_owned(),
    ] {
        let answers = stranger.ask(request.as_bytes());
        let sent: usize = answers.iter().map(|(_, payload)| payload.len() + 8).sum();
        assert!(sent <= 3 * (request.len() + 8), "{sent}");
        assert!(sent > 0, "{request}");
    }
    // Who can send that much may receive that much.
    let padded = format!("get {}small\r\n", " ".repeat(1000));
    assert_eq!(
        stranger.text(padded.as_bytes()),
        "VALUE small 0 1\r\nx\r\nEND\r\n"
    );
    // In the binary protocol the error is a packet.
    let get = b"\x80\0\0\x03\0\0\0\0\0\0\0\x03opaq\0\0\0\0\0\0\0\0big";
    let answers = stranger.ask(get);
    let expected = b"\x81\0\0\0\0\0\0\x03\0\0\0\x0aopaq\0\0\0\0\0\0\0\0Too large.";
    assert_eq!(answers, [([7, 0, 1, 0], expected.to_vec())]);
}

#[test]
fn whom_we_trust_gets_everything() {
    let (program, client) = ours(&[]);
    let value = "x".repeat(60_000);
    let set = format!("set big 0 0 {}\r\n{value}\r\n", value.len());
    support::exchange(
        &mut support::connect(program.address()),
        set.as_bytes(),
        "STORED\r\n",
    );
    assert_eq!(
        client.text(b"get big\r\n"),
        format!("VALUE big 0 60000\r\n{value}\r\nEND\r\n")
    );
}

/// What lasts on a connection ends with the datagram.
#[test]
fn operators_commands_do_not_hold_the_socket() {
    let (_program, client) = ours(&[]);
    assert_eq!(client.text(b"set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    for request in [
        &b"watch mutations fetchers\r\n"[..],
        b"stats\r\n",
        b"quit\r\n",
    ] {
        let _ = client.ask(request);
        assert_eq!(client.text(b"get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    }
    let dump = client.text(b"lru_crawler metadump all\r\n");
    assert!(
        dump.starts_with("key=a exp=-1") && dump.ends_with("END\r\n"),
        "{dump}"
    );
}

#[test]
fn our_own_port_is_not_answered() {
    let (program, client) = ours(&["-l", "127.0.0.2"]);
    let ports = program.ports();
    // A datagram that says that it comes from the other of our sockets would go to and fro for ever.
    let port = ports
        .iter()
        .find(|(name, _)| name == "UDP INET")
        .expect("open")
        .1;
    let twin = UdpSocket::bind(("127.0.0.3", port)).expect("free there");
    twin.connect(("127.0.0.1", port)).expect("loopback");
    twin.set_read_timeout(Some(Duration::from_millis(200)))
        .expect("settable");
    twin.send(b"\0\0\0\0\0\x01\0\0version\r\n").expect("sent");
    assert_eq!(client.text(b"version\r\n"), "VERSION 1.6.18\r\n");
    assert!(twin.recv(&mut [0; 100]).is_err());
}

#[test]
fn it_cannot_be_combined_with_authentication() {
    let output = support::process::output(&["-U", "11300", "-Y", "/nowhere"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("udp_port = 0"), "{told}");
}
