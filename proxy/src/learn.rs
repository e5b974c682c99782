//! Learning from the application's own session cookie (nginx `sticky learn`): whichever peer sets it has the session.
//!
//! What was learned is shared by all workers, in shards behind short locks, and goes over on reload; it does not survive a
//! restart. Each shard holds two generations: what is used lives in the young one; when that is full it becomes the old one
//! and the old one is forgotten. So the table is bounded and keeps what is in use without a list in order of use.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::binding::{By, Presented};
use crate::cookie;
use crate::upstream::PeerIndex;

const SHARDS: usize = 64;

/// A session id, hashed with a key that only this process has: ids are credentials and need not be kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64, u64);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}…", self.0 >> 32)
    }
}

/// Which session began where.
#[derive(Debug)]
pub struct Learn {
    cookie: Box<[u8]>,
    timeout: Duration,
    /// Names of the peers, by which a reload finds them again.
    peers: Box<[Box<str>]>,
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    keys: (RandomState, RandomState),
    shards: Vec<Mutex<Shard>>,
    generation: usize,
}

#[derive(Debug, Default, Clone)]
struct Shard {
    young: HashMap<Fingerprint, Known>,
    old: HashMap<Fingerprint, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    peer: PeerIndex,
    used: Instant,
}

impl Learn {
    /// Learns from this cookie. A session that is not used for `timeout` is forgotten; at most `sessions` are remembered.
    /// `previous`, from before a reload, hands over what was learned about peers that still exist.
    pub fn new(
        cookie: &str,
        timeout: Duration,
        sessions: usize,
        peers: Vec<Box<str>>,
        previous: Option<&Self>,
    ) -> Self {
        let generation = (sessions / 2 / SHARDS).max(1);
        let cookie: Box<[u8]> = cookie.as_bytes().into();
        let table = match previous.filter(|p| p.cookie == cookie) {
            None => Arc::new(Table::new(generation)),
            Some(previous)
                if *previous.peers == *peers && previous.table.generation == generation =>
            {
                Arc::clone(&previous.table)
            }
            Some(previous) => Arc::new(previous.translated(&peers, generation)),
        };
        Self {
            cookie,
            timeout,
            peers: peers.into(),
            table,
        }
    }

    /// Which peer has the session that the request names.
    pub(crate) fn read(&self, headers: &HeaderMap, now: Instant) -> Presented {
        let mut presented = Presented::Nothing;
        for id in cookie::find(headers, &self.cookie).filter(|id| !id.is_empty()) {
            let fingerprint = self.table.fingerprint(id);
            if let Some(peer) = self.table.find(fingerprint, self.timeout, now) {
                return Presented::Peer {
                    peer,
                    by: By::Learn(fingerprint),
                };
            }
            presented = Presented::Unknown(Some(fingerprint));
        }
        presented
    }

    /// The peer has answered: a session it begins is its own, and so is one that it served for another peer without
    /// beginning a new one. True when that was news.
    pub(crate) fn learn(
        &self,
        presented: Presented,
        peer: PeerIndex,
        headers: &HeaderMap,
        now: Instant,
    ) -> bool {
        let begun = cookie::find_set_cookie(headers, &self.cookie)
            .filter(|id| !id.is_empty())
            .last();
        let fingerprint = match (begun, presented) {
            (Some(id), _) => self.table.fingerprint(id),
            (None, Presented::Peer { peer: before, .. }) if before == peer => return false,
            (
                None,
                Presented::Peer {
                    by: By::Learn(fingerprint),
                    ..
                }
                | Presented::Unknown(Some(fingerprint)),
            ) => fingerprint,
            (None, _) => return false,
        };
        self.table.put(fingerprint, Known { peer, used: now });
        true
    }

    /// How many sessions are remembered for each peer.
    pub fn sessions(&self) -> Vec<usize> {
        let mut sessions = vec![0; self.peers.len()];
        for shard in &self.table.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let older = shard
                .old
                .iter()
                .filter(|(k, _)| !shard.young.contains_key(k));
            for (_, known) in shard.young.iter().chain(older) {
                if let Some(count) = sessions.get_mut(known.peer) {
                    *count += 1;
                }
            }
        }
        sessions
    }

    /// The table with the places of peers as they are now.
    fn translated(&self, peers: &[Box<str>], generation: usize) -> Table {
        let places: Vec<Option<PeerIndex>> = self
            .peers
            .iter()
            .map(|name| peers.iter().position(|p| p == name))
            .collect();
        let translate = |sessions: &HashMap<Fingerprint, Known>| {
            sessions
                .iter()
                .filter_map(|(fingerprint, known)| {
                    let peer = places.get(known.peer).copied().flatten()?;
                    Some((*fingerprint, Known { peer, ..*known }))
                })
                .take(generation)
                .collect()
        };
        let shards = self.table.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            Mutex::new(Shard {
                young: translate(&shard.young),
                old: translate(&shard.old),
            })
        });
        Table {
            keys: self.table.keys.clone(),
            shards: shards.collect(),
            generation,
        }
    }
}

