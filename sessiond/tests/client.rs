//! The `memcache` crate as an application would use it: its blocking client over the text protocol, its async one over
//! meta commands.

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;

use memcache::Client;
use memcache::exp::{AsyncMemcache, Ttl};
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

#[tokio::test]
async fn the_async_client_works_with_sessiond() {
    let node = Node::start(Config::default());
    use_it_async(node.address).await;
}

#[tokio::test]
async fn the_async_client_works_with_memcached() {
    if let Some(memcached) = Memcached::start() {
        use_it_async(memcached.address).await;
    }
}

async fn use_it_async(address: SocketAddr) {
    let cache = AsyncMemcache::connect([address]).await.expect("an address");
    cache.meta().noop().await.expect("it answers");
    let session = vec![7u8; 20_000];
    let hour = Ttl::secs(3600);
    cache.set("session", &session, hour).await.expect("stored");
    let read = cache.get::<Vec<u8>>("session").await.expect("answered");
    assert_eq!(read, Some(session));
    assert_eq!(
        cache.get::<Vec<u8>>("absent").await.expect("answered"),
        None
    );

    // A key with a space goes in base64.
    cache.set("a key", "x", hour).await.expect("stored");
    let touched = cache.get_and_touch::<String>("a key", Ttl::secs(500)).await;
    assert_eq!(touched.expect("answered").as_deref(), Some("x"));
    let info = cache.inspect("a key").await.expect("answered");
    let left = info.expect("there").ttl.expect("it has one").as_secs();
    assert!((490..=500).contains(&left), "{left}");

    assert!(cache.add("lock", "a", hour).await.expect("answered"));
    assert!(!cache.add("lock", "b", hour).await.expect("answered"));
    assert!(cache.replace("lock", "c", hour).await.expect("answered"));
    let longer = |text: Option<String>| text.unwrap_or_default() + "d";
    let updated = cache.update("lock", hour, longer).await.expect("stored");
    assert_eq!(updated, "cd");

    assert_eq!(cache.incr("count", 3, hour).await.expect("counted"), 3);
    assert_eq!(cache.incr("count", 3, hour).await.expect("counted"), 6);
    assert_eq!(cache.decr("count", 10, hour).await.expect("counted"), 0);

    let found: HashMap<&str, String> = cache
        .get_many(["lock", "absent", "a key"])
        .await
        .expect("answered");
    assert_eq!(
        (found["lock"].as_str(), found["a key"].as_str()),
        ("cd", "x")
    );
    assert_eq!(found.len(), 2);
    cache.delete("lock").await.expect("answered");
    assert_eq!(cache.get::<String>("lock").await.expect("answered"), None);
    let debug = cache.meta().debug("count").await.expect("answered");
    assert_eq!(debug.expect("there")["exp"].chars().next(), Some('-'));
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
