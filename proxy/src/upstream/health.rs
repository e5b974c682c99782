//! The live state of a peer, shared by all workers: read relaxed on every choice, written rarely.
//!
//! Three things speak about a peer, and each can take it out of the choice:
//! * **run state**: an operator's `up`, `drain` or `down`, from the configuration or the admin port;
//! * **passive failures**, nginx's model: `max_fails` failures inside `fail_timeout` pause the peer for `fail_timeout`;
//!   then one trial request is let through, and its outcome brings the peer back or pauses it again;
//! * **active checks**: `fall` failures in a row take it down, `rise` passes in a row bring it back. Before the first
//!   verdict it is unknown, which means: try it.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What an operator wants of a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Takes requests.
    #[default]
    Up,
    /// Keeps the sessions that are bound to it and gets no new ones.
    #[serde(alias = "drain")]
    Draining,
    /// Takes nothing.
    Down,
}

/// What the active checks say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// No verdict yet, or no checks: the peer is tried.
    #[default]
    Unknown,
    /// Up.
    Up,
    /// Down.
    Down,
}

/// The live state of one peer.
#[derive(Debug)]
pub struct Health {
    /// Times below are milliseconds since then.
    start: Instant,
    configured: (RunState, u32),
    run_state: AtomicU8,
    check: AtomicU8,
    weight: AtomicU32,
    fails: AtomicU32,
    /// When the last failure happened (nginx `accessed`).
    failed_at: AtomicU64,
    /// When the last failure happened or the last trial began (nginx `checked`).
    checked_at: AtomicU64,
    /// When the peer came back, 0 when it never was away.
    recovered_at: AtomicU64,
    rises: AtomicU32,
    falls: AtomicU32,
}

/// What a run of checks or failures did to a peer; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing changed.
    None,
    /// The peer came back.
    Up,
    /// The peer went away.
    Down,
}

impl Health {
    /// A peer that nothing is known about.
    pub fn new(state: RunState, weight: u32, start: Instant) -> Self {
        Self {
            start,
            configured: (state, weight),
            run_state: AtomicU8::new(state as u8),
            check: AtomicU8::new(Check::Unknown as u8),
            weight: AtomicU32::new(weight),
            fails: AtomicU32::new(0),
            failed_at: AtomicU64::new(0),
            checked_at: AtomicU64::new(0),
            recovered_at: AtomicU64::new(0),
            rises: AtomicU32::new(0),
            falls: AtomicU32::new(0),
        }
    }

    /// The state that the configuration file gave; a reload that changes it wins over the admin port, one that does not
    /// leaves run-time changes alone.
    pub fn configured(&self) -> (RunState, u32) {
        self.configured
    }

    /// The same peer after its line in the configuration file has changed: what was seen of it stays.
    pub fn reconfigured(&self, state: RunState, weight: u32) -> Self {
        let copy = |from: &AtomicU64| AtomicU64::new(from.load(Relaxed));
        let copy_small = |from: &AtomicU32| AtomicU32::new(from.load(Relaxed));
        Self {
            start: self.start,
            configured: (state, weight),
            run_state: AtomicU8::new(state as u8),
            check: AtomicU8::new(self.check.load(Relaxed)),
            weight: AtomicU32::new(weight),
            fails: copy_small(&self.fails),
            failed_at: copy(&self.failed_at),
            checked_at: copy(&self.checked_at),
            recovered_at: copy(&self.recovered_at),
            rises: copy_small(&self.rises),
            falls: copy_small(&self.falls),
        }
    }

    /// Nobody checks the peer any longer.
    pub fn forget_checks(&self) {
        self.check.store(Check::Unknown as u8, Relaxed);
        self.rises.store(0, Relaxed);
        self.falls.store(0, Relaxed);
    }

    /// What the operator wants of it.
    pub fn run_state(&self) -> RunState {
        match self.run_state.load(Relaxed) {
            0 => RunState::Up,
            1 => RunState::Draining,
            _ => RunState::Down,
        }
    }

    /// Changes what the operator wants; coming back from `down` starts the slow start.
    pub fn set_run_state(&self, state: RunState, now: Instant) {
        let before = self.run_state.swap(state as u8, Relaxed);
        if before == RunState::Down as u8 && state != RunState::Down {
            self.recover(now);
        }
    }

