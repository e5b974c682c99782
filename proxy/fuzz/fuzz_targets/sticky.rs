//! Without the key no cookie names a peer, whatever is in it, and it can always be taken out.
#![no_main]

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use proxy::balance::{Attempt, Balancer, Facts, Method};
use proxy::binding::Presented;
use proxy::site::{Site, Surroundings};

static SITES: LazyLock<[Site; 2]> = LazyLock::new(|| [site(""), site("maxidle = 100")]);

fn site(sticky: &str) -> Site {
    let text = format!(
        "upstream = [\"127.0.0.1:1 id=A\", \"127.0.0.1:2 id=B\"]\nbalance = \"session_sticky\"\n[sticky]\noption = \"indirect\"\n{sticky}"
    );
    let surroundings = Surroundings {
        addresses: &HashMap::new(),
        sticky_key: b"a key that no input can know about",
        workers: 1,
        now: Instant::now(),
        previous: None,
    };
    let config = toml::from_str(&text).expect("good settings");
    Site::build(&config, &surroundings).expect("a site")
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert("cookie", value);
    for site in &*SITES {
        let facts = Facts {
            client: [10, 0, 0, 1].into(),
            target: "/",
            host: "",
            headers: &headers,
            unix: 1_795_387_751,
        };
        let mut attempt = Attempt::default();
        let mut balancer = Balancer::new(site.upstreams[0].clone(), 0, None);
        balancer
            .choose(&facts, &mut attempt, Instant::now())
            .expect("a peer");
        assert!(!matches!(attempt.presented, Presented::Peer { .. }));
        let Method::Bound(binding) = &site.upstreams[0].method else {
            unreachable!("the method binds");
        };
        let mut sent = headers.clone();
        binding.edit_request(&mut sent);
        assert_eq!(proxy::cookie::find(&sent, b"route").count(), 0);
    }
});
