//! A site from TOML, and requests to its first upstream, without sockets and clock.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use proxy::balance::{Attempt, Balancer, Choice, Facts, NoPeer};
use proxy::config::Config;
use proxy::site::{Site, SiteError, Surroundings};

/// Signs the cookies of the tests.
pub const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Unix time at which the tests begin.
pub const UNIX: u64 = 1_795_387_751;

/// The configuration in this text.
pub fn config(toml: &str) -> Config {
    toml::from_str(toml).unwrap_or_else(|error| panic!("{error}\n{toml}"))
}

/// The site of this configuration, or why there is none. Every name resolves to 10.0.0.1 and up, in order.
pub fn try_site(toml: &str, previous: Option<&Site>) -> Result<Site, SiteError> {
    let config = config(toml);
    let addresses: HashMap<_, _> = proxy::site::names(&config)
        .into_iter()
        .zip(1_u8..)
        .map(|(name, last)| (name, vec![([10, 0, 0, last], 8080).into()]))
        .collect();
    let surroundings = Surroundings {
        addresses: &addresses,
        sticky_key: KEY,
        workers: 1,
        now: Instant::now(),
        previous,
    };
    Site::build(&config, &surroundings)
}

/// The site of this configuration.
pub fn site(toml: &str) -> Site {
    try_site(toml, None).unwrap_or_else(|error| panic!("{error}\n{toml}"))
}

/// Servers on 127.0.0.1 from `port` up, with weights and states as in `5|1:down|1`.
pub fn servers(weights: &str, port: u16, rest: &str) -> String {
    let servers: Vec<String> = weights
        .split('|')
        .zip(port..)
        .map(|(peer, port)| {
            let (weight, state) = peer.split_once(':').unwrap_or((peer, ""));
            let state = if state == "dead" {
                "max_fails=0"
            } else {
                state
            };
            format!("\"127.0.0.1:{port} weight={weight} {state} {rest}\"")
        })
        .collect();
    format!("upstream = [{}]\n", servers.join(", "))
}

/// A client of the first upstream of a site.
pub struct Client {
    /// The balancer of the one worker.
    pub balancer: Balancer,
    /// Its address.
    pub address: IpAddr,
    /// Path and query.
    pub target: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// The time of day.
    pub unix: u64,
    /// The same on the other clock.
    pub now: Instant,
}

impl Client {
    /// A client from 192.168.23.1.
    pub fn new(site: &Site) -> Self {
        let upstream = site.upstreams[0].clone();
        Self {
            balancer: Balancer::new(upstream, 0, None),
            address: [192, 168, 23, 1].into(),
            target: "/".into(),
            headers: HeaderMap::new(),
            unix: UNIX,
            now: Instant::now(),
        }
    }

    /// Time passes.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        self.unix += time.as_secs();
    }

    /// Sends this field, and no other of the name.
    pub fn field(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).expect("a value");
        self.headers.insert(HeaderName::from_static(name), value);
    }

    /// One choice.
    pub fn choose(&mut self, attempt: &mut Attempt) -> Result<Choice, NoPeer> {
        let facts = Facts {
            client: self.address,
            target: &self.target,
            host: "example.org",
            headers: &self.headers,
            unix: self.unix,
        };
        self.balancer.choose(&facts, attempt, self.now)
    }

    /// One request: the peers in the order in which they were tried, when those in `dead` refuse; and the last choice.
    pub fn request(&mut self, dead: &[usize]) -> (Vec<usize>, Result<Choice, NoPeer>) {
        let mut attempt = Attempt::default();
        let mut tried = Vec::new();
        loop {
            let choice = self.choose(&mut attempt);
            let Ok(Choice { peer, .. }) = choice else {
                return (tried, choice);
            };
            tried.push(peer);
            if !dead.contains(&peer) {
                self.balancer.succeeded(peer, self.now);
                return (tried, choice);
            }
            self.balancer.failed(peer, self.now);
        }
    }

    /// The peer of one request and why, as `0 rr`; `-` when there is none.
    pub fn route(&mut self, dead: &[usize]) -> String {
        match self.request(dead).1 {
            Ok(choice) => format!("{} {}", choice.peer, choice.reason.as_str()),
            Err(_) => "-".into(),
        }
    }
}
