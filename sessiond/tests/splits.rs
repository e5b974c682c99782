//! However the network cuts what a client sends, the answers are the same; and commands put together at random are all
//! answered, which the last one shows.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use sessiond::Config;
use support::{Node, connect, exchange};

/// What a client may send: whole requests, and such as are refused. Each leaves the connection in step.
const REQUESTS: &[&str] = &[
    "set a 5 0 2\r\nxy\r\n",
    "set b 0 100 1 noreply\r\n7\r\n",
    "get a b c\r\n",
    "incr b 3\r\n",
    "set a 0 0 1\r\nxyz\r\n",
    "cas a 0 0 1 99999999999\r\nz\r\n",
    "delete a\r\n",
    "nothing\r\n",
    "mg a v k s f t Oxyz\r\n",
    "mg n N100 v q\r\n",
    "ms a 3 T100 q\r\nabc\r\n",
    "ms YQ== 3 b k\r\nab\n\r\n",
    "ms a 2 MZ\r\nxy\r\n",
    "ms a 2 C99999999999\r\nxy\r\n",
    "md a I k\r\n",
    "ma b N0 J5 v\r\n",
    "ma a v q\r\n",
    "mg YQ== b v\r\n",
    "mg a v v\r\n",
    "mn\r\n",
    "version\r\n",
];

#[test]
fn however_the_stream_is_cut_the_answers_are_the_same() {
    let node = Node::start(Config::default());
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..40 {
        let requests: Vec<&str> = (0..random.usize(1..30))
            .map(|_| REQUESTS[random.usize(..REQUESTS.len())])
            .collect();
        let stream = requests.concat();
        let whole = answers(&node, &[stream.as_bytes()]);
        let pieces = pieces(stream.as_bytes(), 40, &mut random);
        assert_eq!(answers(&node, &pieces), whole, "{stream}");
        assert!(whole.ends_with("MN\r\n"), "{stream}");
    }
}

/// What a client may send in packets: command, extras, key, length of the value. Each leaves the connection in step.
const PACKETS: &[(u8, &[u8], &str, usize)] = &[
    (0x01, &[0, 0, 0, 5, 0, 0, 0, 0], "a", 3),
    (0x11, &[0, 0, 0, 0, 0, 0, 0, 100], "b", 0),
    (0x11, &[0; 8], "large", 20_000),
    (0x01, &[0; 8], "large", 100_000),
    (0x02, &[0; 8], "a", 1),
    (0x12, &[0; 8], "large", 17_000),
    (0x03, &[0; 8], "b", 2),
    (0x0e, &[], "a", 2),
    (0x1a, &[], "large", 300),
    (0x01, &[0; 8], "too large", 1_048_600),
    (0x00, &[], "a", 0),
    (0x09, &[], "absent", 0),
    (0x0c, &[], "large", 0),
    (0x0d, &[], "b", 0),
    (0x1d, &[0, 0, 0, 9], "a", 0),
    (0x24, &[0, 0, 0, 9], "absent", 0),
    (0x1c, &[0, 0, 0, 9], "b", 0),
    (
        0x05,
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0],
        "n",
        0,
    ),
    (
        0x16,
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0],
        "n",
        0,
    ),
    (0x05, &[0xff; 20], "b", 0),
    (0x04, &[], "large", 0),
    (0x14, &[], "a", 0),
    (0x0a, &[], "", 0),
    (0x0b, &[], "", 0),
    (0x08, &[0, 0, 0, 100], "", 0),
    (0x10, &[], "nothing", 0),
    (0x50, &[1, 2], "what", 7),
    (0x21, &[], "PLAIN", 9),
];

/// The last packet of every stream.
const NOOP: [u8; 24] = [
    0x80, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0,
];

#[test]
fn however_packets_are_cut_the_answers_are_the_same() {
    let node = Node::start(Config::default());
    let mut random = fastrand::Rng::with_seed(12);
    for turn in 0..40 {
        let mut stream: Vec<u8> = (0..random.usize(1..30))
            .flat_map(|number| packet(PACKETS[random.usize(..PACKETS.len())], number as u8))
            .collect();
        stream.extend(NOOP);
        let whole = replies(&node, &[&stream]);
        let longest = if turn % 2 == 0 { 40 } else { 30_000 };
        let pieces = pieces(&stream, longest, &mut random);
        assert_eq!(replies(&node, &pieces), whole, "turn {turn}");
        let (_, last) = whole.last().expect("noop is answered");
        assert_eq!(last[12..16], [1, 2, 3, 4], "turn {turn}");
    }
}

fn packet((opcode, extras, key, length): (u8, &[u8], &str, usize), opaque: u8) -> Vec<u8> {
    let body = (extras.len() + key.len() + length) as u32;
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
    packet.extend(body.to_be_bytes());
    packet.extend([0, 0, 0, opaque]);
    packet.extend([0; 8]);
    packet.extend(extras);
    packet.extend(key.as_bytes());
    packet.extend(std::iter::repeat_n(opaque, length));
    packet
}

/// What an empty node answers to these pieces, each sent by itself: header without cas unique, and body.
fn replies(node: &Node, pieces: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
    exchange(&mut connect(node.address), b"flush_all\r\n", "OK\r\n");
    let mut rest = sent(connect(node.address), pieces, &[]);
    let mut replies = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[8..12].try_into().expect("four bytes"));
        let behind = rest.split_off(24 + length as usize);
        let body = rest.split_off(24);
        rest.truncate(16);
        replies.push((body, rest));
        rest = behind;
    }
    replies
}

/// Cuts at random, at most so many bytes apart; small pieces of a long stream would take long.
fn pieces<'a>(stream: &'a [u8], longest: usize, random: &mut fastrand::Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let longest = longest.max(rest.len() / 500);
        let (piece, behind) = rest.split_at(random.usize(1..=rest.len().min(longest)));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// What an empty node answers to these pieces, each sent by itself.
fn answers(node: &Node, pieces: &[&[u8]]) -> String {
    let mut client = connect(node.address);
    exchange(&mut client, b"flush_all\r\n", "OK\r\n");
    let answer = sent(client, pieces, b"\r\nmn\r\n");
    String::from_utf8_lossy(&answer).into_owned()
}

/// All that is answered to these pieces and the last one.
fn sent(mut client: TcpStream, pieces: &[&[u8]], last: &[u8]) -> Vec<u8> {
    client.set_nodelay(true).expect("settable");
    let mut reader = client.try_clone().expect("a socket");
    // Read at the same time: who does not read is not read from either.
    let reading = std::thread::spawn(move || {
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).expect("it answers");
        answer
    });
    for piece in pieces.iter().chain([&last]) {
        client.write_all(piece).expect("it reads");
    }
    client.shutdown(Shutdown::Write).expect("connected");
    reading.join().expect("no panic")
}
