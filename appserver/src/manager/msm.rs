//! Sessions in two or more memcached nodes, as memcached-session-manager (msm) keeps them: the same names, keys, bytes and
//! expiry times, so that its servers and ours share sessions.
//!
//! ```text
//!   settings.rs ── node.rs, pattern.rs, prefix.rs     what was configured, under msm's names
//!   key.rs, expiry.rs                                 under which keys, and for how long
//!   record.rs ── attributes.rs ── java                the stored session
//!   validity.rs                                       the small record beside it
//!   protocol.rs, protocol/                            which commands a request causes
//!   exchange.rs                                       which way of asking the nodes: msm's own or the safe one
//!   sessions.rs, sessions/ ── in_use.rs               the manager: sessions that requests hold, and when they are stored
//!   client.rs, client/                                the nodes over TCP, in lines or packets; their health
//! ```
//!
//! What is stored for session `ID-n1` of a context with an interval of 1800 seconds:
//!
//! | node | key | value | expires after |
//! |---|---|---|---|
//! | `n1` | `ID-n1` | [`record::Record`] | 3600 s |
//! | `n1` | `validity:ID-n1` | [`validity::Validity`] | 1800 s |
//! | the next in the ring | `bak:ID-n1` | as `ID-n1` | 3600 s |
//! | the next in the ring | `bak:validity:ID-n1` | as `validity:ID-n1` | 1800 s |
//! | `n1`, while a request has the lock | `lock:ID-n1` | [`LOCK_VALUE`], or a random token | 5 s |
//!
//! Sticky sessions have the first row only. All of it is pure, without I/O and clock, except `client` and the tasks of `sessions`.

pub mod attributes;
pub mod client;
mod exchange;
pub mod expiry;
mod in_use;
pub mod key;
pub mod node;
pub mod pattern;
pub mod prefix;
pub mod protocol;
pub mod record;
pub mod sessions;
pub mod settings;
pub mod validity;

/// The value of a lock.
pub const LOCK_VALUE: &[u8] = b"locked";

/// The value that msm adds to find out whether a record is still there. The store refuses it when one is.
pub const PROBE_VALUE: &[u8] = &[1];

/// The flags of every value: none. Those of msm before 2.0 come from the client's own encoding of byte arrays and may
/// be read alike, except [`COMPRESSED`].
pub const FLAGS: u32 = 0;

/// Flag of a value that msm before 2.0 packed with gzip, which it did with values of more than 16 KiB.
pub const COMPRESSED: u32 = 2;
