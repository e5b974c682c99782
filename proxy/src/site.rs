//! The configuration as the workers use it: checked, immutable, everything computed beforehand.
//!
//! ```text
//!   Config ──Site::build──► Site ─┬─ listeners ── address, TLS, PROXY protocol, the virtual servers behind it
//!      names ──resolved──►        ├─ servers ─── names, locations: proxy | files | fixed answer
//!      Site before ──health──►    └─ upstreams ─ peers, method
//! ```
//!
//! A request takes one `Site` and keeps it to its end; a reload or a name that resolves differently makes a new one.

mod build;
pub mod location;
mod path;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access_log;
use crate::config::Config;
use crate::head::Limits;
use crate::headers::Policy;
use crate::realip::RealIp;
use crate::upstream::Upstream;

pub use path::file_path;

pub use location::{
    Action, AddHeader, Location, Made, ProxyPass, SendHost, SetHeader, Value, VirtualServer,
};

/// Everything a worker needs to serve.
#[derive(Debug)]
pub struct Site {
    /// Where to listen.
    pub listeners: Box<[Listener]>,
    /// The virtual servers; [`Listener::servers`] points here.
    pub servers: Box<[VirtualServer]>,
    /// The upstreams; [`ProxyPass::upstream`] points here. Their order is that of the configuration.
    pub upstreams: Box<[Arc<Upstream>]>,
    /// Limits on request heads.
    pub head_limits: Limits,
    /// Times and counts for client connections.
    pub client: ClientLimits,
    /// Who may say who the client is; `None`: nobody.
    pub real_ip: Option<RealIp>,
    /// What is done to fields.
    pub policy: Policy,
    /// Where the access log goes.
    pub access_log: LogTarget,
    /// How its lines are written.
    pub access_log_format: access_log::Format,
    /// File for 500, 502, 503 and 504; `None`: the built-in one.
    pub error_page_50x: Option<PathBuf>,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// Most client connections of the process.
    pub worker_connections: usize,
    /// How long running requests may take after a stop.
    pub shutdown_timeout: Duration,
    /// How long a resolved name holds; zero: for ever.
    pub resolver_valid: Duration,
    /// Name of this node in logs.
    pub node_id: Box<str>,
    /// The mode as `balance`, or else `mode`, has it, for logs and status.
    pub mode: Box<str>,
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Certificate and key for each virtual server that has its own; empty: no TLS.
    pub tls: Box<[Certificate]>,
    /// The PROXY protocol is expected in front of everything else.
    pub proxy_protocol: bool,
    /// The virtual servers behind it; the first is the default.
    pub servers: Box<[usize]>,
}

/// PEM files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Names it is for (SNI); empty: the default.
    pub names: Box<[Box<str>]>,
    /// The chain.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Times and counts for client connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// For a whole request head (408).
    pub header_timeout: Duration,
    /// Between two reads of a body (408).
    pub body_timeout: Duration,
    /// Between two writes.
    pub send_timeout: Duration,
    /// For an idle connection; zero: close after each response.
    pub keepalive_timeout: Duration,
    /// Requests over one connection.
    pub keepalive_requests: u64,
}

/// Where access log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of this file.
    File(PathBuf),
}

/// What a site is built from besides the configuration.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Addresses of the names in [`names`]; literal addresses need none. A name that is absent has no peer for now.
    pub addresses: &'a HashMap<String, Vec<SocketAddr>>,
    /// Signs sticky cookies where `sticky.key` is empty; at least 16 bytes.
    pub sticky_key: &'a [u8],
    /// How many workers there will be, for their counters.
    pub workers: usize,
    /// Now, the beginning of time for peers that are new.
    pub now: Instant,
    /// The site that this one replaces; its peers' health, counters and learned sessions go over.
    pub previous: Option<&'a Site>,
}

/// A setting that cannot hold: where it stands, why, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct SiteError {
    /// Dotted path of the setting.
    pub path: String,
    /// What is wrong and what to do.
    pub why: String,
}

/// The names (`host:port`) that must be resolved before [`Site::build`]; literal addresses are not among them.
pub fn names(config: &Config) -> Vec<String> {
    build::names(config)
}

impl Site {
    /// Checks the configuration and computes everything from it.
    pub fn build(config: &Config, surroundings: &Surroundings<'_>) -> Result<Self, SiteError> {
        build::site(config, surroundings)
    }

    /// Whether some cookie needs [`Surroundings::sticky_key`], so that the caller must find or make one.
    pub fn needs_sticky_key(config: &Config) -> bool {
        build::needs_sticky_key(config)
    }

    /// The virtual server and location for a request that came in on `listener`; `None`: 404. `host` is without port; `path`
    /// without query, as received.
    pub fn route(
        &self,
        listener: &Listener,
        host: &str,
        path: &str,
    ) -> Option<(&VirtualServer, &Location)> {
        let servers = listener.servers.iter().map(|place| &self.servers[*place]);
        let server = match &*listener.servers {
            // Most listeners have one server; then its names do not matter, as the first is the default.
            [only] => &self.servers[*only],
            _ => location::by_name(servers, host)?,
        };
        Some((server, server.location(path)?))
    }
}
