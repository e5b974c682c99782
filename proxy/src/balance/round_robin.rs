//! nginx's smooth weighted round robin.
use crate::upstream::Upstream;

/// Whose turn it is.
#[derive(Debug)]
pub struct RoundRobin {}
impl RoundRobin {
    /// From the start.
    pub fn new(upstream: &Upstream) -> Self {
        Self {}
    }
    /// Takes turns over from before a reload.
    pub fn take_over(&mut self, upstream: &Upstream, previous: &Self, before: &Upstream) {}
}
