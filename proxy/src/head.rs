//! A strict look at the raw bytes of a request head, before the HTTP library sees them.
//!
//! Whatever two readers could understand differently is refused here, so that no request can be smuggled past the proxy inside
//! another one (RFC 9112 sections 3, 5, 6 and 11.2):
//!
//! | refused with | what |
//! |---|---|
//! | 400 | bare CR or LF, NUL and other control bytes, folded fields, white space before a colon, anything but one blank between the parts of the request line, no or two or malformed `Host`, `Content-Length` that is not one plain number, `Content-Length` with `Transfer-Encoding`, `Transfer-Encoding` in HTTP/1.0 or twice, fragments and bytes over 0x7F in the target, HTTP/0.9 |
//! | 405 | CONNECT and TRACE |
//! | 414, 431 | a request line, a field, a head too long, too many fields |
//! | 417 | an `Expect` that is not `100-continue` |
//! | 501 | a transfer coding that is not exactly `chunked` |
//! | 505 | HTTP of another version |
//!
//! It is one pass over the bytes, keeps nothing and allocates nothing.

mod field;
mod host;
mod line;

use std::ops::Range;

use field::Fields;

/// Empty lines in front of a request line that are ignored (RFC 9112 section 2.2 asks for at least one).
const MAX_EMPTY_LINES: usize = 2;

/// Limits on a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest request line (414) and longest field (431), without the line end.
    pub line: usize,
    /// Longest head, the empty line included (431).
    pub head: usize,
    /// Most fields (431).
    pub fields: usize,
}

/// What the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Good so far, and not all there yet.
    Incomplete,
    /// A whole and good head.
    Complete(Head),
    /// Answer this, close, and never look at the bytes behind it.
    Invalid(Invalid),
}

/// A good head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its length with the empty line, and with empty lines in front.
    pub len: usize,
    /// Where the request line stands, without its line end.
    pub request_line: Range<usize>,
    /// Where the method stands.
    pub method: Range<usize>,
    /// Where the target stands.
    pub target: Range<usize>,
    /// Where the authority stands in a target in absolute form; it wins over `Host` (RFC 9112 section 3.2.2).
    pub authority: Option<Range<usize>>,
    /// HTTP/1.0 instead of 1.1.
    pub http10: bool,
    /// What follows the head.
    pub framing: Framing,
    /// The client wants the connection kept.
    pub keep_alive: bool,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Nothing.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks; see [`crate::chunked`].
    Chunked,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The status to answer.
    pub status: u16,
    /// Why, for the log.
    pub why: &'static str,
}

/// Why the pass stops before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Incomplete,
    Invalid(Invalid),
}

type Step<T> = Result<T, Stop>;

fn refuse<T>(status: u16, why: &'static str) -> Step<T> {
    Err(Stop::Invalid(Invalid { status, why }))
}

/// Checks what has come so far of a head.
pub fn check(bytes: &[u8], limits: &Limits) -> Checked {
    match walk(bytes, limits) {
        Ok(head) => Checked::Complete(head),
        Err(Stop::Invalid(invalid)) => Checked::Invalid(invalid),
        // What can only grow beyond the limit need not be waited for.
        Err(Stop::Incomplete) if bytes.len() >= limits.head => Checked::Invalid(TOO_LARGE),
        Err(Stop::Incomplete) => Checked::Incomplete,
    }
}

const TOO_LARGE: Invalid = Invalid {
    status: 431,
    why: "the head is too large",
};

fn walk(bytes: &[u8], limits: &Limits) -> Step<Head> {
    let start = skip_empty_lines(bytes)?;
    let line = line::read(bytes, start, limits.line)?;
    let mut fields = Fields::default();
    let mut at = line.end;
    loop {
        match bytes.get(at) {
            None => return Err(Stop::Incomplete),
            Some(b'\r') => break,
            Some(_) => at = fields.read(bytes, at, limits)?,
        }
        if at > limits.head {
            return Err(Stop::Invalid(TOO_LARGE));
        }
    }
    match bytes.get(at + 1) {
        None => return Err(Stop::Incomplete),
        Some(b'\n') => {}
        Some(_) => return refuse(400, "a bare CR in the head"),
    }
    let len = at + 2;
    if len > limits.head {
        return Err(Stop::Invalid(TOO_LARGE));
    }
    let framing = fields.framing(line.http10)?;
    fields.check_host(line.http10)?;
    match &bytes[line.method.clone()] {
        b"CONNECT" | b"TRACE" => return refuse(405, "the method is not allowed here"),
        _ => {}
    }
    if fields.other_expectation {
        return refuse(417, "an expectation that is not 100-continue");
    }
    Ok(Head {
        len,
        request_line: start..line.end - 2,
        method: line.method,
        target: line.target,
        authority: line.authority,
        http10: line.http10,
        framing,
        keep_alive: fields.keep_alive(line.http10),
    })
}

fn skip_empty_lines(bytes: &[u8]) -> Step<usize> {
    let mut at = 0;
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) if at < MAX_EMPTY_LINES * 2 => at += 2,
            (Some(b'\r'), None) | (None, _) => return Err(Stop::Incomplete),
            (Some(b'\r' | b'\n'), _) => {
                return refuse(400, "line ends where a request should begin");
            }
            (Some(_), _) => return Ok(at),
        }
    }
}

/// Characters of names (RFC 9110 section 5.6.2), as a table because every name goes through it.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
