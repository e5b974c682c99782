//! For tests, here and in programs that play with servers: what passed between a server and its memcacheds is told by [`tap`].
//!
//! And the suite that every [`Manager`] passes, whatever it does besides. A room's test file has one line:
//!
//! ```text
//!   appserver::manager_suite!(|limits| StandardManager::new(…));
//! ```
//!
//! The cases are the manager's contract, one sentence each. A room that says of itself that some of them are different names
//! those that hold: `manager_suite!(@cases |limits| …; a_new_id_replaces_the_old …)`.

pub mod tap;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::manager::{Manager, ManagerError, RequestLine};
use crate::session::{AskedId, Key, Session, SessionError, SessionId, Timestamp, Value};

/// What a case wants of the manager that it tests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Seconds that a session may be idle.
    pub max_inactive: i32,
    /// At most so many sessions; 0: no limit.
    pub max_active: usize,
    /// How often expired sessions are looked for.
    pub sweep_interval: Duration,
}

const LIMITS: Limits = Limits {
    max_inactive: 1800,
    max_active: 0,
    sweep_interval: Duration::from_millis(5),
};

/// When the cases begin.
const START: Timestamp = Timestamp(1_795_000_000_000);

/// The request that each case makes.
const REQUEST: RequestLine<'_> = RequestLine {
    method: "GET",
    path: "/jsp/",
    query: None,
    context: "/jsp",
};

/// The longest wait for something that happens beside the requests.
const PATIENCE: Duration = Duration::from_secs(10);

/// One `#[tokio::test]` per case for the manager that this function of [`Limits`] makes.
#[macro_export]
macro_rules! manager_suite {
    ($make:expr) => {
        $crate::manager_suite!(@cases $make;
            a_session_is_found_until_it_is_removed
            an_unknown_id_is_never_adopted
            a_session_is_found_whatever_the_suffix
            a_new_session_is_new_in_its_first_request_only
            an_idle_session_is_refused_at_its_interval
            an_idle_session_is_swept
            a_session_without_interval_never_expires
            a_new_id_replaces_the_old
            a_suffix_survives_a_new_id
            an_end_wins_over_changes
            parallel_requests_share_one_state
            parallel_ends_and_new_ids_leave_nothing_behind
            no_more_sessions_than_allowed
            it_stops_when_told
        );
    };
    (@cases $make:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::testing::$case($make).await;
            }
        )*
    };
}

fn asked(id: &SessionId) -> AskedId<'static> {
    AskedId {
        key: id.key,
        node: id.suffix.node(),
        route: id.suffix.route(),
    }
}

fn fine<T, E: Debug>(outcome: Result<T, E>) -> T {
    outcome.expect("the manager can")
}

async fn found<M: Manager>(manager: &M, id: &SessionId, now: Timestamp) -> Option<Session> {
    let found = fine(manager.find(&asked(id), &REQUEST, now).await);
    found.map(|f| f.session)
}

async fn made<M: Manager>(manager: &M, now: Timestamp) -> Session {
    let session = fine(manager.create(now).await);
    fine(manager.commit(&session, &REQUEST, now).await);
    session
}

/// A session that an earlier request made.
async fn held<M: Manager>(manager: &M, now: Timestamp) -> Session {
    let id = made(manager, now).await.id();
    let held = found(manager, &id, now).await;
    held.expect("just made")
}

fn later(millis: u64) -> Timestamp {
    Timestamp(START.0 + millis)
}

/// What a request leaves is there for the next, until the session is removed.
pub async fn a_session_is_found_until_it_is_removed<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(LIMITS);
    let session = fine(manager.create(START).await);
    fine(session.set("user", "somebody"));
    fine(session.set("number", 7));
    fine(manager.commit(&session, &REQUEST, later(5)).await);
    let id = session.id();
    let again = found(&manager, &id, later(10)).await.expect("committed");
    assert_eq!(again.id(), id);
    assert_eq!(again.get("user"), Some("somebody".into()));
    assert_eq!(again.get("number"), Some(Value::Integer(7)));
    let facts = again.facts();
    assert_eq!((facts.created, facts.last_accessed), (START, later(5)));
    assert_eq!(manager.status().active, 1);
    fine(manager.remove(&again).await);
    assert!(found(&manager, &id, later(15)).await.is_none());
    let status = manager.status();
    assert_eq!(
        (status.active, status.created, status.invalidated),
        (0, 1, 1)
    );
}

