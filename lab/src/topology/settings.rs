//! What each node is told: its TOML file, or the element of a Tomcat's `server.xml`.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{Kind, Node, Place, Topology};
use crate::mode::Mode;
use crate::tomcat::{Manager, Tables, Tomcat};

impl Topology {
    /// The store nodes as this application server is told of them: `n1:127.0.0.1:11211,n2:127.0.0.1:11212`.
    fn stores_for(&self, server: &Node) -> String {
        let named = self.stores().map(|node| {
            let link = (server.name.clone(), node.name.clone());
            let address = self.links.get(&link).unwrap_or(&node.place.listen);
            format!("{}:{address}", node.name)
        });
        named.collect::<Vec<_>>().join(",")
    }

    /// The settings file of a node; `None` for one that has everything on its command line.
    pub fn file(&self, node: &Node) -> Option<String> {
        let Place { listen, admin, .. } = node.place;
        let mut file = format!(
            "# {} as the lab started it.\nadmin = \"{admin}\"\nlog = \"{}\"\n",
            node.name, self.log
        );
        // The proxy can listen on many addresses.
        let _ = match node.kind {
            Kind::Proxy => writeln!(file, "listen = [\"{listen}\"]"),
            Kind::Appserver | Kind::Sessiond => writeln!(file, "listen = \"{listen}\""),
            Kind::Memcached | Kind::Tomcat => return None,
        };
        match node.kind {
            Kind::Proxy => self.proxy_settings(&mut file),
            Kind::Appserver => self.appserver_settings(node, &mut file),
            Kind::Sessiond => {
                let _ = writeln!(file, "node_id = \"{}\"", node.name);
            }
            Kind::Memcached | Kind::Tomcat => return None,
        }
        Some(file)
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
        // What browsers ask for by themselves takes no turn: A and B alternate from the first page on.
        let _ = writeln!(file, "no_favicon = true");
        // A server that was down is tried again soon, or everybody would wait for nginx's 10 seconds.
        let _ = writeln!(file, "fail_timeout = \"1s\"");
        // The key outlives the proxy's process, and with it what binds browsers to servers.
        let _ = write!(file, "[sticky]\nkey = \"{}\"\n", self.sticky_key);
    }

    fn route(&self, node: &Node) -> String {
        let number = self.appservers().position(|n| n.name == node.name);
        format!("WEB{}", number.unwrap_or_default() + 1)
    }

    /// What a node that is the real Tomcat is made of; `None` for others.
    pub fn tomcat(&self, node: &Node) -> Option<Tomcat> {
        let manager = match self.mode {
            Mode::Cluster => Manager::Delta,
            Mode::Backup => Manager::Backup,
            _ => Manager::Standard,
        };
        (node.kind == Kind::Tomcat).then(|| Tomcat {
            name: node.name.clone(),
            jvm_route: self.route(node),
            listen: node.place.listen,
            manager,
            cluster: self.cluster_of(node),
        })
    }

    /// `[cluster]` and its tables for this server, under Tomcat's names.
    fn cluster_of(&self, node: &Node) -> Tables {
        let (group, receiver) = (self.group_of(node), node.place.receiver);
        let quoted = |text: &dyn std::fmt::Display| format!("\"{text}\"");
        let mut tables = Tables::new();
        let mut set = |table, attribute, value: String| {
            tables.entry(table).or_default().insert(attribute, value);
        };
        let options = self.cluster.send_options;
        set("cluster", "channelSendOptions", options.to_string());
        if let Some(key) = &self.cluster.key {
            set("cluster", "encryptionKey", quoted(key));
        }
        set("cluster.membership", "address", quoted(&group.ip()));
        set("cluster.membership", "port", group.port().to_string());
        set("cluster.membership", "bind", quoted(&Ipv4Addr::LOCALHOST));
        set("cluster.receiver", "address", quoted(&receiver.ip()));
        set("cluster.receiver", "port", receiver.port().to_string());
        set("cluster.receiver", "autoBind", "1".to_owned());
        for (table, attribute, value) in &self.cluster.more {
            set(table, attribute, value.clone());
        }
        tables
    }

    fn appserver_settings(&self, node: &Node, file: &mut String) {
        let _ = write!(
            file,
            "node_id = \"{}\"\njvm_route = \"{}\"\nmode = \"{}\"\n",
            node.name,
            self.route(node),
            self.mode
        );
        if self.mode.replicates() {
            for (table, attributes) in self.cluster_of(node) {
                let _ = writeln!(file, "[{table}]");
                for (attribute, value) in attributes {
                    let _ = writeln!(file, "{attribute} = {value}");
                }
            }
        }
        if self.mode.stores() {
            let _ = writeln!(
                file,
                "[msm]\nmemcachedNodes = \"{}\"",
                self.stores_for(node)
            );
            for (attribute, value) in &self.msm {
                let _ = writeln!(file, "{attribute} = {value}");
            }
        }
    }
}
