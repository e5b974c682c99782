//! The `memcache` crate's blocking client over the text protocol, as an application would use it.

mod support;

use memcache::Client;
use sessiond::Config;
use support::{Memcached, Node};

#[test]
fn the_memcache_crate_works_with_sessiond() {
    let node = Node::start(Config::default());
    use_it(&format!(
        "memcache://{}?protocol=ascii&timeout=10",
        node.address
    ));
}

/// So that it is known what is ours when the client changes.
#[test]
fn the_memcache_crate_works_with_memcached() {
    let Some(memcached) = Memcached::start() else {
        return;
    };
    use_it(&format!(
        "memcache://{}?protocol=ascii&timeout=10",
        memcached.address
    ));
}

fn use_it(url: &str) {
    let client = Client::connect(url).expect("it listens");
    client.flush().expect("flushed");
    assert_eq!(client.version().expect("a version").len(), 1);

    let session = vec![7u8; 20_000];
    client
        .set("session", session.as_slice(), 1800)
        .expect("stored");
    assert_eq!(
        client.get::<Vec<u8>>("session").expect("answered"),
        Some(session)
    );
    assert_eq!(client.get::<String>("absent").expect("answered"), None);

    client.add("lock", "a", 10).expect("taken");
    // Over text this client passes over NOT_STORED.
    client.add("lock", "b", 10).expect("answered");
    let lock = client.get::<String>("lock").expect("answered");
    assert_eq!(lock.as_deref(), Some("a"));
    client.replace("lock", "c", 10).expect("replaced");
    client.append("lock", "d").expect("appended");
    client.prepend("lock", "b").expect("prepended");
    let both = client
        .gets::<String>(&["lock", "absent"])
        .expect("answered");
    assert_eq!(both["lock"], "bcd");
    assert_eq!(both.len(), 1);

    let found = client
        .gets::<(Vec<u8>, u32, Option<u64>)>(&["lock"])
        .expect("answered");
    let (_, _, unique) = &found["lock"];
    let unique = unique.expect("gets tells it");
    assert!(client.cas("lock", "x", 10, unique).expect("answered"));
    assert!(!client.cas("lock", "y", 10, unique).expect("answered"));

    client.set("count", 41, 0).expect("stored");
    assert_eq!(client.increment("count", 1).expect("counted"), 42);
    assert_eq!(client.decrement("count", 50).expect("counted"), 0);

    assert!(client.touch("lock", 100).expect("answered"));
    assert!(client.delete("lock").expect("answered"));
    assert!(!client.delete("lock").expect("answered"));
}
