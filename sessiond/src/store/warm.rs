//! The file that lets items outlive the process: blocks of items, each with a checksum, and at the end how many there
//! should have been. Nothing in it is believed before it is checked.
//!
//! ```text
//!   header   "lnmt-sessiond\0" version:u16 | crc32 of that
//!   block    length:u32 items:u32 | bytes of so many items | crc32 of both          any number of times
//!   end      0:u32 0:u32 | items:u64 last cas unique:u64 | crc32 of all that
//!   item     key length:u8 marks:u8 in use:u8 flags:u32 expiry:u32 last use:u32 cas unique:u64 value length:u32 key value
//! ```
//!
//! Numbers are little-endian; times are Unix times, so that a stop counts as time.

use std::fmt;
use std::io::{self, Read, Write};

use super::record::{Item, KEY_MAX, Marks};
use super::time::{Expiry, UnixTime};
use super::verbs::Data;
use super::view::Saved;

const MAGIC: &[u8; 14] = b"lnmt-sessiond\0";
const VERSION: u16 = 1;
/// A block is closed when it is at least so long.
const BLOCK: usize = 256 << 10;
/// No block is longer: one more item of the largest size there is (`-I` ends at 1 GB), and its key.
const BLOCK_MAX: usize = BLOCK + (1 << 30) + FRAME + KEY_MAX;
/// What stands before an item's key.
const FRAME: usize = 27;
const CHECKSUM: usize = 4;

/// What was saved or loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warm {
    /// Items written, or found in the file and not expired.
    pub items: u64,
    /// Of those found, items for which there is no room now.
    pub dropped: u64,
}

/// Why a file cannot be loaded. The store is empty then.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Io(io::Error),
    /// It was not written by [`Store::save`](super::Store::save).
    Foreign,
    /// It was written by a later version, which keeps items in another way.
    TooNew(u16),
    /// It is not what was written: what is wrong, and behind how many bytes.
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where the damaged block begins, in bytes from the start of the file.
        offset: u64,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Foreign => f.write_str("is not a file of saved items"),
            Self::TooNew(version) => write!(
                f,
                "is of version {version}, and this program knows up to {VERSION}"
            ),
            Self::Damaged { what, offset } => {
                write!(f, "is damaged: {what} in the block at byte {offset}")
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Foreign | Self::TooNew(_) | Self::Damaged { .. } => None,
        }
    }
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes a file.
pub(super) struct Writer<'a, W> {
    out: &'a mut W,
    /// Begins with the frame of the block.
    block: Vec<u8>,
    in_block: u32,
    items: u64,
}

/// Length and number of items, before a block.
const BLOCK_FRAME: usize = 8;

impl<'a, W: Write> Writer<'a, W> {
    /// Begins a file.
    pub(super) fn new(out: &'a mut W) -> io::Result<Self> {
        let header = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
        out.write_all(&checked(header))?;
        Ok(Self {
            out,
            block: vec![0; BLOCK_FRAME],
            in_block: 0,
            items: 0,
        })
    }