impl Table {
    fn new(generation: usize) -> Self {
        Self {
            keys: (RandomState::new(), RandomState::new()),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            generation,
        }
    }

    fn fingerprint(&self, id: &[u8]) -> Fingerprint {
        Fingerprint(self.keys.0.hash_one(id), self.keys.1.hash_one(id))
    }

    fn shard(&self, fingerprint: Fingerprint) -> &Mutex<Shard> {
        &self.shards[fingerprint.0 as usize % SHARDS]
    }

    fn find(&self, fingerprint: Fingerprint, timeout: Duration, now: Instant) -> Option<PeerIndex> {
        let mut shard = self
            .shard(fingerprint)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = *shard
            .young
            .get(&fingerprint)
            .or_else(|| shard.old.get(&fingerprint))?;
        if now.saturating_duration_since(known.used) > timeout {
            shard.young.remove(&fingerprint);
            shard.old.remove(&fingerprint);
            return None;
        }
        shard.put(fingerprint, Known { used: now, ..known }, self.generation);
        Some(known.peer)
    }

    fn put(&self, fingerprint: Fingerprint, known: Known) {
        let mut shard = self
            .shard(fingerprint)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shard.put(fingerprint, known, self.generation);
    }
}

impl Shard {
    fn put(&mut self, fingerprint: Fingerprint, known: Known, generation: usize) {
        if self.young.len() >= generation && !self.young.contains_key(&fingerprint) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint, known);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::{HeaderMap, HeaderValue, header};

    use super::Learn;
    use crate::binding::{By, Presented};

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn learn(sessions: usize, peers: &[&str], previous: Option<&Learn>) -> Learn {
        let peers = peers.iter().map(|p| Box::from(*p)).collect();
        Learn::new("JSESSIONID", TIMEOUT, sessions, peers, previous)
    }

    fn cookie(id: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("JSESSIONID={id}")).expect("a value");
        [(header::COOKIE, value)].into_iter().collect()
    }

    fn set_cookie(id: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("JSESSIONID={id}; Path=/")).expect("a value");
        [(header::SET_COOKIE, value)].into_iter().collect()
    }

    fn peer(presented: Presented) -> Option<usize> {
        match presented {
            Presented::Peer {
                peer,
                by: By::Learn(_),
            } => Some(peer),
            _ => None,
        }
    }

    #[test]
    fn a_session_is_bound_where_it_began_and_follows_a_failover() {
        let learn = learn(1000, &["a", "b"], None);
        let now = Instant::now();
        assert_eq!(learn.read(&HeaderMap::new(), now), Presented::Nothing);
        let first = learn.read(&cookie("S1"), now);
        assert!(matches!(first, Presented::Unknown(Some(_))));
        assert!(learn.learn(Presented::Nothing, 1, &set_cookie("S1"), now));
        let bound = learn.read(&cookie("S1"), now);
        assert_eq!(peer(bound), Some(1));
        assert!(!learn.learn(bound, 1, &HeaderMap::new(), now), "no news");
        assert!(learn.learn(bound, 0, &HeaderMap::new(), now), "it moved");
        assert_eq!(peer(learn.read(&cookie("S1"), now)), Some(0));
        assert_eq!(learn.sessions(), [1, 0]);
    }

    #[test]
    fn unused_sessions_are_forgotten() {
        let learn = learn(1000, &["a", "b"], None);
        let now = Instant::now();
        learn.learn(Presented::Nothing, 1, &set_cookie("S1"), now);
        let used = now + TIMEOUT;
        assert_eq!(peer(learn.read(&cookie("S1"), used)), Some(1));
        assert_eq!(peer(learn.read(&cookie("S1"), used + TIMEOUT)), Some(1));
        let late = used + TIMEOUT * 3;
        assert_eq!(peer(learn.read(&cookie("S1"), late)), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let learn = learn(640, &["a"], None);
        let now = Instant::now();
        for n in 0..10_000 {
            learn.learn(Presented::Nothing, 0, &set_cookie(&format!("S{n}")), now);
        }
        assert!(learn.sessions()[0] <= 640, "{:?}", learn.sessions());
        assert_eq!(peer(learn.read(&cookie("S9999"), now)), Some(0));
    }

    #[test]
    fn a_reload_keeps_what_was_learned_about_peers_that_stay() {
        let before = learn(1000, &["a", "b"], None);
        let now = Instant::now();
        before.learn(Presented::Nothing, 0, &set_cookie("S1"), now);
        before.learn(Presented::Nothing, 1, &set_cookie("S2"), now);
        let same = learn(1000, &["a", "b"], Some(&before));
        assert_eq!(peer(same.read(&cookie("S2"), now)), Some(1));
        let after = learn(1000, &["b", "c"], Some(&before));
        assert_eq!(peer(after.read(&cookie("S1"), now)), None);
        assert_eq!(peer(after.read(&cookie("S2"), now)), Some(0));
    }
}
