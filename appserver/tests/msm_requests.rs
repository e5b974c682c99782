//! Exactly which commands a request over HTTP causes on each node, as a real msm's does: two whole servers and two nodes behind
//! recording relays, on our store and on the real memcached.

mod support;
#[path = "support/tapped.rs"]
mod tapped;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use appserver::config::Mode;
use appserver::manager::msm::settings::MsmSettings;
use support::store::Kind;
use support::{Browser, Node, Reply};
use tapped::Tapped;

/// Longer than an opinion about a node and the memory of missing ids hold.
const STEP_MILLIS: u64 = 2000;

/// What a session costs that is read and not changed: on the node of its id, and on the next.
const READ: [&[&str]; 2] = [
    &[
        "get S=hit",
        "get validity:S=hit(0,20)",
        "set validity:S(0,1800,20)=STORED",
        "add S(0,5,1)=NOT_STORED",
    ],
    &[
        "add bak:S(0,5,1)=NOT_STORED",
        "set bak:validity:S(0,1800,20)=STORED",
    ],
];

/// What the change by [`SET`] costs.
const CHANGE: [&[&str]; 2] = [
    &[
        "get S=hit",
        "get validity:S=hit(0,20)",
        "set S(0,3600,191)=STORED",
        "set validity:S(0,1800,20)=STORED",
    ],
    &[
        "set bak:S(0,3600,191)=STORED",
        "set bak:validity:S(0,1800,20)=STORED",
    ],
];

const LOCK: [&str; 2] = ["add lock:S(0,5,6)=STORED", "delete lock:S=DELETED"];

/// Two servers, two nodes, and a browser that goes from server to server.
struct Play {
    nodes: Tapped,
    servers: Vec<Node>,
    browser: Browser,
    /// Node of the session's id, and what `S` stands for.
    primary: usize,
    id: String,
}

impl Play {
    fn start(kind: Kind, mode: Mode, change: impl Fn(&mut MsmSettings)) -> Option<Self> {
        let nodes = Tapped::start(kind, 2)?;
        let server = |number: usize| {
            Node::with(|config| {
                config.mode = mode;
                config.workers = 1;
                if mode == Mode::MsmSticky {
                    config.jvm_route = format!("WEB{number}");
                }
                config.msm.memcached_nodes = nodes.nodes().parse().expect("nodes");
                config.msm.behaviour = appserver::manager::msm::settings::Behaviour::Msm;
                // A busy machine is not a dead node.
                config.msm.session_backup_timeout = 10_000;
                config.msm.operation_timeout = 10_000;
                change(&mut config.msm);
            })
        };
        let servers = vec![server(1), server(2)];
        let browser = servers[0].browser();
        Some(Self {
            nodes,
            servers,
            browser,
            primary: 0,
            id: String::new(),
        })
    }

    /// One request, and what passed.
    fn get(&mut self, server: usize, path: &str) -> (Reply, Vec<Vec<String>>) {
        for server in &self.servers {
            server.clock.advance(STEP_MILLIS);
        }
        self.nodes.take();
        self.browser.address = self.servers[server].address;
        let reply = self.browser.get(path);
        assert!(reply.status < 500, "{reply:?}");
        (reply, self.nodes.take())
    }

    /// One request that causes these commands, in any order.
    #[track_caller]
    fn causes(&mut self, server: usize, path: &str, expected: [&[&str]; 2]) -> Reply {
        let (reply, log) = self.get(server, path);
        if self.id.is_empty() {
            self.id = self.browser.id().to_owned();
            self.primary = place(&self.id);
        }
        for (node, expected) in [self.primary, 1 - self.primary].into_iter().zip(expected) {
            let mut sent: Vec<String> = log[node].iter().map(|l| self.labelled(l)).collect();
            let mut expected = expected.to_vec();
            sent.sort_unstable();
            expected.sort_unstable();
            // The size of what is found is known from what was stored.
            for (sent, expected) in sent.iter_mut().zip(&expected) {
                if expected.ends_with("=hit") && sent.starts_with(expected) {
                    sent.truncate(expected.len());
                }
            }
            assert_eq!(sent, expected, "GET {path}, place {node}");
        }
        reply
    }

    /// `S` in place of the id, `X` in place of its digits.
    fn labelled(&self, line: &str) -> String {
        line.replace(&self.id, "S").replace(&self.id[..32], "X")
    }

    /// `S` is the id that the browser has now.
    fn follow(&mut self) {
        self.id = self.browser.id().to_owned();
        self.primary = place(&self.id);
    }

    /// A node ends, and everybody will ask whether it is up.
    fn kill(&mut self, node: usize) {
        self.nodes.kill(node);
    }

    /// Takes an item away as if it had expired.
    fn expire(&self, node: usize, key: &str) {
        let mut stream = TcpStream::connect(self.nodes.address(node)).expect("it is up");
        write!(stream, "delete {key}\r\n").expect("it listens");
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .expect("answered");
        assert_eq!(line, "DELETED\r\n");
    }
}

