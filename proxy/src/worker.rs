//! One worker: a thread with its own listening sockets, connections, pools and balancers.
//!
//! ```text
//!            epoll ─► listeners ─► accept ─► parked connection
//!                 ├─► parked connection ─► an idle engine ─┐
//!                 ├─► a socket that some task waits for ───┼─► ready queue ─► tasks run until they wait ─► outbox ─► sent
//!                 └─► mailbox: orders, wakes from outside ─┘
//!   each tick: deadlines of tasks; each quarter of a second: deadlines of parked connections, idle peers' connections
//! ```
//!
//! Workers share nothing on the way of a request but counters with one writer each and the peers' health. Everything
//! else reaches a worker as an [`Order`].

pub(crate) mod mailbox;
pub(crate) mod outbox;
pub(crate) mod reactor;
pub(crate) mod socket;
pub(crate) mod stats;
pub(crate) mod tasks;
pub(crate) mod view;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::connection::engine::{self, Engine};
use crate::connection::stream::Stream;
use crate::connection::{Conn, Phase};
use crate::headers::x_proxy;
use crate::shared::Shared;
use crate::site::Site;
use mailbox::Mailbox;
use reactor::{NEVER, Owner, Reactor, TICK};
use socket::Socket;
use tasks::Tasks;
use view::View;

/// How often parked connections and idle peers' connections are looked through.
const SWEEP: u64 = 250;

/// The longest sleep; a worker with nothing to do wakes so often.
const LONGEST_SLEEP: Duration = Duration::from_millis(SWEEP);

/// Pause after `accept` failed for want of descriptors or memory.
const ACCEPT_PAUSE: u64 = 100;

/// Connections taken from one listener before the others get their turn.
const ACCEPTS_PER_TURN: usize = 16;

/// So many tasks run before what they send goes out; more would gain nothing and make the first of them wait.
const TASKS_PER_POST: usize = 32;

/// Engines kept without a connection; each has about 20 KiB.
const IDLE_ENGINES: usize = 256;

/// Idle connections get this grace after a stop, in which one more request is still answered.
const STOP_GRACE: u64 = 250;

/// What the main thread may ask of a worker.
pub(crate) enum Order {
    /// Serve by this site from the next request on.
    Site(Arc<Site>),
    /// Accept on this socket.
    Listen(SocketAddr, OwnedFd, Option<crate::tls::Acceptor>),
    /// Use these certificates on that address from now on.
    Tls(SocketAddr, Option<crate::tls::Acceptor>),
    /// Accept no more on this address.
    Unlisten(SocketAddr),
    /// Accept nothing, finish what runs, then end.
    Drain,
    /// End now.
    Stop,
    /// Write out what the access log has gathered, and reopen its file.
    ReopenLogs,
}

/// One listening socket of this worker.
pub(crate) struct Listening {
    /// The address it is bound to.
    pub(crate) address: SocketAddr,
    fd: RefCell<Option<(OwnedFd, u32)>>,
    /// What its connections are served by; stays at the last site that had this address.
    pub(crate) view: RefCell<Rc<View>>,
    /// Its place in that site.
    pub(crate) index: Cell<usize>,
    /// The value of `X-Proxy` for its connections; none where it listens on a wildcard and they differ.
    pub(crate) x_proxy: Option<HeaderValue>,
    /// TLS, where it is on.
    pub(crate) tls: RefCell<Option<crate::tls::Acceptor>>,
}

/// See the module.
pub(crate) struct Worker {
    /// Counted from 0.
    pub(crate) index: usize,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) tasks: Tasks,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: crate::log_sink::LogSink,
    mailbox: Arc<Mailbox>,
    view: RefCell<Rc<View>>,
    listening: RefCell<Vec<Option<Rc<Listening>>>>,
    parked: RefCell<Parked>,
    idle_engines: RefCell<Vec<Rc<Engine>>>,
    draining: Cell<bool>,
    stopped: Cell<bool>,
    /// When accepting goes on after a pause.
    accept_again: Cell<u64>,
    next_sweep: Cell<u64>,
}

