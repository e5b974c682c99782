//! nginx's `ip_hash`.
