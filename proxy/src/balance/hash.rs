//! nginx's `hash KEY`: a checksum of the key modulo the sum of the weights; a peer that cannot serve keeps its share, and its
//! keys hash again with the number of the attempt in front.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Instant;

use crc32fast::Hasher;
use http::HeaderName;

use super::{Attempt, Facts, Hit, MAX_REHASHES, Reason, at_weight, unusable};
use crate::cookie;
use crate::upstream::Upstream;

/// What a hash is made of: nginx's variables and the text between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    RequestUri,
    Uri,
    Arguments,
    Argument(Box<str>),
    RemoteAddress,
    Host,
    Cookie(Box<[u8]>),
    Field(HeaderName),
}

impl std::str::FromStr for KeyPattern {
    type Err = String;

    /// `$request_uri`, `$uri`, `$args`, `$arg_NAME`, `$remote_addr`, `$host`, `$cookie_NAME`, `$http_NAME`, and text.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('$') {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                parts.push(variable(name)?);
                rest = after;
            } else {
                let end = rest.find('$').unwrap_or(rest.len());
                let (literal, after) = rest.split_at(end);
                parts.push(Part::Text(literal.as_bytes().into()));
                rest = after;
            }
        }
        if parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return Err(format!(
                "`{text}` is the same for every request, so that one peer would get all; {KNOWN}"
            ));
        }
        Ok(Self {
            parts: parts.into(),
        })
    }
}

const KNOWN: &str =
    "use $request_uri, $uri, $args, $arg_NAME, $remote_addr, $host, $cookie_NAME or $http_NAME";

fn variable(name: &str) -> Result<Part, String> {
    let unknown = || format!("${name} is unknown; {KNOWN}");
    Ok(match name {
        "request_uri" => Part::RequestUri,
        "uri" => Part::Uri,
        "args" => Part::Arguments,
        "remote_addr" => Part::RemoteAddress,
        "host" => Part::Host,
        _ => {
            let (kind, rest) = name.split_once('_').ok_or_else(unknown)?;
            match kind {
                "arg" if !rest.is_empty() => Part::Argument(rest.into()),
                "cookie" if !rest.is_empty() => Part::Cookie(rest.as_bytes().into()),
                "http" => {
                    let field = rest.to_ascii_lowercase().replace('_', "-");
                    Part::Field(field.parse().map_err(|_| unknown())?)
                }
                _ => return Err(unknown()),
            }
        }
    })
}

/// The checksum of a key, made by the first choice and kept for the others: what the request goes on with may have lost fields
/// that the key is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) checksum: u32,
    length: u64,
}

impl Key {
    /// An empty key hashes nowhere.
    pub(super) fn is_empty(self) -> bool {
        self.length == 0
    }

    /// The checksum of a number in decimal with the key behind it.
    fn behind(self, number: u32) -> u32 {
        let mut fed = Fed {
            hasher: Hasher::new(),
            length: 0,
        };
        // Writing into a hasher does not fail.
        let _infallible = write!(fed, "{number}");
        let key = Hasher::new_with_initial_len(self.checksum, self.length);
        fed.hasher.combine(&key);
        fed.hasher.finalize()
    }
}

impl KeyPattern {
    /// The key of a request, without putting it together in memory.
    pub(super) fn key(&self, facts: &Facts<'_>) -> Key {
        let mut fed = Fed {
            hasher: Hasher::new(),
            length: 0,
        };
        let (path, arguments) = facts.target.split_once('?').unwrap_or((facts.target, ""));
        for part in &self.parts {
            match part {
                Part::Text(text) => fed.bytes(text),
                Part::RequestUri => fed.bytes(facts.target.as_bytes()),
                Part::Uri => fed.bytes(path.as_bytes()),
                Part::Arguments => fed.bytes(arguments.as_bytes()),
                Part::Argument(name) => fed.bytes(argument(arguments, name).as_bytes()),
                Part::RemoteAddress => fed.address(facts.client),
                Part::Host => fed.lower_case(facts.host.as_bytes()),
                Part::Cookie(name) => {
                    fed.bytes(cookie::find(facts.headers, name).next().unwrap_or_default());
                }
                Part::Field(name) => {
                    let value = facts.headers.get(name);
                    fed.bytes(value.map(|v| v.as_bytes()).unwrap_or_default());
                }
            }
        }
        Key {
            checksum: fed.hasher.finalize(),
            length: fed.length,
        }
    }
}

