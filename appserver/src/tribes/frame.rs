//! The TCP frame: `FLT2002`, length (4), data, `TLF2003`. Data is a message with its sender, or three bytes that answer one.
//!
//! A message is: options (4), timestamp (8), length of the id (4), id, length of the sender's package (4), package, length of the
//! message (4), message. All numbers are big-endian.

use super::member::{Member, PackageError};
use super::options::SendOptions;

/// What a frame begins with.
pub const START: [u8; 7] = *b"FLT2002";

/// What a frame ends with.
pub const END: [u8; 7] = *b"TLF2003";

/// The whole frame that says: read, or applied.
pub const ACK: [u8; 21] = *b"FLT2002\x00\x00\x00\x03\x06\x02\x03TLF2003";

/// The whole frame that says: it could not be dealt with.
pub const FAILED_ACK: [u8; 21] = *b"FLT2002\x00\x00\x00\x03\x0b\x00\x05TLF2003";

/// The message of a failure detector's probe: the connection matters, not what it carries.
pub const PROBE: [u8; 64] = [
    0x4f, 0xa7, 0x73, 0x48, 0x79, 0x82, 0x43, 0xc9, 0x9f, 0x6f, 0x89, 0x80, 0xa1, 0x5b, 0x07, 0x14,
    0x7d, 0xd9, 0x52, 0x5b, 0xeb, 0xf1, 0x43, 0x9a, 0xb7, 0x7e, 0xbe, 0x8f, 0x81, 0x67, 0x1e, 0xb6,
    0x37, 0x15, 0xbe, 0x87, 0x45, 0x7e, 0x4c, 0xa8, 0xbf, 0x0a, 0x4d, 0x13, 0x53, 0x38, 0x15, 0x32,
    0x55, 0xf6, 0x94, 0xb7, 0x3a, 0xfa, 0x40, 0x78, 0x91, 0x04, 0x7d, 0xd7, 0x72, 0x84, 0xc0, 0xd5,
];

/// The random name of a message.
pub type MessageId = [u8; 16];

/// Marker and length.
const HEAD: usize = START.len() + 4;

/// Bytes of a frame beside the sender's package and the message.
const FIXED: usize = HEAD + 4 + 8 + 4 + 16 + 4 + 4 + END.len();

/// Where the sender's package begins in a whole frame.
pub const SENDER_AT: usize = HEAD + 4 + 8 + 4 + 16 + 4;

/// What the beginning of a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A message in so many bytes.
    Message(Frame<'a>, usize),
    /// An answer in so many bytes.
    Answer(Answer, usize),
    /// A frame has begun; it has so many bytes in all, as far as can be said.
    Incomplete(usize),
    /// So many bytes in which no frame begins. 0 of them: too little to tell.
    Junk(usize),
}

/// A message as it is in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// How it was sent.
    pub options: SendOptions,
    /// The sender's clock, in milliseconds since 1970.
    pub timestamp: u64,
    /// Its random name.
    pub id: MessageId,
    /// The sender's package, not yet looked at.
    pub sender: &'a [u8],
    /// The message, possibly encrypted.
    pub message: &'a [u8],
}

/// What became of a message at its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Read, or applied.
    Ack,
    /// Not dealt with.
    Failed,
}

/// Bytes that are no frame, and after which no other can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Larger than is allowed.
    #[error("a frame of {len} bytes is larger than {limit}")]
    TooLarge {
        /// What it says.
        len: u32,
        /// What is allowed.
        limit: usize,
    },
    /// The end marker is not where the length says.
    #[error("a frame does not end where its length says")]
    End,
    /// The lengths in it contradict each other.
    #[error("the lengths in a frame contradict each other")]
    Length,
}

