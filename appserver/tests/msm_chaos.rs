//! Servers, nodes and browsers in one seeded simulation: requests of one session at the same time on several servers, while a node
//! dies and comes back empty, is cut off from all servers or from one and comes back with what it had, answers too late or now and
//! then not at all, or while servers die. Servers learn at different times that a node is back; requests stand still for a while,
//! and locks run out under them. With locks every second change appends to one list of the session. What must hold:
//!
//! - a change whose request was answered is seen by every later request,
//! - a session that nobody ended is there, or the request is told that nobody can say,
//! - a session whose log out was answered is never seen by a later request.
//!
//! One node has trouble at a time, and before another has, the sessions were used once, so that their copies are made again. A
//! failing seed is printed; `MSM_CHAOS_SEED=N` runs it alone, `MSM_CHAOS_SEEDS=N` runs so many.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use appserver::manager::msm::protocol::{Answer, Command, Verb, World};
use appserver::manager::msm::settings::{LockingMode, MsmSettings};
use appserver::manager::{Manager, ManagerError, RequestLine};
use appserver::session::{AskedId, Session, Timestamp};
use appserver::{MsmConfig, MsmManager};

/// Simulations of one run of the tests, for each locking mode; more where the compiler optimises.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 2000 };

/// Servers and sessions of one simulation.
const SERVERS: usize = 3;
const USERS: usize = 3;

/// Times of trouble in one simulation, and steps in each.
const PHASES: usize = 4;
const STEPS: usize = 250;

const REQUEST: RequestLine<'static> = RequestLine {
    method: "GET",
    path: "/jsp/",
    query: None,
    context: "/jsp",
};

/// The list that requests append to.
const LIST: &str = "list";

/// A request may stand still for so many steps.
const STILL: u64 = 150;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// The node is dead, and at the end back without what it had.
    Dead(usize),
    /// The node cannot be reached, and at the end back with what it had.
    CutOff(usize),
    /// One server does not reach the node.
    CutOffFrom(usize, usize),
    /// Some answers of the node do not come in time, and some commands arrive late.
    Slow(usize),
    /// Some connections to the node are broken and others are not, as after its return.
    Flaky(usize),
    /// Servers die and start again.
    Servers,
}

/// When it goes, its value, its cas unique.
type Item = (u64, Vec<u8>, u64);

#[derive(Debug)]
struct Nodes {
    now: u64,
    random: fastrand::Rng,
    trouble: Trouble,
    items: Vec<HashMap<String, Item>>,
    /// Commands that arrive after their sender gave up.
    late: Vec<(usize, Vec<Command>)>,
    unique: u64,
}

impl Nodes {
    fn act(&mut self, node: usize, command: &Command) -> Answer {
        let now = self.now;
        self.unique += 1;
        let unique = self.unique;
        let items = &mut self.items[node];
        let Command { verb, key } = command;
        if items.get(key).is_some_and(|(until, ..)| *until <= now) {
            items.remove(key);
        }
        let until = |exptime: i64| match exptime {
            0 => u64::MAX,
            ..0 => 0,
            2_592_001.. => exptime as u64 * 1000,
            _ => now + exptime as u64 * 1000,
        };
        let item = |exptime: i64, value: &Vec<u8>| (until(exptime), value.clone(), unique);
        match (verb, items.get_mut(key)) {
            (Verb::Get, Some(item)) => Answer::Hit(item.1.clone()),
            (Verb::Gets, Some(item)) => Answer::HitCas(item.1.clone(), item.2),
            (Verb::Add(..), Some(_)) | (Verb::Replace(..), None) => Answer::NotStored,
            (Verb::Cas(_, _, unique), Some(item)) if item.2 != *unique => Answer::Exists,
            (Verb::Cas(exptime, value, _), Some(there)) => {
                *there = item(*exptime, value);
                Answer::Done
            }
            (Verb::Touch(exptime), Some(item)) => {
                item.0 = until(*exptime);
                Answer::Done
            }
            (Verb::Set(exptime, value) | Verb::Add(exptime, value), _)
            | (Verb::Replace(exptime, value), Some(_)) => {
                items.insert(key.clone(), item(*exptime, value));
                Answer::Done
            }
            (Verb::Delete, Some(_)) => {
                items.remove(key);
                Answer::Done
            }
            (Verb::Get | Verb::Gets | Verb::Cas(..) | Verb::Touch(_) | Verb::Delete, None) => {
                Answer::Miss
            }
        }
    }

