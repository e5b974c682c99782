//! Who may store and read a session whose lock was lost, or whose copies were written beside each other: nothing acknowledged is
//! overwritten, and whoever cannot know is refused.

#[allow(dead_code, reason = "the nodes are what is needed")]
#[path = "support/world.rs"]
mod world;
use appserver::manager::msm::pattern::RequestLine;
use appserver::manager::msm::protocol::World as _;
use appserver::manager::msm::settings::{LockingMode, MsmSettings};
use appserver::manager::{Manager, ManagerError};
use appserver::session::{AskedId, Session, SessionError};
use appserver::{MsmConfig, MsmManager};
use world::{Mood, Shared};

const PAGE: RequestLine<'static> = RequestLine {
    method: "GET",
    path: "/jsp/page",
    query: None,
    context: "/jsp",
};

/// A server of all nodes.
struct Server {
    manager: MsmManager<Shared>,
    world: Shared,
}

impl Server {
    fn new(world: &Shared, locking_mode: LockingMode) -> Self {
        let count = world.tables().nodes.len();
        let nodes: Vec<String> = (1..=count).map(|n| format!("n{n}:host:{n}")).collect();
        let settings = MsmSettings {
            memcached_nodes: nodes.join(",").parse().expect("nodes"),
            locking_mode,
            ..MsmSettings::default()
        };
        let config = MsmConfig::new("/jsp", settings);
        Self {
            manager: MsmManager::new(config, world.clone()).expect("valid"),
            world: world.clone(),
        }
    }

    /// The id of a session whose own node is n1, with `a` in its list.
    async fn made(&self) -> String {
        loop {
            let session = self.manager.create(self.world.now()).await.expect("room");
            if session.id().suffix.node() == Some("n1") {
                session.append("list", "a").expect("alive");
                self.commit(&session).await.expect("both are well");
                return session.id().to_string();
            }
        }
    }

    async fn find(&self, id: &str) -> Result<Session, ManagerError> {
        let asked = AskedId::parse(id.as_bytes()).expect("an id");
        let found = self.manager.find(&asked, &PAGE, self.world.now()).await;
        Ok(found?.expect("it is there").session)
    }

    async fn commit(&self, session: &Session) -> Result<(), ManagerError> {
        self.manager.commit(session, &PAGE, self.world.now()).await
    }

    /// A whole request.
    async fn append(&self, id: &str, item: &str) -> Result<(), ManagerError> {
        let session = self.find(id).await?;
        session.append("list", item).expect("alive");
        self.commit(&session).await
    }
}

fn list(session: &Session) -> String {
    let list = session.get("list");
    list.map_or(String::new(), |list| list.to_string())
}

/// A node dies with the lock of a request, so that another server gets one too: of those who share the first nobody stores over
/// what the other server acknowledged, neither the request itself nor one that joins it.
#[tokio::test]
async fn requests_that_share_a_lock_that_died_with_its_node_overwrite_nothing() {
    for joins in [false, true] {
        let world = Shared::new(2);
        let [one, two] = [(); 2].map(|()| Server::new(&world, LockingMode::All));
        let id = one.made().await;
        let first = one.find(&id).await.expect("well");
        let beside = one.find(&id).await.expect("they share the lock");
        first.append("list", "lost").expect("alive");
        world.mood(0, Mood::Refuses);
        two.append(&id, "b").await.expect("n2 is well");
        if joins {
            let joined = one.find(&id).await;
            assert_eq!(joined.err(), Some(ManagerError::Overtaken));
        }
        let stored = one.commit(&first).await;
        assert_eq!(stored, Err(ManagerError::Overtaken), "joins: {joins}");
        // What another request of this server does to the same session has the same fate; one that changed nothing has none.
        if joins {
            assert_eq!(one.commit(&beside).await, Ok(()));
        } else {
            beside.append("list", "lost too").expect("alive");
            assert_eq!(one.commit(&beside).await, Err(ManagerError::Overtaken));
        }
        one.append(&id, "c").await.expect("n2 is well");
        let seen = list(&two.find(&id).await.expect("n2 is well"));
        assert!(seen.contains('b') && seen.contains('c'), "{seen}");
        assert!(!seen.contains("lost"), "{seen}");
    }
}

/// A log out is final, also that of a session which this server has given up: the nodes still have it.
#[tokio::test]
async fn a_log_out_of_a_session_that_was_given_up_ends_it_on_the_nodes() {
    let world = Shared::new(2);
    let [one, two] = [(); 2].map(|()| Server::new(&world, LockingMode::All));
    let id = one.made().await;
    let first = one.find(&id).await.expect("well");
    let beside = one.find(&id).await.expect("they share the lock");
    first.append("list", "lost").expect("alive");
    world.mood(0, Mood::Refuses);
    two.append(&id, "b").await.expect("n2 is well");
    assert_eq!(one.commit(&first).await, Err(ManagerError::Overtaken));
    // As a request does it: the application ends the session, and the server stores that.
    beside.invalidate();
    assert_eq!(one.manager.remove(&beside).await, Ok(()));
    for server in [&one, &two, &Server::new(&world, LockingMode::All)] {
        let asked = AskedId::parse(id.as_bytes()).expect("an id");
        let found = server.manager.find(&asked, &PAGE, world.now()).await;
        assert!(matches!(found, Ok(None)));
    }
}

