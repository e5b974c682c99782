//! The session cookie: which ids a request carries, and the `Set-Cookie` that hands one out (RFC 6265, as Tomcat's
//! `Rfc6265CookieProcessor` and `ApplicationSessionCookieConfig`).

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::id::{AskedId, SessionId};

/// Of the cookies and path parameters with the session's name, so many are looked at; the rest is ignored. Several come
/// from cookies of other paths or domains.
pub const CANDIDATES_MAX: usize = 8;

/// Settings of the cookie, with Tomcat's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CookieConfig {
    /// Its name; in lower case also that of the path parameter. Tomcat: `sessionCookieName`.
    pub name: String,
    /// `Domain` attribute; empty: none, so that only this host gets it back. Tomcat: `sessionCookieDomain`.
    pub domain: String,
    /// `Path` attribute; empty: the path of the context. Tomcat: `sessionCookiePath`.
    pub path: String,
    /// `Max-Age` attribute in seconds; negative: none, the browser forgets it when it closes.
    pub max_age: i64,
    /// `HttpOnly`: scripts cannot read it. Tomcat: `useHttpOnly`.
    pub http_only: bool,
    /// `Secure`: only over HTTPS.
    pub secure: Secure,
    /// `SameSite`: whether it goes along with requests that other sites start.
    pub same_site: SameSite,
}

/// When the cookie is marked `Secure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secure {
    /// When the request came over HTTPS, as Tomcat does.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The `SameSite` attribute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Not written, as Tomcat does; browsers then take `Lax`.
    #[default]
    Unset,
    /// `SameSite=None`, which browsers take with `Secure` only.
    None,
    /// `SameSite=Lax`.
    Lax,
    /// `SameSite=Strict`.
    Strict,
}

/// What is wrong with the cookie's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cookie.{field} = `{value}` cannot stand in a Set-Cookie: {cure}")]
pub struct CookieError {
    field: &'static str,
    value: String,
    cure: &'static str,
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self {
            name: "JSESSIONID".into(),
            domain: String::new(),
            path: String::new(),
            max_age: -1,
            http_only: true,
            secure: Secure::Auto,
            same_site: SameSite::Unset,
        }
    }
}

impl CookieConfig {
    /// The cookie of the context with this path (`/jsp`), ready to be written.
    pub fn cookie(&self, context_path: &str) -> Result<SessionCookie, CookieError> {
        let wrong = |field, value: &str, cure| {
            Err(CookieError {
                field,
                value: value.to_owned(),
                cure,
            })
        };
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return wrong(
                "name",
                &self.name,
                "use letters, digits and !#$%&'*+-.^_`|~",
            );
        }
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b';');
        if !plain(&self.domain) {
            return wrong("domain", &self.domain, "write a host name");
        }
        if !plain(&self.path) || !(self.path.is_empty() || self.path.starts_with('/')) {
            return wrong("path", &self.path, "write a path that begins with /");
        }
        let path = if self.path.is_empty() {
            context_path
        } else {
            &self.path
        };
        let mut attributes = String::new();
        if self.max_age >= 0 {
            attributes += &format!("; Max-Age={}", self.max_age);
        }
        if !self.domain.is_empty() {
            attributes += &format!("; Domain={}", self.domain);
        }
        attributes += &format!("; Path={}", if path.is_empty() { "/" } else { path });
        let mut after = String::new();
        if self.http_only {
            after += "; HttpOnly";
        }
        match self.same_site {
            SameSite::Unset => {}
            SameSite::None => after += "; SameSite=None",
            SameSite::Lax => after += "; SameSite=Lax",
            SameSite::Strict => after += "; SameSite=Strict",
        }
        Ok(SessionCookie {
            start: format!("{}=", self.name),
            plain: format!("{attributes}{after}"),
            secure: format!("{attributes}; Secure{after}"),
            when_secure: self.secure,
        })
    }
}

/// The session cookie of one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    start: String,
    plain: String,
    secure: String,
    when_secure: Secure,
}

impl SessionCookie {
    /// The `Set-Cookie` value that hands out `id`; `secure_request` says whether the request came over HTTPS.
    pub fn set(&self, id: &SessionId, secure_request: bool) -> HeaderValue {
        let secure = match self.when_secure {
            Secure::Auto => secure_request,
            Secure::Always => true,
            Secure::Never => false,
        };
        let rest = if secure { &self.secure } else { &self.plain };
        let text = id.text();
        let mut value = Vec::with_capacity(self.start.len() + text.as_str().len() + rest.len());
        value.extend_from_slice(self.start.as_bytes());
        value.extend_from_slice(text.as_str().as_bytes());
        value.extend_from_slice(rest.as_bytes());
        HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
            .expect("name, id and attributes are checked to be visible ASCII")
    }

    /// The ids that the `Cookie` fields of a request carry under this cookie's name, in their order; what is no id is
    /// passed over, `asked` is set when the name occurred at all.
    pub fn ids<'a>(
        &self,
        fields: impl Iterator<Item = &'a [u8]>,
        asked: &mut bool,
    ) -> impl Iterator<Item = AskedId<'a>> {
        let name = &self.start.as_bytes()[..self.start.len() - 1];
        fields
            .flat_map(|field| field.split(|b| *b == b';'))
            .filter_map(move |pair| value_of(pair, name))
            .take(CANDIDATES_MAX)
            .inspect(|_| *asked = true)
            .filter_map(AskedId::parse)
    }

    /// The name in lower case and `=`: how the path parameter begins (`jsessionid=`).
    pub fn path_parameter(&self) -> String {
        self.start.to_ascii_lowercase()
    }
}

/// The value of one `name=value` of a `Cookie` field, if it has this name; quotes around it are not part of it.
fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let pair = pair.trim_ascii();
    let value = pair.strip_prefix(name)?.trim_ascii_start();
    let value = value.strip_prefix(b"=")?.trim_ascii_start();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
