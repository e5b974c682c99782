//! Learning from the application's own session cookie (nginx `sticky learn`).

/// Which session began where.
#[derive(Debug)]
pub struct Learn {}
