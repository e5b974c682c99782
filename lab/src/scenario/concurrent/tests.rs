//! The judges of both rows, with written histories.

use super::BROWSERS;
use crate::scenario::Verdict::{Confirmed, Refuted, Unknown};
use crate::scenario::tests::judged;

/// One line per browser, with its number in place of `%`.
fn each(lines: &str) -> String {
    (0..BROWSERS)
        .map(|number| lines.replace('%', &number.to_string()) + "\n")
        .collect()
}

#[test]
fn of_two_writes_both_must_be_there() {
    let before = each("b% A %\nb% slow@A %\nkeep t% %\nt% set@B %") + "== after\n";
    let both = each("b% get@A % =new\nb% get@B % =new");
    let one_gone = both.replacen("=new", "=old", 1);
    let nothing = each("b% get@A % =new\nb% get@?");
    for name in [
        "two-writes-msm-all",
        "two-writes-msm-stock",
        "two-writes-msm_sticky",
    ] {
        judged(
            name,
            &[
                (Confirmed, &(before.clone() + &both)),
                (Refuted, &(before.clone() + &one_gone)),
                (Unknown, &(before.clone() + &nothing)),
                (Unknown, &both),
            ],
        );
    }
}

#[test]
fn an_ended_session_must_stay_away() {
    let before = "b A 1\nb slow@!\nkeep t 1\nt logout@B -\n== after\nkeep b 1\n";
    let case = |after: &str| before.to_owned() + after;
    for name in ["logout-meanwhile-msm-all", "logout-meanwhile-msm-stock"] {
        judged(
            name,
            &[
                (Confirmed, &case("b get@A -\nkeep b 1\nb get@B -")),
                (Confirmed, &case("b get@A -\nkeep b 1\nb get@B 2")),
                (Refuted, &case("b get@A -\nkeep b 1\nb get@B 1 =new")),
                (Unknown, &case("b get@A -\nkeep b 1\nb get@?")),
                (Unknown, "b A 1\n== after\nb A 1"),
            ],
        );
    }
}
