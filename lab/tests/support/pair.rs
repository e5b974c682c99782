//! Two servers of a cluster and a proxy, and users who go to either server.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::app::{App, Apps};
use lab::mode::Mode;
use lab::stage::{self, Stage};
use lab::tap::Link;
use lab::topology::Topology;
use serde_json::{Value, json};

use super::tomcat::{ask, set_cookie};
use super::{LAB, wait_for};

/// Two real Tomcats.
pub(crate) const BOTH_REAL: Apps = Apps {
    a: App::Tomcat,
    b: App::Tomcat,
};

/// What a Tomcat writes before it goes to its cluster.
const BEFORE_CLUSTER: &str = "Server initialization in";

/// A stage in a mode in which servers have each other's sessions.
pub(crate) struct Pair {
    pub(crate) stage: Stage,
    _events: tokio::sync::mpsc::Receiver<stage::Event>,
    pub(crate) servers: [SocketAddr; 2],
    names: [String; 2],
}

impl Pair {
    /// Starts it and waits until a session of one is known to the other, both ways.
    pub(crate) async fn start(apps: Apps, folder: &Path, arrange: impl Fn(&mut Topology)) -> Self {
        Self::in_mode(Mode::Cluster, apps, folder, arrange).await
    }

    /// The same in another mode.
    pub(crate) async fn in_mode(
        mode: Mode,
        apps: Apps,
        folder: &Path,
        arrange: impl Fn(&mut Topology),
    ) -> Self {
        let setting = stage::Setting {
            lab: LAB.into(),
            folder: folder.to_owned(),
            recorder: None,
        };
        let started = Stage::on_free_ports(mode, None, apps, setting, arrange).await;
        let (stage, events) = started.unwrap_or_else(|e| panic!("{e}"));
        let nodes: Vec<_> = stage.topology().appservers().cloned().collect();
        let pair = Self {
            servers: [nodes[0].place.listen, nodes[1].place.listen],
            names: [nodes[0].name.clone(), nodes[1].name.clone()],
            stage,
            _events: events,
        };
        pair.wait_until_joined();
        pair
    }

    /// What is told now arrives, both ways.
    pub(crate) fn wait_until_joined(&self) {
        for (here, there) in [(0, 1), (1, 0)] {
            wait_for("the servers know each other", || {
                let mut user = User::default();
                user.set(self.servers[here], "probe", "yes");
                user.get(self.servers[there], "probe") == json!("yes")
            });
        }
    }

    /// Waits until each knows so many others.
    pub(crate) async fn wait_for_members(&self, members: usize) {
        for name in &self.names {
            let deadline = Instant::now() + super::PATIENCE;
            while self.stage.members(name).await != Ok(members) {
                assert!(
                    Instant::now() < deadline,
                    "{name} does not come to know {members} members"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Changes the links between them; only with taps.
    pub(crate) fn set_links(&self, link: Link) {
        let [a, b] = &self.names;
        for (from, to) in [(a, b), (b, a)] {
            let set = self.stage.set_link(from, to, link);
            set.unwrap_or_else(|e| panic!("{e}"));
        }
    }

    pub(crate) async fn kill(&self, server: usize) {
        let killed = self.stage.kill(&self.names[server]).await;
        killed.unwrap_or_else(|e| panic!("{e}"));
    }

    /// Holds the server as it is, or lets it go on.
    pub(crate) async fn freeze(&self, server: usize, frozen: bool) {
        let child = self.stage.child(&self.names[server]);
        let child = child.unwrap_or_else(|e| panic!("{e}"));
        let done = if frozen {
            child.pause().await
        } else {
            child.resume().await
        };
        done.expect("signalled");
    }

    pub(crate) async fn start_again(&mut self, server: usize) {
        let started = self.stage.start_again(&self.names[server]).await;
        started.unwrap_or_else(|e| panic!("{e}"));
    }

    /// Both at the same moment. A real one takes its time until it comes to the cluster, and waits there for the other.
    pub(crate) async fn start_both(&mut self) {
        let names = self.names.clone();
        let mut started = Vec::new();
        for name in &names {
            let launched = self.stage.launch_again(name).await;
            started.push(launched.unwrap_or_else(|e| panic!("{e}")));
        }
        let mut on_their_way = vec![0, 1];
        on_their_way.retain(|server| self.folder(*server).is_dir());
        let held = on_their_way.clone();
        let deadline = Instant::now() + super::PATIENCE;
        while !on_their_way.is_empty() {
            assert!(
                Instant::now() < deadline,
                "{on_their_way:?} do not come to the cluster"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
            for server in std::mem::take(&mut on_their_way) {
                if self.log(server).contains(BEFORE_CLUSTER) {
                    self.freeze(server, true).await;
                } else {
                    on_their_way.push(server);
                }
            }
        }
        for server in held {
            self.freeze(server, false).await;
        }
        for (name, what) in names.iter().zip(started) {
            let up = self.stage.wait_until_up(name, what).await;
            up.unwrap_or_else(|e| panic!("{e}"));
        }
    }

    /// What a server has written since it was started.
    pub(crate) fn log(&self, server: usize) -> String {
        let path = self
            .stage
            .folder()
            .join(format!("{}.log", self.names[server]));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Where a server's own files are; only a Tomcat has them.
    pub(crate) fn folder(&self, server: usize) -> std::path::PathBuf {
        self.stage.folder().join(&self.names[server])
    }
}

/// Somebody with a session cookie.
#[derive(Default, Clone)]
pub(crate) struct User {
    id: String,
}

impl User {
    /// Asks for a page of the contract and takes the cookie that comes.
    pub(crate) fn call(&mut self, server: SocketAddr, call: &str) -> Value {
        let (status, head, body) = ask(server, "GET", &format!("/jsp/api/{call}"), &self.id);
        assert_eq!(status, 200, "{call}: {body}");
        if let Some(id) = set_cookie(&head) {
            self.id = id;
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        if let Some(id) = answer["session"]["id"].as_str() {
            // Its route may change while the page is made: another server tells of the request before.
            assert_eq!(&id[..32], self.random(), "{call}: {body}");
        }
        answer
    }

    pub(crate) fn get(&mut self, server: SocketAddr, name: &str) -> Value {
        self.call(server, &format!("get?name={name}"))["value"].take()
    }

    pub(crate) fn set(&mut self, server: SocketAddr, name: &str, value: &str) {
        let answer = self.call(server, &format!("set?name={name}&value={value}"));
        assert_eq!(answer["value"], json!(value));
    }

    pub(crate) fn append(&mut self, server: SocketAddr, value: &str) -> Value {
        self.call(server, &format!("append?name=list&value={value}"))["value"].take()
    }

    pub(crate) fn count(&mut self, server: SocketAddr) -> Value {
        self.call(server, "count")["value"].take()
    }

    /// `setAttribute(name, null)`.
    pub(crate) fn remove(&mut self, server: SocketAddr, name: &str) {
        let (status, head, body) = ask(server, "GET", &format!("/jsp/set?name={name}"), &self.id);
        assert_eq!(status, 200, "{body}");
        if let Some(id) = set_cookie(&head) {
            self.id = id;
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn random(&self) -> &str {
        &self.id[..32]
    }

    /// Whether the server has a session of this ID, asked without taking a cookie.
    pub(crate) fn is_known(&self, server: SocketAddr) -> bool {
        self.clone().call(server, "get?name=any")["session"].is_object()
    }
}
