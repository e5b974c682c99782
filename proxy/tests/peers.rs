//! How peers fail, recover, drain and fill up, and what every method makes of it.

mod support;

use std::time::Duration;

use proxy::balance::{Attempt, Balancer, NoPeer};
use proxy::upstream::RunState;
use support::{Client, servers, site};

/// So many requests: which peers answered.
fn sequence(client: &mut Client, requests: usize) -> String {
    let mut seen = String::new();
    for _ in 0..requests {
        match client.request(&[]).1 {
            Ok(choice) => seen += &choice.peer.to_string(),
            Err(_) => seen.push('-'),
        }
    }
    seen
}

/// Requests until this dead peer is tried: the peers that the last one tried.
fn until_tried(client: &mut Client, dead: usize) -> Vec<usize> {
    for _ in 0..4 {
        let (tried, _) = client.request(&[dead]);
        if tried.contains(&dead) {
            return tried;
        }
    }
    Vec::new()
}

#[test]
fn a_failure_pauses_a_peer_and_one_trial_ends_the_pause() {
    let site = site(&servers("1|1", 1, "fail_timeout=10s"));
    let mut client = Client::new(&site);
    assert_eq!(
        client.request(&[0]).0,
        [0, 1],
        "the request itself goes on to the next peer"
    );
    for _ in 0..4 {
        assert_eq!(client.request(&[0]).0, [1], "paused");
        client.wait(Duration::from_millis(2500));
    }
    client.wait(Duration::from_millis(1));
    assert_eq!(until_tried(&mut client, 0), [0, 1], "the trial");
    for _ in 0..4 {
        assert_eq!(client.request(&[0]).0, [1], "a single failure pauses again");
    }
    client.wait(Duration::from_millis(10_001));
    let trial = (0..4).any(|_| {
        let choice = client.choose(&mut Attempt::default());
        choice.is_ok_and(|choice| choice.peer == 0)
    });
    assert!(trial);
    assert_eq!(sequence(&mut client, 3), "111", "one trial at a time");
    client.balancer.succeeded(0, client.now);
    let shares = sequence(&mut client, 4);
    assert_eq!(shares.matches('0').count(), 2, "back: {shares}");
}

#[test]
fn max_fails_counts_inside_its_window() {
    let site = site(&servers("1|1", 1, "max_fails=3 fail_timeout=4s"));
    let health = &site.upstreams[0].peers[0].health;
    let mut client = Client::new(&site);
    for fails in 1..=3 {
        assert!(!health.is_paused(3, Duration::from_secs(4), client.now));
        client.balancer.failed(0, client.now);
        assert_eq!(health.fails(), fails);
    }
    assert_eq!(sequence(&mut client, 3), "111");
    client.wait(Duration::from_millis(4001));
    assert!(sequence(&mut client, 2).contains('0'));
    assert_eq!(
        health.fails(),
        0,
        "a success after the pause resets the count"
    );
    client.balancer.failed(0, client.now);
    client.balancer.succeeded(0, client.now);
    assert_eq!(health.fails(), 1, "a success inside the window does not");
}

#[test]
fn only_one_worker_makes_the_trial() {
    let site = site(&servers("1|1", 1, ""));
    let mut first = Client::new(&site);
    let mut second = Client::new(&site);
    second.now = first.now;
    second.balancer = Balancer::new(site.upstreams[0].clone(), 0, None);
    first.balancer.failed(0, first.now);
    for client in [&mut first, &mut second] {
        client.wait(Duration::from_millis(10_001));
    }
    let trials = (0..4)
        .flat_map(|_| {
            [&mut first, &mut second].map(|client| client.choose(&mut Attempt::default()))
        })
        .filter(|choice| choice.is_ok_and(|choice| choice.peer == 0));
    assert_eq!(trials.count(), 1);
}

#[test]
fn nobody_left_is_502_and_a_single_peer_is_never_paused() {
    let two = site(&servers("1|1", 1, ""));
    let mut client = Client::new(&two);
    let (tried, choice) = client.request(&[0, 1]);
    assert_eq!((tried, choice), (vec![0, 1], Err(NoPeer::NoneLive)));
    assert_eq!(
        client.request(&[]).1,
        Err(NoPeer::NoneLive),
        "both paused: answered at once"
    );
    for balance in [
        "round_robin",
        "ip_hash",
        "source",
        "least_conn",
        "hash",
        "consistent_hash",
        "session_sticky",
    ] {
        let one = site(&format!("{}balance = \"{balance}\"", servers("1", 1, "")));
        let mut client = Client::new(&one);
        assert_eq!(
            client.request(&[0]),
            (vec![0], Err(NoPeer::NoneLive)),
            "{balance}"
        );
        assert_eq!(sequence(&mut client, 2), "00", "{balance}");
        one.upstreams[0].peers[0]
            .health
            .set_run_state(RunState::Down, client.now);
        assert_eq!(sequence(&mut client, 1), "-", "{balance}");
    }
    let none = site("upstream = [\"unresolved:1\"]");
    assert_eq!(none.upstreams[0].peers.len(), 1);
}