struct Fed {
    hasher: Hasher,
    length: u64,
}

impl Fed {
    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }

    fn lower_case(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.bytes(&[byte.to_ascii_lowercase()]);
        }
    }

    fn address(&mut self, address: IpAddr) {
        // Writing into a hasher does not fail.
        let _infallible = write!(self, "{address}");
    }
}

impl Write for Fed {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// The value of `name` in a query, not decoded; empty when it is absent.
fn argument<'a>(arguments: &'a str, name: &str) -> &'a str {
    arguments
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_default()
}

/// The peer for this key; nobody when the key is empty (then it is round robin and nothing else), and after 21 hashes without
/// a usable peer.
pub(super) fn choose(
    upstream: &Upstream,
    pattern: &KeyPattern,
    facts: &Facts<'_>,
    attempt: &mut Attempt,
    now: Instant,
) -> Hit {
    let key = *attempt.key.get_or_insert_with(|| pattern.key(facts));
    if key.is_empty() {
        return (None, Reason::RoundRobin);
    }
    while attempt.misses <= MAX_REHASHES {
        let checksum = match attempt.hashes {
            0 => key.checksum,
            number => key.behind(number),
        };
        attempt.hashes += 1;
        attempt.hash = attempt.hash.wrapping_add((checksum >> 16) & 0x7fff);
        let Some(peer) = at_weight(upstream, attempt.hash) else {
            break;
        };
        match unusable(upstream, peer, attempt, now) {
            None => return (Some(peer), attempt.reason(Reason::Hash)),
            Some(why) => attempt.miss(why),
        }
    }
    (None, attempt.reason(Reason::Hash))
}

#[cfg(test)]
mod tests {
    use super::KeyPattern;
    use crate::balance::Facts;
    use http::{HeaderMap, HeaderValue, header};

    #[test]
    fn keys_are_put_together_from_variables_and_text() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=1; b=2"));
        headers.insert("x-user", HeaderValue::from_static("ann"));
        let facts = Facts {
            client: "10.0.0.1".parse().expect("an address"),
            target: "/a/b?x=1&y=2",
            host: "Example.org",
            headers: &headers,
            unix: 0,
        };
        for (pattern, key) in [
            ("$request_uri", "/a/b?x=1&y=2"),
            ("$uri", "/a/b"),
            ("$args", "x=1&y=2"),
            ("$arg_y", "2"),
            ("$arg_z$uri", "/a/b"),
            ("$remote_addr", "10.0.0.1"),
            ("$host$uri", "example.org/a/b"),
            ("$cookie_b", "2"),
            ("$cookie_c", ""),
            ("u:$http_x_user!", "u:ann!"),
        ] {
            let parsed: KeyPattern = pattern.parse().expect("a pattern");
            let seen = parsed.key(&facts);
            assert_eq!(seen.is_empty(), key.is_empty(), "{pattern}");
            assert_eq!(seen.checksum, crc32fast::hash(key.as_bytes()), "{pattern}");
            let behind = crc32fast::hash(format!("12{key}").as_bytes());
            assert_eq!(seen.behind(12), behind, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for (pattern, why) in [
            ("", "same for every request"),
            ("constant", "same for every request"),
            ("$nothing", "$nothing is unknown"),
            ("$http_", "$http_ is unknown"),
            ("$uri$", "$ is unknown"),
        ] {
            let error = pattern.parse::<KeyPattern>().expect_err("not a key");
            assert!(error.contains(why), "{pattern}: {error}");
        }
    }
}
