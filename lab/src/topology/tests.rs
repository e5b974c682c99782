//! What nodes are told, and that their programs accept it.

use super::{Apps, Kind, Place, Topology};
use crate::mode::Mode;
use crate::store::Store;

#[test]
fn the_real_memcached_has_its_place_on_its_command_line() {
    let topology =
        Topology::on_free_ports(Mode::RoundRobin, Some(Store::Memcached), Apps::default());
    let topology = topology.expect("free ports");
    let n2 = topology.node("n2").expect("asked for");
    assert_eq!(topology.file(n2), None);
    let place = Place::loopback(11222, 0, 0);
    let (program, arguments) = n2.kind.command("lab".as_ref(), "n2.toml".as_ref(), place);
    assert_eq!(program.as_os_str(), "memcached");
    let arguments = arguments.join(" ".as_ref());
    let arguments = arguments.to_string_lossy();
    assert!(
        arguments.starts_with("-l 127.0.0.1 -p 11222 "),
        "{arguments}"
    );
}

/// Each file is what its program accepts; a setting that is renamed there is found here.
#[test]
fn every_node_accepts_its_file() {
    for mode in Mode::ALL.into_iter().filter(|mode| mode.is_built()) {
        let stores = Some(Store::Sessiond);
        let mut topology =
            Topology::on_free_ports(mode, stores, Apps::default()).expect("free ports");
        let third = topology.add_appserver(Kind::Appserver);
        assert_eq!(third.expect("a free port"), "TomcatC");
        for node in &topology.nodes {
            let file = topology.file(node).expect("ours have files");
            let accepted = match node.kind {
                Kind::Proxy => toml::from_str::<proxy::config::Config>(&file).map(drop),
                Kind::Appserver => toml::from_str::<appserver::config::Config>(&file).map(drop),
                Kind::Sessiond => toml::from_str::<sessiond::config::Config>(&file).map(drop),
                Kind::Memcached | Kind::Tomcat => panic!("nobody asked for it"),
            };
            assert_eq!(accepted, Ok(()), "{mode} {}:\n{file}", node.name);
        }
    }
}

#[test]
fn the_servers_of_a_mode_with_stores_know_them() {
    for mode in [Mode::Msm, Mode::MsmSticky] {
        let topology = Topology::on_free_ports(mode, None, Apps::default()).expect("free ports");
        let server = topology.node("TomcatB").expect("there");
        let file = topology.file(server).expect("it has a file");
        let config: appserver::Config = toml::from_str(&file).expect("a configuration");
        config.check().expect("valid");
        let nodes = config.msm.memcached_nodes;
        let n2 = topology.node("n2").expect("the mode needs it");
        let port = nodes.all()[nodes.find("n2").expect("told")].port;
        assert_eq!(port, n2.place.listen.port());
    }
}

#[test]
fn a_new_server_stands_before_the_proxy_with_its_own_route() {
    let mut topology =
        Topology::on_free_ports(Mode::IpHash, None, Apps::default()).expect("free ports");
    let third = topology.add_appserver(Kind::Appserver);
    third.expect("a free port");
    let names: Vec<&str> = topology
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(names, ["TomcatA", "TomcatB", "TomcatC", "proxy"]);
    let third = topology.file(topology.node("TomcatC").expect("added"));
    let third = third.expect("it has a file");
    assert!(third.contains("jvm_route = \"WEB3\""), "{third}");
    let front = topology.file(topology.proxy().expect("there"));
    let front = front.expect("it has a file");
    assert!(front.contains("id=TomcatC route=WEB3"), "{front}");
}
