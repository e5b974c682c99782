//! The receiver's port, and the address that the others are told.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::ChannelError;
use crate::tribes::settings::membership::host_port;
use crate::tribes::settings::{
    ClusterSettings, MembershipSettings, MembershipType, ReceiverAddress,
};

/// The port that is listened on, and the address that is announced.
#[derive(Debug)]
pub struct Bound {
    /// Non-blocking.
    pub listener: TcpListener,
    /// What the others connect to.
    pub announced: SocketAddr,
}

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;

/// Binds the receiver's port, the first free one of its range, and finds the address to announce. Says in the log which.
pub fn bind(settings: &ClusterSettings) -> Result<Bound, ChannelError> {
    let receiver = &settings.receiver;
    let found = reachable(&settings.membership, receiver.port);
    let reachable = found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let address = match receiver.address {
        ReceiverAddress::Address(address) => address,
        ReceiverAddress::Auto => reachable,
        ReceiverAddress::TomcatAuto => own_name()?,
    };
    let listener = first_free(address, receiver.port, receiver.auto_bind)?;
    let port = listener
        .local_addr()
        .map_err(|source| ChannelError::bind(address, receiver.port, source))?
        .port();
    let host = match address.is_unspecified() {
        true => reachable,
        false => address,
    };
    let announced = SocketAddr::new(host, port);
    if host.is_loopback() && !reachable.is_loopback() {
        tracing::warn!(
            %announced,
            %reachable,
            "the receiver announces a loopback address: a member on another machine that connects there reaches itself and not this \
             node, finds it alive, and nothing is replicated; set receiver.address to an address of this machine, or to auto"
        );
    }
    if found.is_none() && matches!(receiver.address, ReceiverAddress::Auto) {
        tracing::warn!(
            %announced,
            "this machine has no route to the multicast group, the members or elsewhere, so that nothing tells which of its addresses the \
             others reach; a loopback address is announced, which only members on this machine reach: set receiver.address"
        );
    }
    tracing::info!(
        %announced,
        setting = %receiver.address,
        "the receiver listens for members"
    );
    Ok(Bound {
        listener,
        announced,
    })
}

fn first_free(address: IpAddr, port: u16, tries: u16) -> Result<TcpListener, ChannelError> {
    let mut tried = port;
    loop {
        match listen(SocketAddr::new(address, tried)) {
            Ok(listener) => return Ok(listener),
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && tried < u16::MAX
                    && tried - port + 1 < tries =>
            {
                tried += 1;
            }
            Err(source) => return Err(ChannelError::bind(address, tried, source)),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The address of this machine that the others see: the one that the system would send to them from. `None`: it would send nowhere.
fn reachable(membership: &MembershipSettings, port: u16) -> Option<IpAddr> {
    if let Ok(Some(interface)) = membership.interface()
        && !interface.is_unspecified()
    {
        return Some(interface.into());
    }
    let group = SocketAddr::new(membership.address, membership.port);
    let multicast = matches!(
        membership.kind,
        MembershipType::Multicast | MembershipType::Auto
    );
    let members = membership.members.iter().chain([&membership.name]);
    let mut sources: Vec<IpAddr> = members
        .filter_map(|member| host_port(member, port).ok())
        .filter_map(|address| address.to_socket_addrs().ok())
        .flatten()
        .filter_map(source_towards)
        .collect();
    if multicast {
        sources.insert(0, source_towards(group).unwrap_or(NOWHERE));
    } else if !sources.is_empty() && sources.iter().all(IpAddr::is_loopback) {
        // All members are on this machine, and are to be reached there.
        return sources.first().copied();
    }
    // Some address that is not of this machine or network; nothing is sent there.
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 9));
    sources.extend(source_towards(elsewhere));
    let usable = |address: &IpAddr| !address.is_loopback() && !address.is_unspecified();
    sources.into_iter().find(usable)
}

/// No address.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The address that a datagram to there would be sent from.
fn source_towards(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// What this machine's own name resolves to: Tomcat's `auto`.
fn own_name() -> Result<IpAddr, ChannelError> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().into_owned();
    let mut addresses = (name.as_str(), 0).to_socket_addrs().map_err(|source| {
        ChannelError::Membership(format!(
            "receiver.address = tomcat-auto: this machine's name `{name}` does not resolve ({source}); set an address"
        ))
    })?;
    let first = addresses.next().map(|address| address.ip());
    first.ok_or_else(|| {
        ChannelError::Membership(format!(
            "receiver.address = tomcat-auto: this machine's name `{name}` has no address; set one"
        ))
    })
}
