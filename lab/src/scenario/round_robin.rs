//! C1: without any binding, A and B take turns and every answer has another session ID.

use super::{About, Finding, Play, Playing, Scenario, Verdict, of, sequence};
use crate::check::{alternation, session_ids};
use crate::history::{History, Request};
use crate::mode::Mode;

/// One browser reloads.
#[derive(Debug)]
pub struct Alternates;

impl Scenario for Alternates {
    fn about(&self) -> About {
        About {
            name: "alternates".to_owned(),
            claim: "C1",
            mode: Mode::RoundRobin,
            statement: "the balancer alternates between A and B, and the session ID changes on every request, for neither server knows the other's ID",
            expected: "A B A B …, a new ID each time",
            verdict: Verdict::Confirmed,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            play.reload("browser").await;
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let turns = alternation(history.requests());
        let ids = session_ids(history.requests()).len();
        let fresh = history
            .requests()
            .filter_map(|request| request.answer()?.session.as_ref())
            .filter(|session| session.is_new)
            .count();
        let observed = format!(
            "{}, {ids} IDs",
            sequence(history.requests().filter_map(Request::node).take(6)) + " …"
        );
        let why = format!(
            "the server changed at {}, and {} made a new session{}",
            of(turns.changes, turns.answers.saturating_sub(1), "step"),
            of(fresh, turns.answers, "request"),
            if turns.strict() && fresh == turns.answers {
                ", because the ID that it carried was the other server's"
            } else {
                ""
            }
        );
        let verdict = if turns.strict() && ids == turns.answers {
            Verdict::Confirmed
        } else if turns.changes > 0 && ids > 1 {
            Verdict::Qualified
        } else {
            Verdict::Refuted
        };
        Finding::new(verdict, observed, why)
    }
}