/// Parked connections by number.
#[derive(Default)]
struct Parked {
    conns: Vec<Option<Conn>>,
    free: Vec<u32>,
}

impl Worker {
    /// A worker for the calling thread.
    pub(crate) fn new(
        index: usize,
        mailbox: Arc<Mailbox>,
        shared: Arc<Shared>,
        site: Arc<Site>,
    ) -> std::io::Result<Rc<Self>> {
        let reactor = Rc::new(Reactor::new()?);
        reactor.watch(&*mailbox, Owner::Mailbox, false)?;
        let log = crate::log_sink::LogSink::open(&site.access_log);
        Ok(Rc::new(Self {
            index,
            tasks: Tasks::new(Rc::clone(&reactor), Arc::clone(&mailbox)),
            view: RefCell::new(Rc::new(View::new(site, index, None, &reactor))),
            reactor,
            shared,
            log,
            mailbox,
            listening: RefCell::default(),
            parked: RefCell::default(),
            idle_engines: RefCell::default(),
            draining: Cell::new(false),
            stopped: Cell::new(false),
            accept_again: Cell::new(NEVER),
            next_sweep: Cell::new(0),
        }))
    }

    /// Serves until told to stop, or until the last connection is gone after [`Order::Drain`].
    pub(crate) fn run(self: &Rc<Self>) -> std::io::Result<()> {
        while !self.stopped.get() {
            let busy = self.mailbox.pending();
            let sleep = if busy {
                Duration::ZERO
            } else if self.reactor.has_deadlines() {
                TICK
            } else {
                LONGEST_SLEEP
            };
            self.reactor.wait(sleep, |owner| match owner {
                Owner::Parked(number) => self.resume(number),
                Owner::Listener(number) => self.accept(number),
                Owner::Mailbox => self.mailbox.hush(),
                Owner::Nobody | Owner::Task(_) => {}
            })?;
            if self.mailbox.pending() {
                self.open_mailbox();
            }
            self.reactor.sweep();
            if self.reactor.now() >= self.next_sweep.get() {
                self.next_sweep.set(self.reactor.now() + SWEEP);
                self.sweep();
            }
            // Only what is ready now: what becomes ready meanwhile waits for the next look at the sockets.
            for count in 1..=self.reactor.ready_count() {
                if let Some(task) = self.reactor.next_ready() {
                    self.tasks.run(task);
                }
                if count.is_multiple_of(TASKS_PER_POST) {
                    self.reactor.post();
                }
            }
            self.reactor.post();
            if self.draining.get() && self.stats().is_idle() {
                break;
            }
        }
        self.log.flush();
        // What tasks hold points back here; end them while everything still stands.
        self.tasks.clear();
        self.idle_engines.borrow_mut().clear();
        *self.parked.borrow_mut() = Parked::default();
        self.reactor.post();
        Ok(())
    }

    /// The site as of now.
    pub(crate) fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    /// Counters of this worker.
    pub(crate) fn stats(&self) -> &stats::WorkerStats {
        &self.shared.workers[self.index]
    }

