//! The settings: the sample file, flags, and every refusal with the place and the way out.

mod support;

use std::ffi::OsString;

use proxy::config::{Config, PROGRAM};
use proxy::site::{Action, Site};
use support::{config, site, try_site};

const SAMPLE: &str = include_str!("../proxy.toml");

fn flags(text: &str) -> Config {
    let arguments: Vec<OsString> = ["proxy"]
        .into_iter()
        .chain(text.split(' ').filter(|word| !word.is_empty()))
        .map(|word| word.replace('+', " ").into())
        .collect();
    let settings = PROGRAM.settings(arguments).expect("known flags");
    settings.config().expect("good values")
}

#[test]
fn the_sample_holds_every_default() {
    assert_eq!(config(SAMPLE), Config::default());
    for setting in PROGRAM.settings {
        let path = if setting.path.is_empty() {
            setting.name
        } else {
            setting.path
        };
        let key = path.rsplit('.').next().expect("a key");
        let written = |line: &str| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        assert!(SAMPLE.lines().any(written), "{path} is not in proxy.toml");
    }
}

#[test]
fn the_full_form_in_the_sample_is_good() {
    let (_, example) = SAMPLE.split_once("take the `#` away").expect("an example");
    let example: String = example
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let site = site(&example);
    assert_eq!(site.listeners.len(), 2);
    assert_eq!(site.upstreams.len(), 2);
    assert_eq!(site.upstreams[0].primaries, 2);
    // Four are written; /images leads to /images/.
    assert_eq!(site.servers[0].locations.len(), 5);
}

#[test]
fn the_simple_case_needs_no_file() {
    let config = flags(
        "--listen 127.0.0.1:8080 --upstream 127.0.0.1:8081,127.0.0.1:8082 --balance session_sticky --client-max-body-size 1m --client-header-timeout 3s --proxy-read-timeout 3s --fail-timeout 1s",
    );
    let text = toml::to_string(&config).expect("printable");
    let site = site(&text);
    let upstream = &site.upstreams[0];
    assert_eq!((&*upstream.name, upstream.peers.len()), ("dynamic", 2));
    assert_eq!(upstream.method.name(), "session_sticky");
    assert_eq!(upstream.peers[0].fail_timeout.as_secs(), 1);
    let (_, location) = site
        .route(&site.listeners[0], "any", "/a")
        .expect("a location");
    assert_eq!(location.max_body, Some(1 << 20));
    let Action::Proxy(pass) = &location.action else {
        panic!("{location:?}");
    };
    assert_eq!(pass.read_timeout.as_secs(), 3);
    assert_eq!(site.client.header_timeout.as_secs(), 3);
}

#[test]
fn every_flag_is_taken() {
    for setting in PROGRAM.settings {
        let path = if setting.path.is_empty() {
            setting.name
        } else {
            setting.path
        };
        let table: toml::Table = toml::Table::try_from(Config::default()).expect("a table");
        let value = path
            .split('.')
            .try_fold(toml::Value::Table(table), |value, key| {
                value.get(key).cloned()
            });
        let text = match (path, value) {
            ("balance", _) => "ip_hash".to_owned(),
            ("upstream", _) => "a:1+weight=2,b:2".to_owned(),
            (_, Some(toml::Value::String(text))) if text.is_empty() => "x".to_owned(),
            (_, Some(toml::Value::String(text))) => text.replace(' ', "+"),
            (_, Some(toml::Value::Array(items))) if items.is_empty() => match path {
                "sticky.accept" => "md5,plain".to_owned(),
                _ => "10.0.0.0/8".to_owned(),
            },
            (_, Some(toml::Value::Array(items))) => {
                let items: Vec<&str> = items.iter().filter_map(toml::Value::as_str).collect();
                items.join(",")
            }
            (_, Some(value)) => value.to_string(),
            (path, None) => panic!("{path} is no key of the configuration"),
        };
        flags(&format!("--{}={text}", setting.name.replace('_', "-")));
    }
}

