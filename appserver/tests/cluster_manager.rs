//! What a member of a cluster says about sessions that others have.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use appserver::manager::cluster::core::{Core, CoreConfig, NewKey, Outbox, Spread};
use appserver::manager::cluster::group::Group;
use appserver::manager::cluster::hub::Hears;
use appserver::manager::cluster::message::{MapKind, MapMessage, Said, map_name};
use appserver::manager::cluster::peers::{Peer, UniqueId};
use appserver::manager::{ManagerError, RequestLine};
use appserver::session::cookie::CookieConfig;
use appserver::session::{AskedId, Session, Suffix, Timestamp};
use appserver::tribes::channel::ChannelStatus;
use appserver::tribes::member::{Member, MemberId, NATIVE};
use appserver::tribes::options::SendOptions;
use appserver::{Attach, Clock, ClusterConfig, ClusterManager, Manager, Sessions};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::get;
use http::Request;
use tower::ServiceExt;

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const HOLDERS: [UniqueId; 2] = [[1; 16], [2; 16]];
const HERE: UniqueId = [3; 16];

const LINE: RequestLine<'static> = RequestLine {
    method: "GET",
    path: "/jsp/",
    query: None,
    context: "/jsp",
};

/// Two members that hear everything and send nothing.
#[derive(Debug)]
struct Mute {
    /// Whether they acknowledge a question.
    take_questions: bool,
    /// Who was sent something.
    sent: Arc<Mutex<Vec<UniqueId>>>,
}

impl Group for Mute {
    fn id(&self) -> UniqueId {
        HERE
    }

    fn local(&self) -> Option<Member> {
        Some(member(HERE, NATIVE))
    }

    fn members(&self) -> Vec<Peer> {
        HOLDERS.map(|id| Peer::new(id, true, 0)).to_vec()
    }

    async fn send(
        &self,
        to: &[UniqueId],
        _message: &[u8],
        _options: SendOptions,
        _limit: Duration,
    ) -> Vec<UniqueId> {
        self.sent.lock().expect("nobody fails with it").extend(to);
        Vec::new()
    }

    async fn ask(&self, _to: &UniqueId, _question: &[u8], _limit: Duration) -> bool {
        self.take_questions
    }

    fn status(&self) -> Option<ChannelStatus> {
        None
    }
}

fn config(spread: Spread) -> CoreConfig {
    CoreConfig {
        binds_route: false,
        ..CoreConfig::new("/jsp", spread)
    }
}

/// The member that serves the sessions first.
fn primary(spread: Spread) -> Core {
    let primary = Core::new(config(spread), HOLDERS[0], NewKey::default());
    for id in [HOLDERS[1], HERE] {
        primary.member_added(Peer::new(id, true, 0), NOW);
    }
    primary
}

fn cluster_config(spread: Spread) -> ClusterConfig {
    ClusterConfig {
        core: config(spread),
        send_options: SendOptions::from_bits(6),
        limit: Duration::from_secs(3),
        fetch_limit: Duration::from_millis(20),
        filter: None,
        sweep_interval: Duration::from_secs(60),
    }
}

/// The member that hears of them.
fn manager(spread: Spread, take_questions: bool) -> ClusterManager<Mute> {
    let mute = Mute {
        take_questions,
        sent: Arc::default(),
    };
    let manager = ClusterManager::new(cluster_config(spread), mute, Clock::manual(NOW));
    manager.meet();
    manager
}

fn hear(manager: &ClusterManager<Mute>, message: &[u8]) {
    assert!(manager.native(&member(HOLDERS[0], NATIVE), message));
}

fn member(id: UniqueId, payload: &[u8]) -> Member {
    Member {
        alive: 0,
        host: Ipv4Addr::LOCALHOST.into(),
        port: 4000,
        secure_port: None,
        udp_port: None,
        command: Box::default(),
        domain: Box::default(),
        id: MemberId(id),
        payload: payload.into(),
    }
}

/// Asks a member for a session that it knows to be on the two others.
async fn ask(take_questions: bool) -> Result<bool, ManagerError> {
    let primary = primary(Spread::Backup);
    let manager = manager(Spread::Backup, take_questions);
    // Every second session has its backup here.
    loop {
        let session = primary.create(NOW).expect("no limit");
        let mut out = Outbox::default();
        primary.commit(&session, true, NOW, &mut out);
        let (but, place) = out.others.pop().expect("its place is told");
        if but != HERE {
            hear(&manager, &place);
            let text = session.id().to_string();
            let asked = AskedId::parse(text.as_bytes()).expect("an id");
            let found = manager.find(&asked, &LINE, NOW).await;
            return found.map(|found| found.is_some());
        }
    }
}

#[tokio::test]
async fn a_session_whose_holders_do_not_answer_may_exist() {
    assert_eq!(ask(false).await, Err(ManagerError::NoHolder));
}

#[tokio::test]
async fn a_session_that_its_holders_do_not_send_is_gone() {
    assert_eq!(ask(true).await, Ok(false));
}

