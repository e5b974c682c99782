//! How other threads reach a worker: letters in a box, and a bell (an eventfd) that wakes it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// See the module. What is put in is bounded by those who do: letters are clients that are counted in.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    bell: OwnedFd,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    letters: Vec<T>,
    /// Nobody will collect any more.
    closed: bool,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            state: Mutex::new(State {
                letters: Vec::new(),
                closed: false,
            }),
        })
    }

    /// Puts a letter in; gives it back when the worker is gone.
    pub(crate) fn send(&self, letter: T) -> Result<(), T> {
        let mut state = self.state();
        if state.closed {
            return Err(letter);
        }
        state.letters.push(letter);
        drop(state);
        self.ring();
        Ok(())
    }

    /// Wakes the worker.
    pub(crate) fn ring(&self) {
        // It fails only when the worker has not looked for 2^64 rings, and then it is awake.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Takes everything out and silences the bell.
    pub(super) fn collect(&self) -> Vec<T> {
        // Silent already is silent.
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        std::mem::take(&mut self.state().letters)
    }

    /// Refuses letters from now on and drops those that are there.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.letters.clear();
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
