//! One cluster of the real Tomcat and this, where Debian's package and a Java are installed: browsers go back and forth between them.

mod support;
#[path = "support/tomcat.rs"]
mod tomcat;

use std::net::TcpListener;
use std::process::Command;

use appserver::tribes::settings::ReceiverAddress;
use appserver::{Clock, Config, Mode};
use support::{Browser, Node};
use tomcat::{Place, Tomcat};

/// A Tomcat on the loopback interface. `None`, with a message: there is none on this machine.
fn beside(group: u16) -> Option<Tomcat> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let place = Place {
        http: free.expect("a free port"),
        group,
        heartbeat: 200,
        drop_time: 1500,
        manager: "DeltaManager",
        route: "",
        interceptor: "",
    };
    Tomcat::start(&place, Command::spawn)
}

fn ours(group: u16) -> Node {
    Node::at(Clock::system(), |config: &mut Config| {
        config.mode = Mode::Cluster;
        config.contexts = vec!["/jsp".into()];
        let cluster = &mut config.cluster;
        cluster.membership.bind = "127.0.0.1".into();
        cluster.membership.port = group;
        cluster.membership.frequency = 200;
        cluster.membership.drop_time = 1500;
        cluster.receiver.address = ReceiverAddress::Address([127, 0, 0, 1].into());
        cluster.receiver.port = 0;
    })
}

fn members(node: &Node) -> usize {
    let status = node.status();
    let all = &status["contexts"][0]["sessions"]["cluster"]["members"];
    all.as_array().map_or(0, Vec::len)
}

/// The same browser at our node.
fn at(browser: &mut Browser, node: &Node, path: &str) -> serde_json::Value {
    browser.address = node.address;
    let reply = browser.get(&format!("/jsp/api/{path}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn browsers_go_back_and_forth() {
    let group = 57_000 + (std::process::id() % 1000) as u16;
    let node = ours(group);
    let mut early = node.browser();
    at(&mut early, &node, "set?name=early&value=bird");
    let Some(tomcat) = beside(group) else {
        return;
    };
    tomcat.until("members", || members(&node) == 1);
    assert_eq!(
        node.status()["contexts"][0]["sessions"]["cluster"]["rules"],
        "tomcat"
    );
    // The state transfer.
    assert_eq!(tomcat.page(&mut early, "do=get&name=early"), "String bird");

    // Made here, then changed there, and the other way round.
    let mut browser = node.browser();
    at(&mut browser, &node, "set?name=word&value=here");
    assert_eq!(at(&mut browser, &node, "count")["value"], 1);
    assert_eq!(tomcat.page(&mut browser, "do=get&name=word"), "String here");
    assert_eq!(tomcat.page(&mut browser, "do=get&name=count"), "Long 1");
    tomcat.page(&mut browser, "do=set&name=word&value=there");
    tomcat.page(&mut browser, "do=int&name=number&value=42");
    tomcat.page(&mut browser, "do=date&name=date&value=0");
    assert_eq!(at(&mut browser, &node, "get?name=word")["value"], "there");
    assert_eq!(at(&mut browser, &node, "get?name=number")["value"], 42);
    tomcat.page(&mut browser, "do=remove&name=word");
    assert!(at(&mut browser, &node, "get?name=word")["value"].is_null());
    for step in 2..=20 {
        assert_eq!(at(&mut browser, &node, "count")["value"], step);
        assert_eq!(
            tomcat.page(&mut browser, "do=get&name=count"),
            format!("Long {step}")
        );
    }

    let mut other = node.browser();
    assert_eq!(tomcat.page(&mut other, "do=set&name=k&value=v"), "String v");
    assert_eq!(at(&mut other, &node, "get?name=k")["value"], "v");

    // New ids on either side.
    let mut planted = browser.clone();
    at(&mut browser, &node, "login?user=somebody");
    assert_ne!(browser.cookie, planted.cookie);
    assert_eq!(
        tomcat.page(&mut browser, "do=get&name=user"),
        "String somebody"
    );
    assert_eq!(tomcat.page(&mut planted, "do=get&name=user"), "no session");
    tomcat.page(&mut browser, "do=login");
    assert_eq!(
        at(&mut browser, &node, "get?name=user")["value"],
        "somebody"
    );

    // A second one of ours starts late, and Tomcat dies: what it served last is here.
    let second = ours(group);
    assert_eq!(at(&mut browser, &second, "get?name=number")["value"], 42);
    tomcat.page(&mut browser, "do=set&name=last&value=word");
    drop(tomcat);
    for node in [&node, &second] {
        assert_eq!(at(&mut browser, node, "get?name=last")["value"], "word");
    }

    // A new Tomcat gets all of it from us, with what only Java understands.
    let tomcat = beside(group).expect("it started before");
    assert_eq!(tomcat.page(&mut browser, "do=get&name=last"), "String word");
    assert!(
        tomcat
            .page(&mut browser, "do=get&name=date")
            .starts_with("Date ")
    );
    at(&mut browser, &second, "logout");
    assert_eq!(tomcat.page(&mut browser, "do=get&name=last"), "no session");
    tomcat.page(&mut other, "do=logout");
    for node in [&node, &second] {
        assert!(at(&mut other, node, "get?name=k")["value"].is_null());
    }
}
