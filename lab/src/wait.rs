//! Waiting for a condition, never for a duration.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::tomcat;

/// The longest one question may take.
const ONE_QUESTION: Duration = Duration::from_secs(1);

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Now {
    /// It holds.
    Yes,
    /// It may hold later; why not now.
    NotYet(String),
    /// It will never hold; why.
    Never(String),
}

/// Asks every `every` until the condition holds, at most `at_most` long. The error says what was missing last.
pub async fn until(
    every: Duration,
    at_most: Duration,
    mut condition: impl AsyncFnMut() -> Now,
) -> Result<(), String> {
    let deadline = Instant::now() + at_most;
    loop {
        match condition().await {
            Now::Yes => return Ok(()),
            Now::Never(why) => return Err(why),
            Now::NotYet(why) if Instant::now() + every > deadline => {
                return Err(format!("{why} (waited {:.1} s)", at_most.as_secs_f64()));
            }
            Now::NotYet(_) => sleep(every).await,
        }
    }
}

/// What tells whether a node is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `/readyz` at its admin address.
    Http(SocketAddr),
    /// A page that makes no session, at the address for clients.
    Tomcat(SocketAddr),
    /// memcached's `version`, at the address for clients.
    Memcached(SocketAddr),
}

impl Question {
    /// Asks once. The error says what came instead of the answer.
    pub async fn ask(self) -> Result<(), String> {
        match self {
            Self::Http(address) => http_ok(address, "/readyz").await,
            Self::Tomcat(address) => http_ok(address, tomcat::READY_PATH).await,
            Self::Memcached(address) => version_ok(address).await,
        }
    }
}

/// `version` on `address`: fine when the answer is one.
async fn version_ok(address: SocketAddr) -> Result<(), String> {
    match asked(address, "version\r\n").await {
        Ok(answer) if answer.starts_with(b"VERSION ") => Ok(()),
        Ok(answer) => Err(format!("{address} says {}", first_line(&answer))),
        Err(why) => Err(format!("{address} {why}")),
    }
}

/// The JSON at `GET path` on `address`. The error says what came instead.
pub async fn json(address: SocketAddr, path: &str) -> Result<serde_json::Value, String> {
    /// The longest answer that is read.
    const LONGEST: u64 = 4 << 20;
    /// It is asked of nodes that are at work, on machines that may be too.
    const PATIENCE: Duration = Duration::from_secs(5);
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = match timeout(PATIENCE, exchange).await {
        Ok(answer) => answer.map_err(|e| format!("http://{address}{path} does not answer: {e}"))?,
        Err(_) => {
            return Err(format!(
                "http://{address}{path} took longer than {} s",
                PATIENCE.as_secs()
            ));
        }
    };
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(answer.len(), |at| at + 4);
    serde_json::from_slice(&answer[end..]).map_err(|e| {
        format!(
            "http://{address}{path} says {}, which is no JSON: {e}",
            first_line(&answer)
        )
    })
}

/// `GET path` on `address`: fine when the answer is 200. The error says what came instead.
pub async fn http_ok(address: SocketAddr, path: &str) -> Result<(), String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = asked(address, &request).await;
    let answer = answer.map_err(|why| format!("http://{address}{path} {why}"))?;
    if answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200") {
        return Ok(());
    }
    Err(format!(
        "http://{address}{path} says {}",
        first_line(&answer)
    ))
}

/// The beginning of the answer to `request`.
async fn asked(address: SocketAddr, request: &str) -> Result<Vec<u8>, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![0; 256];
        let read = stream.read(&mut answer).await?;
        answer.truncate(read);
        std::io::Result::Ok(answer)
    };
    match timeout(ONE_QUESTION, exchange).await {
        Ok(answer) => answer.map_err(|e| format!("does not answer: {e}")),
        Err(_) => Err(format!("took longer than {} s", ONE_QUESTION.as_secs())),
    }
}

fn first_line(answer: &[u8]) -> String {
    let line = answer.split(|b| *b == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Now, until};

    #[tokio::test]
    async fn a_condition_is_asked_until_it_holds_or_never_will_or_time_is_up() {
        let every = Duration::from_millis(1);
        let mut asked = 0;
        let third = until(every, Duration::from_secs(1), async || {
            asked += 1;
            if asked == 3 {
                Now::Yes
            } else {
                Now::NotYet("not the third".into())
            }
        });
        assert_eq!(third.await, Ok(()));
        let dead = until(every, Duration::from_secs(1), async || {
            Now::Never("dead".into())
        });
        assert_eq!(dead.await, Err("dead".into()));
        let late = until(every, Duration::from_millis(100), async || {
            Now::NotYet("closed".into())
        });
        assert_eq!(late.await, Err("closed (waited 0.1 s)".into()));
    }
}
