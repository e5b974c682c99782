//! The session record: a header of fixed layout, then the attributes. All numbers are big-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 2 | version: 2; 1 is read too |
//! | 2 | 2 | H, where the attributes begin |
//! | 4 | 8 | created, milliseconds since 1970 |
//! | 12 | 8 | last accessed |
//! | 20 | 4 | interval, seconds |
//! | 24 | 1 | is new, `1` or `0` |
//! | 25 | 1 | is valid, `1` or `0` |
//! | 26 | 8 | this accessed |
//! | 34 | 8 | last backup: when the record was stored |
//! | 42 | 2 + n | id with node and route |
//! | | 2 | kind of log in |
//! | | 2 + n | who is logged in, a Java object |
//! | | 2 + n | version 2: the request that a log in form interrupted |
//! | | 2 + n | version 2: who logs in by that form |
//! | | to H | an extension; members with msm have none and skip it, since their attributes begin at H too |
//! | H | rest | attributes, see [`super::attributes`] |

use super::validity::timestamp;
use crate::session::Timestamp;

/// Lengths in the header are 16 bits and signed in Java.
const LENGTH_MAX: usize = i16::MAX as usize;

/// A stored session. The parts that only Tomcat's log in needs are passed on as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the session was made.
    pub created: Timestamp,
    /// End of the request before.
    pub last_accessed: Timestamp,
    /// Seconds that it may be idle; 0 or less: for ever.
    pub interval: i32,
    /// Whether the request that made it stored this.
    pub is_new: bool,
    /// Whether it was not ended.
    pub is_valid: bool,
    /// Start of the request that stored this.
    pub this_accessed: Timestamp,
    /// When this was stored; a record older than the interval is stored again.
    pub last_backup: Timestamp,
    /// The id with node and route.
    pub id: &'a str,
    /// How the user logged in.
    pub log_in: LogIn,
    /// Who is logged in, as a Java stream; empty: nobody.
    pub principal: &'a [u8],
    /// The request that a log in form interrupted; empty: none.
    pub saved_request: &'a [u8],
    /// Who logs in by that form; empty: nobody.
    pub saved_principal: &'a [u8],
    /// What the header has beyond msm's fields; empty: nothing.
    pub extension: &'a [u8],
    /// The attributes, encoded.
    pub attributes: &'a [u8],
}

/// When a stored session was used, see [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// As in the record.
    pub created: Timestamp,
    /// As in the record.
    pub last_accessed: Timestamp,
    /// As in the record.
    pub interval: i32,
    /// As in the record.
    pub this_accessed: Timestamp,
}

/// How the user of a session logged in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogIn {
    /// Not by the servlet container.
    #[default]
    None,
    /// HTTP Basic.
    Basic,
    /// TLS client certificate.
    ClientCert,
    /// HTTP Digest.
    Digest,
    /// A form.
    Form,
}

impl LogIn {
    const ALL: [Self; 5] = [
        Self::None,
        Self::Basic,
        Self::ClientCert,
        Self::Digest,
        Self::Form,
    ];
}

/// Why bytes are no session record, or a session cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It ends within the header.
    #[error("the session record ends within its header; it was cut, or it is no session record")]
    Truncated,
    /// Another program's, or a newer one's.
    #[error("the session record has version {0}; 1 and 2 can be read")]
    Version(u16),
    /// A field has a value that it cannot have.
    #[error("the session record's {0} is damaged")]
    Field(&'static str),
    /// More than the header's lengths can say.
    #[error(
        "the session's {what} takes {len} bytes, the record has room for {LENGTH_MAX}; keep less in it"
    )]
    TooLong {
        /// Which part.
        what: &'static str,
        /// How long it is.
        len: usize,
    },
}

