//! A strict look at the raw bytes of a request head, before the HTTP library sees them.

use std::ops::Range;

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
    /// Not all there yet.
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
    /// Where the target stands.
    pub target: Range<usize>,
    /// HTTP/1.0 instead of 1.1.
    pub http10: bool,
    /// What follows the head.
    pub framing: Framing,
    /// The client wants the connection kept.
    pub keep_alive: bool,
    /// `Connection` names `Upgrade`, and there is one.
    pub upgrade: bool,
    /// `Expect: 100-continue`.
    pub expect_continue: bool,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Nothing.
    None,
    /// So many bytes.
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

/// Checks what has come so far of a head.
pub fn check(bytes: &[u8], limits: &Limits) -> Checked {
    unimplemented!()
}
