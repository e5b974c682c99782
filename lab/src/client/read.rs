//! What an answer says: the JSON contract of the session pages, and the article's page for people. Pure.
//!
//! Every answer of the contract has `node` and `session`; those that are about an attribute have `value`:
//!
//! ```text
//!   {"node":"TomcatA","session":{"id":"…","is_new":false,"created":…,"last_accessed":…,"max_inactive":1800},
//!    "name":"count","value":3}
//! ```

use cookie::Cookie;
use http::HeaderMap;
use http::header::SET_COOKIE;
use serde::Deserialize;

use super::wire::Answered;
use crate::history::{Answer, Ask, Outcome, SessionSeen, Value};

/// The part of an answer that the checker needs; what else an application says is its own.
#[derive(Deserialize)]
struct Said {
    node: Option<String>,
    session: Option<SessionSaid>,
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize)]
struct SessionSaid {
    id: String,
    #[serde(default)]
    is_new: bool,
    #[serde(default = "half_an_hour")]
    max_inactive: i64,
}

/// The servlet default, for applications that do not say.
fn half_an_hour() -> i64 {
    1800
}

/// The outcome of a request that was answered; `cookie` is the name of the session cookie.
pub fn outcome(ask: &Ask, answered: &Answered, cookie: &str) -> Outcome {
    let status = answered.status();
    if status.is_server_error() {
        return Outcome::Unknown(format!("status {}", status.as_u16()));
    }
    if !status.is_success() {
        let said = String::from_utf8_lossy(answered.body());
        let said: String = said.chars().take(200).collect();
        return Outcome::Fail(format!("status {}: {}", status.as_u16(), said.trim()));
    }
    let mut answer = headers(answered.headers(), cookie);
    answer.status = status.as_u16();
    let read = match ask {
        Ask::Page { .. } => page(&String::from_utf8_lossy(answered.body()), &mut answer),
        _ => json(answered.body(), &mut answer),
    };
    match read {
        Ok(()) => Outcome::Ok(answer),
        Err(why) => Outcome::Unknown(why),
    }
}

fn headers(headers: &HeaderMap, cookie: &str) -> Answer {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let mut answer = Answer {
        route: text("x-route"),
        upstream: text("x-upstream"),
        ..Answer::default()
    };
    for line in headers.get_all(SET_COOKIE) {
        let parsed = line.to_str().ok().and_then(|line| Cookie::parse(line).ok());
        if let Some(set) = parsed.filter(|set| set.name() == cookie) {
            answer.set_cookie = Some(set.value().to_owned());
            answer.cookie_path = set.path().map(str::to_owned);
        }
    }
    answer
}

fn json(body: &[u8], answer: &mut Answer) -> Result<(), String> {
    let said: Said = serde_json::from_slice(body).map_err(|e| {
        format!("the answer does not follow the JSON contract (see lab/README.md): {e}")
    })?;
    answer.node = said.node;
    answer.value = said.value;
    answer.session = said.session.map(|session| SessionSeen {
        id: session.id,
        is_new: session.is_new,
        max_inactive: session.max_inactive,
    });
    Ok(())
}

/// The article's page: the title is the node, the table has the session ID. It does not say whether the session is new;
/// a cookie that is set says so.
fn page(body: &str, answer: &mut Answer) -> Result<(), String> {
    let between = |before: &str, after: &str| {
        let (_, rest) = body.split_once(before)?;
        Some(rest.split_once(after)?.0.trim().to_owned())
    };
    let title = between("<title>", "</title>");
    let row = between("Session ID</td>", "</tr>");
    let id = row.and_then(|row| {
        let (_, rest) = row.split_once("<td>")?;
        Some(rest.split_once("</td>")?.0.trim().to_owned())
    });
    let (Some(title), Some(id)) = (title, id) else {
        return Err("the answer is not the session page: no title or no Session ID".to_owned());
    };
    answer.node = Some(title);
    answer.session = Some(SessionSeen {
        is_new: answer.set_cookie.is_some(),
        id,
        max_inactive: half_an_hour(),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::outcome;
    use crate::history::{Ask, Outcome, Value};

    const PAGE: &str = "\n\n<html>\n<head><title>TomcatA</title></head>\n<body>\n<h1><font color=\"#FF0000\">TomcatA.magedu.com</h1>\n\
        <table align=\"centre\" border=\"1\">\n<tr>\n<td>Session ID</td>\n<td>47A7.WEB1</td>\n</tr>\n<tr>\n<td>Created on</td>\n\
        <td>1795385675729</td>\n</tr>\n</table>\nURL: http://h/jsp/\nURI: /jsp/\n</body>\n</html>\n";

    fn answered(status: u16, body: &str) -> http::Response<Bytes> {
        http::Response::builder()
            .status(status)
            .header("Set-Cookie", "route=x; Path=/")
            .header("Set-Cookie", "JSESSIONID=47A7.WEB1; Path=/jsp; HttpOnly")
            .header("X-Route", "cookie")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .expect("a response")
    }

    #[test]
    fn the_contract_and_the_page_are_read() {
        let json = r#"{"node":"TomcatA","session":{"id":"47A7.WEB1","is_new":true,"created":1,"last_accessed":1,"max_inactive":60},"name":"count","value":3,"more":[]}"#;
        for (ask, body, is_new) in [
            (Ask::Count, json, true),
            (
                Ask::Page {
                    path: "/jsp/".into(),
                },
                PAGE,
                true,
            ),
        ] {
            let Outcome::Ok(answer) = outcome(&ask, &answered(200, body), "JSESSIONID") else {
                panic!("{ask:?} is ok");
            };
            assert_eq!(answer.node.as_deref(), Some("TomcatA"));
            let session = answer.session.expect("a session");
            assert_eq!((session.id.as_str(), session.is_new), ("47A7.WEB1", is_new));
            assert_eq!(answer.set_cookie.as_deref(), Some("47A7.WEB1"));
            assert_eq!(answer.cookie_path.as_deref(), Some("/jsp"));
            assert_eq!(answer.route.as_deref(), Some("cookie"));
            if ask == Ask::Count {
                assert_eq!(answer.value, Value::Number(3));
                assert_eq!(session.max_inactive, 60);
            }
        }
    }

    #[test]
    fn what_is_not_an_answer_is_unknown_or_failed() {
        for (status, body, failed) in [
            (502, "bad gateway", false),
            (200, "<html>", false),
            (200, "", false),
            (400, "{\"error\":\"no name\"}", true),
            (404, "", true),
        ] {
            let outcome = outcome(&Ask::Session, &answered(status, body), "JSESSIONID");
            match outcome {
                Outcome::Fail(_) => assert!(failed, "{status} {body}"),
                Outcome::Unknown(_) => assert!(!failed, "{status} {body}"),
                Outcome::Ok(_) => panic!("{status} {body} is no answer"),
            }
        }
    }

    proptest::proptest! {
        /// Whatever a site answers: no panic, and nothing is called ok that names no node and no session.
        #[test]
        fn any_body_is_survived(body in "\\PC{0,200}", page in proptest::bool::ANY) {
            let ask = if page { Ask::Page { path: "/jsp/".into() } } else { Ask::Session };
            if let Outcome::Ok(answer) = outcome(&ask, &answered(200, &body), "JSESSIONID") {
                proptest::prop_assert!(!page || answer.session.is_some());
            }
        }
    }
}
