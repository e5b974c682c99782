//! `storageKeyPrefix`: what stands in front of every id in a key, so that several applications can share nodes.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The longest prefix, so that every key with it is short enough for memcached.
pub const PREFIX_MAX: usize = 32;

/// The prefix of one context's keys; empty without a `storageKeyPrefix`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Why it cannot be used; `None` when it can. `-` and `.` are refused although our own routing does not mind: msm
    /// looks for the node in the whole key, finds another one, and stores nothing.
    pub fn fault(&self) -> Option<PrefixError> {
        let wrong = |b: u8| b <= b' ' || b == 0x7F || b == b'-' || b == b'.';
        if self.0.len() > PREFIX_MAX {
            return Some(PrefixError::Long(self.0.clone()));
        }
        self.0
            .bytes()
            .any(wrong)
            .then(|| PrefixError::Character(self.0.clone()))
    }
}

/// How the prefix is made: msm's `storageKeyPrefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixRule(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Static(String),
    Host,
    HostHash,
    Context,
    ContextHash,
    /// Tomcat's parallel deployment, which does not exist here: always empty.
    WebappVersion,
}

/// Why a prefix cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// A part that msm does not know.
    #[error(
        "storageKeyPrefix: `{0}` is unknown; use a comma list of static:TEXT, host, host.hash, context, context.hash, webappVersion"
    )]
    Part(String),
    /// A character that breaks keys or msm's routing.
    #[error(
        "storageKeyPrefix: it makes the prefix `{0}`, which must not have `-`, `.`, spaces or control characters; use host.hash or context.hash"
    )]
    Character(String),
    /// Too long for memcached.
    #[error(
        "storageKeyPrefix: it makes the prefix `{0}`, longer than {PREFIX_MAX} bytes; use host.hash or context.hash"
    )]
    Long(String),
}

impl PrefixRule {
    /// The prefix of a context (`/jsp`) on a host: the parts that are not empty, joined by `:`, then `_`.
    pub fn prefix(&self, host: &str, context: &str) -> KeyPrefix {
        let parts = self.0.iter().map(|part| match part {
            Part::Static(text) => text.clone(),
            Part::Host => host.to_owned(),
            Part::HostHash => hash(host),
            Part::Context => context.to_owned(),
            Part::ContextHash => hash(context),
            Part::WebappVersion => String::new(),
        });
        let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return KeyPrefix::default();
        }
        KeyPrefix(parts.join(":") + "_")
    }
}

/// msm's: only what parallel deployment adds.
impl Default for PrefixRule {
    fn default() -> Self {
        Self(vec![Part::WebappVersion])
    }
}

impl FromStr for PrefixRule {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let part = |part: &str| {
            Ok(match part.trim() {
                "host" => Part::Host,
                "host.hash" => Part::HostHash,
                "context" => Part::Context,
                "context.hash" => Part::ContextHash,
                "webappVersion" => Part::WebappVersion,
                other => match other.strip_prefix("static:") {
                    Some(text) => Part::Static(text.to_owned()),
                    None => return Err(PrefixError::Part(other.to_owned())),
                },
            })
        };
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        text.split(',')
            .map(part)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for PrefixRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            match part {
                Part::Static(text) => write!(f, "static:{text}")?,
                Part::Host => f.write_str("host")?,
                Part::HostHash => f.write_str("host.hash")?,
                Part::Context => f.write_str("context")?,
                Part::ContextHash => f.write_str("context.hash")?,
                Part::WebappVersion => f.write_str("webappVersion")?,
            }
        }
        Ok(())
    }
}

/// The first 8 hexadecimal digits of SHA-256.
fn hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().take(4).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{PrefixError, PrefixRule};

    #[test]
    fn parts_are_joined_as_msm_joins_them() {
        for (rule, prefix) in [
            ("", ""),
            ("webappVersion", ""),
            ("static:app1,context", "app1:/jsp_"),
            ("host,context", "localhost:/jsp_"),
            ("static:,host, webappVersion", "localhost_"),
            ("host.hash,context.hash", "49960de5:eb93e1d5_"),
        ] {
            let parsed: PrefixRule = rule.parse().expect(rule);
            assert_eq!(
                parsed.prefix("localhost", "/jsp").as_str(),
                prefix,
                "{rule}"
            );
            let again: PrefixRule = parsed.to_string().parse().expect(rule);
            assert_eq!(again, parsed);
        }
    }

    #[test]
    fn what_breaks_keys_is_refused() {
        assert!(matches!("hots".parse::<PrefixRule>(), Err(PrefixError::Part(p)) if p == "hots"));
        for (rule, host) in [
            ("static:www.example", ""),
            ("host", "a-b"),
            ("static:a b", ""),
        ] {
            let rule: PrefixRule = rule.parse().expect("known parts");
            let fault = rule.prefix(host, "/jsp").fault();
            assert!(matches!(fault, Some(PrefixError::Character(_))), "{rule}");
        }
        let rule: PrefixRule = "host".parse().expect("known");
        assert_eq!(rule.prefix("localhost", "/jsp").fault(), None);
        let long = rule.prefix(&"h".repeat(32), "/jsp").fault();
        assert!(matches!(long, Some(PrefixError::Long(_))));
    }
}
