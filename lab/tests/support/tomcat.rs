//! Asking servers one by one, and whether the real Tomcat can be one of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Whether it is installed; says so where it is not, past the test harness, which keeps what good tests print.
pub(crate) fn is_here() -> bool {
    let here = lab::tomcat::is_here();
    if let Err(why) = &here {
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }
    here.is_ok()
}

/// The status, head and body of an answer.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    cookie: &str,
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(super::PATIENCE)).expect("set");
    let cookie = if cookie.is_empty() {
        String::new()
    } else {
        format!("Cookie: JSESSIONID={cookie}\r\n")
    };
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: lab.example:8080\r\n{cookie}Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.expect("a status"),
        head.to_ascii_lowercase(),
        body.to_owned(),
    )
}

/// The session ID that an answer sets, if it does.
pub(crate) fn set_cookie(head: &str) -> Option<String> {
    let (_, rest) = head.split_once("set-cookie: jsessionid=")?;
    let (id, attributes) = rest.lines().next()?.split_once(';')?;
    assert_eq!(attributes, " path=/jsp; httponly");
    Some(id.to_ascii_uppercase())
}
