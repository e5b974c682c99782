//! Who the client is, when trusted proxies stand in front (nginx's realip module).
//!
//! Only what a trusted neighbour says is believed, and a list is read from right to left: each proxy appends the address it
//! saw, so everything left of the first address that is not trusted may be invented.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

/// Networks that are believed, and the field they say it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealIp {
    networks: Box<[Network]>,
    source: Source,
    recursive: bool,
}

/// Where trusted proxies say who the client is (nginx `real_ip_header`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A field with one address or a list: `X-Real-IP`, `X-Forwarded-For` and the like.
    Field(HeaderName),
    /// The `for` parameters of `Forwarded` (RFC 7239).
    Forwarded,
    /// The source of the PROXY protocol.
    ProxyProtocol,
}

/// A network in CIDR form, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    mask: u128,
}

impl std::str::FromStr for Network {
    type Err = &'static str;

    /// `192.168.0.0/16`, `fd00::/8`, `10.1.2.3`.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str =
            "is neither an address nor a network; write 10.0.0.0/8, fd00::/8 or 127.0.0.1";
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| WRONG)?;
        let longest: u32 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(length) => length.parse().ok().filter(|l| *l <= longest).ok_or(WRONG)?,
            None => longest,
        };
        // IPv4 lives in ::ffff:0:0/96, so that one comparison serves both.
        let mask = u128::MAX.checked_shl(longest - length).unwrap_or(0);
        let mask = if longest == 32 {
            mask | (u128::MAX << 32)
        } else {
            mask
        };
        Ok(Self {
            bits: bits(address) & mask,
            mask,
        })
    }
}

impl Network {
    /// Whether the address lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl RealIp {
    /// Believes these networks. `recursive`: go on to the left past addresses that are trusted themselves.
    pub fn new(networks: Vec<Network>, source: Source, recursive: bool) -> Self {
        Self {
            networks: networks.into(),
            source,
            recursive,
        }
    }

    /// Whether what this address says about the client is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|n| n.contains(address))
    }

    /// The client of a request that came over a connection from `peer`. `announced` is the source of the PROXY protocol.
    /// What is not an address stops the search, and the last address found holds.
    pub fn client(
        &self,
        peer: IpAddr,
        announced: Option<SocketAddr>,
        headers: &HeaderMap,
    ) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        match &self.source {
            Source::ProxyProtocol => announced.map_or(peer, |a| a.ip()),
            Source::Field(name) => self.walk(peer, elements(headers, name), address),
            Source::Forwarded => {
                self.walk(peer, elements(headers, &header::FORWARDED), forwarded_for)
            }
        }
    }

    fn walk<'a>(
        &self,
        peer: IpAddr,
        elements: impl Iterator<Item = &'a str>,
        read: impl Fn(&'a str) -> Option<IpAddr>,
    ) -> IpAddr {
        let mut client = peer;
        for element in elements {
            let Some(address) = read(element) else { break };
            client = address;
            if !self.recursive || !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// The elements of a list field, the last one first; a field that is not text ends the list.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .rev()
        .map(|value| value.to_str().unwrap_or("?"))
        .flat_map(|value| value.rsplit(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// An address, with or without port, an IPv6 one with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return believable(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return believable(address.ip());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse().ok().and_then(believable)
}

/// 255.255.255.255 is nobody's, as in nginx.
fn believable(address: IpAddr) -> Option<IpAddr> {
    (address != IpAddr::V4(Ipv4Addr::BROADCAST)).then_some(address)
}

/// The `for` of one element of `Forwarded`; `unknown` and `_hidden` names are no addresses.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| address(value.trim().trim_matches('"')))?
    })
}

#[cfg(test)]
mod tests {
    use super::{Network, RealIp, Source};
    use http::{HeaderMap, HeaderName, HeaderValue, header};
    use std::net::IpAddr;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn real_ip(source: Source, recursive: bool) -> RealIp {
        let networks = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];
        RealIp::new(
            networks.map(|n| n.parse().expect("a network")).to_vec(),
            source,
            recursive,
        )
    }

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn networks() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("::/0", "::1", "8.8.8.8"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("192.168.1.128/25", "192.168.1.200", "192.168.1.1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
        ] {
            let parsed: Network = network.parse().expect("a network");
            assert!(parsed.contains(ip(inside)), "{inside} in {network}");
            // An IPv6 network of length 0 is everything, IPv4 included.
            assert_eq!(
                parsed.contains(ip(outside)),
                network == "::/0",
                "{outside} in {network}"
            );
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "a",
            "10.0.0.0/-1",
            "10.0.0.0/",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_are_read_from_right_to_left() {
        let name = HeaderName::from_static("x-forwarded-for");
        for (peer, values, last, recursive) in [
            ("8.8.8.8", &["1.2.3.4"][..], "8.8.8.8", "8.8.8.8"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", &["1.1.1.1, 1.2.3.4"], "1.2.3.4", "1.2.3.4"),
            (
                "10.0.0.1",
                &["1.1.1.1, 1.2.3.4, 10.0.0.2"],
                "10.0.0.2",
                "1.2.3.4",
            ),
            (
                "10.0.0.1",
                &["1.1.1.1", "1.2.3.4", "10.0.0.2 , fd00::1"],
                "fd00::1",
                "1.2.3.4",
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.2", "10.0.0.3"),
            (
                "10.0.0.1",
                &["1.1.1.1, unknown, 10.0.0.2"],
                "10.0.0.2",
                "10.0.0.2",
            ),
            ("10.0.0.1", &["rubbish"], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &["255.255.255.255"], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4", "1.2.3.4"),
            (
                "10.0.0.1",
                &["[2001:db8::1]:443"],
                "2001:db8::1",
                "2001:db8::1",
            ),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1", "2001:db8::1"),
            ("10.0.0.1", &["", ", ,"], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1", "10.0.0.1"),
        ] {
            let headers = headers(&name, values);
            for (flag, expected) in [(false, last), (true, recursive)] {
                let client =
                    real_ip(Source::Field(name.clone()), flag).client(ip(peer), None, &headers);
                assert_eq!(client, ip(expected), "{peer} {values:?} recursive {flag}");
            }
        }
    }

    #[test]
    fn forwarded_and_the_proxy_protocol() {
        for (value, expected) in [
            ("for=1.2.3.4;proto=https", "1.2.3.4"),
            (
                "for=9.9.9.9, proto=http; For=\"[2001:db8::1]:47011\"",
                "2001:db8::1",
            ),
            ("for=_hidden", "10.0.0.1"),
            ("for=unknown", "10.0.0.1"),
            ("by=1.2.3.4", "10.0.0.1"),
        ] {
            let headers = headers(&header::FORWARDED, &[value]);
            let client = real_ip(Source::Forwarded, true).client(ip("10.0.0.1"), None, &headers);
            assert_eq!(client, ip(expected), "{value}");
        }
        let real_ip = real_ip(Source::ProxyProtocol, true);
        let announced = Some("1.2.3.4:5".parse().expect("an address"));
        let none = HeaderMap::new();
        assert_eq!(
            real_ip.client(ip("10.0.0.1"), announced, &none),
            ip("1.2.3.4")
        );
        assert_eq!(
            real_ip.client(ip("8.8.8.8"), announced, &none),
            ip("8.8.8.8")
        );
        assert_eq!(real_ip.client(ip("10.0.0.1"), None, &none), ip("10.0.0.1"));
    }
}
