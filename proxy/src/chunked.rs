//! Where a chunked body ends: a strict scanner that keeps its place from read to read (RFC 9112 section 7.1).

/// Keeps the place in a chunked body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanner {}

/// How far the body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    /// All the bytes belong to the body, and more must come.
    More,
    /// The body ends after so many of the bytes; what follows is the next request.
    End(usize),
    /// Not chunked coding: answer 400 and close.
    Invalid(&'static str),
}

impl Scanner {
    /// Scans the next bytes of the body.
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        unimplemented!()
    }
}
