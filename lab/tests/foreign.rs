//! `lab run` and `lab load` on somebody else's site: what is right is confirmed, what is wrong is found.

mod support;

use serde_json::Value;
use support::foreign::{Fault, start};
use support::{run, text};

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {} {}", text(&output.stdout), text(&output.stderr)))
}

fn verdicts(result: &Value) -> Vec<(String, String)> {
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = result["results"].as_array().expect("results");
    rows.iter()
        .map(|row| (word(row, "scenario"), word(row, "verdict")))
        .collect()
}

#[test]
fn a_foreign_site_is_judged_and_what_needs_a_stage_is_unknown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("http://{}/app/", start(Fault::None));
    let site = [
        "--base-url",
        &url,
        "--session-cookie",
        "sid",
        "--json",
        "--seed",
        "7",
    ];
    let output = run(
        ["run", "C15", "no-fault-session_sticky", "alias"]
            .iter()
            .chain(&site),
        folder.path(),
    );
    let result = json(&output);
    assert_eq!(
        output.status.code(),
        Some(2),
        "unknown: {}",
        text(&output.stderr)
    );
    assert_eq!(result["schema"], "lnmt-lab/run/1");
    assert_eq!(result["seed"], 7);
    assert_eq!(result["base_url"], url.as_str());
    let found = verdicts(&result);
    for (scenario, verdict) in [
        ("set-cookie", "qualified"),
        ("no-fault-session_sticky", "confirmed"),
        ("alias", "unknown"),
    ] {
        assert!(
            found.contains(&(scenario.into(), verdict.into())),
            "{scenario} {verdict} is in {found:?}"
        );
    }
    let why = result["results"]
        .as_array()
        .and_then(|rows| rows[0]["why"].as_str().map(str::to_owned));
    assert!(
        why.is_some_and(|why| why.contains("needs a stage")),
        "{result}"
    );
    assert_eq!(
        run(["run", "C15"].iter().chain(&site), folder.path())
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn a_site_that_forgets_sessions_fails() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("http://{}/app/", start(Fault::ForgetsSessions));
    let arguments = [
        "run",
        "no-fault-session_sticky",
        "--base-url",
        &url,
        "--session-cookie",
        "sid",
        "--json",
    ];
    let output = run(arguments, folder.path());
    let result = json(&output);
    assert_eq!(output.status.code(), Some(1), "{result}");
    assert_eq!(verdicts(&result)[0].1, "refuted");
    assert!(
        result["results"][0]["anomalies"]["A1"].as_u64() > Some(0),
        "{result}"
    );
}

/// Each fault is found under its own code, and no other code accuses the site.
#[test]
fn load_counts_each_anomaly_under_its_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (fault, expected) in [
        (Fault::None, None),
        (Fault::ForgetsSessions, Some("A1")),
        (Fault::LosesItems, Some("A2")),
        (Fault::KeepsZombies, Some("A3")),
        (Fault::ReadsStale, Some("A4")),
        (Fault::ChurnsIds, Some("A7")),
        (Fault::MovesBrowsers, Some("A10")),
    ] {
        let url = format!("http://{}/app/", start(fault));
        let arguments = "load --session-cookie sid --mode session_sticky --rate 1000 --users 10 --duration 1s --seed 7 --json --base-url";
        let output = run(arguments.split(' ').chain([url.as_str()]), folder.path());
        let result = json(&output);
        assert_eq!(result["schema"], "lnmt-lab/load/1");
        let anomalies = result["anomalies"].as_object().expect("anomalies");
        // A second node that answers a tenth of the requests is a skew as well.
        let seen: Vec<&str> = anomalies
            .iter()
            .filter(|(code, count)| count.as_u64() > Some(0) && *code != "A11")
            .map(|(code, _)| code.as_str())
            .collect();
        assert_eq!(seen, Vec::from_iter(expected), "{fault:?}: {anomalies:?}");
        let code = if expected.is_some() { 1 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{fault:?}");
        let all = &result["all"];
        assert!(all["ok"].as_u64() > Some(800), "{fault:?}: {all}");
        assert_eq!(
            (&all["failed"], &all["unknown"]),
            (&Value::from(0), &Value::from(0)),
            "{fault:?}"
        );
        assert!(all["latency"]["p50_us"].as_u64() > Some(0), "{all}");
    }
}

#[test]
fn a_site_that_does_not_answer_is_no_site() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("http://{}/app/", support::free_address());
    let output = run(["run", "C15", "--base-url", &url, "--json"], folder.path());
    let result = json(&output);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(verdicts(&result)[0].1, "unknown");
    let output = run(
        ["load", "--duration", "200ms", "--base-url", &url],
        folder.path(),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("cannot connect"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn wrong_usage_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (arguments, said) in [
        ("run alternate", "did you mean `alternates`?"),
        ("run --base-url http://127.0.0.1:1/", "Say --mode"),
        ("run --mode stiky", "session_sticky"),
        (
            "run --base-url https://127.0.0.1/ C1",
            "http://HOST:PORT/CONTEXT/",
        ),
        ("load --rate 0", "--rate above 0"),
        ("load --duration 0", "--duration above 0"),
        ("load --users 0", "--users"),
        ("", "lab --help"),
        ("upp", "up"),
    ] {
        let output = run(arguments.split_whitespace(), folder.path());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains(said), "{arguments}: {error}");
    }
}
