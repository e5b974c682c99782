//! The socket of the multicast group.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::tribes::settings::MembershipSettings;

/// A socket that hears the group and sends to it, as Tomcat's: bound to the group, so that it hears nothing else; several nodes on a
/// machine share the port.
pub(super) fn open(settings: &MembershipSettings) -> io::Result<UdpSocket> {
    let IpAddr::V4(group) = settings.address else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no IPv4 group"));
    };
    let interface = settings
        .interface()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((group, settings.port)).into())?;
    socket.join_multicast_v4(&group, &interface.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
    if let Some(interface) = interface {
        socket.set_multicast_if_v4(&interface)?;
    }
    socket.set_multicast_loop_v4(true)?;
    if let Ok(ttl) = u32::try_from(settings.ttl) {
        socket.set_multicast_ttl_v4(ttl)?;
    }
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}
