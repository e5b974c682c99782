//! Every judge with written histories: what confirms, what refutes, what only qualifies, what says too little.

use super::Verdict::{Confirmed, Qualified, Refuted, Unknown};
use super::{Verdict, all};
use crate::history::script::history;

/// The verdict of the scenario `name` on a history.
#[track_caller]
pub(crate) fn judged(name: &str, cases: &[(Verdict, &str)]) {
    let all = all();
    let scenario = all
        .iter()
        .find(|scenario| scenario.about().name == name)
        .expect("a scenario");
    for (verdict, text) in cases {
        let finding = scenario.judge(&history(text));
        assert_eq!(finding.verdict, *verdict, "{name}: {finding:?}\n{text}");
        assert!(
            !finding.why.is_empty() && !finding.observed.is_empty(),
            "{finding:?}"
        );
    }
}

#[test]
fn c1_strict_alternation_with_a_new_id_each_time() {
    judged(
        "alternates",
        &[
            (Confirmed, "b A 1\nb B 2\nb A 3\nb B 4"),
            (Qualified, "b A 1\nb A 1\nb B 2\nb A 3"),
            (Refuted, "b A 1\nb B 1\nb A 1\nb B 1"),
            (Refuted, "b A 1\nb A 1\nb A 1"),
        ],
    );
}

#[test]
fn c2_both_contexts_answer_with_sessions_of_their_own() {
    judged(
        "alias",
        &[
            (
                Confirmed,
                "j /jsp/@A 1\nt /test/@A 2\nj /jsp/@A 1\nt /test/@A 2",
            ),
            (Qualified, "j /jsp/@A 1\nj /test/@A 1"),
            (Refuted, "j /jsp/@A 1\nt /test/@!"),
            (Unknown, "j /jsp/@A 1"),
        ],
    );
}

#[test]
fn c3_c4_one_browser_and_two() {
    judged(
        "ip_hash-keeps",
        &[
            (Confirmed, "b A 1\nb A 1"),
            (Refuted, "b A 1\nb B 2"),
            (Refuted, "b A 1\nb A 2"),
        ],
    );
    judged(
        "ip_hash-two-browsers",
        &[
            (
                Qualified,
                "first A 1\nsecond A 2\nkeep window 1\nwindow A 1",
            ),
            (Confirmed, "first A 1\nsecond A 1"),
            (Refuted, "first A 1\nsecond B 2"),
            (Unknown, "first A 1\nsecond ?"),
        ],
    );
}

#[test]
fn c5_neighbours_on_one_server_and_strangers_on_both() {
    let mark = "\n== strangers come\n";
    let stage = "@ A up\n@ B up\n";
    let case = |neighbours: &str, strangers: &str| format!("{neighbours}{mark}{strangers}");
    let together = "n1 A 1\nn2 A 2\nn3 A 3";
    judged(
        "ip_hash-imbalance",
        &[
            (Confirmed, &case(together, "s1 A 4\ns2 B 5")),
            (Refuted, &case("n1 A 1\nn2 B 2", "s1 A 4\ns2 B 5")),
            (Unknown, &case(together, "s1 A 4\ns2 A 5")),
            // There are two servers, and nobody at all reaches the other.
            (
                Qualified,
                &(stage.to_owned() + &case(together, "s1 A 4\ns2 A 5")),
            ),
        ],
    );
}

#[test]
fn c6_c7_cookies_of_the_proxy() {
    judged(
        "sticky-foreign-id",
        &[
            (Confirmed, "keep b old\nb A 1\nb A 1\nb A 1"),
            (Refuted, "keep b old\nb A old\nb A old"),
            (Refuted, "keep b old\nb A 1\nb B 2"),
            (Unknown, "b A 1\nb A 1"),
        ],
    );
    judged(
        "sticky-finer",
        &[
            (Confirmed, "b A 1\nc B 2\nb A 1\nc B 2"),
            (Qualified, "b A 1\nc B 2\nb B 3\nc B 2"),
            (Refuted, "@ A up\n@ B up\nb A 1\nc A 2"),
            (Unknown, "b A 1\nc A 2"),
        ],
    );
}

#[test]
fn c8_the_dead_servers_sessions() {
    let before = "a1 A 1 x\na2 A 2 x\nb1 B 3 x\n== killed\n@ A down\n";
    let case = |after: &str| before.to_owned() + after;
    for mode in ["ip_hash", "session_sticky"] {
        judged(
            &format!("kill-node-{mode}"),
            &[
                (Confirmed, &case("a1 B -\na2 B -\nb1 B 3 x")),
                // An answer that had to be asked for twice is an answer.
                (Confirmed, &case("a1 ?\na1 B -\na2 B -\nb1 B 3 x")),
                (Qualified, &case("a1 B -\na2 B 2 x\nb1 B 3 x")),
                (Qualified, &case("a1 B -\na2 B -\nb1 B -")),
                // The same ID with an empty cart is a lost session.
                (Qualified, &case("a1 B -\na2 B -\nb1 B 3")),
                (Refuted, &case("a1 B 1 x\na2 B 2 x\nb1 B 3 x")),
                (Unknown, &case("a1 B -\na2 ?\nb1 B 3 x")),
                (Unknown, "b1 B 3\n== killed\n@ A down\nb1 B 3"),
                (Unknown, "a1 A 1\na1 A 1"),
            ],
        );
    }
    judged(
        "kill-node-round_robin",
        &[
            (Qualified, &case("a1 B -\na2 B -\nb1 B 3 x")),
            (Confirmed, &case("a1 B -\na2 B -\nb1 B -")),
            (Refuted, &case("a1 B 1 x\na2 B -\nb1 B 3 x")),
            (Unknown, &case("a1 ?\na2 B -\nb1 B 3 x")),
        ],
    );
}

