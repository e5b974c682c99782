//! What became of messages, for those that wait on other threads: many at once for one wake-up.
//!
//! Waking a task of another runtime is a system call, and on a busy machine a change of threads. So a link puts the answers of one read
//! into the mailbox of each thread that waits, rings once, and a task there wakes those that wait, which costs nothing on their own thread.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};
use tokio::sync::{Notify, oneshot};

use super::Delivery;

/// Who waits for a message, and where.
#[derive(Debug)]
pub(super) struct Waiter {
    done: oneshot::Sender<Delivery>,
    /// `None`: on the runtime of the links.
    mailbox: Option<Arc<Mailbox>>,
}

/// One thread's.
#[derive(Debug, Default)]
struct Mailbox {
    letters: Mutex<Letters>,
    ring: Notify,
}

/// At most one for each message in a queue.
#[derive(Debug, Default)]
struct Letters {
    ready: Vec<(oneshot::Sender<Delivery>, Delivery)>,
    /// The thread's runtime ended.
    closed: bool,
}

thread_local! {
    static HERE: RefCell<Option<(Id, Arc<Mailbox>)>> = const { RefCell::new(None) };
}

impl Waiter {
    /// Somebody on this thread waits; `links` is the runtime of the links.
    pub(super) fn new(links: Id) -> (Self, oneshot::Receiver<Delivery>) {
        let (done, waits) = oneshot::channel();
        let here = Handle::try_current().ok().filter(|here| here.id() != links);
        let mailbox = here.map(|here| Mailbox::of_thread(&here));
        (Self { done, mailbox }, waits)
    }
}

impl Mailbox {
    fn of_thread(runtime: &Handle) -> Arc<Self> {
        HERE.with_borrow_mut(|here| match here {
            Some((id, mailbox)) if *id == runtime.id() => Arc::clone(mailbox),
            _ => {
                let mailbox = Arc::new(Self::default());
                runtime.spawn(hand_out(Open(Arc::clone(&mailbox))));
                *here = Some((runtime.id(), Arc::clone(&mailbox)));
                mailbox
            }
        })
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<(oneshot::Sender<Delivery>, Delivery)> {
        std::mem::take(&mut self.letters().ready)
    }
}

/// Wakes those on this runtime that wait, until it ends.
async fn hand_out(open: Open) {
    let Open(mailbox) = &open;
    loop {
        mailbox.ring.notified().await;
        mailbox.take().into_iter().for_each(tell);
    }
}

/// Closes the mailbox with the task that empties it, be it that the task never began.
struct Open(Arc<Mailbox>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.letters().closed = true;
        self.0.take().into_iter().for_each(tell);
    }
}

fn tell((done, delivery): (oneshot::Sender<Delivery>, Delivery)) {
    // Who waited may have given up.
    let _ = done.send(delivery);
}

/// Puts what became of some messages into mailboxes, and rings when it goes.
#[derive(Debug, Default)]
pub(super) struct Post(Vec<Arc<Mailbox>>);

impl Post {
    pub(super) fn put(&mut self, waiter: Waiter, delivery: Delivery) {
        let Waiter { done, mailbox } = waiter;
        let Some(mailbox) = mailbox else {
            return tell((done, delivery));
        };
        let mut letters = mailbox.letters();
        if letters.closed {
            return tell((done, delivery));
        }
        letters.ready.push((done, delivery));
        drop(letters);
        if !self.0.iter().any(|known| Arc::ptr_eq(known, &mailbox)) {
            self.0.push(mailbox);
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        for mailbox in &self.0 {
            mailbox.ring.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::{Builder, Handle, Runtime};
    use tokio::time::timeout;

    use super::{Delivery, Post, Waiter};

    fn runtime() -> Runtime {
        let builder = &mut Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    }

    #[test]
    fn who_waits_elsewhere_is_told() {
        let (here, links) = (runtime(), runtime());
        let links_id = links.handle().id();
        for round in 0..2 {
            let waits: Vec<_> = here.block_on(async {
                let (waiters, waits): (Vec<_>, Vec<_>) =
                    (0..100).map(|_| Waiter::new(links_id)).unzip();
                assert!(waiters.iter().all(|waiter| waiter.mailbox.is_some()));
                links.spawn(async move {
                    let mut post = Post::default();
                    for waiter in waiters {
                        post.put(waiter, Delivery::Acked);
                    }
                    assert_eq!(post.0.len(), 1, "rung once for all");
                });
                waits
            });
            links.block_on(tokio::task::yield_now());
            here.block_on(async {
                for wait in waits {
                    let told = timeout(Duration::from_secs(60), wait).await;
                    assert_eq!(told, Ok(Ok(Delivery::Acked)), "{round}");
                }
            });
        }
    }

    #[test]
    fn a_mailbox_ends_with_its_runtime() {
        let links = runtime();
        let links_id = links.handle().id();
        let (here, next) = (runtime(), runtime());
        let (waiter, wait) = here.block_on(async { Waiter::new(links_id) });
        drop(here);
        Post::default().put(waiter, Delivery::Written);
        assert_eq!(wait.blocking_recv(), Ok(Delivery::Written));

        let told = next.block_on(async {
            assert_eq!(Handle::current().id(), next.handle().id());
            let (waiter, wait) = Waiter::new(links_id);
            Post::default().put(waiter, Delivery::Queued);
            wait.await
        });
        assert_eq!(told, Ok(Delivery::Queued), "the thread has another one");
    }

    #[test]
    fn on_the_links_own_runtime_nothing_is_between() {
        let links = runtime();
        let told = links.block_on(async {
            let (waiter, mut wait) = Waiter::new(Handle::current().id());
            Post::default().put(waiter, Delivery::Acked);
            wait.try_recv()
        });
        assert_eq!(told, Ok(Delivery::Acked));
    }
}
