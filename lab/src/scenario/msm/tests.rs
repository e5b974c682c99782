//! The judges of this room, each with written histories.

use crate::scenario::Verdict::{Confirmed, Qualified, Refuted, Unknown};
use crate::scenario::tests::judged;

/// The digits of a session ID.
const ONE: &str = "47A70B5E441B8E80873DDC35E0D36EC1";

/// `%` is the session.
fn with_id(text: &str) -> String {
    text.replace('%', ONE)
}

const FIRST: &str = "~ A n2 get ping-n2=miss\n~ A n2 set %-n2.WEB1=STORED\n~ A n2 set validity:%-n2.WEB1=STORED\n\
    ~ A n1 get ping-n1=miss\n~ A n1 set bak:%-n2.WEB1=STORED\n~ A n1 set bak:validity:%-n2.WEB1=STORED\nb /jsp/@A %-n2.WEB1\n";
const SECOND: &str = "~ B n2 get ping-n2=miss\n~ B n2 get %-n2.WEB1=hit(0,9)\n~ B n2 get validity:%-n2.WEB1=hit(0,20)\n\
    ~ B n2 set validity:%-n2.WEB1=STORED\n~ B n2 add %-n2.WEB1=NOT_STORED\n~ B n1 get ping-n1=miss\n\
    ~ B n1 add bak:%-n2.WEB1=NOT_STORED\n~ B n1 set bak:validity:%-n2.WEB1=STORED\nb /jsp/@B %-n2.WEB1\n";

#[test]
fn c17_c18_the_commands_of_the_first_and_the_second_request() {
    let whole = |first: &str, second: &str| with_id(&format!("{first}== second request\n{second}"));
    let of_its_own = "~ B n1 get ping-n1=miss\n~ A n1 set other=STORED\n";
    let unpinged = FIRST.replace("~ A n1 get ping-n1=miss\n", "");
    let uncopied = FIRST.replace("~ A n1 set bak:%-n2.WEB1=STORED\n", "");
    let cases = |qualified| {
        [
            (Confirmed, whole(&(of_its_own.to_owned() + FIRST), SECOND)),
            (qualified, whole(&unpinged, SECOND)),
            (Refuted, whole(&uncopied, SECOND)),
            (Refuted, whole("b /jsp/@A %-n2.WEB1\n", SECOND)),
            (Unknown, whole(FIRST, "b /jsp/@A %-n2.WEB1")),
            (Unknown, whole("b /jsp/@?\n", SECOND)),
        ]
    };
    for (name, qualified) in [
        ("first-request-stock", Qualified),
        ("first-request", Confirmed),
    ] {
        let cases = cases(qualified);
        judged(name, &cases.each_ref().map(|(v, text)| (*v, text.as_str())));
    }
    let again = SECOND.replace(
        "n1 add bak:%-n2.WEB1=NOT_STORED",
        "n1 set bak:%-n2.WEB1=STORED",
    );
    let touched = "~ B n2 get %-n2.WEB1=hit(0,9)\n~ B n2 touch %-n2.WEB1=TOUCHED\n~ B n1 touch bak:%-n2.WEB1=TOUCHED\nb /jsp/@B %-n2.WEB1\n";
    let forgotten = "~ B n2 get %-n2.WEB1=hit(0,9)\nb /jsp/@B %-n2.WEB1\n";
    for (name, qualified) in [
        ("second-request-stock", Qualified),
        ("second-request", Confirmed),
    ] {
        let cases = [
            (Confirmed, whole(FIRST, SECOND)),
            (qualified, whole(FIRST, touched)),
            (Refuted, whole(FIRST, &again)),
            (Refuted, whole(FIRST, forgotten)),
            (Unknown, whole(FIRST, "b /jsp/@?")),
        ];
        judged(name, &cases.each_ref().map(|(v, text)| (*v, text.as_str())));
    }
}

