//! When requests are due, decided before the first is sent: answers, early or late, change nothing (an open loop). Pure.

use std::time::Duration;

/// One request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Since the beginning of the load.
    pub due: Duration,
    /// The number of the user who makes it.
    pub user: usize,
}

/// Arrivals of many independent users: the time between two is exponentially distributed, each user is as likely.
#[derive(Debug, Clone)]
pub struct Schedule {
    random: fastrand::Rng,
    rate: f64,
    users: usize,
    duration: Duration,
    now: f64,
}

impl Schedule {
    /// `rate` requests a second of `users` users for `duration`. The same seed gives the same schedule.
    pub fn new(seed: u64, rate: f64, users: usize, duration: Duration) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            rate,
            users,
            duration,
            now: 0.0,
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        if self.users == 0 || self.rate <= 0.0 {
            return None;
        }
        // 1 - u is in (0, 1], so the logarithm is finite.
        self.now -= (1.0 - self.random.f64()).ln() / self.rate;
        let due = Duration::try_from_secs_f64(self.now).ok()?;
        (due < self.duration).then(|| Arrival {
            due,
            user: self.random.usize(..self.users),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arrival, Schedule};

    #[test]
    fn a_seed_gives_one_schedule_with_the_rate_asked_for() {
        let schedule = || Schedule::new(7, 1000.0, 10, Duration::from_secs(20));
        let arrivals: Vec<Arrival> = schedule().collect();
        assert_eq!(arrivals, schedule().collect::<Vec<_>>());
        // 20,000 expected; the standard deviation is 141.
        assert!(
            (19_200..20_800).contains(&arrivals.len()),
            "{}",
            arrivals.len()
        );
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.due));
        for user in 0..10 {
            let count = arrivals
                .iter()
                .filter(|arrival| arrival.user == user)
                .count();
            assert!((1_750..2_250).contains(&count), "user {user} has {count}");
        }
        let bursts = arrivals
            .windows(2)
            .filter(|pair| pair[1].due - pair[0].due < Duration::from_micros(100));
        assert!(
            bursts.count() > 1000,
            "arrivals come in bursts, as independent users do"
        );
    }

    #[test]
    fn nothing_is_due_without_users_rate_or_time() {
        for (rate, users, seconds) in [(0.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0)] {
            assert_eq!(
                Schedule::new(1, rate, users, Duration::from_secs(seconds)).next(),
                None
            );
        }
    }
}
