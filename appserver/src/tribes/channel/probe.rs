//! Tomcat's `TcpFailureDetector`: whether a member can be connected to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::shared::{Notice, Shared};
use crate::tribes::frame;
use crate::tribes::member::Member;
use crate::tribes::options::SendOptions;

/// The least time that writing the probe may take.
const WRITE_TIME: Duration = Duration::from_secs(1);

/// Probes it beside everything else, and tells the membership's task.
pub(super) fn start(shared: &Arc<Shared>, member: Member) {
    let shared = Arc::clone(shared);
    let task = Arc::clone(&shared);
    shared.tasks.spawn(async move {
        let reached = tokio::select! {
            reached = probe(&task, member.address()) => reached,
            () = task.stop.cancelled() => return,
        };
        if let Err(error) = &reached {
            tracing::debug!(member = %member.address(), %error, "a probe failed");
        }
        // Nothing else tells how it ended, so this waits for room.
        let notice = Notice::Probed(member.id, reached.is_ok());
        let _ = task.notices.send(notice).await;
    });
}

async fn probe(shared: &Shared, address: SocketAddr) -> io::Result<()> {
    let limits = &shared.limits;
    let mut stream = timeout(limits.connect_timeout, TcpStream::connect(address)).await??;
    if !limits.send_test && limits.read_test.is_none() {
        return Ok(());
    }
    let options = match limits.read_test {
        Some(_) => SendOptions::USE_ACK,
        None => SendOptions::default(),
    };
    let frame = shared.probe(options, false);
    let write_time = limits.connect_timeout.max(WRITE_TIME);
    timeout(write_time, stream.write_all(&frame)).await??;
    if let Some(limit) = limits.read_test {
        let mut answer = [0; frame::ACK.len()];
        timeout(limit, stream.read_exact(&mut answer)).await??;
        if answer != frame::ACK {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no answer of a member",
            ));
        }
    }
    stream.shutdown().await
}
