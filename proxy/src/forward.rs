//! One request from its head to the head of its response: place, peer, fields, try, try elsewhere, fields back.
//!
//! ```text
//!   request ─► location ─► answer or file ────────────────────────────────────► response
//!                 └─► peer chosen ─► fields rewritten ─► sent ─► response head ─► fields rewritten back ─► body streams
//!                        ▲                                 │ attempt.rs              reply.rs
//!                        └── the next one, or the same ◄───┘ failed: crate::retry decides
//! ```
//!
//! The only file in which the choice of a peer, its connections and the rules for fields meet.

mod again;
mod attempt;
mod reply;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;

use crate::balance::{Attempt, Choice, Facts, NoPeer};
use crate::body::{BodySource, Lease, RequestBody, ResponseBody};
use crate::exchange::{Exchange, Fault};
use crate::headers::{self, ConnectionFields, HopByHop};
use crate::page;
use crate::retry::{self, Decision, Event};
use crate::site::{Action, Location, Made, ProxyPass, SendHost};
use crate::upstream::Upstream;
use crate::upstream::health::Turn;
use crate::worker::view::Group;
use attempt::Failure;

/// The connection to the client must be closed without a (further) response.
#[derive(Debug, thiserror::Error)]
#[error("the client left")]
pub(crate) struct Cut;

/// Answers one request.
pub(crate) async fn answer(
    exchange: Rc<Exchange>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Cut> {
    exchange.worker.stats().request();
    let site = exchange.site();
    let (parts, body) = request.into_parts();
    let host = host_of(&parts.uri, &parts.headers);
    if exchange.worker.log.is_on() {
        exchange.note_request(&parts.method, parts.uri.path(), &parts.headers);
    }
    let client = match &site.real_ip {
        Some(real_ip) => real_ip.client(exchange.peer.ip(), exchange.announced, &parts.headers),
        None => exchange.source().ip(),
    };
    exchange.record.borrow_mut().client = Some(client);
    let name = host.as_ref().map_or("", name_of);
    let location = site
        .route(exchange.listener(), name, parts.uri.path())
        .map(|(_, location)| location);
    let fields = exchange.connection_fields();
    let mut response = match location.map(|location| (location, &location.action)) {
        Some((location, Action::Proxy(pass))) => {
            let forward = Forward {
                exchange: &exchange,
                location,
                pass,
                upstream: &site.upstreams[pass.upstream],
                group: &exchange.view.groups[pass.upstream],
                fields: &fields,
                host: host.as_ref(),
                name,
                client,
            };
            let (mut parts, mut body) = (Some(parts), Some(body));
            return forward.run(&mut parts, &mut body).await;
        }
        Some((_, Action::Files(root))) => crate::files::answer(&exchange, root, &parts),
        Some((location, Action::AddSlash)) => {
            page::moved_below(&exchange, &location.path, parts.uri.query())
        }
        Some((_, Action::Answer { status, text })) => page::fixed(&exchange, *status, text),
        None => page::of(&exchange, StatusCode::NOT_FOUND),
    };
    if has_body(&parts.headers) {
        // Nobody reads it, so nothing can follow it.
        reply::close_after(&mut response);
    }
    reply::finish(&exchange, &fields, location, &mut response, None);
    Ok(response)
}

/// A request on its way to the peers of one upstream.
struct Forward<'a> {
    exchange: &'a Rc<Exchange>,
    location: &'a Location,
    pass: &'a ProxyPass,
    upstream: &'a Upstream,
    group: &'a Group,
    fields: &'a ConnectionFields,
    /// The request's own host.
    host: Option<&'a HeaderValue>,
    /// The same without its port.
    name: &'a str,
    client: IpAddr,
}

/// How a try ended, and what it leaves.
struct Tried {
    outcome: Result<Response<Incoming>, Failure>,
    lease: Lease,
    choice: Choice,
    event: Event,
}