    /// The weight as configured or as changed at run time.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Changes the weight until the next reload that configures another.
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Relaxed);
    }

    /// What the active checks say.
    pub fn check(&self) -> Check {
        match self.check.load(Relaxed) {
            0 => Check::Unknown,
            1 => Check::Up,
            _ => Check::Down,
        }
    }

    /// Passes and failures in a row, of which one is 0; Tengine's rise and fall counts.
    pub fn check_counts(&self) -> (u32, u32) {
        (self.rises.load(Relaxed), self.falls.load(Relaxed))
    }

    /// An active check passed. Only one task checks a peer.
    pub fn check_passed(&self, rise: u32, now: Instant) -> Turn {
        self.falls.store(0, Relaxed);
        let rises = self.rises.load(Relaxed).saturating_add(1);
        self.rises.store(rises, Relaxed);
        if rises < rise || self.check() == Check::Up {
            return Turn::None;
        }
        let before = self.check.swap(Check::Up as u8, Relaxed);
        // What the checks have seen alive need not wait for the end of a pause.
        self.fails.store(0, Relaxed);
        if before != Check::Down as u8 {
            return Turn::None;
        }
        self.recover(now);
        Turn::Up
    }

    /// An active check failed.
    pub fn check_failed(&self, fall: u32) -> Turn {
        self.rises.store(0, Relaxed);
        let falls = self.falls.load(Relaxed).saturating_add(1);
        self.falls.store(falls, Relaxed);
        if falls < fall || self.check() == Check::Down {
            return Turn::None;
        }
        self.check.store(Check::Down as u8, Relaxed);
        Turn::Down
    }

    /// Failures that count at the moment.
    pub fn fails(&self) -> u32 {
        self.fails.load(Relaxed)
    }

    /// Whether failures keep requests away: `max_fails` reached and the pause not over.
    pub fn is_paused(&self, max_fails: u32, fail_timeout: Duration, now: Instant) -> bool {
        let fails = self.fails.load(Relaxed);
        fails > 0 && max_fails > 0 && fails >= max_fails && {
            let since = self
                .millis(now)
                .saturating_sub(self.checked_at.load(Relaxed));
            since <= millis(fail_timeout)
        }
    }

    /// To be called when the peer was chosen: true when the request may go. After a pause the request is the one trial,
    /// and false says that another worker has just sent it.
    pub fn begin(&self, max_fails: u32, fail_timeout: Duration, now: Instant) -> bool {
        let fails = self.fails.load(Relaxed);
        if fails == 0 {
            return true;
        }
        let now = self.millis(now);
        let checked = self.checked_at.load(Relaxed);
        let counting = max_fails == 0 || fails < max_fails;
        if now.saturating_sub(checked) <= millis(fail_timeout) {
            // Paused again, or the trial has begun, since this worker looked.
            return counting;
        }
        let first = self
            .checked_at
            .compare_exchange(checked, now, Relaxed, Relaxed)
            .is_ok();
        first || counting
    }

    /// A request failed on this peer. [`Turn::Down`] when that pauses it.
    pub fn failed(&self, max_fails: u32, now: Instant) -> Turn {
        let now = self.millis(now);
        self.failed_at.store(now, Relaxed);
        self.checked_at.store(now, Relaxed);
        let before = self
            .fails
            .fetch_update(Relaxed, Relaxed, |fails| Some(fails.saturating_add(1)))
            .unwrap_or(u32::MAX);
        if max_fails > 0 && before.saturating_add(1) == max_fails {
            Turn::Down
        } else {
            Turn::None
        }
    }

    /// A request succeeded on this peer. [`Turn::Up`] when that ends a run of failures that had paused it.
    pub fn succeeded(&self, max_fails: u32, now: Instant) -> Turn {
        let fails = self.fails.load(Relaxed);
        if fails == 0 || self.failed_at.load(Relaxed) >= self.checked_at.load(Relaxed) {
            return Turn::None;
        }
        self.fails.store(0, Relaxed);
        if max_fails == 0 || fails < max_fails {
            return Turn::None;
        }
        self.recover(now);
        Turn::Up
    }

    /// How long ago the peer came back; `None` when it never was away.
    pub fn since_recovery(&self, now: Instant) -> Option<Duration> {
        let at = self.recovered_at.load(Relaxed);
        (at > 0).then(|| Duration::from_millis(self.millis(now).saturating_sub(at)))
    }

    /// As if the peer had just come back.
    #[cfg(test)]
    pub(crate) fn recovered_for_test(&self, now: Instant) {
        self.recover(now);
    }

    fn recover(&self, now: Instant) {
        self.recovered_at.store(self.millis(now), Relaxed);
    }

    /// From 1, so that 0 means never.
    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.start)).saturating_add(1)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Health, RunState};

    #[test]
    fn of_two_workers_that_saw_the_pause_end_one_begins_the_trial() {
        const TIMEOUT: Duration = Duration::from_secs(10);
        let start = Instant::now();
        let health = Health::new(RunState::Up, 1, start);
        assert!(health.begin(1, TIMEOUT, start));
        health.failed(1, start);
        let later = start + TIMEOUT + Duration::from_millis(1);
        assert!(!health.is_paused(1, TIMEOUT, later), "both look");
        assert!(health.begin(1, TIMEOUT, later));
        assert!(!health.begin(1, TIMEOUT, later));
        assert!(health.is_paused(1, TIMEOUT, later));
    }

    #[test]
    fn below_max_fails_everybody_begins() {
        let start = Instant::now();
        let health = Health::new(RunState::Up, 1, start);
        health.failed(3, start);
        for wait in [0, 11, 11] {
            let now = start + Duration::from_secs(wait);
            assert!(health.begin(3, Duration::from_secs(10), now));
            assert!(health.begin(0, Duration::from_secs(10), now), "max_fails=0");
        }
    }
}
