//! The clients of the nodes: one suite for ours, over the text and the binary protocol, and the `memcache` crate's, on our store
//! and on the real memcached. Nodes that hang, die, come back or talk nonsense; logins.

#[allow(dead_code, reason = "the nodes are what is needed")]
#[path = "support/store.rs"]
mod store;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use appserver::Clock;
use appserver::manager::Manager;
use appserver::manager::msm::client::Client;
use appserver::manager::msm::client::memcache_crate::MetaClient;
use appserver::manager::msm::pattern::RequestLine;
use appserver::manager::msm::protocol::{Answer, Command, Verb, World};
use appserver::manager::msm::settings::{MemcachedProtocol, MsmSettings, Secret};
use appserver::session::{AskedId, Timestamp};
use appserver::{MsmConfig, MsmManager};
use store::{Kind, LOGIN, Store};

/// The longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Milliseconds that a command may take which must be answered.
const LONG: u32 = 20_000;

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn settings(nodes: &[SocketAddr], protocol: MemcachedProtocol) -> MsmSettings {
    let nodes: Vec<String> = nodes
        .iter()
        .zip(1..)
        .map(|(address, number)| format!("n{number}:{address}"))
        .collect();
    MsmSettings {
        memcached_nodes: nodes.join(",").parse().expect("nodes"),
        memcached_protocol: protocol,
        ..MsmSettings::default()
    }
}

fn text(nodes: &[SocketAddr]) -> Client {
    Client::new(&settings(nodes, MemcachedProtocol::Text), Clock::system())
}

fn binary(nodes: &[SocketAddr]) -> Client {
    Client::new(&settings(nodes, MemcachedProtocol::Binary), Clock::system())
}

fn memcache_crate(nodes: &[SocketAddr]) -> MetaClient {
    let settings = settings(nodes, MemcachedProtocol::Text);
    MetaClient::new(&settings.memcached_nodes, Clock::system())
}

fn command(verb: Verb, key: &str) -> Command {
    let key = key.into();
    Command { verb, key }
}

async fn get(client: &impl World, node: usize, key: &str, limit: u32) -> Answer {
    client.call(node, command(Verb::Get, key), limit).await
}

/// A node that does with each connection what it is told, on a thread of its own.
fn fake(serve: impl Fn(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            serve(number, stream.expect("accepted"));
        }
    });
    address
}

/// Answers each line with a miss until the client hangs up.
fn answer_misses(stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(_)) = lines.next() {
        if (&mut &*stream).write_all(b"END\r\n").is_err() {
            return;
        }
    }
}

/// The suite: each case with each client, on each store.
macro_rules! suite {
    ($($case:ident)*) => {
        suite!(@with text; $($case)*);
        suite!(@with binary; $($case)*);
        suite!(@with memcache_crate; $($case)*);
    };
    (@with $client:ident; $($case:ident)*) => {
        mod $client {
            $(
                #[tokio::test]
                async fn $case() {
                    for kind in [super::Kind::Sessiond, super::Kind::Memcached] {
                        if let Some(node) = super::Store::start(kind) {
                            super::$case(super::$client, &node).await;
                        }
                    }
                }
            )*
        }
    };
}

suite! {
    each_verb_does_what_it_says
    a_batch_has_an_answer_for_each_command_in_their_order
    a_thousand_requests_at_once_get_their_own_answers
    a_node_that_hangs_costs_its_own_requests_one_bounded_wait
    nobody_at_the_address_fails_soon
    a_node_that_comes_back_is_used_again
}

