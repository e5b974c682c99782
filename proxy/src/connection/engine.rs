//! Engines: hyper server connections that are lent to client connections for the time of a request.
//!
//! An engine is a task. The worker gives it a connection that has become readable; it checks the head, lets hyper and
//! [`crate::forward`] do one request after the other while there are bytes for one, parks the connection and rests. hyper
//! keeps its buffers and its state between two messages of *different* connections: nothing of one message is left
//! when the next begins, because [`Wire`] gave it no byte too many and a message that ended otherwise ends the engine's
//! hyper connection too.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;

use super::refusal;
use super::wire::{Stalled, Wire};
use super::{Conn, Phase};
use crate::exchange::{Deadline, Exchange, Fault};
use crate::head::{self, Checked, Head};
use crate::proxy_protocol;
use crate::worker::reactor::{NEVER, TaskId};
use crate::worker::{Worker, millis};

/// hyper's read buffer grows up to this; request heads are checked against tighter limits before.
const READ_BUFFER: usize = 64 * 1024;

/// Up to so many fields hyper has room without allocating for every head.
const FIELDS_WITHOUT_COST: usize = 100;

/// A client that has sent its end may still be reading: it gets so long until its request is dropped.
const HALF_CLOSE_GRACE: u64 = 1000;

/// How long bytes that nobody wants are read and thrown away, so that the client sees our response and not a reset.
const LINGERING_TIMEOUT: u64 = 5000;

/// Pipelined requests that are answered before others get their turn.
const REQUESTS_IN_A_ROW: u32 = 16;

/// One engine, as the worker sees it.
pub(crate) struct Engine {
    task: TaskId,
    job: RefCell<Option<Conn>>,
}

impl Engine {
    pub(crate) fn task(&self) -> TaskId {
        self.task
    }

    /// To be followed by scheduling the task.
    pub(crate) fn give(&self, conn: Conn) {
        self.job.replace(Some(conn));
    }
}

/// Starts an engine.
pub(crate) fn start(worker: &Rc<Worker>) -> Rc<Engine> {
    let task = worker.tasks.reserve();
    let engine = Rc::new(Engine {
        task,
        job: RefCell::new(None),
    });
    worker
        .tasks
        .start(task, run(Rc::clone(worker), Rc::clone(&engine)));
    engine
}

/// What to do with a connection next.
enum Next {
    /// Wait until it becomes readable.
    Park(Conn),
    /// It is gone.
    Closed,
    /// It speaks HTTP/2: [`crate::http2`] has it, and counts its end.
    Given,
    /// Here is a request.
    Request(Head),
}

/// How a request ended.
enum Ended {
    /// As it should; the connection is ready for the next.
    Answered,
    /// hyper has closed the connection, after a response or without.
    Closed,
    /// The client left, or was too slow.
    Dropped,
}

