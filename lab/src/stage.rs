//! A running topology: its nodes start, die, come back; nothing of it outlives the stage.

pub mod figures;
pub mod folder;
pub mod holder;
pub mod members;
pub mod relay;
pub mod scribe;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use program::Failure;
use tokio::sync::mpsc;

use self::relay::Relay;
use self::scribe::Overheard;
use crate::app::Apps;
use crate::history::Recorder;
use crate::mode::Mode;
use crate::process::{Child, Ended, Start};
use crate::store::Store;
use crate::tap::{Link, Tap};
use crate::tomcat;
use crate::topology::{Kind, Node, Topology};
use crate::wait::Question;

/// A node that starts must answer within this.
pub const READY_AT_MOST: Duration = Duration::from_secs(15);

/// A node that is asked to stop may finish its requests for so long.
pub const GRACE: Duration = Duration::from_secs(5);

/// Events that nobody has read yet; a stage with more than this waits for its reader.
const EVENTS_WAITING: usize = 64;

/// Starting on free ports is tried so often: another process may take a port in between.
const TRIES_ON_FREE_PORTS: usize = 3;

/// Something that happened to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which node.
    pub node: String,
    /// What happened.
    pub what: What,
}

/// What can happen to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It answers; its process id.
    Up(u32),
    /// It was started again and answers; its new process id.
    Restarted(u32),
    /// It ended, with its last words.
    Down(Ended, String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Up(id) => write!(f, "{:8} up    process {id}", self.node),
            What::Restarted(id) => write!(f, "{:8} restarted, process {id}", self.node),
            What::Down(_, words) => write!(f, "{:8} down  {words}", self.node),
        }
    }
}

/// What a stage needs besides its topology.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The lab's own binary, which carries the programs.
    pub lab: PathBuf,
    /// Where settings files and logs go; must exist.
    pub folder: PathBuf,
    /// Where taps tell what they hear; a stage without taps needs none.
    pub recorder: Option<Recorder>,
}

/// A running topology. Dropping it kills its nodes.
#[derive(Debug)]
pub struct Stage {
    topology: Topology,
    setting: Setting,
    children: BTreeMap<String, Child>,
    taps: BTreeMap<(String, String), Tap>,
    overheard: Overheard,
    relay: Option<Relay>,
    events: mpsc::Sender<Event>,
}

impl Stage {
    /// Starts every node and waits until all answer. Events go to the receiver from then on.
    pub async fn start(
        topology: Topology,
        setting: Setting,
    ) -> Result<(Self, mpsc::Receiver<Event>), Failure> {
        let (events, receiver) = mpsc::channel(EVENTS_WAITING);
        let mut stage = Self {
            topology,
            setting,
            children: BTreeMap::new(),
            taps: BTreeMap::new(),
            overheard: Overheard::default(),
            relay: None,
            events,
        };
        stage.open_taps().await?;
        stage.write_files()?;
        // All at once: the programs bear any order, and together they are ready sooner.
        let nodes = stage.topology.nodes.clone();
        for node in &nodes {
            let child = stage.launch(node).await?;
            stage.children.insert(node.name.clone(), child);
            if node.kind == Kind::Tomcat {
                // Two that start together wait a minute for each other's sessions.
                stage.ready(node).await?;
            }
        }
        for node in &nodes {
            stage.announce(node, What::Up).await?;
        }
        Ok((stage, receiver))
    }

    /// A stage of its own for one scenario, on ports that are free; with store nodes if a `store` is asked for. `arrange`
    /// may change the topology before anything starts.
    pub async fn on_free_ports(
        mode: Mode,
        store: Option<Store>,
        apps: Apps,
        setting: Setting,
        arrange: impl Fn(&mut Topology),
    ) -> Result<(Self, mpsc::Receiver<Event>), Failure> {
        apps.can_be_in(mode)?;
        let mut last = None;
        for _ in 0..TRIES_ON_FREE_PORTS {
            let mut topology = Topology::on_free_ports(mode, store, apps)
                .map_err(|e| Failure::environment("cannot find free ports on 127.0.0.1", e))?;
            arrange(&mut topology);
            match Self::start(topology, setting.clone()).await {
                Ok(stage) => return Ok(stage),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::Failed("no stage was started".to_owned())))
    }

    /// The topology as it is now.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The folder with settings files and logs.
    pub fn folder(&self) -> &Path {
        &self.setting.folder
    }

