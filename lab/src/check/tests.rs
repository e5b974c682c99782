//! The questions of `check.rs`, each with histories that answer it in every way.

use super::{alternation, failures, fates, homes, load, moved, nodes, session_ids, skew, unknowns};
use crate::history::script::history;

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
    let of = |set: &std::collections::BTreeSet<String>| {
        set.iter().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(&fates.kept), "kept late");
    assert_eq!(of(&fates.lost), "lost none");
    assert_eq!(of(&fates.unknown), "mute");
    assert_eq!(fates.total(), 5);
    assert_eq!(fates.only(|who| who == "lost").total(), 1);
    let moved = moved(&history, "killed");
    assert_eq!(of(&moved), "kept lost none");
    assert_eq!(homes(&history).get("mute").map(String::as_str), Some("A"));
}
