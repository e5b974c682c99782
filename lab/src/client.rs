//! A browser: its own cookies, its own address, its own connection; everything it does is recorded.

pub mod jar;
pub mod read;
pub mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{COOKIE, HOST, SET_COOKIE, USER_AGENT};
use http::{Method, Uri};
use http_body_util::Empty;
use program::Failure;

use self::jar::Jar;
use self::wire::{Trouble, Wire};
use crate::history::{Ask, Outcome, Recorder, Request, micros};

/// A browser waits so long for an answer unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The name of the session cookie unless told otherwise.
pub const SESSION_COOKIE: &str = "JSESSIONID";

/// The web application that browsers visit: its context URL, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Where it listens.
    pub address: SocketAddr,
    /// Host and port as a browser writes them.
    pub authority: String,
    /// The context path, with a slash at both ends: `/jsp/`.
    pub context: String,
    /// The name of its session cookie.
    pub cookie: String,
    /// Whether the browser's address is told in `X-Forwarded-For`, because the site cannot see it.
    pub forwarded_for: bool,
}

impl Site {
    /// The article's context on a stage's proxy.
    pub fn of_stage(proxy: SocketAddr) -> Self {
        Self {
            address: proxy,
            authority: proxy.to_string(),
            context: "/jsp/".to_owned(),
            cookie: SESSION_COOKIE.to_owned(),
            forwarded_for: false,
        }
    }