/// A log in that comes too late has seen what others stored meanwhile; a request that shares its session and changed nothing must not
/// put the older record back.
#[tokio::test]
async fn a_log_in_that_is_refused_leaves_what_others_stored() {
    let world = Shared::new(2);
    let [one, two] = [(); 2].map(|()| Server::new(&world, LockingMode::All));
    let id = one.made().await;
    let first = one.find(&id).await.expect("well");
    let beside = one.find(&id).await.expect("they share the lock");
    first.append("list", "lost").expect("alive");
    world.mood(0, Mood::Refuses);
    two.append(&id, "b").await.expect("n2 is well");
    let changed = one.manager.change_id(&beside, world.now()).await;
    assert_eq!(changed, Err(ManagerError::Overtaken));
    assert_eq!(one.commit(&beside).await, Ok(()));
    let seen = list(&two.find(&id).await.expect("n2 is well"));
    assert!(seen.contains('b') && !seen.contains("lost"), "{seen}");
    assert_eq!(one.commit(&first).await, Err(ManagerError::Overtaken));
}

/// Two servers give one session a new id, and one of them holds a node for dead that the other sees: one of them wins, and not each on
/// its own node.
#[tokio::test]
async fn of_two_log_ins_one_wins_where_servers_disagree_about_a_node() {
    let world = Shared::new(2);
    let [one, two] = [(); 2].map(|()| Server::new(&world, LockingMode::Merge));
    let id = one.made().await;
    let first = one.find(&id).await.expect("well");
    let second = two.find(&id).await.expect("well");
    world.mood(0, Mood::Refuses);
    two.append(&id, "b").await.expect("n2 is well");
    world.mood(0, Mood::Well);
    assert_eq!(two.manager.change_id(&second, world.now()).await, Ok(()));
    assert_eq!(two.commit(&second).await, Ok(()));
    let late = one.manager.change_id(&first, world.now()).await;
    assert_eq!(late, Err(ManagerError::Session(SessionError::Ended)));
    let won = second.id().to_string();
    one.append(&won, "c").await.expect("it is there");
    let seen = list(&two.find(&won).await.expect("it is there"));
    assert!(seen.contains('b') && seen.contains('c'), "{seen}");
    let asked = AskedId::parse(id.as_bytes()).expect("an id");
    for server in [&one, &two] {
        let found = server.manager.find(&asked, &PAGE, world.now()).await;
        assert!(matches!(found, Ok(None)), "the old id");
    }
}

/// Two copies that were written beside each other: as long as the writer of one may still be at it, nobody may say that the newer
/// one is the session, for the older may be the acknowledged one.
#[tokio::test]
async fn copies_in_doubt_are_read_by_nobody_until_their_writer_must_be_gone() {
    for mode in [LockingMode::All, LockingMode::Merge] {
        let world = Shared::new(2);
        let [one, two] = [(); 2].map(|()| Server::new(&world, mode.clone()));
        let id = one.made().await;
        let copy = format!("bak:{id}");
        let [own, other] = [(0, &id), (1, &copy)].map(|(node, key)| {
            let value = world.value(node, key);
            value.expect("stored")
        });
        assert_eq!(own, other);
        // One server stores on n2 alone, then another on n1 alone what it made from the same record.
        world.wait(10);
        world.mood(0, Mood::Refuses);
        one.append(&id, "b").await.expect("n2 is well");
        let acknowledged = world.value(1, &copy).expect("stored");
        world.mood(0, Mood::Well);
        world.put(1, &copy, &other);
        world.wait(10);
        let late = two.find(&id).await.expect("both are well");
        late.append("list", "c").expect("alive");
        world.mood(1, Mood::Refuses);
        two.commit(&late).await.expect("n1 is well");
        world.mood(1, Mood::Well);
        world.put(1, &copy, &acknowledged);

        world.wait(10);
        let three = Server::new(&world, mode.clone());
        let started = world.now();
        let found = three.find(&id).await;
        assert_eq!(found.err(), Some(ManagerError::Busy), "{mode}");
        let waited = world.now().since(started);
        assert!((1500..2000).contains(&waited), "{mode}: {waited}");
        assert_eq!(world.value(1, &copy), Some(acknowledged), "{mode}");
        // A server that died between the two stores keeps nobody away for ever.
        world.wait(10_000);
        let seen = list(&three.find(&id).await.expect("the newer one"));
        assert!(seen.contains('c'), "{mode}: {seen}");
    }
}

/// A request joins one that holds what a third node had, while the two that it asks have a record beside it: neither is the session
/// before the writers must be done, and then it is what the nodes have.
#[tokio::test]
async fn a_record_of_this_server_that_no_asked_node_has_is_in_doubt_too() {
    let world = Shared::new(3);
    let [one, two, three] = [(); 3].map(|()| Server::new(&world, LockingMode::Merge));
    let id = one.made().await;
    let old = world.value(0, &id).expect("stored");
    world.mood(1, Mood::Refuses);
    one.append(&id, "x").await.expect("n1 and n3 are well");
    // As if n1 had not taken it: nobody was told that it is stored.
    world.put(0, &id, &old);
    let first = three.find(&id).await.expect("n3 has the newest");
    assert!(list(&first).contains('x'));
    world.mood(1, Mood::Well);
    two.append(&id, "y").await.expect("n1 and n2 are well");
    world.wait(5_000);
    three.manager.look_after().await;
    let joined = three.find(&id).await;
    assert_eq!(joined.err(), Some(ManagerError::Busy));
    world.wait(10_000);
    let joined = three.find(&id).await.expect("what n1 and n2 have");
    assert!(list(&joined).contains('y'), "{}", list(&joined));
}
