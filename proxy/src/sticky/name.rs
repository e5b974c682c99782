//! How a peer is named in a sticky cookie (its SID).
//!
//! | hash | without times | with times |
//! |---|---|---|
//! | hmac | `NODE.MAC` | `NODE.LAST.FIRST.MAC` |
//! | md5 | MD5 of `address:port` in hex | `SID\|LAST\|FIRST` |
//! | plain | `id=`, else `address:port` | `SID\|LAST\|FIRST` |
//!
//! `hmac` is ours and the default: NODE is the `id=` of the server, or a pseudonym made with the key where there is none, so
//! that no address leaves the house. MAC is HMAC-SHA-256 over the upstream, the cookie's name, NODE and the times, its first
//! 128 bits in base64url. Without the key nobody can name a peer or lengthen a life; a valid cookie is good for its own
//! upstream and cookie name only. The other two are Tengine's, byte for byte, so that a site can change over without unbinding
//! anybody; whoever knows an address can make them.
//!
//! Without times there are only as many values as peers: they are made beforehand and compared, in constant time.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

use super::Seen;
use crate::config::HashName;
use crate::upstream::PeerIndex;

/// Bytes of the MAC that are kept: 128 bits.
const MAC_BYTES: usize = 16;
/// The same in base64url.
const MAC_TEXT: usize = 22;
/// Bytes that a pseudonym is made of.
const PSEUDONYM_BYTES: usize = 6;
/// Longest decimal time that is read; more digits are no time.
const TIME_DIGITS: usize = 12;

/// The names of an upstream's peers.
#[derive(Debug)]
pub struct Names {
    peers: Box<[Named]>,
}

#[derive(Debug)]
struct Named {
    node: Box<str>,
    plain: Box<str>,
    md5: Box<str>,
    /// `NODE.MAC` without times.
    signed: Box<str>,
    /// Everything up to the times has gone in.
    mac: Hmac<Sha256>,
}

/// A peer to be named.
#[derive(Debug, Clone, Copy)]
pub struct Nameable<'a> {
    /// `id=` of the configuration; may be empty.
    pub id: &'a str,
    /// Unique in the upstream, and the same after a restart: what a pseudonym is made from.
    pub name: &'a str,
    /// Where it is.
    pub address: SocketAddr,
}

/// What a value names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Nobody, or the signature is wrong.
    Unknown,
    /// This peer.
    Peer {
        /// Which one.
        peer: PeerIndex,
        /// The times, where there are any.
        seen: Option<Seen>,
    },
}

