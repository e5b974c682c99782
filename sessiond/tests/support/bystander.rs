//! A client that behaves, while others do not.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connect;

/// A wait longer than this is harm: others keep it from being served. Generous, for tests run on busy machines.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Stores and reads a value all the time, on a connection of its own and on new ones.
pub(crate) struct Bystander {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Served>,
}

/// How it went.
struct Served {
    exchanges: u32,
    longest: Duration,
}

impl Bystander {
    /// Starts it, and waits until it was served once.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        ask(&mut connect(address), 0);
        let thread = std::thread::spawn({
            let over = Arc::clone(&over);
            move || ask_until(&over, address)
        });
        Self { over, thread }
    }

    /// Ends it: it was answered rightly all the time, and never had to wait for long.
    pub(crate) fn was_served(self) {
        self.over.store(true, Ordering::Relaxed);
        let served = self.thread.join().expect("every answer was right");
        assert!(
            served.exchanges > 0 && served.longest < WAIT_MAX,
            "of {} exchanges of a client that behaves one took {:?}",
            served.exchanges,
            served.longest
        );
    }
}

fn ask_until(over: &AtomicBool, address: SocketAddr) -> Served {
    let mut known = connect(address);
    let mut served = Served {
        exchanges: 0,
        longest: Duration::ZERO,
    };
    while served.exchanges == 0 || !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        if served.exchanges.is_multiple_of(16) {
            ask(&mut connect(address), served.exchanges);
        }
        ask(&mut known, served.exchanges);
        served.longest = served.longest.max(began.elapsed());
        served.exchanges += 1;
        // The tests are about the others' load, not about this one's.
        std::thread::sleep(Duration::from_millis(1));
    }
    served
}

fn ask(stream: &mut (impl Read + Write), number: u32) {
    let value = format!("value {number:08}");
    let request = format!("set bystander 0 0 14\r\n{value}\r\nget bystander\r\n");
    let expected = format!("STORED\r\nVALUE bystander 0 14\r\n{value}\r\nEND\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}