#[test]
fn c20_memory_of_idle_sessions() {
    let case = |begun: u32, bytes: u64, kept: u32| {
        format!("# {begun} sessions begun\n# {bytes} bytes\n# {kept} sessions in servers\nb A 1")
    };
    let [little, much, few] = [
        case(3000, 300_000, 0),
        case(3000, 15_000_000, 3000),
        case(30, 0, 0),
    ];
    judged(
        "memory-msm",
        &[
            (Confirmed, &little),
            (Refuted, &much),
            (Unknown, &few),
            (Unknown, "b A 1"),
        ],
    );
    judged(
        "memory-round_robin",
        &[(Confirmed, &much), (Refuted, &little), (Unknown, &few)],
    );
}

#[test]
fn c21_the_failover_node_takes_over() {
    let before = "b A %-n1.WEB1 x\n== n1 dead\n";
    let case = |after: &str| with_id(&(before.to_owned() + after));
    judged(
        "failover-node",
        &[
            (Confirmed, &case("b A %-n2.WEB1 x")),
            (Refuted, &case("b A %-n1.WEB1 x")),
            (Refuted, &case("b B %-n2.WEB2 x")),
            (Refuted, &case("b A 1-n2.WEB1 x")),
            (Unknown, &case("b ?")),
        ],
    );
}

#[test]
fn c22_locks_ignored_requests_and_what_a_response_waits_for() {
    let before = "b append:x@A %-n1.WEB1 x\n== now\n";
    let case = |after: &str| with_id(&(before.to_owned() + after));
    let answer = "b append:y@B %-n1.WEB1 x,y\n";
    let get = "~ B n1 get %-n1.WEB1=hit(0,9)\n";
    for name in ["locking-mode", "locking-mode-stock"] {
        judged(
            name,
            &[
                (
                    Confirmed,
                    &case(&format!("~ B n1 add lock:%-n1.WEB1=STORED\n{get}{answer}")),
                ),
                (
                    Qualified,
                    &case(&format!("{get}~ B n1 add lock:%-n1.WEB1=STORED\n{answer}")),
                ),
                (Refuted, &case(&format!("{get}{answer}"))),
                (Unknown, &case("b append:y@?")),
            ],
        );
    }
    let looks = "b get@B %-n1.WEB1 x\nb A %-n1.WEB1\n";
    judged(
        "ignored-uris",
        &[
            (Confirmed, &case(&format!("{get}{looks}"))),
            (
                Refuted,
                &case(&format!(
                    "{get}~ B n1 set validity:%-n1.WEB1=STORED\n{looks}"
                )),
            ),
            (Refuted, &case("b get@B %-n1.WEB1 x\nb A 2-n1.WEB1")),
            (Unknown, &case("b get@?\nb ?")),
        ],
    );
    // Each line is a microsecond, and so is each answer.
    let (own, copy) = (
        "~ B n1 set %-n1.WEB1=STORED\n",
        "~ B n2 set bak:%-n1.WEB1=STORED\n",
    );
    judged(
        "sync-backup",
        &[
            (Confirmed, &case(&format!("{own}{copy}{answer}"))),
            (
                Qualified,
                &case(&format!("{own}{answer}== settled\n{copy}")),
            ),
            (Refuted, &case(&format!("{answer}== settled\n{own}{copy}"))),
            (Refuted, &case(&format!("{own}{answer}"))),
        ],
    );
}

#[test]
fn store_nodes_that_return_empty_or_cannot_be_reached() {
    for name in [
        "empty-store-msm",
        "empty-store-idle-msm",
        "one-link-msm_sticky",
    ] {
        judged(
            name,
            &[
                (
                    Confirmed,
                    "b append:x@A 1 x\nc append:x@B 2 x\n== broken\nb get@A 1 x\nc get@B 2 x",
                ),
                (
                    Qualified,
                    "b append:x@A 1 x\nc append:x@B 2 x\n== broken\nb get@A 1 x\nc get@B -",
                ),
                (Refuted, "b append:x@A 1 x\n== broken\nb get@A 3"),
                (Unknown, "b append:x@A 1 x\n== broken\nb get@?"),
                (Unknown, "b A -\n== broken\nb A -"),
            ],
        );
    }
}
