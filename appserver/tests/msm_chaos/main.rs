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
//! failing seed is printed; `MSM_CHAOS_SEED=N` runs it alone, `MSM_CHAOS_SEEDS=N` runs so many, and with `MSM_CHAOS_TRACE=1` all
//! that happens is printed.

mod nodes;
mod trace;
mod visit;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use appserver::manager::msm::protocol::World;
use appserver::manager::msm::settings::{LockingMode, MsmSettings};
use appserver::manager::{Manager, RequestLine};
use appserver::{MsmConfig, MsmManager};

use nodes::{Net, Nodes, Trouble};
use visit::{Act, Running, Server, User, Users, visit};

/// Simulations of one run of the tests, for each locking mode; more where the compiler optimises.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 2000 };

/// When a simulation begins, in milliseconds since 1970.
const START: u64 = 1_795_389_394_716;

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

/// A running request.
struct Flight {
    server: usize,
    user: usize,
    /// It stands still until this step.
    still: u64,
    running: Running,
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
            now: START,
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
        self.fly(server, user, Box::pin(visit));
    }

    fn fly(&mut self, server: usize, user: usize, running: Running) {
        self.flights.push(Flight {
            server,
            user,
            still: 0,
            running,
        });
    }

    fn send_something(&mut self, user: usize) {
        let parallel = self.flights.iter().filter(|flight| flight.user == user);
        if parallel.count() >= 4 {
            return;
        }
        let server = self.below(SERVERS);
        self.next_token += 1;
        let act = match self.below(60) {
            0 => Act::LogOut,
            1..=5 => Act::LogIn,
            6..25 => Act::Read,
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
        self.fly(0, usize::MAX, Box::pin(made));
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
                    trace::say(&self.net, &"the trouble ends");
                    self.net.nodes().trouble = Trouble::None;
                }
                if step == begins {
                    trace::say(&self.net, &format_args!("{trouble:?}"));
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
                    trace::say(&self.net, &format_args!("server {server} dies"));
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
        self.fly(server, usize::MAX, Box::pin(flight));
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
