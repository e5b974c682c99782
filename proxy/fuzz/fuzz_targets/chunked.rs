//! The verdict on a chunked body does not depend on how the reads are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::chunked::{Scanned, Scanner};

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let whole = Scanner::default().scan(bytes);
    let mut scanner = Scanner::default();
    let mut before = 0;
    let mut pieces = Scanned::More;
    for piece in bytes.chunks(usize::from(cut).max(1)) {
        pieces = match scanner.scan(piece) {
            Scanned::End(length) => Scanned::End(before + length),
            other => other,
        };
        if pieces != Scanned::More {
            break;
        }
        before += piece.len();
    }
    assert_eq!(pieces, whole);
});