    /// Writes an item, with when it is gone.
    pub(super) fn item(&mut self, item: &Item<'_>, expiry: Expiry, proven: bool) -> io::Result<()> {
        let (key, value) = (item.key(), item.value());
        let block = &mut self.block;
        block.extend([key.len() as u8, item.marks().byte(), u8::from(proven)]);
        block.extend(item.flags().to_le_bytes());
        block.extend(expiry.to_seconds().to_le_bytes());
        block.extend(item.last_used().0.to_le_bytes());
        block.extend(item.unique().to_le_bytes());
        block.extend((value.len() as u32).to_le_bytes());
        block.extend_from_slice(key);
        block.extend_from_slice(value);
        self.in_block += 1;
        self.items += 1;
        if self.block.len() >= BLOCK {
            self.close_block()?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> io::Result<()> {
        if self.in_block == 0 {
            return Ok(());
        }
        let length = (self.block.len() - BLOCK_FRAME) as u32;
        self.block[..4].copy_from_slice(&length.to_le_bytes());
        self.block[4..BLOCK_FRAME].copy_from_slice(&self.in_block.to_le_bytes());
        self.block = checked(std::mem::take(&mut self.block));
        self.out.write_all(&self.block)?;
        self.block.truncate(BLOCK_FRAME);
        // The buffer of one huge item is not kept.
        self.block.shrink_to(2 * BLOCK);
        self.in_block = 0;
        Ok(())
    }

    /// Ends the file; how many items it has.
    pub(super) fn end(mut self, last_unique: u64) -> io::Result<u64> {
        self.close_block()?;
        let mut end = vec![0; BLOCK_FRAME];
        end.extend(self.items.to_le_bytes());
        end.extend(last_unique.to_le_bytes());
        self.out.write_all(&checked(end))?;
        self.out.flush()?;
        Ok(self.items)
    }
}

/// What an intact file says at its end.
pub(super) struct End {
    pub(super) items: u64,
    pub(super) last_unique: u64,
}

/// Reads a file to its end, and shows each of its items once its block is checked. Fails at the first thing that is
/// wrong; what was shown by then must not count.
pub(super) fn read(
    from: &mut impl Read,
    mut show: impl FnMut(&Saved<'_>),
) -> Result<End, LoadError> {
    let mut header = [0; MAGIC.len() + 2 + CHECKSUM];
    if fill(from, &mut header)? < header.len() || !header.starts_with(MAGIC) {
        return Err(LoadError::Foreign);
    }
    let mut offset = 0;
    let damaged = |what, offset| LoadError::Damaged { what, offset };
    let rest = content(&header).ok_or(damaged("wrong checksum", offset))?;
    let version = Fields(&rest[MAGIC.len()..]).number::<2>().unwrap_or(0) as u16;
    if version != VERSION {
        return Err(LoadError::TooNew(version));
    }
    offset += header.len() as u64;
    let mut items = 0;
    loop {
        let mut frame = [0; BLOCK_FRAME];
        if fill(from, &mut frame)? < frame.len() {
            return Err(damaged("it ends early", offset));
        }
        let mut fields = Fields(&frame);
        let (length, count) = (fields.number::<4>(), fields.number::<4>());
        let (length, count) = (length.unwrap_or(0) as usize, count.unwrap_or(0));
        if length == 0 {
            let end = read_end(from, frame, offset)?;
            if end.items != items {
                return Err(damaged("items are missing", offset));
            }
            return Ok(end);
        }
        if length > BLOCK_MAX {
            return Err(damaged("impossible length", offset));
        }
        // Memory is taken as the bytes arrive, not because a length says so.
        let mut block = frame.to_vec();
        from.take((length + CHECKSUM) as u64)
            .read_to_end(&mut block)?;
        if block.len() < BLOCK_FRAME + length + CHECKSUM {
            return Err(damaged("it ends early", offset));
        }
        let bytes = content(&block).ok_or(damaged("wrong checksum", offset))?;
        let mut fields = Fields(&bytes[BLOCK_FRAME..]);
        for _ in 0..count {
            let saved = fields.item().ok_or(damaged("impossible item", offset))?;
            show(&saved);
        }
        if !fields.0.is_empty() {
            return Err(damaged("more than its items", offset));
        }
        items += count;
        offset += block.len() as u64;
    }
}

fn read_end(from: &mut impl Read, frame: [u8; BLOCK_FRAME], offset: u64) -> Result<End, LoadError> {
    let damaged = |what| LoadError::Damaged { what, offset };
    let mut end = [0; BLOCK_FRAME + 16 + CHECKSUM];
    end[..BLOCK_FRAME].copy_from_slice(&frame);
    let rest = end.len() - BLOCK_FRAME;
    if fill(from, &mut end[BLOCK_FRAME..])? < rest {
        return Err(damaged("it ends early"));
    }
    if fill(from, &mut [0])? > 0 {
        return Err(damaged("it goes on behind its end"));
    }
    let bytes = content(&end).ok_or(damaged("wrong checksum"))?;
    let mut fields = Fields(&bytes[BLOCK_FRAME..]);
    Ok(End {
        items: fields.number::<8>().unwrap_or(0),
        last_unique: fields.number::<8>().unwrap_or(0),
    })
}

/// Reads until the place is full or the file ends; how much.
fn fill(from: &mut impl Read, place: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < place.len() {
        match from.read(&mut place[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// With a checksum behind.
fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// Without the checksum behind, if that is right.
fn content(bytes: &[u8]) -> Option<&[u8]> {
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*checksum)).then_some(content)
}

/// What is left to be read of a block.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number<const SIZE: usize>(&mut self) -> Option<u64> {
        let bytes = self.bytes(SIZE)?;
        let mut number = [0; 8];
        number[..SIZE].copy_from_slice(bytes);
        Some(u64::from_le_bytes(number))
    }

    fn item(&mut self) -> Option<Saved<'a>> {
        let key_length = self.number::<1>()? as usize;
        let marks = Marks::from_byte(self.number::<1>()? as u8);
        let proven = self.number::<1>()? != 0;
        let flags = self.number::<4>()? as u32;
        let expiry = Expiry::from_seconds(self.number::<4>()? as u32);
        let used = UnixTime(self.number::<4>()? as u32);
        let unique = self.number::<8>()?;
        let value_length = self.number::<4>()? as usize;
        let key = self.bytes(key_length).filter(|key| key.len() <= KEY_MAX)?;
        Some(Saved {
            key,
            data: Data::Slice(self.bytes(value_length)?),
            flags,
            expiry,
            used,
            unique,
            marks,
            proven,
        })
    }
}
