//! Where a chunked body ends: a strict scanner that keeps its place from read to read (RFC 9112 section 7.1).
//!
//! Bare line feeds, sizes without digits or with more than sixteen, and whatever else two readers could take differently is
//! refused. Extensions and trailers are bounded.

/// More hexadecimal digits do not fit 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// Most bytes of extensions in one body: nobody needs them, and they cost the reader more than the sender.
pub const MAX_EXTENSIONS: u32 = 4096;

/// Most bytes of trailers.
pub const MAX_TRAILERS: u32 = 8192;

/// Keeps the place in a chunked body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanner {
    place: Place,
    extensions: u32,
    trailers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind a size, in blanks that only an extension may follow.
    Blank {
        size: u64,
    },
    /// In an extension.
    Extension {
        size: u64,
    },
    /// The line feed behind a size must come.
    SizeEnd {
        size: u64,
    },
    /// In data.
    Data {
        left: u64,
    },
    /// The line end behind data must come.
    DataCr,
    DataLf,
    /// At the beginning of a line behind the last chunk.
    Line,
    /// In the name of a trailer.
    Name,
    /// In the value of a trailer.
    Value,
    /// The line feed behind a trailer must come.
    ValueLf,
    /// The last line feed must come.
    LastLf,
    /// At the end, or behind an error.
    Done,
}

/// How far the body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    /// All the bytes belong to the body, and more must come.
    More,
    /// The body ends after so many of the bytes; what follows is the next request.
    End(usize),
    /// Not chunked coding: answer 400 and close.
    Invalid(&'static str),
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            place: Place::START,
            extensions: 0,
            trailers: 0,
        }
    }
}

impl Place {
    const START: Self = Self::Size { size: 0, digits: 0 };
}

impl Scanner {
    /// Scans the next bytes of the body. Behind its end, or an error, nothing is taken any more.
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        let mut at = 0;
        while at < bytes.len() {
            if let Place::Data { left } = self.place {
                let here = left.min((bytes.len() - at) as u64);
                at += here as usize;
                self.place = match left - here {
                    0 => Place::DataCr,
                    left => Place::Data { left },
                };
                continue;
            }
            match self.step(bytes[at]) {
                Ok(Place::Done) => {
                    self.place = Place::Done;
                    return Scanned::End(at + 1);
                }
                Ok(place) => self.place = place,
                Err(why) => {
                    self.place = Place::Done;
                    return Scanned::Invalid(why);
                }
            }
            at += 1;
        }
        Scanned::More
    }

    fn step(&mut self, byte: u8) -> Result<Place, &'static str> {
        use Place::{
            Blank, Data, DataCr, DataLf, Done, Extension, LastLf, Line, Name, Size, SizeEnd, Value,
            ValueLf,
        };
        Ok(match (self.place, byte) {
            (Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err("a chunk size of more than 16 digits");
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (Size { digits: 0, .. }, _) => return Err("a chunk without a size"),
            (Size { size, .. } | Extension { size }, b'\r') => SizeEnd { size },
            (Size { size, .. } | Blank { size }, b';') => Extension { size },
            (Size { size, .. } | Blank { size }, b' ' | b'\t') => {
                self.count_extension()?;
                Blank { size }
            }
            (Size { .. } | Blank { .. }, _) => return Err("a chunk size that is no number"),
            (Extension { size }, b'\t' | 0x20..=0x7E | 0x80..) => {
                self.count_extension()?;
                Extension { size }
            }
            (Extension { .. }, _) => return Err("a control byte in a chunk extension"),
            (SizeEnd { size: 0 }, b'\n') => Line,
            (SizeEnd { size }, b'\n') => Data { left: size },
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Place::START,
            (DataCr | DataLf, _) => return Err("a chunk longer than its size"),
            (Line, b'\r') => LastLf,
            (Line, _) if is_name(byte) => {
                self.count_trailer()?;
                Name
            }
            (Name, b':') => {
                self.count_trailer()?;
                Value
            }
            (Name, _) if is_name(byte) => {
                self.count_trailer()?;
                Name
            }
            (Line | Name, _) => return Err("a trailer that is no field"),
            (Value, b'\r') => ValueLf,
            (Value, b'\t' | 0x20..=0x7E | 0x80..) => {
                self.count_trailer()?;
                Value
            }
            (Value, _) => return Err("a control byte in a trailer"),
            (ValueLf, b'\n') => Line,
            (LastLf, b'\n') => Done,
            (SizeEnd { .. } | ValueLf | LastLf, _) => return Err("a bare CR in chunked coding"),
            (Done, _) => return Err("bytes behind the end"),
            // Data is passed over as a whole before this is called.
            (Data { .. }, _) => self.place,
        })
    }

    fn count_extension(&mut self) -> Result<(), &'static str> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err("too many bytes of chunk extensions");
        }
        Ok(())
    }

    fn count_trailer(&mut self) -> Result<(), &'static str> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err("too many bytes of trailers");
        }
        Ok(())
    }
}

