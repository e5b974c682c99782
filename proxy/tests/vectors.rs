//! The same choice as nginx 1.22.1 and HAProxy 2.6.12 for every vector in `vectors/`: what those programs chose, recorded.

mod support;

use support::{Client, servers, site};

/// Rows of a file, without its heading.
fn rows(file: &'static str) -> Vec<Vec<&'static str>> {
    file.lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect()
}

fn dead(weights: &str) -> Vec<usize> {
    let states = weights.split('|').enumerate();
    states
        .filter(|(_, peer)| peer.ends_with(":dead"))
        .map(|(place, _)| place)
        .collect()
}

#[test]
fn ip_hash_of_nginx() {
    let rows = rows(include_str!("vectors/nginx_ip_hash.csv"));
    assert_eq!(rows.len(), 756);
    for row in rows {
        let [address, weights, _source, tried, peer, via] = row[..] else {
            panic!("{row:?}");
        };
        let site = site(&(servers(weights, 8081, "") + "balance = \"ip_hash\""));
        let mut client = Client::new(&site);
        client.address = address.parse().expect("an address");
        let (order, choice) = client.request(&dead(weights));
        let order: Vec<String> = order.iter().map(usize::to_string).collect();
        let choice = choice.expect("a live peer");
        assert_eq!(order.join(">"), tried, "{row:?}");
        assert_eq!(choice.peer.to_string(), peer, "{row:?}");
        let first_hit = !weights.contains(':');
        if first_hit {
            assert_eq!(
                (choice.reason.as_str(), via),
                ("ip_hash", "hash"),
                "{row:?}"
            );
        }
    }
}

#[test]
fn round_robin_and_hash_of_nginx() {
    let rows = rows(include_str!("vectors/nginx_round_robin_and_hash.csv"));
    assert_eq!(rows.len(), 8 + 6 * 23);
    for row in rows {
        let [method, key, peers] = row[..] else {
            panic!("{row:?}");
        };
        let (method, weights) = method.rsplit_once(' ').expect("a method and weights");
        let balance = match method {
            "rr" => "balance = \"round_robin\"",
            "hash" => "balance = \"hash\"\nhash_key = \"$http_key\"",
            _ => "balance = \"consistent_hash\"\nhash_key = \"$http_key\"",
        };
        // The points of the circle depend on the servers' names; these were recorded with ports from 19201.
        let site = site(&(servers(weights, 19201, "") + balance));
        let mut client = Client::new(&site);
        if !key.is_empty() {
            client.field("key", key);
        }
        let seen: String = (0..peers.len())
            .map(|_| client.request(&[]).1.expect("a live peer").peer.to_string())
            .collect();
        assert_eq!(seen, peers, "{row:?}");
    }
}

#[test]
fn source_of_haproxy() {
    let rows = rows(include_str!("vectors/haproxy_source.csv"));
    assert_eq!(rows.len(), 100);
    for row in rows {
        let [address, weights, peer] = row[..] else {
            panic!("{row:?}");
        };
        let site = site(&(servers(weights, 8081, "") + "balance = \"source\""));
        let mut client = Client::new(&site);
        client.address = address.parse().expect("an address");
        assert_eq!(client.route(&[]), format!("{peer} source"), "{row:?}");
    }
}
