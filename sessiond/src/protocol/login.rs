//! Authentication in the text protocol (memcached's `-Y`): before anything else a client sends a `set` whose data block
//! is `USER PASSWORD`. Key, flags and exptime of that set mean nothing, and noreply is not heard.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::number::unsigned;

use super::text::{LINE_MAX, word};
use super::{After, Parsed, Request};

/// A longer data block closes the connection; memcached's limit is its read buffer.
const CREDENTIALS_MAX: usize = 16 * 1024;

/// The answer to everything else.
const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
const BAD_TERMINATION: &str = "CLIENT_ERROR bad command line termination";
const BAD_TOKEN: &str = "CLIENT_ERROR bad authentication token format";

/// What a client presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// Who it says it is.
    pub user: &'a [u8],
    /// What shall prove that.
    pub password: &'a [u8],
}

/// What stands at the beginning of `buffer`, sent by a client that has not authenticated.
pub fn parse(buffer: &[u8]) -> Parsed<'_> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
        return match buffer.len() > LINE_MAX {
            true => closed(buffer.len()),
            false => Parsed::Incomplete {
                need: buffer.len().saturating_add(1),
            },
        };
    };
    let (line, rest) = buffer.split_at(end);
    let line_length = line.len().saturating_add(1);
    let refused = |reply, used| Parsed::Invalid {
        reply: Some(reply),
        used,
        after: After::Continue,
    };
    let Some(length) = length(line) else {
        return refused(UNAUTHENTICATED, line_length);
    };
    if length > CREDENTIALS_MAX {
        return closed(buffer.len());
    }
    let used = line_length.saturating_add(length).saturating_add(2);
    let data = rest.get(1..).unwrap_or_default();
    let Some((credentials, end)) = data.split_at_checked(length) else {
        return Parsed::Incomplete { need: used };
    };
    let Some(end) = end.get(..2) else {
        return Parsed::Incomplete { need: used };
    };
    if end != b"\r\n" {
        return refused(BAD_TERMINATION, used);
    }
    let login = word(before_zero(credentials)).and_then(|(user, rest)| {
        let (password, _) = word(rest)?;
        Some(Login { user, password })
    });
    match login {
        Some(login) => Parsed::Complete {
            request: Request::Login(login),
            used,
        },
        None => refused(BAD_TOKEN, used),
    }
}

fn closed(used: usize) -> Parsed<'static> {
    Parsed::Invalid {
        reply: None,
        used,
        after: After::Close,
    }
}

/// The length of the data block that this line announces: `set KEY FLAGS EXPTIME LENGTH`.
fn length(line: &[u8]) -> Option<usize> {
    let (verb, rest) = word(before_zero(line))?;
    let (_key, rest) = word(rest)?;
    let (_flags, rest) = word(rest)?;
    let (_exptime, rest) = word(rest)?;
    let (length, _) = word(rest)?;
    let length = usize::try_from(unsigned(length)?).ok()?;
    (verb == b"set").then_some(length)
}

/// For memcached, a C program, everything ends at a zero byte.
fn before_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_presents_is_two_words() {
        for (sent, expected) in [
            ("set a 0 0 3\r\nu p\r\n", Ok(("u", "p"))),
            ("set a x y 8 noreply\nu p more\r\n", Ok(("u", "p"))),
            ("set a 0 0 1\r\nu\r\n", Err(Some(BAD_TOKEN))),
            ("set a 0 0 0\r\n\r\n", Err(Some(BAD_TOKEN))),
            ("set a 0 0 3\r\nu pxx", Err(Some(BAD_TERMINATION))),
            ("set a 0 0 -1\r\n", Err(Some(UNAUTHENTICATED))),
            ("set a 0 0\r\n", Err(Some(UNAUTHENTICATED))),
            ("add a 0 0 3\r\n", Err(Some(UNAUTHENTICATED))),
            ("\r\n", Err(Some(UNAUTHENTICATED))),
            ("set a 0 0 16385\r\n", Err(None)),
        ] {
            match parse(sent.as_bytes()) {
                Parsed::Complete {
                    request: Request::Login(Login { user, password }),
                    used,
                } => {
                    assert_eq!(used, sent.len(), "{sent}");
                    let (name, secret) = expected.expect(sent);
                    assert_eq!((user, password), (name.as_bytes(), secret.as_bytes()));
                }
                Parsed::Invalid { reply, .. } => assert_eq!(Err(reply), expected, "{sent}"),
                other => panic!("{sent}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_short_buffer_says_how_much_it_lacks() {
        let whole = b"set a 0 0 3\r\nu p\r\n";
        for cut in 1..whole.len() {
            let parsed = parse(&whole[..cut]);
            assert!(
                matches!(parsed, Parsed::Incomplete { need } if need > cut && need <= whole.len()),
                "{cut}: {parsed:?}"
            );
        }
        let endless = [b'x'; LINE_MAX + 1];
        assert!(matches!(
            parse(&endless),
            Parsed::Invalid {
                after: After::Close,
                ..
            }
        ));
    }
}
