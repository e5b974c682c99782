//! Who may do anything: users and passwords from a file, and what a client has shown of them.
//!
//! Two files, as memcached has them. For the text protocol (`-Y`) every line is `user:password`, and a line that is not
//! is an error. For SASL (`-S`, the file that `MEMCACHED_SASL_PWDB` names) a password may be followed by a colon and
//! more, and other lines are passed over. Both are read at the start and at SIGHUP; memcached takes eight users at most
//! from the first, here there may be [`USERS_MAX`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use program::Failure;
use subtle::{Choice, ConstantTimeEq};

use crate::config::{Config, Protocol, is_empty};

/// More users than this are a directory, not a file.
pub const USERS_MAX: usize = 10_000;

/// The only SASL mechanism here (RFC 4616).
pub(crate) const MECHANISM: &str = "PLAIN";

/// Which protocols a node speaks, and whom it asks to authenticate.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Which protocols clients may speak.
    pub(crate) spoken: Protocol,
    /// Clients of the text protocol, before all else, as one of these.
    pub(crate) login: Option<Users>,
    /// Clients of the binary protocol, by SASL, as one of these.
    pub(crate) sasl: Option<Users>,
}

impl Policy {
    /// Reads the files that the settings name.
    pub(crate) fn of(config: &Config) -> Result<Self, Failure> {
        let login =
            (!is_empty(&config.auth_file)).then(|| Users::load(&config.auth_file, Format::Strict));
        let sasl = config
            .enable_sasl
            .then(|| Users::load(&config.sasl_pwdb, Format::Loose));
        Ok(Self {
            spoken: config.spoken(),
            login: login.transpose()?,
            sasl: sasl.transpose()?,
        })
    }

    /// Whether a client of the binary protocol that has shown this much has to authenticate first.
    pub(crate) fn stops(&self, standing: Standing) -> bool {
        self.sasl.is_some() && !standing.authenticated
    }
}

/// What a client has shown so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// It has authenticated.
    pub(crate) authenticated: bool,
    /// It has begun to, and may go on with a step.
    pub(crate) begun: bool,
    /// It has once come to the end; the next try fails then, and only the one after it may be good (Cyrus SASL, which
    /// memcached uses, has to forget the first).
    pub(crate) ended: bool,
}

/// What a client says to the mechanism, as RFC 4616 lays it out; `None` if it is not that. To act for somebody else than
/// one is, which it allows, is not possible here.
pub(crate) fn plain(credentials: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = credentials.split(|byte| *byte == 0);
    let (acts_for, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && !user.is_empty() && !password.is_empty();
    (is_whole && (acts_for.is_empty() || acts_for == user)).then_some((user, password))
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Every line is `user:password`.
    Strict,
    /// Lines `user:password` and `user:password:more`; others are passed over.
    Loose,
}

/// Users and their passwords.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    format: Format,
    table: ArcSwap<Vec<User>>,
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or (in [`Format::Strict`]) a line has no colon.
    pub fn load(path: &Path, format: Format) -> Result<Self, Failure> {
        let table = ArcSwap::from_pointee(read(path, format)?);
        Ok(Self {
            path: path.to_owned(),
            format,
            table,
        })
    }

    /// Reads the file again, for clients that authenticate from now on. On an error the users stay those they were.
    ///
    /// # Errors
    /// As [`Users::load`].
    pub fn reload(&self) -> Result<(), Failure> {
        self.table.store(Arc::new(read(&self.path, self.format)?));
        Ok(())
    }

    /// Whether this is a user with its password. Takes as long for a name that is there as for one that is not, and for a
    /// password as for another of its length.
    pub fn check(&self, user: &[u8], password: &[u8]) -> bool {
        let table = self.table.load();
        let found = table.iter().fold(Choice::from(0), |found, entry| {
            found | (entry.name.ct_eq(user) & entry.accepts(password, self.format))
        });
        found.into()
    }
}

/// A line of the file.
struct User {
    name: Box<[u8]>,
    /// Everything behind the colon.
    password: Box<[u8]>,
}

