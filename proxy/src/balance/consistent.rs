//! nginx's `hash KEY consistent`.

/// Points on a circle, each belonging to a peer.
#[derive(Debug)]
pub struct Ring {}
