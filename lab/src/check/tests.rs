//! The questions of `check.rs`, each with histories that answer it in every way.

use super::{alternation, failures, fates, homes, load, moved, nodes, session_ids, skew, unknowns};
use crate::history::script::history;
use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use proptest::{collection, prop_assert, prop_assert_eq};
use std::collections::BTreeSet;

#[test]
fn alternation_is_strict_none_or_between() {
    for (text, strict, none) in [
        ("b A\nb B\nb A\nb B", true, false),
        ("b A\nb A\nb A", false, true),
        ("b A\nb B\nb B\nb A", false, false),
        ("b A", false, true),
        ("b ?", false, false),
        // An answer that never came breaks nothing and proves nothing.
        ("b A\nb ?\nb B", true, false),
    ] {
        let found = alternation(history(text).requests());
        assert_eq!((found.strict(), found.none()), (strict, none), "{text}");
    }
}

#[test]
fn nodes_ids_and_load_are_counted() {
    let history = history("b A 1\nc B 2\nb A 1\nc ?\nd !");
    assert_eq!(
        nodes(history.requests()).into_iter().collect::<Vec<_>>(),
        ["A", "B"]
    );
    assert_eq!(session_ids(history.of("b")).len(), 1);
    assert_eq!(
        load(history.requests()).into_iter().collect::<Vec<_>>(),
        [("A", 2), ("B", 1)]
    );
    assert_eq!(unknowns(&history), (1, Some("timeout")));
    assert_eq!(failures(&history), (1, Some("refused")));
}

#[test]
fn skew_is_the_busiest_share_over_the_fair_share() {
    for (load, nodes, expected) in [
        (vec![10, 10], 2, Some(1.0)),
        (vec![20], 2, Some(2.0)),
        (vec![30, 10], 2, Some(1.5)),
        (vec![], 2, None),
        (vec![0], 2, None),
    ] {
        assert_eq!(skew(load.clone(), nodes), expected, "{load:?}");
    }
}

#[test]
fn a_session_without_its_goods_is_lost() {
    let history = history(
        "whole A 1 book,lamp\nempty A 2 book,lamp\nhalf A 3 book,lamp\n== killed\nwhole B 1 book,lamp\nempty B 2\nhalf B 3 book",
    );
    let fates = fates(&history, "killed");
    assert_eq!(fates.kept.into_iter().collect::<Vec<_>>(), ["whole"]);
    assert_eq!(
        fates.lost.into_iter().collect::<Vec<_>>(),
        ["empty", "half"]
    );
}

#[test]
fn sessions_are_kept_lost_or_nobody_knows() {
    let history = history(
        "kept A 1\nlost A 2\nmute A 3\nnone A 4\nlate B 5\n== killed\nkept B 1\nlost B 9\nmute ?\nnone B\nlate ?\nlate B 5\nnew B 7",
    );
    let fates = fates(&history, "killed");
    let of = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(of(&fates.kept), "kept late");
    assert_eq!(of(&fates.lost), "lost none");
    assert_eq!(of(&fates.unknown), "mute");
    assert_eq!(fates.total(), 5);
    assert_eq!(fates.only(|who| who == "lost").total(), 1);
    let moved = moved(&history, "killed");
    assert_eq!(of(&moved), "kept lost none");
    assert_eq!(homes(&history).get("mute").map(String::as_str), Some("A"));
}

/// Lines of answers, missing answers and refusals of three browsers, two nodes and three IDs.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let who = prop_oneof![Just("b"), Just("c"), Just("d")];
    let outcome = prop_oneof![
        1 => Just("?".to_owned()),
        1 => Just("!".to_owned()),
        6 => (prop_oneof![Just("A"), Just("B")], 1..4u8).prop_map(|(node, id)| format!("{node} {id}")),
        1 => Just("A -".to_owned()),
    ];
    collection::vec(
        (who, outcome).prop_map(|(who, outcome)| format!("{who} {outcome}")),
        0..30,
    )
}

proptest! {
    /// Removing answers can hide an alternation, never invent one; strict and none exclude each other.
    #[test]
    fn alternation_counts_changes_between_neighbours(lines in lines()) {
        let history = history(&lines.join("\n"));
        let found = alternation(history.requests());
        prop_assert!(found.changes < found.answers.max(1));
        prop_assert!(!(found.strict() && found.none()));
        prop_assert_eq!(found.none(), nodes(history.requests()).len() == 1);
        prop_assert_eq!(load(history.requests()).values().sum::<usize>(), found.answers);
    }

    #[test]
    fn skew_is_between_fair_and_everything_on_one(load in collection::vec(0usize..1000, 1..6)) {
        let nodes = load.len();
        if let Some(skew) = skew(load.iter().copied(), nodes) {
            prop_assert!((0.999..=nodes as f64 + 0.001).contains(&skew), "{skew}");
        } else {
            prop_assert_eq!(load.iter().sum::<usize>(), 0);
        }
    }

    /// Everybody who had a session has exactly one fate, and only answers decide between kept and lost.
    #[test]
    fn fates_are_a_partition(before in lines(), after in lines()) {
        let (before, after) = (before.join("\n"), after.join("\n"));
        let whole = history(&format!("{before}\n== mark\n{after}"));
        let found = fates(&whole, "mark");
        let (first, second) = whole.split("mark");
        let had: BTreeSet<&str> =
            first.browsers().into_iter().filter(|who| !session_ids(first.of(who)).is_empty()).collect();
        prop_assert_eq!(found.total(), had.len());
        let all = found.kept.iter().chain(&found.lost).chain(&found.unknown);
        prop_assert_eq!(all.map(String::as_str).collect::<BTreeSet<_>>(), had);
        for who in found.unknown {
            prop_assert!(second.of(&who).all(|request| request.answer().is_none()));
        }
        for who in found.kept {
            prop_assert!(!session_ids(second.of(&who)).is_disjoint(&session_ids(first.of(&who))));
        }
    }

    /// Nothing seen twice is different: a history compared with itself moved nobody.
    #[test]
    fn nobody_moves_when_nothing_changes(node in prop_oneof![Just("A"), Just("B")], times in 1usize..5) {
        let same = format!("b {node} 1\n").repeat(times);
        let whole = history(&format!("{same}== mark\n{same}"));
        prop_assert!(moved(&whole, "mark").is_empty());
        prop_assert_eq!(fates(&whole, "mark").kept.len(), 1);
    }
}