/// Which of n1 and n2 an id names.
fn place(id: &str) -> usize {
    let node = id.split_once('-').expect(id).1;
    let node = node.split('.').next().expect("a word");
    usize::from(node == "n2")
}

fn both(play: impl Fn(Kind)) {
    play(Kind::Sessiond);
    play(Kind::Memcached);
}

/// Makes the session of the page.
fn create(play: &mut Play) {
    play.causes(
        0,
        "/jsp/",
        [
            &[
                "set S(0,3600,182)=STORED",
                "set validity:S(0,1800,20)=STORED",
            ],
            &[
                "set bak:S(0,3600,182)=STORED",
                "set bak:validity:S(0,1800,20)=STORED",
            ],
        ],
    );
}

const GET: &str = "/jsp/get.jsp?name=Blog";
const SET: &str = "/jsp/set.jsp?name=n&value=v1";
const NOTHING: [&[&str]; 2] = [&[], &[]];

#[test]
fn a_session_that_lives_and_ends() {
    both(|kind| {
        let Some(mut play) = Play::start(kind, Mode::Msm, |_| {}) else {
            return;
        };
        create(&mut play);
        assert_eq!(play.causes(1, GET, READ).body, "MeXP");
        play.causes(0, "/jsp/", READ);
        play.causes(1, SET, CHANGE);
        play.causes(0, SET, READ);
        // An ignored URI, and one that uses no session.
        play.causes(1, "/jsp/x.png", NOTHING);
        play.causes(
            1,
            "/jsp/api/logout",
            [
                &[
                    "get S=hit",
                    "get validity:S=hit(0,20)",
                    "delete S=DELETED",
                    "delete validity:S=DELETED",
                ],
                &["delete bak:S=DELETED", "delete bak:validity:S=DELETED"],
            ],
        );
        let unknown: [&[&str]; 2] = [&["get S=miss"], &[]];
        play.browser.cookie = Some(format!("JSESSIONID={}", play.id));
        assert_eq!(play.causes(0, GET, unknown).body, "no session");
        // The memory of it holds half a second.
        let before = play.nodes.take();
        assert!(before.iter().all(Vec::is_empty));
        play.browser.get(GET);
        assert!(play.nodes.take().iter().all(Vec::is_empty));
        play.causes(1, GET, unknown);
    });
}

#[test]
fn a_session_that_expired_before_its_record() {
    both(|kind| {
        let Some(mut play) = Play::start(kind, Mode::Msm, |_| {}) else {
            return;
        };
        create(&mut play);
        let id = play.id.clone();
        for server in &play.servers {
            server.clock.advance(1_800_000);
        }
        play.expire(play.primary, &format!("validity:{id}"));
        play.expire(1 - play.primary, &format!("bak:validity:{id}"));
        let reply = play.causes(
            1,
            GET,
            [
                &[
                    "get S=hit",
                    "get validity:S=miss",
                    "delete S=DELETED",
                    "delete validity:S=NOT_FOUND",
                ],
                &["delete bak:S=DELETED", "delete bak:validity:S=NOT_FOUND"],
            ],
        );
        assert_eq!(reply.body, "no session");
    });
}

#[test]
fn each_locking_mode() {
    let locked =
        |costs: [&'static [&'static str]; 2]| [[costs[0], &LOCK].concat(), costs[1].to_vec()];
    both(|kind| {
        for (mode, reads_lock, again_locks, changes_lock) in [
            ("none", false, false, false),
            ("all", true, true, true),
            ("auto", true, false, true),
            ("uriPattern:.*/set.*", false, false, true),
            // The article's, which never matches.
            ("uriPattern:/path1|/path2", false, false, false),
        ] {
            let mode: appserver::manager::msm::settings::LockingMode = mode.parse().expect("one");
            let play = Play::start(kind, Mode::Msm, |msm| msm.locking_mode = mode.clone());
            let Some(mut play) = play else { return };
            create(&mut play);
            for (path, costs, locks) in [
                (GET, READ, reads_lock),
                (GET, READ, again_locks),
                (SET, CHANGE, changes_lock),
            ] {
                let [primary, backup] = if locks {
                    locked(costs)
                } else {
                    costs.map(<[_]>::to_vec)
                };
                play.causes(1, path, [&primary, &backup]);
            }
        }
    });
}

