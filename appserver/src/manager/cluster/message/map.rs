//! What Tomcats with `BackupManager` say: objects of the class `org.apache.catalina.tribes.tipis.AbstractReplicatedMap$MapMessage`,
//! byte for byte. Pure.
//!
//! The map is that of one context, from session ids to sessions. A message names a session and the members that keep it; what it
//! carries besides is a Java stream of its own:
//!
//! | message | key | members | value |
//! |---|---|---|---|
//! | BACKUP, whole; the answer to RETRIEVE | id | primary, backup | the session: [`read_session`] |
//! | BACKUP, a difference | id | primary, backup | what changed: [`super::Delta`] |
//! | PROXY, NOTIFY, ACCESS | id | primary, backup | |
//! | REMOVE; the question RETRIEVE | id | | |
//! | INIT, START, STOP; the question PING | | who says it | |
//! | the answer to PING | | who says it | its [`MapState`] |
//! | the answer to STATE | | | a PROXY for each session: [`MapMessage::entries`] |
//!
//! INIT, START, STATE, RETRIEVE and PING are questions, and travel in a [`super::RpcMessage`]. An answer is the question with what
//! was asked for in it.

use super::state::{LIMITS, read_session, write_session};
use super::{MessageError, Whole};
use crate::java::{ClassDesc, ClassRef, Heap, JavaError, Reader, Ref, View, Writer};
use crate::tribes::member::Member;

pub(super) const CLASS: &str = "org.apache.catalina.tribes.tipis.AbstractReplicatedMap$MapMessage";
const MEMBER: &str = "org.apache.catalina.tribes.membership.MemberImpl";
const STATE: &str = "org.apache.catalina.tribes.tipis.AbstractReplicatedMap$State";

/// At most so many members are named as those that keep one session; Tomcat's `LazyReplicatedMap` has one backup.
const NODES_MAX: usize = 64;

/// What happened, or is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapKind {
    /// You are the backup of this session. `MSG_BACKUP`.
    Backup = 1,
    /// Send me this session. `MSG_RETRIEVE_BACKUP`.
    Retrieve = 2,
    /// A session is with these members. `MSG_PROXY`.
    Proxy = 3,
    /// A session is gone. `MSG_REMOVE`.
    Remove = 4,
    /// Which sessions are there? `MSG_STATE`.
    State = 5,
    /// I have the map now. `MSG_START`.
    Start = 6,
    /// I do not have it any more. `MSG_STOP`.
    Stop = 7,
    /// I begin to make the map. `MSG_INIT`.
    Init = 8,
    /// Of maps in which every member has everything. `MSG_COPY`.
    Copy = 9,
    /// The same. `MSG_STATE_COPY`.
    StateCopy = 10,
    /// A session was used. `MSG_ACCESS`.
    Access = 11,
    /// A session has another primary, which got it from you. `MSG_NOTIFY_MAPMEMBER`.
    Notify = 12,
    /// Are you there? `MSG_PING`.
    Ping = 13,
}

impl MapKind {
    const ALL: [Self; 13] = [
        Self::Backup,
        Self::Retrieve,
        Self::Proxy,
        Self::Remove,
        Self::State,
        Self::Start,
        Self::Stop,
        Self::Init,
        Self::Copy,
        Self::StateCopy,
        Self::Access,
        Self::Notify,
        Self::Ping,
    ];
}

/// How far a member is with its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapState {
    /// It is being made.
    New,
    /// The entries are there.
    StateTransferred,
    /// It works.
    Initialized,
    /// It is over.
    Destroyed,
}

impl MapState {
    const NAMES: [(Self, &str); 4] = [
        (Self::New, "NEW"),
        (Self::StateTransferred, "STATETRANSFERRED"),
        (Self::Initialized, "INITIALIZED"),
        (Self::Destroyed, "DESTROYED"),
    ];
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapMessage {
    /// What happened.
    pub kind: MapKind,
    /// The map's name: [`map_name`].
    pub map: String,
    /// The session.
    pub key: Option<String>,
    /// What changed in it: the body of a [`super::Delta`].
    pub diff: Option<Vec<u8>>,
    /// A Java stream with what the message carries.
    pub value: Option<Vec<u8>>,
    /// Who has the session as a backup.
    pub nodes: Option<Vec<Member>>,
    /// Who served it last; or who says this.
    pub primary: Option<Member>,
}

/// The name of a context's map.
pub fn map_name(context: &str) -> String {
    format!("{context}-map")
}

impl MapMessage {
    /// A message about the map, from or about `primary`.
    pub fn new(kind: MapKind, map: &str, primary: Option<Member>) -> Self {
        Self {
            kind,
            map: map.to_owned(),
            key: None,
            diff: None,
            value: None,
            nodes: None,
            primary,
        }
    }

