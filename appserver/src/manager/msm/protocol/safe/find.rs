//! Reads all copies of a session at once. The newest counts, a mark of an end wins over all, and what did not answer is not known.

use super::ancestry::{are_unrelated, is_newer};
use super::copy::{Copy, Found, are_in_doubt, has_stranger, newest};
use super::keep::grain;
use super::lock::Owned;
use super::{Asks, COPIES, Homes, Safe, Trouble};
use crate::manager::msm::key::Kind;
use crate::manager::msm::pattern::{RequestLine, Subject};
use crate::manager::msm::protocol::held::Held;
use crate::manager::msm::protocol::{Answer, Command, Verb, World};
use crate::manager::msm::settings::{LockOnTimeout, LockingMode};
use crate::manager::msm::validity::Validity;
use crate::session::{AskedId, Timestamp};

/// The first pause between two tries for a lock in milliseconds; each is twice the one before.
const PAUSE_MIN: u64 = 10;
/// The longest pause.
const PAUSE_MAX: u64 = 500;
/// The longest wait for a lock with `lockOnTimeout = wait`.
const WAIT_MAX: u64 = 60_000;

/// Copies that are being written are read again after so many milliseconds; each pause is twice the one before.
const LOOK_AGAIN: u64 = 2;
/// The longest of these pauses.
const LOOK_MAX: u64 = 128;
/// For how long at most, beside the time that a node may take to answer who writes them.
const LOOKS_MILLIS: u64 = 500;

/// What the nodes have of a session.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) copies: Vec<Copy>,
    /// The times of the latest request.
    pub(super) validity: Option<Validity>,
    /// Where another member moved it because its own node was down: node, record.
    moved: Option<(usize, Vec<u8>)>,
    /// The answer to the command that was to get the lock.
    lock: Option<Answer>,
}

/// What a reading says of the session.
enum Judged {
    /// It is there, and was used within its interval.
    InUse(Held),
    /// It was idle for too long.
    Idle(Held),
    /// There is none.
    Absent,
    /// It may be there, and nobody can say so now.
    Unknown,
    /// There are copies of which none was made from the other.
    Torn(Reading),
}

impl<W: World> Safe<W> {
    /// The session with this id. An error when it may exist and nobody can say so now.
    pub async fn find(
        &self,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
    ) -> Result<Option<Held>, Trouble> {
        let Some(primary) = self.nodes.node_of(asked.node) else {
            return Ok(None);
        };
        if self.absent.has(asked, || self.now()) {
            return Ok(None);
        }
        let (lock, reading) = if self.has_to_lock(request) {
            Box::pin(self.lock_and_read(asked, primary)).await?
        } else {
            (None, self.read(asked, primary, None).await)
        };
        // All else is seldom, so that the future of every other request need not have room for it.
        let found = match self.first_sight(asked, primary, reading) {
            Judged::InUse(held) => Ok(Some(held)),
            judged => Box::pin(self.second_look(asked, primary, judged)).await,
        };
        match (found, lock) {
            (Ok(Some(mut held)), lock) => {
                held.seen.is_fenced = lock.is_some() || self.is_fenced_without_lock(request);
                held.seen.lock = lock;
                Ok(Some(held))
            }
            (found, lock) => Box::pin(self.not_found(asked, found, lock)).await,
        }
    }

    /// What a reading says, if that is plain.
    fn first_sight(&self, asked: &AskedId<'_>, primary: usize, reading: Reading) -> Judged {
        match has_stranger(&reading.copies, &[]) {
            true => Judged::Torn(reading),
            false => self.judge(asked, primary, reading),
        }
    }

    /// What becomes of a session that is not simply there.
    async fn second_look(
        &self,
        asked: &AskedId<'_>,
        primary: usize,
        mut judged: Judged,
    ) -> Result<Option<Held>, Trouble> {
        if let Judged::Torn(reading) = judged {
            let reading = self.settled(asked, primary, &[], reading).await?;
            judged = self.judge(asked, primary, reading);
        }
        match judged {
            Judged::InUse(held) => Ok(Some(held)),
            Judged::Idle(held) => {
                self.expire(&held, primary).await;
                Ok(None)
            }
            Judged::Absent => Ok(None),
            Judged::Unknown | Judged::Torn(_) => Err(self.unavailable()),
        }
    }

