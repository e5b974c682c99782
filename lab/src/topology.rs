//! Which nodes a stage has, where they listen, and the TOML file of each.
//!
//! A node's [`Kind`] decides its program and the words of its file; to put another box in a node's place (a real
//! memcached, a real Tomcat) is to add a kind.

mod settings;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::app::Apps;
use crate::mode::Mode;
use crate::store::Store;
use crate::tomcat;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The proxy in front.
    Proxy,
    /// An application server.
    Appserver,
    /// A store node.
    Sessiond,
    /// A store node that is the real memcached.
    Memcached,
    /// An application server that is the real Tomcat.
    Tomcat,
}

/// The real memcached's name, to be found by the system.
const MEMCACHED: &str = "memcached";

/// Memory of a real memcached, in MB; what sessiond has too.
const MEMCACHED_MEGABYTES: &str = "64";

impl Kind {
    /// Whether it is an application server.
    pub fn is_appserver(self) -> bool {
        matches!(self, Self::Appserver | Self::Tomcat)
    }

    /// The program and its arguments for a node that listens at `place` and whose settings are in `file`, which for a Tomcat is
    /// its folder. The lab carries all of its own programs.
    pub fn command(self, lab: &Path, file: &Path, place: Place) -> (PathBuf, Vec<OsString>) {
        let name = match self {
            Self::Proxy => "proxy",
            Self::Appserver => "appserver",
            Self::Sessiond => "sessiond",
            Self::Memcached => return (MEMCACHED.into(), memcached_arguments(place)),
            Self::Tomcat => return tomcat::command(file),
        };
        let arguments = vec![name.into(), "--config".into(), file.into()];
        (lab.to_owned(), arguments)
    }
}

/// It has no settings file: everything is on its command line.
fn memcached_arguments(place: Place) -> Vec<OsString> {
    let (address, port) = (
        place.listen.ip().to_string(),
        place.listen.port().to_string(),
    );
    let mut arguments: Vec<OsString> = ["-l", &address, "-p", &port, "-U", "0"]
        .map(Into::into)
        .into();
    arguments.extend(["-m", MEMCACHED_MEGABYTES].map(OsString::from));
    // As root it wants to be told a user. Another one than ours would undo the leash: the kernel forgets its wish to
    // be killed with the lab when a process becomes somebody else.
    if rustix::process::geteuid().is_root() {
        arguments.extend(["-u", "root"].map(OsString::from));
    }
    arguments
}

/// Where a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its own traffic.
    pub listen: SocketAddr,
    /// `/readyz`, `/status`, `/metrics`; a memcached and a Tomcat have none of it.
    pub admin: SocketAddr,
    /// Messages of the other members of a cluster; only application servers have it.
    pub receiver: SocketAddr,
}

impl Place {
    /// Ports on 127.0.0.1.
    pub const fn loopback(listen: u16, admin: u16, receiver: u16) -> Self {
        const fn at(port: u16) -> SocketAddr {
            SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
        }
        Self {
            listen: at(listen),
            admin: at(admin),
            receiver: at(receiver),
        }
    }
}

/// One node of the stage.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// `proxy`, `TomcatA`, `n1`, …
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it answers.
    pub place: Place,
}

impl Node {
    fn new(name: impl Into<String>, kind: Kind, place: Place) -> Self {
        Self {
            name: name.into(),
            kind,
            place,
        }
    }
}

/// How members of a cluster find each other and what they say.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Where heartbeats go.
    pub group: SocketAddr,
    /// The secret that members share, as 32 hexadecimal digits; `None`: they talk in the clear.
    pub key: Option<String>,
    /// `channelSendOptions`: what a response waits for.
    pub send_options: u8,
    /// Whether each member is told that the others are where it is itself, as when all announce 127.0.0.1 and one port, each on a
    /// machine of its own; only with taps.
    pub astray: bool,
    /// Further attributes, by the table that they stand in (`cluster.manager`), each with its value as TOML has it.
    pub more: Vec<(&'static str, &'static str, String)>,
}

/// The article's group of heartbeats.
const GROUP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(228, 0, 0, 4)), 45564);

/// `channelSendOptions` of a stage: the response waits until the others have applied the change.
const APPLIED: u8 = 6;

impl Cluster {
    /// `stateTransferTimeout`: how long a member waits at its start for the others' sessions.
    pub fn wait_for_sessions(&mut self, seconds: u8) {
        let wait = (
            "cluster.manager",
            "stateTransferTimeout",
            seconds.to_string(),
        );
        self.more.push(wait);
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            group: GROUP,
            key: Some(new_key()),
            send_options: APPLIED,
            astray: false,
            more: Vec::new(),
        }
    }
}