#[test]
fn a_paused_peer_that_a_reload_leaves_alone_serves() {
    let two = site(&servers("1|1", 1, ""));
    let mut client = Client::new(&two);
    assert_eq!(client.request(&[0]).0, [0, 1]);
    let one = support::try_site(&servers("1", 1, ""), Some(&two)).expect("a site");
    assert_eq!(one.upstreams[0].peers[0].health.fails(), 1);
    client.balancer = Balancer::new(one.upstreams[0].clone(), 0, Some(&client.balancer));
    assert_eq!(sequence(&mut client, 2), "00");
}

#[test]
fn max_fails_0_never_pauses() {
    let site = site(&servers("1|1", 1, "max_fails=0"));
    let mut client = Client::new(&site);
    for _ in 0..3 {
        client.balancer.failed(0, client.now);
    }
    assert!(sequence(&mut client, 2).contains('0'));
}

#[test]
fn backups_serve_when_no_primary_can() {
    let text = "upstream = [\"127.0.0.1:1 backup\", \"127.0.0.1:2\", \"127.0.0.1:3 backup weight=2\", \"127.0.0.1:4\"]\n";
    for balance in ["round_robin", "least_conn", "source", "session_sticky"] {
        let site = site(&format!("{text}balance = \"{balance}\""));
        assert_eq!(site.upstreams[0].primaries, 2);
        let mut client = Client::new(&site);
        let before = sequence(&mut client, 6);
        assert!(!before.contains(['2', '3']), "{balance}: {before}");
        let (tried, choice) = client.request(&[0, 1]);
        assert_eq!(
            tried.len(),
            3,
            "{balance}: primaries, then a backup: {tried:?}"
        );
        assert!(choice.expect("a backup").peer >= 2);
        let after = sequence(&mut client, 6);
        assert_eq!(
            after.matches('3').count(),
            4,
            "{balance}: by weight: {after}"
        );
    }
}

#[test]
fn draining_and_down_peers_get_nothing_new() {
    for (state, method, route) in [
        ("drain", "round_robin", "rr"),
        ("down", "round_robin", "rr"),
        ("drain", "least_conn", "least_conn"),
        ("drain", "source", "source"),
        ("drain", "session_sticky", "new"),
    ] {
        let text = format!(
            "upstream = [\"127.0.0.1:1 {state}\", \"127.0.0.1:2\"]\nbalance = \"{method}\""
        );
        let mut client = Client::new(&site(&text));
        for _ in 0..3 {
            assert_eq!(client.route(&[]), format!("1 {route}"), "{text}");
        }
    }
    for (state, reason) in [("drain", "fallback:draining"), ("down", "fallback:down")] {
        for method in ["ip_hash", "hash", "consistent_hash"] {
            let text = format!(
                "upstream = [\"127.0.0.1:1 {state}\", \"127.0.0.1:2\"]\nbalance = \"{method}\"\nhash_key = \"$remote_addr\""
            );
            let site = site(&text);
            let reasons: Vec<String> = (0..32_u8)
                .map(|octet| {
                    let mut client = Client::new(&site);
                    client.address = [10, octet * 7, octet, 1].into();
                    client.route(&[])
                })
                .collect();
            let own = if method == "ip_hash" {
                "1 ip_hash"
            } else {
                "1 hash"
            };
            let moved = format!("1 {reason}");
            assert!(
                reasons.iter().all(|r| r == own || *r == moved),
                "{reasons:?}"
            );
            assert!(
                reasons.iter().any(|r| r == own) && reasons.contains(&moved),
                "{method} {reasons:?}"
            );
        }
    }
    let site = site(&servers("1|1", 1, ""));
    site.upstreams[0].peers[0].health.set_weight(0);
    assert_eq!(
        sequence(&mut Client::new(&site), 4),
        "1111",
        "weight 0 at run time is drain"
    );
}

#[test]
fn weights_change_while_running() {
    let site = site(&servers("1|1", 1, ""));
    let mut client = Client::new(&site);
    site.upstreams[0].peers[1].health.set_weight(3);
    let shares = sequence(&mut client, 40);
    assert_eq!(shares.matches('1').count(), 30, "{shares}");
}

#[test]
fn max_conns_holds_over_all_requests() {
    let site = site(&servers("1|1", 1, "max_conns=2"));
    let peers = &site.upstreams[0].peers;
    let mut client = Client::new(&site);
    for expected in ["0 rr", "1 rr", "0 rr", "1 rr", "-"] {
        let route = client.route(&[]);
        assert_eq!(route, expected);
        if let Some(peer) = route
            .split(' ')
            .next()
            .and_then(|peer| peer.parse::<usize>().ok())
        {
            peers[peer].counters.begin(0);
        }
    }
    peers[1].counters.end(0);
    assert_eq!(client.route(&[]), "1 rr");
}

