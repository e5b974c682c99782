//! Many browsers that do the same: arrive, shop, and come back after something has happened.

use std::net::IpAddr;

use crate::client::Browser;
use crate::history::{Ask, Outcome};
use crate::scenario::Play;

/// A browser that gets no answer after a fault tries again, at most so often in all.
const TRIES: usize = 5;

/// Browsers that act in turn, so that a seed gives the same history.
#[derive(Debug)]
pub struct Crowd {
    browsers: Vec<Browser>,
}

impl Crowd {
    /// So many browsers, each in a network of its own.
    pub fn of_strangers(play: &mut Play, count: usize) -> Self {
        Self::at(play, "stranger", count, |play, _| play.address())
    }

    /// So many browsers `NAME-1`, `NAME-2`, … at these addresses.
    pub fn at(
        play: &mut Play,
        name: &str,
        count: usize,
        address: impl Fn(&mut Play, usize) -> IpAddr,
    ) -> Self {
        let mut browsers = Vec::with_capacity(count);
        for number in 0..count {
            let from = address(play, number);
            browsers.push(play.browser(format!("{name}-{:02}", number + 1), from));
        }
        Self { browsers }
    }

    /// Everybody asks the same.
    pub async fn ask(&mut self, what: &Ask) {
        for browser in &mut self.browsers {
            browser.ask(what.clone()).await;
        }
    }

    /// Everybody begins a session and puts two goods into it.
    pub async fn shop(&mut self) {
        self.ask(&Ask::Session).await;
        for item in ["book", "lamp"] {
            self.ask(&Ask::Append {
                name: "cart".to_owned(),
                value: item.to_owned(),
            })
            .await;
        }
    }

    /// Everybody looks into the cart again, trying until there is an answer.
    pub async fn come_back(&mut self) {
        for browser in &mut self.browsers {
            for _ in 0..TRIES {
                let look = Ask::Get {
                    name: "cart".to_owned(),
                };
                if matches!(browser.ask(look).await.outcome, Outcome::Ok(_)) {
                    break;
                }
            }
        }
    }
}
