//! Connections to and from members.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::shared::{Limits, Shared};

/// A connection to a member.
pub(super) async fn connect(
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
) -> io::Result<TcpStream> {
    let limit = shared.limits.timeout;
    let stream = timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
    prepare(&stream, &shared.limits)?;
    Ok(stream)
}

/// Messages leave at once, and buffers have their sizes, if they are set.
pub(super) fn prepare(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if limits.rx_buf > 0 {
        socket.set_recv_buffer_size(limits.rx_buf)?;
    }
    if limits.tx_buf > 0 {
        socket.set_send_buffer_size(limits.tx_buf)?;
    }
    Ok(())
}
