//! Questions and answers between Tomcats: objects of the class `org.apache.catalina.tribes.group.RpcMessage`, byte for byte. Pure.

use super::map::{CLASS as MAP, MapMessage, Objects};
use super::state::LIMITS;
use super::{MessageError, map_name};
use crate::java::{ClassDesc, Heap, JavaError, Reader, Writer};

const CLASS: &str = "org.apache.catalina.tribes.group.RpcMessage";
const NOBODY: &str = "org.apache.catalina.tribes.group.RpcMessage$NoRpcChannelReply";

/// The longest name of a question, and of who asks; Tomcat's have 16 bytes, and the length of a context's name.
const NAME_MAX: usize = 4096;

/// A question or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcMessage {
    /// The question's own name, which its answers repeat.
    pub id: Vec<u8>,
    /// Who talks here, on both sides: the map's name.
    pub channel: String,
    /// What is said.
    pub body: RpcBody,
}

/// What a question or an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RpcBody {
    /// A question.
    Ask(Box<MapMessage>),
    /// An answer; `None`: there is none to this question.
    Reply(Option<Box<MapMessage>>),
    /// Nobody here has the map. `NoRpcChannelReply`.
    Nobody,
}

/// Any message about a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A message.
    Map(MapMessage),
    /// A question or an answer.
    Rpc(RpcMessage),
}

impl Said {
    /// Reads a message. `None`: its class is another one, and nothing of it was read.
    pub fn decode(bytes: &[u8]) -> Option<Result<Self, MessageError>> {
        match first_class(bytes)? {
            name if name == MAP.as_bytes() => Some(MapMessage::decode(bytes).map(Self::Map)),
            name if name == CLASS.as_bytes() || name == NOBODY.as_bytes() => {
                Some(RpcMessage::decode(bytes).map(Self::Rpc))
            }
            _ => None,
        }
    }

    /// The map's name.
    pub fn map(&self) -> &str {
        match self {
            Self::Map(message) => &message.map,
            Self::Rpc(message) => &message.channel,
        }
    }

    /// Whether it is about the map of this context.
    pub fn is_for(&self, context: &str) -> bool {
        self.map() == map_name(context)
    }
}

impl RpcMessage {
    /// The message as Tomcat writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut objects = Objects::new(Heap::new());
        let rpc = ClassDesc::new(CLASS, 0x712A_750F_F274_E509, 12, &[], None);
        let rpc = objects.heap.intern(rpc);
        let nobody = ClassDesc::new(NOBODY, 0x7BAB_8FB3_6A4B_5BA6, 12, &[], Some(rpc));
        let nobody = objects.heap.intern(nobody);
        let (class, said, is_reply) = match &self.body {
            RpcBody::Ask(message) => (rpc, Some(objects.message(message)), false),
            RpcBody::Reply(message) => {
                let message = message.as_ref().map(|message| objects.message(message));
                (rpc, message, true)
            }
            RpcBody::Nobody => (nobody, None, true),
        };
        let heap = objects.heap;
        let mut writer = Writer::new(&heap);
        writer.enter(class);
        if class == rpc {
            writer.boolean(is_reply);
        }
        let channel = self.channel.chars();
        let channel: Vec<u8> = channel.map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
        for bytes in [&self.id, &channel] {
            writer.i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            writer.data(bytes);
        }
        if class == rpc {
            writer.object(said);
        }
        writer.leave();
        writer.finish()
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(bytes, LIMITS)?;
        let is_nobody = first_class(bytes) == Some(NOBODY.as_bytes());
        reader.enter(if is_nobody { NOBODY } else { CLASS })?;
        let is_reply = is_nobody || reader.boolean()?;
        let id = name(&mut reader)?;
        let channel = name(&mut reader)?.into_iter().map(char::from).collect();
        let body = if is_nobody {
            RpcBody::Nobody
        } else {
            let said = reader.object()?;
            let said = said.map(|said| MapMessage::of_object(reader.heap(), said).map(Box::new));
            match said.transpose()? {
                Some(message) if !is_reply => RpcBody::Ask(message),
                None if !is_reply => {
                    return Err(MessageError::Unknown("a question without words".into()));
                }
                message => RpcBody::Reply(message),
            }
        };
        reader.leave()?;
        Ok(Self { id, channel, body })
    }

    /// An answer to this question.
    #[must_use]
    pub fn answered(&self, body: RpcBody) -> Self {
        Self {
            id: self.id.clone(),
            channel: self.channel.clone(),
            body,
        }
    }
}

fn name(reader: &mut Reader<'_>) -> Result<Vec<u8>, JavaError> {
    let limit = NAME_MAX;
    let what = "bytes in a question's name";
    let len = usize::try_from(reader.i32()?).unwrap_or(usize::MAX);
    if len > limit {
        return Err(JavaError::Limit { what, limit });
    }
    Ok(reader.data(len)?.into_owned())
}

/// The name of the class of the object that a stream begins with: the first description in a stream is always a whole one.
fn first_class(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes
        .strip_prefix(b"\xAC\xED\0\x05sr")?
        .split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}
