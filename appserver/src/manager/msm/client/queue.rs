//! What a thread's requests put in for one node, and the task that keeps the connection takes out. All of it is taken at once, so
//! that a turn of the connection costs one wake, however many requests there are.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::QUEUE_MAX;
use super::link::Call;

#[derive(Default)]
struct State {
    calls: VecDeque<Call>,
    /// Wakes the taker.
    waker: Option<Waker>,
    /// Nobody puts anything in any more, or nobody takes anything out.
    closed: bool,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody takes anything out any more: the call again.
pub(super) struct Closed(pub(super) Call);

/// The end for requests.
pub(super) struct Queue(Shared);

/// The end for the connection.
pub(super) struct Taker(Shared);

/// Both ends of an empty queue.
pub(super) fn queue() -> (Queue, Taker) {
    let shared = Shared::default();
    (Queue(Arc::clone(&shared)), Taker(shared))
}

impl Queue {
    /// Puts a call in; without room it is dropped, after the lock.
    pub(super) fn put(&self, call: Call) -> Result<(), Closed> {
        let mut state = lock(&self.0);
        if state.closed {
            return Err(Closed(call));
        }
        if state.calls.len() >= QUEUE_MAX {
            drop(state);
            drop(call);
            return Ok(());
        }
        state.calls.push_back(call);
        // Whoever put the first one in has woken the taker.
        if state.calls.len() == 1
            && let Some(waker) = &state.waker
        {
            waker.wake_by_ref();
        }
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Taker {
    /// Waits until there is a call, and moves all there are behind `calls`. False: the queue is empty and will be for ever.
    pub(super) async fn take(&mut self, calls: &mut VecDeque<Call>) -> bool {
        poll_fn(|context| {
            let mut state = lock(&self.0);
            if !state.calls.is_empty() {
                calls.append(&mut state.calls);
                return Poll::Ready(true);
            }
            if state.closed {
                return Poll::Ready(false);
            }
            let known = state.waker.as_ref();
            if known.is_none_or(|waker| !waker.will_wake(context.waker())) {
                state.waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        let left = std::mem::take(&mut state.calls);
        // Who waits is told when nothing is locked.
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tokio::time::Instant;

    use super::super::round::Answered;
    use super::{Call, QUEUE_MAX, queue};

    fn call(answered: &Answered) -> Call {
        Call {
            commands: Vec::new(),
            waiter: answered.waiter(0),
            end: Instant::now(),
        }
    }

    fn ready<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn all_that_is_there_is_taken_at_once_and_no_more_than_there_is_room_for() {
        let (queue, mut taker) = queue();
        let mut calls = VecDeque::new();
        assert_eq!(ready(taker.take(&mut calls)), None);
        for _ in 0..QUEUE_MAX {
            assert!(queue.put(call(&Answered::new(1))).is_ok());
        }
        let refused = Answered::new(1);
        assert!(queue.put(call(&refused)).is_ok());
        assert_eq!(ready(refused), Some(Default::default()));
        assert_eq!(ready(taker.take(&mut calls)), Some(true));
        assert_eq!(calls.len(), QUEUE_MAX);
        assert!(queue.put(call(&Answered::new(1))).is_ok());
        drop(queue);
        assert_eq!(ready(taker.take(&mut calls)), Some(true), "the last one");
        assert_eq!(ready(taker.take(&mut calls)), Some(false));
    }

    #[test]
    fn when_nobody_takes_any_more_whoever_waits_is_told() {
        let (queue, taker) = queue();
        let waiting = Answered::new(1);
        assert!(queue.put(call(&waiting)).is_ok());
        drop(taker);
        assert_eq!(ready(waiting), Some(Default::default()));
        let late = Answered::new(1);
        assert!(queue.put(call(&late)).is_err(), "given back");
        assert_eq!(ready(late), Some(Default::default()));
    }
}
