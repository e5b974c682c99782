//! The thread behind the workers: once a second it ticks the clock, tells the store how much memory connections and the
//! process itself take, and lets the store expire and tidy in bounded steps.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;
use tracing::debug;

use crate::status::Figures;
use crate::store::{Maintained, UnixTime};
use crate::text_pages;

/// Between two steps it rests for so many times what the step took, so that it takes a quarter of a core at most.
const REST: u32 = 3;

/// The shortest rest between two steps.
const REST_MIN: Duration = Duration::from_micros(200);

/// Lower than the workers', which may have to share a core with it (see `nice(2)`).
const NICENESS: i32 = 10;

/// The process takes at least so much beside items and buffers, whatever was measured.
const BASE_MIN: usize = 2 << 20;

/// The running thread; ends when dropped.
pub(crate) struct Maintenance {
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Maintenance {
    /// Starts the thread.
    pub(crate) fn start(figures: &Arc<Figures>) -> io::Result<Self> {
        let (alive, ended) = channel();
        let mut work = Work {
            figures: Arc::clone(figures),
            base: BASE_MIN,
            measured: UnixTime(0),
            has_started: false,
        };
        work.report();
        let thread = std::thread::Builder::new()
            .name("maintenance".into())
            .spawn(move || work.run(&ended))?;
        Ok(Self {
            alive: Some(alive),
            thread: Some(thread),
        })
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed; there is nothing left to do.
            let _ = thread.join();
        }
    }
}

struct Work {
    figures: Arc<Figures>,
    /// What the process takes beside items and buffers, in bytes.
    base: usize,
    /// When that was measured.
    measured: UnixTime,
    /// Whether the start is over, and the code that it needed given back.
    has_started: bool,
}

impl Work {
    fn run(mut self, ended: &Receiver<()>) {
        // On Linux this is the priority of the calling thread alone.
        if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
            debug!(%error, "the maintenance thread keeps its priority");
        }
        let mut wait = Duration::ZERO;
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(wait) {
            wait = self.step();
        }
    }

    /// One step of what is due; says how long to wait for the next.
    fn step(&mut self) -> Duration {
        let next_second = self.figures.clock.tick();
        self.report();
        let began = Instant::now();
        match self.figures.store.maintain(self.figures.clock.now()) {
            Maintained::Idle => next_second,
            Maintained::More => {
                let rest = began.elapsed().saturating_mul(REST).max(REST_MIN);
                rest.min(next_second)
            }
        }
    }

    fn report(&mut self) {
        let now = self.figures.clock.now();
        if self.measured != now {
            if self.measured != UnixTime(0) && !self.has_started {
                self.has_started = true;
                if let Err(error) = text_pages::give_back() {
                    debug!(%error, "the code that the start needed stays in memory");
                }
            }
            self.measured = now;
            self.measure();
        }
        let reserved = self.base.saturating_add(self.figures.buffers.held());
        self.figures.store.set_reserved(reserved);
    }

    /// Measures what the process takes beside items and buffers. More of the program is read in as more of it is used, and
    /// the allocator keeps what was freed: so this is done all the time.
    fn measure(&mut self) {
        let before = self.figures.store.usage().memory;
        let Some(resident) = resident() else {
            return;
        };
        // What the store gave back meanwhile is not the process's.
        let items = before.max(self.figures.store.usage().memory) as usize;
        let others = items.saturating_add(self.figures.buffers.held());
        self.base = resident.saturating_sub(others).max(BASE_MIN);
    }
}

/// What this process has in memory, in bytes; `None` where the kernel does not tell.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size())
}

#[cfg(test)]
mod tests {
    use super::resident;

    #[test]
    fn the_kernel_tells_how_much_memory_is_taken() {
        let before = resident().expect("Linux");
        let filled = vec![1u8; 32 << 20];
        let after = resident().expect("Linux");
        assert!(after >= before + filled.len() / 2, "{before} {after}");
    }
}
