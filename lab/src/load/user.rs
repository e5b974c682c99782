//! A virtual user: what it asks next, and the task that asks when it is due.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, mpsc};

use crate::client::Browser;
use crate::history::{Ask, Request};

/// So many of a user's requests may be due while one is under way; later ones are not sent and are counted.
pub const DUE_WAITING: usize = 64;

/// A tab puts no more into its list, for nobody ends its session.
const ITEMS_OF_TAB: usize = 200;

/// A user logs out at the latest after so many requests, so that no session grows without end.
const REQUESTS_PER_SESSION: usize = 100;

/// What a user does, from its seed alone: shops, looks, sometimes logs in, sometimes logs out and begins anew.
#[derive(Debug, Clone)]
pub struct Habits {
    random: fastrand::Rng,
    name: String,
    in_session: usize,
    items: usize,
    /// Its own list, where other requests of the same user overlap with this one's.
    tab: Option<usize>,
}

impl Habits {
    /// The habits of the user `name`.
    pub fn new(seed: u64, name: impl Into<String>) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            name: name.into(),
            in_session: 0,
            items: 0,
            tab: None,
        }
    }

    /// The habits of one tab of the user `name`, whose other tabs work on the same session at the same time: it keeps to a
    /// list of its own, and ends no session.
    pub fn of_tab(seed: u64, name: &str, tab: usize) -> Self {
        Self {
            tab: Some(tab),
            ..Self::new(seed, format!("{name}-{tab}"))
        }
    }

    /// What to ask next.
    pub fn next_ask(&mut self) -> Ask {
        if let Some(tab) = self.tab {
            return self.next_of_tab(tab);
        }
        self.in_session += 1;
        if self.in_session > REQUESTS_PER_SESSION {
            self.in_session = 0;
            return Ask::Logout;
        }
        match self.random.u8(..100) {
            0..30 => Ask::Count,
            30..45 => Ask::Get {
                name: "count".to_owned(),
            },
            45..60 => {
                self.items += 1;
                // Unique, so that its loss cannot be hidden by another's.
                Ask::Append {
                    name: "cart".to_owned(),
                    value: format!("{}-{}", self.name, self.items),
                }
            }
            60..75 => Ask::Get {
                name: "cart".to_owned(),
            },
            75..95 => Ask::Session,
            95..98 => Ask::Login {
                user: self.name.clone(),
            },
            _ => {
                self.in_session = 0;
                Ask::Logout
            }
        }
    }
}

impl Habits {
    fn next_of_tab(&mut self, tab: usize) -> Ask {
        let name = format!("cart-{tab}");
        match self.random.u8(..100) {
            0..40 if self.items < ITEMS_OF_TAB => {
                self.items += 1;
                Ask::Append {
                    name,
                    value: format!("{}-{}", self.name, self.items),
                }
            }
            0..80 => Ask::Get { name },
            _ => Ask::Session,
        }
    }
}

/// Asks whatever is due, one request after the other, until nothing more will be due.
pub async fn live(
    mut browser: Browser,
    mut habits: Habits,
    due: Arc<Mutex<mpsc::Receiver<Instant>>>,
    ended: mpsc::Sender<Request>,
) {
    loop {
        // Whichever tab is free takes the next that is due.
        let next = due.lock().await.recv().await;
        let Some(due) = next else {
            return;
        };
        let request = browser.ask_due(habits.next_ask(), due).await;
        if ended.send(request).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Habits;
    use crate::history::Ask;

    #[test]
    fn habits_repeat_with_the_seed_and_items_do_not() {
        let asks = |seed| {
            let mut habits = Habits::new(seed, "u1");
            (0..2000).map(|_| habits.next_ask()).collect::<Vec<_>>()
        };
        assert_eq!(asks(1), asks(1));
        assert_ne!(asks(1), asks(2));
        let all = asks(1);
        let items: Vec<&String> = all
            .iter()
            .filter_map(|ask| match ask {
                Ask::Append { value, .. } => Some(value),
                _ => None,
            })
            .collect();
        assert_eq!(items.iter().collect::<BTreeSet<_>>().len(), items.len());
        let longest = all.split(|ask| *ask == Ask::Logout).map(<[Ask]>::len).max();
        assert!(longest <= Some(super::REQUESTS_PER_SESSION), "{longest:?}");
    }
}
