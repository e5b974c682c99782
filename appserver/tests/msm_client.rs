//! The client of the nodes: many commands on one connection, nodes that hang, die, come back or talk nonsense.

#[allow(dead_code, reason = "the nodes are what is needed")]
#[path = "support/store.rs"]
mod store;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use appserver::Clock;
use appserver::manager::msm::client::Client;
use appserver::manager::msm::protocol::{Answer, Command, Verb, World};
use store::Store;

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

fn client(nodes: &[SocketAddr]) -> Client {
    let nodes: Vec<String> = nodes
        .iter()
        .zip(1..)
        .map(|(address, number)| format!("n{number}:{address}"))
        .collect();
    let nodes = nodes.join(",").parse().expect("nodes");
    Client::new(&nodes, Clock::system())
}

fn command(verb: Verb, key: &str) -> Command {
    let key = key.to_owned();
    Command { verb, key }
}

async fn get(client: &Client, node: usize, key: &str, limit: u32) -> Answer {
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

#[tokio::test]
async fn each_verb_does_what_it_says() {
    let node = Store::sessiond();
    let client = client(&[node.address]);
    let value = b"a\r\nEND\r\nb".to_vec();
    for (verb, answer) in [
        (Verb::Get, Answer::Miss),
        (Verb::Delete, Answer::Miss),
        (Verb::Add(10, vec![1]), Answer::Done),
        (Verb::Add(10, vec![2]), Answer::NotStored),
        (Verb::Set(0, value.clone()), Answer::Done),
        (Verb::Get, Answer::Hit(value)),
        (Verb::Set(-1, vec![3]), Answer::Done),
        (Verb::Get, Answer::Miss),
        (Verb::Set(0, vec![0; 2 << 20]), Answer::TooLarge),
        (Verb::Set(0, Vec::new()), Answer::Done),
        (Verb::Get, Answer::Hit(Vec::new())),
        (Verb::Delete, Answer::Done),
    ] {
        let command = command(verb, "key");
        let what = format!("{command:?}").chars().take(80).collect::<String>();
        assert_eq!(client.call(0, command, LONG).await, answer, "{what}");
    }
    let figures = &client.nodes()[0];
    assert_eq!(
        (figures.connections, figures.commands, figures.failed),
        (1, 12, 0)
    );
}

#[tokio::test]
async fn a_thousand_requests_at_once_share_a_connection_and_get_their_own_answers() {
    let node = Store::sessiond();
    let client = client(&[node.address]);
    let tasks: Vec<_> = (0..1000_usize)
        .map(|i| {
            let client = client.clone();
            tokio::spawn(async move {
                let (key, value) = (format!("key{i}"), vec![i as u8; i * 7]);
                let set = command(Verb::Set(0, value.clone()), &key);
                assert_eq!(client.call(0, set, LONG).await, Answer::Done);
                assert_eq!(get(&client, 0, &key, LONG).await, Answer::Hit(value));
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("its own answer");
    }
    assert_eq!(client.nodes()[0].connections, 1);
}

#[tokio::test]
async fn a_node_that_hangs_costs_its_own_requests_one_bounded_wait() {
    // The kernel takes the connection and nobody reads it.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let node = Store::sessiond();
    let client = client(&[hanging.local_addr().expect("bound"), node.address]);
    let start = Instant::now();
    let (hung, answered) = tokio::join!(get(&client, 0, "k", 300), async {
        for _ in 0..50 {
            assert_eq!(get(&client, 1, "k", LONG).await, Answer::Miss);
        }
        start.elapsed()
    });
    assert_eq!(hung, Answer::Failed);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(answered < PATIENCE, "the other node's answers do not wait");
    assert_eq!(client.nodes()[0].failed, 1);
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
    let client = client(&[address]);
    let start = Instant::now();
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
    // Until it is tried again commands fail at once.
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
    assert!(start.elapsed() < Duration::from_secs(2), "no waiting");
    while get(&client, 0, "k", LONG).await == Answer::Failed {
        assert!(start.elapsed() < PATIENCE, "never tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert!(start.elapsed() >= Duration::from_millis(1900), "a pause");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_sessions_value_is_not_believed() {
    let address = fake(|number, stream| {
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
    let client = client(&[address]);
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
    let start = Instant::now();
    while get(&client, 0, "k", LONG).await != Answer::Miss {
        assert!(start.elapsed() < PATIENCE, "never tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_a_failure_at_once() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound")
    };
    let client = client(&[nobody]);
    let start = Instant::now();
    assert_eq!(get(&client, 0, "k", LONG).await, Answer::Failed);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(client.nodes()[0].connections, 0);
}
