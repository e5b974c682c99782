//! The membership's task: datagrams, notices and time go in; probes, links and calls of the listener come out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::link::Link;
use super::multicast;
use super::probe;
use super::shared::{Notice, Shared, View};
use crate::tribes::member::{LEAVING, Member, MemberId, PACKAGE_MAX};
use crate::tribes::membership::{Event, Membership, State};
use crate::tribes::settings::MembershipSettings;

/// So many notices wait at most.
pub(super) const NOTICES_MAX: usize = 1024;

/// The task's state.
pub(super) struct Group {
    shared: Arc<Shared>,
    membership: Membership,
    notices: mpsc::Receiver<Notice>,
    multicast: Option<Multicast>,
    events: Vec<Event>,
    suspected: Vec<MemberId>,
}

/// The group's socket, which may be lost and opened again.
struct Multicast {
    settings: MembershipSettings,
    socket: Option<UdpSocket>,
    group: SocketAddr,
    recoveries: u32,
    again: Option<Instant>,
}

impl Group {
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: &MembershipSettings,
        notices: mpsc::Receiver<Notice>,
        socket: Option<UdpSocket>,
    ) -> Self {
        let local = &shared.local;
        Self {
            membership: Membership::new(local.id, local.address(), settings.drop_time),
            notices,
            multicast: socket.map(|socket| Multicast {
                settings: settings.clone(),
                socket: Some(socket),
                group: SocketAddr::new(settings.address, settings.port),
                recoveries: 0,
                again: None,
            }),
            shared,
            events: Vec::new(),
            suspected: Vec::new(),
        }
    }

    /// Until the channel stops.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let mut ticks = interval(self.shared.limits.frequency);
        // After a pause of the whole process one heartbeat is enough.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut datagram = vec![0; PACKAGE_MAX];
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {
                    if let Some(multicast) = &mut self.multicast {
                        multicast.send(&self.shared.local()).await;
                    }
                    // What already came is heard before anybody is suspected.
                    self.drain(&mut datagram);
                    self.membership.tick(self.shared.now(), &mut self.events);
                }
                received = receive(&mut self.multicast, &mut datagram) => match received {
                    Ok(len) => self.datagram(&datagram[..len]),
                    Err(error) => {
                        if let Some(multicast) = &mut self.multicast {
                            multicast.lost(&error);
                        }
                    }
                },
                notice = self.notices.recv() => {
                    if let Some(notice) = notice {
                        self.notice(notice);
                    }
                }
            }
            self.act();
        }
        self.leave().await;
    }

    /// Datagrams that wait in the socket.
    fn drain(&mut self, datagram: &mut [u8]) {
        // As many as there can be members, and no more: others must get their turn.
        for _ in 0..crate::tribes::membership::MEMBERS_MAX {
            let multicast = self.multicast.as_ref();
            let Some(socket) = multicast.and_then(|m| m.socket.as_ref()) else {
                return;
            };
            match socket.try_recv(datagram) {
                Ok(len) => self.datagram(&datagram[..len]),
                Err(_) => return,
            }
        }
    }

    fn datagram(&mut self, bytes: &[u8]) {
        match Member::parse(bytes) {
            Ok((member, _)) => {
                let now = self.shared.now();
                self.membership.heard(member, now, &mut self.events);
            }
            Err(error) => {
                let counters = &self.shared.counters;
                counters.datagrams.fetch_add(1, Ordering::Relaxed);
                if counters.warned.may(self.shared.now()) {
                    tracing::warn!(%error, "a datagram to the group is no heartbeat");
                }
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        let now = self.shared.now();
        match notice {
            Notice::Heard(member) => {
                let known = self.shared.view.load().link(member.id).is_some();
                let targets = self.shared.targets.load();
                let expected = targets.contains(&member.address());
                if known || expected || member.address() == self.shared.local.address() {
                    self.membership.heard(*member, now, &mut self.events);
                } else if !targets.is_empty() && self.shared.counters.warned.may(now) {
                    tracing::warn!(
                        member = %member.address(),
                        "a heartbeat over TCP is ignored: its address is none of those in membership.members or of membership.name"
                    );
                }
            }
            Notice::Probed(id, reached) => {
                self.membership.probed(id, reached, now, &mut self.events);
            }
            Notice::SendFailed(id) => self.membership.send_failed(id, &mut self.events),
            Notice::Stalled(id) => {
                if let Some(link) = self.shared.view.load().link(id) {
                    let member = &link.member;
                    tracing::warn!(member = %member.address(), "a member does not answer: nobody waits for it until it does");
                    self.shared.listener.stalled(member);
                }
            }
            Notice::Recovered(id, lost) => {
                if let Some(link) = self.shared.view.load().link(id) {
                    let member = &link.member;
                    if lost > 0 {
                        tracing::warn!(member = %member.address(), lost, "messages to a member were lost");
                    } else {
                        tracing::info!(member = %member.address(), "a member answers again");
                    }
                    self.shared.listener.recovered(member, lost);
                }
            }
        }
    }

    /// Does what the state machine wants.
    fn act(&mut self) {
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Probe(member) => probe::start(&self.shared, member),
                Event::Added(member) => {
                    tracing::info!(member = %member.address(), id = %member.id, native = member.is_native(), "member added");
                    let link = Link::open(member.clone(), &self.shared);
                    self.publish(Some(link), None);
                    self.shared.listener.added(&member);
                    self.shared.changed.send_replace(());
                }
                Event::Removed(member, reason) => {
                    tracing::info!(member = %member.address(), id = %member.id, ?reason, "member removed");
                    self.publish(None, Some(member.id));
                    self.shared.listener.removed(&member);
                    self.shared.changed.send_replace(());
                }
                Event::StillAlive(member) => {
                    tracing::info!(member = %member.address(), "a suspected member can be connected to and stays");
                }
                Event::WrongAddress(member) => tracing::warn!(
                    member = %member.address(),
                    id = %member.id,
                    own = %self.shared.local.address(),
                    "another node announces an address that leads to this node or nowhere, so it cannot be a member; its receiver.address \
                     must be one that others reach (Tomcat's address=\"auto\" takes what the machine's name resolves to, often 127.0.0.1)"
                ),
            }
        }
        let suspected =
            |(member, state): (&Member, State)| (state == State::Suspected).then_some(member.id);
        let suspected: Vec<MemberId> = self.membership.members().filter_map(suspected).collect();
        if suspected != self.suspected {
            self.suspected = suspected;
            self.publish(None, None);
        }
    }

    /// Makes the members known.
    fn publish(&self, added: Option<Arc<Link>>, removed: Option<MemberId>) {
        let old = self.shared.view.load();
        let mut view = View::default();
        let mut members = Vec::new();
        let links = || old.links.iter().chain(&added);
        for (member, state) in self.membership.members() {
            // Of several that were added at once, the links of those to come are still missing.
            if let Some(link) = links().find(|link| link.member.id == member.id) {
                members.push(member.clone());
                view.links.push(Arc::clone(link));
                view.suspected.push(state == State::Suspected);
            }
        }
        if let Some(link) = removed.and_then(|id| old.link(id)) {
            link.gone.cancel();
        }
        view.members = members.into();
        self.shared.view.store(Arc::new(view));
    }

    /// Says goodbye and closes.
    async fn leave(&mut self) {
        if let Some(multicast) = &mut self.multicast {
            let mut local = self.shared.local();
            local.command = LEAVING.into();
            multicast.send(&local).await;
        }
        for link in &self.shared.view.swap(Arc::default()).links {
            link.gone.cancel();
        }
        self.notices.close();
    }
}