/// An id that nobody handed out finds nothing and makes nothing.
pub async fn an_unknown_id_is_never_adopted<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(LIMITS);
    let theirs = AskedId::parse(b"00000000000000000000000000000000.WEB1").expect("well formed");
    assert!(fine(manager.find(&theirs, &REQUEST, START).await).is_none());
    assert_eq!(manager.status().active, 0);
    let session = made(&manager, START).await;
    assert_ne!(session.id().key, Key::from_bytes([0; 16]));
}

/// Route and memcached node do not matter for finding a session on this node.
pub async fn a_session_is_found_whatever_the_suffix<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(LIMITS);
    let id = made(&manager, START).await.id();
    for suffix in ["", ".WEB9", "-n9", "-n9.WEB9"] {
        let text = format!("{}{suffix}", id.key);
        let asked = AskedId::parse(text.as_bytes()).expect("well formed");
        let found = fine(manager.find(&asked, &REQUEST, later(1)).await);
        assert_eq!(found.expect(suffix).session.id(), id, "its own id is told");
    }
}

/// `isNew` holds for the request that made the session.
pub async fn a_new_session_is_new_in_its_first_request_only<M: Manager>(
    make: impl Fn(Limits) -> M,
) {
    let manager = make(LIMITS);
    let session = fine(manager.create(START).await);
    assert!(session.facts().is_new);
    fine(manager.commit(&session, &REQUEST, START).await);
    let again = found(&manager, &session.id(), later(1)).await;
    assert!(!again.expect("committed").facts().is_new);
}

/// The interval counts from the end of the latest request, to the millisecond.
pub async fn an_idle_session_is_refused_at_its_interval<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(Limits {
        max_inactive: 10,
        ..LIMITS
    });
    let session = made(&manager, START).await;
    let id = session.id();
    let again = found(&manager, &id, later(9_999))
        .await
        .expect("not idle for long enough");
    fine(manager.commit(&again, &REQUEST, later(10_050)).await);
    let again = found(&manager, &id, later(20_049))
        .await
        .expect("used meanwhile");
    fine(manager.commit(&again, &REQUEST, later(20_049)).await);
    assert!(found(&manager, &id, later(30_049)).await.is_none());
    assert_eq!(again.set("k", "v"), Err(SessionError::Ended));
    let status = manager.status();
    assert_eq!((status.active, status.expired), (0, 1));
}

/// Nobody needs to ask for a session to end it.
pub async fn an_idle_session_is_swept<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = Arc::new(make(Limits {
        max_inactive: 10,
        ..LIMITS
    }));
    let idle = made(&*manager, START).await;
    let used = made(&*manager, later(5_000)).await;
    let clock = Clock::manual(later(10_000));
    let stop = CancellationToken::new();
    let run = {
        let (manager, stop) = (Arc::clone(&manager), stop.clone());
        tokio::spawn(async move { manager.run(stop, clock).await })
    };
    let waiting = Instant::now();
    while manager.status().active > 1 {
        assert!(
            waiting.elapsed() < PATIENCE,
            "the idle session is never swept"
        );
        tokio::time::sleep(LIMITS.sweep_interval).await;
    }
    assert!(idle.is_ended());
    assert!(found(&*manager, &used.id(), later(10_000)).await.is_some());
    assert_eq!(manager.status().expired, 1);
    stop.cancel();
    fine(run.await);
}

/// An interval of zero or less means for ever.
pub async fn a_session_without_interval_never_expires<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(LIMITS);
    let session = fine(manager.create(START).await);
    fine(session.set_max_inactive(0));
    fine(manager.commit(&session, &REQUEST, START).await);
    let much_later = later(100 * 365 * 86_400_000);
    assert!(found(&manager, &session.id(), much_later).await.is_some());
}

/// A change of id moves the session; the old id is unknown.
pub async fn a_new_id_replaces_the_old<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(LIMITS);
    let session = held(&manager, START).await;
    fine(session.set("k", "v"));
    let old = session.id();
    fine(manager.change_id(&session, later(1)).await);
    fine(manager.commit(&session, &REQUEST, later(1)).await);
    let new = session.id();
    assert_ne!(new.key, old.key);
    assert!(
        found(&manager, &old, later(2)).await.is_none(),
        "the old id is planted in vain"
    );
    let again = found(&manager, &new, later(2)).await.expect("moved");
    assert_eq!(again.get("k"), Some("v".into()));
    assert_eq!(again.facts().created, START);
    let status = manager.status();
    assert_eq!((status.active, status.renamed), (1, 1));
}

