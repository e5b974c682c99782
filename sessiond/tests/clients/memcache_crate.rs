//! The `memcache` crate as an application would use it: its blocking client over the text and the binary protocol, its
//! async one over meta commands.

use std::collections::HashMap;

use memcache::Client;
use memcache::exp::{AsyncMemcache, Ttl};

use super::server::Server;
use super::support::until;

against_both! {
    blocking_text: super::play_text, open;
    blocking_binary: super::play_binary, open;
    blocking_with_a_password: super::play_binary, guarded;
    asynchronous: super::play_async, open;
}

fn play_text(server: &Server) {
    play(server, "ascii");
}

fn play_binary(server: &Server) {
    play(server, "binary");
}

fn play_async(server: &Server) {
    let runtime = tokio::runtime::Runtime::new().expect("an event loop");
    runtime.block_on(use_it_async(server));
}

async fn use_it_async(server: &Server) {
    let cache = AsyncMemcache::connect([server.address()])
        .await
        .expect("an address");
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

/// Where the client finds the server, with what it needs to know.
fn url(server: &Server, protocol: &str) -> String {
    let login = server.login.as_ref();
    let login = login.map(|(name, password)| format!("{name}:{password}@"));
    format!(
        "memcache://{}{}?protocol={protocol}&timeout=10",
        login.unwrap_or_default(),
        server.place()
    )
}

fn play(server: &Server, protocol: &str) {
    let client = Client::connect(url(server, protocol)).expect("it listens");
    client.flush().expect("flushed");
    let version = client.version().expect("a version");
    assert!(version[0].1.contains("1.6.18"), "{version:?}");

    let session = vec![7u8; 20_000];
    client
        .set("session", session.as_slice(), 1800)
        .expect("stored");
    let read = client.get::<Vec<u8>>("session").expect("answered");
    assert_eq!(read, Some(session));
    assert_eq!(client.get::<String>("absent").expect("answered"), None);

    client.add("lock", "a", 10).expect("taken");
    // Over text this client passes over NOT_STORED.
    let again = client.add("lock", "b", 10);
    assert_eq!(again.is_ok(), protocol == "ascii", "{again:?}");
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
    assert!(!client.touch("lock", 100).expect("answered"));

    let megabyte = vec![1u8; 1_000_000];
    client.set("large", &megabyte[..], 0).expect("stored");
    let read = client.get::<Vec<u8>>("large").expect("answered");
    assert_eq!(read, Some(megabyte));
    client.set("short", "x", 1).expect("stored");
    until("an item of one second is gone", || {
        let found = client.get::<String>("short").expect("answered");
        found.is_none().then_some(())
    });
    // Over text this client gives up at the first line.
    if protocol == "binary" {
        let stats = &client.stats().expect("answered")[0].1;
        assert_eq!(stats["curr_items"], "3", "{stats:?}");
    }
}