impl User {
    fn accepts(&self, password: &[u8], format: Format) -> Choice {
        let whole = self.password.ct_eq(password);
        let (first, rest) = self
            .password
            .split_at(password.len().min(self.password.len()));
        let followed = format == Format::Loose && rest.first() == Some(&b':');
        whole | (first.ct_eq(password) & Choice::from(u8::from(followed)))
    }
}

/// Not to be seen in any log.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").finish_non_exhaustive()
    }
}

fn read(path: &Path, format: Format) -> Result<Vec<User>, Failure> {
    let shown = path.display();
    let text = std::fs::read(path)
        .map_err(|e| Failure::environment(format!("cannot read the users in {shown}"), e))?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let lines = text.strip_suffix(b"\n").unwrap_or(&text);
    let mut users = Vec::new();
    for (number, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        let line = line.split(|byte| *byte == b'\r').next().unwrap_or_default();
        match line.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let (name, password) = line.split_at(colon);
                users.push(User {
                    name: name.into(),
                    password: password.get(1..).unwrap_or_default().into(),
                });
            }
            None if format == Format::Loose => {}
            None => {
                return Err(Failure::Usage(format!(
                    "{shown}, line {}: there is no colon; write user:password",
                    number + 1
                )));
            }
        }
    }
    if users.len() > USERS_MAX {
        return Err(Failure::Usage(format!(
            "{shown} has {} users; {USERS_MAX} are the most",
            users.len()
        )));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::{Format, Users, plain};
    use std::path::PathBuf;

    /// A file of its own for each test.
    fn file(name: &str, text: &str) -> PathBuf {
        let name = format!("sessiond-users-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }

    #[test]
    fn a_strict_file_is_lines_of_user_and_password() {
        let path = file("strict", "ann:secret\r\nbob:a:b\n:nobody\neve:\n");
        let users = Users::load(&path, Format::Strict).expect("good");
        for (user, password, expected) in [
            ("ann", "secret", true),
            ("ann", "secre", false),
            ("ann", "secretx", false),
            ("ann", "a:b", false),
            ("bob", "a:b", true),
            ("bob", "a", false),
            ("", "nobody", true),
            ("eve", "", true),
            ("zoe", "secret", false),
        ] {
            let found = users.check(user.as_bytes(), password.as_bytes());
            assert_eq!(found, expected, "{user} {password}");
        }
        for bad in ["ann\n", "ann:secret\n\nbob:b\n", "\n", "ann:secret\nbob"] {
            std::fs::write(&path, bad).expect("writable");
            let error = users.reload().expect_err(bad).to_string();
            assert!(error.contains("user:password"), "{error}");
            assert!(users.check(b"ann", b"secret"), "the old ones stay");
        }
        for good in ["", "ann:new", "ann:new\n"] {
            std::fs::write(&path, good).expect("writable");
            users.reload().expect(good);
            assert_eq!(users.check(b"ann", b"new"), !good.is_empty());
            assert!(!users.check(b"ann", b"secret"));
        }
        std::fs::remove_file(&path).expect("there");
        assert!(users.reload().is_err());
    }

    #[test]
    fn a_loose_file_has_more_behind_a_second_colon() {
        let path = file("loose", "# users\n\nann:secret:more\nbob:a:b\n");
        let users = Users::load(&path, Format::Loose).expect("good");
        assert!(users.check(b"ann", b"secret"));
        assert!(users.check(b"ann", b"secret:more"));
        assert!(!users.check(b"ann", b"sec"));
        assert!(users.check(b"bob", b"a"));
        assert!(!users.check(b"bob", b""));
        std::fs::remove_file(&path).expect("there");
    }

    #[test]
    fn the_plain_mechanism_wants_three_parts() {
        for (said, expected) in [
            ("\0u\0p", Some(("u", "p"))),
            ("u\0u\0p", Some(("u", "p"))),
            ("v\0u\0p", None),
            ("\0u\0", None),
            ("\0\0p", None),
            ("\0u\0p\0", None),
            ("u\0p", None),
            ("u", None),
            ("", None),
        ] {
            let found = plain(said.as_bytes());
            let expected = expected.map(|(u, p): (&str, &str)| (u.as_bytes(), p.as_bytes()));
            assert_eq!(found, expected, "{said:?}");
        }
    }
}
