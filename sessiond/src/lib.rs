//! `sessiond` keeps sessions in memory and speaks memcached's protocols, text and binary: n1 and n2 of the lab.
//!
//! ```text
//!   client ──► listener.rs ──► acceptor (server.rs) ── hands each connection to the next worker,
//!                 │                                         counts them, refuses the one too many
//!                 │
//!      ┌──────────┴─────────┐            worker.rs: one thread with its own event loop; a connection stays with it
//!   worker 0   ...      worker n-1
//!      │
//!   connection.rs   one client: read, parse, execute, send in turns; reads no more while something is unsent
//!      │      │     stream.rs is its socket, buffers.rs the account of what all of them hold in memory
//!      │      │
//!      │      └─► protocol/text.rs    bytes to Request, Response to bytes; no socket, no clock, no store
//!      │          protocol/meta.rs    the same for meta commands, which are lines of the text protocol
//!      │          protocol/binary.rs  the same for the binary protocol; protocol/login.rs for what a client says who it is
//!      ▼
//!   command.rs      a Request on the Store gives a Response: the only room that knows both (command/meta.rs,
//!      │           command/binary.rs, command/stats.rs, command/admin.rs); auth.rs knows users and passwords
//!      │
//!   store.rs        the verbs, with `now` as a parameter; picks the shard by the key's hash
//!      ├─► store/shard.rs   the verbs on one shard behind one lock: table, segments, memory account
//!      ├─► store/room.rs    expiry, tidying, eviction
//!      └─► store/record.rs  an item as bytes, and as callers see it
//!
//!   udp.rs          datagrams, each a connection of its own for as long as it takes
//!   tls.rs          certificates, and TLS as a kind of stream
//!   memory_file.rs  the items over a stop and start; reload.rs what SIGHUP reads again
//!   cli.rs          memcached's command line; config.rs what it says; daemon.rs and privileges.rs for the process
//!   maintenance.rs  a thread that ticks the clock and lets the store expire and tidy (text_pages.rs: gives the start's code back)
//!   clients.rs      who is connected; watch.rs who wants to see what happens; prefixes.rs counts by prefix of keys;
//!                   tuning.rs what operators change while it runs
//!   admin.rs        /livez /readyz /status /metrics on a port of its own, from status.rs
//! ```
//!
//! Numbers are read as C reads them (`number.rs`), in commands and in values that are counted up and down.
//! Time enters at one place (`clock.rs`, asked by command.rs) and is a parameter from there on.
//!
//! What differs from memcached on purpose: `add` on a present key counts as a use of the item, because session
//! managers keep their backup copies alive with it; memory is one account over all sizes, not slab classes; and
//! `flush_all` gives the memory back at once.

mod admin;
pub mod auth;
mod buffers;
pub mod cli;
mod clients;
mod clock;
mod command;
pub mod config;
mod connection;
mod daemon;
mod listener;
mod maintenance;
mod memory_file;
mod number;
mod prefixes;
mod privileges;
pub mod protocol;
mod reload;
mod server;
pub mod status;
pub mod store;
mod stream;
mod text_pages;
mod tls;
mod tuning;
mod udp;
mod watch;
mod worker;

pub use config::Config;
pub use listener::Listener;
pub use reload::Reload;
pub use server::{Listeners, bind, serve};
pub use status::Status;
