//! A few memcacheds as tables, and a manager that is told the time with each call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use appserver::Clock;
use appserver::manager::msm::protocol::{Answer, Command, Verb, World};
use appserver::manager::{Found, Manager, ManagerError, ManagerStatus, RequestLine};
use appserver::session::{AskedId, Session, Timestamp};
use tokio_util::sync::CancellationToken;

/// Nodes that always answer, after letting others go first.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    clock: Clock,
    items: Arc<Mutex<HashMap<(usize, String), Item>>>,
}

#[derive(Debug)]
struct Item {
    expiry: u64,
    value: Vec<u8>,
    unique: u64,
}

impl Tables {
    pub(crate) fn new(clock: Clock) -> Self {
        let items = Arc::default();
        Self { clock, items }
    }
}

impl World for Tables {
    async fn call(&self, node: usize, command: Command, _limit: u32) -> Answer {
        tokio::task::yield_now().await;
        let now = self.clock.now().0;
        let at = (node, command.key.to_string());
        let mut items = self.items.lock().expect("not poisoned");
        if items.get(&at).is_some_and(|item| item.expiry <= now) {
            items.remove(&at);
        }
        let until = |exptime: i64| match exptime {
            0 => u64::MAX,
            ..0 => 0,
            // As memcached: larger numbers are seconds since 1970.
            2_592_001.. => exptime as u64 * 1000,
            _ => now + exptime as u64 * 1000,
        };
        let item = |exptime: i64, value| Item {
            expiry: until(exptime),
            value,
            unique: fastrand::u64(..),
        };
        match command.verb {
            Verb::Get => items
                .get(&at)
                .map_or(Answer::Miss, |item| Answer::Hit(item.value.clone())),
            Verb::Gets => items.get(&at).map_or(Answer::Miss, |item| {
                Answer::HitCas(item.value.clone(), item.unique)
            }),
            Verb::Add(..) if items.contains_key(&at) => Answer::NotStored,
            Verb::Replace(..) if !items.contains_key(&at) => Answer::NotStored,
            Verb::Cas(exptime, value, unique) => match items.get_mut(&at) {
                None => Answer::Miss,
                Some(found) if found.unique != unique => Answer::Exists,
                Some(found) => {
                    *found = item(exptime, value);
                    Answer::Done
                }
            },
            Verb::Touch(exptime) => match items.get_mut(&at) {
                None => Answer::Miss,
                Some(found) => {
                    found.expiry = until(exptime);
                    Answer::Done
                }
            },
            Verb::Set(exptime, value)
            | Verb::Add(exptime, value)
            | Verb::Replace(exptime, value) => {
                items.insert(at, item(exptime, value));
                Answer::Done
            }
            Verb::Delete => match items.remove(&at) {
                Some(_) => Answer::Done,
                None => Answer::Miss,
            },
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pause(&self, _millis: u64) {
        tokio::task::yield_now().await;
    }

    fn random(&self, below: usize) -> usize {
        fastrand::usize(..below)
    }
}

/// Moves the clock of its nodes to the time of each call.
pub(crate) struct Timed<M> {
    pub(crate) manager: M,
    pub(crate) clock: Clock,
}

impl<M> Timed<M> {
    fn at(&self, now: Timestamp) -> &M {
        // Also back, for not all cases go forward: the addition wraps.
        self.clock.advance(now.0.wrapping_sub(self.clock.now().0));
        &self.manager
    }
}

impl<M: Manager> Manager for Timed<M> {
    const READS_REQUESTS: bool = M::READS_REQUESTS;

    async fn create(&self, now: Timestamp) -> Result<Session, ManagerError> {
        self.at(now).create(now).await
    }

    async fn find(
        &self,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        self.at(now).find(asked, request, now).await
    }

    async fn change_id(&self, session: &Session, now: Timestamp) -> Result<(), ManagerError> {
        self.at(now).change_id(session, now).await
    }

    async fn commit(
        &self,
        session: &Session,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<(), ManagerError> {
        self.at(now).commit(session, request, now).await
    }

    async fn remove(&self, session: &Session) -> Result<(), ManagerError> {
        self.manager.remove(session).await
    }

    async fn run(&self, shutdown: CancellationToken, clock: Clock) {
        self.manager.run(shutdown, clock).await;
    }

    fn status(&self) -> ManagerStatus {
        self.manager.status()
    }
}
