//! nginx's `hash KEY`.

/// What a hash is made of: nginx's variables and text between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {}