/// Reads the beginning of `bytes`. `limit` is for the data of a frame.
pub fn parse(bytes: &[u8], limit: usize) -> Result<Parsed<'_>, FrameError> {
    if !bytes.starts_with(&START) {
        return Ok(match junk(bytes) {
            0 => Parsed::Incomplete(HEAD),
            junk => Parsed::Junk(junk),
        });
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(Parsed::Incomplete(HEAD));
    };
    let len = u32::from_be_bytes([head[7], head[8], head[9], head[10]]);
    let data_len = usize::try_from(len).ok().filter(|len| *len <= limit);
    let data_len = data_len.ok_or(FrameError::TooLarge { len, limit })?;
    let whole = HEAD + data_len + END.len();
    let Some((data, rest)) = rest.split_at_checked(data_len) else {
        return Ok(Parsed::Incomplete(whole));
    };
    if rest.len() < END.len() {
        return Ok(Parsed::Incomplete(whole));
    }
    if !rest.starts_with(&END) {
        return Err(FrameError::End);
    }
    if data == &ACK[HEAD..HEAD + 3] {
        return Ok(Parsed::Answer(Answer::Ack, whole));
    }
    if data == &FAILED_ACK[HEAD..HEAD + 3] {
        return Ok(Parsed::Answer(Answer::Failed, whole));
    }
    let frame = Frame::from_data(data).ok_or(FrameError::Length)?;
    Ok(Parsed::Message(frame, whole))
}

/// How many bytes stand before the first place where a frame may begin.
fn junk(bytes: &[u8]) -> usize {
    let begins = |rest: &[u8]| rest.starts_with(&START) || START.starts_with(rest);
    (0..bytes.len())
        .find(|at| bytes[*at] == START[0] && begins(&bytes[*at..]))
        .unwrap_or(bytes.len())
}

impl<'a> Frame<'a> {
    fn from_data(data: &'a [u8]) -> Option<Self> {
        let (options, rest) = data.split_first_chunk()?;
        let (timestamp, rest) = rest.split_first_chunk()?;
        let (id, rest) = field(rest)?;
        let (sender, rest) = field(rest)?;
        let (message, rest) = field(rest)?;
        let frame = Self {
            options: SendOptions::from_bits(u32::from_be_bytes(*options)),
            timestamp: u64::from_be_bytes(*timestamp),
            id: id.try_into().ok()?,
            sender,
            message,
        };
        rest.is_empty().then_some(frame)
    }

    /// Who sent it.
    pub fn sender(&self) -> Result<Member, PackageError> {
        match Member::parse(self.sender)? {
            (member, used) if used == self.sender.len() => Ok(member),
            _ => Err(PackageError::Length),
        }
    }

    /// Whether it is a failure detector's probe.
    pub fn is_probe(&self) -> bool {
        self.options.is_bytes() && self.message == PROBE
    }
}

fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}

/// Bytes of a frame with a package and a message of these lengths.
pub const fn frame_len(sender: usize, message: usize) -> usize {
    FIXED + sender + message
}

/// What stands before the message in a frame.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// How it is sent.
    pub options: SendOptions,
    /// The sender's clock, in milliseconds since 1970.
    pub timestamp: u64,
    /// Its random name.
    pub id: MessageId,
    /// The sender's package.
    pub sender: &'a [u8],
}

impl Head<'_> {
    /// Appends a frame; `message` appends the message.
    pub fn write(&self, out: &mut Vec<u8>, message: impl FnOnce(&mut Vec<u8>)) {
        let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let start = out.len();
        out.extend_from_slice(&START);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.options.bits().to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&number(self.id.len()));
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&number(self.sender.len()));
        out.extend_from_slice(self.sender);
        out.extend_from_slice(&[0; 4]);
        let begin = out.len();
        message(out);
        let message_len = number(out.len() - begin);
        out[begin - 4..begin].copy_from_slice(&message_len);
        let data_len = number(out.len() - start - HEAD);
        out[start + START.len()..start + HEAD].copy_from_slice(&data_len);
        out.extend_from_slice(&END);
    }
}
