//! What a message to the members costs: `cargo bench -p appserver --bench tribes`. Over the loopback interface, with all nodes on one thread.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use appserver::Clock;
use appserver::tribes::channel::{Applied, Channel, Delivery, Incoming, Listener, bind};
use appserver::tribes::encrypt::{Algorithm, Cipher, IV_MAX};
use appserver::tribes::frame::{Head, parse};
use appserver::tribes::member::{Member, MemberId};
use appserver::tribes::options::SendOptions;
use appserver::tribes::settings::{ClusterSettings, ReceiverAddress};
use divan::Bencher;
use divan::counter::ItemsCount;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// A delta with one short string.
const MESSAGE: [u8; 700] = [7; 700];

const SYNC: SendOptions = SendOptions::USE_ACK.with(SendOptions::SYNC_ACK);

const LIMIT: Duration = Duration::from_secs(10);

/// Messages in one measured turn, of which so many are under way at a time.
const MESSAGES: usize = 3200;
const CLIENTS: usize = 32;

fn member() -> Member {
    Member::native(MemberId([1; 16]), ([127, 0, 0, 1], 4000).into(), "")
}

fn frame(sender: &[u8]) -> Vec<u8> {
    let head = Head {
        options: SYNC,
        timestamp: 1,
        id: [2; 16],
        sender,
    };
    let mut out = Vec::with_capacity(1024);
    head.write(&mut out, |out| out.extend_from_slice(&MESSAGE));
    out
}

#[divan::bench]
fn write_frame(bencher: Bencher<'_, '_>) {
    let sender = member().package();
    bencher.bench(|| frame(&sender));
}

#[divan::bench]
fn read_frame(bencher: Bencher<'_, '_>) {
    let frame = frame(&member().package());
    bencher.bench(|| parse(&frame, 1 << 20).map(|_| ()));
}

const ALGORITHMS: [&str; 2] = ["AES/GCM/NoPadding", "AES/CBC/PKCS5Padding"];

fn cipher(algorithm: &str) -> Cipher {
    let algorithm = Algorithm::from_name(algorithm).expect("it is built");
    Cipher::new(algorithm, &[3; 16], true).expect("16 bytes")
}

#[divan::bench(args = ALGORITHMS)]
fn encrypt(bencher: Bencher<'_, '_>, algorithm: &str) {
    let cipher = cipher(algorithm);
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        cipher.encrypt([4; IV_MAX], 5, &MESSAGE, &mut out);
        out.len()
    });
}

#[divan::bench(args = ALGORITHMS)]
fn decrypt(bencher: Bencher<'_, '_>, algorithm: &str) {
    let cipher = cipher(algorithm);
    let (mut sent, mut work) = (Vec::new(), Vec::new());
    cipher.encrypt([4; IV_MAX], 5, &MESSAGE, &mut sent);
    bencher.bench_local(|| {
        let opened = cipher
            .decrypt(&sent, &mut work)
            .expect("what was encrypted");
        opened.message.len()
    });
}

struct Applies;

impl Listener for Applies {
    fn message(&self, _: &Member, message: Incoming<'_>) -> Applied {
        divan::black_box(message.bytes);
        Applied::Done
    }

    fn added(&self, _: &Member) {}

    fn removed(&self, _: &Member) {}
}

async fn node(key: &str) -> Channel {
    let mut settings = ClusterSettings {
        encryption_key: key.into(),
        ..ClusterSettings::default()
    };
    settings.membership.bind = "127.0.0.1".into();
    settings.membership.address = Ipv4Addr::new(239, 255, 7, 7).into();
    settings.membership.frequency = 100;
    settings.receiver.address = ReceiverAddress::Address(Ipv4Addr::LOCALHOST.into());
    settings.receiver.port = 0;
    let bound = bind(&settings).expect("a free port");
    Channel::start(&settings, bound, Clock::system(), Arc::new(Applies))
        .await
        .expect("a channel")
}

/// Nodes that know each other.
fn nodes(runtime: &Runtime, count: usize, key: &str) -> Vec<Channel> {
    runtime.block_on(async {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(node(key).await);
        }
        while nodes.iter().any(|node| node.members().len() + 1 < count) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        nodes
    })
}

fn send_all(bencher: Bencher<'_, '_>, count: usize, key: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let nodes = nodes(&runtime, count, key);
    let all: Arc<[MemberId]> = nodes[0].members().iter().map(|member| member.id).collect();
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let clients = (0..CLIENTS).map(|_| {
            let (channel, all) = (nodes[0].clone(), Arc::clone(&all));
            runtime.spawn(async move {
                for _ in 0..MESSAGES / CLIENTS {
                    let deliveries = channel.send_all(&all, &MESSAGE, SYNC, LIMIT).await;
                    assert!(deliveries.iter().all(|d| *d == Delivery::Acked));
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        runtime.block_on(async {
            for client in clients {
                client.await.expect("it ends");
            }
        });
    });
    runtime.block_on(async {
        for node in nodes {
            node.stop().await;
        }
    });
}

/// To one or more others, which have applied it.
#[divan::bench(args = [1, 2, 3], sample_count = 10, sample_size = 1)]
fn send_all_and_wait(bencher: Bencher<'_, '_>, others: usize) {
    send_all(bencher, others + 1, "");
}

/// The same with a shared key.
#[divan::bench(args = [1], sample_count = 10, sample_size = 1)]
fn send_all_encrypted(bencher: Bencher<'_, '_>, others: usize) {
    send_all(bencher, others + 1, "000102030405060708090a0b0c0d0e0f");
}
