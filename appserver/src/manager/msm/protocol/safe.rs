//! What `behaviour = "safe"` asks the nodes for: msm's keys and records, and nothing acknowledged is lost. Its own state machine
//! beside msm's; as that one it has no I/O, no clock and no chance of its own.
//!
//! ```text
//!   find.rs     all copies are read at once and the newest counts; no answer is no news
//!   save.rs     compare-and-swap on all copies at once; what others wrote meanwhile is merged and not overwritten
//!   conflict.rs changes of others beside ours: merged, waited for, or a reason to refuse
//!   keep.rs     what a request does that changed nothing
//!   end.rs      log outs leave a mark that wins over every record; idle sessions
//!   rename.rs   new ids leave such a mark too; of several log ins at the same time one wins
//!   sticky.rs   sessions that live in this server, with a copy on one node
//!   lock.rs     locks with an owner
//!   repair.rs   what the background does: checks of the nodes, copies that differ
//!       │
//!   copy.rs     what the nodes have of a session                                             pure
//!   ancestry.rs which records one was made from                                              pure
//!   merge.rs    changes of several requests, attribute by attribute                          pure
//!   health.rs   which nodes are up                                                           pure
//!   dirty.rs    which sessions have copies that differ                                       pure
//! ```
//!
//! Where a session `ID-n1` is: the first two nodes that are up, in the order of the ring from n1 on. On n1 it is called `ID-n1`, on
//! every other `bak:ID-n1`, as in msm. An id never changes because a node is down. So a request with an old id, a late one and a
//! parallel one are all of the same session, and there is no older copy that they could find.
//!
//! Every write but the first needs what was read before (`cas`, or `add` where nothing was). Each writer gives its record a later
//! time of storing than the one that it read, and says which records it was made from, so that of two copies the newer is known, and
//! whether it has what the older has. A store is acknowledged when every copy that can be reached has it.

mod ancestry;
mod conflict;
pub(super) mod copy;
pub mod dirty;
mod end;
mod find;
pub mod health;
mod keep;
mod lock;
pub mod merge;
mod rename;
mod repair;
mod save;
mod sticky;

use std::sync::atomic::{AtomicU64, Ordering};

use self::ancestry::Writer;
use self::copy::Copy;
use self::dirty::Dirty;
use self::health::{Health, State};
use self::keep::{has_all, is_due, is_recent};
use super::absent::Absent;
use super::held::Held;
use super::locks::Learned;
use super::nodes_in_use::NodesInUse;
use super::{Answer, Command, Verb, World};
use crate::manager::StoreStatus;
use crate::manager::msm::expiry;
use crate::manager::msm::key::Kind;
use crate::manager::msm::pattern::{RequestLine, Subject};
use crate::manager::msm::prefix::KeyPrefix;
use crate::manager::msm::settings::{MsmSettings, SettingsError};
use crate::session::Timestamp;

pub use self::lock::Owned;

/// A session has so many copies in non-sticky mode, if so many nodes are up.
const COPIES: usize = 2;

/// The nodes that have to have a session now.
#[derive(Debug, Clone, Copy, Default)]
struct Homes {
    nodes: [usize; COPIES],
    count: usize,
}

impl Homes {
    /// The first of these nodes.
    fn first(nodes: impl Iterator<Item = usize>) -> Self {
        let mut homes = Self::default();
        for (place, node) in homes.nodes.iter_mut().zip(nodes) {
            *place = node;
            homes.count += 1;
        }
        homes
    }
}

impl std::ops::Deref for Homes {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.nodes[..self.count]
    }
}

/// What up to two nodes are asked at the same time.
type Asks = [Option<(usize, Vec<Command>)>; COPIES];

/// The exchange with the nodes for the sessions of one context, sticky or not.
#[derive(Debug)]
pub struct Safe<W> {
    nodes: NodesInUse<W>,
    health: Health,
    absent: Absent,
    learned: Learned,
    /// Sessions whose copies differ.
    dirty: Dirty,
    /// Sessions that were ended while a node did not answer.
    ended: Dirty,
    writer: Writer,
    counters: Counters,
}

/// What was counted since the start.
#[derive(Debug, Default)]
struct Counters {
    repaired: AtomicU64,
    conflicts: AtomicU64,
    merges: AtomicU64,
    lock_waits: AtomicU64,
    lock_timeouts: AtomicU64,
    too_large: AtomicU64,
    unavailable: AtomicU64,
}

/// Why a request's session cannot be had or kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No node that could know it answered, or none took it.
    Unavailable,
    /// Another request has it, for longer than this one may wait.
    Locked,
    /// Others changed it again and again while this request tried to.
    Contended,
    /// Its lock was lost, and others changed what this request changed too. What this server has of the session is of no use any
    /// more, for no request.
    Overtaken,
    /// So many bytes are more than a node takes; what was stored before is still there.
    TooLarge(usize),
    /// It was ended while the request ran.
    Ended,
    /// It cannot be written as a record.
    Form(String),
}

