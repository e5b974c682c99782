//! The real Tomcat as the second server: the experiments that need no promise of ours come out the same.

mod support;

use serde_json::Value;
use support::{lab, text};

/// Plays what `words` name with TomcatB as the real one; every verdict must be as expected.
fn play(words: &[&str]) {
    if !lab::tomcat::is_installed() {
        eprintln!(
            "skipped: Tomcat 10 is not installed (Debian: apt-get install tomcat10 openjdk-17-jre-headless)"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["run", "--json", "--seed", "1"]
        .into_iter()
        .chain(words.iter().copied());
    let output = lab(arguments)
        .env("APP_B", "tomcat")
        .current_dir(folder.path())
        .output()
        .expect("lab runs");
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = result["results"].as_array().expect("results");
    for row in rows {
        assert_eq!(row["as_expected"], true, "{row:#}");
    }
    assert!(!rows.is_empty(), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn each_for_itself() {
    play(&["alternates", "sticky-finer", "alias"]);
}

#[test]
fn members_of_one_cluster() {
    if lab::mode::Mode::Cluster.is_built() {
        play(&["cluster"]);
    }
}
