//! Tengine's `session_sticky`: a cookie names the peer.
//!
//! | mode | what the client gets | what the peer gets |
//! |---|---|---|
//! | insert | a cookie of the proxy's own, `NAME=SID` and attributes | the same; nothing with `option=indirect` |
//! | rewrite | the application's cookie with its value replaced by SID | the same |
//! | prefix | the application's cookie as `SID~VALUE` | `VALUE` |
//!
//! What a SID is, and how it is signed, is in [`name`]. Different from Tengine, on purpose: cookie names match exactly; a
//! stale, forged or malformed cookie is never an error; the state of the peer is looked at before the cookie is followed; the
//! cookie is set on every status, but only when something changed: first visit, move, half of `maxidle` gone.

pub mod name;

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::SET_COOKIE};

use crate::binding::{By, Presented, Reply};
use crate::config::{CookieMode, CookieOption, HashName, SameSite, Secure, StickyConfig};
use crate::cookie;
use crate::upstream::PeerIndex;
use name::{Names, Read};

/// A cookie from so far in the future is not believed; less is taken for clocks that differ (as in Tengine).
const FUTURE: u64 = 86_400;

/// The times in a sticky cookie, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When the cookie was last renewed.
    pub last: u64,
    /// When the session was first bound.
    pub first: u64,
}

/// The sticky cookie of one upstream.
#[derive(Debug)]
pub struct Sticky {
    cookie: Box<[u8]>,
    mode: CookieMode,
    indirect: bool,
    strict: bool,
    limits: Option<Limits>,
    /// How peers are named in what is written.
    writes: HashName,
    /// How they may be named in what is read; the first is what is written.
    reads: Box<[HashName]>,
    names: Names,
    attributes: Attributes,
    /// By peer: the whole `Set-Cookie` without times, for an open and for an encrypted connection.
    ready: Box<[[HeaderValue; 2]]>,
}

/// `maxidle` and `maxlife` in seconds; the one that is off is [`u64::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    idle: u64,
    life: u64,
}

/// Attributes as text, for an open and for an encrypted connection.
#[derive(Debug)]
struct Attributes([String; 2]);

impl Sticky {
    /// The cookie that these settings describe, for these peers.
    pub fn new(config: &StickyConfig, names: Names) -> Self {
        let mut reads = vec![config.hash];
        reads.extend(config.accept.iter().filter(|hash| **hash != config.hash));
        let limits = Limits::new(*config.maxidle, *config.maxlife);
        let attributes = Attributes::new(config, limits.is_some());
        let ready = (0..names.len())
            .map(|peer| {
                [false, true].map(|secure| {
                    let mut line = format!("{}=", config.cookie).into_bytes();
                    names.write(config.hash, peer, None, &mut line);
                    line.extend_from_slice(attributes.text(secure).as_bytes());
                    cookie::made_of_parts(line)
                })
            })
            .collect();
        Self {
            cookie: config.cookie.as_bytes().into(),
            mode: config.mode,
            indirect: config.option == CookieOption::Indirect && config.mode == CookieMode::Insert,
            strict: !config.fallback,
            limits: limits.filter(|_| config.mode == CookieMode::Insert),
            writes: config.hash,
            reads: reads.into(),
            names,
            attributes,
            ready,
        }
    }

    /// `fallback=off`: a bound request rather fails than goes elsewhere.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The peer that the request's cookie names. Of several cookies the first valid one wins.
    pub(crate) fn read(&self, headers: &HeaderMap, unix: u64) -> Presented {
        let mut presented = Presented::Nothing;
        for value in cookie::find(headers, &self.cookie) {
            match self.read_value(value, unix) {
                Presented::Nothing | Presented::Unread => {}
                unknown @ Presented::Unknown(_) => presented = unknown,
                peer @ Presented::Peer { .. } => return peer,
            }
        }
        presented
    }

    fn read_value(&self, value: &[u8], unix: u64) -> Presented {
        let sid = match self.mode {
            CookieMode::Insert | CookieMode::Rewrite => value,
            CookieMode::Prefix => match split_prefix(value) {
                Some((sid, _)) => sid,
                None => return Presented::Nothing,
            },
        };
        if sid.is_empty() {
            return Presented::Nothing;
        }
        let mut malformed = false;
        for (place, hash) in self.reads.iter().enumerate() {
            match self.names.read(*hash, sid) {
                Read::Unknown => {}
                Read::Peer { peer, seen } => {
                    return match (self.limits, seen) {
                        (Some(_), None) => {
                            malformed = true;
                            continue;
                        }
                        (Some(limits), Some(seen)) if !limits.allow(seen, unix) => {
                            Presented::Nothing
                        }
                        (limits, seen) => Presented::Peer {
                            peer,
                            by: By::Cookie {
                                seen: seen.filter(|_| limits.is_some()),
                                outdated: place > 0 || (limits.is_none() && seen.is_some()),
                            },
                        },
                    };
                }
            }
        }
        if malformed {
            Presented::Nothing
        } else {
            Presented::Unknown(None)
        }
    }

