//! Passes heartbeats from each member's group on to the others', with the port of the tap that leads to the member in place of its own.
//!
//! ```text
//!   TomcatA ──► group:P ──► relay ──► group:P+1 ──► TomcatB       "TomcatA is at the tap from B to A"
//! ```
//!
//! So everything between two members goes through hands that can let go of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::heartbeat;
use crate::topology::Topology;

/// The longest datagram that is passed on.
const DATAGRAM_MAX: usize = 2048;

/// Links, as (who hears, who is heard), that nothing passes.
type Cut = Arc<Mutex<BTreeSet<(String, String)>>>;

/// Where the others say a member is.
fn port_for(topology: &Topology, hearer: &str, tap: SocketAddr) -> u16 {
    let own = topology.node(hearer).map(|node| node.place.receiver.port());
    match topology.cluster.astray {
        // Both have announced 127.0.0.1 and one port, each on a machine of its own.
        true => own.unwrap_or(tap.port()),
        false => tap.port(),
    }
}

/// A socket that hears a group on this machine.
pub fn listen(group: SocketAddr) -> io::Result<UdpSocket> {
    let IpAddr::V4(address) = group.ip() else {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the group is no IPv4 address",
        ));
    };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // The members themselves listen there too.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(group.ip(), group.port()).into())?;
    socket.join_multicast_v4(&address, &Ipv4Addr::LOCALHOST)?;
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// Who passes heartbeats on; dropping it ends that.
#[derive(Debug)]
pub struct Relay {
    cut: Cut,
    _hearing: JoinSet<()>,
}

/// A member as another one is to know it.
#[derive(Debug)]
struct Hearer {
    name: String,
    group: SocketAddr,
    /// The port that it is told.
    port: u16,
}

impl Relay {
    /// Begins, for the members and taps of this topology.
    pub fn start(topology: &Topology) -> io::Result<Self> {
        let cut = Cut::default();
        let mut hearing = JoinSet::new();
        let groups: BTreeMap<&str, SocketAddr> = topology
            .appservers()
            .map(|node| (node.name.as_str(), topology.group_of(node)))
            .collect();
        for node in topology.appservers() {
            let hearers = topology
                .links
                .iter()
                .filter(|((_, to), _)| *to == node.name)
                .filter_map(|((from, _), tap)| {
                    Some(Hearer {
                        name: from.clone(),
                        group: *groups.get(from.as_str())?,
                        port: port_for(topology, from, *tap),
                    })
                });
            let socket = listen(topology.group_of(node))?;
            hearing.spawn(pass(
                socket,
                node.name.clone(),
                node.place.receiver.port(),
                hearers.collect(),
                Arc::clone(&cut),
            ));
        }
        Ok(Self {
            cut,
            _hearing: hearing,
        })
    }

    /// Whether heartbeats pass to `hearer` from `heard`.
    pub fn pass(&self, (hearer, heard): (&str, &str), passes: bool) {
        let link = (hearer.to_owned(), heard.to_owned());
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if passes {
            cut.remove(&link);
        } else {
            cut.insert(link);
        }
    }
}

/// Passes the heartbeats of the member with this port on to all that may hear it.
async fn pass(socket: UdpSocket, member: String, port: u16, hearers: Vec<Hearer>, cut: Cut) {
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        let Ok(read) = socket.recv(&mut datagram).await else {
            return;
        };
        let datagram = &datagram[..read];
        // What was passed on here has the port of a tap.
        if heartbeat::read(datagram).is_none_or(|heartbeat| heartbeat.receiver.port() != port) {
            continue;
        }
        for hearer in &hearers {
            let link = (hearer.name.clone(), member.clone());
            if cut
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&link)
            {
                continue;
            }
            // A heartbeat that is lost is followed by another.
            let _ = socket
                .send_to(&heartbeat::with_port(datagram, hearer.port), hearer.group)
                .await;
        }
    }
}