async fn each_verb_does_what_it_says<W: World>(make: fn(&[SocketAddr]) -> W, node: &Store) {
    let client = make(&[node.address]);
    let value = b"a\r\nEND\r\nb".to_vec();
    for (verb, answer) in [
        (Verb::Get, Answer::Miss),
        (Verb::Gets, Answer::Miss),
        (Verb::Delete, Answer::Miss),
        (Verb::Touch(10), Answer::Miss),
        (Verb::Replace(10, vec![1]), Answer::NotStored),
        (Verb::Cas(10, vec![1], 1), Answer::Miss),
        (Verb::Add(10, vec![1]), Answer::Done),
        (Verb::Add(10, vec![2]), Answer::NotStored),
        (Verb::Set(0, value.clone()), Answer::Done),
        (Verb::Get, Answer::Hit(value)),
        (Verb::Replace(10, vec![4]), Answer::Done),
        (Verb::Get, Answer::Hit(vec![4])),
        (Verb::Touch(10), Answer::Done),
        (Verb::Touch(-1), Answer::Done),
        (Verb::Get, Answer::Miss),
        (Verb::Set(-1, vec![3]), Answer::Done),
        (Verb::Get, Answer::Miss),
        (Verb::Set(0, vec![0; 2 << 20]), Answer::TooLarge),
        (Verb::Set(0, Vec::new()), Answer::Done),
        (Verb::Get, Answer::Hit(Vec::new())),
        (Verb::Cas(0, vec![5], 0), Answer::Exists),
        (Verb::Get, Answer::Hit(Vec::new())),
        (Verb::Delete, Answer::Done),
    ] {
        let command = command(verb, "key");
        let what = format!("{command:?}").chars().take(80).collect::<String>();
        assert_eq!(client.call(0, command, LONG).await, answer, "{what}");
    }
    let set = command(Verb::Set(0, vec![1]), "key");
    assert_eq!(client.call(0, set, LONG).await, Answer::Done);
    let gets = command(Verb::Gets, "key");
    let Answer::HitCas(value, unique) = client.call(0, gets, LONG).await else {
        panic!("no unique");
    };
    assert_eq!(value, [1]);
    for (unique, answer) in [
        (unique + 1, Answer::Exists),
        (unique, Answer::Done),
        (unique, Answer::Exists),
    ] {
        let cas = command(Verb::Cas(0, vec![2], unique), "key");
        assert_eq!(client.call(0, cas, LONG).await, answer);
    }
    assert_eq!(get(&client, 0, "key", LONG).await, Answer::Hit(vec![2]));
}

async fn a_batch_has_an_answer_for_each_command_in_their_order<W: World>(
    make: fn(&[SocketAddr]) -> W,
    node: &Store,
) {
    let client = make(&[node.address]);
    assert_eq!(client.batch(0, Vec::new(), LONG).await, []);
    let commands = vec![
        command(Verb::Set(60, vec![1]), "a"),
        command(Verb::Get, "b"),
        command(Verb::Get, "a"),
        command(Verb::Add(60, vec![2]), "a"),
        command(Verb::Delete, "a"),
    ];
    let expected = [
        Answer::Done,
        Answer::Miss,
        Answer::Hit(vec![1]),
        Answer::NotStored,
        Answer::Done,
    ];
    assert_eq!(client.batch(0, commands, LONG).await, expected);

    // More than go together, and others between them.
    let many = |verb: fn(u8) -> Verb| {
        let commands = (0..50).map(|i| command(verb(i), &format!("many{i}")));
        commands.collect::<Vec<_>>()
    };
    let sets = client
        .batch(0, many(|i| Verb::Set(60, vec![i])), LONG)
        .await;
    assert_eq!(sets, vec![Answer::Done; 50]);
    let (gets, single, again) = tokio::join!(
        client.batch(0, many(|_| Verb::Get), LONG),
        get(&client, 0, "b", LONG),
        client.batch(0, many(|_| Verb::Get), LONG),
    );
    let values: Vec<Answer> = (0..50).map(|i| Answer::Hit(vec![i])).collect();
    assert_eq!(
        (gets, single, again),
        (values.clone(), Answer::Miss, values)
    );
}

async fn a_thousand_requests_at_once_get_their_own_answers<W: World + 'static>(
    make: fn(&[SocketAddr]) -> W,
    node: &Store,
) {
    let client = Arc::new(make(&[node.address]));
    let tasks: Vec<_> = (0..1000_usize)
        .map(|i| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let (key, value) = (format!("key{i}"), vec![i as u8; i * 7]);
                let set = command(Verb::Set(0, value.clone()), &key);
                assert_eq!(client.call(0, set, LONG).await, Answer::Done);
                assert_eq!(get(&*client, 0, &key, LONG).await, Answer::Hit(value));
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("its own answer");
    }
}