#[test]
fn c15_the_cookie_comes_with_a_new_id_only() {
    judged(
        "set-cookie",
        &[
            (Qualified, "b A 1\nb A 1\nb A 2\nb A 2"),
            (Confirmed, "b A 1\nb B 2\nb A 3"),
            (Unknown, "b A -\nb A -"),
        ],
    );
}

#[test]
fn rows_of_the_expectation_table() {
    judged(
        "no-fault-round_robin",
        &[(Confirmed, "b A 1\nb B 2"), (Refuted, "b A 1\nb A 1")],
    );
    judged(
        "no-fault-ip_hash",
        &[
            (Confirmed, "b A 1\nb A 1\nc B 2\nc B 2"),
            (Refuted, "b A 1\nb B 2"),
            (Refuted, "b A 1\nb A 2"),
        ],
    );
    judged(
        "rolling-restart-ip_hash",
        &[
            (Confirmed, "b A 1\nc B 2\n== restart\nb A -\nc B 3"),
            (Qualified, "b A 1\nc B 2\n== restart\nb A 1\nc B 3"),
            (Refuted, "b A 1\nc B 2\n== restart\nb A 1\nc B 2"),
            (Unknown, "b A 1\nc B 2\n== restart\nb A -\nc ?"),
            (Unknown, "b A -\n== restart\nb A -"),
        ],
    );
    judged(
        "restart-proxy-session_sticky",
        &[
            (Confirmed, "b A 1\nc B 2\n== restart\nb A 1\nc B 2"),
            (Qualified, "b A 1\nc B 2\n== restart\nb A 1\nc A 3"),
            (Refuted, "b A 1\n== restart\nb B 3"),
            (Unknown, "b A 1\n== restart\nb ?"),
        ],
    );
    judged(
        "add-node-ip_hash",
        &[
            (
                Confirmed,
                "b A 1\nc B 2\nd B 3\n== grown\nb C 4\nc A 5\nd B 3",
            ),
            (
                Refuted,
                "b A 1\nc B 2\nd B 3\n== grown\nb A 1\nc C 4\nd B 3",
            ),
            (Unknown, "b A 1\n== grown\nb ?"),
        ],
    );
    judged(
        "add-node-msm",
        &[
            (Confirmed, "b A 1\nc B 2\n== grown\nb C 1\nc A 2"),
            (Refuted, "b A 1\nc B 2\n== grown\nb C 3\nc A 2"),
        ],
    );
    judged(
        "add-node-session_sticky",
        &[
            (Confirmed, "b A 1\nc B 2\n== grown\nb A 1\nc B 2"),
            (Refuted, "b A 1\nc B 2\n== grown\nb A 1\nc C 3"),
        ],
    );
}

#[test]
fn c16_every_server_serves_the_id_that_names_its_store_node() {
    judged(
        "msm-shared-id",
        &[
            (Confirmed, "b A 1-n1\nb B 1-n1\nb A 1-n1"),
            (Qualified, "b A 1-n1\nb A 1-n1\nb B 1-n1"),
            (Refuted, "b A 1-n1\nb B 2-n2\nb A 3-n1"),
            (Refuted, "b A 1\nb B 1\nb A 1"),
            (Unknown, "b A -\nb B -"),
        ],
    );
    judged(
        "no-fault-msm",
        &[
            (Confirmed, "b A 1\nb B 1"),
            (Refuted, "b A 1\nb B 2"),
            (Refuted, "b A 1\nb A 1"),
        ],
    );
}

#[test]
fn c19_what_store_nodes_have_outlives_servers_and_one_of_them() {
    let (one, two) = ("47A70B5E441B8E80873DDC35E0D36EC1", "0".repeat(32));
    let before = format!("a A {one}-n1.WEB1 x\nb B {two}-n2.WEB2 x\n== broken\n@ A down\n");
    for name in ["kill-node", "kill-store", "rolling-restart"] {
        for mode in ["msm", "msm_sticky"] {
            let case = |after: &str| before.clone() + after;
            let cases = [
                (
                    Confirmed,
                    case(&format!("a B {one}-n2.WEB2 x\nb B {two}-n2.WEB2 x")),
                ),
                (
                    Qualified,
                    case(&format!("a B {one}-n1.WEB1 x\nb B {two}-n2.WEB2")),
                ),
                (Refuted, case("a B -\nb B 3 x")),
                (Unknown, case(&format!("a ?\nb B {two}-n2.WEB2 x"))),
                (Unknown, "a A -\n== broken\na B -".to_owned()),
            ];
            let cases = cases.each_ref().map(|(v, text)| (*v, text.as_str()));
            judged(&format!("{name}-{mode}"), &cases);
        }
    }
}
