//! One worker's tasks: futures that stay on their thread, found by number.
//!
//! Readiness wakes a task by its number and costs nothing more; a [`Waker`] exists for libraries that want one, and
//! works from other threads too, through the worker's mailbox.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use super::mailbox::Mailbox;
use super::reactor::{NO_TASK, Reactor, TaskId};

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    future: LocalFuture,
    waker: Waker,
}

/// The tasks of one worker.
pub(crate) struct Tasks {
    reactor: Rc<Reactor>,
    mailbox: Arc<Mailbox>,
    slots: RefCell<Vec<Option<Task>>>,
    free: RefCell<Vec<TaskId>>,
}

impl Tasks {
    pub(crate) fn new(reactor: Rc<Reactor>, mailbox: Arc<Mailbox>) -> Self {
        Self {
            reactor,
            mailbox,
            slots: RefCell::default(),
            free: RefCell::default(),
        }
    }

    /// Takes a number before there is a future, for a future that must know it.
    pub(crate) fn reserve(&self) -> TaskId {
        if let Some(id) = self.free.borrow_mut().pop() {
            return id;
        }
        let mut slots = self.slots.borrow_mut();
        slots.push(None);
        u32::try_from(slots.len() - 1).expect("invariant: tasks are fewer than 2^32")
    }

    /// Starts a future under a reserved number; it is polled soon.
    pub(crate) fn start(&self, id: TaskId, future: impl Future<Output = ()> + 'static) {
        let waker = self.waker(id);
        self.slots.borrow_mut()[id as usize] = Some(Task {
            future: Box::pin(future),
            waker,
        });
        self.reactor.schedule(id);
    }

    /// Starts a future.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskId {
        let id = self.reserve();
        self.start(id, future);
        id
    }

    /// Wakes the running task, for what is polled under another waker.
    pub(crate) fn current_waker(&self) -> Waker {
        self.waker(self.reactor.current())
    }

    fn waker(&self, id: TaskId) -> Waker {
        Waker::from(Arc::new(TaskWaker {
            id,
            mailbox: Arc::clone(&self.mailbox),
        }))
    }

    /// Has every task polled, because something has changed for all of them.
    pub(crate) fn wake_all(&self) {
        for id in 0..self.slots.borrow().len() {
            self.reactor
                .schedule(TaskId::try_from(id).unwrap_or(NO_TASK));
        }
    }

    /// Polls one task. A number whose task has ended is passed over.
    pub(crate) fn run(&self, id: TaskId) {
        // The task is taken out while it runs, because it may start others.
        let Some(mut task) = self
            .slots
            .borrow_mut()
            .get_mut(id as usize)
            .and_then(Option::take)
        else {
            return;
        };
        self.reactor.set_current(id);
        let done = task
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&task.waker))
            .is_ready();
        self.reactor.set_current(NO_TASK);
        if done {
            self.free.borrow_mut().push(id);
            drop(task);
        } else {
            self.slots.borrow_mut()[id as usize] = Some(task);
        }
    }

    /// Drops every task. What they hold may reach back into the worker, so they are dropped outside the table.
    pub(crate) fn clear(&self) {
        let tasks = std::mem::take(&mut *self.slots.borrow_mut());
        self.free.borrow_mut().clear();
        drop(tasks);
    }
}

struct TaskWaker {
    id: TaskId,
    mailbox: Arc<Mailbox>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.mailbox.wake(self.id);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.wake(self.id);
    }
}