/// The nodes of a stage, in the order in which data flows back: stores, application servers, proxy.
#[derive(Debug, Clone, Serialize)]
pub struct Topology {
    /// How sessions are kept.
    pub mode: Mode,
    /// Log level or filter of every node.
    pub log: String,
    /// Whether the proxy writes a line for each request into its log.
    pub access_log: bool,
    /// What the proxy signs its sticky cookie with.
    #[serde(skip)]
    pub sticky_key: String,
    /// Attributes of `[msm]`, each with its value as TOML has it, beside the nodes' addresses.
    #[serde(skip)]
    pub msm: BTreeMap<&'static str, String>,
    /// How members of a cluster talk; only the modes that replicate use it.
    #[serde(skip)]
    pub cluster: Cluster,
    /// Whether each link from an application server to a store node, or to another member of its cluster, goes through a tap.
    pub tapped: bool,
    /// Where the tap of a link listens: (server, store node) or (server, server).
    #[serde(skip)]
    pub links: BTreeMap<(String, String), SocketAddr>,
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// The article's two application servers, and room for more: TomcatA is WEB1, TomcatB is WEB2, TomcatC is WEB3.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl Topology {
    /// The article's stage: one proxy, two application servers, two store nodes; places in this order:
    /// proxy, TomcatA, TomcatB, n1, n2.
    pub fn article(mode: Mode, store: Store, apps: Apps, places: [Place; 5]) -> Self {
        let [proxy, a, b, n1, n2] = places;
        Self {
            cluster: Cluster::default(),
            mode,
            log: "info".to_owned(),
            access_log: true,
            sticky_key: new_key(),
            msm: patient_msm(),
            tapped: false,
            links: BTreeMap::new(),
            nodes: vec![
                Node::new("n1", store.kind(), n1),
                Node::new("n2", store.kind(), n2),
                Node::new("TomcatA", apps.a.kind(), a),
                Node::new("TomcatB", apps.b.kind(), b),
                Node::new("proxy", Kind::Proxy, proxy),
            ],
        }
    }

    /// The part of the article's stage that these modes use, on free ports. Store nodes are left out where nothing
    /// would ever talk to them, so that a scenario starts quickly; they are there when the mode needs them or somebody asks
    /// for a `store`.
    pub fn on_free_ports(mode: Mode, store: Option<Store>, apps: Apps) -> io::Result<Self> {
        let places = free_places(5)?;
        let mut nodes = Vec::new();
        let store = store.or(mode.stores().then(Store::default));
        if let Some(store) = store {
            nodes.push(Node::new("n1", store.kind(), places[3]));
            nodes.push(Node::new("n2", store.kind(), places[4]));
        }
        nodes.push(Node::new("TomcatA", apps.a.kind(), places[0]));
        nodes.push(Node::new("TomcatB", apps.b.kind(), places[1]));
        nodes.push(Node::new("proxy", Kind::Proxy, places[2]));
        // A group of its own, or the members of two stages on one machine would be one cluster.
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let cluster = Cluster {
            group: SocketAddr::new(GROUP.ip(), port),
            ..Cluster::default()
        };
        Ok(Self {
            cluster,
            mode,
            log: "info".to_owned(),
            access_log: false,
            sticky_key: new_key(),
            msm: patient_msm(),
            tapped: false,
            links: BTreeMap::new(),
            nodes,
        })
    }

    /// One more application server on free ports; says its name. The proxy learns of it when it reads its file again.
    pub fn add_appserver(&mut self, kind: Kind) -> io::Result<String> {
        let count = self.appservers().count();
        let letter = LETTERS.chars().nth(count);
        let name = letter.map_or(format!("Tomcat{count}"), |letter| format!("Tomcat{letter}"));
        let node = Node::new(name.clone(), kind, free_places(1)?[0]);
        let behind_the_last = self
            .nodes
            .iter()
            .rposition(|n| n.kind.is_appserver())
            .map_or(0, |at| at + 1);
        self.nodes.insert(behind_the_last, node);
        Ok(name)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The application servers, A first.
    pub fn appservers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| n.kind.is_appserver())
    }

    /// The proxy in front.
    pub fn proxy(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.kind == Kind::Proxy)
    }

    /// The store nodes, n1 first.
    pub fn stores(&self) -> impl Iterator<Item = &Node> {
        let is_store = |node: &&Node| matches!(node.kind, Kind::Sessiond | Kind::Memcached);
        self.nodes.iter().filter(is_store)
    }

    /// Where a member's heartbeats go: with taps each has a group of its own, and whoever holds the taps tells the others.
    pub fn group_of(&self, node: &Node) -> SocketAddr {
        let number = self
            .appservers()
            .position(|n| n.name == node.name)
            .unwrap_or_default();
        let group = self.cluster.group;
        match self.tapped {
            true => SocketAddr::new(
                group.ip(),
                group
                    .port()
                    .wrapping_add(u16::try_from(number).unwrap_or_default())
                    .max(1024),
            ),
            false => group,
        }
    }
}

/// A busy machine is not a dead node; the 0.1 seconds of msm's default are soon over on one that compiles, say.
fn patient_msm() -> BTreeMap<&'static str, String> {
    BTreeMap::from([("sessionBackupTimeout", "1000".to_owned())])
}

/// A key for this stage, 32 hexadecimal digits. It binds browsers of a lab and guards nothing.
fn new_key() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// So many places on 127.0.0.1 that nobody listens on. Another process may take one before the node does; whoever
/// starts nodes on them must be ready to choose anew.
fn free_places(count: usize) -> io::Result<Vec<Place>> {
    // All are held until the last is found, or the same port would be found twice.
    let held: Vec<TcpListener> = (0..3 * count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    let ports: Vec<SocketAddr> = held
        .iter()
        .map(TcpListener::local_addr)
        .collect::<io::Result<_>>()?;
    let places = ports.chunks_exact(3).map(|three| Place {
        listen: three[0],
        admin: three[1],
        receiver: three[2],
    });
    Ok(places.collect())
}

#[cfg(test)]
mod tests;
