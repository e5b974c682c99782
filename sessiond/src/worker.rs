//! A worker: one thread, its connections, and the loop that gives each of them its turn.
//!
//! ```text
//!   mailbox (clients from the acceptor, the wish to stop) ─┐
//!   sockets ──► poller ──► those that are ready ───────────┼──► one turn each ──► read, write, turn again or close
//!   those that had their share of a turn and have more ────┘
//! ```
//!
//! Nothing here is shared with other workers but the store and the mailbox; a connection stays with its worker.

mod mailbox;
mod poller;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::buffers::Buffers;
use crate::clients::{Peer, State};
use crate::command::Executor;
use crate::connection::{Connection, Desk, Ended, Next, RETRIEVAL_LINE_MAX};
use crate::protocol::text::Limits;
use crate::protocol::text::admin::Subjects;
use crate::server::Seat;
use crate::status::Figures;
use crate::store::UnixTime;
use crate::stream::Stream;

pub(crate) use mailbox::Mailbox;
use poller::{Interest, Poller};

/// The mailbox among the sockets.
const BELL: u64 = u64::MAX;

/// How often connections are looked over for those that are idle for too long.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// A client that is counted in.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Its socket, which does not block.
    pub(crate) stream: Stream,
    /// Its place among the clients.
    pub(crate) seat: Seat,
}

/// What a worker works with.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Which of the workers it is.
    pub(crate) index: usize,
    /// The largest item (memcached's `-I`).
    pub(crate) item_size_max: usize,
    /// Requests of one connection before others are served (memcached's `-R`).
    pub(crate) turn: usize,
    /// Connections on which nothing moves for longer are closed (memcached's `-o idle_timeout`).
    pub(crate) idle_timeout: Option<Duration>,
    /// How long connections may take to finish when the node stops.
    pub(crate) grace_period: Duration,
    /// The node's store, clock and figures.
    pub(crate) figures: Arc<Figures>,
    /// The account of buffers.
    pub(crate) buffers: Arc<Buffers>,
    /// Where clients come from.
    pub(crate) mailbox: Arc<Mailbox<Admitted>>,
    /// Set before the mailbox is rung when the node stops.
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Work {
    /// Serves clients until the node stops; an error is one of the event loop itself.
    pub(crate) fn run(&self) -> io::Result<()> {
        let _closed = CloseMailbox(&self.mailbox);
        let figures = &*self.figures;
        let Some(counters) = figures.workers.get(self.index) else {
            return Err(io::Error::other("a worker without counters"));
        };
        let limits = Limits {
            item_size: self.item_size_max,
            retrieval_line: RETRIEVAL_LINE_MAX,
        };
        let executor = Executor::new(figures, counters);
        let poller = Poller::new()?;
        poller.add(&*self.mailbox, BELL, Interest::Read)?;
        let mut floor = Floor {
            work: self,
            desk: Desk::new(
                executor,
                limits,
                self.turn,
                &self.buffers,
                Some(&self.mailbox),
            ),
            poller,
            seats: Vec::new(),
            free: Vec::new(),
            again: VecDeque::new(),
            watchers: Vec::new(),
            taken: 0,
        };
        floor.run()
    }
}

impl Work {
    /// Tells those who watch that a client has come or gone.
    fn tell_of(&self, seat: &Seat, event: &str, more: std::fmt::Arguments<'_>) {
        let watch = &self.figures.watch;
        if !watch.wants(Subjects::CONNECTIONS) {
            return;
        }
        let Some(client) = seat.client() else { return };
        let cfd = client.descriptor;
        let (address, port, transport) = match client.peer {
            Peer::Tcp(address) => (address.ip().to_string(), address.port(), "tcp"),
            Peer::Unix => (String::new(), 0, "unix"),
        };
        watch.tell(
            Subjects::CONNECTIONS,
            self.figures.clock.since_1970(),
            format_args!(
                "type={event} rip={address} rport={port} transport={transport}{more} cfd={cfd}"
            ),
        );
    }
}

/// Whatever ends the worker, the acceptor learns of it.
struct CloseMailbox<'a>(&'a Mailbox<Admitted>);

impl Drop for CloseMailbox<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The worker at work.
struct Floor<'a> {
    work: &'a Work,
    desk: Desk<'a>,
    poller: Poller,
    /// Connections by token.
    seats: Vec<Option<Seated>>,
    free: Vec<usize>,
    /// Those that have more to execute, longest waiting first.
    again: VecDeque<usize>,
    /// Those whose clients watch.
    watchers: Vec<usize>,
    /// How many seats are taken.
    taken: usize,
}

struct Seated {
    connection: Connection,
    interest: Interest,
    /// Whether it is listed in `again`.
    waits_for_turn: bool,
    /// The second that its seat knows of.
    noted: UnixTime,
    seat: Seat,
}

impl Seated {
    /// Shows what its connection does to those who look.
    fn show(&self, state: State) {
        if let Some(client) = self.seat.client() {
            client.set_state(state);
        }
    }
}

