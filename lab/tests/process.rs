//! One child of the lab: it starts, is paused, dies, is reported with its last words, and never outlives its parent.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::process::{Child, Ended, Start, last_words};
use lab::wait::Question;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// A shell script as a child, with its log in `folder`.
async fn script(folder: &Path, script: &str) -> Child {
    let start = Start {
        name: "n1".into(),
        lab: LAB.into(),
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        folder: folder.to_owned(),
    };
    Child::start(start).await.expect("a shell starts")
}

/// The state letter of a process in `/proc/ID/stat`; `None` when there is no such process.
fn state(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 10 s for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn the_last_words_of_a_child_are_its_last_log_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let child = script(
        folder.path(),
        "echo starting; echo 'port taken' >&2; exit 3",
    )
    .await;
    assert_eq!(child.wait().await, Ended::Exited(3));
    let words = last_words(child.log(), Ended::Exited(3));
    assert_eq!(words, "exited with code 3\n    starting\n    port taken");
    let nobody = Question::Http("127.0.0.1:1".parse().expect("an address"));
    let began = Instant::now();
    let failure = child
        .ready(nobody, Duration::from_secs(60))
        .await
        .expect_err("it is dead");
    assert!(failure.to_string().contains("port taken"), "{failure}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "a dead child is not waited for"
    );
}

#[tokio::test]
async fn a_child_is_paused_resumed_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let child = script(
        folder.path(),
        "trap '' TERM; echo deaf; while :; do sleep 0.05; done",
    )
    .await;
    let log = child.log().to_owned();
    let deaf = move || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("deaf"));
    let waited = tokio::task::spawn_blocking(|| wait_for("a script that ignores SIGTERM", deaf));
    waited.await.expect("it does");
    child.pause().await.expect("paused");
    wait_for("a stopped process", || state(child.id()) == Some('T'));
    child.resume().await.expect("resumed");
    wait_for("a running process", || state(child.id()) != Some('T'));
    assert_eq!(child.ended(), None);
    child.pause().await.expect("paused");
    // It ignores SIGTERM and is paused: after the grace period it is killed all the same.
    let ended = child
        .terminate(Duration::from_millis(50))
        .await
        .expect("ended");
    assert_eq!(ended, Ended::Killed(9));
}

#[tokio::test]
async fn a_dropped_child_is_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let child = script(folder.path(), "sleep 1000").await;
    let id = child.id();
    drop(child);
    tokio::task::spawn_blocking(move || wait_for("no process", || state(id).is_none()))
        .await
        .expect("gone");
}

#[test]
fn a_child_dies_with_its_parent_even_when_it_is_stopped() {
    for stopped in [false, true] {
        let mut parent = Command::new("/bin/sh")
            .args(["-c", "\"$0\" leash $$ -- /bin/sleep 1000 & echo $!; wait"])
            .arg(LAB)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut line = String::new();
        let output = parent.stdout.take().expect("piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("the child's id");
        let id: u32 = line.trim().parse().expect("a number");
        let is_sleep = || {
            std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|n| n.trim() == "sleep")
        };
        wait_for("the leash becoming the program", is_sleep);
        if stopped {
            let stop = Command::new("/bin/kill")
                .args(["-STOP", &id.to_string()])
                .status();
            assert!(stop.expect("kill runs").success());
            wait_for("a stopped child", || state(id) == Some('T'));
        }
        parent.kill().expect("killed with SIGKILL");
        parent.wait().expect("reaped");
        // A zombie that nobody reaps in this container is as dead as no process.
        wait_for("no child", || matches!(state(id), None | Some('Z')));
    }
}

#[test]
fn a_leash_whose_holder_is_gone_starts_nothing() {
    let output = Command::new(LAB)
        .args(["leash", "1", "--", "/bin/echo", "started"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty(), "nothing was started");
}
