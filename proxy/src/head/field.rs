//! The fields of a head: their syntax (RFC 9112 section 5), and the few whose meaning the framing depends on.

use super::{Framing, Limits, Step, Stop, TOKEN, host, refuse};

/// More digits do not fit 64 bits.
const MAX_LENGTH_DIGITS: usize = 19;

/// What the fields so far have said.
#[derive(Debug, Default)]
pub(super) struct Fields {
    count: usize,
    hosts: usize,
    good_host: bool,
    length: Option<Option<u64>>,
    lengths: usize,
    codings: usize,
    coding: Coding,
    close: bool,
    keep: bool,
    pub(super) other_expectation: bool,
}

/// What `Transfer-Encoding` asks for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    Chunked,
    /// Well formed, and not what we speak.
    Other,
    Malformed,
}

/// What a value may consist of: tab, visible ASCII, blank, and bytes from 0x80 (RFC 9110 section 5.5).
const VALUE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 256 {
        table[byte] = byte != 0x7F;
        byte += 1;
    }
    table[b'\t' as usize] = true;
    table
};

impl Fields {
    /// Reads the field at `start`; where the next line begins.
    pub(super) fn read(&mut self, bytes: &[u8], start: usize, limits: &Limits) -> Step<usize> {
        let line = &bytes[start..];
        let name = run(line, &TOKEN);
        let longest = |end: usize| {
            if end > limits.line {
                refuse(431, "a field is too large")
            } else {
                Ok(())
            }
        };
        longest(name)?;
        match line.get(name) {
            None => return Err(Stop::Incomplete),
            Some(b':') if name > 0 => {}
            Some(b' ' | b'\t') if name == 0 => return refuse(400, "a folded field"),
            Some(b' ' | b'\t') => return refuse(400, "white space before the colon of a field"),
            Some(_) => return refuse(400, "a line that is no field"),
        }
        let end = name + 1 + run(&line[name + 1..], &VALUE);
        longest(end)?;
        match (line.get(end), line.get(end + 1)) {
            (None, _) | (Some(b'\r'), None) => return Err(Stop::Incomplete),
            (Some(b'\r'), Some(b'\n')) => {}
            (Some(b'\r'), _) => return refuse(400, "a bare CR in a field"),
            (Some(b'\n'), _) => return refuse(400, "a bare LF behind a field"),
            (Some(_), _) => return refuse(400, "a control byte in a field"),
        }
        self.count += 1;
        if self.count > limits.fields {
            return refuse(431, "too many fields");
        }
        self.note(&line[..name], line[name + 1..end].trim_ascii());
        Ok(start + end + 2)
    }

    /// Notes a field that matters here.
    fn note(&mut self, name: &[u8], value: &[u8]) {
        // The length tells most fields apart before a letter is looked at.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                self.good_host = host::is_valid(value);
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.other_expectation |= !value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.note_connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.lengths += 1;
                self.length = Some(number(value));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.codings += 1;
                self.coding = coding(value);
            }
            _ => {}
        }
    }

    fn note_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// What follows the head; there must be no two ways to see it.
    pub(super) fn framing(&self, http10: bool) -> Step<Framing> {
        if self.lengths > 1 {
            return refuse(400, "more than one Content-Length");
        }
        if self.codings > 1 {
            return refuse(400, "more than one Transfer-Encoding");
        }
        match (self.coding, self.length) {
            (Coding::None, None) => Ok(Framing::None),
            (Coding::None, Some(Some(0))) => Ok(Framing::None),
            (Coding::None, Some(Some(length))) => Ok(Framing::Length(length)),
            (_, Some(None)) => refuse(400, "a Content-Length that is no number"),
            (_, Some(Some(_))) => refuse(400, "both Content-Length and Transfer-Encoding"),
            (Coding::Malformed, None) => refuse(400, "a malformed Transfer-Encoding"),
            (_, None) if http10 => refuse(400, "Transfer-Encoding in HTTP/1.0"),
            (Coding::Other, None) => refuse(501, "a transfer coding other than chunked"),
            (Coding::Chunked, None) => Ok(Framing::Chunked),
        }
    }

    pub(super) fn check_host(&self, http10: bool) -> Step<()> {
        match self.hosts {
            0 if http10 => Ok(()),
            0 => refuse(400, "no Host"),
            1 if self.good_host => Ok(()),
            1 => refuse(400, "a malformed Host"),
            _ => refuse(400, "more than one Host"),
        }
    }

    pub(super) fn keep_alive(&self, http10: bool) -> bool {
        !self.close && (!http10 || self.keep)
    }
}

fn run(bytes: &[u8], table: &[bool; 256]) -> usize {
    bytes
        .iter()
        .position(|byte| !table[usize::from(*byte)])
        .unwrap_or(bytes.len())
}

/// Decimal digits and nothing else.
fn number(value: &[u8]) -> Option<u64> {
    let significant = value
        .iter()
        .position(|byte| *byte != b'0')
        .unwrap_or(value.len());
    let good = !value.is_empty()
        && value.iter().all(u8::is_ascii_digit)
        && value.len() - significant <= MAX_LENGTH_DIGITS;
    good.then(|| {
        value
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    })
}

fn coding(value: &[u8]) -> Coding {
    let plain = |b: &u8| TOKEN[usize::from(*b)] || matches!(b, b',' | b' ' | b'\t' | b';' | b'=');
    if value.eq_ignore_ascii_case(b"chunked") {
        Coding::Chunked
    } else if !value.is_empty() && value.iter().all(plain) {
        Coding::Other
    } else {
        Coding::Malformed
    }
}