    /// A message about a session that `primary` and `nodes` keep.
    pub fn about(kind: MapKind, map: &str, key: &str, primary: Member, nodes: Vec<Member>) -> Self {
        Self {
            key: Some(key.to_owned()),
            nodes: Some(nodes),
            ..Self::new(kind, map, Some(primary))
        }
    }

    /// A message that names a session and nobody.
    pub fn of_key(kind: MapKind, map: &str, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..Self::new(kind, map, None)
        }
    }

    /// The same with a whole session. Attributes that cannot be written are left out; their names come back with the reason.
    pub fn with_session(self, session: &Whole) -> (Self, Vec<(String, JavaError)>) {
        let (value, failed) = write_session(session);
        let value = Some(value);
        (Self { value, ..self }, failed)
    }

    /// The same with a state: the answer to PING.
    #[must_use]
    pub fn with_state(self, state: MapState) -> Self {
        let mut heap = Heap::new();
        let parent = heap.intern(ClassDesc::new("java.lang.Enum", 0, ENUM, &[], None));
        let class = heap.intern(ClassDesc::new(STATE, 0, ENUM, &[], Some(parent)));
        let name = MapState::NAMES.into_iter().find(|(s, _)| *s == state);
        let constant = heap.constant(class, name.map_or("", |(_, name)| name));
        let value = Some(alone(&heap, constant));
        Self { value, ..self }
    }

    /// The same with messages: the answer to STATE.
    #[must_use]
    pub fn with_entries(self, entries: &[Self]) -> Self {
        let mut objects = Objects::new(Heap::new());
        let items: Vec<_> = entries.iter().map(|e| Some(objects.message(e))).collect();
        let list = objects.heap.array_list(&items);
        let value = Some(alone(&objects.heap, list));
        Self { value, ..self }
    }

    /// The session that it carries, if any.
    pub fn session(&self) -> Result<Option<Whole>, MessageError> {
        self.value.as_deref().map(read_session).transpose()
    }

    /// The state that it carries.
    pub fn state(&self) -> Result<MapState, MessageError> {
        let mut reader = Reader::new(self.value.as_deref().unwrap_or_default(), LIMITS)?;
        let constant = reader.object()?;
        let name = constant.and_then(|constant| reader.heap().constant_name(constant));
        let name = name.map(ToString::to_string).unwrap_or_default();
        let state = MapState::NAMES.into_iter().find(|(_, n)| *n == name);
        state
            .map(|(state, _)| state)
            .ok_or_else(|| MessageError::Unknown(format!("`{name}` is no state of a map")))
    }

    /// The messages that it carries; those that cannot be read are left out and counted.
    pub fn entries(&self) -> Result<(Vec<Self>, usize), MessageError> {
        let mut reader = Reader::new(self.value.as_deref().unwrap_or_default(), LIMITS)?;
        let list = reader.object()?;
        let heap = reader.heap();
        let Some(View::List(_, items)) = list.map(|list| heap.view(list)) else {
            return Err(MessageError::Unknown("it has no list of sessions".into()));
        };
        let read = |item: &Option<Ref>| Self::of_object(heap, (*item)?).ok();
        let entries: Vec<_> = items.iter().filter_map(read).collect();
        let unread = items.len() - entries.len();
        Ok((entries, unread))
    }

    /// The message as Tomcat writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut objects = Objects::new(Heap::new());
        let message = objects.message(self);
        alone(&objects.heap, message)
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(bytes, LIMITS)?;
        let message = reader.object()?;
        let message = message.ok_or_else(|| MessageError::Unknown("it is null".into()))?;
        Self::of_object(reader.heap(), message)
    }

    pub(super) fn of_object(heap: &Heap, object: Ref) -> Result<Self, MessageError> {
        let unknown = |what: &str| MessageError::Unknown(format!("a message of a map: {what}"));
        let class = heap.class_name(object);
        if class != CLASS {
            return Err(unknown(&format!("it is of class `{class}`")));
        }
        // Z diff, I msgtype, [B diffvalue, [B keydata, [B mapId, [L nodes, L primary, [B valuedata
        let fields = heap.fields(object);
        let Some(([_, kind @ ..], [diff, key, map, nodes, primary, value])) = fields else {
            return Err(unknown("its fields are not those of Tomcat 10.1"));
        };
        let number = kind.try_into().map(i32::from_be_bytes).unwrap_or_default();
        let kind = MapKind::ALL.into_iter().find(|k| *k as i32 == number);
        let kind = kind.ok_or_else(|| unknown(&format!("there is no kind {number}")))?;
        let bytes = |field: &Option<Ref>| match heap.view((*field)?) {
            View::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        };
        let map = bytes(map).ok_or_else(|| unknown("it names no map"))?;
        let key = bytes(key).map(|key| read_text(&key)).transpose()?;
        let nodes = match nodes.map(|nodes| heap.view(nodes)) {
            Some(View::Array(nodes)) if nodes.len() <= NODES_MAX => {
                let nodes = nodes.iter().flatten().map(|node| member(heap, *node));
                Some(nodes.collect::<Result<_, _>>()?)
            }
            Some(_) => return Err(unknown("its backups are no members")),
            None => None,
        };
        Ok(Self {
            kind,
            // As Java's ISO-8859-1.
            map: map.into_iter().map(char::from).collect(),
            key,
            diff: bytes(diff),
            value: bytes(value),
            nodes,
            primary: primary.map(|primary| member(heap, primary)).transpose()?,
        })
    }
}

