//! The one place that asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::store::UnixTime;

/// Unix time that never runs backwards: the wall clock at the start, and the time passed since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_unix: u64,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: Instant::now(),
            started_unix: since_1970.map_or(0, |passed| passed.as_secs()),
        }
    }

    /// The second it is.
    pub(crate) fn now(&self) -> UnixTime {
        let seconds = self.started_unix + self.uptime_seconds();
        UnixTime(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Whole seconds since the start.
    pub(crate) fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}
