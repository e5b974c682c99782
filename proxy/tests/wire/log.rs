//! The access log, as nginx would write it for the same requests.

use super::stage::{Peer, Proxy, until};

/// What is logged for this request; the time is left out.
fn line(format: &str, request: &str) -> String {
    let peer = Peer::saying("hello");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("access.log");
    let proxy = Proxy::before(
        &[&peer],
        &format!("access_log = {file:?}\naccess_log_format = {format:?}\n"),
    );
    let mut client = proxy.connect();
    client.send(request);
    client.response();
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    until("the line is written", || read().ends_with('\n'));
    let written = read();
    let (client, rest) = written.split_once(" [").expect("a time");
    let (_, rest) = rest.split_once("] ").expect("a time");
    format!("{client} {}", rest.trim_end())
}

#[test]
fn fields_are_logged_as_nginx_does() {
    for (fields, expected) in [
        ("", r#""-" "-" "-""#),
        ("User-Agent:\r\nReferer:  \r\n", r#""" "" "-""#),
        (
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n",
            r#""-" "-" "1.1.1.1, 2.2.2.2, 3.3.3.3""#,
        ),
        (
            "User-Agent: q\"u\\o \u{e9}\tx\r\n",
            r#""-" "q\x22u\x5Co \xC3\xA9\x09x" "-""#,
        ),
    ] {
        let logged = line(
            "main",
            &format!("GET /a?b HTTP/1.1\r\nHost: t\r\n{fields}\r\n"),
        );
        let expected = format!(r#"127.0.0.1 - - "GET /a?b HTTP/1.1" 200 5 {expected}"#);
        assert_eq!(logged, expected, "{fields:?}");
    }
}

#[test]
fn the_page_of_a_refused_head_is_counted() {
    let logged = line("combined", "GET / HTTP/1.1\r\n\r\n");
    let (_, rest) = logged.split_once("\" 400 ").expect("a status");
    let (length, rest) = rest.split_once(' ').expect("a length");
    assert!(length.parse::<usize>().expect("a length") > 100, "{logged}");
    assert_eq!(rest, r#""-" "-""#);
}
