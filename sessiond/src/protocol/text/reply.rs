//! Replies, as memcached writes them.

use std::io::Write;

use super::UNKNOWN;
use crate::number::write_unsigned;
use crate::protocol::Response;

/// Writes `response` behind what `out` holds.
pub fn encode(response: &Response, out: &mut Vec<u8>) {
    let line = match *response {
        Response::Number(number) => {
            write_unsigned(number, out);
            ""
        }
        Response::Version(version) => return write_line(out, format_args!("VERSION {version}")),
        Response::End => "END",
        Response::Stored => "STORED",
        Response::NotStored => "NOT_STORED",
        Response::Exists => "EXISTS",
        Response::NotFound => "NOT_FOUND",
        Response::Deleted => "DELETED",
        Response::Touched => "TOUCHED",
        Response::Done => "OK",
        Response::Reset => "RESET",
        Response::NotANumber => "CLIENT_ERROR cannot increment or decrement non-numeric value",
        Response::TooLarge => "SERVER_ERROR object too large for cache",
        Response::OutOfMemory => "SERVER_ERROR out of memory storing object",
        Response::Refused(line) => line,
        Response::Unknown => UNKNOWN,
    };
    encode_line(line, out);
}

/// Writes a figure behind what `out` holds.
pub fn encode_figure(name: &str, value: &str, out: &mut Vec<u8>) {
    write_line(out, format_args!("STAT {name} {value}"));
}

/// Writes a key as memcached's dumps and logs have it (RFC 3986, section 2: all but the unreserved characters are
/// percent-encoded).
pub fn encode_uri(key: &[u8], out: &mut Vec<u8>) {
    for byte in key {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            byte if byte.is_ascii_alphanumeric() => out.push(*byte),
            // Writing to memory does not fail.
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
}

/// Writes one line behind what `out` holds.
pub fn encode_line(line: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the line in front of a value of `length` bytes; behind the value belongs a CR LF.
pub fn begin_value(key: &[u8], flags: u32, length: usize, cas: Option<u64>, out: &mut Vec<u8>) {
    /// `VALUE `, three numbers and their spaces, the line ends.
    const FRAME: usize = 64;
    out.reserve(key.len().saturating_add(FRAME));
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    write_unsigned(flags.into(), out);
    out.push(b' ');
    write_unsigned(length as u64, out);
    if let Some(cas) = cas {
        out.push(b' ');
        write_unsigned(cas, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_line(out: &mut Vec<u8>, line: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(line);
    out.extend_from_slice(b"\r\n");
}