/// A Tomcat asks the backup only, and begins a new session when that one is dead.
#[tokio::test]
async fn by_tomcats_rules_too_the_primary_is_asked_and_then_the_backup() {
    let (key, tomcat) = ("A8644DF6E84CA5048F441BF20DCF0DF1", member([9; 16], b""));
    let sent = Arc::default();
    let mute = Mute {
        take_questions: true,
        sent: Arc::clone(&sent),
    };
    let manager = ClusterManager::new(cluster_config(Spread::Backup), mute, Clock::manual(NOW));
    manager.meet();
    manager.added(&tomcat);
    let map = map_name("/jsp");
    let backup = member(HOLDERS[1], NATIVE);
    for message in [
        MapMessage::new(MapKind::Start, &map, Some(tomcat.clone())),
        MapMessage::about(MapKind::Proxy, &map, key, tomcat.clone(), vec![backup]),
    ] {
        assert!(manager.map(&tomcat, Said::Map(message)));
    }
    let asked = AskedId::parse(key.as_bytes()).expect("an id");
    let found = manager.find(&asked, &LINE, NOW).await;
    assert_eq!(found.err(), Some(ManagerError::NoHolder));
    let sent: Vec<UniqueId> = sent.lock().expect("nobody fails with it").clone();
    assert_eq!(sent, [[9; 16], HOLDERS[1]]);
}

#[tokio::test]
async fn a_request_can_ask_whether_its_session_was_served_here() {
    let primary = primary(Spread::All);
    let manager = manager(Spread::All, true);
    let session = primary.create(NOW).expect("no limit");
    let mut out = Outbox::default();
    primary.commit(&session, true, NOW, &mut out);
    hear(&manager, &out.natives.pop().expect("all are told"));

    let cookie = CookieConfig::default().cookie("/jsp").expect("valid");
    let attach = Attach::new(Arc::new(manager), cookie, Clock::manual(NOW));
    let handler = async |sessions: Sessions| format!("{:?}", sessions.is_primary());
    let pages = Router::new().route("/jsp/", get(handler)).layer(attach);
    let field = format!("JSESSIONID={}", session.id());
    for told in ["Some(false)", "Some(true)"] {
        let request = Request::get("/jsp/").header("Cookie", &field);
        let request = request.body(Body::empty()).expect("a request");
        let response = pages.clone().oneshot(request).await.expect("infallible");
        let body = to_bytes(response.into_body(), 100).await.expect("short");
        assert_eq!(body, told);
    }
}

/// A member of this route.
fn routed(route: &str) -> CoreConfig {
    CoreConfig {
        suffix: Suffix::new(None, Some(route)).expect("a valid route"),
        ..CoreConfig::new("/jsp", Spread::All)
    }
}

/// A client names the session with this route, and while it is used here, another member serves it and does this with it: the cookie
/// that the client gets, and the session's ID then.
async fn cookie_after(
    route: &str,
    meanwhile: impl FnOnce(&Core, &Session, &mut Outbox),
) -> (Option<String>, String) {
    let primary = Core::new(routed("WEB2"), HOLDERS[0], NewKey::default());
    let other = Core::new(routed("WEB1"), HOLDERS[1], NewKey::default());
    for (core, id) in [(&primary, HOLDERS[1]), (&other, HERE)] {
        core.member_added(Peer::new(id, true, 0), NOW);
    }
    let mute = Mute {
        take_questions: true,
        sent: Arc::default(),
    };
    let config = ClusterConfig {
        core: routed("WEB2"),
        ..cluster_config(Spread::All)
    };
    let manager = ClusterManager::new(config, mute, Clock::manual(NOW));
    manager.meet();
    let session = primary.create(NOW).expect("no limit");
    let mut out = Outbox::default();
    primary.commit(&session, true, NOW, &mut out);
    let created = out.natives.pop().expect("all are told");
    hear(&manager, &created);
    let mut out = Outbox::default();
    let read = other.receive(&HOLDERS[0], &created, NOW, &mut out);
    assert_eq!(read, Ok(true));
    let named = session.id().to_string();
    let asked = AskedId::parse(named.as_bytes()).expect("an id");
    let later = Timestamp(NOW.0 + 10);
    let (there, _) = other.find(&asked, later, &mut out).expect("heard of");
    meanwhile(&other, &there, &mut out);
    other.commit(&there, true, later, &mut out);

    let told = Arc::new(out.natives);
    let cookie = CookieConfig::default().cookie("/jsp").expect("valid");
    let attach = Attach::new(Arc::new(manager.clone()), cookie, Clock::manual(NOW));
    let handler = async move |session: Session| {
        let before = session.id();
        for message in told.iter() {
            assert!(manager.native(&member(HOLDERS[1], NATIVE), message));
        }
        assert_ne!(session.id(), before);
    };
    let pages = Router::new().route("/jsp/", get(handler)).layer(attach);
    let cookie = format!("JSESSIONID={}.{route}", session.id().key);
    let request = Request::get("/jsp/").header("Cookie", cookie);
    let request = request.body(Body::empty()).expect("a request");
    let response = pages.oneshot(request).await.expect("infallible");
    let cookie = response.headers().get("Set-Cookie").map(|field| {
        let field = field.to_str().expect("text");
        field.split(';').next().expect("a name").to_owned()
    });
    (cookie, there.id().to_string())
}

#[tokio::test]
async fn a_route_that_changes_meanwhile_is_told() {
    for route in ["WEB2", "WEB9"] {
        let (cookie, id) = cookie_after(route, |_, _, _| ()).await;
        assert!(id.ends_with(".WEB1"));
        assert_eq!(cookie, Some(format!("JSESSIONID={id}")));
    }
}

/// Whoever knew the ID before a log in does not get the one after it, with whatever route it is named.
#[tokio::test]
async fn a_log_in_meanwhile_is_not_told() {
    let log_in = |other: &Core, session: &Session, out: &mut Outbox| {
        let later = Timestamp(NOW.0 + 20);
        other.change_id(session, later, out).expect("it is there");
    };
    for route in ["WEB2", "WEB9"] {
        let (cookie, _) = cookie_after(route, log_in).await;
        assert_eq!(cookie, None);
    }
}
