//! Non-sticky sessions: no server keeps one between requests. Each is on two nodes, the one that its id names and the next
//! one in the ring.

use super::absent::Absent;
use super::held::{Ending, Held, Outcome};
use super::locks::{self, Learned};
use super::nodes_in_use::NodesInUse;
use super::{Answer, World};
use crate::manager::msm::expiry;
use crate::manager::msm::key::Kind;
use crate::manager::msm::pattern::{RequestLine, Subject};
use crate::manager::msm::prefix::KeyPrefix;
use crate::manager::msm::record::Record;
use crate::manager::msm::settings::{MsmSettings, SettingsError};
use crate::manager::msm::validity::Validity;
use crate::session::{AskedId, SessionId};

/// What expressions over requests are compared with.
const SUBJECT: Subject = Subject::MethodUriQuery;

/// The exchange with the nodes for the sessions of one context.
#[derive(Debug)]
pub struct NonSticky<W> {
    nodes: NodesInUse<W>,
    absent: Absent,
    learned: Learned,
}

/// What is written to the second node, and verified on the first, after the response may have left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "without it there is no second copy"]
pub struct Copies {
    outcome: Outcome,
    /// The record as it has to be there.
    record: Vec<u8>,
}

impl<W: World> NonSticky<W> {
    /// The exchange of a context with this key prefix; `route` is the server's `jvm_route`, empty for none.
    pub fn new(
        settings: MsmSettings,
        prefix: KeyPrefix,
        route: &str,
        world: W,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            nodes: NodesInUse::new(settings, prefix, route, world)?,
            absent: Absent::default(),
            learned: Learned::default(),
        })
    }

    /// All that is outside.
    pub fn world(&self) -> &W {
        &self.nodes.world
    }

    /// A new session on a random node that is up; without a node, and then never stored, when all are down. `interval` is in
    /// seconds. Nothing is stored yet.
    pub async fn create(&self, interval: i32) -> Held {
        let node = self.nodes.choose(None).await;
        let id = self.nodes.new_id(node);
        Held::new(id, interval, self.nodes.world.now())
    }

    /// The session with this id. `None` also for requests that `requestUriIgnorePattern` matches, and when a node that counts as up
    /// does not answer or does not have it.
    pub async fn find(&self, asked: &AskedId<'_>, request: &RequestLine<'_>) -> Option<Held> {
        let node = self.nodes.node_of(asked.node)?;
        let up = self.nodes.is_up(node).await;
        if self.ignores(request) {
            return None;
        }
        let text = asked.to_string();
        if self.absent.has(&text, || self.nodes.world.now()) {
            return None;
        }
        if !up {
            return self.fail_over(asked, node).await;
        }
        let settings = &self.nodes.settings;
        let mut locked = false;
        let lock = self.nodes.key(Kind::Lock, asked);
        if self.learned.locks(&settings.locking_mode, request, SUBJECT) {
            let (expiry, timeout) = (settings.lock_expiration.into(), settings.operation_timeout);
            locked = locks::acquire(&self.nodes.world, node, &lock, expiry, timeout).await;
        }
        let found = match self
            .nodes
            .get(node, self.nodes.key(Kind::Session, asked))
            .await
        {
            // msm leaves a record alone that says that its session was ended: the safe behaviour's mark.
            Answer::Hit(stored) if is_ended(&stored) => {
                self.absent.add(text, self.nodes.world.now());
                None
            }
            Answer::Hit(stored) => match self.held(asked, stored) {
                Some(held) => Some(held),
                None => {
                    self.nodes
                        .delete(node, self.nodes.key(Kind::Session, asked))
                        .await;
                    self.absent.add(text, self.nodes.world.now());
                    None
                }
            },
            Answer::Failed => None,
            _ => {
                self.absent.add(text, self.nodes.world.now());
                None
            }
        };
        let Some(mut held) = found else {
            if locked {
                self.nodes.delete(node, lock).await;
            }
            return None;
        };
        self.nodes.seen(node, true);
        held.locked = locked;
        let validity = self
            .nodes
            .get(node, self.nodes.key(Kind::Validity, asked))
            .await;
        if !self.is_valid(&mut held, validity) {
            self.remove(&held).await;
            return None;
        }
        Some(held)
    }

    /// The session from its copy, when its own node is down. It moves to the node of the copy.
    async fn fail_over(&self, asked: &AskedId<'_>, primary: usize) -> Option<Held> {
        let (node, mut held) = self.copy_of(asked, primary).await?;
        held.id = self.nodes.moved(&held.id, node);
        held.moved = true;
        Some(held)
    }

    /// The copy of a session, and on which of the next nodes in the ring it is; each is asked once.
    /// msm asks the second of them for a key that cannot exist, and never stops; that is not repeated here.
    async fn copy_of(&self, asked: &AskedId<'_>, primary: usize) -> Option<(usize, Held)> {
        for node in self.nodes.after(primary) {
            if !self.nodes.is_up(node).await {
                continue;
            }
            let key = self.nodes.key(Kind::BackupValidity, asked);
            let validity = self.nodes.get(node, key).await;
            let key = self.nodes.key(Kind::Backup, asked);
            let Answer::Hit(stored) = self.nodes.get(node, key).await else {
                continue;
            };
            if is_ended(&stored) {
                return None;
            }
            let Some(mut held) = self.held(asked, stored) else {
                continue;
            };
            let valid = self.is_valid(&mut held, validity);
            return valid.then_some((node, held));
        }
        None
    }

    /// The request is over: stores what it changed. With [`MsmSettings::session_backup_async`] the response does not wait for
    /// this; in either case [`NonSticky::copy`] follows, for which it never waits.
    pub async fn end(
        &self,
        held: &mut Held,
        ending: Ending<'_>,
        request: &RequestLine<'_>,
    ) -> Option<Copies> {
        let node = self.nodes.node_of(held.id.suffix.node())?;
        if self.ignores(request) {
            return None;
        }
        let now = self.nodes.world.now();
        let settings = &self.nodes.settings;
        let attributes = ending.attributes.unwrap_or(held.attributes()).to_vec();
        let record = held.encode(&attributes, now).ok()?;
        let changed = held.is_changed_to(ending.attributes) || held.is_old(now);
        self.learned.learn(&settings.locking_mode, request, changed);
        let outcome = if changed {
            self.store(node, held, &record).await
        } else {
            Outcome::Skipped
        };
        held.unsaved = (outcome == Outcome::Failed).then_some(attributes);
        if std::mem::take(&mut held.locked) {
            self.nodes
                .delete(node, self.nodes.key(Kind::Lock, held.id))
                .await;
        }
        let exptime = expiry::validity(held.validity.interval, now);
        let key = self.nodes.key(Kind::Validity, held.id);
        let validity = held.validity.encode();
        let stored = self.nodes.set(node, key, exptime, &validity).await;
        if !stored && !settings.session_backup_async {
            return None;
        }
        Some(Copies { outcome, record })
    }

    async fn store(&self, node: usize, held: &Held, record: &[u8]) -> Outcome {
        let exptime = expiry::record(held.validity.interval, self.nodes.world.now());
        let key = self.nodes.key(Kind::Session, held.id);
        if self.nodes.set(node, key, exptime, record).await {
            return Outcome::Stored;
        }
        if !self.nodes.settings.session_backup_async {
            self.nodes.seen(node, false);
        }
        Outcome::Failed
    }

    /// Makes the copy on the next node. Of a record that was not stored now it first finds out, on both nodes, whether it is
    /// still there.
    pub async fn copy(&self, held: &mut Held, copies: Copies) {
        let Copies { outcome, record } = copies;
        self.make_copies(held, outcome, &record).await;
        if outcome == Outcome::Stored {
            held.stored = record;
            held.moved = false;
            held.is_new = false;
        }
    }

    async fn make_copies(&self, held: &Held, outcome: Outcome, record: &[u8]) {
        let Some(node) = self.nodes.node_of(held.id.suffix.node()) else {
            return;
        };
        let (now, interval) = (self.nodes.world.now(), held.validity.interval);
        let exptime = expiry::record(interval, now);
        let skipped = outcome == Outcome::Skipped;
        if skipped {
            let key = self.nodes.key(Kind::Session, held.id);
            if self.nodes.probe(node, key.clone(), expiry::PROBE).await {
                self.nodes.set(node, key, exptime, record).await;
            }
        }
        let Some(second) = self.nodes.next_up(node).await else {
            return;
        };
        let key = self.nodes.key(Kind::Backup, held.id);
        if !skipped || self.nodes.probe(second, key.clone(), expiry::PROBE).await {
            self.nodes.set(second, key, exptime, record).await;
        }
        let key = self.nodes.key(Kind::BackupValidity, held.id);
        let exptime = expiry::validity(interval, now);
        self.nodes
            .set(second, key, exptime, &held.validity.encode())
            .await;
    }

    /// A request that came with an id and never asked for the session keeps it from expiring. `now` becomes both of its times.
    pub async fn unused(&self, asked: &AskedId<'_>, request: &RequestLine<'_>) {
        let Some(node) = self
            .nodes
            .node_of(asked.node)
            .filter(|_| !self.ignores(request))
        else {
            return;
        };
        let now = self.nodes.world.now();
        if self.absent.has(asked.to_string(), || now) || !self.nodes.is_up(node).await {
            return;
        }
        let key = self.nodes.key(Kind::Validity, asked);
        let Answer::Hit(found) = self.nodes.get(node, key.clone()).await else {
            return;
        };
        let Some(found) = Validity::decode(&found) else {
            return;
        };
        let validity = Validity {
            last_accessed: now,
            this_accessed: now,
            ..found
        };
        let (exptime, bytes) = (expiry::validity(found.interval, now), validity.encode());
        self.nodes.set(node, key, exptime, &bytes).await;
        let key = self.nodes.key(Kind::Session, asked);
        self.nodes.probe(node, key, expiry::PROBE_UNUSED).await;
        if let Some(second) = self.nodes.next_up(node).await {
            let key = self.nodes.key(Kind::Backup, asked);
            self.nodes.probe(second, key, expiry::PROBE_UNUSED).await;
            let key = self.nodes.key(Kind::BackupValidity, asked);
            self.nodes.set(second, key, exptime, &bytes).await;
        }
    }

    /// Gives the session a new id, perhaps on another node. What is stored under the old one is gone from now on; under the
    /// new one it is stored at the end of the request.
    pub async fn change_id(&self, held: &mut Held) {
        let node = self.nodes.choose(None).await;
        self.forget(held).await;
        held.id = self.nodes.new_id(node);
        held.moved = true;
        held.locked = false;
    }

    /// The session was ended.
    pub async fn remove(&self, held: &Held) {
        self.forget(held).await;
    }

    async fn forget(&self, held: &Held) {
        let Some(node) = self.nodes.node_of(held.id.suffix.node()) else {
            return;
        };
        self.nodes
            .delete(node, self.nodes.key(Kind::Session, held.id))
            .await;
        self.nodes
            .delete(node, self.nodes.key(Kind::Validity, held.id))
            .await;
        if let Some(second) = self.nodes.next_up(node).await {
            self.nodes
                .delete(second, self.nodes.key(Kind::Backup, held.id))
                .await;
            let key = self.nodes.key(Kind::BackupValidity, held.id);
            self.nodes.delete(second, key).await;
        }
        if held.locked {
            self.nodes
                .delete(node, self.nodes.key(Kind::Lock, held.id))
                .await;
        }
        self.absent.add(held.id.to_string(), self.nodes.world.now());
    }

    fn held(&self, asked: &AskedId<'_>, stored: Vec<u8>) -> Option<Held> {
        let id: SessionId = asked.confirmed().ok()?;
        Held::found(id, stored).ok()
    }

    /// Takes the times of the validity record, if it was found; whether the session is valid by them.
    fn is_valid(&self, held: &mut Held, validity: Answer) -> bool {
        if let Answer::Hit(bytes) = validity
            && let Some(found) = Validity::decode(&bytes)
        {
            // Not the interval: msm believes that of the record.
            held.validity = Validity {
                interval: held.validity.interval,
                ..found
            };
        }
        held.validity.is_valid(self.nodes.world.now())
    }

    fn ignores(&self, request: &RequestLine<'_>) -> bool {
        let settings = &self.nodes.settings;
        let pattern = &settings.request_uri_ignore_pattern;
        pattern.matches_request(request, SUBJECT)
    }
}

fn is_ended(stored: &[u8]) -> bool {
    Record::decode(stored).is_ok_and(|record| !record.is_valid)
}