/// The new id ends as the old one did.
pub async fn a_suffix_survives_a_new_id<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(LIMITS);
    let session = held(&manager, START).await;
    let suffix = session.id().suffix;
    fine(manager.change_id(&session, START).await);
    assert_eq!(session.id().suffix, suffix);
}

/// A request that is still running cannot bring an ended session back.
pub async fn an_end_wins_over_changes<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(LIMITS);
    let id = made(&manager, START).await.id();
    let slow = found(&manager, &id, later(1)).await.expect("there");
    let logout = found(&manager, &id, later(2)).await.expect("there");
    fine(manager.remove(&logout).await);
    assert_eq!(slow.set("k", "v"), Err(SessionError::Ended));
    assert_eq!(slow.add("n", 1), Err(SessionError::Ended));
    let renamed = manager.change_id(&slow, later(3)).await;
    assert_eq!(renamed, Err(SessionError::Ended.into()));
    fine(manager.remove(&slow).await);
    assert!(found(&manager, &id, later(4)).await.is_none());
    assert!(found(&manager, &slow.id(), later(4)).await.is_none());
    assert_eq!(manager.status().active, 0);
}

/// Parallel requests of one session lose no change.
pub async fn parallel_requests_share_one_state<M: Manager>(make: impl Fn(Limits) -> M) {
    const REQUESTS: i64 = 8;
    const STEPS: i64 = 100;
    let manager = Arc::new(make(LIMITS));
    let id = made(&*manager, START).await.id();
    let requests: Vec<_> = (0..REQUESTS)
        .map(|request| {
            let manager = Arc::clone(&manager);
            tokio::spawn(async move {
                for step in 0..STEPS {
                    let session = found(&*manager, &id, START).await.expect("there");
                    fine(session.add("count", 1));
                    tokio::task::yield_now().await;
                    fine(session.append("list", request * STEPS + step));
                    fine(manager.commit(&session, &REQUEST, START).await);
                }
            })
        })
        .collect();
    for request in requests {
        fine(request.await);
    }
    let session = found(&*manager, &id, START).await.expect("there");
    assert_eq!(session.get("count"), Some(Value::Long(REQUESTS * STEPS)));
    let list = session.get("list").expect("there");
    let numbers = list
        .as_list()
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_i64);
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..REQUESTS * STEPS).collect::<Vec<_>>());
}

/// Whatever order log in, log out and expiry come in, no session is left that nobody can reach.
pub async fn parallel_ends_and_new_ids_leave_nothing_behind<M: Manager>(
    make: impl Fn(Limits) -> M,
) {
    let manager = Arc::new(make(Limits {
        max_inactive: 1,
        ..LIMITS
    }));
    for round in 0..200 {
        let session = held(&*manager, START).await;
        let late = if round % 2 == 0 { START } else { later(1000) };
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let (manager, session) = (Arc::clone(&manager), session.clone());
                tokio::spawn(async move {
                    match task {
                        0 | 1 => drop(manager.change_id(&session, START).await),
                        2 => drop(found(&*manager, &session.id(), late).await),
                        _ => fine(manager.remove(&session).await),
                    }
                })
            })
            .collect();
        for task in tasks {
            fine(task.await);
        }
        assert!(session.is_ended());
        assert!(found(&*manager, &session.id(), START).await.is_none());
    }
    let status = manager.status();
    assert_eq!(status.active, 0, "{status:?}");
    assert_eq!(status.expired + status.invalidated, 200, "{status:?}");
}

/// At the limit a new session is refused, and there is room again when one ends.
pub async fn no_more_sessions_than_allowed<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(Limits {
        max_active: 2,
        ..LIMITS
    });
    let first = made(&manager, START).await;
    made(&manager, START).await;
    let refused = manager.create(START).await.map(|s| s.id());
    assert_eq!(refused, Err(ManagerError::TooMany { limit: 2 }));
    assert!(
        found(&manager, &first.id(), START).await.is_some(),
        "those that are there stay"
    );
    fine(manager.remove(&first).await);
    made(&manager, START).await;
    let status = manager.status();
    assert_eq!(
        (status.active, status.rejected, status.max_active),
        (2, 1, 2)
    );
}

/// `run` ends soon after the word.
pub async fn it_stops_when_told<M: Manager>(make: impl Fn(Limits) -> M) {
    let manager = make(LIMITS);
    let stop = CancellationToken::new();
    stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, manager.run(stop, Clock::system())).await;
    assert!(ended.is_ok(), "it runs on");
}
