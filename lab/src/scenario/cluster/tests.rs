//! The judges of this room, each with written histories.

use crate::scenario::Verdict::{Confirmed, Qualified, Refuted, Unknown};
use crate::scenario::tests::judged;

#[test]
fn c9_the_route_flips_and_the_session_stays() {
    let id = "47A70B5E441B8E80873DDC35E0D36EC1";
    let case = |text: &str| text.replace('%', id);
    judged(
        "cluster-flips",
        &[
            (Confirmed, &case("b A %.WEB1\nb B %.WEB2\nb A %.WEB1")),
            (Qualified, &case("b A %.WEB1\nb A %.WEB1\nb B %.WEB2")),
            (Qualified, &case("b A %\nb B %\nb A %")),
            (Refuted, &case("b A %.WEB1\nb B 2.WEB2\nb A 3.WEB1")),
            (Unknown, "b A -\nb B -"),
        ],
    );
}

#[test]
fn c10_heartbeats_and_silence() {
    let case = |every: u32, dropped: &str| {
        format!("# 2 members heard\n# {every} ms between heartbeats\n{dropped}b A 1")
    };
    judged(
        "heartbeats",
        &[
            (Confirmed, &case(501, "# 3100 ms until dropped\n")),
            (Qualified, &case(501, "# 200 ms until dropped\n")),
            (Refuted, &case(1000, "# 9000 ms until dropped\n")),
            (Refuted, &case(501, "")),
            (Unknown, "b A 1"),
        ],
    );
}

#[test]
fn c11_what_can_be_read() {
    for name in ["packet", "packet-secret"] {
        judged(
            name,
            &[
                (Confirmed, "b A 1\nb B 1\n# 900 bytes\n# 1 id\n# 1 value"),
                (Qualified, "b A 1\nb B 1\n# 900 bytes\n# 1 id\n# 0 value"),
                (Refuted, "b A 1\nb B 1\n# 900 bytes\n# 0 id\n# 0 value"),
                (Unknown, "b A 1\nb B 2\n# 900 bytes\n# 0 id\n# 0 value"),
                (Unknown, "b A 1\nb B 1"),
            ],
        );
    }
}

#[test]
fn c12_members_that_reach_themselves() {
    let after = "== named\na A 9\na B 9\na A 9\n";
    let case = |before: &str| before.to_owned() + after;
    judged(
        "receiver-auto",
        &[
            (Confirmed, &case("b A 1\nb B 2\nb A 3\nb B 4\n")),
            (Refuted, &case("b A 1\nb B 1\nb A 1\nb B 1\n")),
            (
                Qualified,
                "b A 1\nb B 2\nb A 3\nb B 4\n== named\na A 5\na B 6\na A 7",
            ),
            (Unknown, &case("b A 1\n")),
        ],
    );
}

#[test]
fn c14_memory_and_traffic_against_the_number_of_servers() {
    let figures = |copies: fn(u32) -> u32, traffic: fn(u32) -> u32| -> String {
        let line = |n| {
            let (copies, traffic) = (copies(n), traffic(n));
            format!(
                "# {copies} copies {n}\n# {} memory {n}\n# {traffic} traffic {n}\n",
                copies * 4200
            )
        };
        (2..=8).map(line).collect::<String>() + "b A 1"
    };
    let grows = figures(|n| n, |n| 700 * (n - 1));
    let flat = figures(|_| 2, |_| 900);
    judged(
        "grows-cluster",
        &[(Confirmed, &grows), (Refuted, &flat), (Unknown, "b A 1")],
    );
    judged(
        "grows-backup",
        &[(Confirmed, &flat), (Refuted, &grows), (Unknown, "b A 1")],
    );
}

#[test]
fn a_cut_and_a_frozen_member() {
    let looks = |found: &str| -> String {
        let one = |n: u32| {
            format!(
                "here-{n} get@A 1 =new\nthere-{n} get@B 1 =new\nhere-{n} get@A 1 {found}\nthere-{n} get@B 1 =new\n"
            )
        };
        "here-0 set@A 1\n== healed\n".to_owned() + &(0..6).map(one).collect::<String>()
    };
    for name in ["partition-cluster", "partition-backup"] {
        judged(
            name,
            &[
                (Confirmed, &looks("=new")),
                (Refuted, &looks("=old")),
                (Unknown, "here-0 set@A 1\n== healed\nhere-0 get@A 1 =new"),
            ],
        );
    }
    judged(
        "frozen-cluster",
        &[
            (Confirmed, "b A 1\n== frozen\nb A 1\nb A 1\nb ?"),
            (Refuted, "b A 1\n== frozen\nb A 1\nb ?\nb ?"),
            (Unknown, "b A 1\n== frozen\nb ?"),
        ],
    );
}
