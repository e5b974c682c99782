//! A reverse proxy that keeps sessions: nginx's and Tengine's role in the lab.
//!
//! ```text
//!   main thread (server, reload, resolve, check, admin)          worker threads, one per core, each with everything of its own
//!   ───────────────────────────────────────────────────          ─────────────────────────────────────────────────────────────
//!   Config ──site──► Site, immutable ──── Order ────────────────► view: balancers, pools         worker
//!   names resolved again, peers checked                           │
//!   /status /metrics /readyz, drain/up/down  ◄── counters ──────  │
//!                                                                 ▼
//!   client ─► accept ─► parked ─► head checked ─► hyper ─► forward ─► hyper ─► peer
//!              worker    connection  head           │        │         pool     │
//!                          ▲                        │        │ balance, binding, headers, retry
//!                          └──── response written ◄─┘ body ◄─┴──────────────────┘
//! ```
//!
//! One request, step by step: a parked connection becomes readable; an engine (`connection`) reads, [`head`] checks the
//! bytes strictly and says where the request ends; hyper parses exactly these bytes; `forward` finds the location,
//! lets [`balance`] choose a peer, makes the fields ready ([`headers`], [`binding`]), sends over a pooled connection and
//! gives the response back, retrying elsewhere as [`retry`] says; `body` streams both bodies; then the connection is
//! parked again.
//!
//! What decides is pure and knows neither sockets nor the clock: [`head`], [`chunked`], [`proxy_protocol`], [`realip`],
//! [`headers`], [`cookie`], [`balance`], [`binding`], [`upstream`], [`retry`], [`site`], [`access_log`], [`error_page`],
//! [`status`]. What acts is private: `worker` and `connection` for clients, `pool` and `forward` for peers.

pub mod cli;
pub mod config;
pub mod site;

mod admin;
mod check;
mod reload;
mod resolve;
pub mod server;
mod shared;
mod state;

mod connection;
mod http2;
mod tls;
mod worker;

mod body;
mod exchange;
mod files;
mod forward;
mod log_sink;
mod page;
mod pool;
mod tunnel;

pub mod chunked;
pub mod head;
pub mod proxy_protocol;
pub mod realip;

pub mod cookie;
pub mod headers;

pub mod balance;
pub mod binding;
pub mod learn;
pub mod retry;
pub mod route;
pub mod sticky;
pub mod upstream;

pub mod access_log;
pub mod error_page;
pub mod status;
