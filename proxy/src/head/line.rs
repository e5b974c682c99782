//! The request line: method, one blank, target, one blank, version (RFC 9112 section 3).

use std::ops::Range;

use super::{Step, Stop, TOKEN, host, refuse};

/// Where the parts of a request line stand.
pub(super) struct Line {
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    pub(super) authority: Option<Range<usize>>,
    pub(super) http10: bool,
    /// Behind its line end.
    pub(super) end: usize,
}

/// What a target may consist of: visible ASCII without `#`. Which of them belong into a URI is for the application.
const TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7F {
        table[byte] = byte != b'#' as usize;
        byte += 1;
    }
    table
};

pub(super) fn read(bytes: &[u8], start: usize, limit: usize) -> Step<Line> {
    let line = &bytes[start..];
    let method = start..start + run(line, &TOKEN);
    let target_start = blank(
        bytes,
        method.end,
        start,
        limit,
        "the method is no token, or too long",
    )?;
    if method.is_empty() {
        return refuse(400, "the request begins with a blank");
    }
    let target = target_start..target_start + run(&bytes[target_start..], &TARGET);
    let version = blank(
        bytes,
        target.end,
        start,
        limit,
        "bytes in the target that do not belong there, or no version",
    )?;
    if target.is_empty() {
        return refuse(400, "no target, or more than one blank before it");
    }
    let (http10, end) = read_version(bytes, version)?;
    if end - 2 - start > limit {
        return too_long();
    }
    let authority = form(bytes, &method, &target)?;
    Ok(Line {
        method,
        target,
        authority,
        http10,
        end,
    })
}

/// How many bytes at the beginning are in the table.
fn run(bytes: &[u8], table: &[bool; 256]) -> usize {
    bytes
        .iter()
        .position(|byte| !table[usize::from(*byte)])
        .unwrap_or(bytes.len())
}

/// One blank at `at`; where the next part begins.
fn blank(bytes: &[u8], at: usize, start: usize, limit: usize, why: &'static str) -> Step<usize> {
    if at - start > limit {
        return too_long();
    }
    match bytes.get(at) {
        None => Err(Stop::Incomplete),
        Some(b' ') => Ok(at + 1),
        Some(_) => refuse(400, why),
    }
}

fn too_long<T>() -> Step<T> {
    refuse(414, "the request line is too long")
}

/// `HTTP/1.1` or `HTTP/1.0` and the line end; whether it is 1.0, and where the fields begin.
fn read_version(bytes: &[u8], at: usize) -> Step<(bool, usize)> {
    const PATTERN: &[u8; 10] = b"HTTP/d.d\r\n";
    let came = &bytes[at..bytes.len().min(at + PATTERN.len())];
    for (byte, expected) in came.iter().zip(PATTERN) {
        let fits = match expected {
            b'd' => byte.is_ascii_digit(),
            exact => byte == exact,
        };
        if !fits {
            return refuse(
                400,
                "the version is malformed, or the line does not end behind it",
            );
        }
    }
    match came {
        b"HTTP/1.1\r\n" => Ok((false, at + PATTERN.len())),
        b"HTTP/1.0\r\n" => Ok((true, at + PATTERN.len())),
        _ if came.len() < PATTERN.len() => Err(Stop::Incomplete),
        _ => refuse(505, "a version of HTTP other than 1.0 and 1.1"),
    }
}

/// The form of the target: `/path`, `http://host/path`, or `*` for OPTIONS (RFC 9112 section 3.2).
fn form(bytes: &[u8], method: &Range<usize>, target: &Range<usize>) -> Step<Option<Range<usize>>> {
    let method = &bytes[method.clone()];
    let text = &bytes[target.clone()];
    if text[0] == b'/' {
        return Ok(None);
    }
    if method == b"CONNECT" {
        return refuse(405, "CONNECT is not for a gateway");
    }
    if text == b"*" {
        return if method == b"OPTIONS" {
            Ok(None)
        } else {
            refuse(400, "the target * is for OPTIONS only")
        };
    }
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else {
        return refuse(400, "the target is neither a path nor http://");
    };
    let rest = &text[scheme.len()..];
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    if end == 0 || !host::is_valid(&rest[..end]) {
        return refuse(400, "the authority in the target is malformed");
    }
    let from = target.start + scheme.len();
    Ok(Some(from..from + end))
}
