//! One request and its response, as everybody on their way sees them: where it came in, what it is served by, and what is
//! to be said about it when it is over.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::HeaderMap;

use crate::connection::wire::Wire;
use crate::headers::{ConnectionFields, x_proxy};
use crate::site::{Listener, Site};
use crate::tunnel::Tunnel;
use crate::worker::reactor::{NEVER, Reactor};
use crate::worker::view::View;
use crate::worker::{Listening, Worker};

/// The cookie with the session id that the access log writes a hash of.
const SESSION_COOKIE: &[u8] = b"JSESSIONID";

/// See the module.
pub(crate) struct Exchange {
    pub(crate) worker: Rc<Worker>,
    pub(crate) view: Rc<View>,
    /// Where it came in.
    pub(crate) listening: Rc<Listening>,
    /// Its place in the site of this exchange; a reload may give it another in the next.
    pub(crate) listener: usize,
    /// The address the connection came from.
    pub(crate) peer: SocketAddr,
    /// The client that the PROXY protocol announced.
    pub(crate) announced: Option<SocketAddr>,
    /// The address it came to.
    pub(crate) local: SocketAddr,
    /// The connection is encrypted.
    pub(crate) secure: bool,
    /// The client's connection; none under HTTP/2, where one connection carries many requests.
    pub(crate) wire: Option<Wire>,
    /// No further request is wanted over this connection.
    pub(crate) last: Cell<bool>,
    /// When the request began, on the worker's clock.
    pub(crate) started: u64,
    /// For waiting for the peer.
    pub(crate) deadline: Rc<Deadline>,
    /// Why the request's body cannot be read to its end.
    pub(crate) fault: Cell<Option<Fault>>,
    /// What the access log will say.
    pub(crate) record: RefCell<Record>,
    /// Bytes of the response's body that hyper has got.
    pub(crate) sent: Cell<u64>,
    /// The peer's side of an accepted upgrade.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
    /// Under HTTP/2, what tells the connection that a stream is open.
    pub(crate) _stream: Option<Rc<()>>,
}

/// What the client did wrong with its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is larger than `client_max_body_size`: 413.
    TooLarge,
    /// It does not come: 408.
    TooSlow,
    /// It is not framed as it should be: 400.
    Malformed,
    /// The client left: 499, and nobody to tell.
    Gone,
}

impl Fault {
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::TooSlow => 408,
            Self::Malformed => 400,
            Self::Gone => 499,
        }
    }
}

/// What the access log says about a request. Text is kept only where a log is written.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) status: u16,
    pub(crate) client: Option<IpAddr>,
    pub(crate) request: Vec<u8>,
    pub(crate) method: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) fields: Option<Box<LoggedFields>>,
    pub(crate) node: Option<Box<str>>,
    pub(crate) attempts: u32,
    pub(crate) route: &'static str,
    pub(crate) session_source: Vec<u8>,
}

/// Fields of the request that the log names.
#[derive(Default)]
pub(crate) struct LoggedFields {
    pub(crate) referer: Option<Vec<u8>>,
    pub(crate) user_agent: Option<Vec<u8>>,
    pub(crate) x_forwarded_for: Option<Vec<u8>>,
    pub(crate) user: Vec<u8>,
    pub(crate) session_id: Vec<u8>,
}

impl Exchange {
    pub(crate) fn site(&self) -> &Site {
        &self.view.site
    }

    /// Where the connection began, as far as we know.
    pub(crate) fn source(&self) -> SocketAddr {
        self.announced.unwrap_or(self.peer)
    }

    pub(crate) fn listener(&self) -> &Listener {
        &self.view.site.listeners[self.listener]
    }

    pub(crate) fn reactor(&self) -> &Rc<Reactor> {
        &self.worker.reactor
    }

    /// What is the same for all requests of the connection.
    pub(crate) fn connection_fields(&self) -> ConnectionFields {
        let real_ip = self.site().real_ip.as_ref();
        let trusted = real_ip.is_some_and(|real_ip| real_ip.trusts(self.peer.ip()));
        let known = self
            .listening
            .x_proxy
            .clone()
            .filter(|_| self.announced.is_none());
        let value = known.unwrap_or_else(|| x_proxy(self.local));
        let mut fields = ConnectionFields::with_x_proxy(value, self.source(), self.secure, trusted);
        fields.http2 = self.wire.is_none();
        fields
    }

