//! Many clients at once: thousands that say nothing cost little and keep nobody waiting; one more than may be is told
//! so as memcached tells it, and a place that is given back can be taken.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use program::sockets;
use support::bystander::Bystander;
use support::process::Program;
use support::{Memcached, connect, exchange, skipped, until};

/// So many clients say nothing.
const IDLE: usize = 5000;

/// What one of them may cost in the server's memory, in bytes.
const BYTES_OF_IDLE: usize = 2048;

#[test]
fn thousands_of_idle_clients_cost_little_and_keep_nobody_waiting() {
    // Their sockets are this process's too.
    let open_files = usize::try_from(sockets::raise_open_file_limit()).unwrap_or(usize::MAX);
    let count = IDLE.min(open_files.saturating_sub(200));
    if count < IDLE {
        skipped(&format!(
            "only {count} of {IDLE} idle clients fit into the limit of open files (ulimit -Hn)"
        ));
    }
    let node = Program::start(&["-l", "127.0.0.1", "-p", "-1", "-c", "6000", "-m", "64"]);
    let bystander = Bystander::start(node.address());
    let before = node.resident();
    let mut clients: Vec<TcpStream> = (0..count).map(|_| connect(node.address())).collect();
    // Half of them have said something before.
    for client in clients.iter_mut().step_by(2) {
        exchange(client, b"get a\r\n", "END\r\n");
    }
    let cost = node.resident().saturating_sub(before);
    assert!(
        cost < count * BYTES_OF_IDLE,
        "{count} idle clients cost {cost} bytes"
    );
    // And they are clients all the same.
    for client in clients.iter_mut().step_by(97) {
        exchange(client, b"mn\r\n", "MN\r\n");
    }
    bystander.was_served();
    drop(clients);
    until("they are gone", || {
        (connections(node.address()) < 10).then_some(())
    });
}

/// `curr_connections`.
fn connections(address: SocketAddr) -> usize {
    let mut client = connect(address);
    client.write_all(b"stats\r\nquit\r\n").expect("it reads");
    let mut stats = String::new();
    client.read_to_string(&mut stats).expect("it answers");
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("STAT curr_connections "));
    line.and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn sessiond_refuses_one_client_too_many_and_recovers() {
    let node = Program::start(&["-l", "127.0.0.1", "-p", "-1", "-c", "64"]);
    fill_and_recover(node.address());
}

#[test]
fn memcached_refuses_one_client_too_many_and_recovers() {
    if let Some(memcached) = Memcached::start_with(&["-c", "64"], &[]) {
        fill_and_recover(memcached.address);
    }
}

/// Of about 64 places (memcached keeps some for itself).
fn fill_and_recover(address: SocketAddr) {
    let mut inside = Vec::new();
    let mut served = || -> Option<TcpStream> {
        let mut client = connect(address);
        // It may be closed before it reads this.
        let _ = client.write_all(b"mn\r\n");
        let mut answer = [0; 4];
        client.read_exact(&mut answer).ok()?;
        if &answer == b"MN\r\n" {
            return Some(client);
        }
        assert_eq!(&answer, b"ERRO");
        let mut rest = String::new();
        // A reset may come behind it, because it was not read to the end.
        let _ = client.read_to_string(&mut rest);
        assert_eq!(rest, "R Too many open connections\r\n");
        None
    };
    while let Some(client) = served() {
        inside.push(client);
        assert!(inside.len() <= 64, "it does not refuse");
    }
    assert!(inside.len() >= 30, "{} were let in", inside.len());
    // More that are refused harm nobody inside.
    for _ in 0..200 {
        assert!(served().is_none());
    }
    for client in &mut inside {
        exchange(client, b"get a\r\n", "END\r\n");
    }
    let (mut last, _) = (inside.pop().expect("many"), inside.drain(..5).count());
    until("places that were given back can be taken", &mut served);
    exchange(&mut last, b"get a\r\n", "END\r\n");
}
