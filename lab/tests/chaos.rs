//! Every process is killed in turn while users have several requests under way on each session: nothing acknowledged is lost.

mod support;

use lab::mode::Mode;
use serde_json::Value;
use support::{run, text};

/// A row of `lab run`, on the real memcached; on our store they are all among the scenarios of `tests/run.rs`. Each is a test, so that they
/// run beside each other.
fn loses_nothing_on_the_real_memcached(mode: Mode, locking: Option<&str>) {
    if lab::store::memcached().is_none() {
        eprintln!("skipped: memcached is not installed (Debian: apt-get install memcached)");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = match locking {
        Some(locking) => format!("chaos-{mode}-{locking}"),
        None => format!("chaos-{mode}"),
    };
    let arguments = ["run", "--json", "--store", "memcached", &name].map(str::to_owned);
    let output = run(arguments, folder.path());
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = result["results"].as_array().expect("results");
    assert_eq!(rows.len(), 1, "{result:#}");
    assert_eq!(rows[0]["as_expected"], true, "{:#}", rows[0]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn with_locks_nothing_acknowledged_is_lost() {
    loses_nothing_on_the_real_memcached(Mode::Msm, Some("all"));
}

#[test]
fn with_merges_nothing_acknowledged_is_lost() {
    loses_nothing_on_the_real_memcached(Mode::Msm, Some("merge"));
}

#[test]
fn with_sticky_sessions_nothing_acknowledged_is_lost() {
    loses_nothing_on_the_real_memcached(Mode::MsmSticky, None);
}

fn survives_the_death_of_each_node(mode: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A death every three seconds, and four nodes.
    let arguments =
        format!("load {mode} --parallel 4 --kill --rate 100 --users 10 --duration 13s --json");
    let output = run(arguments.split(' '), folder.path());
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for anomaly in ["A1", "A2", "A3"] {
        assert_eq!(result["anomalies"][anomaly], 0, "{result:#}");
    }
    let said = text(&output.stderr);
    for node in ["TomcatA", "TomcatB", "n1", "n2"] {
        assert!(said.contains(&format!("{node} is killed")), "{said}");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(result["all"]["ok"].as_u64() > Some(1000), "{result:#}");
}

#[test]
fn a_load_with_locks_and_overlapping_requests_survives_the_death_of_each_node() {
    survives_the_death_of_each_node("--mode msm --locking all");
}

#[test]
fn a_sticky_load_with_overlapping_requests_survives_the_death_of_each_node() {
    survives_the_death_of_each_node("--mode msm_sticky");
}