/// The next datagram, or, when the socket was lost, the moment to open it again.
async fn receive(multicast: &mut Option<Multicast>, datagram: &mut [u8]) -> io::Result<usize> {
    let Some(multicast) = multicast else {
        return std::future::pending().await;
    };
    loop {
        if let Some(socket) = &multicast.socket {
            return socket.recv(datagram).await;
        }
        let Some(again) = multicast.again else {
            return std::future::pending().await;
        };
        sleep_until(again).await;
        multicast.again = None;
        multicast.socket = Some(multicast::open(&multicast.settings)?);
        tracing::info!(group = %multicast.group, "multicast works again");
    }
}

impl Multicast {
    async fn send(&mut self, member: &Member) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send_to(&member.package(), self.group).await {
            self.lost(&error);
        }
    }

    /// The socket failed: it is opened again later, if that is wanted.
    fn lost(&mut self, error: &io::Error) {
        let settings = &self.settings;
        self.socket = None;
        if settings.recovery_enabled && self.recoveries < settings.recovery_counter {
            self.recoveries += 1;
            self.again = Some(Instant::now() + Duration::from_millis(settings.recovery_sleep_time));
            tracing::warn!(group = %self.group, %error, attempt = self.recoveries, "multicast failed and will be tried again");
        } else {
            self.again = None;
            tracing::error!(group = %self.group, %error, "multicast failed for good: this node is heard no more; restart it");
        }
    }
}