    /// Whether the process is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    fn open_mailbox(self: &Rc<Self>) {
        let letters = self.mailbox.open();
        for task in letters.woken {
            self.reactor.schedule(task);
        }
        for order in letters.orders {
            self.obey(order);
        }
    }

    fn obey(self: &Rc<Self>, order: Order) {
        match order {
            Order::Site(site) => self.change_site(site),
            Order::Listen(address, fd, tls) => self.listen(address, fd, tls),
            Order::Tls(address, tls) => {
                for listening in self.listening.borrow().iter().flatten() {
                    if listening.address == address {
                        listening.tls.replace(tls.clone());
                    }
                }
            }
            Order::Unlisten(address) => self.unlisten(|listening| listening.address == address),
            Order::Drain => {
                self.draining.set(true);
                self.unlisten(|_| true);
                let limit = self.reactor.now() + STOP_GRACE;
                for conn in self.parked.borrow_mut().conns.iter_mut().flatten() {
                    conn.deadline = conn.deadline.min(limit);
                }
                self.tasks.wake_all();
            }
            Order::Stop => self.stopped.set(true),
            Order::ReopenLogs => self.log.reopen(),
        }
    }

    fn change_site(&self, site: Arc<Site>) {
        let previous = self.view();
        self.log.retarget(&site.access_log);
        let view = Rc::new(View::new(site, self.index, Some(&previous), &self.reactor));
        for listening in self.listening.borrow().iter().flatten() {
            if let Some(index) = view.listener_at(listening.address) {
                listening.index.set(index);
                listening.view.replace(Rc::clone(&view));
            }
        }
        self.view.replace(view);
    }

    // Listening.

    fn listen(&self, address: SocketAddr, fd: OwnedFd, tls: Option<crate::tls::Acceptor>) {
        let mut all = self.listening.borrow_mut();
        let number = all.iter().position(Option::is_none).unwrap_or(all.len());
        let owner = Owner::Listener(u32::try_from(number).unwrap_or(u32::MAX));
        let slot = match self.reactor.watch(&fd, owner, false) {
            Ok(slot) => slot,
            Err(error) => {
                tracing::error!(%address, %error, "cannot watch a listening socket");
                return;
            }
        };
        let view = self.view();
        let listening = Rc::new(Listening {
            address,
            x_proxy: (!address.ip().is_unspecified()).then(|| x_proxy(address)),
            fd: RefCell::new(Some((fd, slot))),
            index: Cell::new(view.listener_at(address).unwrap_or(0)),
            view: RefCell::new(view),
            tls: RefCell::new(tls),
        });
        if number == all.len() {
            all.push(Some(listening));
        } else {
            all[number] = Some(listening);
        }
    }

    /// Takes what waits in the queues of these listeners, then closes them: a connection that the kernel has accepted
    /// for us must not be lost.
    fn unlisten(self: &Rc<Self>, which: impl Fn(&Listening) -> bool) {
        let count = self.listening.borrow().len();
        for number in 0..count {
            let listening = self.listening.borrow()[number].clone();
            let Some(listening) = listening.filter(|l| which(l)) else {
                continue;
            };
            while self.accept_one(&listening) {}
            if let Some((fd, slot)) = listening.fd.borrow_mut().take() {
                self.reactor.unwatch(&fd, slot);
            }
            self.listening.borrow_mut()[number] = None;
        }
    }

    fn accept(self: &Rc<Self>, number: u32) {
        let listening = self.listening.borrow().get(number as usize).cloned();
        if let Some(Some(listening)) = listening {
            for _ in 0..ACCEPTS_PER_TURN {
                if !self.accept_one(&listening) {
                    return;
                }
            }
        }
    }

    /// Accepts one connection; false when there is none, or none can be taken now.
    fn accept_one(self: &Rc<Self>, listening: &Rc<Listening>) -> bool {
        if self.accept_again.get() != NEVER {
            return false;
        }
        let accepted = match &*listening.fd.borrow() {
            Some((fd, _)) => {
                rustix::net::acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
            }
            None => return false,
        };
        let (fd, address) = match accepted {
            Ok(accepted) => accepted,
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR | Errno::CONNABORTED) => return true,
            Err(error) => {
                tracing::warn!(address = %listening.address, %error, "cannot accept; pausing");
                self.pause_accepting();
                return false;
            }
        };
        self.stats().accepted();
        let Some(peer) = address.and_then(|a| SocketAddr::try_from(a).ok()) else {
            return true;
        };
        let view = listening.view.borrow().clone();
        if !self.shared.admit(view.site.worker_connections) {
            tracing::warn!(%peer, limit = view.site.worker_connections, "connection refused: worker_connections are in use");
            return true;
        }
        let opened = Socket::new(fd, Rc::clone(&self.reactor));
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) => {
                self.shared.dismiss();
                tracing::error!(%peer, %error, "cannot watch a connection");
                return true;
            }
        };
        self.stats().opened();
        let listener = &view.site.listeners[listening.index.get()];
        let phase = if listener.proxy_protocol {
            Phase::ProxyHeader
        } else if listening.tls.borrow().is_some() {
            Phase::Handshake
        } else {
            Phase::Request
        };
        let deadline = self.reactor.now() + millis(view.site.client.header_timeout);
        self.park(Conn {
            stream: Stream::Plain(socket),
            listening: Rc::clone(listening),
            peer,
            announced: None,
            phase,
            requests: 0,
            deadline,
            head_since: 0,
            early: Vec::new(),
        });
        true
    }

    /// Looks away from the listeners for a while: they would report the waiting connections again and again.
    fn pause_accepting(&self) {
        self.accept_again.set(self.reactor.now() + ACCEPT_PAUSE);
        for listening in self.listening.borrow().iter().flatten() {
            if let Some((fd, slot)) = &*listening.fd.borrow() {
                self.reactor.set_interest(fd, *slot, false);
            }
        }
    }

    fn resume_accepting(&self) {
        self.accept_again.set(NEVER);
        for listening in self.listening.borrow().iter().flatten() {
            if let Some((fd, slot)) = &*listening.fd.borrow() {
                self.reactor.set_interest(fd, *slot, true);
            }
        }
    }

    // Parking.

    /// Leaves a connection alone until it becomes readable or its deadline comes.
    pub(crate) fn park(&self, conn: Conn) {
        self.count(&conn, 1);
        let parked = &mut *self.parked.borrow_mut();
        let number = parked.free.pop().unwrap_or_else(|| {
            parked.conns.push(None);
            u32::try_from(parked.conns.len() - 1)
                .expect("invariant: connections are fewer than 2^32")
        });
        conn.stream.socket().set_owner(Owner::Parked(number));
        parked.conns[number as usize] = Some(conn);
    }

    /// A parked connection is waiting for a request, or in the middle of a head.
    fn count(&self, conn: &Conn, change: i64) {
        if conn.early.is_empty() && conn.phase == Phase::Request {
            self.stats().waiting(change);
        } else {
            self.stats().reading(change);
        }
    }

    fn unpark(&self, number: u32) -> Option<Conn> {
        let parked = &mut *self.parked.borrow_mut();
        let conn = parked.conns.get_mut(number as usize)?.take()?;
        parked.free.push(number);
        conn.stream.socket().set_owner(Owner::Nobody);
        self.count(&conn, -1);
        Some(conn)
    }

    /// A parked connection has become ready. A socket reports room to send once when it is new; that is passed over.
    fn resume(self: &Rc<Self>, number: u32) {
        let readable = self.parked.borrow().conns[number as usize]
            .as_ref()
            .is_some_and(|conn| conn.stream.socket().readable());
        if readable && let Some(conn) = self.unpark(number) {
            self.engage(conn);
        }
    }

    /// Gives a connection to an engine.
    pub(crate) fn engage(self: &Rc<Self>, conn: Conn) {
        let idle = self.idle_engines.borrow_mut().pop();
        let engine = idle.unwrap_or_else(|| engine::start(self));
        engine.give(conn);
        self.reactor.schedule(engine.task());
    }

    /// An engine has nothing to do; true when it shall stay for the next connection.
    pub(crate) fn rest(&self, engine: &Rc<Engine>) -> bool {
        let mut idle = self.idle_engines.borrow_mut();
        let stay = idle.len() < IDLE_ENGINES;
        if stay {
            idle.push(Rc::clone(engine));
        }
        stay
    }

    /// A connection is gone.
    pub(crate) fn closed(&self) {
        self.shared.dismiss();
        self.stats().closed();
    }

    fn sweep(self: &Rc<Self>) {
        let now = self.reactor.now();
        let count = self.parked.borrow().conns.len();
        for number in 0..count {
            let late = self.parked.borrow().conns[number]
                .as_ref()
                .is_some_and(|conn| conn.deadline <= now);
            if late && let Some(conn) = self.unpark(u32::try_from(number).unwrap_or(u32::MAX)) {
                self.engage(conn);
            }
        }
        if self.accept_again.get() <= now {
            self.resume_accepting();
        }
        self.view.borrow().sweep(now);
        self.log.flush();
    }
}

/// A span of time on the worker's clock; what is longer than 500 million years never ends.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}