#[test]
fn a_new_id() {
    both(|kind| {
        let Some(mut play) = Play::start(kind, Mode::Msm, |_| {}) else {
            return;
        };
        create(&mut play);
        let old = play.id.clone();
        let (_, log) = play.get(1, "/jsp/api/login?user=u");
        let new = play.browser.id().to_owned();
        let label = |line: &String| line.replace(&old, "S").replace(&new, "T");
        let [primary, backup] = [play.primary, 1 - play.primary].map(|node| &log[node]);
        let first = |log: &Vec<String>, count: usize| -> Vec<String> {
            log.iter().take(count).map(label).collect()
        };
        let gone = [
            "get S=hit(0,182)",
            "get validity:S=hit(0,20)",
            "delete S=DELETED",
            "delete validity:S=DELETED",
        ];
        assert_eq!(first(primary, 4), gone);
        let gone = ["delete bak:S=DELETED", "delete bak:validity:S=DELETED"];
        assert_eq!(first(backup, 2), gone);
        let rest = |log: &Vec<String>, from: usize| log.iter().skip(from).map(label).collect();
        let mut stored: Vec<Vec<String>> = vec![rest(primary, 4), rest(backup, 2)];
        if place(&new) != play.primary {
            stored.reverse();
        }
        let stored: Vec<&str> = stored.iter().flatten().map(String::as_str).collect();
        let expected = [
            "set T(0,3600,193)=STORED",
            "set validity:T(0,1800,20)=STORED",
            "set bak:T(0,3600,193)=STORED",
            "set bak:validity:T(0,1800,20)=STORED",
        ];
        assert_eq!(stored, expected);
    });
}

#[test]
fn a_primary_node_that_dies() {
    both(|kind| {
        let Some(mut play) = Play::start(kind, Mode::Msm, |_| {}) else {
            return;
        };
        create(&mut play);
        play.kill(play.primary);
        let moved: [&[&str]; 2] = [
            &[],
            &[
                "get bak:validity:S=hit(0,20)",
                "get bak:S=hit",
                "set X-other(0,3600,182)=STORED",
                "set validity:X-other(0,1800,20)=STORED",
            ],
        ];
        let other = format!("X-n{}", 2 - play.primary);
        let named: Vec<String> = moved[1]
            .iter()
            .map(|l| l.replace("X-other", &other))
            .collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let cookie = play.browser.cookie.clone();
        assert_eq!(play.causes(1, GET, [&[], &named]).body, "MeXP");
        // The other server finds out by itself, with the old id.
        play.browser.cookie = cookie;
        assert_eq!(play.causes(0, GET, [&[], &named]).body, "MeXP");
        play.follow();
        assert_eq!(play.causes(0, GET, [READ[0], &[]]).body, "MeXP");
        play.causes(1, SET, [CHANGE[0], &[]]);
    });
}

#[test]
fn a_backup_node_that_dies_and_comes_back_empty() {
    both(|kind| {
        let Some(mut play) = Play::start(kind, Mode::Msm, |_| {}) else {
            return;
        };
        create(&mut play);
        // The other server knows both nodes too.
        play.causes(1, GET, READ);
        let backup = 1 - play.primary;
        play.kill(backup);
        play.causes(0, GET, [READ[0], &[]]);
        play.causes(1, GET, [READ[0], &[]]);
        play.causes(1, SET, [CHANGE[0], &[]]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(play.nodes.restart(backup, 2));
        let again: &[&str] = &[
            "add bak:S(0,5,1)=STORED",
            "set bak:S(0,3600,191)=STORED",
            "set bak:validity:S(0,1800,20)=STORED",
        ];
        play.causes(0, GET, [READ[0], again]);
        play.causes(1, GET, READ);
    });
}

#[test]
fn without_any_node() {
    both(|kind| {
        let Some(mut play) = Play::start(kind, Mode::Msm, |_| {}) else {
            return;
        };
        create(&mut play);
        play.kill(0);
        play.kill(1);
        assert_eq!(play.causes(1, GET, NOTHING).body, "no session");
        play.causes(0, "/jsp/", NOTHING);
        assert!(!play.browser.id().contains('-'), "{}", play.browser.id());
    });
}

#[test]
fn sticky_sessions_with_their_servers_and_nodes() {
    both(|kind| {
        let failover = |msm: &mut MsmSettings| {
            msm.sticky = true;
            msm.failover_nodes = "n1".into();
        };
        let Some(mut play) = Play::start(kind, Mode::MsmSticky, failover) else {
            return;
        };
        play.causes(0, "/jsp/", [&["set S(0,1794,187)=STORED"], &[]]);
        assert_eq!(play.primary, 1, "n1 is for failover");
        play.causes(0, GET, NOTHING);
        play.causes(0, "/jsp/", NOTHING);
        play.causes(0, SET, [&["set S(0,1794,196)=STORED"], &[]]);
        play.causes(0, "/jsp/x.png", NOTHING);

        // Its server dies: the other takes the copy over, with its own route.
        let dead = play.servers.remove(0);
        dead.stop();
        dead.join();
        let taken: &[&str] = &[
            "get S=hit",
            "delete S=DELETED",
            "set X-n2.WEB2(0,1794,196)=STORED",
        ];
        assert_eq!(play.causes(0, GET, [taken, &[]]).body, "MeXP");
        play.follow();
        play.causes(0, GET, NOTHING);

        // Its node dies: the failover node gets the copy, also when nothing changed.
        play.kill(1);
        let moved: &[&str] = &["set X-n1.WEB2(0,1794,196)=STORED"];
        play.causes(0, GET, [&[], moved]);
        play.follow();
        play.causes(0, GET, NOTHING);
        play.causes(0, "/jsp/api/logout", [&["delete S=DELETED"], &[]]);
    });
}
