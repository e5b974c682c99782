//! One worker's readiness: its epoll instance, a slot per watched socket, its ready queue, clock and deadlines.
//!
//! Everything here belongs to one thread, so cells take the place of locks. A socket is registered once, edge
//! triggered, for both directions; from then on its readiness is kept in two bits of its slot and no further system
//! call is spent on watching it. What a slot wakes is a number: a task, or a parked connection, or a listener.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::outbox::{Link, Outbox, Sent};

/// Events taken from the kernel in one call.
const EVENTS_PER_WAIT: usize = 512;

/// What one `read` can return at most; also the largest piece that is copied into a library's buffer.
pub(crate) const SCRATCH_SIZE: usize = 64 * 1024;

/// How late a deadline may be noticed.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// A task of this worker.
pub(crate) type TaskId = u32;

/// No task.
pub(crate) const NO_TASK: TaskId = u32::MAX;

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Who is told when a socket becomes ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody for now; the bits are kept.
    Nobody,
    /// This task is put into the ready queue.
    Task(TaskId),
    /// The parked connection of this number.
    Parked(u32),
    /// The listener of this number.
    Listener(u32),
    /// Another thread has written to this worker's mailbox.
    Mailbox,
}

/// The state of one watched socket.
#[derive(Debug, Clone, Copy)]
struct Slot {
    owner: Owner,
    generation: u32,
    readable: bool,
    writable: bool,
    /// The other side has sent its end (FIN), or more.
    read_closed: bool,
    /// The connection is broken (RST).
    broken: bool,
}

/// See the module.
pub(crate) struct Reactor {
    epoll: OwnedFd,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    ready: RefCell<VecDeque<TaskId>>,
    current: Cell<TaskId>,
    started: Instant,
    now: Cell<u64>,
    /// Unix time in seconds, as of the last sweep.
    unix: Cell<u64>,
    deadlines: RefCell<Vec<(u64, TaskId)>>,
    /// How many of them are set.
    armed: Cell<usize>,
    free_deadlines: RefCell<Vec<u32>>,
    next_sweep: Cell<u64>,
    scratch: RefCell<Box<[u8]>>,
    events: RefCell<Vec<epoll::Event>>,
    again: Again,
    outbox: RefCell<Outbox>,
}