async fn a_node_that_hangs_costs_its_own_requests_one_bounded_wait<W: World>(
    make: fn(&[SocketAddr]) -> W,
    node: &Store,
) {
    // The kernel takes the connection and nobody reads it.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = make(&[hanging.local_addr().expect("bound"), node.address]);
    let start = Instant::now();
    let (hung, batch, answered) = tokio::join!(
        get(&client, 0, "k", 300),
        client.batch(0, vec![command(Verb::Get, "k"); 20], 300),
        async {
            for _ in 0..50 {
                assert_eq!(get(&client, 1, "k", LONG).await, Answer::Miss);
            }
            start.elapsed()
        }
    );
    assert_eq!(hung, Answer::Failed);
    assert_eq!(batch, vec![Answer::Failed; 20]);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(answered < PATIENCE, "the other node's answers do not wait");
}

async fn nobody_at_the_address_fails_soon<W: World>(make: fn(&[SocketAddr]) -> W, _: &Store) {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound")
    };
    let client = make(&[nobody]);
    let start = Instant::now();
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
    let batch = client.batch(0, vec![command(Verb::Get, "k"); 3], LONG);
    assert_eq!(batch.await, vec![Answer::Failed; 3]);
    assert!(start.elapsed() < Duration::from_secs(5));
}