/// Characters of field names (RFC 9110 section 5.6.2).
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::{MAX_EXTENSIONS, MAX_TRAILERS, Scanned, Scanner};
    use proptest::prelude::*;

    fn scan(bytes: &[u8]) -> Scanned {
        Scanner::default().scan(bytes)
    }

    #[test]
    fn bodies() {
        for (body, length) in [
            ("0\r\n\r\n", 5),
            ("5\r\nhello\r\n0\r\n\r\nGET", 15),
            ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", 35),
            ("005\r\nhello\r\n000\r\n\r\n", 19),
            ("5;a=b\r\nhello\r\n0;x\r\n\r\n", 21),
            ("5 ; a\r\nhello\r\n0\r\n\r\n", 19),
            ("0\r\nX-Sum: 1\r\nY:\r\n\r\n", 19),
            ("2\r\n\r\n\r\n0\r\n\r\n", 12),
        ] {
            assert_eq!(scan(body.as_bytes()), Scanned::End(length), "{body:?}");
        }
        for body in [
            "",
            "5",
            "5\r\nhel",
            "5\r\nhello\r\n0\r\n",
            "0\r\nX: y\r\n\r",
            "ffffffffffffffff\r\nx",
        ] {
            assert_eq!(scan(body.as_bytes()), Scanned::More, "{body:?}");
        }
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        for body in [
            "\r\n",
            "0x5\r\n",
            "+5\r\n",
            "-5\r\n",
            " 5\r\n",
            "5_\r\n",
            "g\r\n",
            ";a\r\n",
            "5\n",
            "5 \r\n",
            "5 5\r\n",
            "10000000000000000\r\n",
            "00000000000000005\r\n",
            "5;a\nhello",
            "5;a\rx",
            "5;\0",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "5\r\nhello\rX",
            "0\r\nX\r\n",
            "0\r\n: y\r\n",
            "0\r\n X: y\r\n",
            "0\r\nX : y\r\n",
            "0\r\nX: y\n",
            "0\r\nX: \0",
            "0\r\n\n",
            "0\r\n\rX",
            "0\rX",
        ] {
            assert!(
                matches!(scan(body.as_bytes()), Scanned::Invalid(_)),
                "{body:?}"
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_over_the_whole_body() {
        let extension = "a".repeat(MAX_EXTENSIONS as usize / 4);
        let chunk = format!("1;{extension}\r\nx\r\n");
        let last = "0\r\n\r\n";
        assert!(matches!(
            scan((chunk.repeat(4) + last).as_bytes()),
            Scanned::End(_)
        ));
        assert!(matches!(
            scan((chunk.repeat(5) + last).as_bytes()),
            Scanned::Invalid(_)
        ));
        let trailers = |lines: u32| format!("0\r\n{}\r\n", "A: 345678\r\n".repeat(lines as usize));
        assert!(matches!(
            scan(trailers(MAX_TRAILERS / 9).as_bytes()),
            Scanned::End(_)
        ));
        assert!(matches!(
            scan(trailers(MAX_TRAILERS / 9 + 1).as_bytes()),
            Scanned::Invalid(_)
        ));
    }

    #[test]
    fn nothing_is_taken_behind_the_end() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(b"0\r\n\r\n"), Scanned::End(5));
        assert!(matches!(scanner.scan(b"0\r\n\r\n"), Scanned::Invalid(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What chunks are made of comes out whole, wherever the reads are cut.
        #[test]
        fn any_cut(chunks in prop::collection::vec(1_usize..40, 0..5), cut in 1_usize..9) {
            let mut body = Vec::new();
            for length in chunks {
                body.extend_from_slice(format!("{length:x}\r\n{}\r\n", "\r".repeat(length)).as_bytes());
            }
            body.extend_from_slice(b"0\r\nA: b\r\n\r\n");
            let mut scanner = Scanner::default();
            let mut seen = 0;
            for piece in body.chunks(cut) {
                match scanner.scan(piece) {
                    Scanned::More => seen += piece.len(),
                    Scanned::End(length) => seen += length,
                    Scanned::Invalid(why) => prop_assert!(false, "{}", why),
                }
            }
            prop_assert_eq!(seen, body.len());
        }

        /// Any bytes give a verdict, and the same one however they are cut.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1'), Just(b';'), any::<u8>()], 0..40)) {
            let whole = scan(&bytes);
            let mut scanner = Scanner::default();
            let mut pieces = Scanned::More;
            for (at, byte) in bytes.iter().enumerate() {
                pieces = scanner.scan(&[*byte]);
                match pieces {
                    Scanned::More => {}
                    Scanned::End(_) => {
                        pieces = Scanned::End(at + 1);
                        break;
                    }
                    Scanned::Invalid(_) => break,
                }
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
