//! Some of ours and some Tomcats with `BackupManager` in one map, without a network: the Tomcats are a model of `LazyReplicatedMap`, as
//! the real one behaves on the wire. Browsers go from one to the other, members die and come late, and nobody loses anything.
//!
//! A schedule follows from its seed; a failing one is printed as `MAP_SEED`, which plays that one alone.

#[path = "support/seeds.rs"]
mod seeds;

use std::collections::BTreeMap;

use appserver::manager::cluster::core::{Core, CoreConfig, NewKey, Outbox, Spread};
use appserver::manager::cluster::message::{
    Action, Delta, MapKind, MapMessage, MapState, RpcBody, RpcMessage, Said, Whole, map_name,
};
use appserver::manager::cluster::peers::Peer;
use appserver::session::{AskedId, Key, Timestamp, Value};
use appserver::tribes::member::{Member, MemberId, NATIVE};

const SCHEDULES: u64 = 10_000;
const STEPS: usize = 20;

type Id = [u8; 16];

fn member(id: Id, is_native: bool) -> Member {
    let member = Member::native(MemberId(id), ([127, 0, 0, 1], 4000).into(), "");
    Member {
        payload: if is_native {
            NATIVE.into()
        } else {
            Box::default()
        },
        ..member
    }
}

/// An entry of a Tomcat's map.
#[derive(Debug, Clone, Default)]
struct Entry {
    value: Option<Whole>,
    primary: Option<Id>,
    nodes: Vec<Id>,
    proxy: bool,
    backup: bool,
}

/// A Tomcat.
struct Tomcat {
    me: Member,
    entries: BTreeMap<String, Entry>,
    members: Vec<Member>,
    turn: usize,
}

enum Server {
    Ours(Box<Core>),
    Tomcat(Tomcat),
}

/// What a member sends: to whom, and what.
type Sends = Vec<(Id, Said)>;

impl Tomcat {
    fn id(&self) -> Id {
        self.me.id.0
    }

    fn member(&self, id: Id) -> Member {
        let known = self.members.iter().find(|member| member.id.0 == id);
        known.unwrap_or(&self.me).clone()
    }

    fn about(&self, kind: MapKind, key: &str, primary: Id, nodes: &[Id]) -> MapMessage {
        let nodes = nodes.iter().map(|id| self.member(*id)).collect();
        MapMessage::about(kind, &map_name("/jsp"), key, self.member(primary), nodes)
    }

    /// `publishEntryInfo`.
    fn publish(&mut self, key: &str, sends: &mut Sends) {
        let Some(backup) = (!self.members.is_empty()).then(|| {
            self.turn += 1;
            self.members[self.turn % self.members.len()].id.0
        }) else {
            return;
        };
        let value = self.entries[key].value.clone().expect("a session");
        let whole = self.about(MapKind::Backup, key, self.id(), &[backup]);
        sends.push((backup, Said::Map(whole.with_session(&value).0)));
        self.tell_proxies(key, &[backup], sends);
        let me = self.id();
        let entry = self.entries.get_mut(key).expect("there");
        (entry.primary, entry.nodes) = (Some(me), vec![backup]);
    }

    fn tell_proxies(&self, key: &str, nodes: &[Id], sends: &mut Sends) {
        let proxy = self.about(MapKind::Proxy, key, self.id(), nodes);
        for other in self.members.iter().filter(|m| !nodes.contains(&m.id.0)) {
            sends.push((other.id.0, Said::Map(proxy.clone())));
        }
    }

    fn member_added(&mut self, member: &Member, sends: &mut Sends) {
        if *member == self.me || self.members.iter().any(|known| known.id == member.id) {
            return;
        }
        self.members.push(member.clone());
        let alone: Vec<String> = self.keys(|e| !e.proxy && !e.backup && e.nodes.is_empty());
        alone.iter().for_each(|key| self.publish(key, sends));
    }

    fn member_gone(&mut self, id: Id, sends: &mut Sends) {
        let before = self.members.len();
        self.members.retain(|member| member.id.0 != id);
        if before == self.members.len() {
            return;
        }
        let me = self.id();
        for key in self.keys(|_| true) {
            let entry = self.entries.get_mut(&key).expect("there");
            let is_primary = !entry.proxy && !entry.backup;
            if is_primary && entry.nodes.contains(&id) {
                entry.nodes.clear();
                self.publish(&key, sends);
                continue;
            }
            if entry.primary == Some(id) {
                entry.primary = None;
            }
            if entry.proxy && entry.primary.is_none() && entry.nodes == [id] {
                self.entries.remove(&key);
            } else if entry.primary.is_none() && entry.backup && entry.nodes == [me] {
                (entry.primary, entry.backup) = (Some(me), false);
                entry.nodes.clear();
                self.publish(&key, sends);
            }
        }
    }

