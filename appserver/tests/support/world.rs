//! Memcacheds as tables that die, hang, are slow and come back, and a clock, for tests that count and time what a server asks.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use appserver::manager::msm::protocol::{Answer, Command, Verb, World};
use appserver::session::Timestamp;

/// How a node behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It answers.
    #[default]
    Well,
    /// It refuses connections.
    Refuses,
    /// It takes nothing and says nothing.
    Hangs,
    /// It answers after so many milliseconds.
    Slow(u64),
}

/// One memcached.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) mood: Mood,
    /// The largest value; 0: any.
    pub(crate) largest: usize,
    items: HashMap<String, Item>,
    /// The commands that it was sent, as `set KEY`.
    pub(crate) log: Vec<String>,
}

#[derive(Debug, Clone)]
struct Item {
    until: u64,
    value: Vec<u8>,
    unique: u64,
}

#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Table>,
    random: fastrand::Rng,
    unique: u64,
}

/// The nodes and the clock that several servers share.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Mutex<Tables>>);

impl Shared {
    pub(crate) fn new(nodes: usize) -> Self {
        let table = |_| Table::default();
        Self(Arc::new(Mutex::new(Tables {
            now: 1_795_389_394_716,
            nodes: (0..nodes).map(table).collect(),
            random: fastrand::Rng::with_seed(7),
            unique: 0,
        })))
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("not poisoned")
    }

    pub(crate) fn mood(&self, node: usize, mood: Mood) {
        self.tables().nodes[node].mood = mood;
    }

    /// The node dies and comes back without what it had.
    pub(crate) fn empty(&self, node: usize) {
        let mut tables = self.tables();
        tables.nodes[node].items.clear();
        tables.nodes[node].mood = Mood::Well;
    }

    pub(crate) fn wait(&self, millis: u64) {
        self.tables().now += millis;
    }

    /// All commands since the last call, as `n1 get KEY`.
    pub(crate) fn take_log(&self) -> Vec<String> {
        let mut tables = self.tables();
        let nodes = tables.nodes.iter_mut().zip(1..);
        let each = nodes.flat_map(|(node, number)| {
            let log = std::mem::take(&mut node.log);
            log.into_iter().map(move |told| format!("n{number} {told}"))
        });
        each.collect()
    }

    /// What a node has under this key now.
    pub(crate) fn value(&self, node: usize, key: &str) -> Option<Vec<u8>> {
        let tables = self.tables();
        let item = tables.nodes[node].items.get(key);
        let item = item.filter(|item| item.until > tables.now);
        item.map(|item| item.value.clone())
    }

    /// Puts a value there, for ever.
    pub(crate) fn put(&self, node: usize, key: &str, value: &[u8]) {
        let mut tables = self.tables();
        let answer = tables.act(
            node,
            &Command {
                verb: Verb::Set(0, value.into()),
                key: key.into(),
            },
        );
        assert_eq!(answer, Answer::Done);
    }
}

impl Tables {
    fn act(&mut self, node: usize, command: &Command) -> Answer {
        let now = self.now;
        self.unique += 1;
        let unique = self.unique;
        let table = &mut self.nodes[node];
        let (verb, key) = (&command.verb, &command.key.to_string());
        let name = match verb {
            Verb::Get => "get",
            Verb::Gets => "gets",
            Verb::Set(..) => "set",
            Verb::Add(..) => "add",
            Verb::Replace(..) => "replace",
            Verb::Cas(..) => "cas",
            Verb::Touch(_) => "touch",
            Verb::Delete => "delete",
        };
        table.log.push(format!("{name} {key}"));
        table.items.retain(|_, item| item.until > now);
        let until = |exptime: i64| match exptime {
            0 => u64::MAX,
            ..0 => 0,
            2_592_001.. => exptime as u64 * 1000,
            _ => now + exptime as u64 * 1000,
        };
        let item = |exptime: i64, value: &[u8]| Item {
            until: until(exptime),
            value: value.into(),
            unique,
        };
        let there = table.items.get_mut(key);
        if let Verb::Set(_, value)
        | Verb::Add(_, value)
        | Verb::Replace(_, value)
        | Verb::Cas(_, value, _) = verb
            && table.largest > 0
            && value.len() > table.largest
        {
            if matches!(verb, Verb::Set(..)) {
                table.items.remove(key);
            }
            return Answer::TooLarge;
        }
        match (verb, there) {
            (Verb::Get, Some(item)) => Answer::Hit(item.value.clone()),
            (Verb::Gets, Some(item)) => Answer::HitCas(item.value.clone(), item.unique),
            (Verb::Add(..), Some(_)) | (Verb::Replace(..), None) => Answer::NotStored,
            (Verb::Cas(_, _, unique), Some(item)) if item.unique != *unique => Answer::Exists,
            (Verb::Cas(exptime, value, _), Some(there)) => {
                *there = item(*exptime, value);
                Answer::Done
            }
            (Verb::Touch(exptime), Some(item)) => {
                item.until = until(*exptime);
                Answer::Done
            }
            (
                Verb::Set(exptime, value)
                | Verb::Add(exptime, value)
                | Verb::Replace(exptime, value),
                _,
            ) => {
                table.items.insert(key.clone(), item(*exptime, value));
                Answer::Done
            }
            (Verb::Delete, Some(_)) => {
                table.items.remove(key);
                Answer::Done
            }
            (Verb::Get | Verb::Gets | Verb::Cas(..) | Verb::Touch(_) | Verb::Delete, None) => {
                Answer::Miss
            }
        }
    }
}

impl World for Shared {
    async fn call(&self, node: usize, command: Command, limit: u32) -> Answer {
        let mut answers = self.batch(node, vec![command], limit).await;
        answers.pop().expect("one answer")
    }

    /// Takes one poll to arrive.
    async fn batch(&self, node: usize, commands: Vec<Command>, limit: u32) -> Vec<Answer> {
        let start = self.tables().now;
        breath().await;
        let mut tables = self.tables();
        let mood = tables.nodes[node].mood;
        let failed = vec![Answer::Failed; commands.len()];
        let limit = u64::from(limit);
        let late = start
            + match mood {
                Mood::Well | Mood::Refuses => 0,
                Mood::Slow(millis) => millis.min(limit),
                Mood::Hangs => limit,
            };
        if matches!(mood, Mood::Refuses | Mood::Hangs) {
            tables.now = tables.now.max(late);
            return failed;
        }
        let answers = commands.iter().map(|c| tables.act(node, c)).collect();
        tables.now = tables.now.max(late);
        match mood {
            Mood::Slow(millis) if millis > limit => failed,
            _ => answers,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.tables().now)
    }

    async fn pause(&self, millis: u64) {
        self.wait(millis);
        breath().await;
    }

    fn random(&self, below: usize) -> usize {
        self.tables().random.usize(..below)
    }
}

/// Lets the other futures go on once.
pub(crate) async fn breath() {
    let mut taken = false;
    poll_fn(move |context| match std::mem::replace(&mut taken, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Runs a future to its end; how often it waited for something one after the other.
pub(crate) fn counted<T>(future: impl Future<Output = T>) -> (T, usize) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut waits = 0;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return (output, waits);
        }
        waits += 1;
        assert!(waits < 100_000, "it never ends");
    }
}

/// Runs a future to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    counted(future).0
}
