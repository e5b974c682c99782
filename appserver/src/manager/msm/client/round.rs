//! Who waits for answers: of one node, or of two that are asked at the same time. Woken once, when all of them are told.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::manager::msm::protocol::Answer;

/// At most so many nodes are asked at the same time.
pub(super) const NODES: usize = 2;

/// What each node answered, in the order of asking; nothing when it did not.
pub(super) type Told = [Vec<Answer>; NODES];

/// What is waited for.
struct Round {
    state: Mutex<State>,
    /// Nobody waits any more.
    gone: AtomicBool,
}

struct State {
    told: Told,
    /// Nodes that did not tell yet.
    left: usize,
    waker: Option<Waker>,
}

impl Round {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, place: usize, answers: Vec<Answer>) {
        let mut state = self.state();
        state.told[place] = answers;
        state.left -= 1;
        let waker = if state.left == 0 {
            state.waker.take()
        } else {
            None
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Ends when every [`Waiter`] told something or was dropped.
pub(super) struct Answered(Arc<Round>);

impl Answered {
    /// Waits for so many nodes, [`NODES`] at most.
    pub(super) fn new(nodes: usize) -> Self {
        Self(Arc::new(Round {
            state: Mutex::new(State {
                told: Told::default(),
                left: nodes,
                waker: None,
            }),
            gone: AtomicBool::new(false),
        }))
    }

    /// Who tells what the node at this place of the order answered; one for each.
    pub(super) fn waiter(&self, place: usize) -> Waiter {
        Waiter {
            round: Some(Arc::clone(&self.0)),
            place,
        }
    }
}

impl Future for Answered {
    type Output = Told;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Told> {
        let mut state = self.0.state();
        if state.left == 0 {
            return Poll::Ready(std::mem::take(&mut state.told));
        }
        let known = state.waker.as_ref();
        if known.is_none_or(|waker| !waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Relaxed);
    }
}

/// One node's part. Dropped, it tells that the node did not answer.
pub(super) struct Waiter {
    round: Option<Arc<Round>>,
    place: usize,
}

impl Waiter {
    /// Whether nobody waits any more.
    pub(super) fn is_gone(&self) -> bool {
        let gone = |round: &Arc<Round>| round.gone.load(Ordering::Relaxed);
        self.round.as_ref().is_none_or(gone)
    }

    /// All answers of the node.
    pub(super) fn tell(mut self, answers: Vec<Answer>) {
        if let Some(round) = self.round.take() {
            round.tell(self.place, answers);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(round) = self.round.take() {
            round.tell(self.place, Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Answer, Answered};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_waits_is_woken_once_when_all_nodes_have_told() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let mut answered = Answered::new(2);
        let (one, other) = (answered.waiter(0), answered.waiter(1));
        assert!(Pin::new(&mut answered).poll(&mut context).is_pending());
        other.tell(vec![Answer::Done]);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0, "one is missing");
        assert!(Pin::new(&mut answered).poll(&mut context).is_pending());
        drop(one);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let told = Pin::new(&mut answered).poll(&mut context);
        assert_eq!(told, Poll::Ready([vec![], vec![Answer::Done]]));
    }

    #[test]
    fn a_node_may_know_that_nobody_waits() {
        let answered = Answered::new(1);
        let waiter = answered.waiter(0);
        assert!(!waiter.is_gone());
        drop(answered);
        assert!(waiter.is_gone());
        waiter.tell(vec![Answer::Done]);
    }
}