impl Floor<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut next_check = Instant::now();
        let mut deadline = None;
        loop {
            self.poller.wait(self.longest_wait(deadline), &mut ready)?;
            let mut rung = false;
            for token in &ready {
                match usize::try_from(*token) {
                    _ if *token == BELL => rung = true,
                    Ok(token) => self.turn(token, false),
                    Err(_) => {}
                }
            }
            for _ in 0..self.again.len() {
                if let Some(token) = self.again.pop_front() {
                    self.turn(token, true);
                }
            }
            if rung {
                self.collect();
                for token in self.watchers.clone() {
                    self.turn(token, false);
                }
                if self.work.stopping.load(Ordering::Acquire) && deadline.is_none() {
                    deadline = Some(Instant::now() + self.work.grace_period);
                    self.begin_to_stop();
                }
            }
            if let Some(deadline) = deadline {
                if self.taken == 0 {
                    return Ok(());
                }
                if Instant::now() >= deadline {
                    warn!(
                        connections = self.taken,
                        "closing connections that did not finish in time"
                    );
                    return Ok(());
                }
            }
            if let Some(timeout) = self.work.idle_timeout
                && Instant::now() >= next_check
            {
                next_check = Instant::now() + IDLE_CHECK;
                self.close_idle(timeout);
            }
        }
    }

    fn longest_wait(&self, deadline: Option<Instant>) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let check = self.work.idle_timeout.map(|_| IDLE_CHECK);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        check.into_iter().chain(left).min()
    }

    /// Gives a connection its turn. `called` says that it was taken from those that wait for one.
    fn turn(&mut self, token: usize, called: bool) {
        let Some(Some(seated)) = self.seats.get_mut(token) else {
            return;
        };
        if seated.waits_for_turn && !called {
            return;
        }
        seated.waits_for_turn = false;
        let now = self.desk.now();
        if seated.noted != now {
            seated.noted = now;
            if let Some(client) = seated.seat.client() {
                client.used(now);
            }
        }
        let interest = match seated.connection.turn(&mut self.desk) {
            Ok(Next::Read) => Interest::Read,
            Ok(Next::Write) => Interest::Write,
            Ok(Next::Watch) => {
                self.watchers.push(token);
                seated.show(State::Watch);
                Interest::Read
            }
            Ok(Next::Turn) => {
                seated.waits_for_turn = true;
                self.again.push_back(token);
                return;
            }
            Ok(Next::Close(ended)) => {
                debug!(?ended, "connection over");
                return self.close(token, ended.reason());
            }
            Err(error) => {
                debug!(%error, "connection lost");
                return self.close(token, "error");
            }
        };
        if interest == seated.interest {
            return;
        }
        seated.interest = interest;
        seated.show(seated.connection.state());
        let changed = self
            .poller
            .change(seated.connection.stream(), token as u64, interest);
        if let Err(error) = changed {
            warn!(%error, "cannot go on watching a connection");
            self.close(token, "error");
        }
    }

    /// Closes a connection and gives its seat back.
    fn close(&mut self, token: usize, reason: &str) {
        if let Some(seat) = self.seats.get_mut(token)
            && let Some(seated) = seat.take()
        {
            self.work
                .tell_of(&seated.seat, "conn_close", format_args!(" reason={reason}"));
            self.watchers.retain(|watcher| *watcher != token);
            self.free.push(token);
            self.taken = self.taken.saturating_sub(1);
        }
    }

    /// Seats the clients that have come.
    fn collect(&mut self) {
        for admitted in self.work.mailbox.collect() {
            let token = self.free.pop().unwrap_or(self.seats.len());
            if let Err(error) = self
                .poller
                .add(&admitted.stream, token as u64, Interest::Read)
            {
                warn!(%error, "cannot watch a connection");
                self.free.push(token);
                continue;
            }
            let seated = Some(Seated {
                connection: Connection::new(admitted.stream, &self.work.buffers, self.desk.now()),
                interest: Interest::Read,
                waits_for_turn: false,
                noted: self.desk.now(),
                seat: admitted.seat,
            });
            match self.seats.get_mut(token) {
                Some(seat) => *seat = seated,
                None => self.seats.push(seated),
            }
            self.taken = self.taken.saturating_add(1);
            if let Some(Some(seated)) = self.seats.get(token) {
                self.work
                    .tell_of(&seated.seat, "conn_new", format_args!(""));
            }
        }
    }

    /// Answers what has arrived, once more for every connection; each is closed when it has nothing more to send.
    fn begin_to_stop(&mut self) {
        self.desk.stopping = true;
        for token in 0..self.seats.len() {
            self.turn(token, false);
        }
    }

    fn close_idle(&mut self, timeout: Duration) {
        let UnixTime(now) = self.desk.now();
        for token in 0..self.seats.len() {
            if let Some(Some(seated)) = self.seats.get(token)
                && seated.connection.state() != State::Watch
                && u64::from(now.saturating_sub(seated.connection.last_used().0))
                    > timeout.as_secs()
            {
                debug!(ended = ?Ended::Idle, "connection over");
                self.desk.executor.counters.idle_kicks.bump();
                self.close(token, Ended::Idle.reason());
            }
        }
    }
}
