//! The fuzz targets' properties, with seeded inputs: words and bytes of each protocol put together at random, and then
//! spoilt a little.

#[path = "../fuzz/properties.rs"]
mod properties;

use fastrand::Rng;

/// So many inputs for each parser.
const INPUTS: usize = 20_000;

const TEXT: &[&[u8]] = &[
    b"get ",
    b"gets ",
    b"gat 1 ",
    b"set ",
    b"add ",
    b"cas ",
    b"append ",
    b"delete ",
    b"incr ",
    b"touch ",
    b"flush_all ",
    b"verbosity ",
    b"stats ",
    b"version",
    b"quit",
    b"mg ",
    b"ms ",
    b"md ",
    b"ma ",
    b"mn",
    b"me ",
    b"key",
    b"a ",
    b"YQ== ",
    b" ",
    b"0 ",
    b"1 ",
    b"5 ",
    b"-1 ",
    b"4294967295 ",
    b"18446744073709551615 ",
    b"2147483645 ",
    b"4096 ",
    b"noreply",
    b" b",
    b" v",
    b" t",
    b" k",
    b" q",
    b" Oxyz",
    b" T10",
    b" N3",
    b" MA",
    b" C1",
    b" E5",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\0",
    b"hello",
    b"GET / HTTP/1.1",
];

#[test]
fn text_holds_its_properties() {
    each_input(1, |random| {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..30) {
            bytes.extend(TEXT[random.usize(..TEXT.len())]);
            if random.u8(..) < 4 {
                bytes.extend([b'k'].repeat(random.usize(..3000)));
            }
        }
        spoil(random, &mut bytes);
        properties::text(&bytes);
        properties::login(&bytes);
    });
}

#[test]
fn meta_holds_its_properties() {
    each_input(2, |random| {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..12) {
            bytes.extend(TEXT[random.usize(21..TEXT.len())]);
        }
        spoil(random, &mut bytes);
        properties::meta(random.u8(..), &bytes);
    });
}

#[test]
fn binary_holds_its_properties() {
    each_input(3, |random| {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..6) {
            packet(random, &mut bytes);
        }
        spoil(random, &mut bytes);
        properties::binary(&bytes);
    });
}

#[test]
fn logins_hold_their_properties() {
    each_input(4, |random| {
        let words = ["name", " ", "password", "a longer word"];
        let data: String = (0..random.usize(..6))
            .map(|_| words[random.usize(..4)])
            .collect();
        let mut bytes = format!("set k 0 0 {}\r\n{data}\r\n", data.len()).into_bytes();
        spoil(random, &mut bytes);
        properties::login(&bytes);
    });
}

/// Whatever fails is told with the number that makes it again.
fn each_input(seed: u64, check: impl Fn(&mut Rng)) {
    for number in 0..INPUTS {
        let mut random = Rng::with_seed(seed << 32 | number as u64);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut random)));
        assert!(checked.is_ok(), "input {number} of seed {seed}");
    }
}

/// A packet whose lengths fit together.
fn packet(random: &mut Rng, bytes: &mut Vec<u8>) {
    let key = [0, 1, 3, 250, 251][random.usize(..5)];
    let extras = [0, 4, 8, 20][random.usize(..4)];
    let value = [0, 0, 1, 100, 4000, 5000][random.usize(..6)];
    let body = key + extras + value;
    bytes.extend([
        binary_magic(random),
        random.u8(..0x28),
        (key >> 8) as u8,
        key as u8,
    ]);
    bytes.extend([extras as u8, 0, 0, 0]);
    bytes.extend((body as u32).to_be_bytes());
    bytes.extend([random.u8(..); 12]);
    bytes.extend((0..body).map(|_| random.u8(..)));
}

fn binary_magic(random: &mut Rng) -> u8 {
    if random.u8(..) < 8 {
        random.u8(..)
    } else {
        0x80
    }
}

/// Changes, removes or cuts something, mostly.
fn spoil(random: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..random.usize(..4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..4) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at + 1),
        }
    }
}
