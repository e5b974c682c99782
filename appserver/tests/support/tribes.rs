//! Nodes for tests of channels: what they are told, settings on the loopback interface, captured bytes.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use appserver::Clock;
use appserver::tribes::channel::{Applied, Channel, Delivery, Incoming, Listener, bind};
use appserver::tribes::member::{Member, MemberId};
use appserver::tribes::options::SendOptions;
use appserver::tribes::settings::{ClusterSettings, ReceiverAddress};
use tokio::sync::Notify;

/// Longest wait for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const SYNC: SendOptions = SendOptions::USE_ACK.with(SendOptions::SYNC_ACK);

/// What a node was told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) messages: Mutex<Vec<(MemberId, Vec<u8>)>>,
    events: Mutex<Vec<(&'static str, MemberId)>>,
    /// How many messages the members lost.
    pub(crate) lost: AtomicU64,
    pub(crate) refuse: AtomicBool,
    news: Notify,
}

impl Told {
    fn event(&self, what: &'static str, member: &Member) {
        self.events.lock().expect("events").push((what, member.id));
        self.news.notify_waiters();
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        self.within(SOON, what, condition).await;
    }

    pub(crate) async fn within(
        &self,
        limit: Duration,
        what: &str,
        condition: impl Fn(&Self) -> bool,
    ) {
        let waiting = async {
            loop {
                let news = self.news.notified();
                if condition(self) {
                    return;
                }
                // Figures of a channel change without news.
                let _ = tokio::time::timeout(Duration::from_millis(20), news).await;
            }
        };
        let in_time = tokio::time::timeout(limit, waiting).await.is_ok();
        assert!(in_time, "{what}: {:?}", self.events.lock().expect("events"));
    }

    pub(crate) fn has(&self, what: &'static str, id: MemberId) -> bool {
        self.events.lock().expect("events").contains(&(what, id))
    }

    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        let messages = self.messages.lock().expect("messages");
        messages.iter().map(|(_, bytes)| bytes.clone()).collect()
    }
}

impl Listener for Told {
    fn message(&self, from: &Member, message: Incoming<'_>) -> Applied {
        let mut messages = self.messages.lock().expect("messages");
        messages.push((from.id, message.bytes.to_vec()));
        self.news.notify_waiters();
        match self.refuse.load(Ordering::Relaxed) {
            true => Applied::Failed,
            false => Applied::Done,
        }
    }

    fn added(&self, member: &Member) {
        self.event("added", member);
    }

    fn removed(&self, member: &Member) {
        self.event("removed", member);
    }

    fn stalled(&self, member: &Member) {
        self.event("stalled", member);
    }

    fn recovered(&self, member: &Member, lost: u64) {
        self.lost.fetch_add(lost, Ordering::Relaxed);
        self.event("recovered", member);
    }
}

/// A node.
pub(crate) struct Node {
    pub(crate) channel: Channel,
    pub(crate) told: Arc<Told>,
}

impl Node {
    pub(crate) async fn start(settings: &ClusterSettings) -> Self {
        let told = Arc::new(Told::default());
        let bound = bind(settings).expect("a free port");
        let listener: Arc<dyn Listener> = Arc::clone(&told) as _;
        let channel = Channel::start(settings, bound, Clock::system(), listener)
            .await
            .expect("a channel");
        Self { channel, told }
    }

    pub(crate) fn id(&self) -> MemberId {
        self.channel.local().id
    }

    pub(crate) async fn knows(&self, other: &Self) {
        let id = other.id();
        let what = format!("{id} is added");
        self.told.until(&what, |told| told.has("added", id)).await;
    }

    pub(crate) async fn send(&self, to: &Self, bytes: &[u8]) -> Delivery {
        self.channel.send(to.id(), bytes, SYNC, SOON).await
    }
}

/// Both know each other.
pub(crate) async fn pair(settings: &ClusterSettings) -> (Node, Node) {
    let (a, b) = tokio::join!(Node::start(settings), Node::start(settings));
    a.knows(&b).await;
    b.knows(&a).await;
    (a, b)
}

/// A port that no other group of this process has.
pub(crate) fn group_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(45_564);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A group that no other process has.
fn group() -> IpAddr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(239, a.max(1), b, c).into()
}

/// Settings of nodes on the loopback interface that hear each other by multicast.
pub(crate) fn multicast() -> ClusterSettings {
    let mut settings = ClusterSettings::default();
    settings.membership.bind = "127.0.0.1".into();
    settings.membership.address = group();
    settings.membership.port = group_port();
    settings.membership.frequency = 50;
    settings.membership.drop_time = 1000;
    settings.receiver.address = ReceiverAddress::Address(Ipv4Addr::LOCALHOST.into());
    settings.receiver.port = 0;
    settings
}

/// A node on a runtime of its own, which can be ended without a goodbye.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Process {
    pub(crate) fn start(settings: &ClusterSettings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let settings = settings.clone();
        let (sender, node) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let _ = sender.send(Node::start(&settings).await);
        });
        let node = node.recv().expect("a node");
        Self { node, runtime }
    }

    /// Its sockets close.
    pub(crate) fn kill(self) -> Node {
        self.runtime.shutdown_background();
        self.node
    }
}

/// The bytes of a file of `tests/tribes`.
pub(crate) fn captured(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/tribes/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let digits: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::chars)
        .collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}
