//! Virtual servers and their locations: which one a request falls into, and what it does there.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::retry::NextUpstream;

/// Names and locations behind some addresses (nginx's `server` block).
#[derive(Debug)]
pub struct VirtualServer {
    /// Its names, in lower case; empty: any.
    pub names: Box<[Box<str>]>,
    /// Exact ones first, then prefixes, the longest first.
    pub locations: Box<[Location]>,
}

/// What happens to requests below one path.
#[derive(Debug)]
pub struct Location {
    /// The path, normalised.
    pub path: Box<str>,
    /// The whole path must be equal (nginx `location = /path`).
    pub exact: bool,
    /// What happens.
    pub action: Action,
    /// Largest request body; `None`: no limit.
    pub max_body: Option<u64>,
    /// Fields for every response, those of the server included.
    pub add_headers: Box<[(HeaderName, HeaderValue)]>,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Action {
    /// It goes to a peer.
    Proxy(ProxyPass),
    /// A file below this directory is the answer.
    Files(PathBuf),
    /// Always the same answer.
    Answer {
        /// Its status.
        status: StatusCode,
        /// The body; for a redirect the `Location`.
        text: Box<str>,
    },
}

/// To which upstream, and how.
#[derive(Debug)]
pub struct ProxyPass {
    /// Index in [`Site::upstreams`](super::Site::upstreams).
    pub upstream: usize,
    /// What replaces the location's path in the target (nginx: the URI in `proxy_pass`); `None`: the target goes as received.
    pub replace: Option<Box<str>>,
    /// The `Host` to send.
    pub host: SendHost,
    /// Fields to set on the request; an empty value removes the field.
    pub set_headers: Box<[(HeaderName, SetHeader)]>,
    /// Time to connect (504).
    pub connect_timeout: Duration,
    /// Time between two reads (504).
    pub read_timeout: Duration,
    /// Time between two writes (504).
    pub send_timeout: Duration,
    /// What lets a request go on to the next peer.
    pub next_upstream: NextUpstream,
}

/// The `Host` that a peer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendHost {
    /// The client's, as received (`proxy_set_header Host $http_host`).
    Received,
    /// Always this, by default the upstream's name (nginx `$proxy_host`).
    Fixed(HeaderValue),
}

/// A value of `proxy_set_header`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetHeader {
    /// The field is removed.
    Remove,
    /// Always the same.
    Fixed(HeaderValue),
    /// Put together for each request.
    Made(Box<[Value]>),
}

/// A part of a value that is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text as it stands.
    Text(Box<str>),
    /// `$remote_addr`: the client, after realip.
    RemoteAddr,
    /// `$host`: the request's host without port, in lower case.
    Host,
    /// `$http_host`: the field as received.
    HttpHost,
    /// `$scheme`.
    Scheme,
    /// `$server_addr`.
    ServerAddr,
    /// `$server_port`.
    ServerPort,
    /// `$request_uri`.
    RequestUri,
    /// `$http_NAME`: the field of that name as received.
    Field(HeaderName),
}