impl Names {
    /// Names for these peers, valid in this upstream and cookie, signed with this key.
    pub fn new<'a>(
        key: &[u8],
        upstream: &str,
        cookie: &str,
        peers: impl IntoIterator<Item = Nameable<'a>>,
    ) -> Self {
        let keyed = keyed(key, upstream, cookie);
        Self {
            peers: peers
                .into_iter()
                .map(|peer| Named::new(peer, &keyed))
                .collect(),
        }
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Appends what names `peer`.
    pub fn write(&self, hash: HashName, peer: PeerIndex, seen: Option<Seen>, out: &mut Vec<u8>) {
        let named = &self.peers[peer];
        let simple = match hash {
            HashName::Hmac => match seen {
                None => {
                    out.extend_from_slice(named.signed.as_bytes());
                    return;
                }
                Some(seen) => {
                    let text = format!("{}.{}.{}.", named.node, seen.last, seen.first);
                    out.extend_from_slice(text.as_bytes());
                    out.extend_from_slice(&named.sign(Some(seen)));
                    return;
                }
            },
            HashName::Plain => &named.plain,
            HashName::Md5 => &named.md5,
        };
        out.extend_from_slice(simple.as_bytes());
        if let Some(seen) = seen {
            out.extend_from_slice(format!("|{}|{}", seen.last, seen.first).as_bytes());
        }
    }

    /// Whom `value` names.
    pub fn read(&self, hash: HashName, value: &[u8]) -> Read {
        match hash {
            HashName::Hmac => self.read_signed(value),
            HashName::Plain => self.read_open(value, |named| &named.plain),
            HashName::Md5 => self.read_open(value, |named| &named.md5),
        }
    }

    fn read_signed(&self, value: &[u8]) -> Read {
        let ready = |named: &Named| same(named.signed.as_bytes(), value);
        if let Some(peer) = self.peers.iter().position(ready) {
            return Read::Peer { peer, seen: None };
        }
        self.read_dated(value).unwrap_or(Read::Unknown)
    }

    /// `NODE.LAST.FIRST.MAC`, taken apart from the right since NODE may hold dots.
    fn read_dated(&self, value: &[u8]) -> Option<Read> {
        let mut parts = value.rsplitn(4, |byte| *byte == b'.');
        let (mac, first, last, node) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let seen = Seen {
            last: time(last)?,
            first: time(first)?,
        };
        let peer = self
            .peers
            .iter()
            .position(|named| named.node.as_bytes() == node)?;
        same(&self.peers[peer].sign(Some(seen)), mac).then_some(Read::Peer {
            peer,
            seen: Some(seen),
        })
    }

    fn read_open(&self, value: &[u8], name: impl Fn(&Named) -> &str) -> Read {
        let mut parts = value.rsplitn(3, |byte| *byte == b'|');
        let dated = match (parts.next(), parts.next(), parts.next()) {
            (Some(first), Some(last), Some(sid)) => time(last)
                .zip(time(first))
                .map(|(last, first)| (sid, Seen { last, first })),
            _ => None,
        };
        let (sid, seen) = match dated {
            Some((sid, seen)) => (sid, Some(seen)),
            None => (value, None),
        };
        let found = |named: &Named| name(named).as_bytes() == sid;
        match self.peers.iter().position(found) {
            Some(peer) => Read::Peer { peer, seen },
            None => Read::Unknown,
        }
    }
}

impl Named {
    fn new(peer: Nameable<'_>, keyed: &Hmac<Sha256>) -> Self {
        let address = peer.address.to_string();
        let node = if peer.id.is_empty() {
            pseudonym(peer.name, keyed)
        } else {
            peer.id.to_owned()
        };
        let mut mac = keyed.clone();
        feed(&mut mac, &[b"node", node.as_bytes()]);
        let plain = if peer.id.is_empty() {
            &address
        } else {
            peer.id
        };
        let mut named = Self {
            plain: plain.into(),
            md5: hex(&Md5::digest(&address)).into(),
            signed: Box::default(),
            node: node.into(),
            mac,
        };
        let mac = named.sign(None);
        named.signed = format!("{}.{}", named.node, String::from_utf8_lossy(&mac)).into();
        named
    }

    fn sign(&self, seen: Option<Seen>) -> [u8; MAC_TEXT] {
        let mut mac = self.mac.clone();
        if let Some(seen) = seen {
            feed(
                &mut mac,
                &[&seen.last.to_be_bytes(), &seen.first.to_be_bytes()],
            );
        }
        let tag = mac.finalize().into_bytes();
        let mut text = [0; MAC_TEXT];
        // 16 bytes make 22 characters, which fit.
        let _written = URL_SAFE_NO_PAD.encode_slice(&tag[..MAC_BYTES], &mut text);
        text
    }
}

fn keyed(key: &[u8], upstream: &str, cookie: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    feed(
        &mut mac,
        &[b"lnmt sticky 1", upstream.as_bytes(), cookie.as_bytes()],
    );
    mac
}

/// Feeds parts with their lengths, so that no two lists of parts look alike.
fn feed(mac: &mut Hmac<Sha256>, parts: &[&[u8]]) {
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
}

fn pseudonym(name: &str, keyed: &Hmac<Sha256>) -> String {
    let mut mac = keyed.clone();
    feed(&mut mac, &[b"pseudonym", name.as_bytes()]);
    URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..PSEUDONYM_BYTES])
}

/// Compares without telling by its time how much is equal.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

fn time(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > TIME_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        text.iter()
            .fold(0, |time, digit| time * 10 + u64::from(digit - b'0')),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
