//! How other threads reach a worker: a queue of orders and of tasks to wake, and an eventfd that its epoll watches.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use rustix::event::{EventfdFlags, eventfd};

use super::Order;
use super::reactor::TaskId;

/// The letters of one worker.
pub(crate) struct Mailbox {
    event: OwnedFd,
    pending: AtomicBool,
    home: ThreadId,
    letters: Mutex<Letters>,
}

/// What has come in since the worker looked last.
#[derive(Default)]
pub(crate) struct Letters {
    pub(crate) woken: Vec<TaskId>,
    pub(crate) orders: Vec<Order>,
}

impl Mailbox {
    /// A mailbox for a worker on the calling thread.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            pending: AtomicBool::new(false),
            home: std::thread::current().id(),
            letters: Mutex::default(),
        })
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        // The queues are valid after every statement, so a panic elsewhere does not matter here.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the task polled. From the worker's own thread this costs no system call: the worker looks before it sleeps.
    pub(crate) fn wake(&self, task: TaskId) {
        self.letters().woken.push(task);
        if std::thread::current().id() == self.home {
            self.pending.store(true, Ordering::Release);
        } else {
            self.ring();
        }
    }

    /// Gives the worker something to do.
    pub(crate) fn order(&self, order: Order) {
        self.letters().orders.push(order);
        self.ring();
    }

    fn ring(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // It fails only when the counter is full, and then the worker is awake already.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Whether there may be letters; cheap.
    pub(crate) fn pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Takes everything out.
    pub(crate) fn open(&self) -> Letters {
        self.pending.store(false, Ordering::Release);
        std::mem::take(&mut *self.letters())
    }

    /// Makes the eventfd quiet again, when it was what woke the worker.
    pub(crate) fn hush(&self) {
        let mut counter = [0; 8];
        let _ = rustix::io::read(&self.event, &mut counter);
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
