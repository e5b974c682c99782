//! C2: the same page under `/jsp/` and, through the alias, under `/test/`.

use super::{About, Finding, Play, Playing, Scenario, Verdict, many};
use crate::check::session_ids;
use crate::history::{Ask, History, Request};
use crate::mode::Mode;

/// One browser visits both contexts, twice.
#[derive(Debug)]
pub struct Alias;

fn under<'a>(history: &'a History, wanted: &'a str) -> Vec<&'a Request> {
    let requests = history.requests();
    requests
        .filter(|request| matches!(&request.what, Ask::Page { path } if path == wanted))
        .collect()
}

impl Scenario for Alias {
    fn about(&self) -> About {
        About {
            name: "alias".to_owned(),
            claim: "C2",
            // Bound to one server, so that only the contexts can make a difference.
            mode: Mode::SessionSticky,
            statement: "the page answers under /jsp/ and, through the alias, under /test/",
            expected: "both answer; each context has a cookie and a session of its own",
            verdict: Verdict::Confirmed,
            needs_stage: true,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("browser", from);
            for path in ["/jsp/", "/test/", "/jsp/", "/test/"] {
                browser
                    .ask(Ask::Page {
                        path: path.to_owned(),
                    })
                    .await;
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let [jsp, test] = ["/jsp/", "/test/"].map(|path| under(history, path));
        if jsp.is_empty() || test.is_empty() {
            return Finding::unknown("one of the two pages was never asked for");
        }
        let answers =
            |requests: &[&Request]| requests.iter().filter(|r| r.answer().is_some()).count();
        let (jsp_answers, test_answers) = (answers(&jsp), answers(&test));
        let [jsp_ids, test_ids] =
            [&jsp, &test].map(|requests| session_ids(requests.iter().copied()));
        let path = |requests: &[&Request]| {
            let found = requests
                .iter()
                .find_map(|r| r.answer()?.cookie_path.clone());
            found.unwrap_or_else(|| "no path".to_owned())
        };
        let observed = format!(
            "/jsp/ {jsp_answers}/{}, /test/ {test_answers}/{} answered; {} sessions",
            jsp.len(),
            test.len(),
            jsp_ids.union(&test_ids).count()
        );
        let both = jsp_answers == jsp.len() && test_answers == test.len();
        let why = if both {
            format!(
                "the page came from both; the cookies have Path={} and Path={}, and the browser had {} in all",
                path(&jsp),
                path(&test),
                many(jsp_ids.union(&test_ids).count(), "session")
            )
        } else {
            "one of the paths did not answer with the page each time".to_owned()
        };
        let apart = jsp_ids.len() == 1 && test_ids.len() == 1 && jsp_ids.is_disjoint(&test_ids);
        let verdict = match (both, apart) {
            (true, true) => Verdict::Confirmed,
            (true, false) => Verdict::Qualified,
            (false, _) => Verdict::Refuted,
        };
        Finding::new(verdict, observed, why)
    }
}
