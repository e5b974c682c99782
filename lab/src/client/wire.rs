//! One kept-alive HTTP/1.1 connection from an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The longest wait for a connection.
const CONNECT_AT_MOST: Duration = Duration::from_secs(2);

/// An answer's body is read up to this; a longer one is an error.
pub const BODY_MAX: usize = 1 << 20;

/// Why an exchange has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The request never left, so it was certainly not carried out.
    NotSent(String),
    /// It left; whether it was carried out, nobody can say.
    NoAnswer(String),
}

/// A complete answer.
pub type Answered = http::Response<Bytes>;

/// A connection that is made when needed and kept while the server keeps it.
#[derive(Debug)]
pub struct Wire {
    to: SocketAddr,
    from: Option<IpAddr>,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl Wire {
    /// A wire to `to`; `from` is the local address to use, such as 127.0.5.1.
    pub fn new(to: SocketAddr, from: Option<IpAddr>) -> Self {
        Self {
            to,
            from,
            sender: None,
        }
    }

    /// Sends the request and reads the whole answer, within `at_most`.
    pub async fn exchange(
        &mut self,
        request: http::Request<Empty<Bytes>>,
        at_most: Duration,
    ) -> Result<Answered, Trouble> {
        let exchanged = timeout(at_most, self.exchange_unbounded(request)).await;
        exchanged.unwrap_or_else(|_| {
            // What comes late must not be taken for the answer to the next request.
            self.sender = None;
            Err(Trouble::NoAnswer(format!(
                "no answer within {} ms",
                at_most.as_millis()
            )))
        })
    }

    async fn exchange_unbounded(
        &mut self,
        request: http::Request<Empty<Bytes>>,
    ) -> Result<Answered, Trouble> {
        let request = match self.sender.take() {
            Some(mut kept) => match send(&mut kept, request).await {
                Ok(answer) => return self.finish(kept, answer).await,
                // The server closed the kept connection before the request was on it: once more on a new one.
                Err((_, Some(request))) => request,
                Err((why, None)) => return Err(Trouble::NoAnswer(why)),
            },
            None => request,
        };
        let mut fresh = self.connect().await.map_err(Trouble::NotSent)?;
        match send(&mut fresh, request).await {
            Ok(answer) => self.finish(fresh, answer).await,
            Err((why, Some(_))) => Err(Trouble::NotSent(why)),
            Err((why, None)) => Err(Trouble::NoAnswer(why)),
        }
    }

    async fn finish(
        &mut self,
        sender: SendRequest<Empty<Bytes>>,
        answer: http::Response<hyper::body::Incoming>,
    ) -> Result<Answered, Trouble> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_MAX)
            .collect()
            .await
            .map_err(|e| Trouble::NoAnswer(format!("the answer broke off: {e}")))?;
        if !sender.is_closed() {
            self.sender = Some(sender);
        }
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let attempt = || match self.from {
            Some(from) => format!("cannot connect to {} from {from}", self.to),
            None => format!("cannot connect to {}", self.to),
        };
        let stream = timeout(CONNECT_AT_MOST, self.stream())
            .await
            .map_err(|_| {
                format!(
                    "{}: no answer within {} s",
                    attempt(),
                    CONNECT_AT_MOST.as_secs()
                )
            })?
            .map_err(|e| format!("{}: {e}", attempt()))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|e| format!("{}: {e}", attempt()))?;
        // It ends with the connection; its errors come back through the sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn stream(&self) -> std::io::Result<TcpStream> {
        let socket = match self.to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

type NotAnswered = (String, Option<http::Request<Empty<Bytes>>>);

/// Sends; the request comes back when it was not sent.
async fn send(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: http::Request<Empty<Bytes>>,
) -> Result<http::Response<hyper::body::Incoming>, NotAnswered> {
    if sender.ready().await.is_err() {
        return Err(("the connection was closed".to_owned(), Some(request)));
    }
    sender.try_send_request(request).await.map_err(|mut error| {
        let request = error.take_message();
        (
            format!("the connection broke: {}", error.into_error()),
            request,
        )
    })
}
