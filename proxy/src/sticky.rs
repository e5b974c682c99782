//! Tengine's `session_sticky`: a cookie names the peer.

/// The times in a sticky cookie, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When the cookie was last renewed.
    pub last: u64,
    /// When the session was first bound.
    pub first: u64,
}

/// The sticky cookie of one upstream.
#[derive(Debug)]
pub struct Sticky {}
