//! Which nodes a stage has, where they listen, and the TOML file of each.
//!
//! A node's [`Kind`] decides its program and the words of its file; to put another box in a node's place (a real
//! memcached, a real Tomcat) is to add a kind.

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::mode::Mode;

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
}

impl Kind {
    /// The program and its arguments for a node whose settings are in `file`. The lab carries all of its own programs.
    pub fn command(self, lab: &Path, file: &Path) -> (PathBuf, Vec<OsString>) {
        let name = match self {
            Self::Proxy => "proxy",
            Self::Appserver => "appserver",
            Self::Sessiond => "sessiond",
        };
        let arguments = vec![name.into(), "--config".into(), file.into()];
        (lab.to_owned(), arguments)
    }
}

/// Where a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its own traffic.
    pub listen: SocketAddr,
    /// `/readyz`, `/status`, `/metrics`.
    pub admin: SocketAddr,
}

impl Place {
    /// Two ports on 127.0.0.1.
    pub const fn loopback(listen: u16, admin: u16) -> Self {
        Self {
            listen: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), listen),
            admin: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), admin),
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
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// The article's two application servers, and room for more: TomcatA is WEB1, TomcatB is WEB2, TomcatC is WEB3.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl Topology {
    /// The article's stage: one proxy, two application servers, two store nodes; places in this order:
    /// proxy, TomcatA, TomcatB, n1, n2.
    pub fn article(mode: Mode, places: [Place; 5]) -> Self {
        let [proxy, a, b, n1, n2] = places;
        Self {
            mode,
            log: "info".to_owned(),
            access_log: true,
            sticky_key: new_key(),
            nodes: vec![
                Node::new("n1", Kind::Sessiond, n1),
                Node::new("n2", Kind::Sessiond, n2),
                Node::new("TomcatA", Kind::Appserver, a),
                Node::new("TomcatB", Kind::Appserver, b),
                Node::new("proxy", Kind::Proxy, proxy),
            ],
        }
    }

    /// The part of the article's stage that these modes use, on free ports. Store nodes are left out where nothing
    /// would ever talk to them, so that a scenario starts quickly.
    pub fn on_free_ports(mode: Mode) -> io::Result<Self> {
        let places = free_places(3)?;
        let nodes = vec![
            Node::new("TomcatA", Kind::Appserver, places[0]),
            Node::new("TomcatB", Kind::Appserver, places[1]),
            Node::new("proxy", Kind::Proxy, places[2]),
        ];
        Ok(Self {
            mode,
            log: "info".to_owned(),
            access_log: false,
            sticky_key: new_key(),
            nodes,
        })
    }

    /// One more application server on free ports; says its name. The proxy learns of it when it reads its file again.
    pub fn add_appserver(&mut self) -> io::Result<String> {
        let count = self.appservers().count();
        let letter = LETTERS.chars().nth(count);
        let name = letter.map_or(format!("Tomcat{count}"), |letter| format!("Tomcat{letter}"));
        let node = Node::new(name.clone(), Kind::Appserver, free_places(1)?[0]);
        let behind_the_last = self
            .nodes
            .iter()
            .rposition(|n| n.kind == Kind::Appserver)
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
        self.nodes.iter().filter(|n| n.kind == Kind::Appserver)
    }

    /// The proxy in front.
    pub fn proxy(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.kind == Kind::Proxy)
    }

    /// The settings file of a node.
    pub fn file(&self, node: &Node) -> String {
        let Place { listen, admin } = node.place;
        let mut file = format!(
            "# {} as the lab started it.\nadmin = \"{admin}\"\nlog = \"{}\"\n",
            node.name, self.log
        );
        // The proxy can listen on many addresses.
        let _ = match node.kind {
            Kind::Proxy => writeln!(file, "listen = [\"{listen}\"]"),
            Kind::Appserver | Kind::Sessiond => writeln!(file, "listen = \"{listen}\""),
        };
        match node.kind {
            Kind::Proxy => self.proxy_settings(&mut file),
            Kind::Appserver => self.appserver_settings(node, &mut file),
            Kind::Sessiond => {
                let _ = writeln!(file, "node_id = \"{}\"", node.name);
            }
        }
        file
    }

    fn proxy_settings(&self, file: &mut String) {
        let peers = self.appservers().zip(1..).map(|(node, number)| {
            format!(
                "\"{} id={} route=WEB{number}\"",
                node.place.listen, node.name
            )
        });
        let peers: Vec<String> = peers.collect();
        // One worker, for round robin is kept per worker: with two, two requests in a row may reach the same server,
        // and "A and B alternate" would only be true on average.
        let _ = write!(
            file,
            "mode = \"{}\"\nworker_processes = 1\nupstream = [{}]\n",
            self.mode,
            peers.join(", ")
        );
        let access_log = if self.access_log { "stdout" } else { "off" };
        let _ = writeln!(file, "access_log = \"{access_log}\"");
        // A server that was down is tried again soon, or everybody would wait for nginx's 10 seconds.
        let _ = writeln!(file, "fail_timeout = \"1s\"");
        // The key outlives the proxy's process, and with it what binds browsers to servers.
        let _ = write!(file, "[sticky]\nkey = \"{}\"\n", self.sticky_key);
    }

    fn appserver_settings(&self, node: &Node, file: &mut String) {
        let number = self.appservers().position(|n| n.name == node.name);
        let _ = write!(
            file,
            "node_id = \"{}\"\njvm_route = \"WEB{}\"\nmode = \"{}\"\n",
            node.name,
            number.unwrap_or_default() + 1,
            self.mode
        );
    }
}