    /// The child that runs as this node.
    pub fn child(&self, name: &str) -> Result<&Child, Failure> {
        self.children
            .get(name)
            .ok_or_else(|| Failure::Failed(format!("there is no node {name} on this stage")))
    }

    /// SIGKILL to a node, and waits for its end.
    pub async fn kill(&self, name: &str) -> Result<Ended, Failure> {
        let ended = self.child(name)?.kill().await;
        ended.map_err(|e| Failure::environment(format!("cannot kill {name}"), e))
    }

    /// SIGTERM to a node, and waits for its end.
    pub async fn terminate(&self, name: &str) -> Result<Ended, Failure> {
        let ended = self.child(name)?.terminate(GRACE).await;
        ended.map_err(|e| Failure::environment(format!("cannot stop {name}"), e))
    }

    /// Starts a node that has ended, at its old place, or one that is new, and waits until it answers.
    pub async fn start_again(&mut self, name: &str) -> Result<(), Failure> {
        let what = self.launch_again(name).await?;
        self.wait_until_up(name, what).await
    }

    /// The same without waiting, so that several can start at one moment; says what is to be told when it answers.
    pub async fn launch_again(&mut self, name: &str) -> Result<fn(u32) -> What, Failure> {
        let child = self.launch(&self.known(name)?).await?;
        let known = self.children.insert(name.to_owned(), child).is_some();
        Ok(if known { What::Restarted } else { What::Up })
    }

    /// Waits until a node that was launched answers.
    pub async fn wait_until_up(&self, name: &str, what: fn(u32) -> What) -> Result<(), Failure> {
        self.announce(&self.known(name)?, what).await
    }

    fn known(&self, name: &str) -> Result<Node, Failure> {
        let node = self.topology.node(name).cloned();
        node.ok_or_else(|| Failure::Failed(format!("there is no node {name} on this stage")))
    }

    /// Starts one more application server of this kind and lets the proxy read its file again. Says the new node's name.
    pub async fn add_appserver(&mut self, kind: Kind) -> Result<String, Failure> {
        let name = self
            .topology
            .add_appserver(kind)
            .map_err(|e| Failure::environment("cannot find a free port on 127.0.0.1", e))?;
        self.open_taps().await?;
        self.write_files()?;
        self.start_again(&name).await?;
        for node in self.topology.nodes.iter().filter(|n| n.kind == Kind::Proxy) {
            let told = self.child(&node.name)?.signal(rustix::process::Signal::HUP);
            told.await
                .map_err(|e| Failure::environment("cannot tell the proxy to reload", e))?;
        }
        Ok(name)
    }

    /// Cuts or heals the link from an application server to a store node.
    pub fn set_link(&self, server: &str, node: &str, link: Link) -> Result<(), Failure> {
        let tap = self.taps.get(&(server.to_owned(), node.to_owned()));
        let tap = tap.ok_or_else(|| {
            Failure::Failed(format!("there is no tap between {server} and {node}"))
        })?;
        tap.set(link);
        if let Some(relay) = &self.relay {
            relay.pass((server, node), link.is_open());
        }
        Ok(())
    }

    /// From now on members are told where the others really are, or that they are where they are themselves; who is known already
    /// is not told anew.
    pub fn lead_astray(&mut self, astray: bool) -> Result<(), Failure> {
        self.topology.cluster.astray = astray;
        self.relay = None;
        let relay = Relay::start(&self.topology);
        self.relay = Some(relay.map_err(|e| Failure::environment("cannot pass heartbeats on", e))?);
        Ok(())
    }

    /// What members of the cluster have said to each other, of each link the beginning.
    pub fn overheard(&self) -> &Overheard {
        &self.overheard
    }

    /// A tap in every link between members, and somebody who tells each member of the taps that lead to the others.
    async fn open_member_taps(&mut self) -> Result<(), Failure> {
        let servers: Vec<Node> = self.topology.appservers().cloned().collect();
        for (server, other) in servers
            .iter()
            .flat_map(|a| servers.iter().map(move |b| (a, b)))
        {
            let link = (server.name.clone(), other.name.clone());
            if server.name == other.name || self.taps.contains_key(&link) {
                continue;
            }
            let tap = Tap::open(other.place.receiver, self.overheard.ears(link.clone())).await;
            let tap = tap.map_err(|e| Failure::environment("cannot open a tap on 127.0.0.1", e))?;
            self.topology.links.insert(link.clone(), tap.address());
            self.taps.insert(link, tap);
        }
        let relay = Relay::start(&self.topology);
        self.relay = Some(relay.map_err(|e| Failure::environment("cannot pass heartbeats on", e))?);
        Ok(())
    }

