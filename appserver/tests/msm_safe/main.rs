//! Where msm loses a session, a change or a log out, and the safe behaviour does not: each case with both, on nodes that are
//! tables.

mod copies;
mod ids;
mod locks;
mod nodes;
mod sticky;
mod together;
#[path = "../support/world.rs"]
mod world;
use appserver::manager::msm::attributes;
use appserver::manager::msm::pattern::{Pattern, RequestLine};
use appserver::manager::msm::prefix::KeyPrefix;
use appserver::manager::msm::protocol::safe::{Change, Trouble};
use appserver::manager::msm::protocol::{
    Ending, Held, NonSticky, Outcome, Safe, Sticky, World as _,
};
use appserver::manager::msm::settings::{Behaviour, LockOnTimeout, LockingMode, MsmSettings};
use appserver::manager::{Manager, ManagerError};
use appserver::session::AskedId;
use appserver::session::attributes::Attributes;
use appserver::{MsmConfig, MsmManager};
use std::time::Duration;
use world::{Mood, Shared, breath, counted, run};

const PAGE: RequestLine<'static> = RequestLine {
    method: "GET",
    path: "/jsp/page",
    query: None,
    context: "/jsp",
};

const IMAGE: RequestLine<'static> = RequestLine {
    path: "/jsp/x.png",
    ..PAGE
};

/// A server of either behaviour; what they cannot do in the same words is told apart here only.
enum Server {
    Msm(Box<NonSticky<Shared>>),
    Safe(Box<Safe<Shared>>),
}

fn settings(nodes: usize, set: impl FnOnce(&mut MsmSettings)) -> MsmSettings {
    let nodes: Vec<String> = (1..=nodes).map(|n| format!("n{n}:host{n}:11211")).collect();
    let mut settings = MsmSettings {
        memcached_nodes: nodes.join(",").parse().expect("nodes"),
        locking_mode: LockingMode::Merge,
        ..MsmSettings::default()
    };
    set(&mut settings);
    settings
}

fn safe(world: &Shared, set: impl FnOnce(&mut MsmSettings)) -> Box<Safe<Shared>> {
    let settings = settings(world.tables().nodes.len(), set);
    settings
        .check("localhost", &["/jsp".into()], "")
        .expect("valid");
    let exchange = Safe::new(settings, KeyPrefix::default(), "", world.clone());
    exchange.expect("valid").into()
}

fn msm(world: &Shared) -> Box<NonSticky<Shared>> {
    let settings = settings(world.tables().nodes.len(), |settings| {
        settings.behaviour = Behaviour::Msm;
        settings.locking_mode = LockingMode::None;
    });
    let exchange = NonSticky::new(settings, KeyPrefix::default(), "", world.clone());
    exchange.expect("valid").into()
}

/// A server of each behaviour, each with nodes of its own.
fn both(nodes: usize) -> [(Shared, Server); 2] {
    let worlds = [Shared::new(nodes), Shared::new(nodes)];
    let [one, two] = &worlds;
    let servers = [Server::Msm(msm(one)), Server::Safe(safe(two, |_| {}))];
    let [one, two] = worlds;
    let [msm, safe] = servers;
    [(one, msm), (two, safe)]
}

impl Server {
    /// Another server of the same nodes and behaviour.
    fn twin(&self, world: &Shared) -> Self {
        match self {
            Self::Msm(_) => Self::Msm(msm(world)),
            Self::Safe(_) => Self::Safe(safe(world, |_| {})),
        }
    }

    fn is_safe(&self) -> bool {
        matches!(self, Self::Safe(_))
    }

    async fn create(&self) -> Held {
        match self {
            Self::Msm(server) => server.create(1800).await,
            Self::Safe(server) => server.create(1800),
        }
    }

    async fn find(&self, id: &str) -> Result<Option<Held>, Trouble> {
        let asked = AskedId::parse(id.as_bytes()).expect("an id");
        match self {
            Self::Msm(server) => Ok(server.find(&asked, &PAGE).await),
            Self::Safe(server) => server.find(&asked, &PAGE).await,
        }
    }

    /// The request is over, and set these.
    async fn end(&self, held: &mut Held, set: &[(&str, &str)]) -> Result<(), Trouble> {
        match self {
            Self::Msm(server) => {
                used(held, server.world());
                let changed = with(held, set);
                let ending = Ending {
                    attributes: changed.as_deref(),
                };
                if let Some(copies) = server.end(held, ending, &PAGE).await {
                    server.copy(held, copies).await;
                }
                Ok(())
            }
            Self::Safe(server) => end(server, held, set, &PAGE).await.map(drop),
        }
    }

    async fn remove(&self, held: &mut Held) -> Result<(), Trouble> {
        match self {
            Self::Msm(server) => {
                server.remove(held).await;
                Ok(())
            }
            Self::Safe(server) => server.remove(held).await,
        }
    }

    /// A session whose `k` is `value`, on both nodes, its own n1.
    async fn made(&self, value: &str) -> String {
        loop {
            let mut held = self.create().await;
            if held.id.suffix.node() == Some("n1") {
                self.end(&mut held, &[("k", value)])
                    .await
                    .expect("all nodes are well");
                return held.id.to_string();
            }
        }
    }

    /// The attribute of the session, as a request sees it that changes nothing.
    async fn value(&self, id: &str, name: &str) -> Result<Option<String>, Trouble> {
        let Some(mut held) = self.find(id).await? else {
            return Ok(None);
        };
        let value = value_in(&held, name);
        self.end(&mut held, &[]).await?;
        Ok(value)
    }
}

/// The encoded attributes after setting these; `None` without any.
fn with(held: &Held, set: &[(&str, &str)]) -> Option<Vec<u8>> {
    let mut all = Attributes::new();
    if !held.attributes().is_empty() {
        all = attributes::decode(held.attributes()).expect("stored by us");
    }
    for (name, value) in set {
        all.set_str(name, value).expect("small");
    }
    let encoded = attributes::encode(&all, |_| true).expect("plain");
    (!set.is_empty() || held.is_new).then_some(encoded)
}

async fn end(
    server: &Safe<Shared>,
    held: &mut Held,
    set: &[(&str, &str)],
    request: &RequestLine<'_>,
) -> Result<Outcome, Trouble> {
    used(held, server.world());
    let changed = with(held, set);
    let names: Vec<String> = set.iter().map(|(name, _)| (*name).to_owned()).collect();
    let change = Change {
        attributes: changed.as_deref(),
        names: &names,
        last: true,
    };
    server.end(held, change, request).await
}

/// A request of the session ends.
fn used(held: &mut Held, world: &Shared) {
    held.validity.last_accessed = world.now();
    held.validity.this_accessed = world.now();
}

fn value_in(held: &Held, name: &str) -> Option<String> {
    let all = attributes::decode(held.attributes()).expect("stored by us");
    all.get(name).map(|value| value.to_string())
}

fn text(value: &str) -> Result<Option<String>, Trouble> {
    Ok(Some(value.to_owned()))
}

/// Several requests at the same time, polled in an order that the seed decides.
fn together<T>(seed: u64, each: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut each: Vec<_> = each
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while each.iter().any(|(_, output)| output.is_none()) {
        for (future, output) in &mut each {
            if output.is_none()
                && random.bool()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(&mut context)
            {
                *output = Some(ready);
            }
        }
    }
    each.into_iter().filter_map(|(_, output)| output).collect()
}
