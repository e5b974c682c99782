//! A simulated cluster: memberships, a clock, and a network that loses, delays and reorders datagrams and is cut for a while.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use appserver::tribes::member::{LEAVING, Member, MemberId};
use appserver::tribes::membership::{Event, Membership, Reason};
use fastrand::Rng;

/// As the defaults.
const FREQUENCY: u64 = 500;
const DROP_TIME: u64 = 3000;

/// How long a probe to somewhere unreachable takes.
const CONNECT_TIMEOUT: u64 = 1000;

/// Faults happen before that.
const FAULTS: u64 = 8000;

/// Then everything works, and by this time all agree: a candidate is probed every 5 s at the latest, and has to be heard.
const END: u64 = 24_000;

/// Whoever was killed is gone after so long: silence, a tick, and a probe that began before the end and one that follows 5 s later.
const GONE_AFTER: u64 = DROP_TIME + 2 * FREQUENCY + 5000 + 2 * CONNECT_TIMEOUT;

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    /// Accepts connections and does nothing.
    Frozen,
    Killed(u64),
    Left,
}

struct Process {
    member: Member,
    born: u64,
    life: Life,
    /// Of the machine.
    place: usize,
    membership: Membership,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A process's timer.
    Tick(usize),
    /// A datagram arrives: to whom, the sender, its alive time, whether it leaves.
    Datagram(usize, usize, u64, bool),
    /// A probe ends: who began it, whose it is, how it went when it began.
    Probed(usize, usize, bool),
    /// A message failed.
    SendFailed(usize, usize),
    /// Something breaks or is mended.
    Fault(u8),
}

struct World {
    random: Rng,
    now: u64,
    processes: Vec<Process>,
    places: usize,
    /// Whether two machines are cut off from one another.
    cut: Vec<Vec<bool>>,
    /// When all cuts were mended.
    mended: u64,
    loss: f64,
    delay: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    count: u64,
}

/// One life. What went wrong, if anything.
pub(crate) fn live(seed: u64) -> Result<(), String> {
    let mut random = Rng::with_seed(seed);
    let places = random.usize(2..5);
    let mut world = World {
        now: 0,
        processes: Vec::new(),
        places,
        cut: vec![vec![false; places]; places],
        mended: 0,
        loss: random.f64() * 0.3,
        delay: random.u64(1..400),
        queue: BinaryHeap::new(),
        count: 0,
        random,
    };
    for place in 0..places {
        world.now = world.random.u64(0..1000);
        world.start(place);
    }
    for _ in 0..world.random.usize(0..8) {
        let time = world.random.u64(1000..FAULTS);
        let fault = world.random.u8(0..6);
        world.at(time, Happening::Fault(fault));
    }
    world.at(FAULTS, Happening::Fault(u8::MAX));
    while let Some(Reverse((time, _, happening))) = world.queue.pop() {
        world.now = time;
        if time > END {
            break;
        }
        world.happen(happening)?;
    }
    world.agreed()
}

impl World {
    fn at(&mut self, time: u64, happening: Happening) {
        self.count += 1;
        self.queue.push(Reverse((time, self.count, happening)));
    }

    fn start(&mut self, place: usize) {
        let number = u8::try_from(self.processes.len()).expect("few processes");
        let address = SocketAddr::from(([10, 0, 0, place as u8], 4000));
        let member = Member::native(MemberId([number; 16]), address, "");
        self.processes.push(Process {
            membership: Membership::new(member.id, address, DROP_TIME),
            member,
            born: self.now,
            life: Life::Runs,
            place,
        });
        self.at(self.now, Happening::Tick(usize::from(number)));
    }

    /// The process of a machine that still holds its port.
    fn running(&self, place: usize) -> Option<usize> {
        let holds = |p: &Process| p.place == place && matches!(p.life, Life::Runs | Life::Frozen);
        self.processes.iter().position(holds)
    }