async fn run(worker: Rc<Worker>, engine: Rc<Engine>) {
    let wire = Wire::new(Rc::clone(&worker.reactor));
    let client_deadline = Deadline::new(&worker.reactor);
    let peer_deadline = Rc::new(Deadline::new(&worker.reactor));
    let present: Rc<RefCell<Option<Rc<Exchange>>>> = Rc::default();
    let service = {
        let present = Rc::clone(&present);
        service_fn(move |request| {
            let exchange = present.borrow().clone();
            async move {
                let exchange = exchange.ok_or(crate::forward::Cut)?;
                crate::forward::answer(exchange, request).await
            }
        })
    };
    let mut http = None;
    let mut most_fields = 0;

    loop {
        let conn = poll_fn(|_| match engine.job.take() {
            Some(conn) => Poll::Ready(conn),
            None => Poll::Pending,
        })
        .await;
        wire.attach(conn);
        let mut in_a_row = 0_u32;
        loop {
            let head = match next(&worker, &wire, &client_deadline).await {
                Next::Request(head) => head,
                Next::Park(conn) => {
                    worker.park(conn);
                    break;
                }
                Next::Closed => {
                    drop(wire.detach());
                    worker.closed();
                    break;
                }
                Next::Given => break,
            };
            let Some(exchange) = begin(&worker, &wire, &head, &peer_deadline) else {
                worker.closed();
                break;
            };
            present.replace(Some(Rc::clone(&exchange)));
            let limit = exchange.site().head_limits.fields;
            if limit != most_fields {
                most_fields = limit;
                http = None;
            }
            let connection = http.get_or_insert_with(|| {
                let mut builder = Builder::new();
                builder.half_close(true).max_buf_size(READ_BUFFER);
                if limit > FIELDS_WITHOUT_COST {
                    // Ours has been checked before, so that hyper only needs the room.
                    builder.max_headers(limit);
                }
                Box::pin(builder.serve_connection(wire.clone(), service.clone()))
            });
            let mut gone_at = NEVER;
            let ended = poll_fn(|cx| {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %exchange.peer, %error, "connection ended");
                    }
                    return Poll::Ready(Ended::Closed);
                }
                if wire.is_complete() {
                    return Poll::Ready(Ended::Answered);
                }
                let now = worker.reactor.now();
                if wire.has_left() {
                    return Poll::Ready(Ended::Dropped);
                }
                let unanswered = exchange.record.borrow().status == 0;
                if !unanswered {
                    // Who takes the response is there; who does not is found out by sending it.
                    gone_at = NEVER;
                } else if gone_at == NEVER && wire.has_ended() && wire.is_request_received() {
                    gone_at = now + HALF_CLOSE_GRACE;
                }
                if gone_at <= now {
                    return Poll::Ready(Ended::Dropped);
                }
                match wire.stalled() {
                    None => {}
                    Some(Stalled::Send) => return Poll::Ready(Ended::Dropped),
                    Some(Stalled::Body) => {
                        exchange.fault.set(Some(Fault::TooSlow));
                        wire.fail_body();
                        worker.reactor.schedule(worker.reactor.current());
                    }
                }
                let at = wire.deadline().min(gone_at);
                if at != NEVER || client_deadline.is_set() {
                    client_deadline.set(at);
                }
                Poll::Pending
            })
            .await;
            client_deadline.clear();
            present.replace(None);
            match ended {
                Ended::Answered => {
                    exchange.finish();
                    wire.with_conn(|conn| idle(&worker, conn));
                    in_a_row += 1;
                    if in_a_row.is_multiple_of(REQUESTS_IN_A_ROW) {
                        others_first(&worker).await;
                    }
                }
                Ended::Closed => {
                    http = None;
                    let tunnel = exchange.tunnel.take();
                    if let Some(tunnel) = tunnel
                        && let Some(mut conn) = wire.detach()
                    {
                        let early = std::mem::take(&mut conn.early);
                        let sent = tunnel
                            .run(&mut conn.stream, early, &worker.reactor, &client_deadline)
                            .await;
                        exchange.sent.set(sent);
                        exchange.finish();
                        worker.closed();
                        break;
                    }
                    if exchange.record.borrow().status == 0 {
                        exchange.record.borrow_mut().status = 499;
                    }
                    exchange.finish();
                    if wire.is_request_received() && !wire.has_unread() {
                        say_goodbye(&wire).await;
                        drop(wire.detach());
                        worker.closed();
                        break;
                    }
                    wire.with_conn(|conn| linger(&worker, conn));
                }
                Ended::Dropped => {
                    http = None;
                    let mut record = exchange.record.borrow_mut();
                    if record.status == 0 {
                        record.status = 499;
                    }
                    drop(record);
                    tracing::debug!(peer = %exchange.peer, "client left");
                    exchange.finish();
                    drop(wire.detach());
                    worker.closed();
                    break;
                }
            }
        }
        if !worker.rest(&engine) {
            return;
        }
    }
}

