//! HAProxy's `balance source`.

/// Who takes which slot.
#[derive(Debug, Default)]
pub struct Map {}