    /// Takes out of the request what the peer must not see.
    pub(crate) fn edit_request(&self, headers: &mut HeaderMap) {
        match self.mode {
            CookieMode::Insert if self.indirect => {
                cookie::remove(headers, &self.cookie);
            }
            CookieMode::Insert | CookieMode::Rewrite => {}
            CookieMode::Prefix => {
                cookie::edit(headers, &self.cookie, |value| {
                    Some(split_prefix(value).map_or(value, |(_, rest)| rest))
                });
            }
        }
    }

    /// Puts the binding into the response of `peer`; true when it is a new one.
    pub(crate) fn edit_response(
        &self,
        presented: Presented,
        peer: PeerIndex,
        reply: Reply,
        headers: &mut HeaderMap,
    ) -> bool {
        let stays = matches!(presented, Presented::Peer { peer: before, .. } if before == peer);
        match self.mode {
            CookieMode::Insert => {
                if self.indirect {
                    cookie::remove_set_cookie(headers, &self.cookie);
                }
                if !stays || self.is_due(presented, reply.unix) {
                    headers.append(SET_COOKIE, self.set_cookie(presented, peer, reply));
                }
                !stays
            }
            CookieMode::Rewrite => {
                let mark = |_: &[u8]| self.sid(peer);
                cookie::edit_set_cookie(headers, &self.cookie, mark) && !stays
            }
            CookieMode::Prefix => {
                let mark = |value: &[u8]| {
                    let mut marked = self.sid(peer);
                    marked.push(b'~');
                    marked.extend_from_slice(value);
                    marked
                };
                cookie::edit_set_cookie(headers, &self.cookie, mark) && !stays
            }
        }
    }

    /// Whether a cookie that still names the right peer must be renewed.
    fn is_due(&self, presented: Presented, unix: u64) -> bool {
        let Presented::Peer {
            by: By::Cookie { seen, outdated },
            ..
        } = presented
        else {
            return true;
        };
        let half_idle = self.limits.zip(seen).is_some_and(|(limits, seen)| {
            limits.idle != u64::MAX && unix.saturating_sub(seen.last) >= limits.idle.div_ceil(2)
        });
        outdated || half_idle
    }

    fn set_cookie(&self, presented: Presented, peer: PeerIndex, reply: Reply) -> HeaderValue {
        if self.limits.is_none() {
            return self.ready[peer][usize::from(reply.secure)].clone();
        }
        // A session that moves keeps the time of its first binding; maxlife is the session's, not the peer's.
        let first = match presented {
            Presented::Peer {
                by: By::Cookie {
                    seen: Some(seen), ..
                },
                ..
            } => seen.first,
            _ => reply.unix,
        };
        let seen = Seen {
            last: reply.unix,
            first,
        };
        let mut line = Vec::with_capacity(192);
        line.extend_from_slice(&self.cookie);
        line.push(b'=');
        self.names.write(self.writes, peer, Some(seen), &mut line);
        line.extend_from_slice(self.attributes.text(reply.secure).as_bytes());
        cookie::made_of_parts(line)
    }

    fn sid(&self, peer: PeerIndex) -> Vec<u8> {
        let mut sid = Vec::new();
        self.names.write(self.writes, peer, None, &mut sid);
        sid
    }
}

/// The SID and the application's value of a marked cookie.
fn split_prefix(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let tilde = value.iter().position(|byte| *byte == b'~')?;
    Some((&value[..tilde], &value[tilde + 1..]))
}

impl Limits {
    fn new(idle: Duration, life: Duration) -> Option<Self> {
        let seconds = |time: Duration| match time.as_secs() {
            0 => u64::MAX,
            seconds => seconds,
        };
        (!idle.is_zero() || !life.is_zero()).then(|| Self {
            idle: seconds(idle),
            life: seconds(life),
        })
    }

    fn allow(self, seen: Seen, unix: u64) -> bool {
        let latest = unix.saturating_add(FUTURE);
        seen.last <= latest
            && seen.first <= latest
            && unix.saturating_sub(seen.last) <= self.idle
            && unix.saturating_sub(seen.first) <= self.life
    }
}

impl Attributes {
    fn new(config: &StickyConfig, limited: bool) -> Self {
        Self([false, true].map(|encrypted| {
            let mut text = String::new();
            for (name, value) in [("Domain", &config.domain), ("Path", &config.path)] {
                if !value.is_empty() {
                    text += &format!("; {name}={value}");
                }
            }
            if !limited && !config.maxage.is_zero() {
                text += &format!("; Max-Age={}", config.maxage.as_secs());
            }
            if config.httponly {
                text += "; HttpOnly";
            }
            let secure = match config.secure {
                Secure::Auto => encrypted,
                Secure::On => true,
                Secure::Off => false,
            };
            text += match config.samesite {
                SameSite::Lax => "; SameSite=Lax",
                SameSite::Strict => "; SameSite=Strict",
                // Browsers throw such a cookie away unless it is Secure as well.
                SameSite::None if secure => "; SameSite=None",
                SameSite::None | SameSite::Off => "",
            };
            if secure {
                text += "; Secure";
            }
            text
        }))
    }

    fn text(&self, encrypted: bool) -> &str {
        &self.0[usize::from(encrypted)]
    }
}
