//! Which scenarios are chosen, and that nothing is judged without evidence.

use std::collections::BTreeSet;

use super::choice::{choose, playable};
use super::judge;
use crate::app::{App, Apps};
use crate::history::{Ask, Entry, History, Outcome, Request};
use crate::mode::Mode;
use crate::scenario::{self, Verdict};

fn names(words: &[&str], mode: Option<Mode>) -> Vec<String> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let chosen = choose(&words.iter().collect::<Vec<_>>(), mode, None).expect("known");
    chosen
        .iter()
        .map(|scenario| scenario.about().name)
        .collect()
}

#[test]
fn scenarios_are_chosen_by_name_claim_and_mode() {
    assert_eq!(names(&["alternates"], None), ["alternates"]);
    assert_eq!(
        names(&["c8"], None),
        ["kill-node-ip_hash", "kill-node-session_sticky"]
    );
    assert_eq!(names(&["C8"], Some(Mode::IpHash)), ["kill-node-ip_hash"]);
    assert_eq!(names(&["C1", "C2"], None), ["alternates", "alias"]);
    assert!(names(&["ip-hash"], None).contains(&"ip_hash-keeps".to_owned()));
    assert_eq!(names(&[], None).len(), scenario::all().len());
    let word = "alternate".to_owned();
    let error = choose(&[&word], None, None).err().expect("unknown");
    assert!(
        error.to_string().contains("did you mean `alternates`?"),
        "{error}"
    );
}

const MIXED: Apps = Apps {
    a: App::Appserver,
    b: App::Tomcat,
};

#[test]
fn only_modes_that_a_real_tomcat_has_not_got_are_refused_with_one() {
    let with_tomcat = |word: &str| {
        let word = word.to_owned();
        let chosen = choose(&[&word], None, None).expect("known");
        playable(chosen, &[&word], MIXED)
    };
    let all = with_tomcat("cluster").expect("some are left");
    assert_eq!(all.len(), names(&["cluster"], None).len());
    let error = with_tomcat("two-writes-msm-all").err().expect("refused");
    assert!(error.to_string().contains("Choose another mode"), "{error}");
}

/// With ours nothing is lost; a real member loses by its rules, and whoever is not asked of it keeps its promise.
#[test]
fn what_is_expected_depends_on_the_servers() {
    let [ours, tomcat] = App::ALL;
    let loses = |name: &str, a, b| {
        let all = scenario::all();
        let one = all.iter().find(|one| one.about().name == name);
        let about = one.expect("known").about_with(Apps { a, b });
        about.verdict == Verdict::Refuted
    };
    for name in [
        "partition-cluster",
        "two-writes-cluster",
        "logout-meanwhile-cluster",
        "chaos-cluster",
        "partition-backup",
        "two-writes-backup",
        "logout-meanwhile-backup",
        "chaos-backup",
    ] {
        assert!(!loses(name, ours, ours), "{name}");
        assert!(
            loses(name, ours, tomcat) && loses(name, tomcat, tomcat),
            "{name}"
        );
    }
    assert!(!loses("frozen-cluster", ours, tomcat));
    assert!(loses("frozen-cluster", tomcat, ours));
    assert!(!loses("kill-node-cluster", tomcat, tomcat));
}

#[test]
fn names_are_unique_and_the_articles_claims_are_there() {
    let abouts: Vec<_> = scenario::all()
        .iter()
        .map(|scenario| scenario.about())
        .collect();
    let names: BTreeSet<&str> = abouts.iter().map(|about| about.name.as_str()).collect();
    assert_eq!(names.len(), abouts.len());
    for claim in [
        "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C15", "C16", "C19",
    ] {
        assert!(
            abouts.iter().any(|about| about.claim == claim),
            "{claim} is played"
        );
    }
}

/// Nothing seen, or nothing certain: nobody may be confirmed or refuted.
#[test]
fn without_evidence_every_verdict_is_unknown() {
    for scenario in scenario::all() {
        let about = scenario.about();
        let mut history = History::default();
        for certain in [false, true] {
            if certain {
                history.entries.push(Entry::Request(Box::new(Request {
                    at_us: 0,
                    latency_us: 1,
                    who: "browser".into(),
                    from: None,
                    what: Ask::Session,
                    sent_session: None,
                    outcome: Outcome::Unknown("timeout".into()),
                })));
            }
            let finding = judge(scenario.as_ref(), &about, &history);
            assert_eq!(
                finding.verdict,
                Verdict::Unknown,
                "{}: {finding:?}",
                about.name
            );
        }
    }
}