/// Notes that a library that is being polled wants to be polled once more.
pub(crate) struct Again {
    flag: Arc<Flag>,
    waker: Waker,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Again {
    fn new() -> Self {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        Self {
            waker: Waker::from(Arc::clone(&flag)),
            flag,
        }
    }

    pub(crate) fn clear(&self) {
        self.flag.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.flag.0.load(Ordering::Relaxed)
    }

    /// To poll with.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }
}

impl Reactor {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: RefCell::default(),
            free: RefCell::default(),
            ready: RefCell::default(),
            current: Cell::new(NO_TASK),
            started: Instant::now(),
            now: Cell::new(0),
            unix: Cell::new(crate::log_sink::unix_seconds()),
            deadlines: RefCell::default(),
            armed: Cell::new(0),
            free_deadlines: RefCell::default(),
            next_sweep: Cell::new(0),
            scratch: RefCell::new(vec![0; SCRATCH_SIZE].into_boxed_slice()),
            events: RefCell::new(Vec::with_capacity(EVENTS_PER_WAIT)),
            again: Again::new(),
            outbox: RefCell::default(),
        })
    }

    // Sockets.

    /// Watches `fd` from now on. `edge` is for sockets whose readiness is kept in the slot; without it the owner is told
    /// again and again until it has done its work (listeners, the mailbox).
    pub(crate) fn watch(&self, fd: impl AsFd, owner: Owner, edge: bool) -> std::io::Result<u32> {
        let index = self.new_slot(owner);
        let flags = if edge {
            epoll::EventFlags::IN
                | epoll::EventFlags::OUT
                | epoll::EventFlags::RDHUP
                | epoll::EventFlags::ET
        } else {
            epoll::EventFlags::IN
        };
        let generation = self.slots.borrow()[index as usize].generation;
        let data = epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(index));
        if let Err(error) = epoll::add(&self.epoll, fd, data, flags) {
            self.forget(index);
            return Err(error.into());
        }
        Ok(index)
    }

    fn new_slot(&self, owner: Owner) -> u32 {
        let mut slots = self.slots.borrow_mut();
        if let Some(index) = self.free.borrow_mut().pop() {
            let slot = &mut slots[index as usize];
            *slot = Slot {
                owner,
                generation: slot.generation,
                readable: false,
                writable: false,
                read_closed: false,
                broken: false,
            };
            return index;
        }
        slots.push(Slot {
            owner,
            generation: 0,
            readable: false,
            writable: false,
            read_closed: false,
            broken: false,
        });
        u32::try_from(slots.len() - 1).expect("invariant: file descriptors are fewer than 2^32")
    }

    /// Gives the slot back; closing the descriptor has ended the watching. Late events are told apart by generation.
    pub(crate) fn forget(&self, index: u32) {
        let slot = &mut self.slots.borrow_mut()[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.owner = Owner::Nobody;
        self.free.borrow_mut().push(index);
    }

    /// Ends the watching of a descriptor that stays open.
    pub(crate) fn unwatch(&self, fd: impl AsFd, index: u32) {
        // It fails only when the descriptor is not watched, and then there is nothing to end.
        let _ = epoll::delete(&self.epoll, fd);
        self.forget(index);
    }

    /// Switches the reports of a descriptor that is watched without `edge` off and on.
    pub(crate) fn set_interest(&self, fd: impl AsFd, index: u32, on: bool) {
        let flags = if on {
            epoll::EventFlags::IN
        } else {
            epoll::EventFlags::empty()
        };
        let generation = self.slots.borrow()[index as usize].generation;
        let data = epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(index));
        if let Err(error) = epoll::modify(&self.epoll, fd, data, flags) {
            tracing::error!(%error, "cannot change the watch on a listener");
        }
    }

    pub(crate) fn set_owner(&self, index: u32, owner: Owner) {
        self.slots.borrow_mut()[index as usize].owner = owner;
    }

    /// Makes the running task the one that is told.
    pub(crate) fn own(&self, index: u32) {
        self.set_owner(index, Owner::Task(self.current.get()));
    }

    pub(crate) fn readable(&self, index: u32) -> bool {
        self.slots.borrow()[index as usize].readable
    }

    pub(crate) fn writable(&self, index: u32) -> bool {
        self.slots.borrow()[index as usize].writable
    }

    /// Nothing more to read for now: after a short read, unless the end has been announced already.
    pub(crate) fn drained(&self, index: u32) {
        let slot = &mut self.slots.borrow_mut()[index as usize];
        slot.readable = slot.read_closed || slot.broken;
    }

    pub(crate) fn blocked_reading(&self, index: u32) {
        self.slots.borrow_mut()[index as usize].readable = false;
    }

    pub(crate) fn blocked_writing(&self, index: u32) {
        self.slots.borrow_mut()[index as usize].writable = false;
    }

    /// The other side has sent its end, or the connection is broken.
    pub(crate) fn read_closed(&self, index: u32) -> bool {
        let slot = self.slots.borrow()[index as usize];
        slot.read_closed || slot.broken
    }

    pub(crate) fn broken(&self, index: u32) -> bool {
        self.slots.borrow()[index as usize].broken
    }

    /// Waits for events, at most until the next tick or `longest`, and tells their owners: tasks through the ready
    /// queue, all others through `notice`.
    pub(crate) fn wait(
        &self,
        longest: Duration,
        mut notice: impl FnMut(Owner),
    ) -> std::io::Result<()> {
        let timeout = if self.ready.borrow().is_empty() {
            longest
        } else {
            Duration::ZERO
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut events = self.events.borrow_mut();
        events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.now.set(self.clock());
        for event in events.iter() {
            let (flags, data) = (event.flags, event.data.u64());
            if let Some(owner) = self.record(flags, data) {
                match owner {
                    Owner::Nobody => {}
                    Owner::Task(task) => self.ready.borrow_mut().push_back(task),
                    other => notice(other),
                }
            }
        }
        Ok(())
    }

    fn record(&self, flags: epoll::EventFlags, data: u64) -> Option<Owner> {
        let index = (data & u64::from(u32::MAX)) as usize;
        let generation = (data >> 32) as u32;
        let mut slots = self.slots.borrow_mut();
        let slot = slots
            .get_mut(index)
            .filter(|s| s.generation == generation)?;
        let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        let closed = flags.contains(epoll::EventFlags::RDHUP);
        slot.broken |= broken;
        slot.read_closed |= closed;
        slot.readable |= broken || closed || flags.contains(epoll::EventFlags::IN);
        slot.writable |= broken || flags.contains(epoll::EventFlags::OUT);
        Some(slot.owner)
    }

    // Sending.

    /// Puts a small message down until [`Reactor::post`].
    pub(crate) fn put<'a>(&self, link: &Rc<Link>, parts: impl Iterator<Item = &'a [u8]>) {
        if self.outbox.borrow_mut().put(link, parts) {
            self.post();
        }
    }

    /// Sends what was put down.
    pub(crate) fn post(&self) {
        let outbox = &mut *self.outbox.borrow_mut();
        if outbox.is_empty() {
            return;
        }
        let writable = |link: &Link| self.writable(link.slot);
        outbox.post(self.now.get(), writable, |link, sent| {
            if link.closed.get() {
                return;
            }
            let slot = &mut self.slots.borrow_mut()[link.slot as usize];
            match sent {
                Sent::Whole => {}
                Sent::Short => slot.writable = false,
                Sent::Broken => {
                    slot.broken = true;
                    slot.readable = true;
                    if let Owner::Task(task) = slot.owner {
                        self.ready.borrow_mut().push_back(task);
                    }
                }
            }
        });
    }

    // Tasks.

    /// Puts a task into the ready queue.
    pub(crate) fn schedule(&self, task: TaskId) {
        self.ready.borrow_mut().push_back(task);
    }

    pub(crate) fn next_ready(&self) -> Option<TaskId> {
        self.ready.borrow_mut().pop_front()
    }

    /// How many tasks are ready.
    pub(crate) fn ready_count(&self) -> usize {
        self.ready.borrow().len()
    }

    /// For polling libraries whose wakes need not leave this thread.
    pub(crate) fn again(&self) -> &Again {
        &self.again
    }

    pub(crate) fn current(&self) -> TaskId {
        self.current.get()
    }

    pub(crate) fn set_current(&self, task: TaskId) {
        self.current.set(task);
    }

    // Time.

    fn clock(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the worker started, as of the last [`Reactor::wait`].
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Unix time in seconds; a tick old at most.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.unix.get()
    }

    /// The instant of [`Reactor::now`].
    pub(crate) fn instant(&self) -> Instant {
        self.started + Duration::from_millis(self.now.get())
    }

    pub(crate) fn new_deadline(&self, task: TaskId) -> u32 {
        let mut deadlines = self.deadlines.borrow_mut();
        if let Some(index) = self.free_deadlines.borrow_mut().pop() {
            deadlines[index as usize] = (NEVER, task);
            return index;
        }
        deadlines.push((NEVER, task));
        u32::try_from(deadlines.len() - 1).expect("invariant: tasks are fewer than 2^32")
    }

    pub(crate) fn free_deadline(&self, index: u32) {
        self.set_deadline(index, NEVER, NO_TASK);
        self.free_deadlines.borrow_mut().push(index);
    }

    pub(crate) fn set_deadline(&self, index: u32, at: u64, task: TaskId) {
        let entry = &mut self.deadlines.borrow_mut()[index as usize];
        let armed = self.armed.get() + usize::from(at != NEVER) - usize::from(entry.0 != NEVER);
        self.armed.set(armed);
        *entry = (at, task);
    }

    /// Wakes the tasks whose deadline has passed; at most once per [`TICK`]. True when it looked.
    pub(crate) fn sweep(&self) -> bool {
        let now = self.now.get();
        if now < self.next_sweep.get() {
            return false;
        }
        self.next_sweep.set(now + TICK.as_millis() as u64);
        self.unix.set(crate::log_sink::unix_seconds());
        if self.armed.get() == 0 {
            return true;
        }
        let mut ready = self.ready.borrow_mut();
        for (at, task) in self.deadlines.borrow_mut().iter_mut() {
            if *at <= now {
                *at = NEVER;
                self.armed.set(self.armed.get() - 1);
                ready.push_back(*task);
            }
        }
        true
    }

    /// Whether any deadline is set, so that the loop must not sleep past the next tick.
    pub(crate) fn has_deadlines(&self) -> bool {
        self.armed.get() > 0
    }

    /// Runs `f` with the worker's read buffer.
    pub(crate) fn with_scratch<T>(&self, f: impl FnOnce(&mut [u8]) -> T) -> T {
        f(&mut self.scratch.borrow_mut())
    }
}