impl Forward<'_> {
    /// What is large is handed in by reference: hyper moves the future of a request as a whole.
    async fn run(
        &self,
        parts: &mut Option<Parts>,
        body: &mut Option<Incoming>,
    ) -> Result<Response<ResponseBody>, Cut> {
        let exchange = self.exchange;
        let (Some(head), Some(incoming)) = (parts.as_mut(), body.take()) else {
            return Err(Cut);
        };
        let too_large = |limit: u64| incoming.size_hint().lower() > limit;
        if self.location.max_body.is_some_and(too_large) {
            return Ok(self.refuse(StatusCode::PAYLOAD_TOO_LARGE, None));
        }
        // Retries ask with the target as received; its text is shared, not copied.
        let target = head.uri.clone();
        let mut attempt = Attempt::default();
        let mut choice = match self.choose(&target, &head.headers, &mut attempt) {
            Ok(choice) => choice,
            Err(error) => return Ok(self.no_peer(error)),
        };
        let secure = self.fields.is_secure(&head.headers);
        let idempotent = retry::is_idempotent(&head.method);
        let (hop, websocket) = self.prepare(head);
        let source = (!incoming.is_end_stream()).then(|| {
            let limit = self.location.max_body;
            Rc::new(BodySource::new(incoming, limit, Rc::clone(exchange)))
        });
        let mut refreshed = false;
        let mut tries = 0;
        loop {
            tries += 1;
            exchange.record.borrow_mut().attempts += 1;
            let mut tried = self
                .attempt(choice, parts, source.as_ref(), refreshed)
                .await;
            if let Ok(response) = &tried.outcome
                && response.status() == StatusCode::SWITCHING_PROTOCOLS
                && !(websocket && reply::is_websocket(response))
            {
                // Nobody asked for it: what follows would not be HTTP.
                tried.lease.discard();
                tried.event = Event::InvalidHead;
            }
            if let Some(fault) = exchange.fault.get() {
                tried.lease.discard();
                if fault == Fault::Gone {
                    return Err(Cut);
                }
                let status = StatusCode::from_u16(fault.status()).map_err(|_| Cut)?;
                return Ok(self.refuse(status, Some(choice)));
            }
            let decision = self.judge(&tried, idempotent, source.as_deref(), tries, refreshed);
            match decision {
                Decision::SameFresh => {
                    tries -= 1;
                    refreshed = true;
                    continue;
                }
                Decision::Next => {
                    refreshed = false;
                    let again = match &*parts {
                        Some(kept) => self.choose(&target, &kept.headers, &mut attempt),
                        None => self.choose(&target, &self.received(), &mut attempt),
                    };
                    match again {
                        Ok(next) => {
                            choice = next;
                            continue;
                        }
                        Err(error) => {
                            tracing::warn!(upstream = %self.upstream.name, %error, "no further peer for a request");
                        }
                    }
                }
                Decision::GiveUp(_) => {}
            }
            return match (tried.outcome, tried.event) {
                (Ok(response), Event::Status(_)) => {
                    let body = self.take_over(response, tried.lease, hop.trailers)?;
                    Ok(self.respond(body, &attempt, choice, secure))
                }
                (_, event) => {
                    let status = StatusCode::from_u16(event.status());
                    Ok(self.refuse(status.unwrap_or(StatusCode::BAD_GATEWAY), Some(choice)))
                }
            };
        }
    }

    /// The request for the next try. Nearly always the first is the last, so the fields are given away instead of copied;
    /// for another try they are read again from the head as it was received. Only a request whose head does not stay (it
    /// has a body, or came over HTTP/2) is copied.
    fn request(
        &self,
        parts: &mut Option<Parts>,
        source: Option<&Rc<BodySource>>,
    ) -> Option<Request<RequestBody>> {
        let head_stays = source.is_none() && self.exchange.wire.is_some();
        let parts = match parts.take() {
            Some(prepared) if head_stays => prepared,
            Some(prepared) => {
                let copy = copy(&prepared);
                *parts = Some(prepared);
                copy
            }
            None => {
                let mut again = again::parts(self.exchange.wire.as_ref()?)?;
                self.prepare(&mut again);
                again
            }
        };
        let body = source.map_or_else(RequestBody::empty, RequestBody::from_source);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = parts.uri;
        *request.headers_mut() = parts.headers;
        Some(request)
    }

    /// The fields as received.
    fn received(&self) -> HeaderMap {
        let wire = self.exchange.wire.as_ref();
        let parts = wire.and_then(again::parts);
        parts.map(|parts| parts.headers).unwrap_or_default()
    }

    fn choose(
        &self,
        target: &Uri,
        headers: &HeaderMap,
        attempt: &mut Attempt,
    ) -> Result<Choice, NoPeer> {
        let facts = Facts {
            client: self.client,
            target: target_of(target),
            host: self.name,
            headers,
            unix: self.exchange.unix_seconds(),
        };
        let now = self.exchange.reactor().instant();
        self.group
            .balancer
            .borrow_mut()
            .choose(&facts, attempt, now)
    }

    /// Makes the fields and the target ready for the peers. Also says whether the client asks for a WebSocket that we may
    /// ask the peer for.
    fn prepare(&self, parts: &mut Parts) -> (HopByHop, bool) {
        let (exchange, pass) = (self.exchange, self.pass);
        let made = Made {
            client: self.client,
            local: exchange.local,
            secure: exchange.secure,
            host: self.name,
            target: target_of(&parts.uri),
            headers: &parts.headers,
        };
        // What `proxy_set_header` puts together is made of the fields as received.
        let values = pass.set_headers.iter();
        let set: Vec<_> = values.map(|(name, set)| (name, set.value(&made))).collect();
        let host = match &pass.host {
            // It stands where it belongs already.
            SendHost::Received { .. } if parts.uri.authority().is_none() && self.host.is_some() => {
                None
            }
            other => Some(other.value(self.host, &made)),
        };
        if let crate::balance::Method::Bound(binding) = &self.upstream.method {
            binding.edit_request(&mut parts.headers);
        }
        let hop = headers::request(
            &mut parts.headers,
            &exchange.view.policy,
            self.fields,
            self.host,
            host,
        );
        for (name, value) in set {
            match value {
                Some(value) => drop(parts.headers.insert(name, value)),
                None => drop(parts.headers.remove(name)),
            }
        }
        let websocket = hop.websocket
            && parts.version == Version::HTTP_11
            && parts.method == Method::GET
            && exchange.wire.is_some();
        if websocket {
            headers::ask_websocket(&mut parts.headers);
        }
        if pass.replace.is_some() || parts.uri.authority().is_some() {
            let target = pass.target(self.location, target_of(&parts.uri));
            if let Ok(target) = PathAndQuery::try_from(&*target) {
                parts.uri = Uri::from(target);
            }
        }
        (hop, websocket)
    }

    /// Tells the balancer how a try ended, and decides how to go on.
    fn judge(
        &self,
        tried: &Tried,
        idempotent: bool,
        source: Option<&BodySource>,
        tries: u32,
        refreshed: bool,
    ) -> Decision {
        let exchange = self.exchange;
        let (rules, event) = (&self.pass.next_upstream, tried.event);
        let peer = &self.upstream.peers[tried.choice.peer];
        let now = exchange.reactor().instant();
        let counts = rules.counts(event);
        let mut balancer = self.group.balancer.borrow_mut();
        let turn = if counts {
            peer.counters.failed(exchange.worker.index);
            balancer.failed(tried.choice.peer, now)
        } else if matches!(event, Event::Status(_)) {
            balancer.succeeded(tried.choice.peer, now)
        } else {
            Turn::None
        };
        drop(balancer);
        crate::check::log_turn(&self.upstream.name, peer, turn);
        if let Event::Status(status) = event
            && !rules.lists(status)
        {
            return Decision::GiveUp(status);
        }
        let decision = rules.decide(
            event,
            retry::Request {
                idempotent,
                sent: tried
                    .outcome
                    .as_ref()
                    .map_or_else(|failure| failure.sent, |_| true),
                replayable: source.is_none_or(BodySource::is_replayable),
                tries,
                refreshed,
                elapsed: Duration::from_millis(
                    exchange.reactor().now().saturating_sub(exchange.started),
                ),
            },
        );
        if let Err(failure) = &tried.outcome {
            let (upstream, peer, error) = (&self.upstream.name, &peer.name, &failure.error);
            if event == Event::OutOfResources {
                tracing::error!(%upstream, %peer, error, "no connection to a peer: this machine has run out of something");
            } else if counts {
                tracing::warn!(%upstream, %peer, error, ?decision, "request failed on peer");
            } else {
                tracing::debug!(%upstream, %peer, error, ?decision, "pooled connection was stale");
            }
        }
        decision
    }

    fn no_peer(&self, error: NoPeer) -> Response<ResponseBody> {
        tracing::warn!(upstream = %self.upstream.name, %error, "no peer for a request");
        self.refuse(StatusCode::BAD_GATEWAY, None)
    }
}

fn copy(parts: &Parts) -> Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = parts.method.clone();
    copy.uri = parts.uri.clone();
    copy.headers = parts.headers.clone();
    copy
}

/// The request's own host: the authority of an absolute target, else `Host` (RFC 9112 section 3.2.2).
fn host_of(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let authority = uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    authority.or_else(|| headers.get(HOST).cloned())
}

/// The name in a host, without its port.
fn name_of(host: &HeaderValue) -> &str {
    let host = host.to_str().unwrap_or_default();
    let port = host.bytes().rev().take_while(u8::is_ascii_digit).count();
    match host[..host.len() - port].strip_suffix(':') {
        Some(name) if !name.is_empty() => name,
        _ => host,
    }
}

fn target_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0")
}
