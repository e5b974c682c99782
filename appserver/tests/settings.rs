//! The settings: the sample file holds the defaults, flags reach every setting, nonsense is refused in words.

use std::collections::BTreeSet;
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

/// Settings in tables of their own.
const TABLES: [&str; 4] = ["session", "cookie", "msm", "cluster"];

/// What in msm's table would be a strange name of a flag.
const NOT_ALONE: [&str; 5] = ["sticky", "username", "password", "enabled", "behaviour"];

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
    for table in TABLES {
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
    let cluster = |table: &toml::Table| keys_below(&table["cluster"], "cluster");
    let text: toml::Table = text.parse().expect("TOML");
    assert_eq!(cluster(&text), cluster(&defaults));
    let missing = defaults
        .keys()
        .find(|k| !sample.contains_key(*k) && !TABLES.contains(&k.as_str()));
    assert_eq!(missing, None);
}

/// Names of all settings in a table and the tables in it.
fn keys_below(value: &toml::Value, path: &str) -> BTreeSet<String> {
    match value {
        toml::Value::Table(table) => table
            .iter()
            .flat_map(|(key, value)| keys_below(value, &format!("{path}.{key}")))
            .collect(),
        toml::Value::Array(values) if values.iter().any(toml::Value::is_table) => values
            .iter()
            .flat_map(|value| keys_below(value, &format!("{path}.{}", value["className"])))
            .collect(),
        _ => BTreeSet::from([path.to_owned()]),
    }
}

#[test]
fn every_setting_is_a_flag() {
    let defaults = toml::Table::try_from(Config::default()).expect("TOML");
    let mut names: Vec<String> = Vec::new();
    for (name, value) in &defaults {
        match value {
            toml::Value::Table(table) if name == "msm" => {
                // A password is never shown.
                let keys = table.keys().map(String::as_str).chain(["password"]);
                names.extend(keys.map(msm_flag));
            }
            // Only the common ones of many are flags; `flags_of_the_cluster_are_understood` has them.
            toml::Value::Table(_) if name == "cluster" => {}
            toml::Value::Table(table) => names.extend(table.keys().map(|k| format!("{name}_{k}"))),
            _ => names.push(name.clone()),
        }
    }
    let flags = PROGRAM.settings.iter();
    let flags = flags.filter(|s| !s.path.starts_with("cluster."));
    let mut flags: Vec<&str> = flags.map(|s| s.name).collect();
    names.sort_unstable();
    flags.sort_unstable();
    assert_eq!(names, flags);
}

/// `memcachedNodes` is `memcached_nodes`, `enabled` is `msm_enabled`.
fn msm_flag(key: &str) -> String {
    if NOT_ALONE.contains(&key) {
        return format!("msm_{key}");
    }
    let mut flag = String::new();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            flag.push('_');
        }
        flag.push(letter.to_ascii_lowercase());
    }
    flag
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
fn the_mode_decides_whether_sessions_stay_in_the_server() {
    for (arguments, sticky) in [
        ("--mode msm --memcached-nodes n1:a:1,n2:b:1", false),
        ("--mode msm --msm-sticky --failover-nodes n1", true),
        (
            "--mode msm_sticky --failover-nodes n1 --msm-enabled=off",
            true,
        ),
    ] {
        let config = config(arguments).expect(arguments);
        let msm = config.msm("/jsp").expect(arguments);
        assert_eq!(msm.settings.sticky, sticky, "{arguments}");
        assert_eq!(msm.context, "/jsp");
    }
}

#[test]
fn nonsense_is_refused_in_words() {
    for (arguments, words) in [
        (
            "--mode persistent",
            "`persistent` is not built yet: use one of round_robin",
        ),
        ("--mode msm --msm-behaviour best", "behaviour"),
        (
            "--mode msm --msm-behaviour msm --locking-mode merge",
            "use behaviour = safe",
        ),
        ("--mode msm --failover-nodes n1", "needs sticky = true"),
        ("--mode msm_sticky --failover-nodes n3", "`n3` is none of"),
        ("--mode msm --memcached-nodes a:1", "`a:1` is no node"),
        ("--locking-mode some", "`some` is unknown"),
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
