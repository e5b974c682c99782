//! `memcachedNodes`, and which of the nodes a session and its copy go to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::session::id::LABEL_MAX;

/// At most so many nodes.
pub const NODES_MAX: usize = 64;

/// One memcached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What session ids call it, such as `n1`.
    pub id: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The nodes in the order of the setting, which is the order of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes(Vec<Node>);

/// Why a node list cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodesError {
    /// No nodes.
    #[error("memcachedNodes names no node; write n1:host:11211,n2:host:11211")]
    Empty,
    /// An element that is no node.
    #[error(
        "memcachedNodes: `{0}` is no node; write ID:HOST:PORT, where ID has up to {LABEL_MAX} letters, digits or `_`, and \
         separate nodes by one comma or by spaces"
    )]
    Node(String),
    /// A store that msm can use and that does not exist here.
    #[error("memcachedNodes: `{0}` is no memcached; only nodes such as n1:host:11211 can be used")]
    Scheme(String),
    /// Two nodes with one id.
    #[error("memcachedNodes: two nodes are called `{0}`; give each its own id")]
    Twice(String),
    /// Too many.
    #[error("memcachedNodes names {0} nodes; at most {NODES_MAX} can be used")]
    TooMany(usize),
}

impl Nodes {
    /// The nodes in ring order.
    pub fn all(&self) -> &[Node] {
        &self.0
    }

    /// The place of the node that ids call so.
    pub fn find(&self, id: &str) -> Option<usize> {
        self.0.iter().position(|node| node.id == id)
    }

    /// The other nodes in the order of the ring: the copy of a session on `node` goes to the first of them that is up.
    pub fn after(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.0.len();
        (1..count).map(move |step| (node + step) % count)
    }
}

impl FromStr for Nodes {
    type Err = NodesError;

    fn from_str(text: &str) -> Result<Self, NodesError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NodesError::Empty);
        }
        let mut nodes: Vec<Node> = Vec::new();
        // msm takes a comma or spaces, and not a comma followed by a space.
        for part in text.split_whitespace().flat_map(|part| part.split(',')) {
            let node: Node = part.parse()?;
            if nodes.iter().any(|other| other.id == node.id) {
                return Err(NodesError::Twice(node.id));
            }
            nodes.push(node);
        }
        if nodes.len() > NODES_MAX {
            return Err(NodesError::TooMany(nodes.len()));
        }
        Ok(Self(nodes))
    }
}

impl FromStr for Node {
    type Err = NodesError;

    fn from_str(text: &str) -> Result<Self, NodesError> {
        if text.contains("://") {
            return Err(NodesError::Scheme(text.to_owned()));
        }
        let wrong = || NodesError::Node(text.to_owned());
        let (id, address) = text.split_once(':').ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']').ok_or_else(wrong)?,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        let id_is_good = (1..=LABEL_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let host_is_good = !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic());
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if !id_is_good || !host_is_good || port == 0 {
            return Err(wrong());
        }
        Ok(Self {
            id: id.to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Node { id, host, port }) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            if host.contains(':') {
                write!(f, "{id}:[{host}]:{port}")?;
            } else {
                write!(f, "{id}:{host}:{port}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Nodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Nodes, NodesError};

    #[test]
    fn lists_are_read_as_msm_reads_them() {
        let article = "n1:192.168.23.180:11211,n2:192.168.23.181:11211";
        for (text, written) in [
            (article, article),
            ("n1:192.168.23.180:11211 n2:192.168.23.181:11211", article),
            (" n1:a:1\n  n2:b:2 ", "n1:a:1,n2:b:2"),
            ("n_1:[::1]:11211", "n_1:[::1]:11211"),
        ] {
            let nodes: Nodes = text.parse().expect(text);
            assert_eq!(nodes.to_string(), written);
            assert_eq!(written.parse(), Ok(nodes));
        }
        let nodes: Nodes = article.parse().expect("valid");
        assert_eq!(nodes.find("n2"), Some(1));
        assert_eq!(nodes.find("n3"), None);
        assert_eq!(nodes.all()[1].host, "192.168.23.181");
    }

    #[test]
    fn what_is_no_list_is_refused_by_name() {
        for text in [
            "localhost:11211",
            "n1:a:1, n2:b:2",
            "n1:a:1,,n2:b:2",
            "n-1:a:1",
            "n1:a:0",
            "n1:a:65536",
            "n1:a:x",
            "n1::1",
            "n1:::1:11211",
            ":a:1",
            "n1:[::1:11211",
        ] {
            let refused = text.parse::<Nodes>();
            assert!(
                matches!(refused, Err(NodesError::Node(_))),
                "{text}: {refused:?}"
            );
        }
        assert_eq!(" ".parse::<Nodes>(), Err(NodesError::Empty));
        assert_eq!(
            "n1:a:1,n1:b:1".parse::<Nodes>(),
            Err(NodesError::Twice("n1".into()))
        );
        assert!(matches!(
            "redis://a".parse::<Nodes>(),
            Err(NodesError::Scheme(_))
        ));
        let many: Vec<_> = (0..65).map(|i| format!("n{i}:a:1")).collect();
        assert_eq!(
            many.join(",").parse::<Nodes>(),
            Err(NodesError::TooMany(65))
        );
    }

    #[test]
    fn the_ring_has_the_order_of_the_setting() {
        let nodes: Nodes = "n1:a:1,n2:b:1,n3:c:1".parse().expect("valid");
        let after = |node| nodes.after(node).collect::<Vec<_>>();
        assert_eq!([0, 1, 2].map(after), [[1, 2], [2, 0], [0, 1]]);
        let one: Nodes = "n1:a:1".parse().expect("valid");
        assert_eq!(one.after(0).count(), 0);
    }
}
