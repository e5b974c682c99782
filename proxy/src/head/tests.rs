//! The tables of what is taken and what is refused.

use proptest::prelude::*;

use super::{Checked, Framing, Head, Limits, check};

const LIMITS: Limits = Limits {
    line: 8192,
    head: 32768,
    fields: 100,
};

fn head(text: &str) -> Head {
    match check(text.as_bytes(), &LIMITS) {
        Checked::Complete(head) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn status(bytes: &[u8]) -> u16 {
    match check(bytes, &LIMITS) {
        Checked::Complete(_) => 200,
        Checked::Incomplete => 0,
        Checked::Invalid(invalid) => invalid.status,
    }
}

/// A GET of HTTP/1.1 with these fields.
fn with(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

#[test]
fn framing_fields() {
    for (expected, fields) in [
        (200, "Content-Length: 5\r\n"),
        (200, "Content-Length: 005\r\n"),
        (200, "Content-Length:5\r\n"),
        (200, "Content-Length: \t5 \r\n"),
        (200, "Content-Length: 9999999999999999999\r\n"),
        (400, "Content-Length: 5\r\nContent-Length: 6\r\n"),
        (400, "Content-Length: 5\r\nContent-Length: 5\r\n"),
        (400, "Content-Length: 5, 5\r\n"),
        (400, "Content-Length: +5\r\n"),
        (400, "Content-Length: -5\r\n"),
        (400, "Content-Length: 0x5\r\n"),
        (400, "Content-Length: 5 5\r\n"),
        (400, "Content-Length:\r\n"),
        (400, "Content-Length: 18446744073709551621\r\n"),
        (400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        (400, "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
        (200, "Transfer-Encoding: chunked\r\n"),
        (200, "Transfer-Encoding: Chunked \r\n"),
        (501, "Transfer-Encoding: identity\r\n"),
        (501, "Transfer-Encoding: gzip\r\n"),
        (501, "Transfer-Encoding: gzip, chunked\r\n"),
        (501, "Transfer-Encoding: chunked, gzip\r\n"),
        (501, "Transfer-Encoding: chunked, chunked\r\n"),
        (501, "Transfer-Encoding: chunked,\r\n"),
        (501, "Transfer-Encoding: , chunked\r\n"),
        (501, "Transfer-Encoding: chunked;q=1\r\n"),
        (501, "Transfer-Encoding: xchunked\r\n"),
        (400, "Transfer-Encoding: \"chunked\"\r\n"),
        (400, "Transfer-Encoding: chunked\u{b}\r\n"),
        (400, "Transfer-Encoding: chunked\0\r\n"),
        (400, "Transfer-Encoding:\r\n"),
        (400, "Transfer-Encoding : chunked\r\n"),
        (
            400,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            400,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ),
        (417, "Expect: 200-ok\r\n"),
    ] {
        assert_eq!(status(&with(fields)), expected, "{fields:?}");
    }
    let http10 = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status(http10), 400);
}

#[test]
fn field_syntax() {
    for (expected, fields) in [
        (200, "A: b\r\n"),
        (200, "A:\r\n"),
        (200, "A: b\tc\r\n"),
        (200, "A: \u{e9}\r\n"),
        (400, "A: b\n"),
        (400, "A: b\rC: d\r\n"),
        (400, "A: b\0c\r\n"),
        (400, "A: b\u{1}c\r\n"),
        (400, "A: b\u{7f}c\r\n"),
        (400, "A: b\r\n folded\r\n"),
        (400, "A: b\r\n\tfolded\r\n"),
        (400, "A : b\r\n"),
        (400, "A\t: b\r\n"),
        (400, "A b: c\r\n"),
        (400, "A\r\n"),
        (400, ": b\r\n"),
        (400, "\u{e9}: b\r\n"),
        (400, "A\0: b\r\n"),
        (400, "(A): b\r\n"),
        (400, "Host: a\r\n"),
    ] {
        assert_eq!(status(&with(fields)), expected, "{fields:?}");
    }
    assert_eq!(status(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400);
}

#[test]
fn request_lines() {
    for (expected, line) in [
        (200, "GET / HTTP/1.1"),
        (200, "GET /a?b=c&d=%20 HTTP/1.0"),
        (200, "BREW /pot HTTP/1.1"),
        (200, "OPTIONS * HTTP/1.1"),
        (200, "GET http://example.org/a HTTP/1.1"),
        (200, "GET HTTP://example.org:80 HTTP/1.1"),
        (200, "GET /a/../b HTTP/1.1"),
        (200, "GET /|^{}\\\"<> HTTP/1.1"),
        (400, "GET /"),
        (400, "GET"),
        (400, "GET  / HTTP/1.1"),
        (400, "GET /  HTTP/1.1"),
        (400, "GET / HTTP/1.1 "),
        (400, "GET\t/\tHTTP/1.1"),
        (400, " GET / HTTP/1.1"),
        (400, "GET / http/1.1"),
        (400, "GET / HTTP/1.10"),
        (400, "GET / HTTP/1."),
        (400, "GET / HTTP/x.1"),
        (400, "GET / HTTPS/1.1"),
        (505, "GET / HTTP/2.0"),
        (505, "GET / HTTP/1.2"),
        (505, "GET / HTTP/0.9"),
        (400, "GET /\0 HTTP/1.1"),
        (400, "GET /\u{1} HTTP/1.1"),
        (400, "GET /\u{e9} HTTP/1.1"),
        (400, "GET /a#b HTTP/1.1"),
        (400, "GET /a b HTTP/1.1"),
        (400, "GET * HTTP/1.1"),
        (400, "GET a HTTP/1.1"),
        (400, "GET ftp://a/ HTTP/1.1"),
        (400, "GET http:///a HTTP/1.1"),
        (400, "GET http://a@b/ HTTP/1.1"),
        (400, "GET example.org:80 HTTP/1.1"),
        (405, "CONNECT example.org:80 HTTP/1.1"),
        (405, "CONNECT / HTTP/1.1"),
        (405, "TRACE / HTTP/1.1"),
        (400, "G(T / HTTP/1.1"),
        (400, "/ HTTP/1.1"),
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(status(text.as_bytes()), expected, "{line:?}");
    }
    for (expected, bytes) in [
        (400, &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..]),
        (400, b"GET / HTTP/1.1\r\nHost: a\n\n"),
        (400, b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\n\rX"),
        (400, b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (200, b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        assert_eq!(status(bytes), expected.min(505), "{bytes:?}");
    }
}

#[test]
fn hosts() {
    for (expected, text) in [
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (200, "GET / HTTP/1.0\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (400, "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n"),
        (200, "GET / HTTP/1.1\r\nhOST:a\r\n\r\n"),
        (400, "GET http://a/ HTTP/1.1\r\n\r\n"),
    ] {
        assert_eq!(status(text.as_bytes()), expected, "{text:?}");
    }
    let text = "GET http://front.org:81/a HTTP/1.1\r\nHost: other\r\n\r\n";
    let authority = head(text).authority.expect("absolute form");
    assert_eq!(&text[authority], "front.org:81");
}

#[test]
fn limits() {
    let limits = Limits {
        line: 300,
        head: 600,
        fields: 3,
    };
    let status = |text: String| match check(text.as_bytes(), &limits) {
        Checked::Complete(_) => 200,
        Checked::Incomplete => 0,
        Checked::Invalid(invalid) => invalid.status,
    };
    // "GET " and " HTTP/1.1" are 13 bytes.
    let line = |length: usize| {
        format!(
            "GET {} HTTP/1.1\r\nHost: a\r\n\r\n",
            "/".repeat(length - 13)
        )
    };
    assert_eq!(status(line(300)), 200);
    assert_eq!(status(line(301)), 414);
    assert_eq!(
        status(format!("GET {}", "/".repeat(301))),
        414,
        "before its end has come"
    );
    let field = |length: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nB:{}\r\n\r\n",
            "c".repeat(length - 2)
        )
    };
    assert_eq!(status(field(300)), 200);
    assert_eq!(status(field(301)), 431);
    assert_eq!(
        status(format!("GET / HTTP/1.1\r\n{}", "A".repeat(301))),
        431
    );
    let fields = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "B: c\r\n".repeat(count - 1)
        )
    };
    assert_eq!(status(fields(3)), 200);
    assert_eq!(status(fields(4)), 431);
    // Without the filling, 37 bytes.
    let whole = |length: usize| {
        let half = (length - 37) / 2;
        let rest = length - 37 - half;
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nB: {}\r\nC: {}\r\n\r\n",
            "d".repeat(half),
            "e".repeat(rest)
        )
    };
    assert_eq!(whole(600).len(), 600);
    assert_eq!(status(whole(600)), 200);
    assert_eq!(status(whole(601)), 431);
    assert_eq!(status(whole(600)[..599].to_owned()), 0);
}

#[test]
fn what_a_good_head_says() {
    let text = "\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\r\nbody";
    let found = head(text);
    assert_eq!(&text[found.request_line.clone()], "POST /a?b HTTP/1.1");
    assert_eq!(&text[found.method.clone()], "POST");
    assert_eq!(&text[found.target.clone()], "/a?b");
    assert_eq!(&text[found.len..], "body");
    assert_eq!(found.framing, Framing::Length(12));
    assert!(found.keep_alive && !found.http10);

    let keep = |version: &str, connection: &str| {
        head(&format!(
            "GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"
        ))
        .keep_alive
    };
    assert!(keep("1.1", "x") && keep("1.1", "keep-alive") && keep("1.0", "Keep-Alive"));
    assert!(!keep("1.1", "x, Close") && !keep("1.0", "x") && !keep("1.0", "keep-alive, close"));

    let chunked = head("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(chunked.framing, Framing::Chunked);
}

/// Bytes that look like a head more often than chance would have it.
fn like_a_head() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"POST http://a/ HTTP/1.0\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b": ".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However the bytes come in, the verdict is the same, and a prefix of a good head is only ever incomplete.
    #[test]
    fn the_same_verdict_piece_by_piece(bytes in like_a_head()) {
        let whole = check(&bytes, &LIMITS);
        for end in 0..bytes.len() {
            match (check(&bytes[..end], &LIMITS), &whole) {
                (Checked::Incomplete, _) => {}
                (Checked::Invalid(early), Checked::Invalid(late)) => prop_assert_eq!(early.status, late.status),
                (Checked::Complete(early), Checked::Complete(late)) => prop_assert_eq!(&early, late),
                (early, late) => prop_assert!(false, "{:?} became {:?} at {}", early, late, end),
            }
        }
    }

    /// What is let through, the HTTP library reads the same way.
    #[test]
    fn agrees_with_httparse(bytes in like_a_head()) {
        if let Checked::Complete(head) = check(&bytes, &LIMITS) {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut fields);
            let parsed = request.parse(&bytes);
            prop_assert_eq!(parsed, Ok(httparse::Status::Complete(head.len)));
            prop_assert_eq!(request.method.map(str::as_bytes), Some(&bytes[head.method]));
            prop_assert_eq!(request.path.map(str::as_bytes), Some(&bytes[head.target]));
            prop_assert_eq!(request.version, Some(u8::from(!head.http10)));
        }
    }
}
