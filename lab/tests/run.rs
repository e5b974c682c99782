//! `lab run` on stages of its own: claims come out as the lab expects, and nothing is left behind.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Running, children, gone, lab, run, signal, text, wait_for};

/// Processes whose command line names this folder.
fn processes_of(folder: &Path) -> Vec<u32> {
    let folder = folder.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let names_it = |id: &u32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        text(&line).contains(&folder)
    };
    ids.filter(names_it).filter(|id| !gone(*id)).collect()
}

/// Of each kind of experiment one that does not take long; `.ci/claims` plays all of them.
const A_HANDFUL: [&str; 17] = [
    "alternates",
    "alias",
    "ip_hash-two-browsers",
    "ip_hash-imbalance",
    "sticky-foreign-id",
    "kill-node-session_sticky",
    "set-cookie",
    "cluster-flips",
    "kill-node-cluster",
    "first-request",
    "kill-store-msm",
    "locking-mode-stock",
    "no-fault-backup",
    "add-node-ip_hash",
    "restart-proxy-session_sticky",
    "one-link-msm",
    "two-writes-msm-stock",
];

#[test]
fn a_handful_of_scenarios_ends_as_expected() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let words = ["run", "--json", "--seed", "1"];
    let output = run(words.into_iter().chain(A_HANDFUL), folder.path());
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = result["results"].as_array().expect("results");
    for row in rows {
        assert_eq!(row["as_expected"], true, "{row:#}");
        assert!(row["requests"].as_u64() > Some(0), "{row:#}");
    }
    assert_eq!(output.status.code(), Some(0));
    let played: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["scenario"].as_str())
        .collect();
    assert_eq!(played, A_HANDFUL);
    // What was seen is there for whoever doubts a verdict.
    let runs = std::fs::read_dir(folder.path().join("lab-runs")).expect("run folders");
    let run_folder = runs.flatten().next().expect("one run").path();
    let kept = std::fs::read_to_string(run_folder.join("result.json")).expect("written");
    assert_eq!(serde_json::from_str::<Value>(&kept).expect("JSON"), result);
    let history =
        std::fs::read_to_string(run_folder.join("alternates/history.jsonl")).expect("written");
    assert!(history.lines().count() >= 12, "{history}");
    assert!(run_folder.join("alternates/TomcatA.log").exists());
    assert_eq!(
        processes_of(folder.path()),
        Vec::<u32>::new(),
        "no node is left"
    );
}

#[test]
fn a_seed_plays_the_same_again_and_markdown_is_a_table() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let once = || {
        let output = run(
            ["run", "C5", "C8", "--markdown", "--seed", "42"],
            folder.path(),
        );
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let table = once();
    assert_eq!(table, once());
    assert!(table.starts_with("| Claim | Mode |"), "{table}");
    assert!(
        table
            .lines()
            .all(|line| line.starts_with("| ") || line.starts_with("|---")),
        "{table}"
    );
    assert_eq!(table.lines().count(), 5, "{table}");
}

#[test]
fn ctrl_c_ends_a_run_and_its_stage() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut running = Running::start(lab(["run"]), folder.path());
    wait_for("a stage", || children(running.0.id()).len() >= 3);
    signal(running.0.id(), "-INT");
    assert_eq!(running.wait(), Some(130));
    wait_for("no node", || processes_of(folder.path()).is_empty());
}

#[test]
fn load_starts_a_stage_of_its_own_and_counts_what_the_mode_loses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (mode, loses) in [
        ("round_robin", true),
        ("session_sticky", false),
        ("msm", false),
        ("msm_sticky", false),
        ("cluster", false),
    ] {
        let arguments = format!("load --mode {mode} --rate 200 --users 10 --duration 1s --json");
        let output = run(arguments.split(' '), folder.path());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{mode}: {}",
            text(&output.stderr)
        );
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let lost = result["anomalies"]["A1"].as_u64().expect("counted");
        assert_eq!(lost > 0, loses, "{mode}: {result:#}");
        assert_eq!(
            result["nodes"].as_object().map(serde_json::Map::len),
            Some(2),
            "{mode}: {result:#}"
        );
    }
    assert_eq!(
        processes_of(folder.path()),
        Vec::<u32>::new(),
        "no node is left"
    );
}

#[test]
fn list_names_every_scenario() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = run(["list"], folder.path());
    assert_eq!(output.status.code(), Some(0));
    let list = text(&output.stdout);
    for word in [
        "alternates",
        "C15",
        "kill-node-session_sticky",
        "round_robin",
    ] {
        assert!(list.contains(word), "{word} is in\n{list}");
    }
    let output = run(["list", "--json"], folder.path());
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["schema"], "lnmt-lab/list/1");
    let scenarios = json["scenarios"].as_array().expect("scenarios");
    assert_eq!(scenarios.len(), list.lines().count());
    assert_eq!(scenarios[0]["expected_verdict"], "confirmed", "{json:#}");
}
