//! Replays recorded traffic of a real msm (`msm/traces.txt`): the same requests, on a [`Stage`] of tables or of sockets, give the
//! same commands with the same answers, keys, exptimes and sizes, and the application sees the same attributes.

use std::collections::{BTreeMap, HashMap};

use appserver::manager::msm::attributes;
use appserver::manager::msm::pattern::RequestLine;
use appserver::manager::msm::protocol::{Ending, Held, NonSticky, Outcome, Sticky, World};
use appserver::manager::msm::settings::MsmSettings;
use appserver::session::AskedId;
use appserver::session::attributes::Attributes;
use serde_json::{Value as Json, json};

/// Where a scenario is played: nodes that are recorded, and a clock.
pub(crate) trait Stage {
    type World: World + Clone;
    /// What a server of this name sees of it.
    fn world(&mut self, server: &str) -> Self::World;
    /// The next session that may go to any node goes to this one.
    fn choose(&mut self, node: usize);
    /// The clock goes on, also for the nodes' items.
    fn wait(&mut self, millis: u64);
    /// A node ends, with all that it has.
    async fn kill(&mut self, node: usize);
    /// It is there again, empty, and the servers know it.
    async fn start(&mut self, node: usize);
    /// What each node was sent since the last call, without questions whether it is up.
    fn take_log(&mut self) -> Vec<Vec<String>>;
}

/// One server with the pages of the recorded application.
pub(crate) enum Server<W> {
    NonSticky {
        exchange: Box<NonSticky<W>>,
        /// Whether something before the application asks for the session of every request.
        asks_always: bool,
    },
    Sticky {
        exchange: Box<Sticky<W>>,
        sessions: HashMap<String, (Held, Attributes)>,
    },
}

/// What a request left behind: the id in the cookie, if one was set, and the attributes, if the application had a session.
type Seen = (Option<String>, Option<BTreeMap<String, String>>);

impl<W: World + Clone> Server<W> {
    pub(crate) fn new(name: &str, config: &Json, world: &W, scenario: &str) -> Self {
        let mut config = config.as_object().expect("an object").clone();
        let own = config.remove(&name.replace('-', "_"));
        for other in ["tomcat_a", "tomcat_b", "maxInactiveInterval"] {
            config.remove(other);
        }
        if let Some(own) = own {
            config.extend(own.as_object().expect("an object").clone());
        }
        let route = config.remove("jvmRoute");
        let route = route.as_ref().and_then(Json::as_str).unwrap_or_default();
        for value in config.values_mut() {
            match value.as_str() {
                Some("true") => *value = json!(true),
                Some("false") => *value = json!(false),
                _ => {}
            }
        }
        let nodes = match config.get("memcachedNodes") {
            Some(_) => "n1:a:1,n2:b:1,n3:c:1",
            None => "n1:a:1,n2:b:1",
        };
        config.insert("memcachedNodes".into(), json!(nodes));
        config.insert("behaviour".into(), json!("msm"));
        // Where the recorded msm was not told, it used its own defaults, not the article's.
        config.entry("lockingMode").or_insert(json!("none"));
        config.entry("requestUriIgnorePattern").or_insert(json!(""));
        let settings: MsmSettings = serde_json::from_value(config.into()).expect("settings");
        settings
            .check("localhost", &["/jsp".into()], route)
            .expect("valid");
        let prefix = settings.storage_key_prefix.prefix("localhost", "/jsp");
        if settings.sticky {
            Self::Sticky {
                exchange: Sticky::new(settings, prefix, route, world.clone())
                    .expect("valid")
                    .into(),
                sessions: HashMap::new(),
            }
        } else {
            Self::NonSticky {
                exchange: NonSticky::new(settings, prefix, route, world.clone())
                    .expect("valid")
                    .into(),
                asks_always: !scenario.contains("no-authenticator"),
            }
        }
    }