/// `SC_ENUM` and `SC_SERIALIZABLE`.
const ENUM: u8 = 18;

fn alone(heap: &Heap, object: Ref) -> Vec<u8> {
    let mut writer = Writer::new(heap);
    writer.object(Some(object));
    writer.finish()
}

fn read_text(stream: &[u8]) -> Result<String, MessageError> {
    let mut reader = Reader::new(stream, LIMITS)?;
    match reader.object()?.map(|text| reader.heap().view(text)) {
        Some(View::Text(text)) => Ok(text.to_string()),
        _ => Err(MessageError::Unknown("a key of a map is no text".into())),
    }
}

/// A member writes itself: the length of its package, and the package.
fn member(heap: &Heap, object: Ref) -> Result<Member, MessageError> {
    let package = heap.external_data(object).and_then(|data| data.get(4..));
    let package = package.ok_or_else(|| MessageError::Unknown("a member is none".into()))?;
    let (member, _) =
        Member::parse(package).map_err(|error| MessageError::Unknown(error.to_string()))?;
    Ok(member)
}

/// Makes the objects of messages. What messages of one stream share is there once, as Java has it.
pub(super) struct Objects {
    pub(super) heap: Heap,
    message: ClassRef,
    member: ClassRef,
    members: ClassRef,
    maps: Vec<(String, Ref)>,
    known: Vec<(Vec<u8>, Ref)>,
}

impl Objects {
    pub(super) fn new(mut heap: Heap) -> Self {
        const FIELDS: [(u8, &str, &str); 8] = [
            (b'Z', "diff", ""),
            (b'I', "msgtype", ""),
            (b'[', "diffvalue", "[B"),
            (b'[', "keydata", "[B"),
            (b'[', "mapId", "[B"),
            (b'[', "nodes", "[Lorg/apache/catalina/tribes/Member;"),
            (b'L', "primary", "Lorg/apache/catalina/tribes/Member;"),
            (b'[', "valuedata", "[B"),
        ];
        let array = "[Lorg.apache.catalina.tribes.Member;";
        Self {
            message: heap.intern(ClassDesc::new(CLASS, 1, 2, &FIELDS, None)),
            member: heap.intern(ClassDesc::new(MEMBER, 0x8476_F37B_3295_3667, 12, &[], None)),
            members: heap.intern(ClassDesc::new(array, 0x5EC4_606B_842D_393C, 2, &[], None)),
            heap,
            maps: Vec::new(),
            known: Vec::new(),
        }
    }

    pub(super) fn message(&mut self, message: &MapMessage) -> Ref {
        let diff = message.diff.as_deref().map(|diff| self.heap.bytes(diff));
        let key = message.key.as_deref().map(|key| {
            let mut heap = Heap::new();
            let text = heap.text(key);
            self.heap.bytes(&alone(&heap, text))
        });
        let map = self.map(&message.map);
        let nodes = message.nodes.as_ref().map(|nodes| {
            let nodes: Vec<_> = nodes.iter().map(|node| Some(self.member(node))).collect();
            self.heap.array(self.members, &nodes)
        });
        let primary = message.primary.as_ref().map(|primary| self.member(primary));
        let value = message.value.as_deref().map(|value| self.heap.bytes(value));
        let mut primitives = vec![u8::from(diff.is_some())];
        primitives.extend((message.kind as i32).to_be_bytes());
        let references = [diff, key, Some(map), nodes, primary, value];
        self.heap.instance(self.message, &primitives, &references)
    }

    fn map(&mut self, name: &str) -> Ref {
        if let Some((_, object)) = self.maps.iter().find(|(known, _)| known == name) {
            return *object;
        }
        let latin: Vec<u8> = name
            .chars()
            .map(|c| u8::try_from(c).unwrap_or(b'?'))
            .collect();
        let object = self.heap.bytes(&latin);
        self.maps.push((name.to_owned(), object));
        object
    }

    fn member(&mut self, member: &Member) -> Ref {
        let package = member.package();
        if let Some((_, object)) = self.known.iter().find(|(known, _)| *known == package) {
            return *object;
        }
        let len = u32::try_from(package.len()).unwrap_or(u32::MAX);
        let data = [&len.to_be_bytes()[..], &package].concat();
        let object = self.heap.external(self.member, &data);
        self.known.push((package, object));
        object
    }
}
