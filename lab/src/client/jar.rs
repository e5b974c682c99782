//! A browser's cookies: what RFC 6265 section 5 keeps and sends back, for one host. Pure.

use cookie::Cookie;
use std::time::Duration;

/// A jar holds so many cookies; a browser drops the oldest beyond it (RFC 6265 section 6.1 asks for at least 50).
pub const COOKIES_MAX: usize = 50;

/// Cookies of one host.
#[derive(Debug, Clone, Default)]
pub struct Jar {
    kept: Vec<Kept>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    name: String,
    value: String,
    path: String,
    secure: bool,
    /// Microseconds on the browser's clock after which it is forgotten.
    until_us: Option<u64>,
}

impl Jar {
    /// Takes one `Set-Cookie` line that came for `request_path` from `host` at `now_us`. A line that is no cookie, or is
    /// for another domain, is ignored, as browsers do.
    pub fn set(&mut self, line: &str, host: &str, request_path: &str, now_us: u64) {
        let Ok(cookie) = Cookie::parse(line) else {
            return;
        };
        let foreign = |domain: &str| !host.eq_ignore_ascii_case(domain.trim_start_matches('.'));
        if cookie.domain().is_some_and(foreign) {
            return;
        }
        let path = match cookie.path() {
            Some(path) if path.starts_with('/') => path.to_owned(),
            _ => default_path(request_path).to_owned(),
        };
        let age = cookie
            .max_age()
            .map(|age| u64::try_from(age.whole_microseconds()).unwrap_or(0));
        // Max-Age wins over Expires (5.3). The clock of the host matters for Expires only to tell past from future.
        let past = cookie
            .expires_datetime()
            .is_some_and(|at| at <= std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        let until_us = match age {
            Some(age) => Some(now_us.saturating_add(age)),
            None if past => Some(now_us),
            None => None,
        };
        self.kept
            .retain(|kept| kept.name != cookie.name() || kept.path != path);
        if until_us.is_some_and(|until| until <= now_us) {
            return;
        }
        if self.kept.len() >= COOKIES_MAX {
            self.kept.remove(0);
        }
        self.kept.push(Kept {
            name: cookie.name().to_owned(),
            value: cookie.value().to_owned(),
            path,
            secure: cookie.secure().unwrap_or(false),
            until_us,
        });
    }

    /// Puts a cookie in by hand, for every path.
    pub fn put(&mut self, name: &str, value: &str) {
        self.set(&format!("{name}={value}; Path=/"), "", "/", 0);
    }

    /// The value of the `Cookie` field for a request to `path` over plain HTTP; `None` when no cookie matches. Longer
    /// paths come first (5.4).
    pub fn field(&self, path: &str, now_us: u64) -> Option<String> {
        let mut matching: Vec<&Kept> = self.matching(path, now_us).collect();
        matching.sort_by_key(|kept| std::cmp::Reverse(kept.path.len()));
        let pairs: Vec<String> = matching
            .iter()
            .map(|kept| format!("{}={}", kept.name, kept.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The value of the cookie `name` that goes first to `path`.
    pub fn value(&self, name: &str, path: &str, now_us: u64) -> Option<&str> {
        let named = self.matching(path, now_us).filter(|kept| kept.name == name);
        Some(named.max_by_key(|kept| kept.path.len())?.value.as_str())
    }

    /// Every cookie as (name, path).
    pub fn names(&self) -> Vec<(&str, &str)> {
        self.kept
            .iter()
            .map(|kept| (kept.name.as_str(), kept.path.as_str()))
            .collect()
    }

    fn matching<'a, 'p>(
        &'a self,
        path: &'p str,
        now_us: u64,
    ) -> impl Iterator<Item = &'a Kept> + use<'a, 'p> {
        self.kept.iter().filter(move |kept| {
            !kept.secure
                && kept.until_us.is_none_or(|until| now_us < until)
                && path_matches(path, &kept.path)
        })
    }
}

/// RFC 6265 section 5.1.4: the path up to, not including, its last slash.
fn default_path(request_path: &str) -> &str {
    match request_path.rfind('/') {
        Some(last) if last > 0 && request_path.starts_with('/') => &request_path[..last],
        _ => "/",
    }
}

/// RFC 6265 section 5.1.4: `/jsp` matches `/jsp` and `/jsp/x`, not `/jspx`.
fn path_matches(path: &str, cookie: &str) -> bool {
    match path.strip_prefix(cookie) {
        Some(rest) => rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{COOKIES_MAX, Jar, default_path};

    #[test]
    fn cookies_go_where_their_path_says() {
        let mut jar = Jar::default();
        jar.set("JSESSIONID=A; Path=/jsp; HttpOnly", "h", "/jsp/", 0);
        jar.set("JSESSIONID=B; Path=/test; HttpOnly", "h", "/test/", 0);
        jar.set("route=x;Path=/", "h", "/jsp/", 0);
        for (path, field) in [
            ("/jsp", Some("JSESSIONID=A; route=x")),
            ("/jsp/api/get", Some("JSESSIONID=A; route=x")),
            ("/test/", Some("JSESSIONID=B; route=x")),
            ("/jspx/", Some("route=x")),
            ("/", Some("route=x")),
        ] {
            assert_eq!(jar.field(path, 0).as_deref(), field, "{path}");
        }
        assert_eq!(jar.value("JSESSIONID", "/test/", 0), Some("B"));
    }

    #[test]
    fn cookies_are_replaced_removed_and_ignored() {
        let cases: [(&[&str], Option<&str>); 9] = [
            (&["a=1; Path=/", "a=2; Path=/"], Some("a=2")),
            (&["a=1; Path=/", "a=; Path=/; Max-Age=0"], None),
            (
                &[
                    "a=1; Path=/",
                    "a=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
                ],
                None,
            ),
            (&["a=1; Path=/; Max-Age=5"], Some("a=1")),
            (&["a=1; Path=/; Domain=other.example"], None),
            (&["a=1; Path=/; Domain=H"], Some("a=1")),
            (&["a=1; Path=/; Secure"], None),
            (&["no cookie at all", "=", ""], None),
            (&["a=1; Path=relative"], Some("a=1")),
        ];
        for (lines, field) in cases {
            let mut jar = Jar::default();
            for line in lines {
                jar.set(line, "h", "/", 0);
            }
            assert_eq!(jar.field("/", 0).as_deref(), field, "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_ends_with_its_age() {
        let mut jar = Jar::default();
        jar.set("a=1; Path=/; Max-Age=5", "h", "/", 1_000_000);
        assert_eq!(jar.field("/", 5_999_999).as_deref(), Some("a=1"));
        assert_eq!(jar.field("/", 6_000_000), None);
    }

    #[test]
    fn a_jar_is_bounded() {
        let mut jar = Jar::default();
        for i in 0..COOKIES_MAX + 10 {
            jar.put(&format!("c{i}"), "x");
        }
        assert_eq!(jar.names().len(), COOKIES_MAX);
    }

    #[test]
    fn default_paths_as_the_rfc_has_them() {
        for (path, default) in [
            ("/", "/"),
            ("/jsp/", "/jsp"),
            ("/jsp/a/b", "/jsp/a"),
            ("", "/"),
            ("x/y", "/"),
        ] {
            assert_eq!(default_path(path), default, "{path}");
        }
    }

    proptest::proptest! {
        /// Whatever a server sends: no panic, a bounded jar, and what goes back is a list of pairs without line breaks.
        #[test]
        fn any_line_is_survived(lines in proptest::collection::vec("\\PC{0,40}", 0..80), path in "/[a-z/]{0,10}") {
            let mut jar = Jar::default();
            for (now, line) in (0..).zip(&lines) {
                jar.set(line, "h", &path, now);
            }
            proptest::prop_assert!(jar.names().len() <= COOKIES_MAX);
            if let Some(field) = jar.field(&path, 100) {
                proptest::prop_assert!(!field.contains(['\r', '\n']), "{field:?}");
            }
        }

        /// A cookie goes back to its own path and to everything below it, and nowhere else.
        #[test]
        fn a_cookie_stays_below_its_path(path in "/[a-c]{1,3}", below in "(/[a-c]{0,3}){0,2}", beside in "[a-c]{1,3}") {
            let mut jar = Jar::default();
            jar.set(&format!("a=1; Path={path}"), "h", "/", 0);
            let inside = format!("{path}{below}");
            proptest::prop_assert!(jar.field(&inside, 0).is_some());
            let other = format!("{path}{beside}");
            proptest::prop_assert!(jar.field(&other, 0).is_none(), "{}", other);
        }
    }
}
