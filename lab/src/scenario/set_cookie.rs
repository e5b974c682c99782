//! C15: the session ID in `Set-Cookie`.

use super::{About, Finding, Play, Playing, Scenario, Verdict, of};
use crate::history::{Ask, History};
use crate::mode::Mode;

/// Reloads after the first visit.
const RELOADS: usize = 4;

/// One browser visits, reloads, logs in, reloads.
#[derive(Debug)]
pub struct SetCookie;

impl Scenario for SetCookie {
    fn about(&self) -> About {
        About {
            name: "set-cookie".to_owned(),
            claim: "C15",
            mode: Mode::SessionSticky,
            statement: "the response carries the session ID in Set-Cookie",
            expected: "only the response that makes the session, and one that changes its ID",
            verdict: Verdict::Qualified,
            needs_stage: false,
            breaks_nodes: false,
        }
    }

    fn play<'a>(&'a self, play: &'a mut Play) -> Playing<'a> {
        Box::pin(async move {
            let from = play.address();
            let mut browser = play.browser("browser", from);
            for _ in 0..=RELOADS {
                browser.ask(Ask::Session).await;
            }
            let user = "guest".to_owned();
            browser.ask(Ask::Login { user }).await;
            for _ in 0..RELOADS {
                browser.ask(Ask::Session).await;
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History) -> Finding {
        let (mut answers, mut carried, mut due, mut surprising) = (0, 0, 0, 0);
        for request in history.requests() {
            let (Some(answer), Some(id)) = (request.answer(), request.session_id()) else {
                continue;
            };
            let unknown_to_browser = request.sent_session.as_deref() != Some(id);
            let has = answer.set_cookie.as_deref() == Some(id);
            answers += 1;
            carried += usize::from(has);
            due += usize::from(unknown_to_browser);
            surprising += usize::from(has != unknown_to_browser);
        }
        if answers == 0 {
            return Finding::unknown("no answer had a session");
        }
        let verdict = match (carried, surprising) {
            (carried, _) if carried == answers => Verdict::Confirmed,
            (1.., 0) => Verdict::Qualified,
            _ => Verdict::Refuted,
        };
        let why = format!(
            "it comes with an ID that the browser does not have yet, at the first visit and at the login ({due} times), and is not repeated while the ID stays"
        );
        let observed = format!("Set-Cookie in {}", of(carried, answers, "response"));
        Finding::new(verdict, observed, why)
    }
}