/// What a request did with a session, seen at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The encoded attributes as they are now. `None`: none was set or removed. Equal bytes are no change.
    pub attributes: Option<&'a [u8]>,
    /// Names of the attributes that were set or removed.
    pub names: &'a [String],
    /// No other request on this server holds the session.
    pub last: bool,
}

/// What is known of a held session's copies; nothing in msm's own behaviour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// As they were read, until one of them is written; empty: to be read before that.
    copies: Vec<Copy>,
    pub(super) lock: Option<Owned>,
    /// A request got the lock, so that nobody else may change what it changes; also when the lock was lost.
    is_fenced: bool,
    /// Names of changed attributes that no node took.
    unsaved: Vec<String>,
    /// The stored record has changes of others that the session in this server has not.
    pub(super) foreign: bool,
    /// The attributes that the session in this server was based on before that.
    pub(super) base: Option<Vec<u8>>,
    /// When it was used before this request.
    accessed: Timestamp,
    /// Sticky: when its copy was last stored or touched.
    touched: Timestamp,
}

impl Seen {
    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced
    }
}

impl<W: World> Safe<W> {
    /// The exchange of a context with this key prefix; `route` is the server's `jvm_route`, empty for none.
    pub fn new(
        settings: MsmSettings,
        prefix: KeyPrefix,
        route: &str,
        world: W,
    ) -> Result<Self, SettingsError> {
        let nodes = NodesInUse::new(settings, prefix, route, world)?;
        Ok(Self {
            health: Health::new(nodes.settings.memcached_nodes.all().len()),
            writer: Writer::new(nodes.world.random(u32::MAX as usize) as u32 + 1),
            nodes,
            absent: Absent::default(),
            learned: Learned::default(),
            dirty: Dirty::default(),
            ended: Dirty::default(),
            counters: Counters::default(),
        })
    }

    /// All that is outside.
    pub fn world(&self) -> &W {
        &self.nodes.world
    }

    /// Whether the nodes are used.
    pub fn is_enabled(&self) -> bool {
        self.nodes.enabled.load(Ordering::Relaxed)
    }