/// A key for this stage, 32 hexadecimal digits. It binds browsers of a lab and guards nothing.
fn new_key() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// So many places on 127.0.0.1 that nobody listens on. Another process may take one before the node does; whoever
/// starts nodes on them must be ready to choose anew.
fn free_places(count: usize) -> io::Result<Vec<Place>> {
    // All are held until the last is found, or the same port would be found twice.
    let held: Vec<TcpListener> = (0..2 * count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    let ports: Vec<SocketAddr> = held
        .iter()
        .map(TcpListener::local_addr)
        .collect::<io::Result<_>>()?;
    let places = ports.chunks_exact(2).map(|pair| Place {
        listen: pair[0],
        admin: pair[1],
    });
    Ok(places.collect())
}

#[cfg(test)]
mod tests {
    use super::{Kind, Topology};
    use crate::mode::Mode;

    /// Each file is what its program accepts; a setting that is renamed there is found here.
    #[test]
    fn every_node_accepts_its_file() {
        for mode in Mode::ALL {
            let mut topology = Topology::on_free_ports(mode).expect("free ports");
            assert_eq!(topology.add_appserver().expect("a free port"), "TomcatC");
            for node in &topology.nodes {
                let file = topology.file(node);
                let accepted = match node.kind {
                    Kind::Proxy => toml::from_str::<proxy::config::Config>(&file).map(drop),
                    Kind::Appserver => toml::from_str::<appserver::config::Config>(&file).map(drop),
                    Kind::Sessiond => toml::from_str::<sessiond::config::Config>(&file).map(drop),
                };
                assert_eq!(accepted, Ok(()), "{mode} {}:\n{file}", node.name);
            }
        }
    }

    #[test]
    fn a_new_server_stands_before_the_proxy_with_its_own_route() {
        let mut topology = Topology::on_free_ports(Mode::IpHash).expect("free ports");
        topology.add_appserver().expect("a free port");
        let names: Vec<&str> = topology
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(names, ["TomcatA", "TomcatB", "TomcatC", "proxy"]);
        let third = topology.file(topology.node("TomcatC").expect("added"));
        assert!(third.contains("jvm_route = \"WEB3\""), "{third}");
        let front = topology.file(topology.proxy().expect("there"));
        assert!(front.contains("id=TomcatC route=WEB3"), "{front}");
    }
}