    fn keys(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<String> {
        let wanted = self.entries.iter().filter(|(_, entry)| wanted(entry));
        wanted.map(|(key, _)| key.clone()).collect()
    }

    fn hear(&mut self, message: &MapMessage, sends: &mut Sends) {
        let ids = |members: &Option<Vec<Member>>| -> Vec<Id> {
            members.iter().flatten().map(|member| member.id.0).collect()
        };
        let primary = message.primary.as_ref().map(|member| member.id.0);
        let key = message.key.clone().unwrap_or_default();
        match message.kind {
            MapKind::Start => {
                let primary = message.primary.clone().expect("who starts");
                self.member_added(&primary, sends);
            }
            MapKind::Stop => self.member_gone(primary.expect("who stops"), sends),
            MapKind::Remove => drop(self.entries.remove(&key)),
            MapKind::Proxy => {
                let entry = self.entries.entry(key).or_default();
                (entry.proxy, entry.backup) = (true, false);
                (entry.primary, entry.nodes) = (primary, ids(&message.nodes));
            }
            MapKind::Notify | MapKind::Access => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    (entry.primary, entry.nodes) = (primary, ids(&message.nodes));
                }
            }
            MapKind::Backup => {
                let entry = self.entries.entry(key).or_default();
                (entry.proxy, entry.backup) = (false, true);
                (entry.primary, entry.nodes) = (primary, ids(&message.nodes));
                if let Some(diff) = &message.diff {
                    let value = entry.value.as_mut().expect("a difference needs a session");
                    for action in Delta::decode(diff).0.actions {
                        apply(value, action);
                    }
                } else {
                    entry.value = message.session().expect("readable");
                }
            }
            other => panic!("{other:?} is a question"),
        }
    }

    fn answer(
        &mut self,
        question: &MapMessage,
        from: &Member,
        sends: &mut Sends,
    ) -> Option<MapMessage> {
        let from_here = MapMessage {
            primary: Some(self.me.clone()),
            ..question.clone()
        };
        match question.kind {
            MapKind::Init => Some(from_here),
            MapKind::Start => {
                self.member_added(from, sends);
                Some(from_here)
            }
            MapKind::Ping => Some(from_here.with_state(MapState::Initialized)),
            MapKind::State => {
                let entries = self.entries.iter().map(|(key, entry)| {
                    let primary = entry.primary.unwrap_or(self.id());
                    self.about(MapKind::Proxy, key, primary, &entry.nodes)
                });
                Some(question.clone().with_entries(&entries.collect::<Vec<_>>()))
            }
            MapKind::Retrieve => {
                let entry = self.entries.get(question.key.as_ref()?)?;
                Some(question.clone().with_session(entry.value.as_ref()?).0)
            }
            other => panic!("{other:?} is no question"),
        }
    }
}

fn apply(value: &mut Whole, action: Action) {
    match action {
        Action::IsNew(is_new) => value.is_new = is_new,
        Action::MaxInactive(seconds) => value.max_inactive = seconds,
        Action::Set(name, new) => {
            value.attributes.retain(|(known, _)| *known != name);
            value.attributes.push((name, new));
        }
        Action::Removed(name) => value.attributes.retain(|(known, _)| *known != name),
    }
}