impl<'a> Record<'a> {
    /// Reads a record. The attributes are not looked at.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut rest = bytes;
        let version = u16::from_be_bytes(array(&mut rest)?);
        if !(1..=2).contains(&version) {
            return Err(RecordError::Version(version));
        }
        let header = usize::from(u16::from_be_bytes(array(&mut rest)?));
        if header > bytes.len() {
            return Err(RecordError::Truncated);
        }
        let (header, attributes) = bytes.split_at(header);
        let mut rest = header.get(4..).ok_or(RecordError::Truncated)?;
        let rest = &mut rest;
        let record = Self {
            created: time(rest, "creation time")?,
            last_accessed: time(rest, "time of last access")?,
            interval: i32::from_be_bytes(array(rest)?),
            is_new: flag(rest, "mark for new sessions")?,
            is_valid: flag(rest, "mark for valid sessions")?,
            this_accessed: time(rest, "time of this access")?,
            last_backup: time(rest, "time of storing")?,
            id: std::str::from_utf8(counted(rest)?).map_err(|_| RecordError::Field("id"))?,
            log_in: {
                let number = usize::from(u16::from_be_bytes(array(rest)?));
                let known = LogIn::ALL.get(number).copied();
                known.ok_or(RecordError::Field("kind of log in"))?
            },
            principal: counted(rest)?,
            saved_request: if version == 1 { &[] } else { counted(rest)? },
            saved_principal: if version == 1 { &[] } else { counted(rest)? },
            extension: *rest,
            attributes,
        };
        Ok(record)
    }

    /// The times and the interval of a record that was decoded once; nothing else in it is looked at.
    pub fn times_of(bytes: &[u8]) -> Option<Times> {
        let number = |from: usize| timestamp(*bytes.get(from..)?.first_chunk()?);
        Some(Times {
            created: number(4)?,
            last_accessed: number(12)?,
            interval: Self::interval_of(bytes)?,
            this_accessed: number(26)?,
        })
    }

    /// The attributes of a record that was decoded once; nothing else in it is looked at.
    pub fn attributes_of(bytes: &'a [u8]) -> Option<&'a [u8]> {
        let header = bytes.get(2..)?.first_chunk()?;
        bytes.get(usize::from(u16::from_be_bytes(*header))..)
    }

    /// The interval of a record that was decoded once; nothing else in it is looked at.
    pub fn interval_of(bytes: &[u8]) -> Option<i32> {
        Some(i32::from_be_bytes(*bytes.get(20..)?.first_chunk()?))
    }

    /// When a record that was decoded once was stored; nothing else in it is looked at.
    pub fn last_backup_of(bytes: &[u8]) -> Option<Timestamp> {
        timestamp(*bytes.get(34..)?.first_chunk()?)
    }

    /// The record in version 2.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let room = 52 + self.id.len() + self.extension.len() + self.attributes.len();
        let mut bytes = Vec::with_capacity(room);
        bytes.extend([0, 2, 0, 0]);
        bytes.extend(self.created.0.to_be_bytes());
        bytes.extend(self.last_accessed.0.to_be_bytes());
        bytes.extend(self.interval.to_be_bytes());
        bytes.extend([b'0' + u8::from(self.is_new), b'0' + u8::from(self.is_valid)]);
        bytes.extend(self.this_accessed.0.to_be_bytes());
        bytes.extend(self.last_backup.0.to_be_bytes());
        put(&mut bytes, "id", self.id.as_bytes())?;
        bytes.extend((self.log_in as u16).to_be_bytes());
        put(&mut bytes, "principal", self.principal)?;
        put(&mut bytes, "saved request", self.saved_request)?;
        put(&mut bytes, "saved principal", self.saved_principal)?;
        bytes.extend_from_slice(self.extension);
        let header = length("header", bytes.len())?;
        bytes[2..4].copy_from_slice(&header);
        bytes.extend_from_slice(self.attributes);
        Ok(bytes)
    }
}

fn put(bytes: &mut Vec<u8>, what: &'static str, part: &[u8]) -> Result<(), RecordError> {
    bytes.extend(length(what, part.len())?);
    bytes.extend_from_slice(part);
    Ok(())
}

fn length(what: &'static str, len: usize) -> Result<[u8; 2], RecordError> {
    match i16::try_from(len) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(RecordError::TooLong { what, len }),
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RecordError> {
    let (array, after) = rest.split_first_chunk().ok_or(RecordError::Truncated)?;
    *rest = after;
    Ok(*array)
}

fn time(rest: &mut &[u8], what: &'static str) -> Result<Timestamp, RecordError> {
    timestamp(array(rest)?).ok_or(RecordError::Field(what))
}

fn flag(rest: &mut &[u8], what: &'static str) -> Result<bool, RecordError> {
    match array(rest)? {
        [b'0'] => Ok(false),
        [b'1'] => Ok(true),
        _ => Err(RecordError::Field(what)),
    }
}

fn counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let len = usize::from(u16::from_be_bytes(array(rest)?));
    let (part, after) = rest.split_at_checked(len).ok_or(RecordError::Truncated)?;
    *rest = after;
    Ok(part)
}
