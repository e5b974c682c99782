//! HTTP/2 from clients, over TLS: each stream goes the same way as a request of HTTP/1.1.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;

use crate::connection::Conn;
use crate::connection::stream::Stream;
use crate::exchange::{Deadline, Exchange, Record};
use crate::forward;
use crate::worker::reactor::Reactor;
use crate::worker::{Worker, millis};

/// Streams of one connection at the same time (RFC 9113 section 6.5.2 advises at least 100).
const MAX_STREAMS: u32 = 128;

/// Largest set of fields of a request.
const MAX_FIELD_BYTES: u32 = 32 * 1024;

/// How long a client may take to answer our farewell once nothing runs any more.
const CLOSING_GRACE: u64 = 250;

/// Room for request bodies per stream, before the client must wait for us.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Starts serving a connection that has agreed on HTTP/2.
pub(crate) fn start(worker: &Rc<Worker>, conn: Conn) {
    worker.tasks.spawn(serve(Rc::clone(worker), conn));
}

async fn serve(worker: Rc<Worker>, conn: Conn) {
    let origin = Rc::new(Origin {
        worker: Rc::clone(&worker),
        listening: Rc::clone(&conn.listening),
        peer: conn.peer,
        announced: conn.announced.as_ref().map(|announced| announced.source),
        local: conn
            .announced
            .as_ref()
            .map_or_else(|| conn.local(), |a| a.destination),
        streams: Rc::default(),
    });
    let deadline = Deadline::new(&worker.reactor);
    let service = {
        let origin = Rc::clone(&origin);
        service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            join_cookies(request.headers_mut());
            let exchange = origin.exchange();
            async move {
                let response = forward::answer(Rc::clone(&exchange), request).await;
                if response.is_err() {
                    exchange.record.borrow_mut().status = 499;
                    exchange.finish();
                }
                response
            }
        })
    };
    let connection = Builder::new(OnWorker(Rc::clone(&worker)))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_FIELD_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(
            Transport {
                stream: conn.stream,
                reactor: Rc::clone(&worker.reactor),
            },
            service,
        );
    let mut connection = pin!(connection);
    let mut closing = false;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(peer = %origin.peer, %error, "HTTP/2 connection ended");
            }
            return Poll::Ready(());
        }
        let idle = origin.is_idle() && deadline.has_passed();
        if !closing && (worker.is_draining() || idle) {
            closing = true;
            connection.as_mut().graceful_shutdown();
            deadline.set_after(CLOSING_GRACE);
            worker.reactor.schedule(worker.reactor.current());
        } else if closing {
            // A client that does not answer our farewell is not waited for.
            if idle {
                return Poll::Ready(());
            }
            if deadline.has_passed() {
                deadline.set_after(CLOSING_GRACE);
            }
        } else {
            let timeout = millis(origin.listening.view.borrow().site.client.keepalive_timeout);
            deadline.set_after(timeout.max(1));
        }
        Poll::Pending
    })
    .await;
    worker.closed();
}

/// Makes one `Cookie` of several: HTTP/2 lets clients part it for compression, HTTP/1.1 does not (RFC 9113 section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let parts: Vec<_> = fields
        .get_all(COOKIE)
        .iter()
        .map(|v| v.as_bytes())
        .collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        fields.insert(COOKIE, joined);
    }
}

/// What all requests of a connection have in common.
struct Origin {
    worker: Rc<Worker>,
    listening: Rc<crate::worker::Listening>,
    peer: SocketAddr,
    announced: Option<SocketAddr>,
    local: SocketAddr,
    /// Each exchange holds it until its response has gone out.
    streams: Rc<()>,
}

impl Origin {
    /// No request is being answered, and no body is on its way.
    fn is_idle(&self) -> bool {
        Rc::strong_count(&self.streams) == 1
    }

    fn exchange(&self) -> Rc<Exchange> {
        Rc::new(Exchange {
            worker: Rc::clone(&self.worker),
            view: Rc::clone(&self.listening.view.borrow()),
            listening: Rc::clone(&self.listening),
            listener: self.listening.index.get(),
            peer: self.peer,
            announced: self.announced,
            local: self.local,
            secure: true,
            wire: None,
            last: false.into(),
            started: self.worker.reactor.now(),
            deadline: Rc::new(Deadline::new(&self.worker.reactor)),
            fault: None.into(),
            record: Record::default().into(),
            sent: 0.into(),
            tunnel: None.into(),
            _stream: Some(Rc::clone(&self.streams)),
        })
    }
}

/// Runs hyper's tasks on the worker.
#[derive(Clone)]
struct OnWorker(Rc<Worker>);

impl<F: Future<Output = ()> + 'static> Executor<F> for OnWorker {
    fn execute(&self, future: F) {
        self.0.tasks.spawn(future);
    }
}

/// A client's stream for hyper.
struct Transport {
    stream: Stream,
    reactor: Rc<Reactor>,
}

impl Read for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let reactor = Rc::clone(&self.reactor);
        reactor.with_scratch(|scratch| {
            let room = buf.remaining().min(scratch.len());
            self.stream
                .poll_read(cx, &mut scratch[..room])
                .map_ok(|read| buf.put_slice(&scratch[..read]))
        })
    }
}

impl Write for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_end(cx)
    }
}
