//! What Tomcat knows of a request and HTTP libraries do not tell: path parameters, the URL as the client sees it, and,
//! behind a trusted proxy, who the client really is (Tomcat's `RemoteIpValve`). Pure.

use std::net::IpAddr;
use std::str::FromStr;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Uri, header};
use serde::{Deserialize, Serialize};

/// Extension of a request that came over HTTPS, to this server or to a trusted proxy (Tomcat's `request.isSecure`).
#[derive(Debug, Clone, Copy)]
pub struct Secured;

/// Extension: the value of the `;jsessionid=` path parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSession(pub String);

/// Extension: the path as the client sent it, when routing sees another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPath(pub String);

/// The path without its parameters, which Tomcat cuts out of every segment, and the session id among them. `None` when
/// the path has none. `parameter` is `jsessionid=`.
pub fn without_parameters(path: &str, parameter: &str) -> Option<(String, Option<String>)> {
    if !path.contains(';') {
        return None;
    }
    let mut session = None;
    let segments = path.split('/').map(|segment| {
        let mut parts = segment.split(';');
        let name = parts.next().unwrap_or_default();
        for value in parts.filter_map(|p| p.strip_prefix(parameter)) {
            session.get_or_insert_with(|| value.to_owned());
        }
        name
    });
    let stripped = segments.collect::<Vec<_>>().join("/");
    Some((stripped, session))
}

/// `uri` with another path.
pub fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The request URI as JSPs know it: the path as sent, without the query.
pub fn sent_uri(parts: &Parts) -> &str {
    match parts.extensions.get::<SentPath>() {
        Some(SentPath(path)) => path,
        None => parts.uri.path(),
    }
}

/// The scheme that the client used.
pub fn scheme(parts: &Parts) -> &'static str {
    if parts.extensions.get::<Secured>().is_some() {
        "https"
    } else {
        "http"
    }
}

/// The host, with port if one was sent, that the client asked: from the request line, else the `Host` field. `None` when
/// there is none or it is no host, which Tomcat answers with 400; what is returned needs no escaping in HTML.
pub fn host(parts: &Parts) -> Option<&str> {
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => {
            let mut fields = parts.headers.get_all(header::HOST).iter();
            match (fields.next(), fields.next()) {
                (Some(host), None) => host.to_str().ok()?,
                _ => return None,
            }
        }
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:[]%".contains(&b);
    (!host.is_empty() && host.bytes().all(plain)).then_some(host)
}

/// Addresses of proxies that are believed: `10.0.0.0/8`, `::1`, `192.168.23.80`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Text that is not an address or a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address or network: write 127.0.0.1, 10.0.0.0/8, ::1 or fd00::/8")]
pub struct NetworkError(String);

impl Network {
    /// Whether `address` lies in it; IPv4 addresses mapped into IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse().map_err(|_| wrong())?,
            None => most,
        };
        if prefix > most {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Who the client is and how it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether it used HTTPS.
    pub secure: bool,
}

/// The client of a request that came from `peer`. Only when the peer is one of `proxies`, `X-Forwarded-For` (from the right,
/// the first address that is no proxy of ours) and `X-Forwarded-Proto` are believed.
pub fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> Client {
    const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    let mut client = Client {
        address: peer.to_canonical(),
        secure: false,
    };
    if !trusted(peer) {
        return client;
    }
    let fields: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    for address in fields.iter().rev().flat_map(|field| field.rsplit(',')) {
        let Ok(address) = address.trim().parse::<IpAddr>() else {
            break;
        };
        client.address = address.to_canonical();
        if !trusted(address) {
            break;
        }
    }
    let protocol = headers.get(FORWARDED_PROTO).and_then(|v| v.to_str().ok());
    // As RemoteIpValve: secure only if every proxy on the way says so.
    client.secure =
        protocol.is_some_and(|p| p.split(',').all(|p| p.trim().eq_ignore_ascii_case("https")));
    client
}

#[cfg(test)]
mod tests {
    use super::{client, host, with_path, without_parameters};
    use http::{HeaderMap, HeaderName, HeaderValue, Request};

    #[test]
    fn parameters_are_cut_out_of_every_segment() {
        for (path, stripped, session) in [
            ("/jsp/;jsessionid=AB", "/jsp/", Some("AB")),
            ("/jsp;jsessionid=AB/index.jsp", "/jsp/index.jsp", Some("AB")),
            (
                "/jsp/index.jsp;x=1;jsessionid=AB;y",
                "/jsp/index.jsp",
                Some("AB"),
            ),
            ("/jsp/index.jsp;x=1", "/jsp/index.jsp", None),
            ("/a;jsessionid=1/b;jsessionid=2", "/a/b", Some("1")),
            ("/;", "/", None),
        ] {
            let expected = Some((stripped.to_owned(), session.map(str::to_owned)));
            assert_eq!(without_parameters(path, "jsessionid="), expected, "{path}");
        }
        assert_eq!(without_parameters("/jsp/index.jsp", "jsessionid="), None);
        let uri = "http://h:1/jsp/;x?a=b".parse().expect("valid");
        assert_eq!(
            with_path(&uri, "/jsp/").expect("valid").to_string(),
            "http://h:1/jsp/?a=b"
        );
    }

    #[test]
    fn a_host_is_a_host() {
        for (field, expected) in [
            ("192.168.23.80", true),
            ("localhost:8080", true),
            ("[::1]:8080", true),
            ("", false),
            ("a<script>", false),
            ("a b", false),
            ("a/b", false),
            ("a\"b", false),
        ] {
            let (parts, ()) = Request::builder()
                .uri("/jsp/")
                .header("host", field)
                .body(())
                .expect("valid")
                .into_parts();
            assert_eq!(host(&parts), expected.then_some(field), "{field}");
        }
    }

    #[test]
    fn forwarded_fields_are_believed_from_proxies_only() {
        let proxies = [
            "10.0.0.0/8".parse().expect("net"),
            "::1".parse().expect("net"),
        ];
        for (peer, forwarded, proto, address, secure) in [
            ("192.0.2.1", "198.51.100.7", "https", "192.0.2.1", false),
            ("10.1.1.1", "198.51.100.7", "https", "198.51.100.7", true),
            (
                "10.1.1.1",
                "1.1.1.1, 198.51.100.7, 10.2.2.2",
                "http",
                "198.51.100.7",
                false,
            ),
            (
                "10.1.1.1",
                "198.51.100.7, rubbish",
                "https,http",
                "10.1.1.1",
                false,
            ),
            (
                "::ffff:10.1.1.1",
                "2001:db8::1",
                "HTTPS",
                "2001:db8::1",
                true,
            ),
            ("::1", "", "", "::1", false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [("x-forwarded-for", forwarded), ("x-forwarded-proto", proto)] {
                let value = HeaderValue::from_static(value);
                headers.append(HeaderName::from_static(name), value);
            }
            let client = client(peer.parse().expect("address"), &headers, &proxies);
            assert_eq!(
                (client.address.to_string().as_str(), client.secure),
                (address, secure),
                "{peer} {forwarded}"
            );
        }
    }

    #[test]
    fn networks_are_read() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
        ] {
            let parsed: super::Network = network.parse().expect(network);
            assert!(
                parsed.contains(inside.parse().expect("address")),
                "{network}"
            );
            assert!(
                !parsed.contains(outside.parse().expect("address")),
                "{network}"
            );
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/-1"] {
            assert!(text.parse::<super::Network>().is_err(), "{text}");
        }
    }
}
