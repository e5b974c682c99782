//! The names under which a session is stored.

mod item_key;

use std::fmt::{Display, Write as _};

use super::prefix::KeyPrefix;
use crate::session::AskedId;

pub use item_key::ItemKey;

/// The longest key that memcached takes.
pub const KEY_MAX: usize = 250;

/// What a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The session record on its own node: `ID`.
    Session,
    /// The validity record there: `validity:ID`.
    Validity,
    /// The copy of the session record on the next node: `bak:ID`.
    Backup,
    /// The copy of the validity record there: `bak:validity:ID`.
    BackupValidity,
    /// The lock, on the session's own node: `lock:ID`.
    Lock,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Session,
        Self::Validity,
        Self::Backup,
        Self::BackupValidity,
        Self::Lock,
    ];

    /// What stands in front of the id. msm makes the name of the second copy of a name that has the prefix already, so
    /// the prefix stands there twice.
    fn front(self, prefix: &KeyPrefix) -> [&str; 4] {
        let prefix = prefix.as_str();
        match self {
            Self::Session => ["", "", "", prefix],
            Self::Validity => ["", "", "validity:", prefix],
            Self::Backup => ["", "", "bak:", prefix],
            Self::BackupValidity => ["bak:", prefix, "validity:", prefix],
            Self::Lock => ["", "", "lock:", prefix],
        }
    }
}

/// The key of that kind for the session with this id, node and route included.
pub fn key(kind: Kind, prefix: &KeyPrefix, id: impl Display) -> ItemKey {
    let mut key = before(kind, prefix);
    let written = write!(key, "{id}");
    written.expect("a key takes everything");
    key
}

/// The same for an id that is text already: each request makes several.
pub fn key_of(kind: Kind, prefix: &KeyPrefix, id: &str) -> ItemKey {
    let mut key = before(kind, prefix);
    key.push_str(id);
    key
}

/// What stands before an id.
fn before(kind: Kind, prefix: &KeyPrefix) -> ItemKey {
    let mut key = ItemKey::new();
    let parts = kind.front(prefix).into_iter();
    parts
        .filter(|part| !part.is_empty())
        .for_each(|part| key.push_str(part));
    key
}

/// The key that msm asks a node for to see whether it answers. It never exists.
pub fn ping(prefix: &KeyPrefix, node: &str) -> ItemKey {
    format!("{}ping-{node}", prefix.as_str()).into()
}

/// What a key names, and the id in it; `None` for keys of others.
pub fn parse<'k>(key: &'k [u8], prefix: &KeyPrefix) -> Option<(Kind, AskedId<'k>)> {
    Kind::ALL.into_iter().find_map(|kind| {
        let id = key.strip_prefix(kind.front(prefix).concat().as_bytes())?;
        Some((kind, AskedId::parse(id)?))
    })
}

#[cfg(test)]
mod tests {
    use super::{Kind, key, parse, ping};
    use crate::manager::msm::prefix::{KeyPrefix, PrefixRule};

    const ID: &str = "3DFCC92AE90B6105483D5ADDF8E9BE47-n1";

    fn keys(prefix: &KeyPrefix, id: &str) -> [String; 5] {
        Kind::ALL.map(|kind| key(kind, prefix, id).to_string())
    }

    #[test]
    fn keys_are_those_that_msm_sends() {
        let none = KeyPrefix::default();
        assert_eq!(
            keys(&none, "3DFCC92AE90B6105483D5ADDF8E9BE47-n1.tomcat-a"),
            [
                "3DFCC92AE90B6105483D5ADDF8E9BE47-n1.tomcat-a",
                "validity:3DFCC92AE90B6105483D5ADDF8E9BE47-n1.tomcat-a",
                "bak:3DFCC92AE90B6105483D5ADDF8E9BE47-n1.tomcat-a",
                "bak:validity:3DFCC92AE90B6105483D5ADDF8E9BE47-n1.tomcat-a",
                "lock:3DFCC92AE90B6105483D5ADDF8E9BE47-n1.tomcat-a",
            ]
        );
        assert_eq!(ping(&none, "n1").as_str(), "ping-n1");
        let rule: PrefixRule = "static:app1,context".parse().expect("valid");
        let prefix = rule.prefix("localhost", "/jsp");
        assert_eq!(
            keys(&prefix, ID),
            [
                format!("app1:/jsp_{ID}"),
                format!("validity:app1:/jsp_{ID}"),
                format!("bak:app1:/jsp_{ID}"),
                format!("bak:app1:/jsp_validity:app1:/jsp_{ID}"),
                format!("lock:app1:/jsp_{ID}"),
            ]
        );
        assert_eq!(ping(&prefix, "n1").as_str(), "app1:/jsp_ping-n1");
    }

    #[test]
    fn keys_are_read_back_and_foreign_ones_are_not() {
        let rule: PrefixRule = "static:app1".parse().expect("valid");
        for prefix in [KeyPrefix::default(), rule.prefix("localhost", "/jsp")] {
            for (kind, key) in Kind::ALL.into_iter().zip(keys(&prefix, ID)) {
                let (found, id) = parse(key.as_bytes(), &prefix).expect(&key);
                assert_eq!((found, id.node, id.route), (kind, Some("n1"), None));
            }
            for foreign in ["", "ping-n1", "bak:", "user:1", "bak:lock:x", &ID[1..]] {
                assert_eq!(parse(foreign.as_bytes(), &prefix), None, "{foreign}");
            }
        }
        assert_eq!(parse(ID.as_bytes(), &rule.prefix("", "")), None);
    }
}