    async fn serve(&mut self, uri: &str, sent: Option<&str>, config: &Json) -> Seen {
        let (path, query) = match uri.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (uri, None),
        };
        let request = RequestLine {
            method: "GET",
            path,
            query,
            context: "/jsp",
        };
        let page = Page::of(path, query.unwrap_or_default());
        let interval = config["maxInactiveInterval"].as_str();
        let interval = interval.map_or(1800, |seconds| seconds.parse().expect("seconds"));
        let filter = config["sessionAttributeFilter"].is_string();
        let stored = |name: &str| !filter || name == "user" || name == "n";
        let encode = |a: &Attributes| attributes::encode(a, stored).expect("plain");
        let asked = sent.and_then(|id| AskedId::parse(id.as_bytes()));
        match self {
            Self::NonSticky {
                exchange,
                asks_always,
            } => {
                if page.unused && !*asks_always {
                    exchange.unused(&asked.expect("an id"), &request).await;
                    return (None, None);
                }
                let mut found = match &asked {
                    Some(asked) => exchange.find(asked, &request).await,
                    None => None,
                };
                if found.is_none() && page.creates {
                    found = Some(exchange.create(interval).await);
                }
                let Some(mut held) = found else {
                    return (None, None);
                };
                if page.log_out {
                    exchange.remove(&held).await;
                    return (None, None);
                }
                let mut all = Attributes::new();
                if !held.is_new {
                    all = attributes::decode(held.attributes()).expect("stored by us");
                }
                page.act(&mut all, &mut held);
                if page.changes_id {
                    exchange.change_id(&mut held).await;
                }
                held.validity.last_accessed = held.validity.this_accessed;
                held.validity.this_accessed = exchange.world().now();
                let bytes = encode(&all);
                let ending = Ending {
                    attributes: (held.is_new || page.accesses).then_some(&bytes[..]),
                };
                let id = held.id.to_string();
                if let Some(copies) = exchange.end(&mut held, ending, &request).await {
                    exchange.copy(&mut held, copies).await;
                }
                let cookie = (sent != Some(&id)).then_some(id);
                (cookie, page.accesses.then(|| shown(&all)))
            }
            Self::Sticky { exchange, sessions } => {
                let key = asked.map(|asked| asked.key.to_string()).unwrap_or_default();
                let mut found = sessions.remove(&key);
                match (&mut found, &asked) {
                    (Some((held, _)), _) => exchange.begin(held).await,
                    (None, Some(asked)) => {
                        found = exchange.take_over(asked).await.map(|held| {
                            let all = attributes::decode(held.attributes()).expect("stored by us");
                            (held, all)
                        });
                    }
                    (None, None) => {}
                }
                if found.is_none() && page.creates {
                    found = Some((exchange.create(interval).await, Attributes::new()));
                }
                let Some((mut held, mut all)) = found else {
                    return (None, None);
                };
                if page.log_out {
                    exchange.remove(&held).await;
                    return (None, None);
                }
                let is_new = held.is_new && sent.is_none();
                page.act(&mut all, &mut held);
                if page.changes_id {
                    exchange.change_id(&mut held).await;
                }
                held.validity.this_accessed = exchange.world().now();
                let bytes = encode(&all);
                let ending = Ending {
                    attributes: (is_new || page.accesses).then_some(&bytes[..]),
                };
                let _: Outcome = exchange.end(&mut held, ending, &request).await;
                let id = held.id.to_string();
                let seen = shown(&all);
                sessions.insert(held.id.key.to_string(), (held, all));
                let cookie = (sent != Some(&id)).then_some(id);
                (cookie, page.accesses.then_some(seen))
            }
        }
    }
}

/// What a page of the recorded application does.
#[derive(Debug, Default)]
struct Page {
    unused: bool,
    creates: bool,
    accesses: bool,
    log_out: bool,
    changes_id: bool,
    counts: bool,
    sets: Option<(String, String)>,
    interval: Option<i32>,
}

impl Page {
    fn of(path: &str, query: &str) -> Self {
        let parameter = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name));
            value.unwrap_or_default().to_owned()
        };
        let page = path.strip_prefix("/jsp/").expect("in the context");
        let writes = Self {
            creates: true,
            accesses: true,
            ..Self::default()
        };
        match page {
            "" => Self {
                sets: Some(("Blog".into(), "MeXP".into())),
                ..writes
            },
            "write" | "path1" => Self {
                counts: true,
                ..writes
            },
            "set" => Self {
                sets: Some((parameter("k="), parameter("v="))),
                ..writes
            },
            "get" => Self {
                accesses: true,
                ..Self::default()
            },
            "touch" => Self::default(),
            "nosession" | "static/x.png" => Self {
                unused: true,
                ..Self::default()
            },
            "timeout" => Self {
                creates: true,
                interval: Some(parameter("s=").parse().expect("seconds")),
                ..Self::default()
            },
            "logout" => Self {
                log_out: true,
                ..Self::default()
            },
            "changeid-old" => Self {
                changes_id: true,
                ..Self::default()
            },
            _ if page.ends_with(".png") => Self {
                creates: query != "create=0",
                accesses: true,
                counts: true,
                ..Self::default()
            },
            _ => panic!("page {page}"),
        }
    }

    fn act(&self, all: &mut Attributes, held: &mut Held) {
        if self.counts {
            let count = all
                .get_str("n")
                .map_or(0, |n| n[1..].parse().expect("v and a number"));
            all.set_str("n", &format!("v{}", count + 1)).expect("short");
        }
        if let Some((name, value)) = &self.sets {
            all.set_str(name, value).expect("short");
        }
        if let Some(interval) = self.interval {
            held.validity.interval = interval;
        }
    }
}

fn shown(all: &Attributes) -> BTreeMap<String, String> {
    all.iter()
        .map(|(n, v)| (n.to_owned(), v.to_string()))
        .collect()
}

