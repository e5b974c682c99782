//! However the network cuts what a client sends, the answers are the same; and commands put together at random are all
//! answered, which the last one shows.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;

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
        let mut pieces = Vec::new();
        let mut rest = stream.as_bytes();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(random.usize(1..=rest.len().min(40)));
            pieces.push(piece);
            rest = behind;
        }
        assert_eq!(answers(&node, &pieces), whole, "{stream}");
        assert!(whole.ends_with("MN\r\n"), "{stream}");
    }
}

/// What an empty node answers to these pieces, each sent by itself.
fn answers(node: &Node, pieces: &[&[u8]]) -> String {
    let mut client = connect(node.address);
    client.set_nodelay(true).expect("settable");
    exchange(&mut client, b"flush_all\r\n", "OK\r\n");
    for piece in pieces {
        client.write_all(piece).expect("it reads");
    }
    client.write_all(b"\r\nmn\r\n").expect("it reads");
    client.shutdown(Shutdown::Write).expect("connected");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}