#[test]
fn least_conn_takes_the_least_busy_for_its_weight() {
    let site = site(&(servers("1|2|1", 1, "") + "balance = \"least_conn\""));
    let peers = &site.upstreams[0].peers;
    let mut client = Client::new(&site);
    let mut seen = String::new();
    for _ in 0..8 {
        let peer = client.request(&[]).1.expect("a peer").peer;
        peers[peer].counters.begin(0);
        seen += &peer.to_string();
    }
    let shares = ["0", "1", "2"].map(|peer| seen.matches(peer).count());
    assert_eq!(shares, [2, 4, 2], "{seen}");
    for _ in 0..2 {
        peers[2].counters.end(0);
    }
    assert_eq!(sequence(&mut client, 1), "2", "idle now");
    let idle = site_of_equals();
    assert_eq!(
        sequence(&mut Client::new(&idle), 6),
        "012012",
        "equals take turns"
    );
}

fn site_of_equals() -> proxy::site::Site {
    site(&(servers("1|1|1", 1, "") + "balance = \"least_conn\""))
}

#[test]
fn a_retry_goes_on_from_the_hash_of_the_first_try() {
    for balance in ["ip_hash", "source", "hash", "consistent_hash"] {
        let text = servers("1|1|1|1", 1, "max_fails=0")
            + &format!("balance = \"{balance}\"\nhash_key = \"$remote_addr\"");
        let site = site(&text);
        for octet in 0..32_u8 {
            let mut client = Client::new(&site);
            client.address = [10, 1, octet, 1].into();
            let (first, choice) = client.request(&[]);
            let home = first[0];
            assert!(
                !choice
                    .expect("a peer")
                    .reason
                    .as_str()
                    .starts_with("fallback")
            );
            let (tried, choice) = client.request(&[home]);
            assert_eq!((tried.len(), tried[0]), (2, home), "{balance}");
            assert_eq!(
                choice.expect("another").reason.as_str(),
                "fallback:down",
                "{balance}"
            );
            let (again, _) = client.request(&[home]);
            assert_eq!(
                again, tried,
                "{balance}: the same way for every request of a client"
            );
            let (all, last) = client.request(&[0, 1, 2, 3]);
            assert_eq!(
                (all.len(), last),
                (4, Err(NoPeer::NoneLive)),
                "{balance}: each peer once"
            );
        }
    }
}

#[test]
fn a_retry_keeps_the_key_though_fields_have_changed_since() {
    for balance in ["hash", "consistent_hash"] {
        let text = servers("1|1|1|1|1", 1, "max_fails=0")
            + &format!("balance = \"{balance}\"\nhash_key = \"$http_key\"");
        let site = site(&text);
        for key in 0..32 {
            let order = |change: bool| -> Vec<usize> {
                let mut client = Client::new(&site);
                client.field("key", &format!("u{key}"));
                let mut attempt = Attempt::default();
                let next = |client: &mut Client, attempt: &mut Attempt| {
                    let peer = client.choose(attempt).expect("a peer").peer;
                    if change {
                        client.headers.clear();
                    }
                    peer
                };
                (0..3).map(|_| next(&mut client, &mut attempt)).collect()
            };
            assert_eq!(order(true), order(false), "{balance} u{key}");
        }
    }
}

#[test]
fn consistent_hashing_moves_only_what_was_lost() {
    let text = servers("1|1|1|1", 1, "") + "balance = \"consistent_hash\"\nhash_key = \"$uri\"";
    let site = site(&text);
    let routes = || -> Vec<usize> {
        (0..200)
            .map(|key| {
                let mut client = Client::new(&site);
                client.target = format!("/{key}?x");
                client.request(&[]).1.expect("a peer").peer
            })
            .collect()
    };
    let before = routes();
    site.upstreams[0].peers[2]
        .health
        .set_run_state(RunState::Down, std::time::Instant::now());
    for (before, after) in before.iter().zip(routes()) {
        assert!(*before == 2 || *before == after);
        assert_ne!(after, 2);
    }
}

#[test]
fn the_article_s_addresses() {
    let site = site(&(servers("1|1", 1, "") + "balance = \"ip_hash\""));
    for (address, peer) in [
        ("192.168.23.1", "0 ip_hash"),
        ("192.168.23.254", "0 ip_hash"),
        ("192.168.24.1", "1 ip_hash"),
        ("127.0.1.1", "1 ip_hash"),
    ] {
        let mut client = Client::new(&site);
        client.address = address.parse().expect("an address");
        assert_eq!(client.route(&[]), peer, "{address}");
    }
}