    /// Uses the nodes, or does not: msm's `enabled`, for sticky sessions.
    pub fn enable(&self, enabled: bool) {
        self.nodes.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Whether the request may read its session and not change it: `requestUriIgnorePattern`.
    pub fn is_read_only(&self, request: &RequestLine<'_>) -> bool {
        let pattern = &self.nodes.settings.request_uri_ignore_pattern;
        pattern.matches_request(request, Subject::Path)
    }

    /// A new session on a random node that is up and for everyday use, else on a failover node. With all of them down it is on a
    /// node all the same, and cannot be stored before that answers. `interval` is in seconds. Nothing is stored yet.
    pub fn create(&self, interval: i32) -> Held {
        let id = self.nodes.new_id(self.choose(None));
        Held::new(id, interval, self.now())
    }

    /// A node other than `not` for a session; `None` when the nodes are not used, or there is no other.
    fn choose(&self, not: Option<usize>) -> Option<usize> {
        if !self.nodes.enabled.load(Ordering::Relaxed) {
            return None;
        }
        let now = self.now();
        let places = 0..self.nodes.settings.memcached_nodes.all().len();
        if self.health.all_are_up() && !self.nodes.has_failover() {
            let mut others = places.filter(|node| Some(*node) != not);
            return match others.clone().count() {
                0 => None,
                count => others.nth(self.nodes.world.random(count)),
            };
        }
        let (failover, everyday): (Vec<_>, Vec<_>) = places
            .filter(|node| Some(*node) != not)
            .partition(|node| self.nodes.is_failover(*node));
        let is_up = |nodes: &[usize]| -> Vec<usize> {
            let up = nodes.iter().filter(|node| self.health.is_up(**node, now));
            up.copied().collect()
        };
        let candidates = [is_up(&everyday), is_up(&failover), everyday];
        let candidates = candidates.iter().find(|nodes| !nodes.is_empty())?;
        Some(candidates[self.nodes.world.random(candidates.len())])
    }

    /// The nodes that have to have a session now, its own first if it is up.
    fn homes(&self, primary: usize) -> Homes {
        let now = match self.health.all_are_up() {
            // Nobody asks for it then.
            true => Timestamp::default(),
            false => self.now(),
        };
        let sticky = self.nodes.settings.sticky;
        let after = self.nodes.after(primary).filter(|_| !sticky);
        let ring = std::iter::once(primary).chain(after);
        let enabled = !sticky || self.is_enabled();
        Homes::first(ring.filter(|node| enabled && self.health.is_up(*node, now)))
    }

    /// Whether these are the nodes that have the session when all are up.
    fn is_complete(&self, primary: usize, homes: &[usize]) -> bool {
        self.wanted(primary).count() == homes.len()
            && self.wanted(primary).all(|node| homes.contains(&node))
    }

    /// The nodes that have a session when all are up.
    fn wanted(&self, primary: usize) -> impl Iterator<Item = usize> {
        let copies = match self.nodes.settings.sticky {
            true => 1,
            false => COPIES,
        };
        let ring = std::iter::once(primary).chain(self.nodes.after(primary));
        ring.take(copies)
    }

    /// Whether the nodes need not hear of a request that changed nothing, as with most of those.
    fn is_alive(&self, held: &Held, primary: usize) -> bool {
        let now = self.now();
        let homes = self.homes(primary);
        !self.nodes.settings.sticky
            && is_recent(held, now)
            && !is_due(held, now)
            && self.is_complete(primary, &homes)
            && has_all(held, &homes)
    }

    /// What the session and its validity record are called on a node.
    fn kinds(node: usize, primary: usize) -> (Kind, Kind) {
        match node == primary {
            true => (Kind::Session, Kind::Validity),
            false => (Kind::Backup, Kind::BackupValidity),
        }
    }

    fn command(&self, verb: Verb, kind: Kind, id: impl std::fmt::Display) -> Command {
        let key = self.nodes.key(kind, id);
        Command { verb, key }
    }

    /// The same for an id that is text already.
    fn command_of(&self, verb: Verb, kind: Kind, id: &str) -> Command {
        let key = self.nodes.key_of(kind, id);
        Command { verb, key }
    }

    /// Asks a node, and remembers whether it answered. A slow answer is an answer: it may take as long as the longest of msm's two
    /// limits.
    async fn ask(&self, node: usize, commands: Vec<Command>) -> Vec<Answer> {
        if commands.is_empty() {
            return Vec::new();
        }
        let answers = self.nodes.world.batch(node, commands, self.limit()).await;
        self.heard(node, &answers);
        answers
    }

    /// The same for up to two nodes at the same time. The request is woken once, when both have answered.
    async fn ask_each(&self, asks: Asks) -> [Vec<Answer>; COPIES] {
        match asks {
            [Some(first), Some(second)] => {
                let nodes = [first.0, second.0];
                let asked = self.nodes.world.both([first, second], self.limit());
                let answers = asked.await;
                for (node, answers) in nodes.into_iter().zip(&answers) {
                    self.heard(node, answers);
                }
                answers
            }
            [Some((node, commands)), None] | [None, Some((node, commands))] => {
                [Box::pin(self.ask(node, commands)).await, Vec::new()]
            }
            [None, None] => Default::default(),
        }
    }

    fn limit(&self) -> u32 {
        let settings = &self.nodes.settings;
        settings
            .operation_timeout
            .max(settings.session_backup_timeout)
    }

    /// Remembers whether a node answered.
    fn heard(&self, node: usize, answers: &[Answer]) {
        let name = || &self.nodes.settings.memcached_nodes.all()[node].id;
        if answers.contains(&Answer::Failed) {
            if self.health.failed(node, self.now()) {
                tracing::warn!(node = name(), "a memcached node does not answer");
            }
        } else if self.health.answered(node) {
            tracing::info!(node = name(), "a memcached node answers again");
        }
    }

    fn now(&self) -> Timestamp {
        self.nodes.world.now()
    }

    /// For how long the node keeps the record of a session.
    fn exptime(&self, interval: i32, now: Timestamp) -> i64 {
        match self.nodes.settings.sticky {
            true => expiry::sticky_safe(interval, now),
            false => expiry::record(interval, now),
        }
    }

    /// Figures for the operator.
    pub fn status(&self) -> StoreStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        StoreStatus {
            dirty: (self.dirty.count() + self.ended.count()) as u64,
            repaired: read(&counters.repaired),
            conflicts: read(&counters.conflicts),
            merges: read(&counters.merges),
            lock_waits: read(&counters.lock_waits),
            lock_timeouts: read(&counters.lock_timeouts),
            too_large: read(&counters.too_large),
            unavailable: read(&counters.unavailable),
        }
    }

    /// The state of each node, in the order of the setting.
    pub fn states(&self) -> Vec<State> {
        self.health.states()
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn unavailable(&self) -> Trouble {
        Self::count(&self.counters.unavailable);
        Trouble::Unavailable
    }
}

/// Both at the same time.
async fn join<T>(mut each: Vec<impl Future<Output = T>>) -> Vec<T> {
    let (second, first) = (each.pop(), each.pop());
    match (first, second) {
        (Some(first), Some(second)) => {
            let (first, second) = tokio::join!(first, second);
            vec![first, second]
        }
        (None, Some(only)) => vec![only.await],
        _ => Vec::new(),
    }
}
