//! Puts changes that were made beside each other together, attribute by attribute. Pure.

use crate::manager::msm::attributes::{self, AttributesError};
use crate::session::Attributes;

/// A request's own changes.
#[derive(Debug, Clone, Copy)]
pub struct Ours<'a> {
    /// The encoded attributes as the request left them.
    pub attributes: &'a [u8],
    /// Names of those that it set or removed.
    pub changed: &'a [String],
}

/// What others changed: two whole sessions, and what differs in them.
#[derive(Debug, Clone, Copy)]
pub struct Theirs<'a> {
    /// The encoded attributes that they began with.
    pub from: &'a [u8],
    /// What they made of them.
    pub to: &'a [u8],
}

/// What `base` becomes by the changes of others, the oldest first, and then by ours. Of two that changed one attribute the later wins,
/// and we are the last.
pub fn merge(
    base: &[u8],
    theirs: &[Theirs<'_>],
    ours: Ours<'_>,
) -> Result<Vec<u8>, AttributesError> {
    let decode = |bytes: &[u8]| match bytes {
        [] => Ok(Attributes::new()),
        bytes => attributes::decode(bytes),
    };
    let mut merged = decode(base)?;
    for theirs in theirs {
        let (from, theirs) = (decode(theirs.from)?, decode(theirs.to)?);
        let changed = theirs.iter().map(|(name, _)| name);
        let removed = from.iter().map(|(name, _)| name);
        for name in changed.chain(removed) {
            if from.get(name) != theirs.get(name) {
                put(&mut merged, &theirs, name)?;
            }
        }
    }
    let own = decode(ours.attributes)?;
    for name in ours.changed {
        put(&mut merged, &own, name)?;
    }
    attributes::encode(&merged, |_| true)
}

/// Whether others and this server changed one attribute since `base`, each to something else; also for a request that still runs
/// here. What cannot be read counts, for nobody can say.
pub fn overlap(base: &[u8], theirs: &[Theirs<'_>], ours: Ours<'_>) -> bool {
    let decode = |bytes: &[u8]| match bytes {
        [] => Some(Attributes::new()),
        bytes => attributes::decode(bytes).ok(),
    };
    let (Some(base), Some(own)) = (decode(base), decode(ours.attributes)) else {
        return true;
    };
    let both = |from: &Attributes, to: &Attributes, name: &str| {
        let (there, here) = (to.get(name), own.get(name));
        let is_changed =
            here != base.get(name) || ours.changed.iter().any(|changed| changed == name);
        is_changed && there != from.get(name) && there != here
    };
    theirs.iter().any(|theirs| {
        let (Some(from), Some(to)) = (decode(theirs.from), decode(theirs.to)) else {
            return true;
        };
        let mut names = from.iter().chain(to.iter()).map(|(name, _)| name);
        names.any(|name| both(&from, &to, name))
    })
}

/// Makes an attribute what it is in `from`.
fn put(to: &mut Attributes, from: &Attributes, name: &str) -> Result<(), AttributesError> {
    match from.get(name) {
        Some(value) => to
            .set(name, &value)
            .map_err(|error| AttributesError::Attribute {
                name: name.to_owned(),
                error,
            }),
        None => {
            to.remove(name);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Ours, Theirs, merge};
    use crate::manager::msm::attributes;
    use crate::session::Attributes;

    type Plain = BTreeMap<String, i64>;

    fn bytes(plain: &Plain) -> Vec<u8> {
        let mut all = Attributes::new();
        for (name, value) in plain {
            all.set(name, &(*value).into()).expect("short");
        }
        attributes::encode(&all, |_| true).expect("plain")
    }

    fn plain(bytes: &[u8]) -> Plain {
        let all = attributes::decode(bytes).expect("merged");
        let pairs = all.iter().map(|(name, value)| {
            let value = value.as_i64().expect("a number");
            (name.to_owned(), value)
        });
        pairs.collect()
    }

    fn some() -> impl Strategy<Value = Plain> {
        prop::collection::btree_map("[a-d]", 0i64..3, 0..4)
    }

    proptest! {
        /// An attribute is ours if we changed it, else that of the last who changed it, else as it was.
        #[test]
        fn each_attribute_is_that_of_the_last_who_changed_it(
            base in some(), theirs in prop::collection::vec(some(), 0..3), ours in some(), changed in prop::collection::vec("[a-d]", 0..4),
        ) {
            let encoded: Vec<Vec<u8>> = theirs.iter().map(bytes).collect();
            let from = bytes(&base);
            let encoded: Vec<Theirs<'_>> = encoded.iter().map(|to| Theirs { from: &from, to }).collect();
            let own = bytes(&ours);
            let own = Ours { attributes: &own, changed: &changed };
            let merged = plain(&merge(&from, &encoded, own).expect("plain"));
            for name in ["a", "b", "c", "d"] {
                let last = theirs.iter().rev().find(|t| t.get(name) != base.get(name));
                let expected = match changed.iter().any(|c| c == name) {
                    true => ours.get(name),
                    false => last.unwrap_or(&base).get(name),
                };
                prop_assert_eq!(merged.get(name), expected, "{}", name);
            }
        }
    }

    #[test]
    fn what_is_no_session_is_refused() {
        let nothing = Ours {
            attributes: &[],
            changed: &[],
        };
        assert!(merge(b"x", &[], nothing).is_err());
        let strange = Theirs {
            from: &[],
            to: b"x",
        };
        assert!(merge(&[], &[strange], nothing).is_err());
        assert_eq!(
            plain(&merge(&[], &[], nothing).expect("empty")),
            Plain::new()
        );
    }
}
