//! The session that one browser holds, and what every answer about it must still have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Counts;
use crate::history::{Answer, Ask, Request, Value};

/// So many acknowledged items per list are remembered; whoever appends more must begin a new session in between.
const ITEMS_REMEMBERED: usize = 1000;

/// So many older texts per attribute are remembered to tell stale from lost.
const TEXTS_REMEMBERED: usize = 16;

/// The session that a browser holds and what must be in it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: String,
    /// When it was last used and for how long it may idle, in microseconds.
    pub(super) used_us: u64,
    pub(super) idle_us: u64,
    count: u64,
    texts: BTreeMap<String, Text>,
    lists: BTreeMap<String, List>,
}

#[derive(Debug, Default)]
struct Text {
    now: Option<String>,
    older: VecDeque<String>,
}

#[derive(Debug, Default)]
struct List {
    /// Acknowledged items, and whether the last answer that should have had it did not.
    items: BTreeMap<String, bool>,
}

impl Held {
    pub(super) fn new(request: &Request, answer: &Answer) -> Option<Self> {
        let session = answer.session.as_ref()?;
        Some(Self {
            id: session.id.clone(),
            used_us: request.at_us,
            idle_us: match u64::try_from(session.max_inactive) {
                Ok(seconds) if seconds > 0 => seconds.saturating_mul(1_000_000),
                _ => u64::MAX,
            },
            count: 0,
            texts: BTreeMap::new(),
            lists: BTreeMap::new(),
        })
    }

    /// What the attribute is now, nobody knows.
    pub(super) fn forget(&mut self, name: &str) {
        self.texts.remove(name);
        self.lists.remove(name);
    }

    /// Does the value have all that was acknowledged?
    pub(super) fn compare_value(&mut self, what: &Ask, value: &Value, counts: &mut Counts) {
        match what {
            Ask::Count => self.compare_count(value, 1, counts),
            Ask::Get { name } if name == "count" => self.compare_count(value, 0, counts),
            Ask::Append { name, value: item } => {
                let list = self.lists.entry(name.clone()).or_default();
                if list.items.len() < ITEMS_REMEMBERED {
                    list.items.insert(item.clone(), false);
                }
                list.compare(value, counts);
            }
            Ask::Set { name, value } | Ask::Slow { name, value, .. } => {
                self.lists.remove(name);
                self.texts.entry(name.clone()).or_default().write(value);
            }
            Ask::Get { name } => {
                if let Some(list) = self.lists.get_mut(name) {
                    list.compare(value, counts);
                } else if let Some(text) = self.texts.get_mut(name) {
                    text.compare(value, counts);
                }
            }
            Ask::Session | Ask::Page { .. } | Ask::Login { .. } | Ask::Logout => {}
        }
    }

    /// The counter is at least `more` above what this browser has seen.
    fn compare_count(&mut self, value: &Value, more: u64, counts: &mut Counts) {
        let now = match value {
            Value::Number(now) => *now,
            _ => 0,
        };
        if now < self.count + more {
            counts.a4 += 1;
        }
        self.count = now;
    }

    /// Items and texts that were missing when they were last asked for.
    pub(super) fn missing(&self) -> u64 {
        let items = self.lists.values().flat_map(|list| list.items.values());
        items.filter(|missing| **missing).count() as u64
    }
}

impl Text {
    fn write(&mut self, value: &str) {
        if self.older.len() >= TEXTS_REMEMBERED {
            self.older.pop_front();
        }
        self.older.extend(self.now.replace(value.to_owned()));
    }

    fn compare(&mut self, value: &Value, counts: &mut Counts) {
        let Some(now) = &self.now else {
            return;
        };
        match value {
            Value::Text(read) if read == now => return,
            Value::Text(read) if self.older.contains(read) => counts.a4 += 1,
            // Nobody else writes this browser's session: what it wrote is gone.
            _ => counts.a2 += 1,
        }
        // Counted once; from here on what was read is what is expected.
        self.now = match value {
            Value::Text(read) => Some(read.clone()),
            _ => None,
        };
    }
}

impl List {
    fn compare(&mut self, value: &Value, counts: &mut Counts) {
        let read: BTreeSet<&str> = match value {
            Value::List(read) => read.iter().map(String::as_str).collect(),
            _ => BTreeSet::new(),
        };
        let mut came_back = false;
        for (item, missing) in &mut self.items {
            let there = read.contains(item.as_str());
            came_back |= *missing && there;
            *missing = !there;
        }
        // It was there all the time, so the answer that lacked it was an old one.
        counts.a4 += u64::from(came_back);
    }
}