    /// A tap in every link that is to have one and has none.
    async fn open_taps(&mut self) -> Result<(), Failure> {
        if !self.topology.tapped {
            return Ok(());
        }
        if self.topology.mode.replicates() {
            self.open_member_taps().await?;
        }
        let stores: Vec<Node> = self.topology.stores().cloned().collect();
        let servers: Vec<Node> = self.topology.appservers().cloned().collect();
        for (server, store) in servers
            .iter()
            .flat_map(|server| stores.iter().map(move |store| (server, store)))
        {
            let link = (server.name.clone(), store.name.clone());
            if self.taps.contains_key(&link) {
                continue;
            }
            let ears = scribe::ears(self.setting.recorder.clone(), &server.name, &store.name);
            let tap = Tap::open(store.place.listen, ears).await;
            let tap = tap.map_err(|e| Failure::environment("cannot open a tap on 127.0.0.1", e))?;
            self.topology.links.insert(link.clone(), tap.address());
            self.taps.insert(link, tap);
        }
        Ok(())
    }

    /// Stops everything gracefully, front to back: the proxy finishes what runs before the servers behind it go.
    pub async fn stop(self) -> Vec<(String, Ended)> {
        let mut ends = Vec::new();
        for node in self.topology.nodes.iter().rev() {
            let Some(child) = self.children.get(&node.name) else {
                continue;
            };
            if child.ended().is_some() {
                continue;
            }
            let ended = child.terminate(GRACE).await;
            ends.push((node.name.clone(), ended.unwrap_or(Ended::Killed(0))));
        }
        ends
    }

    /// The settings file of a node; of a Tomcat its folder.
    fn settings_of(&self, node: &Node) -> PathBuf {
        match node.kind {
            Kind::Tomcat => self.setting.folder.join(&node.name),
            _ => self.setting.folder.join(format!("{}.toml", node.name)),
        }
    }

    fn write_files(&self) -> Result<(), Failure> {
        for node in &self.topology.nodes {
            if let Some(tomcat) = self.topology.tomcat(node) {
                let base = self.settings_of(node);
                tomcat.write(&base).map_err(|e| {
                    Failure::environment(format!("cannot write {}", base.display()), e)
                })?;
            }
            let Some(file) = self.topology.file(node) else {
                continue;
            };
            let path = self.settings_of(node);
            std::fs::write(&path, file)
                .map_err(|e| Failure::environment(format!("cannot write {}", path.display()), e))?;
        }
        Ok(())
    }

    async fn launch(&self, node: &Node) -> Result<Child, Failure> {
        let file = self.settings_of(node);
        let (program, arguments) = node.kind.command(&self.setting.lab, &file, node.place);
        Child::start(Start {
            name: node.name.clone(),
            lab: self.setting.lab.clone(),
            program,
            arguments,
            folder: self.setting.folder.clone(),
        })
        .await
    }

    /// Waits until the node answers.
    async fn ready(&self, node: &Node) -> Result<(), Failure> {
        let child = self.child(&node.name)?;
        let (question, at_most) = match node.kind {
            Kind::Memcached => (Question::Memcached(node.place.listen), READY_AT_MOST),
            Kind::Tomcat => (Question::Tomcat(node.place.listen), tomcat::READY_AT_MOST),
            Kind::Proxy | Kind::Appserver | Kind::Sessiond => {
                (Question::Http(node.place.admin), READY_AT_MOST)
            }
        };
        child.ready(question, at_most).await
    }

    /// Waits until the node answers, then says so, and will say when it ends.
    async fn announce(&self, node: &Node, what: fn(u32) -> What) -> Result<(), Failure> {
        self.ready(node).await?;
        let child = self.child(&node.name)?;
        let events = self.events.clone();
        let up = Event {
            node: node.name.clone(),
            what: what(child.id()),
        };
        let mut end = child.end();
        let log = child.log().to_owned();
        let name = node.name.clone();
        tokio::spawn(async move {
            // A reader that is gone wants no events.
            let _ = events.send(up).await;
            let ended = end.wait_for(Option::is_some).await.map(|ended| *ended);
            if let Ok(Some(ended)) = ended {
                let what = What::Down(ended, crate::process::last_words(&log, ended));
                let _ = events.send(Event { node: name, what }).await;
            }
        });
        Ok(())
    }
}
