//! What must hold of the parsers whatever arrives. The fuzz targets try it with the inputs that libFuzzer thinks of,
//! `tests/parsers.rs` with seeded ones.

use sessiond::protocol::text::Limits;
use sessiond::protocol::{KEY_MAX, Keys, Parsed, Request, binary, login, meta, text};

/// Small, so that both sides of them are reached.
const LIMITS: Limits = Limits {
    item_size: 4096,
    retrieval_line: 8192,
};

/// How a protocol reads a line or packet and the data behind it when both are in different places.
type Split = for<'a> fn(&'a [u8], &'a [u8], Limits) -> Parsed<'a>;

/// A stream of text, meta commands included.
pub(crate) fn text(bytes: &[u8]) {
    stream(
        bytes,
        |rest| text::parse(rest, LIMITS),
        Some(text::parse_split),
    );
}

/// A stream of packets, and one packet whose lengths are made to fit, which reaches deeper.
pub(crate) fn binary(bytes: &[u8]) {
    let parse = |rest| binary::parse(rest, LIMITS);
    stream(bytes, parse, Some(binary::parse_split));
    let mut packet = bytes.to_vec();
    let Some((header, body)) = packet.split_first_chunk_mut::<{ binary::HEADER }>() else {
        return;
    };
    (header[0], header[2]) = (binary::MAGIC, 0);
    header[4] %= 24; // no command has longer extras
    header[8..12].copy_from_slice(&(body.len() as u32).to_be_bytes());
    stream(
        &packet,
        |rest| binary::parse(rest, LIMITS),
        Some(binary::parse_split),
    );
}

/// A stream of somebody who has to authenticate first.
pub(crate) fn login(bytes: &[u8]) {
    stream(bytes, login::parse, None);
}

/// One meta command: it is answered at once or its value is waited for, and a key that was let through is one.
pub(crate) fn meta(verb: u8, rest: &[u8]) {
    const VERBS: [&[u8]; 6] = [b"mg ", b"ms ", b"md ", b"ma ", b"me ", b"mn "];
    let line = [VERBS[usize::from(verb) % VERBS.len()], rest, b"\r\n"].concat();
    let Parsed::Complete { request, used } = text::parse(&line, LIMITS) else {
        return;
    };
    assert!(used > 0);
    let Request::Meta(command) = request else {
        panic!("a line that begins with {verb} is no other command");
    };
    let key = command.key.bytes(&mut [0; KEY_MAX]).len();
    assert_eq!(key == 0, command.verb == meta::Verb::Noop);
}

/// Whatever arrives is passed over by at least a byte, or waited for with a reason; what is complete is not taken for
/// something else while it was arriving; data in another place are the same data; and no key is too long.
fn stream<'a>(bytes: &'a [u8], parse: impl Fn(&'a [u8]) -> Parsed<'a>, split: Option<Split>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let parsed = parse(rest);
        let used = match parsed {
            Parsed::Complete { used, .. } | Parsed::Invalid { used, .. } => used,
            Parsed::Incomplete { need } => return assert!(need > rest.len()),
            Parsed::Partial { line, block } => {
                return assert!(line <= rest.len() && line.saturating_add(block) > rest.len());
            }
        };
        assert!(used > 0);
        if let Parsed::Complete { request, .. } = &parsed {
            for key in keys(request) {
                assert!(key.len() <= KEY_MAX, "{request:?}");
            }
        }
        // Half of it, and the last byte missing.
        for length in [used / 2, used.saturating_sub(1)] {
            let beginning = &rest[..length.clamp(1, rest.len())];
            match parse(beginning) {
                Parsed::Incomplete { need } => assert!(need <= used, "{need} for {used}"),
                Parsed::Partial { line, block } => {
                    assert_eq!(line + block, used);
                    if let (Some(split), true) = (split, used <= rest.len()) {
                        let apart = split(&rest[..line], &rest[line..used], LIMITS);
                        assert_eq!(apart, parsed);
                    }
                }
                Parsed::Complete { .. } | Parsed::Invalid { .. } => {}
            }
        }
        rest = &rest[used.min(rest.len())..];
    }
}

/// The keys of a request.
fn keys<'a>(request: &Request<'a>) -> Vec<&'a [u8]> {
    let several = |keys: Keys<'a>| keys.collect();
    match request {
        Request::Retrieve(retrieve) => several(retrieve.keys),
        Request::Store(store) => vec![store.key],
        Request::TooLarge { key, .. }
        | Request::Delete { key, .. }
        | Request::Arithmetic { key, .. }
        | Request::Touch { key, .. } => vec![key],
        Request::Binary(packet) => match packet.command {
            Ok(
                binary::Command::Get { key, .. }
                | binary::Command::Touch { key, .. }
                | binary::Command::Delete { key }
                | binary::Command::TooLarge { key, .. },
            ) => vec![key],
            Ok(binary::Command::Store(store)) => vec![store.key],
            Ok(binary::Command::Count(count)) => vec![count.key],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}
