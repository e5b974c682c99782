//! Tomcat's session messages. Those of `DeltaManager` are objects of the class `org.apache.catalina.ha.session.SessionMessageImpl`, byte for byte. Pure.
//!
//! All begin with the same 275 bytes, which describe the class; whoever writes them another way is read as a general Java stream.
//! The bodies are Java streams of their own: [`Delta`] and [`Whole`].
//!
//! ```text
//!   DeltaManager    SessionMessage ── Delta, many Whole
//!   BackupManager   MapMessage ────── Delta, one Whole, MapState, many MapMessage        questions and answers: RpcMessage
//! ```

mod delta;
mod map;
mod rpc;
mod state;

use crate::java::{Heap, JavaError, JavaText, Limits, Reader, Ref, View, Writer};

pub use delta::{Action, Delta};
pub use map::{MapKind, MapMessage, MapState, map_name};
pub use rpc::{RpcBody, RpcMessage, Said};
pub use state::{Whole, WholeReader, read_session, write_session, write_state};

/// The stream's header, the object's mark and the descriptions of its two classes.
const HEAD: &[u8; 275] =
    b"\xAC\xED\0\x05sr\x001org.apache.catalina.ha.session.SessionMessageImpl\0\0\0\0\0\0\0\x02\x02\0\x07I\0\x08m\
      EvtTypeJ\0\x16serializationTimestampZ\0\x0CtimestampSetL\0\x0CmContextNamet\0\x12Ljava/lang/String;[\0\
      \x08mSessiont\0\x02[BL\0\x0AmSessionIDq\0~\0\x01L\0\x08uniqueIdq\0~\0\x01xr\0)org.apache.catalina.ha.Clu\
      sterMessageBase\0\0\0\0\0\0\0\x01\x02\0\x01J\0\x09timestampxp";

/// What stands in front of a `byte[]`: its mark and the description of its class, which is new in the stream.
const BYTES: &[u8; 16] = b"u\x72\0\x02[B\xAC\xF3\x17\xF8\x06\x08T\xE0\x02\0";

/// The longest message that is read: Tomcat has no limit, and sends all sessions as one.
pub const MESSAGE_MAX: usize = 64 << 20;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A session was made. `EVT_SESSION_CREATED`.
    Created = 1,
    /// A session ended. `EVT_SESSION_EXPIRED`.
    Expired = 2,
    /// A session was used. `EVT_SESSION_ACCESSED`.
    Accessed = 3,
    /// Send me all sessions. `EVT_GET_ALL_SESSIONS`.
    GetAllSessions = 4,
    /// Sessions. `EVT_ALL_SESSION_DATA`.
    AllSessionData = 12,
    /// Changes of a session. `EVT_SESSION_DELTA`.
    Delta = 13,
    /// All sessions were sent. `EVT_ALL_SESSION_TRANSFERCOMPLETE`.
    TransferComplete = 14,
    /// A session has another id. `EVT_CHANGE_SESSION_ID`.
    ChangeSessionId = 15,
    /// The context is not served here. `EVT_ALL_SESSION_NOCONTEXTMANAGER`.
    NoContextManager = 16,
}

impl Event {
    const ALL: [Self; 9] = [
        Self::Created,
        Self::Expired,
        Self::Accessed,
        Self::GetAllSessions,
        Self::AllSessionData,
        Self::Delta,
        Self::TransferComplete,
        Self::ChangeSessionId,
        Self::NoContextManager,
    ];
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionMessage {
    /// What happened.
    pub event: Event,
    /// When, in milliseconds since 1970 by the sender's clock; `None`: it does not say.
    pub timestamp: Option<u64>,
    /// The application.
    pub context: String,
    /// What the event needs besides.
    pub body: Option<Vec<u8>>,
    /// The session, or what stands for one.
    pub session_id: String,
    /// A name for the message itself.
    pub unique_id: String,
}

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is no Java stream.
    #[error("a message of a Tomcat cannot be read: {0}")]
    Java(#[from] JavaError),
    /// It is something else.
    #[error("a message of a Tomcat is not understood: {0}")]
    Unknown(String),
}

impl SessionMessage {
    /// A session was made at `created`.
    pub fn created(context: &str, id: &str, created: u64) -> Self {
        Self::about(Event::Created, context, id, created)
    }