/// All of them, who all hear each other at once.
struct World {
    servers: BTreeMap<Id, Server>,
    now: u64,
    random: u64,
    born: u8,
    questions: u64,
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_000_000_000 + self.now)
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below
    }

    fn is_native(id: Id) -> bool {
        id[1] == 0
    }

    /// Delivers what a member sends, and what follows. What a Tomcat says is not made to bytes: its own bytes are among the messages'
    /// tests, and to read them takes most of the time.
    fn deliver(&mut self, from: Id, sends: Sends) {
        for (to, said) in sends {
            let now = self.now();
            match self.servers.get_mut(&to) {
                None => {}
                Some(Server::Ours(core)) => {
                    let mut out = Outbox::default();
                    assert!(core.receive_map(&from, said, now, &mut out));
                    self.send(to, out);
                }
                Some(Server::Tomcat(tomcat)) => {
                    let mut sends = Sends::new();
                    match said {
                        Said::Map(message) => tomcat.hear(&message, &mut sends),
                        Said::Rpc(rpc) => {
                            if let RpcBody::Ask(question) = &rpc.body {
                                let asker = member(from, Self::is_native(from));
                                let answer = tomcat.answer(question, &asker, &mut sends);
                                let body = RpcBody::Reply(answer.map(Box::new));
                                sends.push((from, Said::Rpc(rpc.answered(body))));
                            }
                        }
                    }
                    self.deliver(to, sends);
                }
            }
        }
    }

    /// Sends what one of ours has to send, as its manager does.
    fn send(&mut self, from: Id, mut out: Outbox) {
        assert!(out.tomcats.is_empty() && out.one_tomcat.is_empty());
        let now = self.now();
        let maps = self.ours(from).maps();
        let natives = !out.natives.is_empty() || !out.others.is_empty() || !out.copies.is_empty();
        assert!(!natives || !maps, "two kinds of rules");
        for key in std::mem::take(&mut out.publish) {
            let sends = self.ours(from).publish_orphan(key, now);
            out.map.extend(sends);
        }
        for key in std::mem::take(&mut out.used) {
            let sends = self.ours(from).use_of(key, now);
            out.map.extend(sends);
        }
        for send in out.map {
            let said = Said::decode(&send.message).expect("a map's").expect("ours");
            let is_here = send.to.iter().all(|to| self.servers.contains_key(to));
            let sends = send.to.iter().map(|to| (*to, said.clone())).collect();
            self.deliver(from, sends);
            if let (false, Some(key)) = (is_here, send.backs_up) {
                self.ours(from).backup_failed(key);
            }
        }
        for (to, mut stream) in out.streams {
            while let Some(key) = stream.next_entry() {
                if let Some(entry) = self.ours(from).entry_of(key, &to) {
                    let said = Said::Map(MapMessage::decode(&entry).expect("ours"));
                    self.deliver(from, vec![(to, said)]);
                }
            }
        }
        // By our own rules, when no Tomcat is left.
        let others: Vec<Id> = self
            .servers
            .keys()
            .filter(|id| **id != from && Self::is_native(**id))
            .copied()
            .collect();
        let to_all = out.natives.into_iter().flat_map(|message| {
            others
                .iter()
                .map(move |to| (*to, message.clone()))
                .collect::<Vec<_>>()
        });
        let but = out.others.into_iter().flat_map(|(but, message)| {
            let to = others.iter().filter(move |id| **id != but);
            to.map(move |to| (*to, message.clone())).collect::<Vec<_>>()
        });
        let owed = out.owed.into_iter().map(|owed| (owed.to, owed.message));
        for (to, message) in to_all
            .chain(but)
            .chain(out.copies)
            .chain(owed)
            .chain(out.one)
            .collect::<Vec<_>>()
        {
            if let Some(Server::Ours(core)) = self.servers.get(&to) {
                let mut out = Outbox::default();
                core.receive(&from, &message, now, &mut out).expect("ours");
                self.send(to, out);
            }
        }
    }

    fn ours(&self, id: Id) -> &Core {
        match &self.servers[&id] {
            Server::Ours(core) => core,
            Server::Tomcat(_) => panic!("a Tomcat"),
        }
    }

    fn tick(&mut self) {
        self.now += 500;
        for id in self.servers.keys().copied().collect::<Vec<_>>() {
            if Self::is_native(id) {
                let mut out = Outbox::default();
                self.ours(id).tick(self.now(), &mut out);
                self.send(id, out);
            }
        }
    }

    /// A member starts, and knows all the others.
    fn start(&mut self, is_native: bool) {
        self.born += 1;
        let id = [
            self.born,
            u8::from(!is_native),
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
        ];
        let me = member(id, is_native);
        let now = self.now();
        let others: Vec<Id> = self.servers.keys().copied().collect();
        for other in &others {
            if let Server::Ours(core) = &self.servers[other] {
                core.member_added(Peer::of(&me), now);
            }
        }
        if is_native {
            let config = CoreConfig::new("/jsp", Spread::Backup);
            let keys =
                std::sync::atomic::AtomicU64::new(u64::from(self.born) << 32 | self.random >> 40);
            let new_key = move || {
                let number = keys.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Key::from_bytes(
                    [number.to_be_bytes(), number.to_be_bytes()]
                        .concat()
                        .try_into()
                        .expect("16 bytes"),
                )
            };
            let core = Core::new(config, id, NewKey(Box::new(new_key)));
            core.known_as(me);
            for other in &others {
                core.member_added(Peer::of(&member(*other, Self::is_native(*other))), now);
            }
            let mut out = Outbox::default();
            core.start(now, &mut out);
            self.servers.insert(id, Server::Ours(Box::new(core)));
            self.send_start(id, out);
            return;
        }
        let tomcat = Tomcat {
            me: me.clone(),
            entries: BTreeMap::new(),
            members: Vec::new(),
            turn: self.pick(4),
        };
        self.servers.insert(id, Server::Tomcat(tomcat));
        // INIT changes nothing; STATE to one of the members, START to all.
        let has_map: Vec<Id> = others;
        let map = map_name("/jsp");
        if !has_map.is_empty() {
            let asked = has_map[self.pick(has_map.len())];
            let state = self.ask(id, asked, MapMessage::new(MapKind::State, &map, None));
            let (entries, _) = state.expect("an answer").entries().expect("readable");
            for entry in entries {
                self.deliver(asked, vec![(id, Said::Map(entry))]);
            }
        }
        for other in has_map {
            let start = MapMessage::new(MapKind::Start, &map, Some(me.clone()));
            self.ask(id, other, start).expect("an answer");
            let other = member(other, Self::is_native(other));
            let mut sends = Sends::new();
            if let Some(Server::Tomcat(tomcat)) = self.servers.get_mut(&id) {
                tomcat.member_added(&other, &mut sends);
            }
            self.deliver(id, sends);
        }
    }

    /// One of ours that starts asks our own for the places of all sessions.
    fn send_start(&mut self, id: Id, mut out: Outbox) {
        let (now, asks) = (self.now(), std::mem::take(&mut out.one));
        self.send(id, out);
        for (to, message) in asks {
            let mut out = Outbox::default();
            self.ours(to)
                .receive(&id, &message, now, &mut out)
                .expect("ours");
            let streams = std::mem::take(&mut out.streams);
            self.send(to, out);
            for (_, mut stream) in streams {
                while let Some(places) = self.ours(to).pull(&mut stream, now) {
                    let mut out = Outbox::default();
                    self.ours(id)
                        .receive(&to, &places, now, &mut out)
                        .expect("ours");
                    self.send(id, out);
                }
            }
        }
        self.tick();
        assert!(self.ours(id).is_joined());
    }

    /// A Tomcat asks; the answer comes at once.
    fn ask(&mut self, from: Id, to: Id, question: MapMessage) -> Option<MapMessage> {
        self.questions += 1;
        let now = self.now();
        match self.servers.get_mut(&to)? {
            Server::Ours(core) => {
                let rpc = RpcMessage {
                    id: self.questions.to_be_bytes().to_vec(),
                    channel: map_name("/jsp"),
                    body: RpcBody::Ask(Box::new(question)),
                };
                let mut out = Outbox::default();
                core.receive_map(&from, Said::Rpc(rpc), now, &mut out);
                let reply = out.map.pop().expect("an answer");
                self.send(to, out);
                match Said::decode(&reply.message) {
                    Some(Ok(Said::Rpc(RpcMessage {
                        body: RpcBody::Reply(reply),
                        ..
                    }))) => reply.map(|reply| *reply),
                    other => panic!("{other:?}"),
                }
            }
            Server::Tomcat(tomcat) => {
                let mut sends = Sends::new();
                let asker = member(from, Self::is_native(from));
                let answer = tomcat.answer(&question, &asker, &mut sends);
                self.deliver(to, sends);
                answer
            }
        }
    }

    fn kill(&mut self, id: Id) {
        self.servers.remove(&id);
        let now = self.now();
        for other in self.servers.keys().copied().collect::<Vec<_>>() {
            let (mut out, mut sends) = (Outbox::default(), Sends::new());
            match self.servers.get_mut(&other).expect("there") {
                Server::Ours(core) => core.member_removed(&id, now, &mut out),
                Server::Tomcat(tomcat) => tomcat.member_gone(id, &mut sends),
            }
            self.deliver(other, sends);
            if Self::is_native(other) {
                self.send(other, out);
            }
        }
        self.tick();
        self.tick();
    }

    /// A request for a session: what it finds there, then what it does.
    fn request(&mut self, at: Id, key: &str, does: &Does) -> Option<BTreeMap<String, Value>> {
        if Self::is_native(at) {
            return self.request_ours(at, key, does);
        }
        self.get(at, key)?;
        let Some(Server::Tomcat(tomcat)) = self.servers.get_mut(&at) else {
            panic!("one of ours");
        };
        let entry = tomcat.entries.get_mut(key)?;
        let value = entry.value.as_mut()?;
        let found = value.attributes.iter().cloned().collect();
        let action = match does {
            Does::Nothing => Action::IsNew(false),
            Does::Set(name, new) => Action::Set(name.clone(), new.as_str().into()),
            Does::Remove(name) => Action::Removed(name.clone()),
            Does::End => {
                tomcat.entries.remove(key);
                let remove = Said::Map(MapMessage::of_key(MapKind::Remove, &map_name("/jsp"), key));
                let sends = tomcat
                    .members
                    .iter()
                    .map(|m| (m.id.0, remove.clone()))
                    .collect();
                self.deliver(at, sends);
                return Some(found);
            }
        };
        apply(value, action.clone());
        let delta = Delta {
            session_id: key.to_owned(),
            record_all: false,
            actions: vec![action],
        };
        let nodes = entry.nodes.clone();
        let message = tomcat.about(MapKind::Backup, key, at, &nodes);
        let message = MapMessage {
            diff: Some(delta.encode().0),
            ..message
        };
        let sends = nodes
            .iter()
            .map(|to| (*to, Said::Map(message.clone())))
            .collect();
        self.deliver(at, sends);
        Some(found)
    }

    /// A Tomcat makes itself the primary.
    fn get(&mut self, at: Id, key: &str) -> Option<()> {
        let Some(Server::Tomcat(tomcat)) = self.servers.get_mut(&at) else {
            panic!("one of ours");
        };
        let entry = tomcat.entries.get(key)?.clone();
        let mut sends = Sends::new();
        if entry.backup {
            tomcat.publish(key, &mut sends);
        } else if entry.proxy {
            let retrieve = MapMessage::of_key(MapKind::Retrieve, &map_name("/jsp"), key);
            let answer = self.ask(at, *entry.nodes.first()?, retrieve)?;
            let value = answer.session().expect("readable");
            let Some(Server::Tomcat(tomcat)) = self.servers.get_mut(&at) else {
                panic!("one of ours");
            };
            let there = tomcat.entries.get_mut(key).expect("there");
            there.value = value;
            let notify = tomcat.about(MapKind::Notify, key, at, &entry.nodes);
            sends.extend(
                entry
                    .nodes
                    .iter()
                    .map(|to| (*to, Said::Map(notify.clone()))),
            );
            tomcat.tell_proxies(key, &entry.nodes, &mut sends);
        } else {
            return Some(());
        }
        let Some(Server::Tomcat(tomcat)) = self.servers.get_mut(&at) else {
            panic!("one of ours");
        };
        let entry = tomcat.entries.get_mut(key).expect("there");
        (entry.primary, entry.proxy, entry.backup) = (Some(at), false, false);
        if tomcat.members.is_empty() {
            tomcat.entries.get_mut(key).expect("there").nodes.clear();
        }
        self.deliver(at, sends);
        Some(())
    }

    fn request_ours(&mut self, at: Id, key: &str, does: &Does) -> Option<BTreeMap<String, Value>> {
        let asked = AskedId::parse(key.as_bytes()).expect("an id");
        let now = self.now();
        let mut found = None;
        for _ in 0..3 {
            let mut out = Outbox::default();
            found = self.ours(at).find(&asked, now, &mut out);
            self.send(at, out);
            if found.is_some() {
                break;
            }
            for holder in self.ours(at).holders(asked.key) {
                if self.ours(at).maps() {
                    let (_, question) = self.ours(at).ask_for_session(&asked, &holder, now)?;
                    let said = Said::decode(&question).expect("a map's").expect("ours");
                    self.deliver(at, vec![(holder, said)]);
                } else if let Some(Server::Ours(core)) = self.servers.get(&holder) {
                    let (question, mut out) =
                        (self.ours(at).need(asked.key, now), Outbox::default());
                    core.receive(&at, &question, now, &mut out).expect("ours");
                    let streams = std::mem::take(&mut out.streams);
                    self.send(holder, out);
                    for (_, mut stream) in streams {
                        while let Some(part) = self.ours(holder).pull(&mut stream, now) {
                            let mut out = Outbox::default();
                            self.ours(at)
                                .receive(&holder, &part, now, &mut out)
                                .expect("ours");
                            self.send(at, out);
                        }
                    }
                }
                if self.ours(at).holders(asked.key).is_empty() {
                    break;
                }
            }
        }
        let (session, _) = found?;
        let attributes = session.read(|all| {
            let all = all.iter().map(|(name, value)| (name.to_owned(), value));
            all.collect()
        });
        let mut out = Outbox::default();
        match does {
            Does::Nothing => {}
            Does::Set(name, value) => session.set(name, value.as_str()).expect("alive"),
            Does::Remove(name) => drop(session.remove(name).expect("alive")),
            Does::End => self.ours(at).remove(&session, now, &mut out),
        }
        self.ours(at).commit(&session, true, now, &mut out);
        drop(session);
        self.send(at, out);
        Some(attributes)
    }

    fn create(&mut self, at: Id) -> String {
        let now = self.now();
        if Self::is_native(at) {
            let core = self.ours(at);
            let (session, mut out) = (core.create(now).expect("no limit"), Outbox::default());
            core.commit(&session, true, now, &mut out);
            let key = session.id().to_string();
            drop(session);
            self.send(at, out);
            return key;
        }
        let bytes: Vec<u8> = (0..16).map(|_| self.pick(256) as u8).collect();
        let key = Key::from_bytes(bytes.try_into().expect("16 bytes")).to_string();
        let value = Whole {
            created: now.0,
            last_accessed: now.0,
            this_accessed: now.0,
            max_inactive: 1800,
            is_new: true,
            is_valid: true,
            id: key.clone(),
            attributes: Vec::new(),
        };
        let Some(Server::Tomcat(tomcat)) = self.servers.get_mut(&at) else {
            panic!("one of ours");
        };
        let (value, primary) = (Some(value), Some(at));
        tomcat.entries.insert(
            key.clone(),
            Entry {
                value,
                primary,
                ..Entry::default()
            },
        );
        let mut sends = Sends::new();
        tomcat.publish(&key, &mut sends);
        self.deliver(at, sends);
        key
    }
}