    async fn not_found(
        &self,
        asked: &AskedId<'_>,
        found: Result<Option<Held>, Trouble>,
        lock: Option<Owned>,
    ) -> Result<Option<Held>, Trouble> {
        if let Some(lock) = lock {
            self.release(asked, &lock).await;
        }
        if matches!(found, Ok(None)) {
            self.absent.add(asked.to_string(), self.now());
        }
        found
    }

    /// Copies of which none was made from the other: somebody is writing them, and has no answer yet or the answer of one node. A
    /// moment later one is made from the other, or they are alike. If not, either may be the acknowledged one, and nobody can
    /// say what the session is. `here` is the record that this server has, empty for none: it may be of another node than these.
    async fn settled(
        &self,
        asked: &AskedId<'_>,
        primary: usize,
        here: &[u8],
        mut reading: Reading,
    ) -> Result<Reading, Trouble> {
        let settings = &self.nodes.settings;
        let start = self.now();
        let longest = u64::from(settings.operation_timeout) + LOOKS_MILLIS;
        let mut pause = LOOK_AGAIN;
        while are_in_doubt(&reading.copies, here, self.now()) {
            if settings.locking_mode == LockingMode::None {
                break;
            }
            if self.now().since(start) >= longest {
                Self::count(&self.counters.conflicts);
                return Err(Trouble::Contended);
            }
            self.nodes.world.pause(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
            reading = Box::pin(self.read(asked, primary, None)).await;
        }
        Ok(reading)
    }

    /// A request joins one that holds the session on this server already: gets the lock if it needs it, and reads what others have
    /// stored meanwhile. The encoded attributes on which the session in this server is based, if it is to be brought from them to
    /// [`Held::stored_attributes`].
    pub async fn join(
        &self,
        held: &mut Held,
        request: &RequestLine<'_>,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        let primary = self.nodes.node_of(held.id.suffix.node());
        let text = held.id.text();
        let asked = AskedId::parse(text.as_str().as_bytes());
        let (Some(primary), Some(asked)) = (primary, asked) else {
            return Ok(None);
        };
        if self.nodes.settings.sticky || held.stored.is_empty() {
            return Ok(None);
        }
        let reading = if held.seen.lock.is_none() && self.has_to_lock(request) {
            let (lock, reading) = self.lock_and_read(&asked, primary).await?;
            held.seen.is_fenced |= lock.is_some();
            held.seen.lock = lock;
            reading
        } else {
            held.seen.is_fenced |= self.is_fenced_without_lock(request);
            self.read(&asked, primary, None).await
        };
        let reading = self.settled(&asked, primary, &held.stored, reading);
        let reading = reading.await?;
        if reading.copies.iter().any(|copy| copy.is_ended()) {
            return Err(Trouble::Ended);
        }
        if reading.copies.iter().all(|copy| copy.is(&Found::Unknown)) {
            return Err(self.unavailable());
        }
        let mut base = None;
        if let Some(record) = newest(&reading.copies)
            && (is_newer(record, &held.stored) || are_unrelated(record, &held.stored))
        {
            base = Some(held.stored_attributes().to_vec());
            held.stored = record.to_vec();
            held.seen.foreign |= held.unsaved.is_some();
        }
        held.seen.copies = reading.copies;
        Ok(base)
    }

    fn has_to_lock(&self, request: &RequestLine<'_>) -> bool {
        let mode = &self.nodes.settings.locking_mode;
        !self.is_read_only(request) && self.learned.locks(mode, request, Subject::Path)
    }

    /// Whether a request for which `auto` learned that it only reads must not change what others change at the same time.
    fn is_fenced_without_lock(&self, request: &RequestLine<'_>) -> bool {
        self.nodes.settings.locking_mode == LockingMode::Auto && !self.has_to_lock(request)
    }

    /// Tries to get the lock, and reads right behind it, until `lockTimeout` is over.
    async fn lock_and_read(
        &self,
        asked: &AskedId<'_>,
        primary: usize,
    ) -> Result<(Option<Owned>, Reading), Trouble> {
        let settings = &self.nodes.settings;
        let start = self.now();
        let token = self.token();
        let (mut pause, mut failures) = (PAUSE_MIN, 0);
        loop {
            let Some(node) = self.homes(primary).first().copied() else {
                return Ok((None, Reading::default()));
            };
            let reading = self.read(asked, primary, Some(&token)).await;
            match reading.lock {
                Some(Answer::Done) => {
                    let lock = Owned::new(node, token);
                    return Ok((Some(lock), reading));
                }
                // The lock is on the next node then, or nowhere.
                Some(Answer::Failed) => {
                    if self.now().since(start) >= u64::from(settings.lock_timeout) {
                        return Err(self.unavailable());
                    }
                    if failures > 0 {
                        self.nodes.world.pause(PAUSE_MIN).await;
                    }
                    failures += 1;
                }
                _ if reading.copies.iter().any(Copy::is_ended) => return Ok((None, reading)),
                _ => {
                    if pause == PAUSE_MIN {
                        Self::count(&self.counters.lock_waits);
                    }
                    let waited = self.now().since(start);
                    let over = waited >= u64::from(settings.lock_timeout);
                    match settings.lock_on_timeout {
                        LockOnTimeout::Wait if waited < WAIT_MAX => {}
                        _ if !over => {}
                        LockOnTimeout::Proceed => {
                            Self::count(&self.counters.lock_timeouts);
                            return Ok((None, reading));
                        }
                        LockOnTimeout::Wait | LockOnTimeout::Fail => {
                            Self::count(&self.counters.lock_timeouts);
                            return Err(Trouble::Locked);
                        }
                    }
                    self.nodes.world.pause(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Reads the copies on both nodes at the same time, and where one does not answer or none has the session, those on others.
    /// With a token, the first node is asked for the lock before all else.
    pub(super) async fn read(
        &self,
        asked: &AskedId<'_>,
        primary: usize,
        token: Option<&[u8]>,
    ) -> Reading {
        let homes = self.homes(primary);
        let answers = self.ask_each(self.gets(asked, primary, homes, token));
        let reading = Self::reading(primary, homes, token.is_some(), answers.await);
        match reading {
            Ok(enough) => enough,
            // Seldom, so that the future of every other request need not have room for it.
            Err(reading) => Box::pin(self.read_more(asked, primary, homes, reading)).await,
        }
    }

    /// What nodes have of it that are not asked every time.
    async fn read_more(
        &self,
        asked: &AskedId<'_>,
        primary: usize,
        homes: Homes,
        mut reading: Reading,
    ) -> Reading {
        // Two more, so that an id that somebody invented costs no more with a hundred nodes.
        let now = self.now();
        let ring = std::iter::once(primary).chain(self.nodes.after(primary));
        let others = ring.filter(|node| !homes.contains(node) && !self.nodes.settings.sticky);
        let others = others.filter(|node| self.health.is_up(*node, now));
        let others = Homes::first(others);
        let answers = self.ask_each(self.gets(asked, primary, others, None));
        let (Ok(more) | Err(more)) = Self::reading(primary, others, false, answers.await);
        reading.copies.extend(more.copies);
        reading.validity = later(reading.validity, more.validity);
        reading.moved = reading.moved.or(more.moved);
        let is_lost = |copy: &Copy| copy.node == primary && copy.is(&Found::Unknown);
        if reading.copies.iter().any(is_lost) {
            for node in homes.iter().filter(|node| **node != primary) {
                let gets = self.moved(asked, *node);
                let answer = self.ask(*node, vec![gets]).await.pop();
                if let Found::Record(bytes, _) = Found::of(answer) {
                    reading.moved = Some((*node, bytes));
                }
            }
        }
        reading
    }

    /// Asks for the session where another member has it that moved it to this node, because its own was down.
    fn moved(&self, asked: &AskedId<'_>, node: usize) -> Command {
        let node = self.nodes.settings.memcached_nodes.all()[node].id.as_str();
        let moved = AskedId {
            node: Some(node),
            ..*asked
        };
        self.command(Verb::Gets, Kind::Session, moved)
    }

    /// The commands that read what these nodes have.
    fn gets(
        &self,
        asked: &AskedId<'_>,
        primary: usize,
        nodes: Homes,
        token: Option<&[u8]>,
    ) -> Asks {
        let sticky = self.nodes.settings.sticky;
        let primary_is_asked = nodes.contains(&primary);
        let lock = |token: &[u8]| {
            let expiry = self.nodes.settings.lock_expiration.into();
            self.command(Verb::Add(expiry, token.into()), Kind::Lock, asked)
        };
        let mut lock = token.map(lock).into_iter();
        // Once for all keys.
        let ours = self.nodes.ours(asked, primary).map(|id| id.text());
        let other;
        let id = match &ours {
            Some(text) => text.as_str(),
            None => {
                other = asked.to_string();
                &other
            }
        };
        let mut asks = nodes.iter().map(|node| {
            let (kind, validity) = Self::kinds(*node, primary);
            let mut commands = Vec::with_capacity(2 + lock.len());
            commands.extend(lock.next());
            commands.push(self.command_of(Verb::Gets, kind, id));
            if !sticky {
                commands.push(self.command_of(Verb::Get, validity, id));
            }
            if !primary_is_asked && !sticky {
                commands.push(self.moved(asked, *node));
            }
            (*node, commands)
        });
        [asks.next(), asks.next()]
    }

    /// What the answers to these commands say; an error if other nodes have to be asked too.
    fn reading(
        primary: usize,
        nodes: Homes,
        has_lock: bool,
        answers: [Vec<Answer>; COPIES],
    ) -> Result<Reading, Reading> {
        let mut reading = Reading {
            copies: Vec::with_capacity(nodes.len()),
            ..Reading::default()
        };
        for (place, (node, answers)) in nodes.iter().copied().zip(answers).enumerate() {
            let mut answers = answers.into_iter();
            if has_lock && place == 0 {
                reading.lock = answers.next();
            }
            let (kind, _) = Self::kinds(node, primary);
            let known = reading.copies.last().and_then(Copy::record);
            let found = Found::beside(known, answers.next());
            reading.copies.push(Copy { node, kind, found });
            if let Some(Answer::Hit(bytes)) = answers.next() {
                reading.validity = later(reading.validity, Validity::decode(&bytes));
            }
            if let Found::Record(bytes, _) = Found::of(answers.next()) {
                reading.moved = Some((node, bytes));
            }
        }
        match reading.is_enough() {
            true => Ok(reading),
            false => Err(reading),
        }
    }

    /// What a reading says of the session.
    fn judge(&self, asked: &AskedId<'_>, primary: usize, reading: Reading) -> Judged {
        let Reading {
            copies,
            validity,
            moved,
            ..
        } = reading;
        let is = |found: Found| copies.iter().any(|copy| copy.is(&found));
        let confirmed = |asked: &AskedId<'_>| self.nodes.confirmed(asked, primary);
        if copies.iter().any(Copy::is_ended) {
            if let Some(id) = confirmed(asked) {
                self.spread_end(id, &copies);
            }
            return Judged::Absent;
        }
        let best = newest(&copies);
        if let Some((node, record)) = moved
            && best.is_none_or(|best| is_newer(&record, best))
        {
            let id = confirmed(asked).map(|id| self.nodes.moved(&id, node));
            let held = id.and_then(|id| Held::found(id, record).ok());
            let held = held.filter(|held| held.validity.is_valid(self.now()));
            return held.map_or(Judged::Absent, Judged::InUse);
        }
        let Some(record) = best else {
            // A node that is known to be down does not make every other answer worthless.
            return match is(Found::Unknown) || copies.is_empty() {
                true => Judged::Unknown,
                false => Judged::Absent,
            };
        };
        let held = confirmed(asked).and_then(|id| Held::known(id, record.to_vec()));
        let Some(mut held) = held else {
            return Judged::Absent;
        };
        if let Some(found) = validity.filter(|v| v.this_accessed > held.validity.this_accessed) {
            held.validity = Validity {
                interval: held.validity.interval,
                ..found
            };
        }
        let grain = grain(held.validity.interval);
        let now = Timestamp(self.now().0.saturating_sub(grain));
        if !self.nodes.settings.sticky && !held.validity.is_valid(now) {
            return Judged::Idle(held);
        }
        held.seen.accessed = held.validity.this_accessed;
        held.seen.copies = copies;
        Judged::InUse(held)
    }
}

impl Reading {
    /// Whether no other node need be asked: one has the session, and none is unheard.
    fn is_enough(&self) -> bool {
        let unknown = |copy: &Copy| copy.is(&Found::Unknown);
        let nothing = |copy: &Copy| copy.is(&Found::Missing) || unknown(copy);
        !self.copies.iter().all(nothing) && !self.copies.iter().any(unknown)
    }
}

fn later(one: Option<Validity>, other: Option<Validity>) -> Option<Validity> {
    [one, other]
        .into_iter()
        .flatten()
        .max_by_key(|validity| validity.this_accessed)
}