    /// Unix time in seconds.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.reactor().unix_seconds()
    }

    /// Keeps what the access log will want of a request, before its fields are changed.
    pub(crate) fn note_request(&self, method: &http::Method, path: &str, headers: &HeaderMap) {
        let field = |name: http::HeaderName| headers.get(name).map(|v| v.as_bytes().to_vec());
        let mut record = self.record.borrow_mut();
        record.method = method.as_str().into();
        record.path = path.into();
        record.fields = Some(Box::new(LoggedFields {
            referer: field(http::header::REFERER),
            user_agent: field(http::header::USER_AGENT),
            x_forwarded_for: joined(headers, "x-forwarded-for"),
            user: basic_user(headers),
            session_id: crate::cookie::find(headers, SESSION_COOKIE)
                .next()
                .map(<[u8]>::to_vec)
                .unwrap_or_default(),
        }));
    }

    /// The request is over: counts it and writes its line.
    pub(crate) fn finish(&self) {
        let record = self.record.borrow();
        let now = self.reactor().now();
        let millis = now.saturating_sub(self.started);
        self.worker
            .stats()
            .answered(record.status, self.sent.get(), millis);
        if !self.worker.log.is_on() {
            return;
        }
        let none = LoggedFields::default();
        let fields = record.fields.as_deref().unwrap_or(&none);
        let site = self.site();
        self.worker.log.write(
            site.access_log_format,
            &crate::access_log::Entry {
                client: Some(record.client.unwrap_or_else(|| self.source().ip())),
                unix_millis: crate::log_sink::unix_millis(),
                request: &record.request,
                method: &record.method,
                path: &record.path,
                status: record.status,
                body_bytes: self.sent.get(),
                referer: fields.referer.as_deref(),
                user_agent: fields.user_agent.as_deref(),
                x_forwarded_for: fields.x_forwarded_for.as_deref(),
                user: &fields.user,
                duration: std::time::Duration::from_millis(millis),
                upstream: record.node.as_deref().unwrap_or_default(),
                attempts: record.attempts,
                route: record.route,
                session_source: &record.session_source,
                session_id: &fields.session_id,
                node: &site.node_id,
                mode: &site.mode,
            },
        );
    }
}

/// The values of all fields of this name as one, as nginx's `$http_NAME`.
fn joined(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let values: Vec<_> = headers.get_all(name).iter().map(|v| v.as_bytes()).collect();
    (!values.is_empty()).then(|| values.join(&b", "[..]))
}

/// The user of `Authorization: Basic`, as nginx's `$remote_user`.
fn basic_user(headers: &HeaderMap) -> Vec<u8> {
    use base64::Engine;
    let decode = || {
        let value = headers.get(http::header::AUTHORIZATION)?.as_bytes();
        let (scheme, credentials) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(credentials.trim_ascii())
            .ok()?;
        let end = decoded.iter().position(|byte| *byte == b':')?;
        Some(decoded[..end].to_vec())
    };
    decode().unwrap_or_default()
}

/// A deadline of the reactor that belongs to whoever holds it.
pub(crate) struct Deadline {
    reactor: Rc<Reactor>,
    index: u32,
    at: Cell<u64>,
}

impl Deadline {
    pub(crate) fn new(reactor: &Rc<Reactor>) -> Self {
        Self {
            index: reactor.new_deadline(reactor.current()),
            reactor: Rc::clone(reactor),
            at: Cell::new(NEVER),
        }
    }

    /// Wakes the running task at `at`, unless something happens before.
    pub(crate) fn set(&self, at: u64) {
        self.at.set(at);
        self.reactor
            .set_deadline(self.index, at, self.reactor.current());
    }

    /// Wakes the running task so many milliseconds from now.
    pub(crate) fn set_after(&self, millis: u64) {
        self.set(self.reactor.now().saturating_add(millis));
    }

    pub(crate) fn clear(&self) {
        if self.at.get() != NEVER {
            self.set(NEVER);
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.at.get() != NEVER
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.at.get() <= self.reactor.now()
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.reactor.free_deadline(self.index);
    }
}
