//! msm's regular expressions: over requests (`requestUriIgnorePattern`, `lockingMode=uriPattern:`) and over attribute names
//! (`sessionAttributeFilter`). All of them must match the whole text.
//!
//! msm compares the first two with `METHOD URI?query`, so `/path1|/path2` matches nothing and `.*\.png$` does not match
//! `/x.png?v=1`. [`Subject::Path`] compares with the path instead, which is what people mean.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A regular expression that must match all of a text; empty: matches nothing.
#[derive(Debug, Clone, Default)]
pub struct Pattern {
    text: String,
    regex: Option<Regex>,
    /// Tells it apart from all others of the process; 0: empty.
    number: u64,
}

/// So many answers a thread remembers.
const KNOWN_MAX: usize = 32;

/// Longer paths are not remembered.
const KNOWN_PATH_MAX: usize = 128;

thread_local! {
    /// What expressions said of this thread's latest requests: each request is asked about several times, and most ask for the
    /// same few paths.
    static KNOWN: RefCell<[Known; KNOWN_MAX]> = RefCell::default();
}

/// One answer for the path of a request in a context.
#[derive(Debug, Default)]
struct Known {
    number: u64,
    path: String,
    context: String,
    matches: bool,
}

/// A regular expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no regular expression that can be used here ({why}); look-around and back references of Java do not exist"
)]
pub struct PatternError {
    text: String,
    why: String,
}

impl Pattern {
    /// Compiles an expression.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let whole = format!(r"\A(?:{text})\z");
        // The expression alone must be one too, so that `a)|(b` is refused.
        let regex = Regex::new(text).and_then(|_| Regex::new(&whole));
        let regex = regex.map_err(|error| PatternError {
            text: text.to_owned(),
            why: error.to_string().lines().last().unwrap_or_default().into(),
        })?;
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Ok(Self {
            text: text.to_owned(),
            regex: Some(regex),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Whether there is an expression.
    pub fn is_set(&self) -> bool {
        self.regex.is_some()
    }

    /// Whether it matches all of the text.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.as_ref().is_some_and(|r| r.is_match(text))
    }

    /// Whether it matches the request.
    pub fn matches_request(&self, request: &RequestLine<'_>, subject: Subject) -> bool {
        if !self.is_set() {
            return false;
        }
        match subject {
            Subject::MethodUriQuery => self.matches(&request.method_uri_query()),
            Subject::Path => self.matches_path(request),
        }
    }

    fn matches_path(&self, request: &RequestLine<'_>) -> bool {
        let RequestLine { path, context, .. } = request;
        let matches = || {
            let within = path.strip_prefix(context);
            self.matches(path) || within.is_some_and(|path| self.matches(path))
        };
        if path.len() + context.len() > KNOWN_PATH_MAX {
            return matches();
        }
        KNOWN.with_borrow_mut(|known| {
            let place = (self.number as usize).wrapping_mul(5) + path.len();
            let known = &mut known[place % KNOWN_MAX];
            if known.number != self.number || known.path != *path || known.context != *context {
                known.matches = matches();
                known.number = self.number;
                str::clone_into(path, &mut known.path);
                str::clone_into(context, &mut known.context);
            }
            known.matches
        })
    }
}

/// What of a request the expressions see.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestLine<'a> {
    /// `GET`.
    pub method: &'a str,
    /// `/jsp/path1`.
    pub path: &'a str,
    /// What follows `?`, if there is one.
    pub query: Option<&'a str>,
    /// `/jsp`.
    pub context: &'a str,
}

impl RequestLine<'_> {
    /// msm's text for a request; without the query for `POST`.
    pub fn method_uri_query(&self) -> String {
        let Self { method, path, .. } = self;
        match self.query.filter(|_| *method != "POST") {
            Some(query) => format!("{method} {path}?{query}"),
            None => format!("{method} {path}"),
        }
    }
}

/// What the expressions over requests are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// As msm.
    MethodUriQuery,
    /// The path, or the path within the context.
    Path,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, RequestLine, Subject};

    #[test]
    fn the_articles_patterns_match_what_was_meant_only_on_the_path() {
        let images = r".*\.(ico|png|gif|jpg|css|js)$";
        for (pattern, method, uri, msm, path) in [
            ("/path1|/path2", "GET", "/jsp/path1", false, true),
            ("/path1|/path2", "GET", "/jsp/path1?x=1", false, true),
            ("/path1|/path2", "GET", "/jsp/path12", false, false),
            (".*/path[12].*", "GET", "/jsp/path1?x=1", true, true),
            ("/jsp/path1", "GET", "/jsp/path1", false, true),
            ("GET /jsp/path1", "GET", "/jsp/path1", true, false),
            (images, "GET", "/jsp/x.png", true, true),
            (images, "GET", "/jsp/x.png?v=1", false, true),
            (images, "POST", "/jsp/x.png?v=1", true, true),
            (images, "GET", "/jsp/?y=x.png", true, false),
            (images, "GET", "/jsp/", false, false),
            ("", "GET", "/jsp/", false, false),
        ] {
            let pattern = Pattern::new(pattern).expect(pattern);
            let (path_part, query) = match uri.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (uri, None),
            };
            let request = RequestLine {
                method,
                path: path_part,
                query,
                context: "/jsp",
            };
            let found = [Subject::MethodUriQuery, Subject::Path]
                .map(|subject| pattern.matches_request(&request, subject));
            assert_eq!(found, [msm, path], "{pattern} {method} {uri}");
        }
    }

    #[test]
    fn an_answer_is_remembered_for_its_own_request_only() {
        let [one, other] = ["/path1", "/path2"].map(|text| Pattern::new(text).expect(text));
        let long = format!("/{}", "x".repeat(300));
        let longer = Pattern::new(&long).expect("valid");
        for _ in 0..2 {
            for (pattern, path, context, matches) in [
                (&one, "/jsp/path1", "/jsp", true),
                (&one, "/jsp/path2", "/jsp", false),
                (&other, "/jsp/path2", "/jsp", true),
                (&one, "/jsp/path1", "/app", false),
                (&other, "/jsp/path1", "/jsp", false),
                (&longer, &long, "/jsp", true),
            ] {
                let request = RequestLine {
                    method: "GET",
                    path,
                    query: None,
                    context,
                };
                let found = pattern.matches_request(&request, Subject::Path);
                assert_eq!(found, matches, "{pattern} {path} {context}");
            }
        }
    }

    #[test]
    fn what_does_not_compile_is_refused_in_words() {
        for text in ["(", "a)|(b", "(?=x)", r"(a)\1", "*"] {
            let error = Pattern::new(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("`{text}` is no")), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(Pattern::new("^(user|n)$").expect("valid").matches("user"));
        assert!(!Pattern::new("user").expect("valid").matches("user2"));
    }
}