/// `S1` to digits and back.
#[derive(Default)]
struct Labels(Vec<(String, String)>);

impl Labels {
    fn id(&self, labelled: &str) -> String {
        let (label, rest) = labelled.split_at(2);
        let known = self.0.iter().find(|(l, _)| l == label);
        known
            .map(|(_, digits)| format!("{digits}{rest}"))
            .expect(labelled)
    }

    fn labelled(&self, text: &str) -> String {
        let each = |text: String, (label, digits): &(String, String)| text.replace(digits, label);
        self.0.iter().fold(text.to_owned(), each)
    }
}

#[derive(Debug)]
pub(crate) struct Step {
    line: &'static str,
    /// Node and commands.
    sent: Vec<(usize, Vec<String>)>,
}

/// Name, settings and steps of each scenario.
pub(crate) fn scenarios() -> Vec<(&'static str, Json, Vec<Step>)> {
    let mut scenarios = Vec::new();
    for line in include_str!("../msm/traces.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        if let Some(scenario) = line.strip_prefix("SCENARIO ") {
            let (name, config) = scenario.split_once(' ').expect("name and settings");
            let config = serde_json::from_str(config).expect("JSON");
            scenarios.push((name, config, Vec::new()));
            continue;
        }
        let steps: &mut Vec<Step> = &mut scenarios.last_mut().expect("a scenario").2;
        match line.strip_prefix("  ") {
            None => steps.push(Step {
                line,
                sent: Vec::new(),
            }),
            Some(commands) => {
                let (node, commands) = commands.split_once(' ').expect("node and commands");
                let commands = commands.split("; ").map(str::to_owned).collect();
                let step = steps.last_mut().expect("a step");
                step.sent.push((place(node), commands));
            }
        }
    }
    scenarios
}

/// How many nodes a scenario has.
pub(crate) fn nodes_of(name: &str) -> usize {
    if name.contains("three") { 3 } else { 2 }
}

fn place(node: &str) -> usize {
    node[1..].parse::<usize>().expect("n and a number") - 1
}

/// Plays a scenario; how many requests it had.
pub(crate) async fn replay<S: Stage>(
    stage: &mut S,
    name: &str,
    config: &Json,
    steps: &[Step],
) -> usize {
    let count = nodes_of(name);
    let mut servers = HashMap::new();
    let mut labels = Labels(vec![("S0".into(), "0".repeat(32))]);
    let mut requests = 0;
    for step in steps {
        let at = format!("{name}: {}", step.line);
        let words: Vec<&str> = step.line.split(' ').collect();
        match words[..] {
            ["KILL", node] => stage.kill(place(node)).await,
            ["START", node] => stage.start(place(node)).await,
            ["WAIT", seconds] => stage.wait(seconds.parse::<u64>().expect("seconds") * 1000),
            ["DIE", server] => drop(servers.remove(server)),
            ["GET", uri, sent, server, set, "|", ref seen @ ..] => {
                requests += 1;
                // Longer than an opinion about a node and the memory of missing ids hold, where sessions live that long.
                stage.wait(if name == "nonsticky-expiry" {
                    600
                } else {
                    2000
                });
                if let Some((_, node)) = set.split_once("-n") {
                    let node = node.split('.').next().expect("a node");
                    stage.choose(node.parse::<usize>().expect("a number") - 1);
                }
                let server = servers
                    .entry(server)
                    .or_insert_with(|| Server::new(server, config, &stage.world(server), name));
                let sent = (sent != "-").then(|| labels.id(sent));
                let (cookie, attributes) = server.serve(uri, sent.as_deref(), config).await;
                if let Some(id) = &cookie
                    && !labels.0.iter().any(|(label, _)| set.starts_with(label))
                {
                    labels.0.push((set[..2].to_owned(), id[..32].to_owned()));
                }
                let cookie = cookie.map_or("-".into(), |id| labels.labelled(&id));
                assert_eq!(cookie, set, "{at}");
                let recorded = seen.join(" ");
                if let Some((_, list)) = recorded.split_once("attrs={") {
                    let pairs = list
                        .trim_end_matches('}')
                        .split(", ")
                        .filter(|p| !p.is_empty());
                    let pair = |pair: &str| {
                        let (name, value) = pair.split_once('=').expect("name and value");
                        (name.to_owned(), value.to_owned())
                    };
                    assert_eq!(attributes, Some(pairs.map(pair).collect()), "{at}");
                }
                let mut expected = vec![Vec::new(); count];
                for (node, commands) in &step.sent {
                    expected[*node].extend(commands.iter().cloned());
                }
                let sent = stage.take_log();
                let sent: Vec<Vec<String>> = sent
                    .iter()
                    .map(|log| log.iter().map(|told| labels.labelled(told)).collect())
                    .collect();
                assert_eq!(sent, expected, "{at}");
            }
            _ => panic!("{at}"),
        }
    }
    requests
}
