//! Virtual servers and their locations: which one a request falls into, and what it does there.
//!
//! Locations are chosen by the normalised path (escapes of harmless characters decoded, dots resolved, slashes merged), so
//! that `/%61dmin` and `/x/../admin` cannot slip past `/admin`. The peer gets the bytes as received.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::path::normalise;
use crate::cookie::made_of_parts;
use crate::headers::{AddressText, X_FORWARDED_FOR, list_with};
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
    /// Fields for responses, those of the server included.
    pub add_headers: Box<[AddHeader]>,
}

/// A field for responses (nginx `add_header`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// For every status; else for those that nginx takes for a success.
    pub always: bool,
}

impl AddHeader {
    /// Whether a response of this status gets it.
    pub fn is_for(&self, status: StatusCode) -> bool {
        const PLAIN: [u16; 10] = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308];
        self.always || PLAIN.contains(&status.as_u16())
    }
}

/// What happens to a request.
#[derive(Debug)]
pub enum Action {
    /// It goes to a peer.
    Proxy(ProxyPass),
    /// A file below this directory is the answer; see [`file_path`](super::file_path).
    Files(PathBuf),
    /// A redirect to the same path with a slash behind it, below which a location with `proxy_pass` begins.
    AddSlash,
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
    /// Fields to set on the request, after everything else was done to its fields.
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
    /// The client's (`proxy_set_header Host $http_host`).
    Received {
        /// For an HTTP/1.0 request that has none.
        absent: HeaderValue,
    },
    /// Always this (nginx's default is the upstream's name, `$proxy_host`).
    Fixed(HeaderValue),
    /// Put together for each request, or this where that gives nothing.
    Made(Box<[Value]>, HeaderValue),
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
    /// `$proxy_add_x_forwarded_for`: `X-Forwarded-For` as received, with the client appended.
    AddForwardedFor,
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

/// What a value is put together from.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The client, after realip.
    pub client: IpAddr,
    /// The local address of the connection.
    pub local: SocketAddr,
    /// The connection is encrypted.
    pub secure: bool,
    /// The request's host without port.
    pub host: &'a str,
    /// Path and query as received.
    pub target: &'a str,
    /// The fields as received.
    pub headers: &'a HeaderMap,
}

impl SendHost {
    /// The value to send; `received` is the host of the request (authority of the target, else `Host`).
    pub fn value(&self, received: Option<&HeaderValue>, made: &Made<'_>) -> HeaderValue {
        match self {
            Self::Received { absent } => received.unwrap_or(absent).clone(),
            Self::Fixed(host) => host.clone(),
            Self::Made(parts, absent) => {
                put_together(parts, made).unwrap_or_else(|| absent.clone())
            }
        }
    }
}

impl SetHeader {
    /// The value for this request; `None` removes the field, as an empty value does in nginx.
    pub fn value(&self, made: &Made<'_>) -> Option<HeaderValue> {
        match self {
            Self::Remove => None,
            Self::Fixed(value) => Some(value.clone()),
            Self::Made(parts) => put_together(parts, made),
        }
    }
}

fn put_together(parts: &[Value], made: &Made<'_>) -> Option<HeaderValue> {
    let mut bytes = Vec::with_capacity(64);
    for part in parts {
        let received = |name| made.headers.get(name).map(HeaderValue::as_bytes);
        match part {
            Value::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            Value::RemoteAddr => {
                bytes.extend_from_slice(AddressText::new(made.client).as_bytes());
            }
            Value::AddForwardedFor => {
                let before = made.headers.get_all(X_FORWARDED_FOR);
                let client = AddressText::new(made.client);
                bytes.extend(list_with(before.iter(), client.as_bytes()));
            }
            Value::Host => bytes.extend(made.host.bytes().map(|b| b.to_ascii_lowercase())),
            Value::HttpHost => bytes.extend_from_slice(received(&HOST).unwrap_or_default()),
            Value::Scheme => {
                bytes.extend_from_slice(if made.secure { b"https" } else { b"http" });
            }
            Value::ServerAddr => {
                bytes.extend_from_slice(AddressText::new(made.local.ip()).as_bytes());
            }
            Value::ServerPort => {
                bytes.extend_from_slice(made.local.port().to_string().as_bytes());
            }
            Value::RequestUri => bytes.extend_from_slice(made.target.as_bytes()),
            Value::Field(name) => bytes.extend_from_slice(received(name).unwrap_or_default()),
        }
    }
    (!bytes.is_empty()).then(|| made_of_parts(bytes))
}

impl ProxyPass {
    /// The target for the peer. With a path in `proxy_pass` it takes the place of the location's, as in nginx; the rest goes
    /// as received, escapes and all, where nginx decodes and encodes it again.
    pub fn target<'a>(&self, location: &Location, received: &'a str) -> Cow<'a, str> {
        let Some(replace) = &self.replace else {
            return Cow::Borrowed(received);
        };
        let (path, query) = match received.find('?') {
            Some(mark) => received.split_at(mark),
            None => (received, ""),
        };
        match path.strip_prefix(&*location.path) {
            Some(rest) => Cow::Owned(format!("{replace}{rest}{query}")),
            None => {
                let path = normalise(path);
                let rest = path.strip_prefix(&*location.path).unwrap_or_default();
                Cow::Owned(format!("{replace}{rest}{query}"))
            }
        }
    }
}

impl VirtualServer {
    /// The location that the path falls into: an exact one, else the longest prefix.
    pub fn location(&self, path: &str) -> Option<&Location> {
        let path = normalise(path);
        self.locations.iter().find(|location| {
            if location.exact {
                *path == *location.path
            } else {
                path.starts_with(&*location.path)
            }
        })
    }
}

/// The server for this host: by exact name, else by the longest `*.suffix`, else by the longest `prefix.*`, else the first.
pub(super) fn by_name<'a>(
    servers: impl Iterator<Item = &'a VirtualServer> + Clone,
    host: &str,
) -> Option<&'a VirtualServer> {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    servers
        .clone()
        .flat_map(|server| server.names.iter().map(move |name| (server, name)))
        .filter_map(|(server, name)| Some((rank(name, host)?, server)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, server)| server)
        .or_else(|| servers.clone().next())
}

/// How well a name fits a host, if it does.
fn rank(name: &str, host: &str) -> Option<(u8, usize)> {
    if name == host {
        return Some((3, 0));
    }
    if let Some(suffix) = name.strip_prefix('*') {
        return (suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix))
            .then_some((2, name.len()));
    }
    let prefix = name.strip_suffix('*')?;
    (prefix.ends_with('.') && host.starts_with(prefix)).then_some((1, name.len()))
}

#[cfg(test)]
mod tests {
    use super::{VirtualServer, by_name};

    #[test]
    fn servers_by_name() {
        let server = |names: &[&str]| VirtualServer {
            names: names.iter().map(|n| Box::from(*n)).collect(),
            locations: Box::default(),
        };
        let servers = [
            server(&["default.org"]),
            server(&["*.example.org"]),
            server(&["*.a.example.org", "www.*"]),
            server(&["www.example.org"]),
        ];
        for (host, place) in [
            ("nobody", 0),
            ("", 0),
            ("x.example.org", 1),
            ("x.a.example.org", 2),
            ("www.example.org", 3),
            ("WWW.Example.org", 3),
            ("www.example.org.", 3),
            ("www.example.com", 2),
            ("example.org", 0),
            (".example.org", 0),
        ] {
            let found = by_name(servers.iter(), host).expect("there is a default");
            assert!(std::ptr::eq(found, &raw const servers[place]), "{host}");
        }
    }
}