    /// A session was used.
    pub fn accessed(context: &str, id: &str, now: u64) -> Self {
        Self::about(Event::Accessed, context, id, now)
    }

    /// A session was changed.
    pub fn delta(context: &str, id: &str, now: u64, body: Vec<u8>) -> Self {
        Self {
            body: Some(body),
            ..Self::about(Event::Delta, context, id, now)
        }
    }

    /// A session ended.
    pub fn expired(context: &str, id: &str, now: u64) -> Self {
        Self {
            unique_id: format!("{id}-EXPIRED-MSG"),
            ..Self::about(Event::Expired, context, id, now)
        }
    }

    /// A session has another id.
    pub fn change_session_id(context: &str, old: &str, new: &str, now: u64) -> Self {
        let heap = Heap::new();
        let mut writer = Writer::new(&heap);
        let is_short = writer.utf(&JavaText::new(new));
        debug_assert!(is_short, "ids are short");
        Self {
            body: Some(writer.finish()),
            ..Self::about(Event::ChangeSessionId, context, old, now)
        }
    }

    /// Send me all sessions.
    pub fn get_all_sessions(context: &str, now: u64) -> Self {
        let unique_id = format!("GET-ALL-{context}");
        Self::of(Event::GetAllSessions, context, "GET-ALL", unique_id, now)
    }

    /// Sessions that were listed at `now`.
    pub fn all_session_data(context: &str, now: u64, body: Vec<u8>) -> Self {
        let unique_id = format!("SESSION-STATE-{context}");
        Self {
            body: Some(body),
            ..Self::of(
                Event::AllSessionData,
                context,
                "SESSION-STATE",
                unique_id,
                now,
            )
        }
    }

    /// All sessions that were there at `listed` were sent.
    pub fn transfer_complete(context: &str, listed: u64) -> Self {
        let id = "SESSION-STATE-TRANSFERRED";
        Self::of(
            Event::TransferComplete,
            context,
            id,
            format!("{id}{context}"),
            listed,
        )
    }

    /// The context is not served here.
    pub fn no_context_manager(context: &str) -> Self {
        let id = "NO-CONTEXT-MANAGER";
        Self {
            timestamp: None,
            ..Self::of(
                Event::NoContextManager,
                context,
                id,
                format!("{id}-{context}"),
                0,
            )
        }
    }

    fn about(event: Event, context: &str, id: &str, now: u64) -> Self {
        Self::of(event, context, id, format!("{id}-{now}"), now)
    }

    fn of(event: Event, context: &str, id: &str, unique_id: String, now: u64) -> Self {
        Self {
            event,
            timestamp: Some(now),
            context: context.to_owned(),
            body: None,
            session_id: id.to_owned(),
            unique_id,
        }
    }

    /// The new id that a change of id tells.
    pub fn new_id(&self) -> Result<String, MessageError> {
        let body = self.body.as_deref().unwrap_or_default();
        let id = Reader::new(body, Limits::default())?.utf()?;
        Ok(id.to_string())
    }

    /// The message as Tomcat writes it.
    pub fn encode(&self) -> Vec<u8> {
        let body = self.body.as_ref().map_or(0, Vec::len);
        let mut out = Vec::with_capacity(HEAD.len() + 128 + self.unique_id.len() + body);
        out.extend(HEAD);
        out.extend([0; 8]);
        out.extend((self.event as i32).to_be_bytes());
        out.extend(self.timestamp.unwrap_or_default().to_be_bytes());
        out.push(u8::from(self.timestamp.is_some()));
        put_text(&mut out, &self.context);
        match &self.body {
            None => out.push(b'p'),
            Some(body) => {
                out.extend(BYTES);
                out.extend(*b"\0xp");
                let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
                out.extend(len.to_be_bytes());
                out.extend(body);
            }
        }
        put_text(&mut out, &self.session_id);
        put_text(&mut out, &self.unique_id);
        out
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes.strip_prefix(HEAD).and_then(Self::plain) {
            Some(message) => Ok(message),
            None => Self::general(bytes),
        }
    }