/// What a request does.
#[derive(Debug)]
enum Does {
    Nothing,
    Set(String, String),
    Remove(String),
    End,
}

fn play(seed: u64) {
    let mut world = World {
        servers: BTreeMap::new(),
        now: 0,
        random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        born: 0,
        questions: 0,
    };
    for _ in 0..2 + world.pick(3) {
        let is_native = world.pick(2) == 0;
        world.start(is_native);
    }
    let mut sessions: BTreeMap<String, Option<BTreeMap<String, Value>>> = BTreeMap::new();
    for step in 0..STEPS {
        world.now += 10;
        let servers: Vec<Id> = world.servers.keys().copied().collect();
        let at = servers[world.pick(servers.len())];
        match world.pick(30) {
            0 if servers.len() > 2 => world.kill(at),
            1 if servers.len() < 5 => {
                let is_native = world.pick(2) == 0;
                world.start(is_native);
            }
            2 => world.tick(),
            3..6 => drop(sessions.insert(world.create(at), Some(BTreeMap::new()))),
            does if !sessions.is_empty() => {
                let number = world.pick(sessions.len());
                let key = sessions.keys().nth(number).expect("there").clone();
                let name = format!("n{}", world.pick(3));
                let does = match does {
                    6..11 => Does::Nothing,
                    11..13 => Does::Remove(name),
                    13 => Does::End,
                    _ => Does::Set(name, format!("{step}")),
                };
                let expected = sessions.get_mut(&key).expect("there");
                let found = world.request(at, &key, &does);
                assert_eq!(found, *expected, "step {step}: {does:?} of {key} at {at:?}");
                match (does, expected) {
                    (_, None) | (Does::Nothing, _) => {}
                    (Does::Set(name, value), Some(all)) => {
                        all.insert(name, value.as_str().into());
                    }
                    (Does::Remove(name), Some(all)) => drop(all.remove(&name)),
                    (Does::End, ended) => *ended = None,
                }
            }
            _ => {}
        }
    }
    // All of them, everywhere.
    world.tick();
    for (key, expected) in &sessions {
        for at in world.servers.keys().copied().collect::<Vec<_>>() {
            let found = world.request(at, key, &Does::Nothing);
            assert_eq!(found, *expected, "{key} at {at:?} in the end");
        }
    }
}

#[test]
fn nobody_loses_anything() {
    seeds::play("MAP_SEED", SCHEDULES, play);
}