async fn a_node_that_comes_back_is_used_again<W: World>(
    make: fn(&[SocketAddr]) -> W,
    node: &Store,
) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let target = node.address;
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            // Hangs up on the first, and joins the others with a node.
            if number > 0
                && let (Ok(client), Ok(node)) = (stream, TcpStream::connect(target))
            {
                join(client, node);
            }
        }
    });
    let client = make(&[address]);
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
    let start = Instant::now();
    while get(&client, 0, "k", LONG).await != Answer::Miss {
        assert!(start.elapsed() < PATIENCE, "never tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn join(client: TcpStream, node: TcpStream) {
    let pairs = [
        (client.try_clone(), node.try_clone()),
        (Ok(node), Ok(client)),
    ];
    for (from, to) in pairs {
        let (mut from, mut to) = (from.expect("a handle"), to.expect("a handle"));
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}

#[tokio::test]
async fn commands_of_a_thread_share_a_connection_and_are_counted() {
    let node = Store::sessiond();
    for make in [text, binary] {
        let client = make(&[node.address]);
        let gets = (0..100).map(|_| get(&client, 0, "k", LONG));
        let gets: Vec<_> = gets.collect();
        for get in gets {
            assert_eq!(get.await, Answer::Miss);
        }
        client
            .batch(0, vec![command(Verb::Get, "k"); 20], LONG)
            .await;
        let figures = &client.nodes()[0];
        assert_eq!(
            (figures.connections, figures.commands, figures.failed),
            (1, 120, 0)
        );
    }
}

#[tokio::test]
async fn both_protocols_know_the_same_items() {
    let node = Store::sessiond();
    let nodes = [node.address];
    let (text, binary, other) = (text(&nodes), binary(&nodes), memcache_crate(&nodes));
    let set = command(Verb::Set(0, vec![0, 13, 10]), "k");
    assert_eq!(binary.call(0, set, LONG).await, Answer::Done);
    for answer in [
        get(&text, 0, "k", LONG).await,
        get(&binary, 0, "k", LONG).await,
        get(&other, 0, "k", LONG).await,
    ] {
        assert_eq!(answer, Answer::Hit(vec![0, 13, 10]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_fails_what_is_under_way_and_comes_back() {
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    let address = fake(move |number, stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            // Reads one command and hangs up.
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            return;
        }
        answer_misses(&stream);
    });
    let client = text(&[address]);
    let start = Instant::now();
    let batch = client.batch(0, vec![command(Verb::Get, "k"); 3], LONG);
    assert_eq!(batch.await, vec![Answer::Failed; 3]);
    // Until it is tried again commands fail at once.
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
    assert!(start.elapsed() < Duration::from_secs(2), "no waiting");
    while get(&client, 0, "k", LONG).await == Answer::Failed {
        assert!(start.elapsed() < PATIENCE, "never tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert!(start.elapsed() >= Duration::from_millis(1900), "a pause");
    assert!(client.nodes()[0].failed >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_sessions_value_is_not_believed() {
    let lines = fake(|number, stream| {
        if number == 0 {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let _ = (&stream).write_all(b"VALUE other 0 1\r\nx\r\nEND\r\n");
            // Held open: it is the client that ends it.
            let _ = BufReader::new(&stream).read_line(&mut line);
        } else {
            answer_misses(&stream);
        }
    });
    let client = text(&[lines]);
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
    let start = Instant::now();
    while get(&client, 0, "k", LONG).await != Answer::Miss {
        assert!(start.elapsed() < PATIENCE, "never tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let packets = fake(|_, mut stream| {
        let mut asked = [0; 25];
        if stream.read_exact(&mut asked).is_ok() {
            // A hit whose number is that of no command.
            let mut answer = [0; 29];
            (answer[0], answer[4], answer[11], answer[15]) = (0x81, 4, 5, 99);
            let _ = stream.write_all(&answer);
            let _ = stream.read(&mut asked);
        }
    });
    let client = binary(&[packets]);
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
}

#[tokio::test]
async fn a_name_and_a_password_open_a_guarded_node_and_nothing_else_does() {
    for kind in [Kind::Sessiond, Kind::Memcached] {
        let Some(node) = Store::guarded(kind) else {
            continue;
        };
        for (name, password, enters) in [
            (LOGIN.0, LOGIN.1, true),
            (LOGIN.0, "wrong", false),
            ("nobody", LOGIN.1, false),
            ("", "", false),
        ] {
            let settings = MsmSettings {
                username: name.into(),
                password: Secret(password.into()),
                ..settings(&[node.address], MemcachedProtocol::Binary)
            };
            let client = Client::new(&settings, Clock::system());
            let set = command(Verb::Set(0, vec![1]), "k");
            let answer = client.call(0, set, LONG).await;
            let expected = if enters { Answer::Done } else { Answer::Failed };
            assert_eq!(answer, expected, "{kind:?} {name} {password}");
            if enters {
                assert_eq!(get(&client, 0, "k", LONG).await, Answer::Hit(vec![1]));
            }
        }
        // The node waits for a whole packet.
        assert!(memcache_crate(&[node.address]).noop(0, 500).await.is_err());
    }
    let open = Store::sessiond();
    let settings = MsmSettings {
        username: LOGIN.0.into(),
        password: Secret(LOGIN.1.into()),
        ..settings(&[open.address], MemcachedProtocol::Binary)
    };
    let client = Client::new(&settings, Clock::system());
    assert_eq!(
        get(&client, 0, "k", LONG).await,
        Answer::Failed,
        "it asks nobody"
    );
    assert!(
        !format!("{client:?}").contains(LOGIN.1),
        "no password in logs"
    );
}

#[tokio::test]
async fn a_node_tells_whether_it_answers() {
    let mut node = Store::sessiond();
    let client = memcache_crate(&[node.address]);
    assert_eq!(client.noop(0, LONG).await, Ok(()));
    node.kill();
    assert!(client.noop(0, LONG).await.is_err());
    let old = fake(|_, stream| {
        let mut lines = BufReader::new(&stream).lines();
        while let Some(Ok(_)) = lines.next() {
            let _ = (&stream).write_all(b"ERROR\r\n");
        }
    });
    assert_eq!(memcache_crate(&[old]).noop(0, LONG).await, Ok(()));
}

/// It is moved twice at each level of calls between the connection and the nodes, with room for the largest of its branches.
#[tokio::test]
async fn what_a_look_up_waits_with_is_small() {
    let node = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let settings = settings(&[node(1), node(2)], MemcachedProtocol::Text);
    let client = Client::new(&settings, Clock::system());
    let config = MsmConfig::new("/jsp", settings);
    let manager = MsmManager::new(config, client).expect("valid");
    let asked = AskedId::parse(b"47A70B5E441B8E80873DDC35E0D36EC1-n1").expect("an id");
    let request = RequestLine::default();
    let find = manager.find(&asked, &request, Timestamp(0));
    let bytes = size_of_val(&find);
    assert!(bytes <= 1024, "{bytes}");
}
