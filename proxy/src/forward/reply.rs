//! What a client gets: the peer's response with its fields rewritten, or a page of ours; both marked alike.

use std::rc::Rc;

use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::{Cut, Forward};
use crate::balance::{Attempt, Choice, Method};
use crate::binding::Reply;
use crate::body::{Lease, PeerBody, ResponseBody};
use crate::exchange::Exchange;
use crate::headers::{self, ConnectionFields};
use crate::page;
use crate::site::Location;
use crate::tunnel::Tunnel;
use crate::worker::millis;

impl Forward<'_> {
    /// Puts the way on for the body into the place of the peer's body.
    pub(super) fn take_over(
        &self,
        response: Response<Incoming>,
        mut lease: Lease,
        trailers: bool,
    ) -> Result<Response<ResponseBody>, Cut> {
        let exchange = self.exchange;
        let (head, incoming) = response.into_parts();
        let body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let tunnel = Tunnel::open(exchange, lease, self.pass.read_timeout).ok_or(Cut)?;
            exchange.tunnel.replace(Some(tunnel));
            ResponseBody::empty(exchange)
        } else if incoming.is_end_stream() {
            lease.give_back();
            ResponseBody::empty(exchange)
        } else {
            let body = PeerBody {
                incoming,
                first: None,
                lease,
                read_timeout: millis(self.pass.read_timeout),
                trailers,
                failed: None,
            };
            ResponseBody::from_peer(body, exchange)
        };
        Ok(Response::from_parts(head, body))
    }

    /// Makes the client's response of the peer's.
    pub(super) fn respond(
        &self,
        mut response: Response<ResponseBody>,
        attempt: &Attempt,
        choice: Choice,
        secure: bool,
    ) -> Response<ResponseBody> {
        let exchange = self.exchange;
        let counters = &self.upstream.peers[choice.peer].counters;
        let worker = exchange.worker.index;
        let status = response.status();
        counters.status(worker, status.as_u16());
        *response.version_mut() = Version::HTTP_11;
        headers::response(response.headers_mut(), &exchange.view.policy);
        if let Method::Bound(binding) = &self.upstream.method {
            let reply = Reply {
                secure,
                unix: exchange.unix_seconds(),
                now: exchange.reactor().instant(),
            };
            if binding.edit_response(attempt, reply, response.headers_mut()) {
                counters.new_binding(worker);
            }
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            headers::ask_websocket(response.headers_mut());
        }
        self.finish(response, Some(choice))
    }

    /// A page of ours instead.
    pub(super) fn refuse(
        &self,
        status: StatusCode,
        choice: Option<Choice>,
    ) -> Response<ResponseBody> {
        let mut response = page::of(self.exchange, status);
        let wire = self.exchange.wire.as_ref();
        let unread = wire.is_some_and(|wire| !wire.is_request_received());
        // What a client that does wrong sends next is not worth waiting for.
        if unread || status.is_client_error() {
            close_after(&mut response);
        }
        self.finish(response, choice)
    }

    fn finish(
        &self,
        mut response: Response<ResponseBody>,
        choice: Option<Choice>,
    ) -> Response<ResponseBody> {
        let chosen = choice.map(|choice| (self, choice));
        finish(
            self.exchange,
            self.fields,
            Some(self.location),
            &mut response,
            chosen,
        );
        response
    }
}

/// What every response gets, whoever made it.
pub(super) fn finish(
    exchange: &Rc<Exchange>,
    fields: &ConnectionFields,
    location: Option<&Location>,
    response: &mut Response<ResponseBody>,
    chosen: Option<(&Forward<'_>, Choice)>,
) {
    let status = response.status();
    let map = response.headers_mut();
    let marks = chosen.map(|(forward, choice)| {
        let node = &forward.group.x_upstream[choice.peer];
        (node, choice.reason)
    });
    headers::mark(map, &exchange.view.policy, fields, marks);
    let added = location.map_or(&[][..], |location| &location.add_headers);
    for field in added.iter().filter(|field| field.is_for(status)) {
        map.append(&field.name, field.value.clone());
    }
    let mut record = exchange.record.borrow_mut();
    record.status = status.as_u16();
    if let Some((forward, choice)) = chosen {
        record.route = choice.reason.as_str();
        if exchange.worker.log.is_on() {
            record.node = Some(forward.upstream.peers[choice.peer].node.clone());
            let source = map
                .get("x-session-source")
                .map(|value| value.as_bytes().to_vec());
            record.session_source = source.unwrap_or_default();
        }
    }
    let over_http1 = exchange.wire.is_some();
    let last = exchange.last.get() || exchange.worker.is_draining();
    if over_http1 && last && status != StatusCode::SWITCHING_PROTOCOLS {
        close_after(response);
    }
}

/// The connection ends after this response.
pub(super) fn close_after<B>(response: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

/// Whether a 101 is the answer to a request for a WebSocket (RFC 6455 section 4.2.2).
pub(super) fn is_websocket(response: &Response<Incoming>) -> bool {
    response
        .headers()
        .get(http::header::UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
