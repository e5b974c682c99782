//! Answers to what is not a request: sent as they are, because no HTTP library has seen the head.

use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::Poll;

use http::StatusCode;

use super::wire::Wire;
use crate::exchange::Deadline;
use crate::head::Invalid;
use crate::worker::{Worker, millis};

/// Most of a refused request line that is logged.
const LOGGED_LINE: usize = 512;

/// Sends the page for a refused head; the connection is to be closed afterwards.
pub(crate) async fn send(worker: &Rc<Worker>, wire: &Wire, deadline: &Deadline, invalid: Invalid) {
    let status = StatusCode::from_u16(invalid.status).unwrap_or(StatusCode::BAD_REQUEST);
    let Some((head, length, timeout)) = wire.with_conn(|conn| {
        let view = conn.listening.view.borrow();
        let policy = &view.site.policy;
        let local = conn.announced.as_ref().map_or_else(|| conn.local(), |a| a.destination);
        tracing::debug!(peer = %conn.peer, status = status.as_u16(), why = invalid.why, "request refused");
        let page = view.pages.page(status).body;
        let length = page.len() as u64;
        let mut head = format!("HTTP/1.1 {status}\r\n");
        if let Some(server) = policy.server.as_ref().and_then(|server| server.to_str().ok()) {
            head.push_str(&format!("Server: {server}\r\n"));
        }
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        head.push_str(&format!(
            "Date: {date}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n",
            page.len()
        ));
        if policy.x_proxy {
            head.push_str(&format!("X-Proxy: Proxy-{local}\r\n"));
        }
        head.push_str("\r\n");
        let mut head = head.into_bytes();
        head.extend_from_slice(&page);
        (head, length, millis(view.site.client.send_timeout))
    }) else {
        return;
    };
    log(worker, wire, status.as_u16(), length);
    let mut sent = 0;
    deadline.set_after(timeout);
    poll_fn(|cx| {
        while sent < head.len() {
            if deadline.has_passed() {
                return Poll::Ready(());
            }
            let more =
                wire.with_conn(|conn| conn.stream.poll_write(cx, &[IoSlice::new(&head[sent..])]));
            match more {
                Some(Poll::Ready(Ok(more))) => sent += more,
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(Err(_))) | None => return Poll::Ready(()),
            }
        }
        match wire.with_conn(|conn| conn.stream.poll_flush(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(_)) | None => Poll::Ready(()),
        }
    })
    .await;
    deadline.clear();
}

/// Counts and logs something that is not a request, and was answered with a page of `body_bytes`.
pub(crate) fn log(worker: &Rc<Worker>, wire: &Wire, status: u16, body_bytes: u64) {
    worker.stats().request();
    worker.stats().answered(status, body_bytes, 0);
    if !worker.log.is_on() {
        return;
    }
    let line = wire.with_input(|input| {
        let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        input[..end.unwrap_or(input.len()).min(LOGGED_LINE)].to_vec()
    });
    wire.with_conn(|conn| {
        let view = conn.listening.view.borrow();
        let site = &view.site;
        worker.log.write(
            site.access_log_format,
            &crate::access_log::Entry {
                client: Some(conn.peer.ip()),
                unix_millis: crate::log_sink::unix_millis(),
                request: &line,
                status,
                body_bytes,
                node: &site.node_id,
                mode: &site.mode,
                ..Default::default()
            },
        );
    });
}
