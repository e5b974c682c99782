//! The fuzz targets' properties of what nodes say, with seeded inputs: words and bytes of each protocol put together at random,
//! and then spoilt a little.

#[path = "../fuzz/properties.rs"]
mod properties;

use fastrand::Rng;

/// So many inputs for each parser.
const INPUTS: usize = 20_000;

const TEXT: &[&[u8]] = &[
    b"VALUE ",
    b"VALUE k 0 1",
    b"VALUE k 0 1 7",
    b"k ",
    b"0 ",
    b"1 ",
    b"7",
    b"99999999999 ",
    b"x",
    b"\r\n",
    b"\r\n",
    b"\r\nEND\r\n",
    b"END\r\n",
    b"STORED\r\n",
    b"NOT_STORED\r\n",
    b"EXISTS\r\n",
    b"NOT_FOUND\r\n",
    b"TOUCHED\r\n",
    b"DELETED\r\n",
    b"SERVER_ERROR object too large for cache\r\n",
    b"CLIENT_ERROR ",
    b"get k\r\n",
    b"set k 0 60 1\r\nx\r\n",
    b" noreply",
];

const BINARY: &[&[u8]] = &[
    &[0x81],
    &[0x81, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 7],
    &[0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
    &[0, 0, 0, 0],
    &[0, 0, 0, 0, 0, 0, 0, 9],
    &[0, 0, 0, 2, b'x'],
    &[0x20],
    &[0x82],
    &[1],
    &[2],
    &[3],
    &[5],
];

fn try_each(seed: u64, words: &[&[u8]], property: fn(&[u8])) {
    let mut rng = Rng::with_seed(seed);
    for _ in 0..INPUTS {
        let mut input = Vec::new();
        for _ in 0..rng.usize(0..8) {
            input.extend_from_slice(words[rng.usize(0..words.len())]);
        }
        if rng.bool() && !input.is_empty() {
            let at = rng.usize(0..input.len());
            input[at] = rng.u8(..);
        }
        property(&input);
    }
}

#[test]
fn lines() {
    try_each(1, TEXT, properties::text_answer);
}

#[test]
fn packets() {
    try_each(2, BINARY, properties::binary_answer);
}

#[test]
fn both_halves_of_a_connection() {
    try_each(3, TEXT, properties::tapped);
}