    fn act_late(&mut self) {
        if !self.late.is_empty() {
            let which = self.random.usize(..self.late.len());
            let (node, commands) = self.late.swap_remove(which);
            for command in commands {
                self.act(node, &command);
            }
        }
    }
}

/// The nodes as one server sees them.
#[derive(Debug, Clone)]
struct Net {
    shared: Arc<Mutex<Nodes>>,
    server: usize,
}

impl Net {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.shared.lock().expect("not poisoned")
    }

    /// Whether nothing that is sent to the node arrives there now.
    fn is_away(&self, node: usize) -> bool {
        let mut nodes = self.nodes();
        match nodes.trouble {
            Trouble::Dead(away) | Trouble::CutOff(away) => away == node,
            Trouble::CutOffFrom(away, server) => (away, server) == (node, self.server),
            Trouble::Flaky(flaky) => flaky == node && nodes.random.u8(..10) < 3,
            Trouble::None | Trouble::Slow(_) | Trouble::Servers => false,
        }
    }

    async fn some_time(&self) {
        let breaths = self.nodes().random.usize(1..4);
        for _ in 0..breaths {
            breath().await;
        }
    }
}

async fn breath() {
    let mut taken = false;
    std::future::poll_fn(move |context| match std::mem::replace(&mut taken, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

impl World for Net {
    async fn call(&self, node: usize, command: Command, limit: u32) -> Answer {
        let mut answers = self.batch(node, vec![command], limit).await;
        answers.pop().expect("one answer")
    }

    async fn batch(&self, node: usize, commands: Vec<Command>, _limit: u32) -> Vec<Answer> {
        self.some_time().await;
        let failed = vec![Answer::Failed; commands.len()];
        if self.is_away(node) {
            return failed;
        }
        let is_slow = {
            let mut nodes = self.nodes();
            nodes.trouble == Trouble::Slow(node) && nodes.random.u8(..10) < 3
        };
        if is_slow && self.nodes().random.bool() {
            self.nodes().late.push((node, commands));
            return failed;
        }
        let answers: Vec<Answer> = {
            let mut nodes = self.nodes();
            commands
                .iter()
                .map(|command| nodes.act(node, command))
                .collect()
        };
        self.some_time().await;
        if is_slow || self.is_away(node) {
            return failed;
        }
        answers
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.nodes().now)
    }

    async fn pause(&self, millis: u64) {
        let until = self.nodes().now + millis;
        while self.nodes().now < until {
            breath().await;
        }
    }

    fn random(&self, below: usize) -> usize {
        self.nodes().random.usize(..below)
    }
}

/// What a browser knows of its session.
#[derive(Debug, Default)]
struct User {
    id: String,
    /// Changes whose requests were answered.
    kept: BTreeSet<u32>,
    renames: usize,
    /// Log ins that were sent and not answered: each may or may not have given the session an id that the browser does not know.
    changing: usize,
    /// A log out was sent; was answered.
    leaving: bool,
    gone: bool,
}

type Users = Arc<Mutex<Vec<User>>>;
type Server = Arc<MsmManager<Net>>;
/// A running request.
struct Flight {
    server: usize,
    user: usize,
    act: Act,
    /// It stands still until this step.
    still: u64,
    running: Running,
}
type Running = Pin<Box<dyn Future<Output = Result<(), String>>>>;

#[derive(Debug, Clone, Copy)]
enum Act {
    Read,
    Write(u32),
    Append(u32),
    LogIn,
    LogOut,
}

/// One request.
async fn visit(
    server: Server,
    net: Net,
    users: Users,
    user: usize,
    act: Act,
) -> Result<(), String> {
    let (id, kept, gone, renames) = {
        let users = users.lock().expect("not poisoned");
        let user = &users[user];
        (user.id.clone(), user.kept.clone(), user.gone, user.renames)
    };
    let may_be_over = || {
        let users = users.lock().expect("not poisoned");
        let user = &users[user];
        user.leaving || user.renames != renames || user.changing > 0
    };
    let over = |what: &str| match may_be_over() {
        true => Ok(()),
        false => Err(format!("user {user} {act:?}: {what} {id}")),
    };
    let asked = AskedId::parse(id.as_bytes()).expect("an id of ours");
    let session = match server.find(&asked, &REQUEST, net.now()).await {
        Err(_) => return Ok(()),
        Ok(None) => return over("lost session"),
        Ok(Some(found)) => found.session,
    };
    if gone {
        return Err(format!("user {user} {act:?}: zombie session {id}"));
    }
    let seen = tokens(&session);
    if !kept.is_subset(&seen) && !session.is_ended() {
        let lost: Vec<_> = kept.difference(&seen).collect();
        return Err(format!(
            "user {user} {act:?}: lost updates {lost:?} of {id}"
        ));
    }
    net.some_time().await;
    if let Act::LogOut = act {
        users.lock().expect("not poisoned")[user].leaving = true;
        session.invalidate();
        let removed = server.remove(&session).await.is_ok();
        let user = &mut users.lock().expect("not poisoned")[user];
        // What a log in gave another id at the same time is another session to this log out.
        user.gone |= removed && user.renames == renames && user.changing == 0;
        return Ok(());
    }
    let changed = match act {
        Act::Write(token) => session.set(&format!("t{token}"), 1),
        Act::Append(token) => session.append(LIST, token.to_string()).map(drop),
        Act::Read | Act::LogIn | Act::LogOut => Ok(()),
    };
    if changed.is_err() {
        return over("ended");
    }
    // What the application does takes its time.
    net.some_time().await;
    if let Act::LogIn = act {
        users.lock().expect("not poisoned")[user].changing += 1;
        let changed = server.change_id(&session, net.now()).await.is_ok();
        let user = &mut users.lock().expect("not poisoned")[user];
        user.changing -= 1;
        if changed {
            user.id = session.id().to_string();
            user.renames += 1;
        }
    }
    match server.commit(&session, &REQUEST, net.now()).await {
        Ok(()) => {
            if let Act::Write(token) | Act::Append(token) = act
                && !session.is_ended()
            {
                users.lock().expect("not poisoned")[user].kept.insert(token);
            }
            Ok(())
        }
        Err(ManagerError::Session(_)) => over("ended"),
        Err(_) => Ok(()),
    }
}

fn tokens(session: &Session) -> BTreeSet<u32> {
    session.read(|all| {
        let names = all.iter().filter_map(|(name, _)| name[1..].parse().ok());
        let list = all.get(LIST);
        let items = list.iter().flat_map(|list| list.as_list().unwrap_or(&[]));
        let items = items.filter_map(|item| item.as_str()?.parse().ok());
        names.chain(items).collect()
    })
}

struct Chaos {
    net: Net,
    mode: LockingMode,
    servers: Vec<Server>,
    users: Users,
    flights: Vec<Flight>,
    next_token: u32,
    steps: u64,
}

impl Chaos {
    fn new(seed: u64, mode: LockingMode) -> Self {
        let nodes = Nodes {
            now: 1_795_389_394_716,
            random: fastrand::Rng::with_seed(seed),
            trouble: Trouble::None,
            items: vec![HashMap::new(); 2 + (seed % 2) as usize],
            late: Vec::new(),
            unique: 0,
        };
        let mut chaos = Self {
            net: Net {
                shared: Arc::new(Mutex::new(nodes)),
                server: SERVERS,
            },
            mode,
            steps: 0,
            servers: Vec::new(),
            users: Arc::default(),
            flights: Vec::new(),
            next_token: 0,
        };
        for server in 0..SERVERS {
            let server = chaos.server(server);
            chaos.servers.push(server);
        }
        chaos
    }

    fn server(&self, server: usize) -> Server {
        let count = self.net.nodes().items.len();
        let nodes: Vec<String> = (1..=count).map(|n| format!("n{n}:host:{n}")).collect();
        let settings = MsmSettings {
            memcached_nodes: nodes.join(",").parse().expect("nodes"),
            locking_mode: self.mode.clone(),
            ..MsmSettings::default()
        };
        let config = MsmConfig {
            prefix: settings.storage_key_prefix.prefix("localhost", "/jsp"),
            settings,
            context: "/jsp".into(),
            route: String::new(),
            max_inactive: 1800,
            max_active: 0,
            sweep_interval: Duration::from_secs(3600),
        };
        let net = Net {
            server,
            ..self.net.clone()
        };
        Arc::new(MsmManager::new(config, net).expect("valid"))
    }

    fn below(&self, below: usize) -> usize {
        self.net.nodes().random.usize(..below)
    }

    /// Lets one running request go on, and time pass.
    fn step(&mut self) -> Result<(), String> {
        {
            let mut nodes = self.net.nodes();
            nodes.now += match nodes.random.u8(..100) {
                0 => nodes.random.u64(0..400),
                _ => nodes.random.u64(0..4),
            };
            if nodes.random.u8(..8) == 0 {
                nodes.act_late();
            }
        }
        if self.flights.is_empty() {
            return Ok(());
        }
        self.steps += 1;
        let which = self.below(self.flights.len());
        if self.below(100) == 0 {
            self.flights[which].still = self.steps + self.net.nodes().random.u64(..STILL);
        }
        if self.flights[which].still > self.steps {
            return Ok(());
        }
        let mut context = Context::from_waker(Waker::noop());
        let running = self.flights[which].running.as_mut();
        if let Poll::Ready(outcome) = running.poll(&mut context) {
            drop(self.flights.swap_remove(which));
            outcome?;
        }
        Ok(())
    }

    /// Lets all running requests end.
    fn finish(&mut self) -> Result<(), String> {
        for _ in 0..1_000_000 {
            if self.flights.is_empty() {
                return Ok(());
            }
            self.step()?;
        }
        Err("requests that never end".into())
    }

    fn send(&mut self, user: usize, server: usize, act: Act) {
        let (manager, net) = (Arc::clone(&self.servers[server]), self.net.clone());
        let visit = visit(manager, net, Arc::clone(&self.users), user, act);
        self.fly(server, user, act, Box::pin(visit));
    }

    fn fly(&mut self, server: usize, user: usize, act: Act, running: Running) {
        self.flights.push(Flight {
            server,
            user,
            act,
            still: 0,
            running,
        });
    }

    fn send_something(&mut self, user: usize) {
        let parallel = self.flights.iter().filter(|flight| flight.user == user);
        if parallel.clone().count() >= 4 {
            return;
        }
        // Nobody logs in twice at a time.
        let logs_in = parallel
            .clone()
            .any(|flight| matches!(flight.act, Act::LogIn));
        let server = self.below(SERVERS);
        self.next_token += 1;
        let act = match self.below(60) {
            0 => Act::LogOut,
            1..=3 if !logs_in => Act::LogIn,
            4..25 => Act::Read,
            25..43 if self.mode == LockingMode::All => Act::Append(self.next_token),
            _ => Act::Write(self.next_token),
        };
        self.send(user, server, act);
    }

    fn make_user(&mut self) -> Result<(), String> {
        let (server, net) = (Arc::clone(&self.servers[0]), self.net.clone());
        let users = Arc::clone(&self.users);
        let made = async move {
            let created = server.create(net.now()).await.map_err(|e| e.to_string())?;
            let committed = server.commit(&created, &REQUEST, net.now()).await;
            committed.map_err(|e| e.to_string())?;
            users.lock().expect("not poisoned").push(User {
                id: created.id().to_string(),
                ..User::default()
            });
            Ok(())
        };
        self.fly(0, usize::MAX, Act::Read, Box::pin(made));
        self.finish()
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..USERS {
            self.make_user()?;
        }
        for _ in 0..PHASES {
            let count = self.net.nodes().items.len();
            let node = self.below(count);
            let trouble = match self.below(8) {
                0 => Trouble::None,
                1 => Trouble::Servers,
                2 => Trouble::Slow(node),
                3 => Trouble::CutOff(node),
                4 => Trouble::CutOffFrom(node, self.below(SERVERS)),
                5 => Trouble::Flaky(node),
                _ => Trouble::Dead(node),
            };
            let begins = self.below(STEPS / 2);
            let ends = begins + self.below(STEPS);
            for step in 0..STEPS {
                if step == ends {
                    // Servers learn of it at different times.
                    self.net.nodes().trouble = Trouble::None;
                }
                if step == begins {
                    let mut nodes = self.net.nodes();
                    nodes.trouble = trouble;
                    if let Trouble::Dead(node) = trouble {
                        nodes.items[node].clear();
                    }
                }
                if self.below(4) == 0 {
                    let user = self.below(USERS);
                    self.send_something(user);
                }
                if self.below(40) == 0 {
                    let server = self.below(SERVERS);
                    self.look_behind(server);
                }
                if self.net.nodes().trouble == Trouble::Servers && self.below(60) == 0 {
                    let server = self.below(SERVERS);
                    self.flights.retain(|flight| flight.server != server);
                    self.servers[server] = self.server(server);
                }
                self.step()?;
            }
            // Some of what runs goes on while the node is back already.
            self.net.nodes().trouble = Trouble::None;
            self.finish()?;
            self.recover()?;
        }
        Ok(())
    }

    /// The servers learn that all nodes are there, and every session is used once.
    fn recover(&mut self) -> Result<(), String> {
        while !self.net.nodes().late.is_empty() {
            self.net.nodes().act_late();
        }
        // Longer than a lock of a dead server, a node that is down, and the memory of missing ids last.
        self.net.nodes().now += 10_000;
        for server in 0..SERVERS {
            self.look_after(server)?;
        }
        for user in 0..USERS {
            for server in 0..SERVERS {
                self.send(user, server, Act::Read);
                self.finish()?;
            }
        }
        for server in 0..SERVERS {
            self.look_after(server)?;
        }
        Ok(())
    }

    /// What a server does beside its requests, until it is done.
    fn look_after(&mut self, server: usize) -> Result<(), String> {
        self.look_behind(server);
        self.finish()
    }

    fn look_behind(&mut self, server: usize) {
        let manager = Arc::clone(&self.servers[server]);
        let flight = async move {
            manager.look_after().await;
            Ok(())
        };
        self.fly(server, usize::MAX, Act::Read, Box::pin(flight));
    }
}

fn simulate(mode: LockingMode) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    let only = std::env::var("MSM_CHAOS_SEED").ok();
    let only = only.map(|seed| seed.parse::<u64>().expect("a number"));
    let most = std::env::var("MSM_CHAOS_SEEDS").ok();
    let most = most.map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    let seeds = only.map_or(0..most, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(fault) = Chaos::new(seed, mode.clone()).run() {
            panic!("MSM_CHAOS_SEED={seed} lockingMode={mode}: {fault}");
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_with_merges() {
    simulate(LockingMode::Merge);
}

#[test]
fn nothing_acknowledged_is_lost_with_locks() {
    simulate(LockingMode::All);
}