#[test]
fn the_mode_gives_the_balance_its_default() {
    for (mode, balance, method) in [
        ("none", "", "round_robin"),
        ("round_robin", "", "round_robin"),
        ("ip_hash", "", "ip_hash"),
        ("session_sticky", "", "session_sticky"),
        ("cluster", "", "round_robin"),
        ("backup", "", "round_robin"),
        ("msm", "", "round_robin"),
        ("msm_sticky", "", "route"),
        ("session_sticky", "least_conn", "least_conn"),
    ] {
        let mut text = format!("mode = \"{mode}\"\nupstream = [\"127.0.0.1:1 route=WEB1\"]\n");
        if !balance.is_empty() {
            text += &format!("balance = \"{balance}\"\n");
        }
        assert_eq!(site(&text).upstreams[0].method.name(), method, "{text}");
    }
    for (mode, why) in [
        (
            "persistent",
            "not built yet: use one of round_robin, ip_hash, session_sticky, cluster",
        ),
        ("stiky", "is not a mode"),
    ] {
        let error = toml::from_str::<Config>(&format!("mode = \"{mode}\"")).expect_err("refused");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn servers_are_written_as_in_nginx() {
    let site = site(
        "upstream = [\"127.0.0.1:1 weight=3 max_fails=2 fail_timeout=5s max_conns=7 slow_start=1m id=A route=W1\", \"web2 backup\", \"[::1]:3 down\", \"::2 id=six\", \"127.0.0.1:4 drain\"]",
    );
    let upstream = &site.upstreams[0];
    let seen: Vec<String> = upstream
        .peers
        .iter()
        .map(|p| {
            format!(
                "{} {} {} {:?}",
                p.name,
                p.node,
                p.address,
                p.health.run_state()
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            "127.0.0.1:1 A 127.0.0.1:1 Up",
            "[::1]:3 [::1]:3 [::1]:3 Down",
            "[::2]:80 six [::2]:80 Up",
            "127.0.0.1:4 127.0.0.1:4 127.0.0.1:4 Draining",
            "web2:80 web2:80 10.0.0.1:8080 Up",
        ]
    );
    let first = &upstream.peers[0];
    assert_eq!(
        (first.health.weight(), first.max_fails, first.max_conns),
        (3, 2, 7)
    );
    assert_eq!(
        (first.fail_timeout.as_secs(), first.slow_start.as_secs()),
        (5, 60)
    );
    assert_eq!((&*first.id, &*first.route), ("A", "W1"));
    assert_eq!((upstream.primaries, upstream.peers[4].backup), (4, true));
}

#[test]
fn what_is_printed_is_read_back() {
    for text in [
        SAMPLE,
        "upstream = [\"a:1 weight=2 backup id=x\"]\nlisten = [\"1 ssl proxy_protocol\"]",
        "[[upstream]]\nname = \"u\"\nserver = [\"a:1\", { address = \"b:2\", drain = true }]\n[[server]]\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://u\"",
    ] {
        let first = config(text);
        let printed = toml::to_string(&first).expect("printable");
        assert_eq!(config(&printed), first, "{printed}");
    }
}

#[test]
fn values_that_cannot_be_read_are_refused_with_the_known_ones() {
    for (text, why) in [
        ("lisen = []", "unknown field `lisen`"),
        ("[sticky]\nmaxidel = 1", "unknown field `maxidel`"),
        (
            "[[upstream]]\nname = \"u\"\nsever = []",
            "unknown field `sever`",
        ),
        (
            "[[upstream]]\nname = \"u\"\nserver = [{ addres = \"a\" }]",
            "unknown field `addres`",
        ),
        (
            "upstream = [\"a:1 wieght=2\"]",
            "`wieght=2` is unknown; known are weight=",
        ),
        ("upstream = [\"a:1 weight=x\"]", "is not a whole number"),
        ("upstream = [\"\"]", "write host:port"),
        ("upstream = [1]", "expected a server"),
        ("listen = [\"1 tls\"]", "known are ssl and proxy_protocol"),
        ("fail_timeout = \"3x\"", "is not a duration"),
        ("client_max_body_size = \"1x\"", "is not a size"),
        ("balance = \"rr\"", "unknown variant `rr`"),
    ] {
        let error = toml::from_str::<Config>(text)
            .expect_err("refused")
            .to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn sites_that_cannot_hold_are_refused_with_place_and_way_out() {
    const UPSTREAM: &str = "upstream = [\"127.0.0.1:1\"]\n";
    let location = |text: &str| {
        format!(
            "[[upstream]]\nname = \"u\"\nserver = [\"127.0.0.1:1\"]\n[[server]]\n[[server.location]]\npath = \"/\"\n{text}"
        )
    };
    let simple = |text: &str| format!("{UPSTREAM}{text}");
    for (text, path, why) in [
        (String::new(), "upstream", "write --upstream"),
        ("[[upstream]]\nname = \"u\"\nserver = [\"a\"]\n[[upstream]]\nname = \"v\"\nserver = [\"b\"]".into(), "server", "no [[server]]"),
        ("[[upstream]]\nname = \"u\"\nserver = [\"a\"]\n[[upstream]]\nname = \"u\"\nserver = [\"b\"]".into(), "upstream.1.name", "name of its own"),
        ("[[upstream]]\nname = \"u\"".into(), "upstream.0.server", "no servers"),
        ("upstream = [\"a:1\", \"a:1\"]".into(), "upstream.1", "there twice"),
        ("upstream = [\"a:1 id=x\", \"b:1 id=x\"]".into(), "upstream.1.id", "two peers"),
        ("upstream = [\"a:1 id=x;y\"]".into(), "upstream.0.id", "stand in a cookie"),
        ("upstream = [\"a:1 weight=0\"]".into(), "upstream.0.weight", "write drain"),
        ("upstream = [\"a:1 down drain\"]".into(), "upstream.0.drain", "one of them"),
        ("upstream = [\"a:1\", \"b:1 backup\"]\nbalance = \"ip_hash\"".into(), "upstream.1.backup", "no backups"),
        ("upstream = [\"a:1 weight=300\"]\nbalance = \"source\"".into(), "upstream.0.weight", "between 1 and 256"),
        (simple("listen = []"), "listen", "write ADDR:PORT"),
        (simple("listen = [\"nowhere\"]"), "listen", "is no address"),
        (simple("listen = [\"8443 ssl\"]"), "listen", "no certificate"),
        (simple("listen = [\"127.0.0.1:80\", \"localhost:80\"]"), "listen", "is there twice"),
        (simple("listen = [\"127.0.0.1:80\", \"80\"]"), "listen", "takes its port at every address"),
        (simple("ssl_certificate = \"a\""), "ssl_certificate", "no address says ` ssl`"),
        (simple("listen = [\"8443 ssl\"]\nssl_certificate = \"a\""), "ssl_certificate_key", "private key"),
        (simple("proxy_read_timeout = 0"), "proxy_read_timeout", "0 would fail"),
        (simple("client_header_timeout = 0"), "client_header_timeout", "0 would fail"),
        (simple("client_header_line = 10"), "client_header_line", "at least 256"),
        (simple("client_header_size = \"1k\""), "client_header_size", "less than client_header_line"),
        (simple("max_headers = 0"), "max_headers", "at least 1"),
        (simple("proxy_next_upstream = [\"eror\"]"), "proxy_next_upstream", "`eror` is unknown"),
        (simple("set_real_ip_from = [\"10.0.0.0/33\"]"), "set_real_ip_from.0", "neither an address"),
        (simple("real_ip_header = \"a b\""), "real_ip_header", "no field name"),
        (simple("via = \"a b\""), "via", "is no name"),
        (simple("proxy_host = \"$uri\""), "proxy_host", "$uri is unknown"),
        (simple("balance = \"hash\"\nhash_key = \"x\""), "hash_key", "same for every request"),
        (simple("balance = \"route\""), "upstream", "write route="),
        (simple("balance = \"session_sticky\"\n[sticky]\ncookie = \"a b\""), "sticky.cookie", "no cookie name"),
        (simple("balance = \"session_sticky\"\n[sticky]\npath = \"/;a\""), "sticky.path", "leave out"),
        (simple("balance = \"session_sticky\"\n[sticky]\nkey = \"short\""), "sticky.key", "too few"),
        (simple("balance = \"session_sticky\"\n[sticky]\nmode = \"prefix\"\nmaxidle = 5"), "sticky.mode", "leave them 0"),
        (simple("balance = \"session_sticky\"\n[sticky]\nsamesite = \"none\"\nsecure = \"off\""), "sticky.samesite", "write secure"),
        (simple("[check]\ntype = \"http\"\npath = \"x\""), "check.path", "begins with `/`"),
        (simple("[check]\ntype = \"tcp\"\ninterval = 0"), "check.interval", "write a time"),
        (
            "[[upstream]]\nname = \"u\"\nserver = [\"a:1\", \"a:1\"]".into(),
            "upstream.0.server.1",
            "there twice",
        ),
        (
            "[[upstream]]\nname = \"u\"\nserver = [\"a:1\"]\n[upstream.check]\ntype = \"tcp\"\ntimeout = 0".into(),
            "upstream.0.check.timeout",
            "write a time",
        ),
        (simple("[[server]]"), "server.0.location", "no locations"),
        (location(""), "server.0.location.0", "exactly one of"),
        (location("proxy_pass = \"http://u\"\nreturn = \"404\""), "server.0.location.0", "exactly one of"),
        (location("proxy_pass = \"https://u\""), "server.0.location.0.proxy_pass", "plain HTTP"),
        (location("proxy_pass = \"http:///x\""), "server.0.location.0.proxy_pass", "names no upstream"),
        (location("return = \"1000\""), "server.0.location.0.return", "is no status"),
        (location("return = \"404\"\nadd_header = [\"x\"]"), "server.0.location.0.add_header", "is no field"),
        (location("proxy_pass = \"http://u\"\nproxy_set_header = [\"A: $b\"]"), "server.0.location.0.proxy_set_header", "$b is unknown"),
        (location("return = \"404\"\n[[server.location]]\npath = \"/\"\nreturn = \"404\""), "server.0.location.1.path", "there twice"),
        (location("return = \"404\"\n[[server.location]]\npath = \"x\"\nreturn = \"404\""), "server.0.location.1.path", "does not begin"),
    ] {
        let error = try_site(&text, None).expect_err(&text);
        assert_eq!(error.path, path, "{text}\n{error}");
        assert!(error.why.contains(why), "{text}\n{error}");
    }
}

#[test]
fn a_proxy_pass_to_an_address_needs_no_upstream() {
    let text = "[[server]]\n[[server.location]]\npath = \"/a/\"\nproxy_pass = \"http://127.0.0.1:9/b/\"\n[[server.location]]\npath = \"= /\"\nproxy_pass = \"http://app:90\"";
    assert_eq!(proxy::site::names(&config(text)), ["app:90"]);
    let site = site(text);
    let names: Vec<&str> = site.upstreams.iter().map(|u| &*u.name).collect();
    assert_eq!(names, ["127.0.0.1:9", "app:90"]);
    assert_eq!(targets(&site, "/a/c%2Fd?e=f"), Some("/b/c%2Fd?e=f".into()));
    assert_eq!(targets(&site, "/%61/c"), Some("/b/c".into()));
    assert_eq!(targets(&site, "/"), Some("/".into()));
    assert_eq!(targets(&site, "/x"), None);
}

/// What the peer is asked for.
fn targets(site: &Site, target: &str) -> Option<String> {
    let path = target.split('?').next().expect("a path");
    let (_, location) = site.route(&site.listeners[0], "a", path)?;
    match &location.action {
        Action::Proxy(pass) => Some(pass.target(location, target).into_owned()),
        _ => None,
    }
}

#[test]
fn the_longest_location_wins_and_an_exact_one_before_it() {
    let text = "[[server]]\nclient_max_body_size = \"2m\"\n[[server.location]]\npath = \"/\"\nreturn = \"200 root\"\n[[server.location]]\npath = \"/a/\"\nreturn = \"200 a\"\nclient_max_body_size = 0\n[[server.location]]\npath = \"= /a/b\"\nreturn = \"200 exact\"\n[[server.location]]\npath = \"/a/b\"\nreturn = \"200 b\"";
    let site = site(text);
    for (path, answer) in [
        ("/", "root"),
        ("/a", "root"),
        ("/a/", "a"),
        ("/a/c", "a"),
        ("/a/b", "exact"),
        ("/a/bc", "b"),
        ("/x/../a/b", "exact"),
        ("/%61//b", "exact"),
    ] {
        let (_, location) = site
            .route(&site.listeners[0], "h", path)
            .expect("a location");
        let Action::Answer { text, .. } = &location.action else {
            panic!("{location:?}");
        };
        assert_eq!(&**text, answer, "{path}");
        let limit = if answer == "a" { None } else { Some(2 << 20) };
        assert_eq!(location.max_body, limit, "{path}");
    }
}

#[test]
fn a_reload_keeps_what_was_seen_of_unchanged_peers() {
    use proxy::upstream::RunState;
    let before = site("upstream = [\"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.1:3\"]");
    let now = std::time::Instant::now();
    for peer in &before.upstreams[0].peers {
        peer.health.failed(1, now);
        peer.health.set_run_state(RunState::Draining, now);
        peer.counters.begin(0);
    }
    let text = "upstream = [\"127.0.0.1:3\", \"127.0.0.1:1 weight=2\", \"127.0.0.1:4\"]";
    let after = try_site(text, Some(&before)).expect("a site");
    let seen: Vec<_> = after.upstreams[0]
        .peers
        .iter()
        .map(|p| {
            (
                p.health.fails(),
                p.health.run_state(),
                p.health.weight(),
                p.counters.active(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, RunState::Draining, 1, 1),
            (1, RunState::Up, 2, 1),
            (0, RunState::Up, 1, 0),
        ],
        "unchanged: all stays; another weight: the file wins over the run-time state; new: nothing is known"
    );
}