    /// The site of a context URL such as `http://host:8080/jsp/`.
    pub async fn of_url(url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::Usage(format!(
                "cannot use `{url}` as the base URL: {why}; write http://HOST:PORT/CONTEXT/"
            ))
        };
        let uri: Uri = url.parse().map_err(|e| wrong(&format!("{e}")))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("the lab's browsers speak plain http only"));
        }
        let host = uri.host().ok_or_else(|| wrong("it names no host"))?;
        let port = uri.port_u16().unwrap_or(80);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut found = tokio::net::lookup_host((bare, port))
            .await
            .map_err(|e| Failure::environment(format!("cannot find the host of {url}"), e))?;
        let address = found
            .next()
            .ok_or_else(|| Failure::Environment(format!("the host of {url} has no address")))?;
        let mut context = uri.path().to_owned();
        if !context.ends_with('/') {
            context.push('/');
        }
        Ok(Self {
            address,
            authority: uri
                .authority()
                .map_or_else(String::new, ToString::to_string),
            context,
            cookie: SESSION_COOKIE.to_owned(),
            forwarded_for: false,
        })
    }

    /// Whether browsers can show addresses of their own: any 127.x.y.z reaches a server on loopback.
    pub fn sees_loopback_addresses(&self) -> bool {
        cfg!(target_os = "linux") && self.address.ip().is_loopback() && self.address.is_ipv4()
    }

    fn host(&self) -> &str {
        let host = self
            .authority
            .rsplit_once(':')
            .map_or(self.authority.as_str(), |(h, _)| h);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// One browser. Its requests go one after the other.
#[derive(Debug)]
pub struct Browser {
    name: String,
    from: Option<IpAddr>,
    site: Site,
    /// Shared by the tabs of one browser.
    jar: Arc<Mutex<Jar>>,
    wire: Wire,
    recorder: Recorder,
    patience: Duration,
}

impl Browser {
    /// A browser without cookies. `from` is the address it shows: bound on loopback, told in `X-Forwarded-For` where the
    /// site says so.
    pub fn new(
        name: impl Into<String>,
        from: Option<IpAddr>,
        site: &Site,
        recorder: &Recorder,
    ) -> Self {
        let bound = from.filter(|_| site.sees_loopback_addresses());
        Self {
            name: name.into(),
            from,
            wire: Wire::new(site.address, bound),
            site: site.clone(),
            jar: Arc::default(),
            recorder: recorder.clone(),
            patience: PATIENCE,
        }
    }

    /// The browser's name in the history.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its requests go.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// A second window: another connection, the same cookies as this browser has now.
    pub fn window(&self, name: impl Into<String>) -> Self {
        let mut window = Self::new(name, self.from, &self.site, &self.recorder);
        window.jar = Arc::new(Mutex::new(self.jar().clone()));
        window
    }

    /// A tab: another connection and the same jar, so that requests of one session can overlap.
    pub fn tab(&self, name: impl Into<String>) -> Self {
        self.tab_at(name, &self.site)
    }

    /// The same, but its requests go to this site: cookies do not mind the port.
    pub fn tab_at(&self, name: impl Into<String>, site: &Site) -> Self {
        let mut tab = Self::new(name, self.from, site, &self.recorder);
        tab.jar = Arc::clone(&self.jar);
        tab
    }

    /// Waits so long for an answer from now on.
    pub fn be_patient(&mut self, patience: Duration) {
        self.patience = patience;
    }

    fn jar(&self) -> MutexGuard<'_, Jar> {
        self.jar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session ID that the context would be shown now.
    pub fn session(&self) -> Option<String> {
        let now_us = self.recorder.micros(Instant::now());
        let jar = self.jar();
        jar.value(&self.site.cookie, &self.site.context, now_us)
            .map(str::to_owned)
    }

    /// Forgets all cookies.
    pub fn forget(&self) {
        *self.jar() = Jar::default();
    }

    /// Puts a session ID into the jar as if an earlier visit had left it.
    pub fn keep_session(&mut self, id: &str) {
        let line = format!("{}={id}; Path={}", self.site.cookie, self.site.context);
        let (host, context) = (self.site.host().to_owned(), self.site.context.clone());
        self.jar().set(&line, &host, &context, 0);
    }

    /// Asks, waits for the answer, records both; returns what was recorded.
    pub async fn ask(&mut self, what: Ask) -> Request {
        let request = self.ask_due(what, Instant::now()).await;
        self.recorder.request(request.clone());
        request
    }

    /// Asks something that was due at `due`, perhaps a while ago: the latency counts from there. Records nothing.
    pub async fn ask_due(&mut self, what: Ask, due: Instant) -> Request {
        let path = self.path(&what);
        let now_us = self.recorder.micros(Instant::now());
        let plain = path.split('?').next().unwrap_or_default().to_owned();
        let sent_session = self
            .jar()
            .value(&self.site.cookie, &plain, now_us)
            .map(str::to_owned);
        let outcome = match self.message(&what, &path, &plain, now_us) {
            Err(why) => Outcome::Fail(why),
            Ok(message) => match self.wire.exchange(message, self.patience).await {
                Err(Trouble::NotSent(why)) => Outcome::Fail(why),
                Err(Trouble::NoAnswer(why)) => Outcome::Unknown(why),
                Ok(answered) => {
                    self.keep_cookies(&answered, &plain, now_us);
                    read::outcome(&what, &answered, &self.site.cookie)
                }
            },
        };
        Request {
            at_us: self.recorder.micros(due),
            latency_us: micros(due.elapsed()),
            who: self.name.clone(),
            from: self.from,
            what,
            sent_session,
            outcome,
        }
    }

    fn keep_cookies(&mut self, answered: &wire::Answered, path: &str, now_us: u64) {
        for line in answered.headers().get_all(SET_COOKIE) {
            if let Ok(line) = line.to_str() {
                self.jar().set(line, self.site.host(), path, now_us);
            }
        }
    }

    fn message(
        &self,
        what: &Ask,
        path: &str,
        plain: &str,
        now_us: u64,
    ) -> Result<http::Request<Empty<Bytes>>, String> {
        let mut message = http::Request::builder()
            .method(method(what))
            .uri(path)
            .header(HOST, &self.site.authority)
            .header(USER_AGENT, concat!("lnmt-lab/", env!("CARGO_PKG_VERSION")));
        if let Some(cookies) = self.jar().field(plain, now_us) {
            message = message.header(COOKIE, cookies);
        }
        if let Some(from) = self.from.filter(|_| self.site.forwarded_for) {
            message = message.header("x-forwarded-for", from.to_string());
        }
        message
            .body(Empty::new())
            .map_err(|e| format!("cannot ask for {path}: {e}"))
    }

    /// Path and query of a request.
    fn path(&self, what: &Ask) -> String {
        let context = &self.site.context;
        match what {
            Ask::Session => format!("{context}api/session"),
            Ask::Get { name } => format!("{context}api/get?name={}", encode(name)),
            Ask::Set { name, value } => {
                format!(
                    "{context}api/set?name={}&value={}",
                    encode(name),
                    encode(value)
                )
            }
            Ask::Append { name, value } => {
                format!(
                    "{context}api/append?name={}&value={}",
                    encode(name),
                    encode(value)
                )
            }
            Ask::Count => format!("{context}api/count"),
            Ask::Login { user } => format!("{context}api/login?user={}", encode(user)),
            Ask::Logout => format!("{context}api/logout"),
            Ask::Slow { ms, name, value } => {
                format!(
                    "{context}api/slow?ms={ms}&name={}&value={}",
                    encode(name),
                    encode(value)
                )
            }
            Ask::Page { path } => path.clone(),
        }
    }
}

fn method(what: &Ask) -> Method {
    match what {
        Ask::Session | Ask::Get { .. } | Ask::Page { .. } => Method::GET,
        // POST, so that a proxy does not try a write a second time.
        Ask::Set { .. }
        | Ask::Append { .. }
        | Ask::Count
        | Ask::Login { .. }
        | Ask::Logout
        | Ask::Slow { .. } => Method::POST,
    }
}

/// Percent-encodes what has a meaning in a query (RFC 3986 section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{Browser, Site, encode};
    use crate::history::{Ask, Recorder};

    /// The site cannot see a browser's address across a network, so it is told where that is believed.
    #[tokio::test]
    async fn the_address_is_told_only_when_asked_for() {
        let recorder = Recorder::new(None).expect("a recorder");
        for told in [false, true] {
            let mut site = Site::of_url("http://192.0.2.1:8080/jsp/")
                .await
                .expect("a site");
            site.forwarded_for = told;
            let mut browser = Browser::new("b", "127.7.8.9".parse().ok(), &site, &recorder);
            browser.keep_session("ABC.WEB1");
            let message = browser
                .message(&Ask::Count, "/jsp/api/count", "/jsp/api/count", 0)
                .expect("a message");
            let field = message
                .headers()
                .get("x-forwarded-for")
                .map(|value| value.as_bytes());
            assert_eq!(field, told.then_some(b"127.7.8.9".as_slice()));
            assert_eq!(message.method(), "POST");
            assert_eq!(message.headers()["host"], "192.0.2.1:8080");
            assert_eq!(message.headers()["cookie"], "JSESSIONID=ABC.WEB1");
        }
    }

    #[test]
    fn text_in_a_query_is_encoded() {
        assert_eq!(encode("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }

    #[tokio::test]
    async fn base_urls_are_read_or_refused() {
        for (url, context, authority) in [
            ("http://127.0.0.1:8080/jsp/", "/jsp/", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/jsp", "/jsp/", "127.0.0.1:8080"),
            ("http://127.0.0.1", "/", "127.0.0.1"),
            ("http://[::1]:81/a/b", "/a/b/", "[::1]:81"),
        ] {
            let site = Site::of_url(url).await.expect(url);
            assert_eq!(
                (site.context.as_str(), site.authority.as_str()),
                (context, authority)
            );
        }
        for url in [
            "https://127.0.0.1/",
            "127.0.0.1:8080",
            "/jsp/",
            "",
            "http://",
        ] {
            let error = Site::of_url(url).await.expect_err(url);
            assert!(
                error.to_string().contains("http://HOST:PORT/CONTEXT/"),
                "{error}"
            );
        }
    }
}
