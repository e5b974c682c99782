//! Where clients come from, as memcached's `-l` has it: `host`, `host:port`, `[::1]:port`, `*`, `notls:` in front.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands before an address that is to be served without TLS.
const NO_TLS: &str = "notls:";

/// One address of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// An address or a host name; `*` is every address of the machine.
    pub host: String,
    /// Its own port, in place of the common one; 0 is any free port.
    pub port: Option<u16>,
    /// Whether it stays without TLS when TLS is on.
    pub no_tls: bool,
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "`{text}` is not an address to listen on: {why}; write HOST, HOST:PORT, [IPV6]:PORT or *"
            )
        };
        let trimmed = text.trim();
        let (no_tls, rest) = match trimmed.strip_prefix(NO_TLS) {
            Some(rest) => (true, rest),
            None => (false, trimmed),
        };
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, after) = bracketed
                .split_once(']')
                .ok_or_else(|| wrong("the bracket is not closed"))?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(wrong("something follows the bracket")),
            }
        } else {
            match rest.split_once(':') {
                // More than one colon: an IPv6 address without brackets and port.
                Some((_, after)) if after.contains(':') => (rest, None),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        if host.is_empty() {
            return Err(wrong("there is no host"));
        }
        let port = port.map(str::parse).transpose();
        Ok(Self {
            host: host.to_owned(),
            port: port.map_err(|_| wrong("the port is not 0 to 65535"))?,
            no_tls,
        })
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.no_tls {
            f.write_str(NO_TLS)?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

/// The addresses to listen on; in TOML a list, or one text with commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces(pub Vec<Interface>);

impl Default for Interfaces {
    /// Loopback only. memcached listens on every address, which has put many a cache on the open network.
    fn default() -> Self {
        Self(vec![Interface {
            host: "127.0.0.1".into(),
            port: None,
            no_tls: false,
        }])
    }
}

impl From<std::net::SocketAddr> for Interfaces {
    fn from(address: std::net::SocketAddr) -> Self {
        Self(vec![Interface {
            host: address.ip().to_string(),
            port: Some(address.port()),
            no_tls: false,
        }])
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Interfaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        let parts = texts.iter().flat_map(|text| text.split([',', ';']));
        let parts = parts.filter(|part| !part.trim().is_empty());
        let interfaces: Result<Vec<Interface>, String> = parts.map(str::parse).collect();
        let interfaces = interfaces.map_err(de::Error::custom)?;
        if interfaces.is_empty() {
            return Err(de::Error::custom(
                "listen is empty; write an address such as 127.0.0.1, or * for every address",
            ));
        }
        Ok(Self(interfaces))
    }
}

impl Serialize for Interfaces {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

#[cfg(test)]
mod tests {
    use super::Interface;

    #[test]
    fn addresses_are_read_as_memcached_reads_them() {
        for (text, host, port, no_tls) in [
            ("127.0.0.1", "127.0.0.1", None, false),
            ("127.0.0.1:11212", "127.0.0.1", Some(11212), false),
            ("localhost:0", "localhost", Some(0), false),
            ("::1", "::1", None, false),
            ("[::1]", "::1", None, false),
            ("[::1]:1", "::1", Some(1), false),
            ("*", "*", None, false),
            ("notls:*:11211", "*", Some(11211), true),
            ("notls:[::1]:1", "::1", Some(1), true),
        ] {
            let interface: Interface = text.parse().expect(text);
            let expected = Interface {
                host: host.into(),
                port,
                no_tls,
            };
            assert_eq!(interface, expected, "{text}");
            assert_eq!(interface.to_string().parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        for text in ["", ":1", "a:b", "a:70000", "[::1", "[::1]1", "notls:"] {
            let error = text.parse::<Interface>().expect_err(text);
            assert!(error.contains("write HOST"), "{error}");
        }
    }
}
