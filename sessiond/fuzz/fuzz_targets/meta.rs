//! A line of a meta command: it is answered at once or its value is waited for, and a key that was let through is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sessiond::protocol::text::{Limits, parse};
use sessiond::protocol::{KEY_MAX, Parsed, Request, meta};

const LIMITS: Limits = Limits {
    item_size: 4096,
    retrieval_line: 8192,
};

const VERBS: [&[u8]; 6] = [b"mg ", b"ms ", b"md ", b"ma ", b"me ", b"mn "];

fuzz_target!(|input: (u8, &[u8])| {
    let (verb, rest) = input;
    let line = [VERBS[usize::from(verb) % VERBS.len()], rest, b"\r\n"].concat();
    let parsed = parse(&line, LIMITS);
    let Parsed::Complete { request, used } = parsed else {
        return;
    };
    assert!(used > 0);
    let Request::Meta(command) = request else {
        panic!("a line that begins with {verb} is no other command");
    };
    let key = command.key.bytes(&mut [0; KEY_MAX]).len();
    assert_eq!(key == 0, command.verb == meta::Verb::Noop);
});