/// Reads from the connection until there is a request, or nothing to do, or nothing more to come.
async fn next(worker: &Rc<Worker>, wire: &Wire, deadline: &Deadline) -> Next {
    loop {
        let Some((phase, local_view)) = wire.with_conn(|conn| {
            let view = Rc::clone(&conn.listening.view.borrow());
            (conn.phase, view)
        }) else {
            return Next::Given;
        };
        match phase {
            Phase::Request => {
                let checked = wire.with_input(|input| {
                    if input.is_empty() {
                        Checked::Incomplete
                    } else {
                        head::check(input, &local_view.site.head_limits)
                    }
                });
                match checked {
                    Checked::Complete(head) => return Next::Request(head),
                    Checked::Invalid(invalid) => {
                        refusal::send(worker, wire, deadline, invalid).await;
                        wire.with_conn(|conn| linger(worker, conn));
                        continue;
                    }
                    Checked::Incomplete => {}
                }
            }
            Phase::ProxyHeader => match wire.with_input(proxy_protocol::parse) {
                proxy_protocol::Parsed::Complete { used, addresses } => {
                    wire.skip(used);
                    wire.with_conn(|conn| {
                        conn.announced = addresses.map(Box::new);
                        conn.phase = if conn.listening.tls.borrow().is_some() {
                            Phase::Handshake
                        } else {
                            Phase::Request
                        };
                    });
                    continue;
                }
                proxy_protocol::Parsed::Invalid(why) => {
                    tracing::debug!(why, "not the PROXY protocol: connection closed");
                    return Next::Closed;
                }
                proxy_protocol::Parsed::Incomplete => {
                    if wire.with_input(<[u8]>::len) > proxy_protocol::MAX_HEADER {
                        return Next::Closed;
                    }
                }
            },
            Phase::Handshake => {
                if !crate::tls::handshake(worker, wire, deadline).await {
                    return Next::Closed;
                }
                continue;
            }
            Phase::Lingering => wire.skip_all(),
        }
        let received = poll_fn(|cx| Poll::Ready(wire.poll_receive(cx))).await;
        match received {
            Poll::Ready(Ok(0)) => {
                if phase == Phase::Request && wire.with_input(|input| !input.is_empty()) {
                    refusal::log(worker, wire, 400, 0);
                }
                return Next::Closed;
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "connection failed");
                return Next::Closed;
            }
            Poll::Pending => {
                let begun = phase == Phase::Request && wire.with_input(|input| !input.is_empty());
                let now = worker.reactor.now();
                let late = wire.with_conn(|conn| {
                    if begun && conn.head_since == 0 {
                        conn.head_since = now.max(1);
                        let timeout = millis(local_view.site.client.header_timeout);
                        conn.deadline = now + timeout;
                    }
                    conn.deadline <= now
                });
                if late == Some(true) {
                    if begun {
                        let slow = head::Invalid {
                            status: 408,
                            why: "the request head did not come in client_header_timeout",
                        };
                        refusal::send(worker, wire, deadline, slow).await;
                        wire.with_conn(|conn| linger(worker, conn));
                        wire.skip_all();
                        continue;
                    }
                    return Next::Closed;
                }
                return match wire.detach() {
                    Some(conn) => Next::Park(conn),
                    None => Next::Closed,
                };
            }
        }
    }
}

/// Makes the exchange of a request and lets hyper have its bytes.
fn begin(
    worker: &Rc<Worker>,
    wire: &Wire,
    head: &Head,
    deadline: &Rc<Deadline>,
) -> Option<Rc<Exchange>> {
    let log = worker.log.is_on();
    let request = if log {
        wire.with_input(|input| input[head.request_line.clone()].to_vec())
    } else {
        Vec::new()
    };
    let exchange = wire.with_conn(|conn| {
        conn.requests += 1;
        conn.head_since = 0;
        let view = Rc::clone(&conn.listening.view.borrow());
        let client = &view.site.client;
        let last = !head.keep_alive
            || client.keepalive_timeout.is_zero()
            || (client.keepalive_requests > 0 && conn.requests >= client.keepalive_requests);
        let announced = conn.announced.as_deref();
        let record = crate::exchange::Record {
            request,
            ..Default::default()
        };
        Rc::new(Exchange {
            worker: Rc::clone(worker),
            listening: Rc::clone(&conn.listening),
            listener: conn.listening.index.get(),
            peer: conn.peer,
            announced: announced.map(|announced| announced.source),
            local: announced.map_or_else(|| conn.local(), |announced| announced.destination),
            secure: conn.stream.is_tls(),
            wire: Some(wire.clone()),
            last: last.into(),
            started: worker.reactor.now(),
            deadline: Rc::clone(deadline),
            fault: None.into(),
            record: record.into(),
            sent: 0.into(),
            tunnel: None.into(),
            _stream: None,
            view,
        })
    })?;
    let client = &exchange.site().client;
    wire.begin(
        head.len,
        head.framing,
        millis(client.body_timeout),
        millis(client.send_timeout),
    );
    Some(exchange)
}

/// The connection waits for its next request.
fn idle(worker: &Worker, conn: &mut Conn) {
    let timeout = millis(conn.listening.view.borrow().site.client.keepalive_timeout);
    conn.head_since = 0;
    conn.deadline = worker.reactor.now().saturating_add(timeout);
}

/// Lets the other tasks of the worker run.
async fn others_first(worker: &Worker) {
    let mut waited = false;
    poll_fn(|_| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        worker.reactor.schedule(worker.reactor.current());
        Poll::Pending
    })
    .await;
}

/// Tells a TLS client that the end is the end, as far as that can be told at once (RFC 8446 section 6.1).
async fn say_goodbye(wire: &Wire) {
    if wire.with_conn(|conn| conn.stream.is_tls()) == Some(true) {
        poll_fn(|cx| {
            let _ = wire.with_conn(|conn| conn.stream.poll_end(cx));
            Poll::Ready(())
        })
        .await;
    }
}

/// Nothing more is wanted from the connection, but it may still be sending.
fn linger(worker: &Worker, conn: &mut Conn) {
    // TLS has its own end, which the socket's end makes moot here.
    conn.stream.socket().end();
    conn.phase = Phase::Lingering;
    conn.deadline = worker.reactor.now() + LINGERING_TIMEOUT;
}
