//! What the nodes cost, over loopback, with our store in this process on a thread of its own: `cargo bench -p appserver --bench
//! store`. Which client is faster, and what it saves to send commands together.

use std::net::SocketAddr;
use std::sync::Arc;

use appserver::Clock;
use appserver::manager::msm::client::Client;
use appserver::manager::msm::client::memcache_crate::MetaClient;
use appserver::manager::msm::protocol::{Answer, Command, Verb, World};
use appserver::manager::msm::settings::{MemcachedProtocol, MsmSettings};
use divan::Bencher;
use tokio::runtime::Runtime;

/// Bytes of the value that is read: a small session's record.
const VALUE: usize = 400;

/// Milliseconds that a command may take.
const LIMIT: u32 = 10_000;

fn main() {
    divan::main();
}

fn store() -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = sessiond::Config {
        listen: any.into(),
        admin: String::new(),
        threads: 1,
        ..sessiond::Config::default()
    };
    let listeners = sessiond::bind(&config).expect("a free port");
    let address = listeners.clients[0].address().expect("TCP");
    std::thread::spawn(move || {
        let served = runtime().block_on(sessiond::serve(
            listeners,
            config,
            std::future::pending::<()>(),
        ));
        served.expect("it serves");
    });
    address
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn settings(protocol: MemcachedProtocol) -> MsmSettings {
    MsmSettings {
        memcached_nodes: format!("n1:{}", store()).parse().expect("a node"),
        memcached_protocol: protocol,
        ..MsmSettings::default()
    }
}

fn text() -> Client {
    Client::new(&settings(MemcachedProtocol::Text), Clock::system())
}

fn binary() -> Client {
    Client::new(&settings(MemcachedProtocol::Binary), Clock::system())
}

fn memcache_crate() -> MetaClient {
    let settings = settings(MemcachedProtocol::Text);
    MetaClient::new(&settings.memcached_nodes, Clock::system())
}

fn get() -> Command {
    Command {
        verb: Verb::Get,
        key: "305E1D6617776A0C392344607A175FF8-n1".into(),
    }
}

/// A client whose node has the value.
fn ready<W: World>(runtime: &Runtime, client: W) -> Arc<W> {
    let set = Command {
        verb: Verb::Set(0, vec![7; VALUE]),
        ..get()
    };
    let stored = runtime.block_on(client.call(0, set, LIMIT));
    assert_eq!(stored, Answer::Done);
    Arc::new(client)
}

/// So many gets, one after the other.
fn one_by_one<W: World>(bencher: Bencher<'_, '_>, client: W, count: usize) {
    let runtime = runtime();
    let client = ready(&runtime, client);
    bencher.bench_local(|| {
        runtime.block_on(async {
            for _ in 0..count {
                divan::black_box(client.call(0, get(), LIMIT).await);
            }
        });
    });
}

/// So many gets in one batch.
fn together<W: World>(bencher: Bencher<'_, '_>, client: W, count: usize) {
    let runtime = runtime();
    let client = ready(&runtime, client);
    bencher.bench_local(|| runtime.block_on(client.batch(0, vec![get(); count], LIMIT)));
}

/// A hundred requests at once, each with one get.
fn hundred<W: World + 'static>(bencher: Bencher<'_, '_>, client: W) {
    let runtime = runtime();
    let client = ready(&runtime, client);
    bencher.bench_local(|| {
        runtime.block_on(async {
            let mut requests = tokio::task::JoinSet::new();
            for _ in 0..100 {
                let client = Arc::clone(&client);
                requests.spawn(async move { client.call(0, get(), LIMIT).await });
            }
            requests.join_all().await
        })
    });
}

mod calls {
    use divan::Bencher;

    #[divan::bench(args = [1, 2, 4])]
    fn text(bencher: Bencher<'_, '_>, count: usize) {
        super::one_by_one(bencher, super::text(), count);
    }

    #[divan::bench(args = [1, 2, 4])]
    fn binary(bencher: Bencher<'_, '_>, count: usize) {
        super::one_by_one(bencher, super::binary(), count);
    }

    #[divan::bench(args = [1, 2, 4])]
    fn memcache_crate(bencher: Bencher<'_, '_>, count: usize) {
        super::one_by_one(bencher, super::memcache_crate(), count);
    }
}

mod batch {
    use divan::Bencher;

    #[divan::bench(args = [2, 4])]
    fn text(bencher: Bencher<'_, '_>, count: usize) {
        super::together(bencher, super::text(), count);
    }

    #[divan::bench(args = [2, 4])]
    fn binary(bencher: Bencher<'_, '_>, count: usize) {
        super::together(bencher, super::binary(), count);
    }

    #[divan::bench(args = [2, 4])]
    fn memcache_crate(bencher: Bencher<'_, '_>, count: usize) {
        super::together(bencher, super::memcache_crate(), count);
    }
}

mod hundred_at_once {
    use divan::Bencher;

    #[divan::bench]
    fn text(bencher: Bencher<'_, '_>) {
        super::hundred(bencher, super::text());
    }

    #[divan::bench]
    fn binary(bencher: Bencher<'_, '_>) {
        super::hundred(bencher, super::binary());
    }

    #[divan::bench]
    fn memcache_crate(bencher: Bencher<'_, '_>) {
        super::hundred(bencher, super::memcache_crate());
    }
}