    fn connects(&self, from: usize, to: usize) -> bool {
        let (from, to) = (&self.processes[from], &self.processes[to]);
        !self.cut[from.place][to.place] && self.running(to.place).is_some()
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Tick(process) => {
                if matches!(self.processes[process].life, Life::Killed(_) | Life::Left) {
                    return Ok(());
                }
                self.at(self.now + FREQUENCY, Happening::Tick(process));
                if self.processes[process].life == Life::Frozen {
                    return Ok(());
                }
                self.multicast(process, false);
                let now = self.now;
                self.act(process, |m, events| m.tick(now, events))?;
                self.killed_are_gone(process)
            }
            Happening::Datagram(to, from, alive, leaving) => {
                let mut member = self.processes[from].member.clone();
                member.alive = alive;
                if leaving {
                    member.command = LEAVING.into();
                }
                let now = self.now;
                self.act(to, |m, events| m.heard(member, now, events))
            }
            Happening::Probed(by, ..) if self.processes[by].life == Life::Frozen => {
                // It sees when it thaws.
                self.at(self.now + FREQUENCY, happening);
                Ok(())
            }
            Happening::Probed(by, whom, reached) => {
                let reached = reached && self.connects(by, whom);
                let (id, now) = (self.processes[whom].member.id, self.now);
                self.act(by, |m, events| m.probed(id, reached, now, events))
            }
            Happening::SendFailed(by, whom) => {
                let id = self.processes[whom].member.id;
                self.act(by, |m, events| m.send_failed(id, events))
            }
            Happening::Fault(fault) => {
                self.fault(fault);
                Ok(())
            }
        }
    }

    fn multicast(&mut self, from: usize, leaving: bool) {
        let alive = self.now - self.processes[from].born;
        for to in 0..self.processes.len() {
            let cut = self.cut[self.processes[from].place][self.processes[to].place];
            // The last word is not said again: its loss is the same as being killed.
            if to != from && !cut && self.random.f64() >= self.loss {
                let arrives = self.now + self.random.u64(0..=self.delay);
                self.at(arrives, Happening::Datagram(to, from, alive, leaving));
            }
        }
    }

    fn act(
        &mut self,
        process: usize,
        act: impl FnOnce(&mut Membership, &mut Vec<Event>),
    ) -> Result<(), String> {
        if self.processes[process].life != Life::Runs {
            return Ok(());
        }
        let mut events = Vec::new();
        act(&mut self.processes[process].membership, &mut events);
        for event in events {
            match event {
                Event::Probe(member) => {
                    let whom = usize::from(member.id.0[0]);
                    let cut = self.cut[self.processes[process].place][self.processes[whom].place];
                    let reached = self.connects(process, whom);
                    let takes = match cut {
                        true => CONNECT_TIMEOUT,
                        false => self.random.u64(1..=self.delay),
                    };
                    self.at(self.now + takes, Happening::Probed(process, whom, reached));
                }
                Event::Removed(member, reason) => self.rightly(process, &member, reason)?,
                Event::WrongAddress(member) => {
                    return Err(format!("{member:?} is at nobody's address"));
                }
                Event::Added(_) | Event::StillAlive(_) => {}
            }
        }
        Ok(())
    }

    /// Nobody who can be reached is lost.
    fn rightly(&self, by: usize, member: &Member, reason: Reason) -> Result<(), String> {
        let lost = &self.processes[usize::from(member.id.0[0])];
        let right = match reason {
            Reason::Left => lost.life == Life::Left,
            Reason::Unreachable => {
                lost.life != Life::Runs && lost.life != Life::Frozen || self.was_cut(by, lost.place)
            }
            Reason::Replaced => !matches!(lost.life, Life::Runs | Life::Frozen),
        };
        match right {
            true => Ok(()),
            false => Err(format!(
                "{by} lost {} ({:?}) as {reason:?} at {}",
                member.id, lost.life, self.now
            )),
        }
    }

    /// Whether the two are cut off, or were when a probe that ends now began.
    fn was_cut(&self, by: usize, place: usize) -> bool {
        let recently = self.mended + CONNECT_TIMEOUT >= self.now;
        self.cut[self.processes[by].place][place] || recently
    }

    fn killed_are_gone(&self, by: usize) -> Result<(), String> {
        for (member, _) in self.processes[by].membership.members() {
            if let Life::Killed(at) = self.processes[usize::from(member.id.0[0])].life
                && self.now > at + GONE_AFTER
            {
                return Err(format!(
                    "{by} still has {}, killed at {at}, at {}",
                    member.id, self.now
                ));
            }
        }
        Ok(())
    }

    fn fault(&mut self, fault: u8) {
        let place = self.random.usize(0..self.places);
        let running = self.running(place);
        match (fault, running) {
            (0, Some(process)) => self.processes[process].life = Life::Killed(self.now),
            (1, Some(process)) if self.processes[process].life == Life::Runs => {
                self.multicast(process, true);
                self.processes[process].life = Life::Left;
            }
            (2, Some(process)) => self.processes[process].life = Life::Frozen,
            (3, _) => {
                let other = self.random.usize(0..self.places);
                if place != other {
                    self.cut[place][other] = true;
                    self.cut[other][place] = true;
                }
            }
            (4, Some(process)) => {
                let whom = self.random.usize(0..self.processes.len());
                if whom != process {
                    self.at(self.now, Happening::SendFailed(process, whom));
                }
            }
            (_, None) if fault != u8::MAX => self.start(place),
            _ => {}
        }
        if fault == u8::MAX {
            self.cut = vec![vec![false; self.places]; self.places];
            self.mended = self.now;
            for place in 0..self.places {
                match self.running(place) {
                    Some(process) => self.processes[process].life = Life::Runs,
                    None => self.start(place),
                }
            }
        }
    }

    /// All that run have all the others that run, in one order.
    fn agreed(&self) -> Result<(), String> {
        let running: BTreeMap<u8, &Process> = self
            .processes
            .iter()
            .filter(|p| p.life == Life::Runs)
            .map(|p| (p.member.id.0[0], p))
            .collect();
        for (number, process) in &running {
            let members: Vec<u8> = process
                .membership
                .members()
                .map(|(m, _)| m.id.0[0])
                .collect();
            let mut sorted = members.clone();
            sorted.sort_unstable();
            let expected: Vec<u8> = running.keys().copied().filter(|n| n != number).collect();
            if sorted != expected {
                return Err(format!("{number} has {members:?} and not {expected:?}"));
            }
            // A datagram takes some time, which makes its sender seem younger.
            let blurred = self.delay + FREQUENCY;
            for pair in members.windows(2) {
                let [first, second] = [pair[0], pair[1]].map(|n| running[&n].born);
                if first > second + blurred {
                    return Err(format!("{number} has {members:?}, not the oldest first"));
                }
            }
        }
        Ok(())
    }
}
