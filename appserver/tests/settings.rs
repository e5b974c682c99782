//! The settings: the sample file holds the defaults, flags reach every setting, nonsense is refused in words.

use std::ffi::OsString;

use appserver::Config;
use appserver::cli::PROGRAM;
use appserver::config::{AccessLog, Admin, Mode};
use appserver::session::cookie::{SameSite, Secure};
use program::Failure;
use program::units::{Duration, Size};

fn config(arguments: &str) -> Result<Config, Failure> {
    let arguments = ["appserver"]
        .into_iter()
        .chain(arguments.split_whitespace());
    let settings = PROGRAM.settings(arguments.map(OsString::from).collect())?;
    let config: Config = settings.config()?;
    config.check()?;
    Ok(config)
}

#[test]
fn the_sample_file_holds_every_setting_with_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/appserver.toml");
    assert_eq!(
        config(&format!("--config {path}")).expect("valid"),
        Config::default()
    );
    let text = std::fs::read_to_string(path).expect("readable");
    let mut sample: toml::Table = text.parse().expect("TOML");
    let defaults = toml::Table::try_from(Config::default()).expect("TOML");
    for table in ["session", "cookie"] {
        let keys = |t: &toml::Table| {
            t[table]
                .as_table()
                .expect(table)
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(&sample), keys(&defaults), "{table}");
        sample.remove(table);
    }
    let missing = defaults
        .keys()
        .find(|k| !sample.contains_key(*k) && !["session", "cookie"].contains(&k.as_str()));
    assert_eq!(missing, None);
}

#[test]
fn every_setting_is_a_flag() {
    let defaults = toml::Table::try_from(Config::default()).expect("TOML");
    let mut names: Vec<String> = Vec::new();
    for (name, value) in &defaults {
        match value {
            toml::Value::Table(table) => names.extend(table.keys().map(|k| format!("{name}_{k}"))),
            _ => names.push(name.clone()),
        }
    }
    let mut flags: Vec<&str> = PROGRAM.settings.iter().map(|s| s.name).collect();
    names.sort_unstable();
    flags.sort_unstable();
    assert_eq!(names, flags);
}

#[test]
fn flags_are_understood() {
    let config = config(
        "--listen 0.0.0.0:8080 --admin= --node-id TomcatB --jvm-route WEB2 --mode none --contexts /a,/b/c --workers 3 \
         --max-post-size 1m --keepalive-timeout 5s --internal-proxies 10.0.0.0/8,::1 --access-log json \
         --session-timeout 90s --session-max-active 5 --cookie-secure always --cookie-same-site lax --cookie-http-only=off",
    )
    .expect("valid");
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.admin, Admin(None));
    assert_eq!(
        (config.node_id.as_str(), config.jvm_route.as_str()),
        ("TomcatB", "WEB2")
    );
    assert_eq!(config.mode, Mode::RoundRobin);
    assert_eq!(config.contexts, ["/a", "/b/c"]);
    assert_eq!(config.max_post_size, Size(1 << 20));
    assert_eq!(config.internal_proxies.len(), 2);
    assert_eq!(config.access_log, AccessLog::Json);
    assert_eq!(config.session.timeout, Duration::seconds(90));
    assert_eq!(config.session.max_active, 5);
    assert_eq!(
        (config.cookie.secure, config.cookie.same_site),
        (Secure::Always, SameSite::Lax)
    );
    assert!(!config.cookie.http_only);
}

#[test]
fn nonsense_is_refused_in_words() {
    for (arguments, words) in [
        (
            "--mode msm",
            "`msm` is not built yet: use one of round_robin",
        ),
        ("--mode round_robbin", "did you mean `round_robin`?"),
        ("--node-id <b>", "node_id"),
        ("--node-id=", "node_id"),
        ("--jvm-route a.b", "cannot be part of a session id"),
        ("--contexts /", "`/` is no context path"),
        ("--contexts jsp", "no context path"),
        ("--contexts /a/../b", "no context path"),
        ("--contexts /jsp,/jsp", "twice"),
        ("--contexts=", "name 1 to"),
        ("--max-connections 0", "max_connections"),
        ("--keepalive-timeout 0", "keepalive_timeout"),
        ("--session-timeout 1500ms", "whole seconds"),
        ("--session-sweep-interval 0", "sweep_interval"),
        ("--colour red", "#RRGGBB"),
        ("--cookie-name a;b", "cookie.name"),
        ("--cookie-secure maybe", "maybe"),
        ("--internal-proxies 10.0.0.0/33", "10.0.0.0/33"),
        ("--admin nowhere", "no address"),
        ("--listn 1", "--listen"),
    ] {
        let error = config(arguments).expect_err(arguments).to_string();
        assert!(error.contains(words), "{arguments}: {error}");
    }
}