    /// After the usual beginning, if everything is as usual.
    fn plain(rest: &[u8]) -> Option<Self> {
        let (fixed, mut rest) = rest.split_first_chunk::<21>()?;
        let context = take_text(&mut rest)?;
        let body = match rest.split_first()? {
            (b'p', after) => {
                rest = after;
                None
            }
            _ => {
                let after = rest.strip_prefix(BYTES)?.strip_prefix(b"\0xp")?;
                let (len, after) = after.split_first_chunk()?;
                let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
                let (body, after) = after.split_at_checked(len)?;
                rest = after;
                Some(body.to_vec())
            }
        };
        let (session_id, unique_id) = (take_text(&mut rest)?, take_text(&mut rest)?);
        let message = Self::from_parts(fixed, context, body, session_id, unique_id)?;
        rest.is_empty().then_some(message)
    }

    fn general(bytes: &[u8]) -> Result<Self, MessageError> {
        const CLASS: &str = "org.apache.catalina.ha.session.SessionMessageImpl";
        let limits = Limits {
            bytes: MESSAGE_MAX,
            ..Limits::default()
        };
        let mut reader = Reader::new(bytes, limits)?;
        let object = reader.object()?;
        let heap = reader.heap();
        let unknown = |what: &str| MessageError::Unknown(what.to_owned());
        let object = object.ok_or_else(|| unknown("it is null"))?;
        let class = heap.class_name(object);
        let (primitives, references) = heap.fields(object).unwrap_or_default();
        if class != CLASS {
            return Err(MessageError::Unknown(format!("it is of class {class}")));
        }
        let text = |place: usize| match references
            .get(place)
            .copied()
            .flatten()
            .map(|r| heap.view(r))
        {
            Some(View::Text(text)) => Ok(text.to_string()),
            _ => Err(unknown("a name in it is no text")),
        };
        let body = match references
            .get(1)
            .copied()
            .flatten()
            .map(|r: Ref| heap.view(r))
        {
            None => None,
            Some(View::Bytes(bytes)) => Some(bytes.to_vec()),
            Some(_) => return Err(unknown("its body is not bytes")),
        };
        primitives
            .first_chunk::<21>()
            .filter(|_| primitives.len() == 21 && references.len() == 4)
            .and_then(|fixed| {
                Self::from_parts(fixed, text(0).ok()?, body, text(2).ok()?, text(3).ok()?)
            })
            .ok_or_else(|| unknown("its fields are not those of Tomcat 8.5 to 11"))
    }

    fn from_parts(
        fixed: &[u8; 21],
        context: String,
        body: Option<Vec<u8>>,
        session_id: String,
        unique_id: String,
    ) -> Option<Self> {
        let (_, rest) = fixed.split_first_chunk::<8>()?;
        let (event, rest) = rest.split_first_chunk()?;
        let (timestamp, set) = rest.split_first_chunk()?;
        let event = i32::from_be_bytes(*event);
        Some(Self {
            event: Event::ALL.into_iter().find(|e| *e as i32 == event)?,
            timestamp: (set != [0]).then_some(u64::from_be_bytes(*timestamp)),
            context,
            body,
            session_id,
            unique_id,
        })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = JavaText::new(text);
    // Contexts and ids are checked where they come in: far below this length.
    let bytes = text.as_modified_utf8();
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.push(b't');
    out.extend(len.to_be_bytes());
    out.extend(&bytes[..usize::from(len)]);
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let (len, after) = rest.strip_prefix(b"t")?.split_first_chunk()?;
    let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    *rest = after;
    Some(JavaText::from_modified_utf8(text)?.to_string())
}

/// The JDK's box of a number, if it is one.
fn integer(heap: &Heap, object: Option<Ref>) -> Option<i32> {
    match heap.view(object?) {
        View::Integer(number) => Some(number),
        _ => None,
    }
}
