//! Every process is killed in turn while users have several requests under way on each session: nothing acknowledged is lost.

mod support;

use lab::mode::Mode;
use lab::scenario::Verdict;
use serde_json::Value;
use support::{run, text};

/// The rows of `lab run` with store nodes, on the real memcached; on our store they are among the scenarios of `tests/run.rs`.
#[test]
fn on_the_real_memcached_nothing_acknowledged_is_lost() {
    if lab::store::memcached().is_none() {
        eprintln!("skipped: memcached is not installed (Debian: apt-get install memcached)");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scenarios = lab::scenario::chaos::rows();
    // The stock one loses what it is expected to lose, on either store.
    let stored = scenarios.iter().map(|scenario| scenario.about());
    let stored = stored.filter(|about| about.verdict == Verdict::Confirmed);
    let stored = stored.filter(|about| matches!(about.mode, Mode::Msm | Mode::MsmSticky));
    let names: Vec<String> = stored.map(|about| about.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let arguments = ["run", "--json", "--store", "memcached"].map(str::to_owned);
    let output = run(arguments.into_iter().chain(names), folder.path());
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for row in result["results"].as_array().expect("results") {
        assert_eq!(row["as_expected"], true, "{row:#}");
    }
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_load_with_overlapping_requests_survives_the_death_of_each_node() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A death every three seconds, and four nodes.
    let arguments =
        "load --mode msm_sticky --parallel 4 --kill --rate 100 --users 10 --duration 13s --json";
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
